//! What a sliver is doing, from what should be and what its host last saw. Nothing of it is stored.
//!
//! ```text
//! allocated ─► pending_allocation
//! power off ─► stopping, until the host says stopped: notready
//! power on  ─► configuring while a boot or disk is asked for that the host has not come to, and until SSH answers;
//!              ready_busy while installs run; ready, or updating_users while accounts are on their way
//! failed in the boot that is asked for, or an install failed ─► failed, with the reason
//! ```

use testyard_agent::desired::{self, Power};
use testyard_agent::observed::{self, Phase};
use testyard_guest_protocol::{ServiceId, ServiceState};
use testyard_model::state::{Allocation, Operational};

/// What a sliver is doing, and what is wrong with it (empty if nothing).
#[must_use]
pub fn operational(
    allocation: Allocation,
    desired: &desired::Node,
    observed: Option<&observed::Node>,
) -> (Operational, String) {
    if allocation != Allocation::Provisioned {
        return (Operational::PendingAllocation, String::new());
    }
    let Some(observed) = observed else {
        let state = if desired.power == Power::On { Operational::Configuring } else { Operational::Stopping };
        return (state, String::new());
    };
    let state = match desired.power {
        Power::Off => off(observed),
        Power::On if observed.boot < desired.boot || observed.disk < desired.disk => {
            // What is wrong with the boot before does not matter any more.
            return (Operational::Configuring, String::new());
        }
        Power::On => on(desired, observed),
    };
    let error = match (&observed.problem, failed_install(observed)) {
        (Some(problem), _) => problem.clone(),
        (None, Some(failure)) if state == Operational::Failed => failure,
        (None, _) if state == Operational::Failed => {
            "the node failed and its host does not say why: try geni_restart, then geni_reload".to_owned()
        }
        (None, _) => String::new(),
    };
    (state, error)
}

fn off(observed: &observed::Node) -> Operational {
    match observed.phase {
        Phase::Stopped => Operational::NotReady,
        Phase::Failed => Operational::Failed,
        _ => Operational::Stopping,
    }
}

fn on(desired: &desired::Node, observed: &observed::Node) -> Operational {
    match observed.phase {
        Phase::Failed => Operational::Failed,
        Phase::Installing | Phase::Ready if failed_install(observed).is_some() => Operational::Failed,
        Phase::Installing => Operational::ReadyBusy,
        Phase::Ready if observed.accounts_revision < desired.accounts_revision => Operational::UpdatingUsers,
        Phase::Ready => Operational::Ready,
        Phase::Waiting
        | Phase::Pulling
        | Phase::Booting
        | Phase::Configuring
        | Phase::Stopping
        | Phase::Stopped => Operational::Configuring,
    }
}

