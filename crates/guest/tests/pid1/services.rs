//! Services to the letter: what a shell, a server and a disk can do to them.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use testyard_guest_protocol::{
    Desired, Execute, Install, Report, ServiceId, ServiceReport, ServiceState, Stage, ToGuest,
};

use super::node::{Disk, Key, Node};
use super::{account, desired, serve, shell, wait_for};

fn wanted(executes: Vec<Execute>) -> Desired {
    Desired { go: true, executes, ..desired(1, vec![], &Key::new("ed25519")) }
}

/// How an execute stands, once it is known at all.
fn execute(report: &Report, index: u32) -> Option<ServiceState> {
    let is_it = |service: &&ServiceReport| service.id == ServiceId::Execute(index);
    report.services.iter().find(is_it).map(|service| service.state)
}

fn of(report: &Report, id: ServiceId) -> &ServiceReport {
    report.services.iter().find(|service| service.id == id).unwrap()
}

fn inside(node: &Node<'_>, arguments: &[&str]) {
    let output = node.inside(arguments);
    assert!(output.status.success(), "{arguments:?}: {output:?}");
}

#[test]
fn commands_of_every_kind() {
    let disk = Disk::new();
    fs::write(disk.path("tmp/tool"), "#!/opt/none/bash -e\ntrue\n").unwrap();
    let tool = "chmod +x /tmp/tool; /tmp/tool";
    let commands = [
        "printf '\\377\\000\\201 bytes'",
        "sleep 1000 & echo left",
        "echo group; kill -9 0",
        "cat; read x; echo \"read $?\"",
        tool,
        "#!/bin/bash\r\nset -o pipefail\r\n[[ a == a ]]\r\n",
        "echo first; yes | head -c 100000000; printf last",
    ];
    let mut executes: Vec<Execute> = commands.into_iter().map(shell).collect();
    executes.push(Execute { max_seconds: Some(1), ..shell("echo begun; exec sleep 1000") });
    executes.push(Execute { max_seconds: Some(1), ..shell("trap '' TERM; while :; do sleep 0.1; done") });
    executes.push(shell("seq 5000"));
    executes.push(shell("head -c 20000 /dev/urandom; exit 3"));
    executes.push(shell("exec sleep 1000"));
    let last = u32::try_from(executes.len() - 1).unwrap();
    let node = disk.boot();
    node.want(&wanted(executes));
    let (report, _) = node.until("the last command", |report| {
        report.stage == Stage::Ready && execute(report, last) == Some(ServiceState::Running)
    });
    assert_eq!(report.failure, None);
    let states: Vec<_> = report.services.iter().map(|service| service.state).collect();
    use ServiceState::{Exited, Running, Signalled};
    assert_eq!(states[..5], [Exited(0), Exited(0), Signalled(9), Exited(0), Exited(127)]);
    assert!(matches!(states[5], Exited(1..)), "{:?}", states[5]);
    assert_eq!(states[6..], [Exited(0), Signalled(15), Signalled(9), Exited(0), Exited(3), Running]);
    let detail = |index: u32| of(&report, ServiceId::Execute(index)).detail.as_str();
    assert_eq!(fs::read(disk.path("tmp/startup-1.txt")).unwrap(), b"\xff\0\x81 bytes");
    assert!(detail(0).ends_with(" bytes"), "{}", detail(0));
    assert_eq!((detail(1), detail(2)), ("left", "group"));
    assert_eq!(disk.text("tmp/startup-3.status"), "137\n");
    assert_eq!(disk.text("tmp/startup-4.txt"), "read 1\n");
    assert!(
        detail(4).contains("/tmp/tool asks for /opt/none/bash, which the image does not have"),
        "{}",
        detail(4)
    );
    assert!(detail(5).contains("its first line asks for /bin/bash, but sh has read it"), "{}", detail(5));
    assert!(detail(7).starts_with("begun\n[testyard: it was ended after 1 second,"), "{}", detail(7));
    let lines: Vec<_> = detail(9).lines().collect();
    assert_eq!((lines.len(), lines[0], lines[9]), (10, "4991", "5000"));
    assert_eq!(detail(10), "[testyard: its output is not text; it is in /tmp/startup-11.txt]");
    // The last part is put behind the first one when everybody has closed the output.
    wait_for(|| !disk.path("tmp/startup-7.more.txt").exists());
    let long = fs::read(disk.path("tmp/startup-7.txt")).unwrap();
    assert!((32 << 20..65 << 20).contains(&long.len()), "{} bytes", long.len());
    assert!(long.starts_with(b"first\ny\n") && long.ends_with(b"y\nlast"));
    assert!(long.windows(16).any(|window| window == b"bytes are left o"));
    let names: Vec<_> =
        fs::read_dir(disk.path("tmp")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!names.iter().any(|name| name.to_string_lossy().contains("old")), "{names:?}");
}

