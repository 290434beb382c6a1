//! Statements about nodes.

use testyard_model::diagnostic::Position;
use testyard_model::image::ImageSource;
use testyard_model::link::Attribute;
use testyard_model::name::SliverTypeName;
use testyard_model::service::{Execute, Install, Shell};
use testyard_model::suggest::closest;
use testyard_model::topology::OnFailure;

use super::call::{Call, Complaint, Taken, short};
use super::drafts::{NodeDraft, Object};
use super::reader::Reader;
use super::slots::Slot;
use super::units;
use super::words::words;
use crate::boxes::is_of_box;
use crate::csh;

type Outcome = Result<Taken, Complaint>;

/// A name for what gets its own at the end.
pub(super) fn unnamed() -> testyard_model::name::ClientId {
    "unnamed".parse().expect("it is a client id")
}

pub(super) fn node(reader: &mut Reader<'_>, call: &Call<'_>) -> Outcome {
    if !call.arguments.is_empty() {
        reader.warn(call.position, "arguments of $ns node are ignored");
    }
    reader.made(call, Object::Node(reader.nodes.len()));
    reader.nodes.push(NodeDraft::new(call.made.unwrap_or_default(), call.position, unnamed()));
    Ok(Taken::AsListed)
}

pub(super) fn hardware(reader: &mut Reader<'_>, call: &Call<'_>) -> Outcome {
    let ([name, kind], more) = call.at_least::<2>()?;
    let node = reader.node(name)?;
    if !more.is_empty() {
        reader.warn(call.position, format!("only {} of the kinds of node is looked at", short(kind)));
    }
    let known = |kind: &str| reader.site.sliver_types.iter().find(|known| known.as_str() == kind).cloned();
    let found: Option<SliverTypeName> = known(kind)
        .or_else(|| reader.vtypes.get(kind).and_then(|kinds| kinds.iter().find_map(|kind| known(kind))));
    match found {
        Some(found) => {
            reader.nodes[node].node.sliver_type = Some(found);
            reader.say(call, Slot::Kind(node), kind);
            Ok(Taken::AsListed)
        }
        None => {
            let meant = closest(kind, reader.site.sliver_types.iter().map(SliverTypeName::as_str))
                .map(|meant| format!("; did you mean {meant}?"))
                .unwrap_or_default();
            Ok(Taken::Approximated(format!(
                "{} is no kind of node here: it gets the default kind{meant}",
                short(kind)
            )))
        }
    }
}

pub(super) fn image(reader: &mut Reader<'_>, call: &Call<'_>) -> Outcome {
    let ([name, image], _) = call.at_least::<2>()?;
    let node = reader.node(name)?;
    match known_image(reader, image) {
        Some(found) => {
            reader.nodes[node].node.image = Some(found);
            reader.say(call, Slot::Image(node), image);
            Ok(Taken::AsListed)
        }
        None => {
            reader.nodes[node].node.image = None;
            Ok(Taken::Ignored(unknown_image(image)))
        }
    }
}

/// The image that a name stands for: one that the testbed maps, one of a registry with its tag or path, or a
/// URL (`debian:12`; Emulab's own names with a version, `UBUNTU20-64-STD:2`, have capitals).
fn known_image(reader: &Reader<'_>, name: &str) -> Option<ImageSource> {
    let mapped = reader.site.images.get(name).cloned().map(Into::into);
    mapped.or_else(|| name.contains(['/', ':', '@']).then(|| name.parse().ok()).flatten())
}

fn unknown_image(name: &str) -> String {
    format!(
        "{name} is no image here: the node gets its kind's default; name an image of a registry (debian:12), or let \
         the testbed's configuration map {name} to one",
        name = short(name)
    )
}

fn execute(command: String) -> Execute {
    Execute { shell: Shell::Sh, command, timeout: None }
}

pub(super) fn start_command(reader: &mut Reader<'_>, call: &Call<'_>) -> Outcome {
    let [name, command] = call.exactly()?;
    let node = reader.node(name)?;
    reader.say(call, Slot::Start(node), command);
    let command = csh::to_sh(command);
    let taken = of_shell(&command);
    reader.nodes[node].start = Some(command.text).filter(|text| !text.trim().is_empty()).map(execute);
    Ok(taken)
}

/// What became of a command that may have been csh's.
pub(super) fn of_shell(command: &csh::Command) -> Taken {
    match (command.doubt(), command.note()) {
        (Some(doubt), _) => Taken::Doubtful(doubt),
        (None, Some(note)) => Taken::Approximated(note),
        (None, None) => Taken::AsListed,
    }
}

pub(super) fn packages(reader: &mut Reader<'_>, call: &Call<'_>) -> Outcome {
    let ([name], rest) = call.at_least::<1>()?;
    let node = reader.node(name)?;
    let mut left = Vec::new();
    let before = reader.nodes[node].packages.len();
    for package in rest.iter().flat_map(|argument| words(argument)) {
        if is_url(&package) {
            let quoted = package.replace('\'', "'\\''");
            reader.nodes[node].packages.push(execute(format!("rpm -U '{quoted}'")));
        } else {
            left.push(package);
        }
    }
    match left.first() {
        None => Ok(Taken::AsListed),
        Some(first) if reader.nodes[node].packages.len() == before => Ok(Taken::Ignored(no_file(first))),
        Some(first) => Ok(in_part(first)),
    }
}

