//! Reading NS files with a testbed that knows a few things.

use testyard_formats::import::{Import, Refused, Site};
use testyard_tcl::Process;

#[allow(dead_code, reason = "not every test file reads NS")]
pub(crate) fn site() -> Site {
    let image = |name: &str, image: &str| (name.to_owned(), image.parse().unwrap());
    Site {
        sliver_types: vec!["docker-container".parse().unwrap(), "docker-container_100M".parse().unwrap()],
        images: [image("Mapped-DB", "postgres:16"), image("deter/ub14", "ubuntu:14.04")].into(),
        hosts: vec!["hosta".to_owned()],
    }
}

#[allow(dead_code, reason = "not every test file reads NS")]
pub(crate) fn import(text: &str) -> Result<Import, Refused> {
    testyard_formats::ns::import(text, &site(), &Process::default())
}
