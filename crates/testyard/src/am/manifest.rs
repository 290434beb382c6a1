//! What this client reads out of manifests and advertisements, of any aggregate.

use serde::Serialize;
use testyard_xml::{Limits, Node, attribute};

use crate::exit::Failure;
use crate::ssh::Login;

const RSPEC: &str = "http://www.geni.net/resources/rspec/3";
const USER: &str = "http://www.geni.net/resources/rspec/ext/user/1";
const EMULAB: &str = "http://www.protogeni.net/resources/rspec/ext/emulab/1";
const TESTYARD: &str = "http://testyard.dev/rspec/ext/testyard/1";

/// What a host offers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Offer {
    pub(super) host: String,
    pub(super) available: bool,
    pub(super) free: Option<u64>,
    pub(super) sliver_types: Vec<String>,
    pub(super) images: Vec<String>,
}

/// Every login of a manifest, in its order.
pub(super) fn logins(manifest: &str) -> Result<Vec<Login>, Failure> {
    if manifest.trim().is_empty() {
        return Ok(Vec::new());
    }
    let document =
        testyard_xml::parse(manifest, &Limits::RSPEC).map_err(|error| unreadable("manifest", error))?;
    let nodes = document.descendants().filter(|node| node.has_tag_name((RSPEC, "node")));
    Ok(nodes.flat_map(logins_of).collect())
}

/// The logins that are good for a user: those of the user's account, or all if the manifest does not say whose they
/// are; one a node, the last, as jFed takes it.
pub(super) fn logins_of_user(logins: &[Login], user: &str) -> Vec<Login> {
    let mut chosen: Vec<Login> = Vec::new();
    for login in logins.iter().filter(|login| login.user.as_deref().is_none_or(|owner| owner == user)) {
        chosen.retain(|other| other.node != login.node);
        chosen.push(login.clone());
    }
    chosen
}

fn logins_of(node: Node<'_, '_>) -> Vec<Login> {
    let name = attribute(node, "client_id").unwrap_or_default();
    let accounts: Vec<(&str, &str)> = node
        .descendants()
        .filter(|element| element.has_tag_name((USER, "services_user")))
        .filter_map(|element| Some((attribute(element, "login")?, attribute(element, "user_urn")?)))
        .collect();
    let host_keys: Vec<String> = node
        .children()
        .filter(|element| element.has_tag_name((TESTYARD, "host_key")))
        .filter_map(|element| Some(element.text()?.trim().to_owned()))
        .collect();
    node.descendants()
        .filter(|element| element.has_tag_name((RSPEC, "login")))
        .filter(|element| attribute(*element, "authentication") == Some("ssh-keys"))
        .filter_map(|element| {
            let username = attribute(element, "username")?;
            Some(Login {
                node: name.to_owned(),
                hostname: attribute(element, "hostname")?.to_owned(),
                port: attribute(element, "port").unwrap_or("22").parse().ok()?,
                username: username.to_owned(),
                user: accounts.iter().find(|(login, _)| *login == username).map(|(_, urn)| (*urn).to_owned()),
                host_keys: host_keys.clone(),
            })
        })
        .collect()
}

/// The hosts of an advertisement.
pub(super) fn offers(advertisement: &str) -> Result<Vec<Offer>, Failure> {
    let document = testyard_xml::parse(advertisement, &Limits::RSPEC)
        .map_err(|error| unreadable("advertisement", error))?;
    let nodes = document.root_element().children().filter(|node| node.has_tag_name((RSPEC, "node")));
    Ok(nodes.map(offer_of).collect())
}

fn offer_of(node: Node<'_, '_>) -> Offer {
    let elements = |name| node.descendants().filter(move |element| element.has_tag_name((RSPEC, name)));
    let names = |name| elements(name).filter_map(|element| attribute(element, "name").map(str::to_owned));
    let mut images: Vec<String> = names("disk_image").collect();
    images.sort();
    images.dedup();
    Offer {
        host: attribute(node, "component_name")
            .or(attribute(node, "component_id"))
            .unwrap_or_default()
            .to_owned(),
        available: elements("available").any(|element| attribute(element, "now") == Some("true")),
        free: node
            .descendants()
            .find(|element| element.has_tag_name((EMULAB, "node_type")))
            .and_then(|element| attribute(element, "type_slots")?.parse().ok()),
        sliver_types: names("sliver_type").collect(),
        images,
    }
}

fn unreadable(what: &str, error: testyard_xml::XmlError) -> Failure {
    Failure::failed(format!("the aggregate's {what} cannot be read: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = r#"<rspec xmlns="http://www.geni.net/resources/rspec/3" type="manifest"
        xmlns:u="http://www.geni.net/resources/rspec/ext/user/1" xmlns:t="http://testyard.dev/rspec/ext/testyard/1">
        <node client_id="left"><services>
          <u:services_user login="ann" user_urn="urn:publicid:IDN+a+user+ann"/>
          <u:services_user login="bob" user_urn="urn:publicid:IDN+a+user+bob"/>
          <login authentication="ssh-keys" hostname="2001:db8::1" port="22" username="ann"/>
          <login authentication="ssh-keys" hostname="am.example.net" port="12000" username="ann"/>
          <login authentication="ssh-keys" hostname="am.example.net" port="12000" username="bob"/>
        </services><t:host_key>ssh-ed25519 AAAA</t:host_key></node>
        <node client_id="far"><services><login authentication="ssh-keys"/></services></node></rspec>"#;

    #[test]
    fn the_users_own_login_comes_last_and_is_taken() {
        let logins = logins_of_user(&logins(MANIFEST).unwrap_or_default(), "urn:publicid:IDN+a+user+ann");
        assert_eq!(logins.len(), 1);
        assert_eq!(logins[0].command(), "ssh -p 12000 ann@am.example.net");
        assert_eq!(logins[0].host_keys, ["ssh-ed25519 AAAA"]);
    }

    #[test]
    fn a_login_that_nobody_owns_is_anybodys() {
        let text = MANIFEST.replace("u:services_user", "u:other");
        assert_eq!(
            logins_of_user(&logins(&text).unwrap_or_default(), "urn:publicid:IDN+b+user+x")[0].username,
            "bob"
        );
    }
}
