//! Networks from settings, and hosts that send trains through the wire's emulator, which is a plain function: reports by
//! the thousand, without a kernel.
#![allow(dead_code, reason = "each test file uses its part")]

use testyard_model::link::LinkKind;
use testyard_model::probe::{Arrival, ClockDomain, Lateness, Probed, Samples};
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
    /// Others want its processors too.
    pub(crate) busy: Option<Busy>,
}

/// How long whoever wants a processor has one, and how long it waits for the next, on the average, in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Busy {
    pub(crate) runs: u64,
    pub(crate) waits: u64,
    /// Sender and emulator wait at the same time, as on a machine that stands still as a whole.
    pub(crate) together: bool,
}

/// When one task has no processor.
#[derive(Clone, Debug)]
struct Spells(Vec<(u64, u64)>);

impl Spells {
    fn new(busy: Option<Busy>, machine: &mut Machine) -> Self {
        let Some(busy) = busy else { return Self(Vec::new()) };
        // Up to twice the average, each as likely as the other.
        let mut length = |average: u64| machine.chance() % (2 * average).max(1);
        let (mut spells, mut at) = (Vec::new(), 0);
        while at < 30_000_000_000 {
            let begins = at + length(busy.runs);
            at = begins + length(busy.waits);
            spells.push((begins, at));
        }
        Self(spells)
    }

    /// When somebody who wants to run at this time does.
    fn runs(&self, at: u64) -> u64 {
        let next = self.0.partition_point(|(_, ends)| *ends <= at);
        self.0.get(next).filter(|(begins, _)| *begins <= at).map_or(at, |(_, ends)| *ends)
    }
}

impl Machine {
    pub(crate) fn new(seed: u64) -> Self {
        Self { overhead: 20_000, varies: 15_000, seed, instead: None, busy: None }
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
        let spells = Spells::new(self.busy, self);
        let sender = spells.clone();
        let together = self.busy.is_none_or(|busy| busy.together);
        let own = if together { spells } else { Spells::new(self.busy, self) };
        // Without a link there is no emulator that would have to run.
        let link = if trial.subject == Subject::Reference { Spells(Vec::new()) } else { own };
        let (sent, late) = leave(trial, &sender);
        let mut out = Vec::new();
        let mut arrivals: Vec<(Nanos, Frame)> = Vec::new();
        let (mut frames, mut now) = ((0..).zip(&sent).peekable(), 0);
        loop {
            let next = frames.peek().map(|(_, at)| **at).into_iter().chain(emulator.next_deadline()).min();
            let Some(next) = next else { break };
            now = link.runs(next.max(now));
            // What is due before, at its own time, if somebody was there.
            emulator.advance(now, &mut out);
            while let Some((number, _)) = frames.next_if(|(_, at)| **at <= now) {
                emulator.offer(now, Frame { number, length: trial.train.length, damaged: false }, &mut out);
            }
            arrivals.extend(out.drain(..).map(|frame| (now, frame)));
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
        Samples { sent, arrivals, late: Lateness::of(late), ..Samples::none(clock) }
    }
}

/// When the frames of a train leave, and how late their sender was: as the one of hosts does.
fn leave(trial: &Trial, sender: &Spells) -> (Vec<u64>, Vec<u64>) {
    let interval = trial.train.interval.as_nanos();
    let (mut sent, mut lates, mut start) = (Vec::new(), Vec::new(), 0);
    let mut now = 0;
    while sent.len() < trial.train.frames as usize {
        let next = start + sent.len() as u64 * interval;
        now = sender.runs(next.max(now));
        let late = now - next;
        // Sending takes its time.
        if interval < 3_000 {
            sent.push(now);
            now += 3_000;
        } else if interval >= APART {
            lates.push(late);
            start += if late > interval / 4 { late } else { 0 };
            sent.push(now);
        } else {
            let due = (late / interval + 1).min(u64::from(trial.train.frames) - sent.len() as u64);
            sent.extend((0..due).map(|_| now));
        }
    }
    (sent, lates)
}

/// Frames that are this far apart are sent one by one, in nanoseconds.
const APART: u64 = 200_000;
