//! The suite of all back ends, over netem, on a kernel that has it. Alone in its file: it measures times, so nothing else
//! should run beside it.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod support;

use support::links::{cable, slice, two, wanted};
use support::netem::{ends, has_wire, is_emulated, settle, world};
use support::{Netns, World};
use testyard_fabric::{Emulator, Links as _, LinuxFabric};
use testyard_model::impairment::{Impairment, Loss};
use testyard_wire::conformance::{Backend, Bench};
use tokio::runtime::Runtime;

/// A cable of a fabric, for the suite.
struct Cable<'a> {
    runtime: &'a Runtime,
    fabric: &'a LinuxFabric,
    world: &'a World,
    nodes: &'a [Netns; 2],
    revision: u64,
}

impl Backend for Cable<'_> {
    fn set(&mut self, up: bool, directions: [Vec<Impairment>; 2]) {
        self.revision += 1;
        let mut link = cable(&[]);
        link.up = up;
        let [there, back] = directions.map(|stages| {
            let mut stages = stages.into_iter();
            [stages.next().unwrap_or_default(), stages.next().unwrap_or_default()]
        });
        (link.ends[0].to_link, link.ends[1].from_link) = (there[0], there[1]);
        (link.ends[1].to_link, link.ends[0].from_link) = (back[0], back[1]);
        self.runtime.block_on(self.fabric.join(&wanted(self.revision, vec![link]))).unwrap();
        settle(self.nodes);
        assert!(!has_wire(self.world), "netem does it, and nobody else");
    }

    fn exact(&self) -> bool {
        true
    }

    fn can(&self, stages: &[Impairment]) -> bool {
        let can = |stage: &Impairment| {
            let is_late = stage.rate.is_some() && (stage.jitter.is_some() || !stage.reorder.is_never());
            stage.duplicate.is_never() && !matches!(stage.loss, Some(Loss::Every(_))) && !is_late
        };
        stages.iter().all(can)
    }

    fn keeps_time(&self) -> bool {
        !is_emulated()
    }
}

#[test]
fn netem_is_a_back_end() {
    let Some(world) = world() else { return };
    let runtime = Runtime::new().unwrap();
    let fabric = world.fabric_by("netem", Emulator::Netem);
    runtime.block_on(fabric.join(&wanted(1, vec![cable(&["delay=1ms"])]))).unwrap();
    let nodes = runtime.block_on(two(&fabric));
    let [a, b] = ends(&nodes);
    let mut backend = Cable { runtime: &runtime, fabric: &fabric, world: &world, nodes: &nodes, revision: 1 };
    let report = Bench { backend: &mut backend, ends: [&a, &b] }.all();
    println!("{report}");
    runtime.block_on(fabric.part(slice())).unwrap();
}
