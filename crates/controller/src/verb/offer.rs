//! What the testbed offers now.

use testyard_plan::{HostStanding, Usage};

use crate::api::{HostOffer, Offer};
use crate::core::Core;

impl Core {
    pub(crate) fn offer(&self) -> Offer {
        let (settings, state) = (self.settings.load(), self.shared.read());
        let unused = Usage::default();
        let hosts = settings.hosts().iter().map(|host| {
            let resources = &host.resources;
            HostOffer {
                name: resources.name().clone(),
                capacity: resources.capacity(),
                free: state.usage.get(resources.name()).unwrap_or(&unused).free(resources),
                healthy: state.host_standing(resources.name()) == HostStanding::Ready,
                location: host.location.clone(),
            }
        });
        Offer { hosts: hosts.collect(), sliver_types: settings.sliver_types().to_vec() }
    }
}
