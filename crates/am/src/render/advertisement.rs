//! The advertisement.

use jiff::Timestamp;
use testyard_controller::api::{HostOffer, Offer};
use testyard_formats::rspec::{AdvertisedHost, Advertisement, Location};
use testyard_model::id::HostName;
use testyard_model::urn::Urn;

use crate::settings::AmSettings;

/// The URN of a host of this testbed.
pub(super) fn component(settings: &AmSettings, host: &HostName) -> Urn {
    Urn::new(settings.urn.authority(), "node", host.as_str()).expect("a host name is a name part of a URN")
}

pub(crate) fn advertisement(
    offer: &Offer,
    only_available: bool,
    settings: &AmSettings,
    now: Timestamp,
) -> String {
    let available = |host: &HostOffer| host.healthy && host.free > 0;
    let hosts =
        offer.hosts.iter().filter(|host| !only_available || available(host)).map(|host| AdvertisedHost {
            component: component(settings, &host.name),
            name: host.name.to_string(),
            available: available(host),
            free_slots: if host.healthy { host.free } else { 0 },
            location: host.location.as_ref().map(|location| Location {
                country: location.country.clone(),
                latitude: location.latitude,
                longitude: location.longitude,
            }),
            sliver_types: offer.sliver_types.iter().collect(),
        });
    testyard_formats::rspec::advertisement(&Advertisement {
        component_manager: &settings.urn,
        generated: now,
        hosts: hosts.collect(),
    })
}
