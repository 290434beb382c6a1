//! The guest as process 1: boots, SSH, accounts, the image's program, services, stops, and an agent that comes and goes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may panic, its helpers too"
)]

mod bare;
mod facts;
mod node;
mod programs;
mod services;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::Ipv4Addr;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::process::Command;
use std::time::Duration;

use node::{Disk, Key};
use testyard_guest_protocol::{
    Account, Desired, Execute, HostsLine, Install, PROTOCOL, Program, ProgramState, Report, Resolver,
    ServiceId, ServiceState, Stage, ToGuest,
};

fn desired(revision: u64, accounts: Vec<Account>, host_key: &Key) -> Desired {
    Desired {
        revision,
        hostname: "alpha".into(),
        hosts: vec![HostsLine {
            address: Ipv4Addr::new(10, 0, 0, 2).into(),
            names: vec!["beta".into(), "beta-lan".into()],
        }],
        resolver: Resolver {
            servers: vec![Ipv4Addr::new(10, 0, 0, 53).into()],
            search: vec!["lab.example".into()],
        },
        host_keys: vec![host_key.as_host_key("ed25519")],
        accounts,
        ..Desired::default()
    }
}

fn account(login: &str, keys: &[&Key], sudo: bool) -> Account {
    Account { login: login.into(), keys: keys.iter().map(|key| key.public()).collect(), sudo }
}

fn shell(command: &str) -> Execute {
    Execute { shell: "sh".into(), command: command.into(), max_seconds: None }
}

fn state(report: &Report, id: ServiceId) -> ServiceState {
    report.services.iter().find(|service| service.id == id).map(|service| service.state).unwrap()
}

#[test]
fn from_boot_to_ssh_and_users_come_and_go() {
    let (disk, host, ann, bob) = (Disk::new(), Key::new("ed25519"), Key::new("ed25519"), Key::new("ed25519"));
    let node = disk.boot();
    assert_eq!(node.hello().protocol, PROTOCOL);
    let (report, _) = node.until("the first report", |_| true);
    assert_eq!((report.stage, report.revision), (Stage::Booted, 0));

    let mut wanted = desired(1, vec![account("ann", &[&ann], false)], &host);
    node.want(&wanted);
    let (report, prepared) = node.until("prepared", |report| report.stage == Stage::Prepared);
    assert_eq!((report.revision, report.failure, report.ssh), (1, None, false));
    assert!(disk.text("etc/hosts").contains("10.0.0.2\tbeta beta-lan\n"));
    assert_eq!(disk.text("etc/resolv.conf"), "search lab.example\nnameserver 10.0.0.53\n");
    assert_eq!(node.inside(&["hostname"]).stdout, b"alpha\n");
    assert!(!disk.path("etc/ssh/ssh_host_rsa_key").exists());

    wanted.revision = 2;
    wanted.go = true;
    node.want(&wanted);
    let (report, ready) = node.until("ssh", |report| report.ssh);
    assert_eq!((report.revision, report.failure.clone()), (2, None));
    let known = host.known_hosts();
    let run = |user: &str, key: &Key, command: &str| node.ssh(user, &key.private_file(), &known, command);
    let output = run("ann", &ann, "id -un; id -g; pwd; cat .profile; echo $SHELL");
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "ann\n1000\n/home/ann\nPATH=$PATH\n/bin/bash\n",
        "{output:?}"
    );
    assert!(!run("ann", &bob, "true").status.success());

    // Another key for ann, and bob; then bob alone.
    wanted.revision = 3;
    wanted.accounts = vec![account("ann", &[&bob], false), account("bob", &[&bob, &ann], false)];
    node.want(&wanted);
    node.until("revision 3", |report| report.revision == 3 && report.ssh);
    assert!(!run("ann", &ann, "true").status.success());
    assert!(run("ann", &bob, "touch kept").status.success());
    assert_eq!(run("bob", &ann, "id -u").stdout, b"1001\n");
    wanted.revision = 4;
    wanted.accounts = vec![account("bob", &[&bob], false)];
    node.want(&wanted);
    node.until("revision 4", |report| report.revision == 4);
    assert!(!run("ann", &bob, "true").status.success());
    assert!(disk.path("home/ann/kept").exists() && !disk.path("home/ann/.ssh/authorized_keys").exists());
    assert!(run("bob", &bob, "true").status.success());

    eprintln!("boot to prepared {prepared:?}, to ssh {ready:?}; {}", node.cost());
}

