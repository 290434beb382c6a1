//! Reading.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use testyard_model::diagnostic::{Diagnostic, Position, Severity};
use testyard_model::image::ImageSource;
use testyard_model::link::Attribute;
use testyard_model::name::ClientId;
use testyard_model::route::Routing;
use testyard_model::service::{Execute, Install, Shell};
use testyard_model::topology::{Interface, InterfaceAddress, Node, OnFailure, Topology};
use testyard_xml::{Limits, Node as Xml, XmlError, text_of};

use super::KIND;
use super::substrate::{Half, link};
use crate::boxes::{BoxImage, Found, is_of_box};
use crate::csh;
use crate::import::{Import, Refused, Site};
use crate::remarks::{refuse_xml, short};
use crate::rspec::findings::Findings;
use crate::rspec::{check_path, check_url, prefix_length};

const MAX_NODES: usize = 10_000;
const MAX_LINKS: usize = 40_000;
const LIMITS: Limits =
    Limits { bytes: 32 << 20, depth: 32, nodes: 2_000_000, attributes: 16, namespaces: 64 };
/// What of a computer is known and has nothing to become here.
const WITHOUT_EFFECT: [&str; 6] = ["cpu", "localname", "status", "service", "operation", "storage"];

/// Reads a topology in topdl.
///
/// # Errors
/// [`Refused`], with line and column.
pub fn parse(text: &str, site: &Site) -> Result<Import, Refused> {
    let text = text.trim_start_matches('\u{feff}');
    let document = testyard_xml::parse(text, &LIMITS).map_err(|error| malformed(&error))?;
    let root = document.root_element();
    let name = root.tag_name().name();
    if !["topology", "experiment"].contains(&name) {
        let diagnostic = Diagnostic::new(Severity::Error, format!("the root element is {:?}", short(name)))
            .at(Position { line: 1, column: 1 })
            .suggest("topdl begins with <experiment> or <topology>");
        return Err(Refused { diagnostics: vec![diagnostic] });
    }
    let mut reader = Reader {
        site,
        findings: Findings::new(text, 0),
        topology: Topology { routing: Routing::Static, ..Topology::default() },
        substrates: HashMap::new(),
        order: Vec::new(),
        names: HashMap::new(),
        told: HashSet::new(),
    };
    reader.root(root);
    let Reader { findings, mut topology, substrates, order, .. } = reader;
    let mut substrates = substrates;
    let mut findings = findings;
    for name in order {
        let Some(substrate) = substrates.remove(name.as_str()) else { continue };
        if substrate.ends.is_empty() {
            findings.warning(
                substrate.element,
                format!("nothing is on substrate {:?}: it is left out", short(name.as_str())),
            );
            continue;
        }
        let mut link = link(name, substrate.half, substrate.ends, substrate.is_lan);
        link.attributes = substrate.attributes;
        for problem in link.members.iter().filter_map(|member| member.to_link.check().err()) {
            findings.error(
                substrate.element,
                format!("substrate {:?}: {problem}", short(link.client_id.as_str())),
            );
        }
        topology.links.push(link);
    }
    let refused = findings.has_errors();
    let diagnostics = findings.finish();
    if refused {
        Err(Refused { diagnostics })
    } else {
        Ok(Import { topology, diagnostics, report: Vec::new() })
    }
}

fn malformed(error: &XmlError) -> Refused {
    refuse_xml(&error.to_string(), matches!(error, XmlError::Malformed(_)).then(|| "topdl is XML".to_owned()))
}

/// The text of the first child of a name, without white space around it; none if it is empty.
pub(super) fn child_text(element: Xml<'_, '_>, name: &str) -> Option<String> {
    let child = element.children().find(|child| child.tag_name().name() == name)?;
    Some(text_of(child).trim().to_owned()).filter(|text| !text.is_empty())
}

/// The pairs in an element: their wrapper has the name of what is within it.
pub(super) fn attribute_values(element: Xml<'_, '_>) -> Vec<(String, String)> {
    let wrappers = element.children().filter(|child| child.tag_name().name() == "attribute");
    let value = |wrapper: Xml<'_, '_>, name: &str| {
        wrapper.children().find(|child| child.tag_name().name() == name).map(text_of)
    };
    let pair = |wrapper| {
        Some((value(wrapper, "attribute")?.trim().to_owned(), value(wrapper, "value").unwrap_or_default()))
    };
    wrappers.filter_map(pair).collect()
}

