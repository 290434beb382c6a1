//! Programs of the node ask process 1 about the node.

use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::process::Output;

use testyard_guest_protocol::{Desired, FactUser, Facts, Stage};

use crate::node::{Disk, Key, Node};
use crate::{account, desired};

fn wanted(host: &Key, ann: &Key) -> Desired {
    let facts = Facts {
        client_id: "PC 1".into(),
        slice_urn: "urn:publicid:IDN+a:project+slice+demo".into(),
        sliver_urn: "urn:publicid:IDN+tb+sliver+1".into(),
        user_urn: "urn:publicid:IDN+a+user+ann".into(),
        users: vec![FactUser { login: "ann".into(), urn: "urn:publicid:IDN+a+user+ann".into() }],
        addresses: vec!["127.0.0.1".parse().unwrap()],
        asks: vec!["manifest".into(), "status".into()],
    };
    Desired { facts: Some(facts), ..desired(1, vec![account("ann", &[ann], false)], host) }
}

fn geni_get(node: &Node<'_>, arguments: &[&str]) -> Output {
    node.inside(&[&["/.testyard/bin/testyard-guest", "geni-get"], arguments].concat())
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn every_user_may_ask_and_secrets_are_refused() {
    let (disk, host, ann) = (Disk::new(), Key::new("ed25519"), Key::new("ed25519"));
    let node = disk.boot();
    let unknown = geni_get(&node, &["client_id"]);
    assert_eq!(unknown.status.code(), Some(1), "nothing is known yet: {unknown:?}");
    node.want(&wanted(&host, &ann));
    node.until("prepared", |report| report.stage == Stage::Prepared);
    assert_eq!(text(&geni_get(&node, &["client_id"])), "PC 1\n");
    assert_eq!(text(&geni_get(&node, &["-n", "slice_urn"])), "urn:publicid:IDN+a:project+slice+demo\n");
    assert_eq!(text(&geni_get(&node, &["user_email"])), "\n");
    assert_eq!(text(&geni_get(&node, &["control_mac"])), "000000000000\n");
    assert_eq!(text(&geni_get(&node, &["manifest"])), "the manifest, question 1\n");
    assert_eq!(text(&geni_get(&node, &["portalmanifest"])), "the manifest, question 2\n", "asked anew");
    assert!(text(&geni_get(&node, &[])).contains("\"sliverstatus\""));
    let all: serde_json::Value = serde_json::from_str(&text(&geni_get(&node, &["--all"]))).unwrap();
    assert_eq!(all["client_id"], "PC 1");
    assert_eq!(all["geni_user"][0]["keys"][0], ann.public());
    assert!(all.get("sliverstatus").is_none(), "this agent does not answer it: {all}");
    let user = ["setpriv", "--reuid", "33", "--regid", "33", "--clear-groups"];
    let table = node.inside(&[&user[..], &["/.testyard/bin/testyard-guest", "facts"]].concat());
    assert!(text(&table).contains("user_urn      urn:publicid:IDN+a+user+ann\n"), "{table:?}");

    for name in ["key", "certificate", "cert", "rpccert", "param"] {
        let refused = geni_get(&node, &[name]);
        assert_eq!((refused.status.code(), refused.stdout.len()), (Some(1), 0), "{refused:?}");
        assert!(String::from_utf8_lossy(&refused.stderr).starts_with(&format!("geni-get: {name}: ")));
    }
    assert_eq!(geni_get(&node, &["sliverstatus"]).status.code(), Some(1));
    assert_eq!(geni_get(&node, &["passwd"]).status.code(), Some(1));
    assert_eq!(geni_get(&node, &["--frobnicate"]).status.code(), Some(2));

    let socket = std::fs::metadata(disk.path("run/testyard/facts.sock")).unwrap();
    assert!(socket.file_type().is_socket() && socket.permissions().mode() & 0o777 == 0o666);
    // Without the file there is the name without a file, and a socket of somebody else is nobody.
    std::fs::remove_file(disk.path("run/testyard/facts.sock")).unwrap();
    assert_eq!(text(&geni_get(&node, &["client_id"])), "PC 1\n");
}

#[test]
fn a_flood_harms_neither_process_1_nor_the_answers_of_others() {
    let (disk, host, ann) = (Disk::new(), Key::new("ed25519"), Key::new("ed25519"));
    let node = disk.boot();
    let mut wanted = wanted(&host, &ann);
    node.want(&wanted);
    node.until("prepared", |report| report.stage == Stage::Prepared);
    // A user asks with twenty programs at once, and holds what connections there are for a user.
    let flood = "for i in $(seq 20); do (while :; do /.testyard/bin/testyard-guest geni-get manifest; done) & done \
                 > /dev/null 2>&1; sleep 4; kill -9 -1";
    let user = ["setpriv", "--reuid", "33", "--regid", "33", "--clear-groups", "sh", "-c", flood];
    std::thread::scope(|scope| {
        let flood = scope.spawn(|| node.inside(&user));
        while !flood.is_finished() {
            assert_eq!(text(&geni_get(&node, &["client_id"])), "PC 1\n");
        }
    });
    // The agent is heard and answered as before.
    wanted.revision = 2;
    node.want(&wanted);
    let (report, _) = node.until("revision 2", |report| report.revision == 2);
    assert_eq!(report.failure, None);
    let files = std::fs::read_dir(format!("/proc/{}/fd", node.pid())).unwrap().count();
    assert!(files < 40, "{files} open files are left");
    assert!(text(&geni_get(&node, &["manifest"])).starts_with("the manifest, question "));
}

#[test]
fn an_old_agent_is_not_asked_and_a_new_one_answers_what_was_open() {
    let (disk, host, ann) = (Disk::new(), Key::new("ed25519"), Key::new("ed25519"));
    let mut node = disk.boot();
    let wanted = wanted(&host, &ann);
    node.want(&Desired { facts: None, ..wanted.clone() });
    node.until("prepared", |report| report.stage == Stage::Prepared);
    assert_eq!(geni_get(&node, &["manifest"]).status.code(), Some(1));
    node.want(&wanted);
    assert_eq!(text(&geni_get(&node, &["manifest"])), "the manifest, question 1\n");
    node.hang_up();
    let answer = std::thread::scope(|scope| {
        let pid = node.pid().to_string();
        let asking = scope.spawn(move || {
            let program =
                ["-m", "-p", "-n", "-r", "--", "/.testyard/bin/testyard-guest", "geni-get", "status"];
            std::process::Command::new("nsenter").args(["-t", &pid]).args(program).output().unwrap()
        });
        node.accept();
        node.want(&wanted);
        asking.join().unwrap()
    });
    assert_eq!(text(&answer), "the status, question 2\n");
    assert_eq!(text(&geni_get(&node, &["client_id"])), "PC 1\n");
}
