//! The suite of all back ends, over the wire. Alone in its file: it measures times, so nothing else should run beside it.

mod support;

use support::{Rig, WireBackend};
use testyard_wire::conformance::Bench;

#[test]
fn net_the_wire_is_a_back_end() {
    let mut rig = Rig::new();
    let client = rig.start();
    let [a, b] = rig.ends();
    let mut backend = WireBackend { client, pipe: rig.pipe(), revision: 0 };
    let report = Bench { backend: &mut backend, ends: [&a, &b] }.all();
    println!("{report}");
}
