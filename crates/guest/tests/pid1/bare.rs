//! Images that lack what others have: everything, an SSH server that works, a disk that can be written to.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use testyard_guest_protocol::{Program, ProgramState, SshServer, Stage};

use super::node::{Disk, Key};
use super::{account, desired};

fn text(output: &std::process::Output) -> (String, String) {
    let of = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (of(&output.stdout), of(&output.stderr))
}

#[test]
fn one_static_program_becomes_a_node_with_users_and_sudo() {
    let (disk, host) = (Disk::bare(false).with_sudo(), Key::new("ed25519"));
    let (ann, bob) = (Key::new("ed25519"), Key::new("ed25519"));
    let node = disk.boot();
    let mut wanted = desired(1, vec![account("ann", &[&ann], true), account("bob", &[&bob], false)], &host);
    wanted.program = Program {
        argv: vec!["/busybox".into(), "sleep".into(), "1000".into()],
        workdir: "/srv/deep".into(),
        user: "4242:4243".into(),
        ..Program::default()
    };
    wanted.go = true;
    node.want(&wanted);
    let (report, took) = node.until("ready", |report| {
        report.stage == Stage::Ready && report.ssh && report.program != ProgramState::None
    });
    eprintln!("one static program: boot to SSH {took:?}; {}", node.cost());
    assert_eq!((report.failure, report.notice), (None, None));
    assert_eq!((report.ssh_server, report.program), (Some(SshServer::Embedded), ProgramState::Running));
    let mode = |path: &str| fs::metadata(disk.path(path)).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode("tmp"), mode("root"), mode("home/ann")), (0o1777, 0o700, 0o755));
    assert!(disk.text("etc/passwd").starts_with("root:*:0:0:root:/root:"));
    assert_eq!(disk.text("etc/hostname"), "alpha\n");

    let known = host.known_hosts();
    let run =
        |user: &str, key: &Key, command: &str| text(&node.ssh(user, &key.private_file(), &known, command));
    assert_eq!(run("ann", &ann, "/busybox id -u").0, "1000\n");
    assert_eq!(run("ann", &ann, "/busybox pwd").0, "/home/ann\n");
    assert!(!node.ssh("ann", &bob.private_file(), &known, "/busybox true").status.success());

    // sudo is found at the end of PATH.
    let sudo = |options: &str| run("ann", &ann, &format!("sudo {options}"));
    assert_eq!(sudo("-n /busybox id -u").0, "0\n");
    assert_eq!(sudo("-H -S -n -u root /busybox sh -c 'echo $HOME $USER $SUDO_USER'").0, "/root root ann\n");
    assert!(sudo("-u bob -g '#7' /busybox id").0.starts_with("uid=1001(bob) gid=7"));
    assert!(sudo("-l").0.contains("NOPASSWD: ALL"));
    assert!(sudo("-s").1.contains("has no shell"));
    assert!(sudo("none").1.contains("command not found"));
    let refused = node.ssh("bob", &bob.private_file(), &known, "sudo -n /busybox id -u");
    assert_eq!((refused.status.code(), refused.stdout.as_slice()), (Some(1), &b""[..]));
    assert!(text(&refused).1.contains("bob may not become root here"), "{refused:?}");

    // The next desired state is followed without a restart.
    wanted.revision = 2;
    wanted.accounts = vec![account("bob", &[&ann], true)];
    node.want(&wanted);
    node.until("revision 2", |report| report.revision == 2);
    assert_eq!(run("bob", &ann, "sudo -n /busybox id -u").0, "0\n");
    assert!(!node.ssh("bob", &bob.private_file(), &known, "/busybox true").status.success());
    assert!(!node.ssh("ann", &ann.private_file(), &known, "/busybox true").status.success());
}