struct Substrate<'a, 'input> {
    element: Xml<'a, 'input>,
    half: Half,
    is_lan: bool,
    attributes: Vec<Attribute>,
    ends: Vec<(ClientId, Half)>,
    addresses: HashSet<IpAddr>,
}

struct Reader<'s, 'a, 'input> {
    site: &'s Site,
    findings: Findings<'a>,
    topology: Topology,
    substrates: HashMap<String, Substrate<'a, 'input>>,
    order: Vec<ClientId>,
    /// Nodes and interfaces.
    names: HashMap<(bool, ClientId), Xml<'a, 'input>>,
    /// What was said once for all.
    told: HashSet<String>,
}

impl<'a, 'input> Reader<'_, 'a, 'input> {
    fn root(&mut self, root: Xml<'a, 'input>) {
        if let Some(version) = child_text(root, "version").filter(|version| version != "1.0") {
            self.findings.warning(root, format!("version {:?} is read as 1.0", short(&version)));
        }
        // Computers may stand in front of the substrates that they name.
        for child in root.children().filter(|child| child.tag_name().name() == "substrates") {
            self.substrate(child);
        }
        for child in root.children().filter(Xml::is_element) {
            match child.tag_name().name() {
                "elements" => {
                    for element in child.children().filter(Xml::is_element) {
                        self.element(element);
                    }
                }
                "substrates" | "version" | "attribute" => {}
                other => {
                    self.once(child, other, format!("{:?} has no meaning here and is ignored", short(other)))
                }
            }
        }
        self.topology.attributes = attributes(root, &[]);
    }

    /// A warning that is given once for all things of a kind.
    fn once(&mut self, at: Xml<'a, 'input>, kind: &str, message: String) {
        if self.told.len() < 1000 && self.told.insert(kind.to_owned()) {
            self.findings.warning(at, message);
        }
    }

    fn name(&mut self, element: Xml<'a, 'input>, what: &str) -> Option<ClientId> {
        let Some(text) = child_text(element, "name") else {
            self.findings.error(element, format!("a {what} has no name"));
            return None;
        };
        match text.parse() {
            Ok(name) => Some(name),
            Err(error) => {
                self.findings.error(element, format!("{what}: {error}"));
                None
            }
        }
    }

    fn substrate(&mut self, element: Xml<'a, 'input>) {
        let Some(name) = self.name(element, "substrate") else { return };
        if let Some(first) = self.substrates.get(name.as_str()) {
            let message = format!("the name {:?} is taken: another substrate has it", short(name.as_str()));
            self.findings.error(element, message).place_of(first.element);
            return;
        }
        if self.order.len() >= MAX_LINKS {
            self.findings.error(element, format!("more than {MAX_LINKS} substrates"));
            return;
        }
        let half = Half::read(element, 2, &mut self.findings);
        let is_lan = attribute_values(element).iter().any(|(key, value)| key == KIND && value == "lan");
        let substrate = Substrate {
            element,
            half,
            is_lan,
            attributes: attributes(element, &["loss", KIND]),
            ends: Vec::new(),
            addresses: HashSet::new(),
        };
        self.substrates.insert(name.to_string(), substrate);
        self.order.push(name);
    }

    fn element(&mut self, element: Xml<'a, 'input>) {
        let kind = element.tag_name().name();
        if kind != "computer" {
            let what = if ["testbed", "segment", "other"].contains(&kind) {
                "is no computer"
            } else {
                "is not known"
            };
            self.findings
                .warning(element, format!("an element of kind {:?} {what} and is left out", short(kind)))
                .suggest("what is joined to it has no peer there");
            return;
        }
        if self.topology.nodes.len() >= MAX_NODES {
            self.once(element, "nodes", String::new());
            self.findings.error(element, format!("more than {MAX_NODES} computers"));
            return;
        }
        let Some(name) = self.name(element, "computer") else { return };
        if let Some(first) = self.names.insert((true, name.clone()), element) {
            let message = format!("the name {:?} is taken: another computer has it", short(name.as_str()));
            self.findings.error(element, message).place_of(first);
            return;
        }
        let mut node = Node::new(name);
        self.attributes_of(element, &mut node);
        for child in element.children().filter(Xml::is_element) {
            match child.tag_name().name() {
                "name" | "attribute" => {}
                "os" => self.os(child, &mut node),
                "software" => self.software(child, &mut node),
                "interface" => self.interface(child, &mut node),
                other if WITHOUT_EFFECT.contains(&other) => {
                    self.once(child, other, format!("{other} of computers has no effect here"));
                }
                other => self.once(child, other, format!("{:?} has no meaning in a computer", short(other))),
            }
        }
        self.box_image(element, &mut node);
        self.topology.nodes.push(node);
    }

    /// The image of a node whose `os` names none.
    fn box_image(&mut self, element: Xml<'a, 'input>, node: &mut Node) {
        let Some(asked) = BoxImage::of(&node.attributes).filter(|_| node.image.is_none()) else { return };
        match asked.find(self.site) {
            Found::Image(image) => node.image = Some(image.into()),
            Found::Default { message, suggestion } => {
                if self.told.len() < 1000 && self.told.insert(message.clone()) {
                    let remark = self.findings.warning(element, message);
                    if let Some(suggestion) = suggestion {
                        remark.suggest(suggestion);
                    }
                }
            }
        }
    }

    fn attributes_of(&mut self, element: Xml<'a, 'input>, node: &mut Node) {
        let mut seen = HashSet::new();
        for (key, value) in attribute_values(element) {
            let is_first = seen.insert(key.clone());
            match key.as_str() {
                "startup" | "failureaction" | "containers:partition" if !is_first => {}
                "startup" if value.trim().is_empty() => {}
                "startup" => {
                    let command = csh::to_sh(&value);
                    if let Some(doubt) = command.doubt() {
                        self.findings.warning(element, format!("startup: {doubt}"));
                    } else if let Some(note) = command.note() {
                        self.findings.notice(element, format!("startup: {note}"));
                    }
                    node.services.executes.push(Execute {
                        shell: Shell::Sh,
                        command: command.text,
                        timeout: None,
                    });
                }
                "containers:partition" => node.partition = Some(value),
                "failureaction" => match value.as_str() {
                    "fatal" => node.on_failure = OnFailure::Fatal,
                    "nonfatal" => node.on_failure = OnFailure::Nonfatal,
                    "ignore" => node.on_failure = OnFailure::Ignore,
                    _ => {
                        self.findings
                            .warning(
                                element,
                                format!("failureaction is {:?}: taken for fatal", short(&value)),
                            )
                            .suggest("one of fatal, nonfatal, ignore");
                    }
                },
                "type"
                    if node.sliver_type.is_none()
                        && self.site.sliver_types.iter().any(|t| t.as_str() == value) =>
                {
                    node.sliver_type = value.parse().ok();
                }
                _ => {
                    let effect = match key.as_str() {
                        "type" if is_first => {
                            let message = format!(
                                "{:?} is no kind of node here: the default kind is taken",
                                short(&value)
                            );
                            if self.told.len() < 1000 && self.told.insert(message.clone()) {
                                self.findings.notice(element, message);
                            }
                            true
                        }
                        key => !key.starts_with("containers:") || is_of_box(key),
                    };
                    if !effect {
                        let message = format!("{} is kept, but has no effect here", short(&key));
                        self.once(element, &key, message);
                    }
                    if key == "fixed" {
                        let message =
                            format!("the computer is bound to {:?}, which has no effect here", short(&value));
                        self.findings.warning(element, message).suggest("containers:partition names a host");
                    }
                    node.attributes.push(Attribute { key, value });
                }
            }
        }
    }

    fn os(&mut self, element: Xml<'a, 'input>, node: &mut Node) {
        let osid =
            attribute_values(element).into_iter().find(|(key, _)| key == "osid").map(|(_, value)| value);
        let Some(osid) = osid.or_else(|| child_text(element, "name")) else { return };
        if node.image.is_some() {
            self.findings.warning(element, "the computer has several os: the first counts");
            return;
        }
        node.image =
            self.site.images.get(&osid).cloned().map(Into::into).or_else(|| osid.parse::<ImageSource>().ok());
        if node.image.is_none() {
            let kind = format!("osid {osid}");
            let message = format!("there is no image for {:?} here: the default is taken", short(&osid));
            self.once(element, &kind, message);
            node.attributes.push(Attribute { key: "osid".to_owned(), value: osid });
        }
    }

    fn software(&mut self, element: Xml<'a, 'input>, node: &mut Node) {
        let location = child_text(element, "location").unwrap_or_default();
        let Some(path) = child_text(element, "install") else {
            self.findings
                .warning(element, format!("the package {:?} is not installed", short(&location)))
                .suggest("only archives with install (a folder) are, or choose an image that has it");
            return;
        };
        if let Some(problem) = check_url(&location).err().or_else(|| check_path(&path).err()) {
            self.findings.warning(element, format!("software {problem}: it is left out"));
            return;
        }
        node.services.installs.push(Install { url: location, path, checksum: None });
    }

    fn interface(&mut self, element: Xml<'a, 'input>, node: &mut Node) {
        let number = node.interfaces.len();
        let name = child_text(element, "name").unwrap_or_else(|| format!("inf{number:03}"));
        let client_id: ClientId = match format!("{}:{name}", node.client_id).parse() {
            Ok(client_id) => client_id,
            Err(error) => {
                self.findings.error(element, format!("interface: {error}"));
                return;
            }
        };
        if let Some(first) = self.names.insert((false, client_id.clone()), element) {
            let message =
                format!("the name {:?} is taken: another interface of the computer has it", short(&name));
            self.findings.error(element, message).place_of(first);
            return;
        }
        let mut interface = Interface::new(client_id.clone());
        let pairs = attribute_values(element);
        let first = |key: &str| pairs.iter().find(|(known, _)| known == key).map(|(_, value)| value.trim());
        if let Some(text) = first("ip4_address") {
            let mask = first("ip4_netmask");
            let address = text.parse::<IpAddr>().ok().filter(IpAddr::is_ipv4);
            let length = address.and_then(|address| mask.map(|mask| prefix_length(mask, address)));
            match (address, length) {
                (Some(address), None) => {
                    interface.addresses.push(InterfaceAddress { address, prefix_length: None })
                }
                (Some(address), Some(Some(length))) => {
                    interface.addresses.push(InterfaceAddress { address, prefix_length: Some(length) });
                }
                _ => {
                    let message = format!(
                        "{:?} with mask {:?} is no address",
                        short(text),
                        short(mask.unwrap_or_default())
                    );
                    self.findings.error(element, message).suggest("like 10.1.1.2 and 255.255.255.0");
                }
            }
        }
        if let Some(text) = first("mac_address") {
            match text.parse() {
                Ok(mac) => interface.mac = Some(mac),
                Err(error) => {
                    self.findings.error(element, error.to_string());
                }
            }
        }
        interface.attributes = attributes(element, &["ip4_address", "ip4_netmask", "mac_address", "loss"]);
        let half = Half::read(element, 1, &mut self.findings);
        let names: Vec<String> = element
            .children()
            .filter(|child| child.tag_name().name() == "substrate")
            .map(|child| text_of(child).trim().to_owned())
            .collect();
        if names.len() > 1 {
            self.findings.warning(
                element,
                format!("interface {:?} is on {} substrates: the first counts", short(&name), names.len()),
            );
        }
        if let Some(name) = names.first() {
            match self.substrates.get_mut(name.as_str()) {
                Some(substrate) => {
                    for address in &interface.addresses {
                        if !substrate.addresses.insert(address.address) {
                            let message = format!(
                                "address {} is on substrate {:?} twice",
                                address.address,
                                short(name)
                            );
                            self.findings.error(element, message).suggest("give each interface its own");
                        }
                    }
                    substrate.ends.push((client_id, half));
                }
                None => {
                    self.findings.error(element, format!("there is no substrate {:?}", short(name)));
                }
            }
        }
        node.interfaces.push(interface);
    }
}

/// The attributes of an element that are kept as they are.
fn attributes(element: Xml<'_, '_>, without: &[&str]) -> Vec<Attribute> {
    let pairs = attribute_values(element).into_iter();
    pairs
        .filter(|(key, _)| !without.contains(&key.as_str()))
        .map(|(key, value)| Attribute { key, value })
        .collect()
}