#[test]
fn whatever_runs_in_the_node_hears_every_signal() {
    let (disk, host, ann) = (Disk::new(), Key::new("ed25519"), Key::new("ed25519"));
    let mut node = disk.boot();
    let masks = "grep '^SigBlk' /proc/self/status";
    let mut wanted = Desired { accounts: vec![account("ann", &[&ann], false)], ..desired(1, vec![], &host) };
    wanted.go = true;
    wanted.executes = vec![shell(masks)];
    // No shell, which would set its mask by itself.
    wanted.program.argv = ["sleep", "1000"].map(str::to_owned).into();
    node.want(&wanted);
    let all = |report: &Report| report.ssh && execute(report, 0) == Some(ServiceState::Exited(0));
    node.until("all of it", all);
    let none = "SigBlk:\t0000000000000000\n";
    assert_eq!(disk.text("tmp/startup-1.txt"), none);
    let session = node.ssh("ann", &ann.private_file(), &host.known_hosts(), masks);
    assert_eq!(String::from_utf8_lossy(&session.stdout), none);
    node.say(&ToGuest::Stop { grace_ms: 30_000 });
    let took = node.wait_for_the_end();
    assert!(took < std::time::Duration::from_secs(15), "{took:?}");
}

#[test]
fn shells_that_the_image_lacks_are_told() {
    let disk = Disk::new();
    let node = disk.boot();
    inside(&node, &["mount", "--bind", "/dev/null", "/usr/bin/bash"]);
    let bash = || Execute { shell: "/bin/bash".into(), ..shell("echo ran > /ran") };
    let mut wanted = wanted(vec![bash(), shell("echo here > /here")]);
    node.want(&wanted);
    let done = |report: &Report| execute(report, 1) == Some(ServiceState::Exited(0));
    let (report, _) = node.until("sh", done);
    let first = of(&report, ServiceId::Execute(0));
    assert_eq!(first.state, ServiceState::Failed);
    assert!(
        first.detail.contains("the image has no bash") && first.detail.contains("use sh"),
        "{}",
        first.detail
    );
    assert_eq!(disk.text("tmp/startup-1.status"), "127\n");
    assert!(disk.text("tmp/execute.log").contains("startup-1: the image has no bash"));

    inside(&node, &["mount", "--bind", "/dev/null", "/usr/bin/sh"]);
    inside(&node, &["mount", "--bind", "/dev/null", "/usr/bin/dash"]);
    wanted.revision = 2;
    wanted.executes.push(shell("echo again"));
    node.want(&wanted);
    let failed = |report: &Report| report.revision == 2 && execute(report, 2) == Some(ServiceState::Failed);
    let (report, _) = node.until("no shell", failed);
    let detail = &of(&report, ServiceId::Execute(2)).detail;
    assert!(detail.contains("the image has no sh; nor any other shell"), "{detail}");
    assert!(!disk.path("ran").exists());
}

