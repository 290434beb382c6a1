//! Reading containers, one by one.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use testyard_model::diagnostic::{Position, Severity};
use testyard_model::mac::Mac;
use testyard_model::name::{ClientId, Hostname};

use crate::boxes::BoxImage;
use crate::remarks::{Remarks, short};
use crate::tree::fields::{Fields, parse};
use crate::tree::{Kind, Value};

const MAX_CONTAINERS: usize = 10_000;
const MAX_INTERFACES: usize = 256;
const KEYS: [&str; 7] = ["name", "host", "image_name", "image_url", "image_type", "image_os", "interfaces"];

/// A container as it was written.
pub(super) struct Container<'v> {
    pub(super) name: ClientId,
    pub(super) at: Position,
    /// With its place.
    pub(super) host: Option<(&'v str, Position)>,
    pub(super) image: BoxImage<'v>,
    pub(super) interfaces: Vec<Nic>,
}

/// An interface of a container.
pub(super) struct Nic {
    pub(super) address: Option<(Ipv4Addr, Option<u8>)>,
    pub(super) at: Position,
    pub(super) mac: Option<Mac>,
}

pub(super) fn all<'v>(value: &'v Value, remarks: &mut Remarks) -> Vec<Container<'v>> {
    let Kind::List(items) = &value.kind else {
        remarks
            .error(value.at, format!("the file is {}, not a list of containers", value.name()))
            .suggest("put [ ] around the containers");
        return Vec::new();
    };
    if items.is_empty() {
        remarks.error(value.at, "the list is empty");
    }
    let mut result: Vec<Container<'v>> = Vec::new();
    let mut seen = Seen::default();
    for item in items {
        if result.len() >= MAX_CONTAINERS {
            remarks.error(item.at, format!("more than {MAX_CONTAINERS} containers"));
            break;
        }
        result.extend(container(item, &mut seen, remarks));
    }
    result
}

/// What must be there once only, with the place where it is.
#[derive(Default)]
struct Seen {
    names: HashMap<ClientId, Position>,
    addresses: HashMap<Ipv4Addr, Position>,
    macs: HashMap<Mac, Position>,
}

fn container<'v>(value: &'v Value, seen: &mut Seen, remarks: &mut Remarks) -> Option<Container<'v>> {
    let fields = Fields::read(value, "a container", &KEYS, Severity::Warning, remarks)?;
    let Some(entry) = fields.entry("name") else {
        remarks.error(value.at, "a container has no name");
        return None;
    };
    let name: ClientId = parse(&entry.value, "name", remarks)?;
    let at = entry.value.at;
    if name.as_str().to_ascii_lowercase().parse::<Hostname>().is_err() {
        let hostname = Hostname::from_client_id(&name);
        remarks.warning(at, format!("{:?} is no host name", short(name.as_str()))).suggest(format!(
            "it is called {hostname:?} inside: use letters, digits and hyphens",
            hostname = hostname.as_str()
        ));
    }
    if let Some(first) = seen.names.insert(name.clone(), at) {
        let message =
            format!("the name {:?} is taken: another container has it, at {first}", short(name.as_str()));
        remarks.error(at, message);
        return None;
    }
    let mut word = |key| fields.text(key, remarks).map(str::trim).filter(|text| !text.is_empty());
    let host = word("host");
    let image = BoxImage {
        name: word("image_name"),
        url: word("image_url"),
        kind: word("image_type"),
        os: word("image_os"),
    };
    let host = host.zip(fields.get("host").map(|value| value.at));
    if host.is_none() {
        remarks.notice(at, format!("container {:?} has no host: one is chosen", short(name.as_str())));
    }
    let interfaces = match fields.get("interfaces").map(|value| (&value.kind, value.at)) {
        None => Vec::new(),
        Some((Kind::List(items), at)) => {
            if items.len() > MAX_INTERFACES {
                remarks.error(at, format!("more than {MAX_INTERFACES} interfaces"));
            }
            items.iter().take(MAX_INTERFACES).filter_map(|item| nic(item, seen, remarks)).collect()
        }
        Some((_, at)) => {
            remarks.error(at, "interfaces is no list").suggest("like [{\"address\": \"10.1.1.2\"}]");
            Vec::new()
        }
    };
    Some(Container { name, at, host, image, interfaces })
}

fn nic(value: &Value, seen: &mut Seen, remarks: &mut Remarks) -> Option<Nic> {
    let fields = Fields::read(value, "an interface", &["address", "mac"], Severity::Warning, remarks)?;
    let mut at = value.at;
    let address = match fields.get("address") {
        None => {
            remarks
                .warning(value.at, "an interface has no address: it is on no LAN")
                .suggest("the address says which LAN it is on");
            None
        }
        Some(given) => {
            at = given.at;
            Some(address(given, remarks)?)
        }
    };
    let mac = match fields.get("mac") {
        None => None,
        Some(given) => {
            let mac = parse::<Mac>(given, "mac", remarks)?;
            if let Some(first) = seen.macs.insert(mac, given.at) {
                remarks.error(given.at, format!("mac {mac} is taken: another interface has it, at {first}"));
            }
            Some(mac)
        }
    };
    if let Some((address, _)) = address
        && let Some(first) = seen.addresses.insert(address, at)
    {
        remarks.error(at, format!("address {address} is taken: another interface has it, at {first}"));
    }
    Some(Nic { address, at, mac })
}

fn address(value: &Value, remarks: &mut Remarks) -> Option<(Ipv4Addr, Option<u8>)> {
    let text = crate::tree::fields::text(value, "address", remarks)?.trim();
    let (address, length) = match text.split_once('/') {
        None => (text, Some(None)),
        Some((address, length)) => {
            (address, length.parse::<u8>().ok().filter(|l| (1..=32).contains(l)).map(Some))
        }
    };
    match (address.parse::<Ipv4Addr>(), length) {
        (Ok(address), Some(length))
            if !address.is_unspecified()
                && !address.is_multicast()
                && !address.is_loopback()
                && !address.is_broadcast() =>
        {
            Some((address, length))
        }
        _ => {
            remarks
                .error(value.at, format!("{:?} is no IPv4 address of an interface", short(text)))
                .suggest("like 10.1.1.2");
            None
        }
    }
}