#[test]
fn an_account_of_the_image_is_refused_by_name_and_the_others_work() {
    let (disk, host, ann) = (Disk::new(), Key::new("ed25519"), Key::new("ed25519"));
    let node = disk.boot();
    let mut wanted = desired(1, vec![account("web", &[&ann], true), account("ann", &[&ann], true)], &host);
    wanted.go = true;
    node.want(&wanted);
    let (report, _) = node.until("ssh", |report| report.ssh);
    assert!(report.failure.as_ref().unwrap().contains("\"web\""), "{:?}", report.failure);
    assert!(node.ssh("ann", &ann.private_file(), &host.known_hosts(), "true").status.success());
    assert!(disk.text("etc/passwd").contains("web:x:33:33::/var/www:/bin/sh\n"));
    assert!(!disk.path("var/www/.ssh").exists());
}

#[test]
fn what_a_user_lays_out_does_not_lead_root_astray() {
    let (disk, host, ann) = (Disk::new(), Key::new("ed25519"), Key::new("ed25519"));
    let node = disk.boot();
    let mut wanted = desired(1, vec![account("ann", &[&ann], false)], &host);
    wanted.go = true;
    node.want(&wanted);
    node.until("ssh", |report| report.ssh);
    let trap = "rm -rf .ssh && ln -s /etc .ssh && ln -s /etc/passwd /tmp/startup-1.sh && ln -s /etc/passwd /tmp/execute.log && mkdir /tmp/startup-1.txt";
    assert!(node.ssh("ann", &ann.private_file(), &host.known_hosts(), trap).status.success());
    let before = disk.text("etc/passwd");
    wanted.revision = 2;
    wanted.executes = vec![shell("echo done")];
    node.want(&wanted);
    let done = |report: &Report| {
        report.revision == 2 && state(report, ServiceId::Execute(0)) == ServiceState::Exited(0)
    };
    node.until("the command", done);
    assert_eq!(disk.text("etc/passwd"), before);
    assert!(!disk.path("etc/authorized_keys").exists());
    assert_eq!(fs::metadata(disk.path("etc")).unwrap().uid(), 0);
    assert_eq!(disk.text("tmp/startup-1.txt"), "done\n");
    assert!(node.ssh("ann", &ann.private_file(), &host.known_hosts(), "true").status.success());
}

#[test]
fn the_program_of_the_image_gets_its_signal_and_the_node_outlives_it() {
    let (disk, host) = (Disk::new(), Key::new("ed25519"));
    let mut node = disk.boot();
    let mut wanted = desired(1, vec![], &host);
    wanted.program = Program {
        // Nothing is started once it is up: a signal that comes while dash 0.5.12 is in vfork(2) is lost to its trap.
        argv: ["sh", "-c", "id > /tmp/who; pwd >> /tmp/who; echo $HOME $A >> /tmp/who; sleep 1000 & trap 'echo quit > /tmp/end; exit 7' QUIT; echo > /tmp/up; wait"].map(str::to_owned).into(),
        env: vec!["A=b c".into()],
        workdir: "/srv/deep".into(),
        user: "web".into(),
        stop_signal: "SIGQUIT".into(),
    };
    node.want(&wanted);
    node.until("prepared", |report| report.stage == Stage::Prepared);
    assert!(!disk.path("tmp/who").exists(), "nothing starts before the agent says so");
    wanted.go = true;
    node.want(&wanted);
    node.until("the program", |report| report.program == ProgramState::Running);
    wait_for(|| disk.path("tmp/up").exists());
    let who = disk.text("tmp/who");
    assert_eq!(who, "uid=33(web) gid=33(web) groups=33(web),77(extra)\n/srv/deep\n/var/www b c\n");
    node.say(&ToGuest::Stop { grace_ms: 20_000 });
    let took = node.wait_for_the_end();
    assert!(took < Duration::from_secs(10), "{took:?}");
    assert_eq!(disk.text("tmp/end"), "quit\n");
    drop(node);

    // The next boot: it ends by itself, orphans are reaped, the node stays and a signal of the engine stops it.
    let mut node = disk.boot();
    wanted.program.argv =
        ["sh", "-c", "(sleep 0.1; exec true) & (exec sleep 1000) & exit 3"].map(str::to_owned).into();
    wanted.program.user = String::new();
    node.want(&wanted);
    // One report may tell both.
    let (report, _) =
        node.until("its end, and SSH", |report| report.program == ProgramState::Exited(3) && report.ssh);
    assert_eq!(report.failure, None);
    wait_for(|| {
        let zombies = node.inside(&["sh", "-c", "cat /proc/[0-9]*/stat"]);
        !String::from_utf8_lossy(&zombies.stdout).contains(") Z ")
    });
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(node.pid()), nix::sys::signal::Signal::SIGTERM)
        .unwrap();
    node.wait_for_the_end();
}

