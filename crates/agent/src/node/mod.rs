//! One node of a host: what to do next ([`decide`]), doing it ([`task`], [`steps`], [`talk`]), and saying how it stands
//! ([`report`]).

pub(crate) mod decide;
pub(crate) mod disk;
pub(crate) mod inside;
pub(crate) mod notice;
pub(crate) mod programs;
pub(crate) mod report;
mod spare;
mod steps;
mod talk;
pub(crate) mod task;
mod wait;
pub(crate) mod wake;

#[cfg(test)]
pub(crate) mod tests {
    use testyard_fabric::ControlAddress;
    use testyard_model::id::SliverId;
    use testyard_model::service::Services;
    use testyard_model::sliver_type::{Limits, Privileges, RuntimeKind};
    use testyard_runtime::{Image, ImageConfig};
    use uuid::Uuid;

    use crate::desired;

    pub(crate) fn image() -> Image {
        Image {
            name: "debian:12".parse().unwrap(),
            id: "sha256:1".into(),
            digest: None,
            config: ImageConfig::default(),
        }
    }

    pub(crate) fn desired_node() -> desired::Node {
        desired::Node {
            sliver: SliverId::from_uuid(Uuid::nil()),
            client_id: "web".parse().unwrap(),
            hostname: "web".parse().unwrap(),
            runtime: RuntimeKind::Fake,
            image: "debian:12".parse().unwrap(),
            limits: Limits::default(),
            privileges: Privileges::default(),
            power: desired::Power::On,
            boot: 0,
            disk: 0,
            address: ControlAddress { ipv4: [10, 77, 0, 2].into(), ipv6: None },
            forwards: Vec::new(),
            host_keys: Vec::new(),
            accounts_revision: 0,
            accounts: Vec::new(),
            services: Services::default(),
            storage: Vec::new(),
            programs: Vec::new(),
            network: desired::NodeNetwork::default(),
        }
    }
}