/// Some of what a statement lists is taken.
fn in_part(left: &str) -> Taken {
    Taken::Doubtful(format!("{} is left out: {}", short(left), no_file(left)))
}

fn is_url(text: &str) -> bool {
    text.starts_with("http://") || text.starts_with("https://")
}

fn no_file(path: &str) -> String {
    format!("there is no {} here: give an http or https URL", short(path))
}

pub(super) fn tarfiles(reader: &mut Reader<'_>, call: &Call<'_>) -> Outcome {
    let ([name], rest) = call.at_least::<1>()?;
    let node = reader.node(name)?;
    let (installs, left) = archives(rest)?;
    let taken = what_of(&installs, left);
    reader.nodes[node].node.services.installs.extend(installs);
    Ok(taken)
}

pub(super) fn tarfiles_of_all(reader: &mut Reader<'_>, call: &Call<'_>) -> Outcome {
    let (installs, left) = archives(call.arguments)?;
    let taken = what_of(&installs, left);
    reader.installs.extend(installs);
    Ok(taken)
}

fn what_of(installs: &[Install], left: Option<String>) -> Taken {
    match left {
        None => Taken::AsListed,
        Some(left) if installs.is_empty() => Taken::Ignored(no_file(&left)),
        Some(left) => in_part(&left),
    }
}

/// What is to be unpacked, and the first archive that cannot be had.
fn archives(arguments: &[String]) -> Result<(Vec<Install>, Option<String>), Complaint> {
    let given: Vec<String> = match arguments {
        [one] => words(one),
        many => many.to_vec(),
    };
    if given.is_empty() || given.len() % 2 == 1 {
        return Err(Complaint::error("archives come in pairs: a folder, then an archive"));
    }
    let (mut installs, mut left) = (Vec::new(), None);
    for pair in given.chunks_exact(2) {
        let (path, url) = (&pair[0], &pair[1]);
        if !path.starts_with('/') || path.split('/').any(|part| part == "..") {
            return Err(Complaint::error(format!("{:?} is no folder to unpack an archive in", short(path)))
                .suggest("give an absolute path, like /opt"));
        }
        if is_url(url) {
            installs.push(Install { url: url.clone(), path: path.clone(), checksum: None });
        } else {
            left = left.or_else(|| Some(url.clone()));
        }
    }
    Ok((installs, left))
}

pub(super) fn failure_action(reader: &mut Reader<'_>, call: &Call<'_>) -> Outcome {
    let [name, action] = call.exactly()?;
    let node = reader.node(name)?;
    reader.nodes[node].on_failure = Some(on_failure(action)?);
    reader.say(call, Slot::Failure(node), action);
    Ok(Taken::AsListed)
}

pub(super) fn default_failure_action(reader: &mut Reader<'_>, call: &Call<'_>) -> Outcome {
    let [action] = call.exactly()?;
    reader.on_failure = Some(on_failure(action)?);
    Ok(Taken::AsListed)
}

fn on_failure(action: &str) -> Result<OnFailure, Complaint> {
    match action {
        "fatal" => Ok(OnFailure::Fatal),
        "nonfatal" => Ok(OnFailure::Nonfatal),
        "ignore" => Ok(OnFailure::Ignore),
        _ => Err(Complaint::error(format!("{:?} is no failure action", short(action)))
            .suggest("it can be fatal, nonfatal or ignore")),
    }
}

pub(super) fn vtype(reader: &mut Reader<'_>, call: &Call<'_>) -> Outcome {
    let [name, kinds] = call.exactly()?;
    define_vtype(reader, name, kinds)
}

pub(super) fn weighted_vtype(reader: &mut Reader<'_>, call: &Call<'_>) -> Outcome {
    let [name, weight, kinds] = call.exactly()?;
    let weight = units::probability(weight)?;
    if weight.is_never() || weight.ratio() >= 1.0 {
        return Err(Complaint::error("a weight is above 0 and below 1"));
    }
    define_vtype(reader, name, kinds)
}

fn define_vtype(reader: &mut Reader<'_>, name: &str, kinds: &str) -> Outcome {
    let kinds = words(kinds);
    if kinds.is_empty() {
        return Err(Complaint::error(format!("{} has no kinds of node in it", short(name))));
    }
    reader.vtypes.insert(name.to_owned(), kinds);
    Ok(Taken::AsListed)
}