#[test]
fn programs_that_cannot_start_are_told() {
    let (disk, host) = (Disk::new(), Key::new("ed25519"));
    for (argv, user, errno, cause) in [
        ("/none", "", libc::ENOENT, "\"/none\": there is no such file in the image"),
        ("/etc/passwd", "", libc::EACCES, "chmod +x"),
        ("", "", libc::ENOENT, "the name of the program is empty"),
        ("none", "", libc::ENOENT, "\"none\": it is in no folder of PATH (/usr/local/sbin:"),
        ("true", "nobody-here", libc::EINVAL, "\"true\": it is to run as USER \"nobody-here\""),
    ] {
        let node = disk.boot();
        let mut wanted = desired(1, vec![], &host);
        wanted.go = true;
        wanted.program = Program { argv: vec![argv.into()], user: user.into(), ..Program::default() };
        node.want(&wanted);
        let (report, _) = node.until("its error", |report| report.program != ProgramState::None);
        assert_eq!(report.program, ProgramState::NotStarted(errno));
        assert!(report.program_note.as_ref().unwrap().contains(cause), "{:?}", report.program_note);
    }
}

#[test]
fn a_program_that_starts_sshd_itself_hears_who_has_port_22() {
    let (disk, host) = (Disk::new(), Key::new("ed25519"));
    let start = disk.path("start.sh");
    // As such scripts do, once the server of the node answers.
    let script =
        "#!/bin/bash\nuntil exec 3<>/dev/tcp/127.0.0.1/22; do sleep 0.1; done\nexec /usr/sbin/sshd -D -e\n";
    fs::write(&start, script).unwrap();
    fs::set_permissions(&start, fs::Permissions::from_mode(0o755)).unwrap();
    let node = disk.boot();
    let mut wanted = desired(1, vec![], &host);
    wanted.go = true;
    wanted.program = Program { argv: vec!["/start.sh".into()], ..Program::default() };
    node.want(&wanted);
    let (report, _) = node.until("its end", |report| matches!(report.program, ProgramState::Exited(_)));
    assert_eq!(report.program, ProgramState::Exited(255));
    let note = report.program_note.unwrap();
    assert!(note.contains("(in /start.sh)") && note.contains("port 22 is taken"), "{note}");
}

#[test]
fn an_image_whose_program_is_sshd_has_one_sshd() {
    let (disk, host, ann) = (Disk::new(), Key::new("ed25519"), Key::new("ed25519"));
    let node = disk.boot();
    let mut wanted = desired(1, vec![account("ann", &[&ann], false)], &host);
    wanted.go = true;
    wanted.program = Program { argv: vec!["/usr/sbin/sshd".into(), "-D".into()], ..Program::default() };
    node.want(&wanted);
    let (report, _) = node.until("ssh", |report| report.ssh);
    assert_eq!(report.program, ProgramState::Running);
    let listening = node.inside(&["sh", "-c", "grep -l '[s]shd: .*listener' /proc/[0-9]*/cmdline | wc -l"]);
    assert_eq!(String::from_utf8_lossy(&listening.stdout).trim(), "1");
    assert!(node.ssh("ann", &ann.private_file(), &host.known_hosts(), "true").status.success());
    // When it ends, the guest's own takes its place.
    assert!(node.inside(&["pkill", "-x", "sshd"]).status.success());
    node.until("its end", |report| {
        matches!(report.program, ProgramState::Exited(_) | ProgramState::Signalled(_))
    });
    wait_for(|| node.ssh("ann", &ann.private_file(), &host.known_hosts(), "true").status.success());
}

