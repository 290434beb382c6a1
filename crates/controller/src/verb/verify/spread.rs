//! A step of a measurement, spread over the hosts that have to do with it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use futures_util::future::join_all;
use testyard_agent::HostError;
use testyard_agent::probe::{Path, Probe};
use testyard_fabric::links::PortId;
use testyard_model::id::{HostName, SliceId, SliverId};
use testyard_model::mac::Mac;
use testyard_model::name::ClientId;
use testyard_model::probe::{Others, Probed, Samples};
use testyard_plan::NetworkPlan;
use testyard_verify::schedule::{End, Way};
use testyard_verify::{Schedule, Step, Subject, Trial};

use super::clocks::Clocks;
use crate::core::Core;
use crate::hosts::Driver;

/// Where a node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) host: HostName,
    pub(super) sliver: SliverId,
}

/// Who measures what of a schedule.
pub(super) struct Spread<'a> {
    schedule: &'a Schedule,
    network: &'a NetworkPlan,
    places: &'a HashMap<ClientId, Place>,
    /// All that ways begin or end at: each has a reference of its own.
    hosts: BTreeSet<&'a HostName>,
}

/// What hosts do for a trial, by their places in what each is asked.
enum Asked<'a> {
    /// The same on each.
    Each(Vec<(&'a HostName, usize)>),
    /// Each a half.
    Halves { out: (&'a HostName, usize), inward: (&'a HostName, usize) },
    /// Nobody: a node has gone.
    Nobody(String),
}

/// What a step asks of each host.
#[derive(Default)]
struct Questions<'a>(BTreeMap<&'a HostName, Vec<Probe>>);

impl<'a> Questions<'a> {
    fn ask(&mut self, host: &'a HostName, probe: Probe) -> (&'a HostName, usize) {
        let all = self.0.entry(host).or_default();
        all.push(probe);
        (host, all.len() - 1)
    }
}

impl<'a> Spread<'a> {
    pub(super) fn of(
        schedule: &'a Schedule,
        network: &'a NetworkPlan,
        places: &'a HashMap<ClientId, Place>,
    ) -> Self {
        let ends = schedule.ways.iter().flat_map(|way| [&way.from.node, &way.to.node]);
        let hosts = ends.filter_map(|node| places.get(node)).map(|place| &place.host).collect();
        Self { schedule, network, places, hosts }
    }

    /// `meeting` is the number of the first way between hosts; each takes the next.
    fn questions(&self, step: &Step, mut meeting: u32) -> (Questions<'a>, Vec<Asked<'a>>) {
        let mut questions = Questions::default();
        let mut ask = |trial: &Trial| {
            let probe = |path| Probe { path, train: trial.train, greeting: trial.greeting };
            let Subject::Way(place) = trial.subject else {
                let each = self.hosts.iter().map(|host| questions.ask(host, probe(Path::Reference)));
                return Asked::Each(each.collect());
            };
            let way = &self.schedule.ways[place];
            let [Some((from, from_host)), Some((to, to_host))] =
                [&way.from, &way.to].map(|end| self.port(end))
            else {
                return Asked::Nobody(format!("a node of {} has gone", way.link));
            };
            if from_host == to_host {
                return Asked::Each(vec![questions.ask(from_host, probe(Path::Link { from, to }))]);
            }
            let [Some(from_mac), Some(to_mac)] = [&way.from, &way.to].map(|end| self.mac(way, end)) else {
                return Asked::Nobody(format!("link {} has another interface now", way.link));
            };
            meeting = meeting.wrapping_add(1);
            let out = questions.ask(from_host, probe(Path::Out { from, to: to_mac, meeting }));
            let inward = questions.ask(to_host, probe(Path::In { from: from_mac, to, meeting }));
            Asked::Halves { out, inward }
        };
        let asked = step.trials.iter().map(&mut ask).collect();
        (questions, asked)
    }

    fn port(&self, end: &End) -> Option<(PortId, &'a HostName)> {
        let place = self.places.get(&end.node)?;
        Some((PortId { node: place.sliver, device: end.device.to_string() }, &place.host))
    }

    fn mac(&self, way: &Way, end: &End) -> Option<Mac> {
        let link = self.network.link(&way.link).ok()?;
        let is_it = |member: &&testyard_plan::network::parts::NetworkMember| {
            member.node == end.node && member.device == end.device
        };
        link.members.iter().find(is_it).map(|member| member.mac)
    }
}

