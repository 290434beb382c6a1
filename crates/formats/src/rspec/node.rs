//! Reading one node of ours.

use testyard_model::image::ImageSource;
use testyard_model::name::{ClientId, SliverTypeName};
use testyard_model::sliver_type::{Port, Protocol};
use testyard_model::topology::Node;
use testyard_model::urn::Urn;
use testyard_xml::{Node as Xml, attribute};

use super::context::{Context, RequestLimits};
use super::element::{boolean, core_children, is_core, short, word};
use super::findings::Findings;
use super::images;
use super::namespace::{EMULAB, RSPEC, TESTYARD};
use super::network::Network;
use super::request::{is_slip_of_rspec, unknown};
use super::services;

/// What RSpec puts into a node. `host` is a manifest's, and harmless in a request made of one.
const CHILDREN: &[&str] =
    &["relation", "location", "hardware_type", "sliver_type", "services", "interface", "host"];

/// What our namespace puts into a node; all but the port are a manifest's.
const OWN_CHILDREN: &[&str] = &["port", "forward", "host_key", "address"];

/// A node as read.
pub(super) struct Read {
    pub(super) node: Node,
    pub(super) routable_control_ip: bool,
}

/// Reads a node. `None` if it has no usable name: then there is an error about that already.
pub(super) fn read(
    element: Xml<'_, '_>,
    context: &Context,
    network: &mut Network<'_, '_>,
    findings: &mut Findings<'_>,
) -> Option<Read> {
    let client_id = client_id(element, "node", findings);
    children(element, findings);
    let (sliver_type, image) = sliver_type(element, findings);
    let exclusive = exclusive(element, findings);
    let component = component(element, findings);
    let ports = ports(element, &context.limits, findings);
    let services = services::read(element, &context.limits, findings);
    let interfaces = network.interfaces(element, &context.limits, findings);
    let routable_control_ip =
        element.children().any(|child| child.has_tag_name((EMULAB, "routable_control_ip")));
    let client_id = client_id?;
    let node = Node {
        sliver_type,
        image,
        component,
        exclusive,
        ports,
        services,
        interfaces,
        ..Node::new(client_id)
    };
    Some(Read { node, routable_control_ip })
}

/// The name of a node, interface or link.
pub(super) fn client_id(element: Xml<'_, '_>, what: &str, findings: &mut Findings<'_>) -> Option<ClientId> {
    let Some(text) = attribute(element, "client_id") else {
        findings.error(element, format!("the {what} has no client_id"));
        return None;
    };
    match text.parse::<ClientId>() {
        Ok(id) => Some(id),
        Err(error) => {
            findings.error(element, format!("{what}: {error}"));
            None
        }
    }
}

/// Children that mean nothing, and those whose meaning is elsewhere.
fn children(element: Xml<'_, '_>, findings: &mut Findings<'_>) {
    for child in element.children().filter(|child| child.is_element()) {
        let name = child.tag_name().name();
        match child.tag_name().namespace() {
            Some(RSPEC) => match name {
                "ip" => {
                    findings
                        .warning(child, "ip stands directly in node and is ignored")
                        .suggest("put it into an interface of the node");
                }
                "disk_image" => {
                    findings
                        .error(child, "disk_image stands directly in node, where it would have no effect")
                        .suggest("put it into sliver_type");
                }
                "install" | "execute" => {
                    findings
                        .error(
                            child,
                            format!("{name} stands directly in node, where it would have no effect"),
                        )
                        .suggest("put it into services");
                }
                _ if CHILDREN.contains(&name) => {}
                _ => unknown(child, CHILDREN, findings),
            },
            Some(TESTYARD) if !OWN_CHILDREN.contains(&name) => unknown(child, OWN_CHILDREN, findings),
            None | Some("") => {
                let remark =
                    findings.warning(child, format!("{:?} is in no namespace and is ignored", short(name)));
                remark.suggest(format!("put it into namespace {RSPEC:?}"));
            }
            Some(namespace) if CHILDREN.contains(&name) && is_slip_of_rspec(namespace) => {
                let message = format!("{name} is in namespace {:?} and is ignored", short(namespace));
                findings.warning(child, message).suggest(format!("did you mean {RSPEC:?}?"));
            }
            Some(_) => {}
        }
    }
}

