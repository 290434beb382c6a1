//! Reading a request.

use std::collections::{HashMap, HashSet};

use testyard_model::diagnostic::{Diagnostic, Position};
use testyard_model::name::ClientId;
use testyard_model::route::Routing;
use testyard_model::suggest::closest;
use testyard_model::topology::Topology;
use testyard_model::urn::{Authority, Urn};
use testyard_xml::{Node as Xml, attribute};

use super::context::{Context, Names};
use super::document::{self, RequestDocument};
use super::element::{is_core, short, word};
use super::error::{Foreign, RequestError};
use super::findings::Findings;
use super::namespace::{RSPEC, TESTYARD};
use super::network::Network;
use super::node;
use super::{delay, link};

/// A request that can be planned.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// Our nodes, and the links that they are on.
    pub topology: Topology,
    /// Warnings and notices for the caller, in the order of the text.
    pub diagnostics: Vec<Diagnostic>,
    /// The request itself, for manifests.
    pub document: RequestDocument,
    /// How many nodes are other testbeds' own.
    pub foreign_nodes: usize,
    /// Our nodes that ask for a routable control address (`emulab:routable_control_ip`).
    pub routable_control_ip: Vec<ClientId>,
}

/// The nodes of a request by owner, in the order of the text.
pub(super) struct Census<'a, 'input> {
    pub(super) ours: Vec<Xml<'a, 'input>>,
    pub(super) foreign: Vec<Xml<'a, 'input>>,
}

/// Reads a request: our nodes, their links, and remarks.
///
/// # Errors
/// [`RequestError`], which tells the AM API's code for each of its cases.
pub fn parse_request(text: &str, context: &Context) -> Result<Request, RequestError> {
    let (tree, start) = document::open(text, context.limits.bytes)?;
    let root = tree.root_element();
    let mut findings = Findings::new(text, start);
    if word(root, "type").is_none() {
        findings.warning(root, "the RSpec has no type").suggest("taken for a request; add type=\"request\"");
    }
    misplaced(root, &mut findings);
    let census = census(root, context);
    if census.ours.is_empty() {
        let mut place = Findings::new(text, start);
        place.error(census.foreign.first().copied().unwrap_or(root), "");
        let found = foreign(&census, context, findings, Findings::new(text, start));
        let place = place.finish().first().and_then(|remark| remark.position).unwrap_or(found.place);
        return Err(RequestError::NothingForUs(Foreign { place, ..found }));
    }
    if census.ours.len() > context.limits.nodes {
        let limit = context.limits.nodes;
        let message =
            format!("the request has {} nodes for this testbed, more than {limit}", census.ours.len());
        findings.error(census.ours[limit], message);
        return Err(RequestError::Invalid(findings.finish()));
    }
    near_misses(&census, context, &mut findings);

    let mut topology = Topology { routing: routing(root, &mut findings), ..Topology::default() };
    let mut routable_control_ip = Vec::new();
    let mut network = Network::new(&census, &mut findings);
    for element in &census.ours {
        let Some(read) = node::read(*element, context, &mut network, &mut findings) else { continue };
        if read.routable_control_ip {
            routable_control_ip.push(read.node.client_id.clone());
        }
        topology.nodes.push(read.node);
    }
    unique_nodes(&census, &mut findings);
    topology.links = link::links(root, context, &network, &mut findings);
    delay::fold(&census, &mut topology, &mut findings);
    link::addresses(root, &topology.links, &topology.nodes, &mut findings);
    if findings.has_errors() {
        return Err(RequestError::Invalid(findings.finish()));
    }
    Ok(Request {
        topology,
        diagnostics: findings.finish(),
        document: RequestDocument::new(text, start),
        foreign_nodes: census.foreign.len(),
        routable_control_ip,
    })
}

/// Where routes come from: Testyard's own word, since RSpec has none. The first one counts.
fn routing(root: Xml<'_, '_>, findings: &mut Findings<'_>) -> Routing {
    const NAMES: [&str; 3] = ["none", "static", "session"];
    let mut elements = root.children().filter(|child| child.has_tag_name((TESTYARD, "routing")));
    let Some(element) = elements.next() else { return Routing::None };
    if let Some(second) = elements.next() {
        findings.error(second, "there are two routings").place_of(element);
    }
    match word(element, "name") {
        Some("static") => Routing::Static,
        Some("session") => Routing::Session,
        Some("none") => Routing::None,
        other => {
            let given = other.unwrap_or_default();
            let message = format!("{:?} is no routing: it can be static, session or none", short(given));
            findings
                .error(element, message)
                .suggest_with(|| closest(given, NAMES).map(|meant| format!("did you mean {meant:?}?")));
            Routing::None
        }
    }
}

/// Sorts the nodes of a request by owner.
pub(super) fn census<'a, 'input>(root: Xml<'a, 'input>, context: &Context) -> Census<'a, 'input> {
    let named: Vec<_> =
        root.children().filter(|c| is_core(*c, "node")).map(|n| (n, context.named_by(n))).collect();
    let any_bound = named.iter().any(|(_, names)| *names != Names::Nobody);
    let unbound_is_ours = context.takes_unbound(any_bound);
    let (ours, foreign): (Vec<_>, Vec<_>) = named.into_iter().partition(|(_, names)| match names {
        Names::Us => true,
        Names::Other(_) => false,
        Names::Nobody => unbound_is_ours,
    });
    let nodes = |list: Vec<(Xml<'a, 'input>, _)>| list.into_iter().map(|(node, _)| node).collect();
    Census { ours: nodes(ours), foreign: nodes(foreign) }
}