#[test]
fn services_run_in_order_once_in_the_life_of_a_disk() {
    let (disk, host) = (Disk::new(), Key::new("ed25519"));
    let (archive, requests) = (site(), std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0)));
    let mut wanted = desired(1, vec![], &host);
    wanted.go = true;
    let install = |port: u16, name: &str, path: &str| Install {
        url: format!("http://127.0.0.1:{port}/{name}"),
        path: path.into(),
        max_download: 1 << 20,
        max_unpacked: 1 << 20,
        checksum: None,
    };
    let mut node = disk.boot();
    let port = serve(node.pid(), vec![archive, b"notes".to_vec()], &requests);
    wanted.installs = vec![install(port, "site.tar.gz", "/srv"), install(port, "notes.txt", "/opt/new/")];
    wanted.executes = vec![
        shell("cat /srv/site/hello /opt/new/notes.txt\r\necho to-stderr >&2\r\nexit 4"),
        Execute {
            shell: "bash".into(),
            command: "echo second >> /count; [[ $HOME == /root && $USER == root ]] && id -u".into(),
            max_seconds: None,
        },
        Execute { shell: "zsh".into(), command: "true".into(), max_seconds: None },
        shell("echo third; kill -9 $$"),
        shell("echo last >> /count; exec sleep 1000"),
    ];
    node.want(&wanted);
    let (report, _) = node.until("the last command", |report| {
        report.services.len() == 7
            && state(report, ServiceId::Execute(4)) == ServiceState::Running
            && report.ssh
    });
    let states: Vec<_> = report.services.iter().map(|service| service.state).collect();
    assert_eq!(states[..2], [ServiceState::Exited(0), ServiceState::Exited(0)]);
    assert_eq!(
        states[2..],
        [
            ServiceState::Exited(4),
            ServiceState::Exited(0),
            ServiceState::Failed,
            ServiceState::Signalled(9),
            ServiceState::Running
        ]
    );
    assert!(report.services[2].detail.ends_with("to-stderr") && report.services[4].detail.contains("zsh"));
    assert_eq!((report.failure.clone(), report.stage), (None, Stage::Ready));
    assert_eq!(disk.text("tmp/startup-1.txt"), "hi\nnotesto-stderr\n");
    assert_eq!(disk.text("tmp/startup-1.status"), "4\n");
    assert_eq!(disk.text("tmp/startup-2.txt"), "0\n");
    assert_eq!(disk.text("tmp/startup-4.status"), "137\n");
    assert_eq!(disk.text("tmp/install-2.status"), "0\n");
    assert!(disk.text("tmp/install-1.txt").contains("unpacked"));
    assert!(disk.text("tmp/execute.log").contains("startup-1: sh /tmp/startup-1.sh: exit status 4\n"));
    wait_for(|| disk.text("count") == "second\nlast\n");
    node.say(&ToGuest::Stop { grace_ms: 5000 });
    node.wait_for_the_end();
    drop(node);

    let node = disk.boot();
    node.want(&wanted);
    let (report, _) = node.until("ready again", |report| report.stage == Stage::Ready && report.ssh);
    assert_eq!(state(&report, ServiceId::Execute(0)), ServiceState::Exited(4));
    assert_eq!(state(&report, ServiceId::Execute(4)), ServiceState::Interrupted);
    assert_eq!(disk.text("count"), "second\nlast\n");
    assert_eq!(requests.load(std::sync::atomic::Ordering::SeqCst), 2);
}

#[test]
fn a_failed_install_leaves_ssh_open_and_is_tried_again_at_the_next_boot() {
    let (disk, host, ann) = (Disk::new(), Key::new("ed25519"), Key::new("ed25519"));
    let requests = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let mut wanted = desired(1, vec![account("ann", &[&ann], false)], &host);
    wanted.go = true;
    wanted.executes = vec![shell("echo ran > /ran")];
    for (body, good) in [(b"<html>moved</html>".to_vec(), false), (site(), true)] {
        let node = disk.boot();
        let port = serve(node.pid(), vec![body], &requests);
        wanted.installs = vec![Install {
            url: format!("http://user:secret@127.0.0.1:{port}/site.tar.gz"),
            path: "/srv".into(),
            max_download: 1 << 20,
            max_unpacked: 1 << 20,
            checksum: None,
        }];
        node.want(&wanted);
        if good {
            node.until("ready", |report| report.stage == Stage::Ready && report.failure.is_none());
            wait_for(|| disk.path("ran").exists());
        } else {
            let (report, _) = node.until("the failure", |report| report.failure.is_some() && report.ssh);
            let failure = report.failure.clone().unwrap();
            assert!(
                failure.contains("/site.tar.gz") && failure.contains("<html>") && !failure.contains("secret"),
                "{failure}"
            );
            assert!(failure.contains("geni_restart tries it again"), "{failure}");
            let detail = &report.services[0].detail;
            assert!(
                detail.contains("<html>") && !detail.contains("/site.tar.gz"),
                "told once in full: {detail}"
            );
            assert_eq!(report.stage, Stage::Installing);
            assert_eq!(state(&report, ServiceId::Execute(0)), ServiceState::Waiting);
            assert!(node.ssh("ann", &ann.private_file(), &host.known_hosts(), "true").status.success());
            assert!(!disk.path("ran").exists());
        }
    }
}