#[test]
fn a_read_only_root_has_users_and_sudo_all_the_same() {
    let (disk, host, ann) = (Disk::bare(true).with_sudo(), Key::new("ed25519"), Key::new("ed25519"));
    for _ in 0..2 {
        let node = disk.boot();
        let mut wanted = desired(1, vec![account("ann", &[&ann], true)], &host);
        wanted.go = true;
        node.want(&wanted);
        let (report, _) = node.until("ssh", |report| report.ssh);
        assert_eq!((report.failure, report.ssh_server), (None, Some(SshServer::Embedded)));
        let notice = report.notice.unwrap();
        assert!(
            notice.contains("the root is read-only") && notice.contains("/etc/hostname cannot be written")
        );
        let known = host.known_hosts();
        let run = |command: &str| text(&node.ssh("ann", &ann.private_file(), &known, command)).0;
        assert_eq!(run("/busybox id -u"), "1000\n");
        assert_eq!(run("/busybox touch kept"), "");
        assert_eq!(run("/busybox pwd"), "/run/testyard-homes/ann\n");
        assert_eq!(run("sudo -n /busybox id -u"), "0\n");
        assert!(disk.text("etc/hosts").contains("alpha"), "what the engine mounts is written");
        assert!(!disk.path("etc/passwd").exists());
    }
}

#[test]
fn an_image_without_an_ssh_server_is_served() {
    let (disk, host, ann) = (Disk::new(), Key::new("ed25519"), Key::new("ed25519"));
    let node = disk.boot();
    // This machine's /usr is mounted over the image's; hide its servers.
    for path in ["/usr/sbin/sshd", "/usr/sbin/dropbear"] {
        let _ = node.inside(&["mount", "--bind", "/dev/null", path]);
    }
    let bob = Key::new("ed25519");
    let both = vec![account("ann", &[&ann], false), account("bob", &[&bob], false)];
    let mut wanted = desired(1, both, &host);
    wanted.go = true;
    wanted.program.env = vec!["FROM_IMAGE=yes".into()];
    node.want(&wanted);
    let (report, took) = node.until("ssh", |report| report.ssh);
    eprintln!("no server in the image: boot to SSH {took:?}; {}", node.cost());
    assert_eq!((report.failure, report.notice), (None, None));
    assert_eq!(report.ssh_server, Some(SshServer::Embedded));
    let output = node.ssh("ann", &ann.private_file(), &host.known_hosts(), "id -un; echo $0 $FROM_IMAGE");
    let (said, complained) = text(&output);
    assert!(said.starts_with("ann\n") && said.ends_with(" yes\n"), "{said}{complained}");
    assert_eq!(node.first_line("ann", &ann.private_file(), &host.known_hosts(), "exec yes"), "y\n");

    // The accounts cannot be read any more: who was in can come in and mend it, who must go is out.
    assert!(node.ssh("bob", &bob.private_file(), &host.known_hosts(), "true").status.success());
    let group = disk.path("etc/group");
    fs::remove_file(&group).unwrap();
    nix::unistd::mkfifo(&group, nix::sys::stat::Mode::S_IRUSR).unwrap();
    wanted.revision = 2;
    wanted.accounts.truncate(1);
    node.want(&wanted);
    let (report, _) = node.until("revision 2", |report| report.revision == 2);
    assert!(report.failure.unwrap().contains("/etc/group"));
    let output = node.ssh("ann", &ann.private_file(), &host.known_hosts(), "id -u; pwd");
    assert_eq!(text(&output).0, "1000\n/home/ann\n", "{output:?}");
    assert!(!node.ssh("bob", &bob.private_file(), &host.known_hosts(), "true").status.success());
}

#[test]
fn a_broken_sshd_is_told_with_its_own_words_and_replaced() {
    let (disk, host, ann) = (Disk::new(), Key::new("ed25519"), Key::new("ed25519"));
    fs::write(disk.path("etc/ssh/sshd_config"), "NoSuchOption yes\n").unwrap();
    let node = disk.boot();
    let mut wanted = desired(1, vec![account("ann", &[&ann], false)], &host);
    wanted.go = true;
    node.want(&wanted);
    let (report, took) = node.until("ssh", |report| report.ssh);
    eprintln!("a broken server in the image: boot to SSH {took:?}");
    assert_eq!((report.failure, report.ssh_server), (None, Some(SshServer::Embedded)));
    assert!(report.notice.as_ref().unwrap().contains("NoSuchOption"), "{:?}", report.notice);
    assert!(node.ssh("ann", &ann.private_file(), &host.known_hosts(), "true").status.success());
}

