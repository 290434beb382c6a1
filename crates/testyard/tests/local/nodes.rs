//! Ways into nodes: `ssh-config`, `inventory`, `cp`, `exec`, `logs`.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use super::bed::{Bed, command, text};
use super::stand_in;

/// A program that says what it was called with, a word a line.
const TELLS: &str = "#!/bin/sh\nfor word; do printf '%s\\n' \"$word\"; done\n";

/// An ssh whose nodes say what they were to run.
const RUNS: &str = "#!/bin/sh\nfor last; do :; done\nprintf 'ran: %s\\n' \"$last\"\n";

/// The caller's login name: ann for root, who acts for her, else the caller's own.
fn login(node: &Value) -> String {
    let logins = node["ssh"]["logins"].as_object().unwrap();
    logins.values().next().unwrap().as_str().unwrap().to_owned()
}

#[test]
fn openssh_reads_the_configuration() {
    let bed = Bed::with_lab();
    let file = bed.file("lab.ssh", &bed.ok("ssh-config lab"));
    for name in ["web", "db", "spare"] {
        let ssh = Command::new("ssh").args(["-G", "-F", &file, name]).output().unwrap();
        let said = text(&ssh.stdout);
        let port = format!("port {}", bed.node(name)["ssh"]["port"]);
        let user = format!("user {}", login(&bed.node(name)));
        for line in ["hostname localhost", &port, &user, "stricthostkeychecking true"] {
            assert!(said.lines().any(|other| other == line), "{line}: {said}{}", text(&ssh.stderr));
        }
        let key = said.lines().find_map(|line| line.strip_prefix("identityfile ")).unwrap();
        assert!(fs::read_to_string(key.trim_matches('"')).unwrap().contains("PRIVATE KEY"), "{key}");
    }
}

#[test]
fn ansible_reads_the_inventory() {
    let bed = Bed::with_lab();
    let file = bed.file("lab.yml", &bed.ok("inventory lab"));
    let mut ansible = Command::new("ansible-inventory");
    ansible
        .args(["-i", &file, "--list"])
        .env("HOME", bed.path(""))
        .env("ANSIBLE_LOCAL_TEMP", bed.path("tmp"));
    let output = ansible.output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let read: Value = serde_json::from_slice(&output.stdout).unwrap();
    let hosts = &read["_meta"]["hostvars"];
    assert_eq!(hosts.as_object().unwrap().len(), 3, "{read}");
    assert_eq!(hosts["web"]["ansible_port"], bed.node("web")["ssh"]["port"]);
    assert_eq!(hosts["web"]["ansible_user"], login(&bed.node("web")));
    let options = hosts["web"]["ansible_ssh_common_args"].as_str().unwrap();
    let known = options.split_once("UserKnownHostsFile=").unwrap().1.split(' ').next().unwrap();
    assert!(fs::read_to_string(known.trim_end_matches('\'')).unwrap().contains("ssh-ed25519"), "{options}");
}

#[test]
fn folders_are_copied_and_a_terminal_sees_how_far_it_is() {
    let bed = Bed::with_lab();
    bed.program("scp", TELLS);
    let words = bed.ok("cp -r web.lab:/var/log db:/tmp logs");
    let words: Vec<&str> = words.lines().collect();
    assert!(
        words.contains(&"-r") && words.ends_with(&["--", "web:/var/log", "db:/tmp", "logs"]),
        "{words:?}"
    );
    assert!(words.contains(&"-q"), "nobody looks: {words:?}");
    let config = words[words.iter().position(|word| *word == "-F").unwrap() + 1];
    assert!(fs::read_to_string(config).unwrap().contains("Host web\n"));
    let seen = bed.on_terminal("cp web:/tmp/a b");
    assert!(seen.contains("web:/tmp/a") && !seen.lines().any(|word| word.trim() == "-q"), "{seen}");
    assert!(bed.fails("cp here there", 2).contains("none of these is in a node"));
}