#[test]
fn an_agent_that_comes_back_hears_everything() {
    let (mut disk, host) = (Disk::new(), Key::new("ed25519"));
    let mut wanted = desired(1, vec![], &host);
    wanted.go = true;
    wanted.executes = vec![shell("echo x >> /count")];
    let mut boot = None;
    {
        let mut node = disk.boot();
        node.want(&wanted);
        node.until("ready", |report| report.stage == Stage::Ready);
        for _ in 0..3 {
            let id = node.hello().boot.clone();
            assert_eq!(*boot.get_or_insert(id.clone()), id);
            node.hang_up();
            node.accept();
            let (report, _) = node.until("the whole report", |report| report.ssh);
            assert_eq!((report.revision, report.stage), (1, Stage::Ready));
            // The agent says everything again: nothing is done twice.
            node.want(&wanted);
        }
    }
    assert_eq!(disk.text("count"), "x\n");
    // A socket made anew, as after a restart of the agent.
    disk.listen_again();
    let node = disk.boot();
    assert_ne!(Some(&node.hello().boot), boot.as_ref());
}

#[test]
fn a_program_that_ignores_its_signal_is_killed_in_time() {
    let (disk, host) = (Disk::new(), Key::new("ed25519"));
    let mut node = disk.boot();
    let mut wanted = desired(1, vec![], &host);
    wanted.go = true;
    wanted.program.argv =
        ["sh", "-c", "trap '' TERM HUP; echo > /up; while :; do sleep 1; done"].map(str::to_owned).into();
    node.want(&wanted);
    wait_for(|| disk.path("up").exists());
    node.say(&ToGuest::Stop { grace_ms: 300 });
    let took = node.wait_for_the_end();
    assert!(took >= Duration::from_millis(250) && took < Duration::from_secs(10), "{took:?}");
}

#[test]
fn a_home_on_the_way_to_elsewhere_is_refused() {
    let (disk, host, ann) = (Disk::new(), Key::new("ed25519"), Key::new("ed25519"));
    fs::create_dir(disk.path("home")).unwrap();
    symlink("/etc", disk.path("home/ann")).unwrap();
    let node = disk.boot();
    node.want(&desired(1, vec![account("ann", &[&ann], false)], &host));
    let (report, _) = node.until("prepared", |report| report.stage == Stage::Prepared);
    assert!(report.failure.unwrap().contains("ann"));
    assert_eq!(fs::metadata(disk.path("etc")).unwrap().permissions().mode() & 0o777, 0o755);
    assert!(!disk.path("etc/.ssh").exists());
}

#[test]
fn a_pipe_in_the_place_of_the_files_of_accounts_stops_nothing_else() {
    let (disk, host, ann, bob) = (Disk::new(), Key::new("ed25519"), Key::new("ed25519"), Key::new("ed25519"));
    let node = disk.boot();
    let mut wanted = desired(1, vec![account("ann", &[&ann], false), account("bob", &[&bob], false)], &host);
    wanted.go = true;
    node.want(&wanted);
    node.until("ssh", |report| report.ssh);
    for name in ["group", "shells", ".pwd.lock"] {
        let path = disk.path(&format!("etc/{name}"));
        let kept = fs::read(&path).ok();
        let _ = fs::remove_file(&path);
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRUSR | nix::sys::stat::Mode::S_IWUSR).unwrap();
        wanted.revision += 1;
        // Bob comes and goes.
        wanted.accounts.truncate(1);
        node.want(&wanted);
        let (report, _) =
            node.until(name, |report| report.revision == wanted.revision && report.stage == Stage::Ready);
        let named = report.failure.is_some_and(|failure| {
            failure.contains("/etc/group: it is not a regular file; put one in its place")
        });
        assert_eq!(named, name == "group", "{name}");
        assert!(!disk.path("home/bob/.ssh/authorized_keys").exists(), "{name}");
        fs::remove_file(&path).unwrap();
        kept.into_iter().for_each(|kept| fs::write(&path, kept).unwrap());
        wanted.revision += 1;
        wanted.accounts.push(account("bob", &[&bob], false));
        node.want(&wanted);
        let (report, _) = node.until("mended", |report| report.revision == wanted.revision);
        assert_eq!(report.failure, None);
        assert!(disk.path("home/bob/.ssh/authorized_keys").exists(), "{name}");
    }
}

