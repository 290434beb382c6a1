//! What the back ends count, by links. Pure.

use testyard_model::id::SliverId;
use testyard_wire::Observed;

use super::layout::Layout;
use super::netem::Counted;
use crate::links::{LinkTraffic, Passed, PortId};

/// A pipe's link, and whose halves its ports are, or are behind them on another host.
pub(super) type Sides = (SliverId, [Option<PortId>; 2]);

/// A direction of a link: who sends, who gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Way {
    pub(super) link: SliverId,
    pub(super) from: Option<PortId>,
    pub(super) to: Option<PortId>,
    /// What the first netem does not let through is lost as asked, rather than too much that is delayed.
    pub(super) loses: bool,
}

impl Layout {
    /// What a wire says, by links.
    pub(super) fn piped(&self, observed: &Observed) -> Vec<LinkTraffic> {
        let mut all = Vec::new();
        for pipe in &observed.pipes {
            let Some((link, [first, second])) = self.sides.get(&pipe.name) else { continue };
            let (first, second) = (first.clone(), second.clone());
            let sides = [(first.clone(), second.clone()), (second, first)];
            for ((from, to), seen) in sides.into_iter().zip(&pipe.directions) {
                let counts = &seen.counts;
                let passed = Passed {
                    offered: counts.offered,
                    delivered: counts.delivered,
                    bytes: counts.bytes,
                    lost: counts.lost,
                    dropped: counts.full + counts.early + seen.cut + seen.memory,
                };
                all.push(LinkTraffic { link: *link, from, to, passed });
            }
        }
        all
    }

    /// What netem says, by links. It counts losses, and what was too much to be delayed, as one.
    pub(super) fn queued(&self, counted: impl Fn(&str) -> Option<Counted>) -> Vec<LinkTraffic> {
        let traffic = |(gate, way): (&String, &Way)| {
            let counted = counted(gate)?;
            let (lost, dropped) = if way.loses { (counted.lost, 0) } else { (0, counted.lost) };
            let passed = Passed {
                offered: counted.delivered + counted.lost + counted.full + counted.waiting,
                delivered: counted.delivered,
                bytes: counted.bytes,
                lost,
                dropped: dropped + counted.full,
            };
            Some(LinkTraffic { link: way.link, from: way.from.clone(), to: way.to.clone(), passed })
        };
        self.ways.iter().filter_map(traffic).collect()
    }
}