pub(super) fn fix(reader: &mut Reader<'_>, call: &Call<'_>) -> Outcome {
    let [name, host] = call.exactly()?;
    let node = reader.node(name)?;
    if let Ok(other) = reader.node(host) {
        if other == node {
            return Err(Complaint::error(format!("{} cannot be fixed to itself", reader.nodes[node].name))
                .suggest("name a host of the testbed, or another node"));
        }
        let partition = reader.nodes[other].node.partition.clone();
        let partition = partition.unwrap_or_else(|| format!("with {}", reader.nodes[other].name));
        reader.nodes[other].node.partition = Some(partition.clone());
        reader.nodes[node].node.partition = Some(partition);
        return Ok(Taken::Approximated("the two run on one host".to_owned()));
    }
    if !reader.site.hosts.iter().any(|known| known == host) {
        let meant = closest(host, reader.site.hosts.iter().map(String::as_str));
        let meant = meant.map(|meant| format!("; did you mean {meant}?")).unwrap_or_default();
        return Ok(Taken::Ignored(format!("there is no host {} here{meant}", short(host))));
    }
    reader.nodes[node].node.partition = Some(host.to_owned());
    reader.say(call, Slot::Host(node), host);
    Ok(Taken::AsListed)
}

pub(super) fn attribute(reader: &mut Reader<'_>, call: &Call<'_>) -> Outcome {
    let [name, key, value] = call.exactly()?;
    let node = reader.node(name)?;
    let position: Option<Position> = call.position;
    let draft = &mut reader.nodes[node];
    let bad = || Complaint::error(format!("{:?} is no value of {key}", short(value)));
    match key {
        "containers:partition" | "containers::partition" if draft.node.partition.is_some() => {
            return Ok(Taken::Ignored(REPEATED.to_owned()));
        }
        "containers:partition" | "containers::partition" => draft.node.partition = Some(value.to_owned()),
        "testyard:execute" => draft.executes.push(execute(value.to_owned())),
        "testyard:exclusive" => draft.node.exclusive = value == "true",
        "testyard:image" => draft.node.image = Some(value.parse().map_err(|_| bad())?),
        "testyard:sliver-type" => draft.node.sliver_type = Some(value.parse().map_err(|_| bad())?),
        "testyard:component" => draft.node.component = Some(value.parse().map_err(|_| bad())?),
        "testyard:install" => draft.node.services.installs.push(install(value).ok_or_else(bad)?),
        "testyard:port" => {
            let (number, protocol) = value.split_once('/').unwrap_or((value, "tcp"));
            let protocol = match protocol {
                "tcp" => testyard_model::sliver_type::Protocol::Tcp,
                "udp" => testyard_model::sliver_type::Protocol::Udp,
                _ => return Err(bad().suggest("write it like 80/tcp")),
            };
            let number = number.parse().map_err(|_| bad().suggest("write it like 80/tcp"))?;
            draft.node.ports.push(testyard_model::sliver_type::Port { protocol, number });
        }
        _ => match key.strip_prefix("testyard:execute:") {
            Some(how) => draft.executes.push(execute_with(how, value).ok_or_else(bad)?),
            None if key.starts_with("testyard:") => {
                return Err(Complaint::error(format!("{} is unknown for a node", short(key))).suggest(
                    "there are testyard:component, execute, exclusive, image, install, port and sliver-type",
                ));
            }
            None if !push_attribute(&mut draft.node.attributes, key, value) => {
                return Ok(Taken::Ignored(REPEATED.to_owned()));
            }
            None if is_of_box(key) => {
                draft.of_box.push((position, key.to_owned()));
                return Ok(Taken::Later);
            }
            None if key.starts_with("containers:") => {
                return Ok(Taken::Ignored(format!("{} is kept, but has no effect", short(key))));
            }
            None => {}
        },
    }
    Ok(Taken::AsListed)
}

/// `URL FOLDER [CHECKSUM]`.
fn install(text: &str) -> Option<Install> {
    let (url, path, checksum) = match words(text).as_slice() {
        [url, path] => (url.clone(), path.clone(), None),
        [url, path, checksum] => (url.clone(), path.clone(), Some(checksum.parse().ok()?)),
        _ => return None,
    };
    let fine = is_url(&url) && path.starts_with('/') && !path.split('/').any(|part| part == "..");
    fine.then_some(Install { url, path, checksum })
}

/// A command with `SHELL` or `SHELL:SECONDS`.
fn execute_with(how: &str, command: &str) -> Option<Execute> {
    let (shell, seconds) = match how.split_once(':') {
        Some((shell, seconds)) => (shell, Some(seconds.parse().ok()?)),
        None => (how, None),
    };
    Some(Execute { shell: Shell::from_request(shell)?, command: command.to_owned(), timeout: seconds })
}

/// Why another attribute of a name is ignored.
pub(super) const REPEATED: &str = "of a repeated key the first counts";

/// Keeps an attribute; false if there is one of its key, as the first counts.
pub(super) fn push_attribute(attributes: &mut Vec<Attribute>, key: &str, value: &str) -> bool {
    let is_first = !attributes.iter().any(|attribute| attribute.key == key);
    if is_first {
        attributes.push(Attribute { key: key.to_owned(), value: value.to_owned() });
    }
    is_first
}