#[test]
fn sudo_does_nothing_else_and_believes_nothing() {
    let (disk, host) = (Disk::new().with_sudo(), Key::new("ed25519"));
    let (ann, bob) = (Key::new("ed25519"), Key::new("ed25519"));
    let node = disk.boot();
    let mut wanted = desired(1, vec![account("ann", &[&ann], true), account("bob", &[&bob], false)], &host);
    wanted.go = true;
    node.want(&wanted);
    let (report, _) = node.until("ssh", |report| report.ssh);
    assert_eq!(report.ssh_server, Some(SshServer::Image));
    let known = host.known_hosts();
    let run =
        |user: &str, key: &Key, command: &str| text(&node.ssh(user, &key.private_file(), &known, command));
    let sudo = "/.testyard/bin/sudo";

    // Whatever it is called, it is sudo: no other program of the guest runs with root's rights.
    for name in ["init", "testyard-guest", "ssh-session", "geni-get", ""] {
        let (said, complained) = run("bob", &bob, &format!("exec -a '{name}' {sudo} version"));
        assert!(said.is_empty() && complained.contains("bob may not become root"), "{name}: {complained}");
    }
    // The image's users are none of the testbed's; root needs nobody's leave.
    let output = node.inside(&["setpriv", "--reuid=33", "--regid=33", "--clear-groups", sudo, "-n", "id"]);
    assert!(text(&output).1.contains("no account of the testbed"), "{output:?}");
    assert_eq!(node.inside(&[sudo, "-u", "web", "id", "-u"]).stdout, b"33\n");

    // Environment, open files, arguments and identity.
    let (said, _) = run("ann", &ann, &format!("LD_PRELOAD=/tmp/x.so BASH_ENV=/tmp/x A=1 {sudo} B=2 env"));
    assert!(
        said.contains("B=2\n") && said.contains("SUDO_USER=ann\n") && said.contains("HOME=/root\n"),
        "{said}"
    );
    assert!(!said.contains("LD_PRELOAD") && !said.contains("BASH_ENV") && !said.contains("A=1"), "{said}");
    let (said, _) =
        run("ann", &ann, &format!("exec 7</etc/passwd; {sudo} ls /proc/self/fd | grep -c 7; true"));
    assert_eq!(said, "0\n");
    assert_eq!(run("ann", &ann, &format!("{sudo} id -u <&- 2>&-")).0, "0\n");
    let (said, complained) =
        run("ann", &ann, &format!("{sudo} grep -E '^(Uid|Gid|Groups)' /proc/self/status"));
    assert_eq!(said.split_whitespace().filter(|word| *word != "0").count(), 3, "{said}{complained}");
    let (said, _) =
        run("ann", &ann, &format!("{sudo} -u bob sh -c 'id -u; id -G; {sudo} -n true || echo no'"));
    assert_eq!(said, "1001\n1001\nno\n");
    let (said, _) = run("ann", &ann, &format!("{sudo} printf '%s.' \"a b\" \"\\$(id)\" \";id\""));
    assert_eq!(said, "a b.$(id).;id.");
    assert_eq!(run("ann", &ann, &format!("{sudo} -i echo '$0' '$PWD'")).0, "-bash /root\n");
    let (said, _) = run("ann", &ann, &format!("{sudo} -s echo 'a  b' \\; id"));
    assert_eq!(said, "a  b ; id\n");
    let huge =
        format!("{sudo} -n true $(seq 1 100000) && echo yes; X=$(seq 1 20000) {sudo} -E true && echo yes");
    assert_eq!(run("ann", &ann, &huge).0, "yes\nyes\n");
    for number in ["#-1", "#4294967295"] {
        assert!(run("ann", &ann, &format!("{sudo} -u '{number}' id")).1.contains("unknown user"));
    }

    // A file of one's own in the place of what process 1 shows, seen by a process that is number 1 of its own world.
    let lie = "mount -t proc proc /proc && exec setpriv --reuid=1001 --regid=1001 --clear-groups bash -c \
        'echo {\"accounts\":[{\"login\":\"bob\",\"uid\":1001,\"gid\":0,\"groups\":[],\"home\":\"/\",\"sudo\":true}]} > /tmp/lie; \
        exec 99</tmp/lie; /.testyard/bin/sudo -n id; echo $?'";
    let output = node.inside(&["unshare", "--pid", "--fork", "--mount", "sh", "-c", lie]);
    let (said, complained) = text(&output);
    assert_eq!(said, "1\n", "{complained}");
    assert!(complained.contains("not known who may become root"), "{complained}");
}
