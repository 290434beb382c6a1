//! Networks from settings, and hosts that send trains through the wire's emulator, which is a plain function: reports by
//! the thousand, without a kernel.
#![allow(dead_code, reason = "each test file uses its part")]

use testyard_model::link::LinkKind;
use testyard_model::probe::{Arrival, ClockDomain, Lateness, Others, Probed, Samples};
use testyard_model::setting::Setting;
use testyard_model::topology::Topology;
use testyard_plan::NetworkPlan;
use testyard_plan::network::{Conditions, plan};
use testyard_testkit::topologies::{add_lan, connect, loose};
use testyard_verify::{Schedule, Subject, Trial};
use testyard_wire::emulator::{Emulator, Nanos, Packet};

use testyard_model::impairment::Impairment;

/// From settings with `; ` between.
pub(crate) fn stage(settings: &str) -> Impairment {
    let mut impairment = Impairment::default();
    for setting in settings.split("; ").filter(|setting| !setting.is_empty()) {
        setting.parse::<Setting>().unwrap().apply(&mut impairment);
    }
    impairment
}

/// Cables of which the first end does the first to what it sends, the second end the second.
pub(crate) fn cables(settings: &[[&str; 2]]) -> Topology {
    let mut topology = loose(settings.len() + 1);
    for (place, [there, back]) in settings.iter().enumerate() {
        connect(&mut topology, place, place + 1);
        let members = &mut topology.links[place].members;
        members[0].to_link = stage(there);
        members[1].to_link = stage(back);
    }
    topology
}

/// A LAN of members that do so to what they send and to what they get.
pub(crate) fn lan(settings: &[[&str; 2]]) -> Topology {
    let mut topology = loose(settings.len());
    add_lan(&mut topology, &(0..settings.len()).collect::<Vec<_>>());
    for (member, [to, from]) in topology.links[0].members.iter_mut().zip(settings) {
        member.to_link = stage(to);
        member.from_link = stage(from);
    }
    assert_eq!(topology.links[0].kind, LinkKind::Lan);
    topology
}

pub(crate) fn planned(topology: &Topology) -> NetworkPlan {
    plan(topology, &Conditions::default()).unwrap().network
}

/// A frame in the emulator.
#[derive(Clone, Debug)]
struct Frame {
    number: u32,
    length: u16,
    damaged: bool,
}

impl Packet for Frame {
    fn bytes(&self) -> u64 {
        self.length.into()
    }

    fn packets(&self) -> u32 {
        1
    }

    fn copy(&self) -> Self {
        self.clone()
    }

    fn damage(&mut self, _: u64) {
        self.damaged = true;
    }
}

/// A machine on which everything takes so long, give or take, whatever the link.
pub(crate) struct Machine {
    pub(crate) overhead: u64,
    pub(crate) varies: u64,
    pub(crate) seed: u64,
    /// What links do, if not what was asked.
    pub(crate) instead: Option<Vec<Impairment>>,
}

impl Machine {
    pub(crate) fn new(seed: u64) -> Self {
        Self { overhead: 20_000, varies: 15_000, seed, instead: None }
    }

    fn chance(&mut self) -> u64 {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let value = (self.seed ^ (self.seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    }

    /// Takes all trains of a schedule.
    pub(crate) fn take(&mut self, schedule: &Schedule) -> Vec<Vec<Probed>> {
        let steps = schedule.steps.iter();
        steps
            .map(|step| step.trials.iter().map(|trial| Probed::Sent(self.send(schedule, trial))).collect())
            .collect()
    }

    pub(crate) fn send(&mut self, schedule: &Schedule, trial: &Trial) -> Samples {
        let (stages, up) = match trial.subject {
            Subject::Way(place) => {
                let asked = &schedule.ways[place].asked;
                (self.instead.clone().unwrap_or_else(|| asked.stages.clone()), asked.up)
            }
            Subject::Reference => (Vec::new(), true),
        };
        let mut emulator = Emulator::new(&stages, self.chance());
        let interval = trial.train.interval.as_nanos().max(3_000);
        let sent: Vec<u64> = (0..trial.train.frames).map(|number| u64::from(number) * interval).collect();
        let mut out = Vec::new();
        let mut arrivals: Vec<(Nanos, Frame)> = Vec::new();
        for (number, at) in (0..).zip(&sent) {
            // What is due before, at its own time.
            while let Some(due) = emulator.next_deadline().filter(|due| due <= at) {
                emulator.advance(due, &mut out);
                arrivals.extend(out.drain(..).map(|frame| (due, frame)));
            }
            emulator.offer(*at, Frame { number, length: trial.train.length, damaged: false }, &mut out);
            arrivals.extend(out.drain(..).map(|frame| (*at, frame)));
        }
        while let Some(due) = emulator.next_deadline() {
            emulator.advance(due, &mut out);
            arrivals.extend(out.drain(..).map(|frame| (due, frame)));
        }
        let mut arrivals: Vec<Arrival> = arrivals
            .into_iter()
            .filter(|_| up)
            .map(|(at, frame)| {
                let late = self.overhead + self.chance() % self.varies.max(1);
                Arrival { number: frame.number, at: at + late, damaged: frame.damaged }
            })
            .collect();
        if trial.purpose == testyard_verify::Purpose::Rate {
            arrivals.sort_by_key(|arrival| arrival.at);
        }
        let clock = ClockDomain("one".to_owned());
        Samples {
            sender: clock.clone(),
            receiver: clock,
            sent,
            arrivals,
            refused: 0,
            overrun: 0,
            late: Lateness::default(),
            clock_was_set: false,
            others: Others::default(),
        }
    }
}
