//! Nodes in NS: what they boot, install and run.

use std::fmt::Write as _;

use testyard_model::link::Attribute;
use testyard_model::service::{Execute, Install, Shell};
use testyard_model::topology::{Node, OnFailure};

use super::Losses;
use super::ns::{attributes, quoted};
use super::ns_names::{Names, variable};
use crate::csh;

/// What Emulab takes for archives.
const ARCHIVES: [&str; 5] = [".tar", ".tar.Z", ".tar.gz", ".tgz", ".tar.bz2"];

pub(super) fn write(text: &mut String, node: &Node, number: usize, names: &Names<'_>, losses: &mut Losses) {
    let it = &names.node(&node.client_id);
    let name = format!("node {}", node.client_id);
    let _ = writeln!(text, "set {} [${} node]", names.node_name(&node.client_id), names.simulator);
    let mut line = |words: &[&str]| {
        text.push_str(&words.join(" "));
        text.push('\n');
    };
    if let Some(image) = &node.image {
        // Without a tag or a path it would be taken for one of Emulab's.
        if image.as_str().contains(['/', ':', '@']) {
            line(&["tb-set-node-os", it, &quoted(image.as_str())]);
        } else {
            line(&["tb-add-node-attribute", it, "testyard:image", &quoted(image.as_str())]);
        }
    }
    if let Some(kind) = &node.sliver_type {
        line(&["tb-add-node-attribute", it, "testyard:sliver-type", &quoted(kind.as_str())]);
    }
    if let Some(component) = &node.component {
        line(&["tb-add-node-attribute", it, "testyard:component", &quoted(&component.to_string())]);
    }
    if let Some(partition) = &node.partition {
        line(&["tb-add-node-attribute", it, "containers:partition", &quoted(partition)]);
    }
    match node.on_failure {
        OnFailure::Fatal => {}
        OnFailure::Nonfatal => line(&["tb-set-node-failure-action", it, "nonfatal"]),
        OnFailure::Ignore => line(&["tb-set-node-failure-action", it, "ignore"]),
    }
    if node.exclusive {
        line(&["tb-add-node-attribute", it, "testyard:exclusive", "true"]);
    }
    for port in &node.ports {
        line(&["tb-add-node-attribute", it, "testyard:port", &port.to_string()]);
    }
    for Attribute { key, value } in attributes(&node.attributes, &name, losses) {
        line(&["tb-add-node-attribute", it, &quoted(key), &quoted(value)]);
    }
    for install in &node.services.installs {
        match how_to_install(install) {
            Some(words) => line(&[&words[0], it, &words[1], &words[2]]),
            None => losses.add(format!("NS cannot install {} of {name}: it is left out", install.url)),
        }
    }
    match node.services.executes.as_slice() {
        [Execute { shell: Shell::Sh, command, timeout: None }]
            if !command.trim().is_empty() && csh::is_sh(command) =>
        {
            line(&["tb-set-node-startcmd", it, &quoted(command)]);
        }
        executes => {
            for Execute { shell, command, timeout } in executes {
                let how = match (shell, timeout) {
                    (Shell::Sh, None) => "testyard:execute".to_owned(),
                    (shell, None) => format!("testyard:execute:{}", shell.as_str()),
                    (shell, Some(seconds)) => format!("testyard:execute:{}:{seconds}", shell.as_str()),
                };
                line(&["tb-add-node-attribute", it, &how, &quoted(command)]);
            }
            if !executes.is_empty() {
                losses.add(format!(
                    "Emulab's NS has one start command for sh: those of {name} are for Testyard only"
                ));
            }
        }
    }
    for program in &node.programs {
        let command = program.command.replace('\n', "; ");
        losses.lost(command != program.command, "the line breaks of the programs", &name, "NS");
        if !csh::is_sh(&command) {
            losses.add(format!("a program of {name} is read as csh's in NS"));
        }
        let mut words = vec!["-command".to_owned(), quoted(&command)];
        if let Some(directory) = &program.directory {
            words.extend(["-dir".to_owned(), quoted(directory)]);
        }
        if let Some(timeout) = program.timeout {
            words.extend(["-timeout".to_owned(), timeout.to_string()]);
        }
        if let Some(code) = program.expected_exit {
            words.extend(["-expected-exit-code".to_owned(), code.to_string()]);
        }
        let name = names.program_name(&program.client_id);
        line(&["set", name, &format!("[{it} program-agent {}]", words.join(" "))]);
    }
    for (storage, disk) in node.storage.iter().zip(names.disks.get(number).map_or(&[][..], Vec::as_slice)) {
        let path = storage.mount_point.as_str();
        if !is_folder(path) {
            losses.add(format!("NS cannot mount a disk of {name} at {path:?}: it is left out"));
            continue;
        }
        let disk_variable = variable(Some(disk));
        line(&["set", disk, &format!("[${} blockstore]", names.simulator)]);
        line(&[&disk_variable, "set-class local"]);
        if let Some(size) = storage.size {
            line(&[&disk_variable, "set-size", &format!("{}B", size.bytes())]);
        }
        line(&[&disk_variable, "set-mount-point", &quoted(path)]);
        line(&[&disk_variable, "set-node", it]);
    }
}

/// The command, and its words beside the node; none if NS's reader would not take it.
fn how_to_install(install: &Install) -> Option<[String; 3]> {
    let Install { url, path, checksum } = install;
    if !is_folder(path) || !(url.starts_with("http://") || url.starts_with("https://")) {
        return None;
    }
    let is_archive = ARCHIVES.iter().any(|ending| url.ends_with(ending));
    Some(match checksum {
        None if is_archive => ["tb-set-node-tarfiles".to_owned(), quoted(path), quoted(url)],
        checksum => {
            let mut words = vec![listed(url), listed(path)];
            words.extend(checksum.as_ref().map(ToString::to_string));
            let words = quoted(&words.join(" "));
            ["tb-add-node-attribute".to_owned(), "testyard:install".to_owned(), words]
        }
    })
}

fn is_folder(path: &str) -> bool {
    path.starts_with('/') && !path.split('/').any(|part| part == "..")
}

/// A text as one word of a list within a text.
pub(super) fn listed(text: &str) -> String {
    if !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || "\"\\{};".contains(c)) {
        return text.to_owned();
    }
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