fn failed_install(observed: &observed::Node) -> Option<String> {
    observed.services.iter().find_map(|service| match (service.id, service.state) {
        (ServiceId::Install(number), ServiceState::Failed) => Some(format!(
            "install {number} failed: {}; mend it over SSH, or delete the node and ask again",
            service.detail
        )),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use Operational as O;
    use testyard_fabric::ControlAddress;
    use testyard_guest_protocol::{ProgramState, ServiceReport};
    use testyard_model::id::SliverId;
    use testyard_model::service::Services;
    use testyard_model::sliver_type::{Limits, Privileges, RuntimeKind};

    fn desired(power: Power, boot: u32) -> desired::Node {
        desired::Node {
            sliver: SliverId::from_uuid(uuid::Uuid::nil()),
            client_id: "a".parse().unwrap(),
            hostname: "a".parse().unwrap(),
            runtime: RuntimeKind::Fake,
            image: "debian".parse().unwrap(),
            limits: Limits::default(),
            privileges: Privileges::default(),
            power,
            boot,
            disk: 0,
            address: ControlAddress { ipv4: [10, 0, 0, 2].into(), ipv6: None },
            forwards: vec![],
            host_keys: vec![],
            accounts_revision: 1,
            accounts: vec![],
            services: Services::default(),
            storage: vec![],
            programs: vec![],
            network: desired::NodeNetwork::default(),
        }
    }

    fn observed(phase: Phase) -> observed::Node {
        observed::Node {
            sliver: SliverId::from_uuid(uuid::Uuid::nil()),
            phase,
            converged: false,
            boot: 0,
            disk: 0,
            accounts_revision: 1,
            problem: None,
            notices: Vec::new(),
            image: None,
            pull: None,
            making: None,
            program: ProgramState::None,
            services: vec![],
            programs: vec![],
            timeline: vec![],
        }
    }

    fn state(power: Power, boot: u32, seen: Option<&observed::Node>) -> O {
        operational(Allocation::Provisioned, &desired(power, boot), seen).0
    }

    #[test]
    fn a_boot_from_begin_to_end() {
        let allocated = operational(Allocation::Allocated, &desired(Power::On, 0), None);
        assert_eq!(allocated, (O::PendingAllocation, String::new()));
        assert_eq!(state(Power::On, 0, None), O::Configuring);
        for (phase, on, off) in [
            (Phase::Waiting, O::Configuring, O::Stopping),
            (Phase::Pulling, O::Configuring, O::Stopping),
            (Phase::Booting, O::Configuring, O::Stopping),
            (Phase::Configuring, O::Configuring, O::Stopping),
            (Phase::Installing, O::ReadyBusy, O::Stopping),
            (Phase::Ready, O::Ready, O::Stopping),
            (Phase::Stopping, O::Configuring, O::Stopping),
            (Phase::Stopped, O::Configuring, O::NotReady),
            (Phase::Failed, O::Failed, O::Failed),
        ] {
            assert_eq!(state(Power::On, 0, Some(&observed(phase))), on, "{phase:?}");
            assert_eq!(state(Power::Off, 0, Some(&observed(phase))), off, "{phase:?}");
        }
    }

    #[test]
    fn a_new_boot_leaves_old_failures_behind() {
        let mut seen = observed(Phase::Failed);
        seen.problem = Some("no disk".to_owned());
        let wanted = |boot| operational(Allocation::Provisioned, &desired(Power::On, boot), Some(&seen));
        assert_eq!(wanted(0), (O::Failed, "no disk".to_owned()));
        assert_eq!(wanted(1), (O::Configuring, String::new()));
    }

    #[test]
    fn accounts_on_their_way() {
        let mut seen = observed(Phase::Ready);
        seen.accounts_revision = 0;
        assert_eq!(state(Power::On, 0, Some(&seen)), O::UpdatingUsers);
        seen.phase = Phase::Installing;
        assert_eq!(state(Power::On, 0, Some(&seen)), O::ReadyBusy);
    }

    #[test]
    fn a_failed_install_fails_the_node_and_a_failed_execute_does_not() {
        let mut seen = observed(Phase::Ready);
        let report = |id, state| ServiceReport { id, state, detail: "404".to_owned(), folder: String::new() };
        seen.services = vec![report(ServiceId::Execute(0), ServiceState::Failed)];
        assert_eq!(state(Power::On, 0, Some(&seen)), O::Ready);
        seen.services.push(report(ServiceId::Install(3), ServiceState::Failed));
        let (state, error) = operational(Allocation::Provisioned, &desired(Power::On, 0), Some(&seen));
        assert_eq!(state, O::Failed);
        assert!(error.starts_with("install 3 failed: 404"));
    }

    #[test]
    fn a_warning_is_shown_and_changes_nothing() {
        let mut seen = observed(Phase::Ready);
        seen.problem = Some("the image's program has ended".to_owned());
        let (state, error) = operational(Allocation::Provisioned, &desired(Power::On, 0), Some(&seen));
        assert_eq!((state, error.is_empty()), (O::Ready, false));
    }
}
