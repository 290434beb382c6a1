//! What is tried on one node.

use std::collections::BTreeMap;

use serde_json::Value;
use testyard_testkit::images::Image;

use super::cell;
use super::page::Cell;
use super::way::{Said, Way};

/// A node to be tried.
pub(super) struct Subject<'a> {
    image: &'a Image,
    way: &'a Way,
    status: &'a Value,
}

impl<'a> Subject<'a> {
    pub(super) fn new(
        set: &'a [Image],
        ways: &'a BTreeMap<&'static str, Way>,
        seen: &'a BTreeMap<&'static str, Value>,
        name: &str,
    ) -> Self {
        let image = set.iter().find(|image| image.name == name).unwrap();
        Self { image, way: &ways[name], status: &seen[name] }
    }

    /// Which program answers SSH.
    pub(super) fn server(&self) -> String {
        let greeting = self.way.greeting();
        let known = [
            // Its greeting names OpenSSH, too, for the sake of OpenSSH's clients.
            ("estyard", "Testyard's"),
            ("OpenSSH", "the image's OpenSSH"),
            ("dropbear", "the image's dropbear"),
        ];
        let found = known.iter().find(|(part, _)| greeting.contains(part));
        found.map_or(greeting.clone(), |(_, name)| (*name).to_owned())
    }

    /// Everything that needs no action.
    pub(super) fn once(&self) -> Vec<(&'static str, Cell)> {
        vec![
            ("shell", self.shell()),
            ("exec", cell(self.exec())),
            ("pty", cell(self.pty())),
            ("sftp", cell(self.sftp())),
            ("scp", self.scp()),
            ("sudo", cell(self.sudo())),
            ("accounts", cell(self.accounts())),
            ("install", cell(self.install())),
            ("execute", self.execute()),
            ("names", cell(self.names())),
            ("facts", cell(self.facts())),
            ("program", cell(self.program(1))),
        ]
    }

    fn shell(&self) -> Cell {
        let said = self.way.ssh(&["-T"], "", "echo $((40 + 2))\nexit 7\n");
        // Debian's sshd tells when the last login was, and images their news.
        if said.status == Some(7) && said.out.lines().any(|line| line == "42") {
            return Cell::Yes;
        }
        let told = |said: &Said| {
            said.status == Some(127) && said.err.contains("shell") && said.err.lines().count() == 1
        };
        if !self.image.has_shell && told(&said) {
            return Cell::Told(
                "no shell in the image: `ssh node` says so and ends with 127; programs of the image can be run by `ssh node PROGRAM`",
            );
        }
        Cell::No(said.to_string())
    }

    fn exec(&self) -> Result<(), String> {
        let (command, out) = self.image.says;
        self.way.ssh(&[], command, "").is(out)?;
        let (command, status) = self.image.fails;
        let said = self.way.ssh(&[], command, "");
        if said.status == Some(status) && said.out.is_empty() && !said.err.is_empty() {
            Ok(())
        } else {
            Err(said.to_string())
        }
    }

    fn pty(&self) -> Result<(), String> {
        let (command, out) = self.image.says;
        let said = self.way.ssh(&["-tt"], command, "");
        // A terminal ends its lines so.
        if said.out.contains(&out.replace('\n', "\r\n")) { Ok(()) } else { Err(said.to_string()) }
    }

    /// A file of the node: by sftp, or as a shell shows it, so that a server without sftp is not found wanting twice.
    fn read(&self, path: &str) -> Result<String, String> {
        let by_sftp = self.way.read(path);
        if by_sftp.is_ok() || !self.image.has_shell {
            return by_sftp;
        }
        let said = self.way.ssh(&[], &format!("cat {path}"), "");
        if said.status == Some(0) { Ok(said.out) } else { by_sftp }
    }

