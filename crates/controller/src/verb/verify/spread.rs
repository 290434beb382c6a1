//! A step of a measurement, spread over the hosts that have to do with it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use futures_util::future::join_all;
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
        let drivers: Vec<_> = questions.keys().map(|host| self.drivers.get(host)).collect();
        // In the order of their names, so that no two measurements wait for each other.
        let mut only_ones = Vec::with_capacity(drivers.len());
        for driver in drivers.iter().flatten() {
            only_ones.push(driver.probing.lock().await);
        }
        let is_split = asked.iter().any(|asked| matches!(asked, Asked::Halves { .. }));
        let before = if is_split { Some(Clocks::read(slice, drivers.iter().flatten()).await) } else { None };
        let ask = |((host, probes), driver): ((&&HostName, &Vec<Probe>), &Option<_>)| {
            let (host, probes, count) = (host.to_string(), probes.clone(), probes.len());
            let driver: Option<std::sync::Arc<crate::hosts::Driver>> = driver.clone();
            async move {
                let answers = match driver {
                    Some(driver) => driver.host.probe(slice, probes).await.map_err(|error| error.to_string()),
                    None => Err(format!("host {host} is not in the configuration")),
                };
                answers.unwrap_or_else(|why| vec![Probed::Failed(why); count])
            }
        };
        let answers: Vec<Vec<Probed>> = join_all(questions.iter().zip(&drivers).map(ask)).await;
        let clocks = match before {
            Some(before) => before.and(Clocks::read(slice, drivers.iter().flatten()).await),
            None => Clocks::default(),
        };
        drop(only_ones);
        let mut answers: HashMap<&HostName, Vec<Option<Probed>>> = questions
            .keys()
            .copied()
            .zip(answers.into_iter().map(|all| all.into_iter().map(Some).collect()))
            .collect();
        let mut take = |(host, place): (&HostName, usize)| {
            let answer = answers.get_mut(host).and_then(|all| all.get_mut(place)?.take());
            answer.unwrap_or_else(|| Probed::Failed(format!("host {host} has not answered")))
        };
        let came_of = |asked: Asked<'_>| match asked {
            Asked::Each(all) => all
                .into_iter()
                .map(&mut take)
                .reduce(slower)
                .unwrap_or_else(|| Probed::Failed("no host could be asked".to_owned())),
            Asked::Halves { out, inward } => {
                let names = (out.0, inward.0);
                whole(take(out), take(inward), names, &clocks)
            }
            Asked::Nobody(why) => Probed::Failed(why),
        };
        asked.into_iter().map(came_of).collect()
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