#[test]
fn a_command_in_all_nodes_says_how_far_it_is() {
    let bed = Bed::with_lab();
    bed.program("ssh", RUNS);
    let ran: Value = serde_json::from_str(&bed.ok("exec --all --slice lab --json -- uname -r")).unwrap();
    let nodes: Vec<&Value> = ran.as_array().unwrap().iter().map(|ran| &ran["node"]).collect();
    assert_eq!(nodes, ["db", "spare", "web"]);
    assert_eq!((&ran[0]["stdout"], &ran[0]["exit_code"]), (&json!("ran: uname -r\n"), &json!(0)));
    bed.program("ssh", "#!/bin/sh\nsleep 0.5\n");
    let seen = bed.on_terminal("exec --all --slice lab --json -- true");
    assert!(seen.contains(" of 3 nodes"), "{seen:?}");
}

#[test]
fn what_commands_have_printed_is_read_in_the_node() {
    let bed = Bed::with_lab();
    bed.program("ssh", RUNS);
    let log = bed.node("web")["services"][0]["log"].as_str().unwrap().to_owned();
    assert_eq!(bed.ok("logs web"), format!("ran: exec cat {log}\n"));
    assert_eq!(bed.ok("logs web.lab --number 1 --follow"), format!("ran: exec tail -n +1 -F {log}\n"));
    let told = bed.json("logs web --json");
    let expected = json!([{
        "of": "execute 1", "state": "exited", "file": log, "whole": true, "text": format!("ran: exec cat {log}\n"),
    }]);
    assert_eq!(told, expected);
    assert!(bed.fails("logs web --number 2", 1).contains("runs no command 2"));
    assert!(bed.fails("logs db", 1).contains("db runs no commands"));
}

/// A testbed whose nodes nobody reaches: one has failed, one is stopped.
#[test]
fn of_nodes_out_of_reach_the_ends_of_outputs_are_shown() {
    let node = |name: &str, state: &str| {
        json!({
            "name": name, "urn": format!("urn:{name}"), "allocation": "provisioned", "state": state, "converged": true, "host": "local",
            "image": "debian:12", "sliver_type": "docker-container", "expires": "2030-01-01T00:00:00Z",
            "hostname": name, "control_address": "10.0.0.1",
            "ssh": {"host": "127.0.0.1", "port": 1, "logins": {"urn:publicid:IDN+localhost+user+ann": "ann"}, "host_keys": []},
            "services": [
                {"kind": "install", "number": 1, "state": "failed", "detail": "404 Not Found"},
                {"kind": "execute", "number": 1, "state": "exited", "exit_code": 1, "log": "/tmp/startup-1.txt",
                 "detail": "make: *** [all] Error 1\nthe \u{1b}[31mend\n"},
            ],
            "programs": [{"name": "gen", "start": 1, "state": "signalled", "signal": 9,
                "logs": ["/tmp/program-gen.out", "/tmp/program-gen.err"], "detail": "out of tokens\n"}],
        })
    };
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("socket");
    stand_in::listen(&socket, stand_in::testbed(&json!([node("bad", "failed"), node("off", "notready")])));
    let run = |line: &str| {
        let mut command = command(&folder.path().join("etc"), folder.path());
        command.args(line.split(' ')).arg("--socket").arg(&socket).output().unwrap()
    };
    for (name, why) in [("bad", "bad cannot be reached"), ("off", "off is stopped")] {
        let output = run(&format!("logs {name}"));
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success() && err.contains(why), "{name}: {err}");
        for line in [
            "==> install 1: failed",
            "404 Not Found",
            "==> execute 1: exited",
            "make: *** [all] Error 1",
            "==> program gen: signalled",
            "out of tokens",
        ] {
            assert!(out.lines().any(|other| other == line), "{line}: {out}");
        }
        assert!(!out.contains('\u{1b}'), "{out:?}");
    }
    let output = run("logs off --program gen --json");
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&told[0]["whole"], &told[0]["text"]), (&json!(false), &json!("out of tokens\n")), "{told}");
    assert_eq!(told.as_array().unwrap().len(), 1);
}
