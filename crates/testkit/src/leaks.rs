//! What Testyard has left on this machine: everything that carries its marks.

use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, Stdio};

/// Everything on this machine that carries the mark of Testyard, or of one instance of it, one line each.
///
/// Looked at: containers of the machine's engine, images that were built for slices, interfaces, tables of packet rules, chains, namespaces of links, wires,
/// and, if no instance is given, processes of the guest, whatever engine they were of.
///
/// # Panics
/// If a program that is there cannot be asked.
#[must_use]
pub fn find(instance: Option<&str>) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    containers(instance, &mut found);
    builds(instance, &mut found);
    interfaces(instance, &mut found);
    rules(instance, &mut found);
    links(instance, &mut found);
    if instance.is_none() {
        guests(&mut found);
    }
    found
}

/// Waits until nothing of the instance is left, since engines and kernels clean up behind our backs.
///
/// # Panics
/// If something is left after ten seconds; the text lists it.
pub fn assert_none(instance: &str) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    loop {
        let left = find(Some(instance));
        if left.is_empty() {
            return;
        }
        assert!(std::time::Instant::now() < deadline, "left behind:\n{}", Vec::from_iter(left).join("\n"));
        std::thread::park_timeout(std::time::Duration::from_millis(100));
    }
}

/// What a program prints; one that fails must not look like one that finds nothing.
fn output(program: &str, arguments: &[&str]) -> String {
    match Command::new(program).args(arguments).stdin(Stdio::null()).output() {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout).into_owned(),
        Ok(output) => {
            panic!("{program} {arguments:?}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr))
        }
        // Nothing was made with what is not there.
        Err(_) => String::new(),
    }
}

fn containers(instance: Option<&str>, found: &mut BTreeSet<String>) {
    let filter = match instance {
        Some(instance) => format!("label=testyard.instance={instance}"),
        None => "label=testyard.instance".to_owned(),
    };
    let listed =
        output("docker", &["ps", "--all", "--filter", &filter, "--format", "{{.Names}} {{.Status}}"]);
    found.extend(listed.lines().map(|line| format!("container {line}")));
}

/// What builds of images have made, and left.
fn builds(instance: Option<&str>, found: &mut BTreeSet<String>) {
    let ours = |mark: &str| instance.is_none_or(|instance| mark.split(':').next() == Some(instance));
    let label = "{{.Label \"testyard.build\"}} {{.Label \"testyard.slice\"}} {{.Label \"testyard.spare\"}} {{.Names}}";
    let listed = output("docker", &["ps", "--all", "--filter", "label=testyard.build", "--format", label]);
    for line in listed.lines() {
        // Nodes inherit the label of their image, and are found by their own.
        let (mark, rest) = line.split_once(' ').unwrap_or((line, ""));
        if ours(mark) && rest.starts_with("  ") {
            found.insert(format!("container of a build{rest} ({mark})"));
        }
    }
    let listed = output("docker", &["images", "--format", "{{.Repository}}:{{.Tag}}"]);
    for line in listed.lines().filter_map(|line| line.strip_prefix("built.testyard.invalid/")) {
        // What holds the network of builds serves the next one, until a reset.
        if ours(line) && !line.ends_with(":hold") {
            found.insert(format!("image {line}"));
        }
    }
}

fn interfaces(instance: Option<&str>, found: &mut BTreeSet<String>) {
    let mark = instance.map_or("testyard:".to_owned(), |instance| format!("testyard:{instance}:"));
    let listed = output("ip", &["-json", "link", "show"]);
    let links: serde_json::Value = serde_json::from_str(&listed).unwrap_or_default();
    for link in links.as_array().into_iter().flatten() {
        let alias = link["ifalias"].as_str().unwrap_or_default();
        if alias.starts_with(&mark) {
            found.insert(format!("interface {} ({alias})", link["ifname"].as_str().unwrap_or_default()));
        }
    }
}

fn rules(instance: Option<&str>, found: &mut BTreeSet<String>) {
    let ours = |name: &str, prefix: &str| match (name.strip_prefix(prefix), instance) {
        (Some(rest), Some(instance)) => rest == instance,
        (Some(_), None) => true,
        (None, _) => false,
    };
    for line in output("nft", &["list", "tables"]).lines() {
        let name = line.rsplit(' ').next().unwrap_or_default();
        if ours(name, "testyard_") {
            found.insert(format!("packet rules {line}"));
        }
    }
    for program in ["iptables", "ip6tables"] {
        for line in output(program, &["-w", "-S"]).lines() {
            let target = line.split_whitespace().find_map(|word| word.strip_prefix("TESTYARD-"));
            if target.is_some_and(|target| instance.is_none_or(|instance| target == instance)) {
                found.insert(format!("{program} {line}"));
            }
        }
    }
}

/// Namespaces are mounted on files below `links/INSTANCE`, and wires are told of files there.
fn links(instance: Option<&str>, found: &mut BTreeSet<String>) {
    let mark = instance.map_or("/links/".to_owned(), |instance| format!("/links/{instance}/"));
    for line in fs::read_to_string("/proc/self/mountinfo").unwrap_or_default().lines() {
        if line.contains(" - nsfs ") && line.contains(&mark) {
            found.insert(format!("namespace {}", line.split(' ').nth(4).unwrap_or_default()));
        }
    }
    for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let line = fs::read(process.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if line.contains(" --netns ") && line.contains(&mark) {
            found.insert(format!("process {} {line}", process.file_name().to_string_lossy()));
        }
    }
}

fn guests(found: &mut BTreeSet<String>) {
    let Ok(processes) = fs::read_dir("/proc") else { return };
    for process in processes.flatten() {
        let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
        if name.trim_end() == "testyard-guest" {
            found.insert(format!("process {} testyard-guest", process.file_name().to_string_lossy()));
        }
    }
}
