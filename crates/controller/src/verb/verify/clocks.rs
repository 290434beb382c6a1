//! How far the clocks of hosts are ahead of each other, and how sure that is.
//!
//! Each host is asked for its time a few times. It was read between question and answer, so the quickest answer says best
//! what it is compared to this process's clock. What an answer took is what may be wrong.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use futures_util::future::join_all;
use testyard_agent::probe::{Path, Probe};
use testyard_model::id::{HostName, SliceId};
use testyard_model::probe::{Probed, SHORTEST, Train};
use testyard_model::quantity::Span;

use crate::hosts::Driver;

/// So often a host is asked.
const TIMES: usize = 8;

/// By host: how far its clock is ahead of this process's, and by how much that may be wrong, in nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Clocks(HashMap<HostName, Ahead>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ahead {
    offset: i128,
    error: u64,
}

impl Clocks {
    /// As they are now. A host that does not say is left out.
    pub(super) async fn read(slice: SliceId, drivers: &[Arc<Driver>]) -> Self {
        // Of one process, so that all answers are compared to one clock.
        let origin = *ORIGIN;
        let read = async |driver: &Arc<Driver>| {
            let mut best: Option<Ahead> = None;
            for _ in 0..TIMES {
                let before = origin.elapsed().as_nanos();
                let answers = driver.host.probe(slice, vec![question()]).await.ok()?;
                let after = origin.elapsed().as_nanos();
                let Some(Probed::Sent(samples)) = answers.into_iter().next() else { return None };
                let told = i128::from(*samples.sent.first()?);
                let took = u64::try_from(after - before).unwrap_or(u64::MAX);
                let between = i128::try_from(before.midpoint(after)).ok()?;
                let ahead = Ahead { offset: told - between, error: took.div_ceil(2) };
                best = Some(best.filter(|best| best.error <= ahead.error).unwrap_or(ahead));
            }
            Some((driver.name.clone(), best?))
        };
        Self(join_all(drivers.iter().map(read)).await.into_iter().flatten().collect())
    }

    /// What holds between these and later ones: clocks may run apart.
    pub(super) fn and(self, later: Self) -> Self {
        let both = self.0.into_iter().filter_map(|(host, before)| {
            let after = later.0.get(&host)?;
            let offset = i128::midpoint(before.offset, after.offset);
            let apart = u64::try_from((after.offset - before.offset).abs() / 2).unwrap_or(u64::MAX);
            Some((host, Ahead { offset, error: before.error.max(after.error).saturating_add(apart) }))
        });
        Self(both.collect())
    }

    /// How far one host's clock is ahead of another's, and by how much that may be wrong.
    pub(super) fn between(&self, one: &HostName, other: &HostName) -> Option<(i128, u64)> {
        let (one, other) = (self.0.get(one)?, self.0.get(other)?);
        Some((one.offset - other.offset, one.error.saturating_add(other.error)))
    }
}

static ORIGIN: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);

fn question() -> Probe {
    let train = Train { frames: 1, length: SHORTEST, interval: Span::ZERO, patience: Span::ZERO };
    Probe { path: Path::Clock, train, greeting: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clocks(all: &[(&str, i128, u64)]) -> Clocks {
        let one = |(name, offset, error): &(&str, i128, u64)| {
            (name.parse().unwrap(), Ahead { offset: *offset, error: *error })
        };
        Clocks(all.iter().map(one).collect())
    }

    #[test]
    fn what_is_known_of_two_clocks() {
        let host = |name: &str| name.parse::<HostName>().unwrap();
        let before = clocks(&[("a", 1_000, 10), ("b", -500, 20), ("c", 0, 1)]);
        assert_eq!(before.between(&host("a"), &host("b")), Some((1_500, 30)));
        assert_eq!(before.between(&host("b"), &host("a")), Some((-1_500, 30)));
        assert_eq!(before.between(&host("a"), &host("d")), None);
        // One ran ahead by 100 meanwhile: in the middle it was 50, give or take 50.
        let both = before.and(clocks(&[("a", 1_100, 5), ("b", -500, 20)]));
        assert_eq!(both, clocks(&[("a", 1_050, 60), ("b", -500, 20)]));
    }
}