#[test]
fn a_root_that_cannot_be_written_moves_the_files() {
    let disk = Disk::new();
    let node = disk.boot();
    inside(&node, &["mount", "-t", "tmpfs", "tmpfs", "/run"]);
    inside(&node, &["mount", "-o", "remount,bind,ro", "/"]);
    node.want(&wanted(vec![shell("echo seen; touch /x")]));
    let ended = |report: &Report| matches!(execute(report, 0), Some(ServiceState::Exited(_)));
    let (report, _) = node.until("its end", ended);
    let told = of(&report, ServiceId::Execute(0));
    assert_eq!((told.state, told.folder.as_str()), (ServiceState::Exited(1), "/run/testyard"));
    assert!(told.detail.contains("its output is in /run/testyard/startup-1.txt"), "{}", told.detail);
    let text = node.inside(&["cat", "/run/testyard/startup-1.txt", "/run/testyard/startup-1.status"]);
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    assert!(text.starts_with("seen\n") && text.ends_with("\n1\n"), "{text}");
    assert!(!disk.path("x").exists() && !disk.path("tmp/startup-1.txt").exists());
}

#[test]
fn a_full_disk_is_told_and_stops_nobody() {
    let disk = Disk::new();
    let node = disk.boot();
    inside(&node, &["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", "/tmp"]);
    let mut wanted = wanted(vec![shell("head -c 1000000 /dev/zero | tr '\\0' x; echo; echo over")]);
    node.want(&wanted);
    let done = |index| move |report: &Report| execute(report, index) == Some(ServiceState::Exited(0));
    let (report, _) = node.until("its end", done(0));
    let told = of(&report, ServiceId::Execute(0));
    assert!(
        told.detail.contains("over\n[testyard: some of its output could not be written"),
        "{}",
        told.detail
    );
    // Now /tmp is full: the next one's files go elsewhere.
    wanted.revision = 2;
    wanted.executes.push(shell("echo elsewhere"));
    node.want(&wanted);
    let (report, _) = node.until("the next", done(1));
    assert_eq!(of(&report, ServiceId::Execute(1)).folder, "/run/testyard");
    assert_eq!(disk.text("run/testyard/startup-2.txt"), "elsewhere\n");
}

#[test]
fn a_download_that_is_not_what_was_meant_is_refused() {
    let disk = Disk::new();
    let requests = Arc::new(AtomicUsize::new(0));
    let node = disk.boot();
    let port = serve(node.pid(), vec![b"abc".to_vec(), b"abd".to_vec()], &requests);
    let sum = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let install = |name: &str| Install {
        url: format!("http://127.0.0.1:{port}/{name}.txt"),
        path: "/srv".into(),
        max_download: 100,
        max_unpacked: 100,
        checksum: Some(format!("sha256:{sum}")),
    };
    let mut wanted = wanted(vec![shell("echo ran > /ran")]);
    wanted.installs = vec![install("one"), install("two")];
    node.want(&wanted);
    let (report, _) =
        node.until("the refusal", |report| report.failure.is_some() && report.services.len() == 3);
    let failure = report.failure.clone().unwrap();
    let other = "a52d159f262b2c6ddb724a61840befc36eb30c88877a4030b65cbe86298449c9";
    assert!(failure.contains("install 2") && failure.contains(sum) && failure.contains(other), "{failure}");
    assert_eq!(disk.text("srv/one.txt"), "abc");
    assert!(!disk.path("srv/two.txt").exists());
    // What the agent says about something else does not hide it.
    wanted.revision = 2;
    node.want(&wanted);
    let (report, _) = node.until("revision 2", |report| report.revision == 2);
    let states: Vec<_> = report.services.iter().map(|service| service.state).collect();
    assert_eq!(states, [ServiceState::Exited(0), ServiceState::Failed, ServiceState::Waiting]);
    assert!(!disk.path("ran").exists());
}