impl Core {
    /// Has a step measured: an answer for each of its trials.
    pub(super) async fn measure(&self, slice: SliceId, spread: &Spread<'_>, step: &Step) -> Vec<Probed> {
        let mut number = [0; 4];
        self.randomness.fill(&mut number);
        let (Questions(questions), asked) = spread.questions(step, u32::from_ne_bytes(number));
        // In the order of their names, so that no two measurements wait for each other.
        let drivers: Vec<Arc<Driver>> = questions.keys().filter_map(|host| self.drivers.get(host)).collect();
        let mut only_ones = Vec::with_capacity(drivers.len());
        for driver in &drivers {
            only_ones.push(driver.probing.lock().await);
        }
        let is_split = asked.iter().any(|asked| matches!(asked, Asked::Halves { .. }));
        let read = async || if is_split { Clocks::read(slice, &drivers).await } else { Clocks::default() };
        let before = read().await;
        let ask = async |driver: &Arc<Driver>| {
            let probes = questions[&driver.name].clone();
            let count = probes.len();
            let failed = |error: HostError| vec![Probed::Failed(error.to_string()); count];
            let answers = driver.host.probe(slice, probes).await.unwrap_or_else(failed);
            (driver.name.clone(), answers.into_iter().map(Some).collect())
        };
        let answers = join_all(drivers.iter().map(ask)).await;
        let clocks = before.and(read().await);
        drop(only_ones);
        let mut answers = Answers(answers.into_iter().collect());
        asked.into_iter().map(|asked| answers.to(asked, &clocks)).collect()
    }
}

/// What hosts have answered, each in the order of its questions; none where it has been taken.
struct Answers(HashMap<HostName, Vec<Option<Probed>>>);

impl Answers {
    fn to(&mut self, asked: Asked<'_>, clocks: &Clocks) -> Probed {
        match asked {
            Asked::Each(all) => {
                let all = all.into_iter().map(|question| self.take(question));
                all.reduce(slower).unwrap_or_else(|| Probed::Failed("no host could be asked".to_owned()))
            }
            Asked::Halves { out, inward } => {
                whole(self.take(out), self.take(inward), (out.0, inward.0), clocks)
            }
            Asked::Nobody(why) => Probed::Failed(why),
        }
    }

    fn take(&mut self, (host, place): (&HostName, usize)) -> Probed {
        let answer = self.0.get_mut(host).and_then(|all| all.get_mut(place)?.take());
        answer.unwrap_or_else(|| Probed::Failed(format!("host {host} has not answered")))
    }
}

/// Of two hosts' references the worse: no link is held against what its own host cannot do.
fn slower(one: Probed, other: Probed) -> Probed {
    match (one, other) {
        (Probed::Failed(why), _) | (_, Probed::Failed(why)) => Probed::Failed(why),
        (Probed::Sent(one), Probed::Sent(other)) => {
            Probed::Sent(if mean(&one) >= mean(&other) { one } else { other })
        }
    }
}

/// What frames took, on average, in nanoseconds.
fn mean(samples: &Samples) -> f64 {
    let took = samples.arrivals.iter().filter_map(|arrival| {
        let sent = samples.sent.get(arrival.number as usize)?;
        Some(arrival.at as f64 - *sent as f64)
    });
    let (count, sum) = took.fold((0_u64, 0.0), |(count, sum), took| (count + 1, sum + took));
    if count == 0 { f64::INFINITY } else { sum / count as f64 }
}

/// So long after an origin the first frame was sent, whatever the hosts' clocks say: room for arrivals that seem earlier.
const HEAD_START: i128 = 1_000_000_000;

/// A train from its halves: times are those of the sender's clock.
fn whole(out: Probed, inward: Probed, (from, to): (&HostName, &HostName), clocks: &Clocks) -> Probed {
    let (mut out, mut inward) = match (out, inward) {
        (Probed::Sent(out), Probed::Sent(inward)) => (out, inward),
        // What the receiver says of a sender that did not send is no news.
        (Probed::Failed(why), _) => return Probed::Failed(format!("host {from}: {why}")),
        (_, Probed::Failed(why)) => return Probed::Failed(format!("host {to}: {why}")),
    };
    let mut doubt = 0;
    let mut ahead = 0;
    if out.sender != inward.receiver {
        let Some((offset, error)) = clocks.between(to, from) else {
            // Other findings than delays are as good.
            return Probed::Sent(Samples { arrivals: inward.arrivals, receiver: inward.receiver, ..out });
        };
        (ahead, doubt) = (offset, error);
        inward.receiver = out.sender.clone();
    }
    let origin = out.sent.first().map_or(0, |first| i128::from(*first)) - HEAD_START;
    let since = |at: u64, ahead: i128| u64::try_from(i128::from(at) - ahead - origin).unwrap_or(0);
    out.sent.iter_mut().for_each(|at| *at = since(*at, 0));
    inward.arrivals.iter_mut().for_each(|arrival| arrival.at = since(arrival.at, ahead));
    Probed::Sent(Samples {
        sender: out.sender,
        receiver: inward.receiver,
        sent: out.sent,
        arrivals: inward.arrivals,
        refused: out.refused,
        overrun: inward.overrun,
        late: out.late,
        clock_was_set: out.clock_was_set || inward.clock_was_set,
        doubt,
        others: Others {
            sent_packets: out.others.sent_packets,
            sent_bytes: out.others.sent_bytes,
            received_packets: inward.others.received_packets,
            received_bytes: inward.others.received_bytes,
        },
    })
}
