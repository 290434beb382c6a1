//! Reading what to install and run.

use std::num::NonZeroU32;

use testyard_model::checksum::Checksum;
use testyard_model::service::{Execute, Install, Services, Shell};
use testyard_xml::{Node as Xml, attribute};

use super::context::RequestLimits;
use super::element::{core_children, is_core, short, word};
use super::findings::Findings;
use super::namespace::{RSPEC, TESTYARD};
use super::request::unknown;

const MAX_URL: usize = 2048;
const MAX_PATH: usize = 1024;
/// A year: more is a slip of the pen.
const MAX_TIMEOUT: u32 = 31_536_000;
const SHELLS: &[&str] = &["sh", "bash", "/bin/sh", "/bin/bash"];

/// The commands of a node, in the order in which they are numbered.
pub(super) fn executes<'a, 'input>(node: Xml<'a, 'input>) -> impl Iterator<Item = Xml<'a, 'input>> {
    core_children(node, "services").flat_map(|services| core_children(services, "execute"))
}

pub(super) fn read(node: Xml<'_, '_>, limits: &RequestLimits, findings: &mut Findings<'_>) -> Services {
    let mut result = Services::default();
    let children = core_children(node, "services").flat_map(|services| services.children());
    for child in children.filter(|child| child.tag_name().namespace() == Some(RSPEC)) {
        if result.installs.len() + result.executes.len() >= limits.services {
            findings.error(child, format!("more than {} services for one node", limits.services));
            break;
        }
        if is_core(child, "install") {
            result.installs.extend(install(child, findings));
        } else if is_core(child, "execute") {
            result.executes.extend(execute(child, limits, findings));
        } else if !is_core(child, "login") {
            unknown(child, &["install", "execute", "login"], findings);
        }
    }
    result
}

fn install(element: Xml<'_, '_>, findings: &mut Findings<'_>) -> Option<Install> {
    let url = match word(element, "url") {
        None => Err("has no url".to_owned()),
        Some(url) => check_url(url).map(|()| url),
    };
    let path = match word(element, "install_path") {
        None => Err("has no install_path".to_owned()),
        Some(path) => check_path(path).map(|()| path),
    };
    for problem in [url.as_ref().err(), path.as_ref().err()].into_iter().flatten() {
        findings
            .error(element, format!("install {problem}"))
            .suggest("like url=\"https://example.net/tool.tar.gz\" install_path=\"/opt/tool\"");
    }
    let given = own_attribute(element, "checksum", findings);
    let checksum = given.map(str::parse::<Checksum>);
    if let (Some(given), Some(Err(problem))) = (given, &checksum) {
        findings
            .error(element, format!("install has checksum {:?}, {problem}", short(given)))
            .suggest("sha256: and what sha256sum prints of the file");
        return None;
    }
    let checksum = checksum.and_then(Result::ok);
    Some(Install { url: url.ok()?.to_owned(), path: path.ok()?.to_owned(), checksum })
}

/// An attribute of Testyard's extension. Without the namespace it would have no effect, which is worse than a refusal.
fn own_attribute<'a>(element: Xml<'a, '_>, name: &str, findings: &mut Findings<'_>) -> Option<&'a str> {
    if attribute(element, name).is_some() {
        findings
            .error(element, format!("{name} is no attribute of RSpec v3 and would have no effect"))
            .suggest(format!("testyard:{name} with xmlns:testyard=\"{TESTYARD}\""));
    }
    element.attribute((TESTYARD, name)).map(str::trim)
}

pub(crate) fn check_url(url: &str) -> Result<(), String> {
    let problem = |what: &str| Err(format!("has url {:?}, {what}", short(url)));
    let Some((scheme, rest)) = url.split_once("://") else { return problem("which is not absolute") };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    if !["http", "https"].contains(&scheme.to_ascii_lowercase().as_str()) {
        problem("which is neither http nor https")
    } else if url.len() > MAX_URL {
        problem("which is too long")
    } else if host.is_empty() || host.starts_with(':') {
        problem("which names no host")
    } else if let Some(c) = url.chars().find(|c| !c.is_ascii_graphic()) {
        problem(&format!("with {c:?} in it: write it percent-encoded"))
    } else if let Some(c) =
        url.chars().find(|c| matches!(c, '"' | '<' | '>' | '\\' | '^' | '`' | '{' | '|' | '}'))
    {
        problem(&format!("with {c:?} in it: write it percent-encoded"))
    } else {
        Ok(())
    }
}

pub(crate) fn check_path(path: &str) -> Result<(), String> {
    let problem = |what: &str| Err(format!("has install_path {:?}, {what}", short(path)));
    if !path.starts_with('/') {
        problem("which is not absolute")
    } else if path.len() > MAX_PATH {
        problem("which is too long")
    } else if path.split('/').any(|part| part == "..") {
        problem("which has .. in it")
    } else if path.chars().any(char::is_control) {
        problem("which has a control character in it")
    } else {
        Ok(())
    }
}

fn execute(element: Xml<'_, '_>, limits: &RequestLimits, findings: &mut Findings<'_>) -> Option<Execute> {
    let shell = match word(element, "shell") {
        None => {
            findings.warning(element, "execute has no shell: sh is taken");
            Some(Shell::Sh)
        }
        Some(name) => {
            let shell = Shell::from_request(name);
            if shell.is_none() {
                let message = format!("unknown shell {:?}", short(name));
                findings.error(element, message).suggest(format!("one of {}", SHELLS.join(", ")));
            }
            shell
        }
    };
    let command = match attribute(element, "command") {
        Some(command) if command.len() > limits.command => {
            let message = format!("the command has {} bytes, more than {}", command.len(), limits.command);
            findings.error(element, message).suggest("put it into a script and install that");
            None
        }
        Some(command) if !command.trim().is_empty() => Some(command.to_owned()),
        _ => {
            findings.error(element, "execute has no command");
            None
        }
    };
    let timeout = match own_attribute(element, "timeout", findings) {
        None => None,
        Some(text) => {
            let seconds = text.parse::<NonZeroU32>().ok().filter(|seconds| seconds.get() <= MAX_TIMEOUT);
            if seconds.is_none() {
                let message = format!("execute has timeout {:?}", short(text));
                findings.error(element, message).suggest(format!("seconds, from 1 to {MAX_TIMEOUT}"));
                return None;
            }
            seconds
        }
    };
    Some(Execute { shell: shell?, command: command?, timeout })
}