#[test]
fn whatever_runs_in_the_node_is_ended_before_the_guest_when_memory_runs_out() {
    let (disk, host, ann) = (Disk::new(), Key::new("ed25519"), Key::new("ed25519"));
    for embedded in [false, true] {
        let node = disk.boot();
        if embedded {
            for path in ["/usr/sbin/sshd", "/usr/sbin/dropbear"] {
                let _ = node.inside(&["mount", "--bind", "/dev/null", path]);
            }
        }
        let score = |pid: i32| -> i32 {
            fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap().trim().parse().unwrap()
        };
        let more = (score(node.pid()) + 300).min(1000);
        let read = "cat /proc/self/oom_score_adj";
        let mut wanted = desired(1, vec![account("ann", &[&ann], false)], &host);
        wanted.go = true;
        wanted.executes = vec![shell(read)];
        wanted.program = Program {
            argv: ["sh", "-c", "cat /proc/self/oom_score_adj > /tmp/program"].map(str::to_owned).into(),
            user: "web".into(),
            ..Program::default()
        };
        let _ = fs::remove_file(disk.path("tmp/program"));
        node.want(&wanted);
        node.until("all of it", |report| {
            report.ssh
                && report.program == ProgramState::Exited(0)
                && state(report, ServiceId::Execute(0)) == ServiceState::Exited(0)
        });
        assert_eq!(disk.text("tmp/program").trim(), more.to_string());
        assert_eq!(disk.text("tmp/startup-1.txt").trim(), more.to_string());
        let session = node.ssh("ann", &ann.private_file(), &host.known_hosts(), read);
        assert_eq!(String::from_utf8_lossy(&session.stdout).trim(), more.to_string(), "{session:?}");
        let own = score(node.pid());
        assert_eq!((own + 300).min(1000), more, "the guest's own is as it was");
    }
}

#[test]
fn a_home_that_only_root_can_reach_is_told() {
    let (disk, host, ann) = (Disk::new(), Key::new("ed25519"), Key::new("ed25519"));
    symlink("/proc/1/root/srv", disk.path("home")).unwrap();
    fs::create_dir(disk.path("srv")).unwrap();
    let node = disk.boot();
    node.want(&desired(1, vec![account("ann", &[&ann], false)], &host));
    let (report, _) = node.until("prepared", |report| report.stage == Stage::Prepared);
    let told = report.notice.into_iter().chain(report.failure).collect::<Vec<_>>().join("; ");
    assert!(told.contains("ann") && told.contains("/home"), "{told}");
}

/// Waits for something that no report tells.
fn wait_for(so: impl Fn() -> bool) {
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    while !so() {
        assert!(std::time::Instant::now() < deadline, "waited in vain");
        let _ = nix::poll::poll(&mut [], 20u16);
    }
}

/// A tar.gz with `site/hello`.
fn site() -> Vec<u8> {
    let mut builder =
        tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default()));
    let mut header = tar::Header::new_gnu();
    header.set_size(3);
    header.set_mode(0o644);
    builder.append_data(&mut header, "site/hello", &b"hi\n"[..]).unwrap();
    builder.into_inner().unwrap().finish().unwrap()
}

/// A web server in the node's network namespace that gives these answers, one each; its port.
fn serve(pid: i32, answers: Vec<Vec<u8>>, requests: &std::sync::Arc<std::sync::atomic::AtomicUsize>) -> u16 {
    let requests = std::sync::Arc::clone(requests);
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        // This thread alone moves there.
        let namespace = fs::File::open(format!("/proc/{pid}/ns/net")).unwrap();
        nix::sched::setns(namespace, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        sender.send(listener.local_addr().unwrap().port()).unwrap();
        for answer in answers {
            let (mut stream, _) = listener.accept().unwrap();
            requests.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            let mut byte = [0];
            let mut asked = Vec::new();
            while !asked.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) > 0 {
                asked.push(byte[0]);
            }
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", answer.len());
            let _ = stream.write_all(&[head.as_bytes(), &answer].concat());
        }
    });
    receiver.recv().unwrap()
}

#[test]
fn init_is_for_process_1_only() {
    let program = env!("CARGO_BIN_EXE_testyard-guest");
    let output = Command::new(program).arg("init").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("process 1"));
    assert_eq!(Command::new(program).output().unwrap().status.code(), Some(2));
    assert!(Command::new(program).arg("version").output().unwrap().stdout.starts_with(b"testyard-guest "));
}
