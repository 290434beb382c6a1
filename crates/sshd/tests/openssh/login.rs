//! Who gets in, as whom, and who does not.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use crate::programs::wait_for;
use crate::support::{GROUP, Server, UID, own, text};

#[test]
fn everything_runs_as_the_user_and_there_is_no_way_back() {
    let server = Server::start();
    let said = server.says("id -u; id -g; id -G; pwd; echo $USER $LOGNAME $HOME $SHELL $IMAGE; grep -E 'Uid|Gid|NoNewPrivs|CapEff' /proc/self/status; umask");
    let home = server.home();
    let expected = format!(
        "{UID}\n{UID}\n{UID} {GROUP}\n{0}\nann ann {0} /bin/sh here\nUid:\t{UID}\t{UID}\t{UID}\t{UID}\n",
        home.display()
    );
    assert!(said.starts_with(&expected), "{said}");
    assert!(
        said.contains("CapEff:\t0000000000000000")
            && said.contains("NoNewPrivs:\t0")
            && said.ends_with("0022\n"),
        "{said}"
    );
    // The session's own process is the user's too, and cannot be looked into.
    let said = text(
        &server.ssh(&[], "grep -h Uid /proc/$PPID/status; cat /proc/$PPID/environ; ls /proc/$PPID/fd").stdout,
    );
    assert!(said.starts_with(&format!("Uid:\t{UID}\t{UID}\t{UID}\t{UID}\n")), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
}

#[test]
fn who_logs_in_is_logged_without_keys() {
    let server = Server::start();
    server.says("true");
    let log = server.log();
    assert!(
        log.contains("ssh: 'ann' logged in from 127.0.0.1:") && log.contains("ssh-ed25519 SHA256:"),
        "{log}"
    );
    assert!(!log.contains("AAAA"), "{log}");
}

#[test]
fn other_keys_and_other_logins_are_refused_alike() {
    let server = Server::start();
    let other = server.path("other").display().to_string();
    let try_as = |login: &str, key: &str| {
        let output = server
            .command("ssh", &["-i", key, "-o", "IdentitiesOnly=yes", &format!("{login}@127.0.0.1"), "true"])
            .output()
            .unwrap();
        (output.status.code(), text(&output.stderr).replace(login, "LOGIN"))
    };
    // The first -i of the common options opens ann only.
    let unknown = try_as("nobody-here", &other);
    assert_eq!(unknown.0, Some(255));
    assert!(unknown.1.contains("Permission denied (publickey)"), "{unknown:?}");
    let known = Server::with(|settings| settings.accounts[0].keys.clear());
    let output = known.ssh(&[], "true");
    assert_eq!((output.status.code(), text(&output.stderr).replace("ann", "LOGIN")), unknown);
    wait_for(|| known.log().contains("ssh: refused 'ann' from 127.0.0.1"));
    assert!(!known.log().contains("logged in"));
}

#[test]
fn accounts_follow_the_settings_without_a_restart() {
    let mut server = Server::start();
    server.says("true");
    let keys = std::mem::take(&mut server.settings.accounts[0].keys);
    server.change(|_| {});
    assert_eq!(server.ssh(&[], "true").status.code(), Some(255));
    server.change(|settings| settings.accounts[0].keys = keys);
    server.says("true");
}

#[test]
fn the_users_own_keys_count_if_nobody_else_can_write_them() {
    let server = Server::with(|settings| settings.accounts[0].keys.clear());
    let folder = server.home().join(".ssh");
    fs::create_dir(&folder).unwrap();
    own(&folder);
    let file = folder.join("authorized_keys");
    fs::copy(server.path("user.pub"), &file).unwrap();
    own(&file);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(server.says("id -u"), format!("{UID}\n"));
    for (path, mode) in [(&file, 0o620), (&folder, 0o777)] {
        let before = fs::metadata(path).unwrap().permissions();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(server.ssh(&[], "true").status.code(), Some(255), "{}", path.display());
        fs::set_permissions(path, before).unwrap();
    }
    // A link to what only root may read opens nothing: it is read as the user.
    fs::remove_file(&file).unwrap();
    let secret = server.path("secret");
    fs::copy(server.path("user.pub"), &secret).unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    std::os::unix::fs::symlink(&secret, &file).unwrap();
    assert_eq!(server.ssh(&[], "true").status.code(), Some(255));
}

#[test]
fn options_of_keys_are_kept() {
    let mut server = Server::start();
    let key = server.settings.accounts[0].keys[0].clone();
    let mut with = |options: &str| {
        server.change(|settings| settings.accounts[0].keys = vec![format!("{options} {key}")])
    };
    with(r#"command="echo forced: $SSH_ORIGINAL_COMMAND",environment="COLOR=red""#);
    let server = &mut server;
    assert_eq!(server.says("rm -rf x"), "forced: rm -rf x\n");
    let options = |server: &mut Server, options: &str| {
        let line = format!("{options} {key}");
        server.change(|settings| settings.accounts[0].keys = vec![line]);
    };
    options(server, r#"environment="COLOR=red",no-pty"#);
    assert_eq!(server.says("echo $COLOR"), "red\n");
    assert!(
        text(&server.ssh(&["-tt", "-o", "LogLevel=INFO"], "tty").stderr)
            .contains("PTY allocation request failed")
    );
    options(server, r#"from="10.0.0.0/8""#);
    assert_eq!(server.ssh(&[], "true").status.code(), Some(255));
    options(server, r#"from="10.0.0.0/8,127.*""#);
    server.says("true");
    options(server, "restrict");
    let output = server.ssh(&["-o", "ExitOnForwardFailure=yes", "-R", "0:127.0.0.1:9"], "true");
    assert_eq!(output.status.code(), Some(255), "{output:?}");
    options(server, "verify-required");
    assert_eq!(server.ssh(&[], "true").status.code(), Some(255));
    assert!(server.log().contains("a key of 'ann' does not count: option 'verify-required'"));
}

#[test]
fn only_keys_are_asked_for() {
    let server = Server::start();
    let output = server.ssh(&["-o", "PubkeyAuthentication=no"], "true");
    assert!(text(&output.stderr).contains("Permission denied (publickey)."), "{output:?}");
}

#[test]
fn who_does_not_log_in_is_shown_out() {
    let server = Server::with(|settings| settings.limits.grace_seconds = 1);
    let mut stream = TcpStream::connect(server.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let begun = Instant::now();
    stream.write_all(b"SSH-2.0-nobody\r\n").unwrap();
    // Its greeting and its proposal, then the end.
    let mut said = Vec::new();
    let _ = stream.read_to_end(&mut said);
    assert!(said.starts_with(b"SSH-2.0-OpenSSH_compatible_Testyard\r\n"));
    assert!(begun.elapsed() >= Duration::from_millis(900));
}

#[test]
fn too_many_keys_end_the_connection() {
    let server = Server::with(|settings| settings.limits.attempts = 2);
    let mut words = Vec::new();
    for number in 0..4 {
        let path = server.path(&format!("wrong{number}"));
        crate::support::keygen(&path);
        words.push(path.display().to_string());
    }
    let mut command = std::process::Command::new("ssh");
    for path in &words {
        command.args(["-i", path]);
    }
    let output = command.args(server.options()).args(["ann@127.0.0.1", "true"]).output().unwrap();
    assert_eq!(output.status.code(), Some(255));
    assert!(text(&output.stderr).contains("Too many authentication attempts"), "{output:?}");
}

#[test]
fn a_banner_is_shown_and_a_home_may_be_missing() {
    let server = Server::with(|settings| {
        settings.banner = Some("keep out\n".into());
        settings.accounts[0].home = "/nowhere/at/all".into();
    });
    let output = server.ssh(&["-o", "LogLevel=INFO"], "pwd");
    assert_eq!(text(&output.stdout), "/\n");
    assert!(text(&output.stderr).contains("keep out"), "{output:?}");
}