fn sliver_type(
    element: Xml<'_, '_>,
    findings: &mut Findings<'_>,
) -> (Option<SliverTypeName>, Option<ImageSource>) {
    let mut all = core_children(element, "sliver_type");
    let Some(first) = all.next() else { return (None, None) };
    if let Some(second) = all.next() {
        findings.warning(second, "the node has several sliver_types: only the first is taken");
    }
    let name = match word(first, "name") {
        None => {
            findings.error(first, "sliver_type has no name");
            None
        }
        Some(name) => match name.parse::<SliverTypeName>() {
            Ok(name) => Some(name),
            Err(error) => {
                findings.error(first, error.to_string());
                None
            }
        },
    };
    for child in first.children().filter(|child| child.tag_name().namespace() == Some(RSPEC)) {
        if !is_core(child, "disk_image") {
            unknown(child, &["disk_image"], findings);
        }
    }
    let image = images::read(first, findings);
    let docker = first.children().find(|child| child.has_tag_name((EMULAB, "docker")));
    let image = match docker {
        Some(docker) => emulab_docker(docker, image, findings),
        None => image,
    };
    (name, image)
}

/// geni-lib's wishes for Docker nodes at Emulab (`docker_extimage`, `docker_dockerfile` and so on): what they say of the image counts.
fn emulab_docker(
    docker: Xml<'_, '_>,
    image: Option<ImageSource>,
    findings: &mut Findings<'_>,
) -> Option<ImageSource> {
    // What the guest does anyway: SSH into any image, by any shell that the image has.
    const DONE: &[&str] = &["tbaugmentation", "tbaugmentation_update", "ssh_style"];
    if word(docker, "privileged").is_some_and(|text| text != "0" && !text.eq_ignore_ascii_case("false")) {
        findings
            .error(docker, "privileged containers are not given by this testbed")
            .suggest("ask for a sliver type with the capabilities that you need");
        return image;
    }
    let mut found = None;
    for name in ["extimage", "dockerfile"] {
        let Some(text) = word(docker, name) else { continue };
        let what = format!("emulab:docker {name}");
        match images::source(docker, &what, text, findings) {
            Some(ImageSource::Name(_)) if name == "dockerfile" => {
                findings.error(docker, format!("{what}: {:?} is no URL", short(text)));
            }
            Some(source) if found.is_none() => found = Some(source),
            Some(_) => {
                findings.warning(docker, "extimage and dockerfile are both given: extimage is taken");
            }
            None => {}
        }
    }
    if found.is_some() && image.is_some() && found != image {
        findings.warning(
            docker,
            "emulab:docker and disk_image name different images: that of emulab:docker is taken",
        );
    }
    let odd: Vec<&str> = docker
        .attributes()
        .map(|attribute| attribute.name())
        .filter(|name| !DONE.contains(name) && !["extimage", "dockerfile", "privileged"].contains(name))
        .collect();
    if !odd.is_empty() {
        findings
            .notice(
                docker,
                format!("emulab:docker is kept; of it has no effect here: {}", short(&odd.join(", "))),
            )
            .suggest("limits come with the sliver type, programs and their environment with the image");
    }
    found.or(image)
}

fn exclusive(element: Xml<'_, '_>, findings: &mut Findings<'_>) -> bool {
    let Some(text) = word(element, "exclusive") else { return false };
    boolean(text).unwrap_or_else(|| match text.to_ascii_lowercase().as_str() {
        lower @ ("true" | "false") => {
            findings.warning(element, format!("exclusive={text:?} is taken for {lower}"));
            lower == "true"
        }
        _ => {
            findings.error(element, format!("exclusive={:?} is neither true nor false", short(text)));
            false
        }
    })
}

fn component(element: Xml<'_, '_>, findings: &mut Findings<'_>) -> Option<Urn> {
    let text = word(element, "component_id")?;
    match text.parse::<Urn>() {
        Ok(urn) => Some(urn),
        Err(error) => {
            findings
                .error(element, format!("component_id: {error}"))
                .suggest("take it from the advertisement, or leave it out to have a host chosen");
            None
        }
    }
}

fn ports(element: Xml<'_, '_>, limits: &RequestLimits, findings: &mut Findings<'_>) -> Vec<Port> {
    let mut ports: Vec<Port> = Vec::new();
    for child in element.children().filter(|child| child.has_tag_name((TESTYARD, "port"))) {
        let protocol = word(child, "protocol").unwrap_or("tcp").to_ascii_lowercase();
        let Some(number) = word(child, "number") else {
            findings.error(child, "port has no number").suggest("like number=\"80\" protocol=\"tcp\"");
            continue;
        };
        let port: Port = match format!("{number}/{protocol}").parse() {
            Ok(port) => port,
            Err(error) => {
                findings.error(child, error.to_string()).suggest("1 to 65535, tcp or udp");
                continue;
            }
        };
        if ports.contains(&port) {
            findings.warning(child, format!("port {port} is asked for twice"));
        } else if port.protocol == Protocol::Tcp && port.number.get() == 22 {
            findings.notice(child, "port 22/tcp is forwarded to every node anyway");
        } else if ports.len() >= limits.ports {
            findings.error(child, format!("more than {} ports for one node", limits.ports));
            break;
        } else {
            ports.push(port);
        }
    }
    ports
}