/// Nodes and links that are in no namespace, or in one that RSpec's is probably meant by: they would be ignored in
/// silence.
fn misplaced(root: Xml<'_, '_>, findings: &mut Findings<'_>) {
    for child in root.children().filter(|child| child.is_element()) {
        let (name, namespace) = (child.tag_name().name(), child.tag_name().namespace().unwrap_or_default());
        if namespace == RSPEC {
            if !["node", "link"].contains(&name) {
                unknown(child, &["node", "link"], findings);
            }
        } else if ["node", "link"].contains(&name) && (namespace.is_empty() || is_slip_of_rspec(namespace)) {
            let message = match namespace {
                "" => format!("{name} is in no namespace and is ignored"),
                _ => format!("{name} is in namespace {:?} and is ignored", short(namespace)),
            };
            findings.warning(child, message).suggest(format!("did you mean {RSPEC:?}?"));
        }
    }
}

/// Whether a namespace is RSpec's own but for a slip of the pen. Those of extensions are near it too, and none.
pub(super) fn is_slip_of_rspec(namespace: &str) -> bool {
    namespace.len().abs_diff(RSPEC.len()) <= 8
        && !namespace.contains("/ext/")
        && closest(namespace, [RSPEC]).is_some()
}

/// Says that an element of RSpec's own has no meaning where it stands.
pub(super) fn unknown(element: Xml<'_, '_>, known: &[&str], findings: &mut Findings<'_>) {
    let name = element.tag_name().name();
    let parent = element.parent_element().map_or("", |parent| parent.tag_name().name());
    let remark =
        findings.warning(element, format!("{:?} has no meaning in {parent} and is ignored", short(name)));
    remark
        .suggest_with(|| closest(name, known.iter().copied()).map(|meant| format!("did you mean {meant}?")));
}

/// What probably was meant to be us: our authority with another name, a slip in the authority, or one in the whole.
fn is_near_miss(given: &str, context: &Context) -> bool {
    const LONG: usize = 200;
    let ours = &context.component_manager;
    match given.parse::<Urn>() {
        _ if given.len() > LONG => false,
        Ok(urn) => {
            let near = |a: &Authority, b: &Authority| a == b || closest(a.as_str(), [b.as_str()]).is_some();
            urn.is_authority() && near(urn.authority(), ours.authority())
        }
        Err(_) => {
            given.eq_ignore_ascii_case(ours.authority().as_str())
                || closest(given, [ours.to_string().as_str()]).is_some()
        }
    }
}

fn near_misses(census: &Census<'_, '_>, context: &Context, findings: &mut Findings<'_>) {
    // Looking for likeness costs time, and real requests name a handful of managers.
    const LOOKED_AT: usize = 1000;
    let mut verdicts: HashMap<&str, bool> = HashMap::new();
    for node in &census.foreign {
        match word(*node, "component_manager_id") {
            Some(given)
                if (verdicts.len() < LOOKED_AT || verdicts.contains_key(given))
                    && *verdicts.entry(given).or_insert_with(|| is_near_miss(given, context)) =>
            {
                let message = format!("component_manager_id {:?} is another testbed's", short(given));
                findings
                    .warning(*node, message)
                    .suggest(format!("did you mean \"{}\"?", context.component_manager));
            }
            Some(_) => {}
            None if word(*node, "component_id").is_none() => {
                findings
                    .warning(
                        *node,
                        "the node has no component_manager_id, and others have one: it is not taken",
                    )
                    .suggest(format!(
                        "for this testbed add component_manager_id=\"{}\"",
                        context.component_manager
                    ));
            }
            None => {}
        }
    }
}

fn foreign(
    census: &Census<'_, '_>,
    context: &Context,
    found: Findings<'_>,
    mut places: Findings<'_>,
) -> Foreign {
    const NAMED: usize = 5;
    const LOOKED_AT: usize = 1000;
    let mut named: Vec<String> = Vec::new();
    let mut near_miss = None;
    let mut seen = HashSet::new();
    for node in &census.foreign {
        let Names::Other(given) = context.named_by(*node) else { continue };
        if seen.len() >= LOOKED_AT || !seen.insert(given) {
            continue;
        }
        if near_miss.is_none() && is_near_miss(given, context) {
            near_miss = Some(given);
            places.error(*node, "");
        }
        if named.len() < NAMED && !named.iter().any(|known| *known == short(given)) {
            named.push(short(given));
        }
    }
    let place = places.finish().first().and_then(|remark| remark.position);
    Foreign {
        ours: context.component_manager.to_string(),
        nodes: u32::try_from(census.foreign.len()).unwrap_or(u32::MAX),
        named,
        near_miss: near_miss.map(short).zip(place),
        place: Position { line: 1, column: 1 },
        remarks: found.finish(),
    }
}

/// Client ids must be ours alone; one that another testbed's node has too is legal there and confusing here.
fn unique_nodes(census: &Census<'_, '_>, findings: &mut Findings<'_>) {
    let mut seen: HashMap<&str, Xml<'_, '_>> = HashMap::new();
    for node in &census.ours {
        let Some(id) = attribute(*node, "client_id") else { continue };
        match seen.get(id) {
            Some(first) => {
                findings
                    .error(*node, format!("client_id {:?} is taken: another node has it", short(id)))
                    .place_of(*first);
            }
            None => {
                seen.insert(id, *node);
            }
        }
    }
    let mut told = HashSet::new();
    for node in &census.foreign {
        let Some(id) = attribute(*node, "client_id") else { continue };
        if let Some(ours) = seen.get(id)
            && told.insert(id)
        {
            let message = format!("client_id {:?} is used by another testbed's node too", short(id));
            findings.warning(*ours, format!("{message}: the other one is")).place_of(*node);
        }
    }
}
