//! Programs that are built on ssh: rsync, Ansible, and what editors run.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::support::{Server, fed, text};

/// A program that the machine may lack; says so where it does.
fn optional(name: &str, package: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file());
    if found.is_none() {
        println!("NOT RUN: {name} against the embedded SSH server: apt-get install {package}");
    }
    found
}

#[test]
fn rsync_copies_both_ways() {
    let Some(rsync) = optional("rsync", "rsync") else { return };
    let server = Server::start();
    let tree = server.path("tree");
    fs::create_dir_all(tree.join("a/b")).unwrap();
    for number in 0..200 {
        fs::write(tree.join(format!("a/b/{number}")), vec![number as u8; number * 997]).unwrap();
    }
    let shell = format!("ssh {}", server.options().join(" "));
    let run = |from: &str, to: &str| {
        let output = Command::new(&rsync).args(["-az", "--delete", "-e", &shell, from, to]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    };
    let here = format!("{}/", tree.display());
    run(&here, "ann@127.0.0.1:there/");
    fs::remove_file(tree.join("a/b/7")).unwrap();
    run(&here, "ann@127.0.0.1:there/");
    let back = format!("{}/", server.path("back").display());
    run("ann@127.0.0.1:there/", &back);
    let same = Command::new("diff").args(["-r", &here, &back]).status().unwrap();
    assert!(same.success());
    assert!(!server.path("back/a/b/7").exists());
}

#[test]
fn ansible_runs_and_copies() {
    let Some(ansible) = optional("ansible", "ansible-core") else { return };
    for transfer in ["sftp", "scp", "piped"] {
        let server = Server::start();
        let local = server.path("local");
        fs::write(&local, vec![3; 100_000]).unwrap();
        let host = format!("127.0.0.1:{},", server.address.port());
        let arguments =
            format!("{} -o ControlPath={}", server.options().join(" "), server.path("cp-%r").display());
        let run = |module: &str, what: &str| {
            let output = Command::new(&ansible)
                .args(["all", "-i", &host, "-u", "ann", "-m", module, "-a", what])
                .env("ANSIBLE_SSH_ARGS", format!("-o ControlMaster=auto -o ControlPersist=20s {arguments}"))
                .env("ANSIBLE_SSH_TRANSFER_METHOD", transfer)
                .env("ANSIBLE_LOCAL_TEMP", server.path("ansible"))
                .env("ANSIBLE_REMOTE_TEMP", server.home().join("tmp"))
                // OpenSSH's scp speaks SFTP by itself, and takes the quotes that Ansible sends for a part of the name.
                .env("ANSIBLE_SCP_EXTRA_ARGS", "-O")
                .env("ANSIBLE_HOME", server.path("ansible"))
                .env("ANSIBLE_HOST_KEY_CHECKING", "False")
                .env("LC_ALL", "C.UTF-8")
                .env_remove("SSH_AUTH_SOCK")
                .output()
                .unwrap();
            assert!(output.status.success(), "{transfer}: {output:?}\n{}", server.log());
            text(&output.stdout)
        };
        // Ansible writes its log of such a machine to its own folders; the node's Python is found by it.
        assert!(run("command", "id -u").contains(&crate::support::UID.to_string()));
        run("copy", &format!("src={} dest=copied mode=0604", local.display()));
        assert_eq!(fs::read(server.home().join("copied")).unwrap(), vec![3; 100_000]);
        let _ = server
            .command(
                "ssh",
                &[
                    "-o",
                    &format!("ControlPath={}", server.path("cp-ann").display()),
                    "-O",
                    "exit",
                    "ann@127.0.0.1",
                ],
            )
            .output();
    }
}

#[test]
fn an_editor_installs_and_reaches_its_server() {
    // As VS Code does: a script by standard input, a proxy beside it, no shared connection; and then its copy by scp.
    let server = Server::start();
    let script = b"uname -m\necho 'exitCode==0=='; echo \"listeningOn==127.0.0.1:1==\"\nexit 9\n".to_vec();
    for command in ["bash", "bash -s", "sh", "bash --login -s"] {
        let port = crate::forwards::free_port().to_string();
        let words = [
            "-T",
            "-D",
            &port,
            "-o",
            "ConnectTimeout=15",
            "-o",
            "ControlMaster=no",
            "ann@127.0.0.1",
            command,
        ];
        let output = fed(server.command("ssh", &words), script.clone());
        assert!(text(&output.stdout).contains("exitCode==0=="), "{command}: {output:?}");
        assert_eq!(output.status.code(), Some(9));
    }
    // A command that is asked for with a terminal, and the program that goes on afterwards.
    let output = server
        .ssh(&["-T"], "mkdir -p .vscode-server && (setsid sleep 30 >/dev/null 2>&1 </dev/null & echo $!)");
    let pid = text(&output.stdout).trim().to_owned();
    let alive = Command::new("kill").args(["-0", &pid]).stderr(Stdio::null()).status().unwrap();
    assert!(alive.success());
    Command::new("kill").arg(&pid).status().unwrap();
}