    /// A file of 1 MiB without any pattern.
    fn sent(&self, name: &str) -> (String, Vec<u8>) {
        let mut state = 88_172_645_463_325_252_u64;
        let content: Vec<u8> = std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[0]
        })
        .take(1 << 20)
        .collect();
        let path = self.way.folder.join(name);
        std::fs::write(&path, &content).unwrap();
        (path.to_string_lossy().into_owned(), content)
    }

    fn same(path: &str, content: &[u8], said: &[Said]) -> Result<(), String> {
        let back = std::fs::read(path).map_err(|error| format!("{error}: {said:?}"))?;
        if back == content { Ok(()) } else { Err(format!("{} bytes came back: {said:?}", back.len())) }
    }

    fn sftp(&self) -> Result<(), String> {
        let (path, content) = self.sent("sftp");
        let back = format!("{path}-back");
        let place = self.image.writable;
        let said = self.way.sftp(&format!(
            "put {path} {place}/sftp\nrename {place}/sftp {place}/moved\nls -l {place}\nget {place}/moved {back}\nrm {place}/moved\n"
        ));
        Self::same(&back, &content, &[said])
    }

    fn scp(&self) -> Cell {
        let new = self.copied(&[]);
        let old = self.copied(&["-O"]);
        match (new, old) {
            (Ok(()), Ok(())) => Cell::Yes,
            (Ok(()), Err(why)) if why.contains("scp") && why.contains("not found") => {
                Cell::Told("the image has no scp, which the old protocol (`scp -O`) needs; `scp` works")
            }
            (Err(why), _) | (_, Err(why)) => Cell::No(why),
        }
    }

    fn copied(&self, options: &[&str]) -> Result<(), String> {
        let (path, content) = self.sent("scp");
        let back = format!("{path}-back");
        let _ = std::fs::remove_file(&back);
        let there = format!("node:{}/scp", self.image.writable);
        let up = self.way.scp(options, &path, &there);
        let down = self.way.scp(options, &there, &back);
        Self::same(&back, &content, &[up, down])
    }

    fn sudo(&self) -> Result<(), String> {
        let (command, out) = self.image.whoami;
        let plain = self.way.ssh(&[], command, "");
        if plain.out == out {
            return Err(format!("is root without sudo: {plain}"));
        }
        self.way.ssh(&[], &format!("sudo -n {command}"), "").is(out)
    }

    fn accounts(&self) -> Result<(), String> {
        let (command, out) = self.image.says;
        self.way.as_bob(true, command).is(out)?;
        let other = self.way.as_bob(false, command);
        if other.status == Some(255) && other.err.contains("denied") {
            Ok(())
        } else {
            Err(other.to_string())
        }
    }

    fn service(&self, kind: &str) -> &Value {
        let services = self.status["services"].as_array().unwrap();
        services.iter().find(|service| service["kind"] == kind).unwrap()
    }

    fn install(&self) -> Result<(), String> {
        let service = self.service("install");
        let place = if self.image.read_only { "/tmp/installed" } else { "/srv/installed" };
        let found = self.read(&format!("{place}/inner/file")).map_err(|why| format!("{why}; {service}"))?;
        if found == "from the archive" { Ok(()) } else { Err(found) }
    }

    fn execute(&self) -> Cell {
        let service = self.service("execute");
        let detail = service["detail"].as_str().unwrap_or_default();
        if service["state"] == "exited" && service["exit_code"] == 0 {
            let log = service["log"].as_str().unwrap_or_default();
            return match self.read(log) {
                Ok(text) if text == "from a command\n0\n" => Cell::Yes,
                // What is root's alone is not for sftp.
                Err(_) if detail.contains("from a command\n0") => Cell::Yes,
                other => Cell::No(format!("{other:?}; {service}")),
            };
        }
        if !self.image.has_shell && service["state"] == "failed" && detail.contains("sh") {
            return Cell::Told(
                "no shell in the image: Status says that the command could not begin, and why",
            );
        }
        Cell::No(service.to_string())
    }

    fn names(&self) -> Result<(), String> {
        let name = self.read("/etc/hostname")?;
        let hosts = self.read("/etc/hosts")?;
        let resolver = self.read("/etc/resolv.conf")?;
        let own =
            hosts.lines().any(|line| line.split_whitespace().skip(1).any(|known| known == self.image.name));
        if name.trim() == self.image.name && own && resolver.contains("nameserver ") {
            return Ok(());
        }
        Err(format!("{name:?} {hosts:?} {resolver:?}"))
    }

    fn facts(&self) -> Result<(), String> {
        self.way.ssh(&[], "/.testyard/bin/geni-get client_id", "").is(&format!("{}\n", self.image.name))
    }

    /// The image's program has begun so many times on this disk, each time as the image's user.
    fn program(&self, times: usize) -> Result<(), String> {
        let marks = self.read(self.image.mark)?;
        let right = marks.lines().filter(|line| *line == self.image.mark_line).count();
        if right == times && marks.lines().count() == times { Ok(()) } else { Err(format!("{marks:?}")) }
    }

    /// Leaves something on the disk; what must be the same afterwards.
    pub(super) fn mark(&self, feature: &str) -> String {
        let place = format!("{}/kept-{feature}", self.image.writable);
        let said = if self.image.has_shell {
            self.way.ssh(&[], &format!("echo kept > {place}; sync"), "")
        } else {
            let path = self.way.folder.join("kept");
            std::fs::write(&path, "kept\n").unwrap();
            self.way.sftp(&format!("put {} {place}\n", path.display()))
        };
        if said.status == Some(0) { String::new() } else { said.to_string() }
    }

    /// How it is after a restart or reload.
    pub(super) fn after(&self, feature: &str, before: &str) -> Cell {
        if !before.is_empty() {
            return Cell::No(before.to_owned());
        }
        if self.status["operational"] != "geni_ready" {
            return Cell::No(self.status.to_string());
        }
        // The host keys of the manifest are those that ssh demands.
        let (command, out) = self.image.says;
        if let Err(why) = self.way.ssh(&[], command, "").is(out) {
            return Cell::No(why);
        }
        let kept =
            self.read(&format!("{}/kept-{feature}", self.image.writable)).is_ok_and(|text| text == "kept\n");
        let restart = feature == "restart";
        // A read-only disk has its writable places in memory, which a restart empties.
        let expected = restart && !self.image.read_only;
        let times = if expected { 2 } else { 1 };
        if kept != expected {
            return Cell::No(format!("the file is {} there", if kept { "still" } else { "not" }));
        }
        match self.program(times) {
            Ok(()) if restart && self.image.read_only => {
                Cell::Told("what may be written to is in memory, and empty after a restart")
            }
            other => cell(other),
        }
    }
}
