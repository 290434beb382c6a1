//! sftp, scp by SFTP, and the old scp.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::process::Command;

use crate::support::{Server, UID, fed, own, text};

fn sftp(server: &Server, batch: &str) -> (bool, String) {
    let output = fed(server.command("sftp", &["-b", "-", "ann@127.0.0.1"]), batch.as_bytes().to_vec());
    (output.status.success(), text(&output.stdout) + &text(&output.stderr))
}

fn noise(length: usize) -> Vec<u8> {
    (0..length as u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 11) as u8).collect()
}

#[test]
fn sftp_does_what_it_says() {
    let server = Server::start();
    let local = server.path("local");
    fs::write(&local, noise(5_000_000)).unwrap();
    let batch = format!(
        "pwd\nput {0} a\nmkdir d\nrename a d/b\nsymlink b d/link\nln d/b d/hard\nchmod 640 d/b\nls -l d\nget d/link {0}.back\ndf\nrm d/hard\nput -fp {0} d/kept\n",
        local.display()
    );
    let (well, said) = sftp(&server, &batch);
    assert!(well, "{said}");
    let home = server.home();
    assert!(said.contains(&format!("Remote working directory: {}", home.display())), "{said}");
    assert_eq!(fs::read(server.path("local.back")).unwrap(), noise(5_000_000));
    let found = fs::metadata(home.join("d/b")).unwrap();
    assert_eq!((found.uid(), found.permissions().mode() & 0o777, found.nlink()), (UID, 0o640, 1));
    assert_eq!(fs::read_link(home.join("d/link")).unwrap().to_str(), Some("b"));
    assert!(
        said.contains("-rw-r-----") && said.contains("lrwxrwxrwx") && said.contains(" 5000000 "),
        "{said}"
    );
    let times = |path: &std::path::Path| fs::metadata(path).unwrap().mtime();
    assert_eq!(times(&home.join("d/kept")), times(&local));
}

#[test]
fn what_the_user_may_not_do_sftp_may_not_either() {
    let server = Server::start();
    let secret = server.path("secret");
    fs::write(&secret, "x").unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    for batch in [
        format!("get {} /dev/null", secret.display()),
        "get none /dev/null".into(),
        "mkdir /etc/new".into(),
        "rm /etc/hostname".into(),
        "rmdir none".into(),
    ] {
        let (well, said) = sftp(&server, &batch);
        assert!(!well, "{batch}: {said}");
    }
    assert!(sftp(&server, &format!("get {} /dev/null", secret.display())).1.contains("ermission denied"));
    assert!(sftp(&server, "get none /dev/null").1.contains("not found"));
}

#[test]
fn names_are_bytes_and_folders_may_be_large() {
    use std::os::unix::ffi::OsStrExt as _;
    let server = Server::start();
    let folder = server.home().join("many");
    fs::create_dir(&folder).unwrap();
    own(&folder);
    for number in 0..10_000 {
        fs::write(folder.join(format!("file{number}")), "").unwrap();
    }
    fs::write(folder.join(std::ffi::OsStr::from_bytes(b"not\xffutf8")), "bytes").unwrap();
    let (well, said) = sftp(&server, "ls -1 many\n");
    assert!(well);
    assert_eq!(said.lines().filter(|line| line.starts_with("many/")).count(), 10_001);
    let back = server.path("back");
    let copied =
        server.command("scp", &["-qr", "ann@127.0.0.1:many", &back.display().to_string()]).output().unwrap();
    assert!(copied.status.success(), "{copied:?}");
    assert_eq!(fs::read_dir(&back).unwrap().count(), 10_001);
    assert_eq!(fs::read(back.join(std::ffi::OsStr::from_bytes(b"not\xffutf8"))).unwrap(), b"bytes");
}

/// A folder with what copies get wrong: an empty file, a large one, a nested one, modes, times, blanks.
fn tree(server: &Server) -> std::path::PathBuf {
    let tree = server.path("tree");
    fs::create_dir_all(tree.join("sub dir/deep")).unwrap();
    fs::write(tree.join("empty"), "").unwrap();
    fs::write(tree.join("sub dir/large"), noise(20_000_000)).unwrap();
    fs::write(tree.join("sub dir/deep/run"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(tree.join("sub dir/deep/run"), fs::Permissions::from_mode(0o750)).unwrap();
    let old = fs::FileTimes::new()
        .set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000));
    fs::File::options().write(true).open(tree.join("empty")).unwrap().set_times(old).unwrap();
    tree
}

fn same(one: &std::path::Path, other: &std::path::Path) {
    let output = Command::new("diff").arg("-r").args([one, other]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let (one, other) = (one.join("sub dir/deep/run"), other.join("sub dir/deep/run"));
    assert_eq!(fs::metadata(one).unwrap().mode(), fs::metadata(other).unwrap().mode());
}

fn round_trip(server: &Server, options: &[&str]) {
    let tree = tree(server);
    let there = format!("{}/{}", server.path("tree").display(), "");
    let run = |from: &str, to: &str| {
        let mut words = options.to_vec();
        words.extend(["-rpq", from, to]);
        let output = server.command("scp", &words).output().unwrap();
        assert!(output.status.success(), "{output:?}\n{}", server.log());
    };
    run(there.trim_end_matches('/'), "ann@127.0.0.1:copy");
    same(&tree, &server.home().join("copy"));
    assert_eq!(fs::metadata(server.home().join("copy/empty")).unwrap().mtime(), 1_000_000_000);
    let back = server.path("back").display().to_string();
    run("ann@127.0.0.1:copy", &back);
    same(&tree, &server.path("back"));
    // Into a folder that is there, and a file onto itself.
    run(&format!("{}/empty", tree.display()), "ann@127.0.0.1:copy");
    let missing =
        server.command("scp", &[options, &["-q", "ann@127.0.0.1:none", &back]].concat()).output().unwrap();
    assert!(!missing.status.success());
}

#[test]
fn scp_copies_trees_both_ways() {
    round_trip(&Server::start(), &[]);
}

#[test]
fn the_old_scp_works_with_the_images_own() {
    round_trip(&Server::start(), &["-O"]);
}

#[test]
fn the_old_scp_works_where_the_image_has_none() {
    let server = Server::with(|settings| {
        // Only what the shell needs.
        settings.path = "/nowhere".into();
    });
    round_trip(&server, &["-O"]);
    let escaped = server.command("scp", &["-Oq", "/etc/hostname", "ann@127.0.0.1:none/x"]).output().unwrap();
    assert!(!escaped.status.success());
    assert!(text(&escaped.stderr).contains("none/x"), "{escaped:?}");
}

#[test]
fn the_old_scp_gives_a_name_with_a_line_break_as_openssh_does() {
    let copied = |program_path: &str| {
        let server = Server::with(|settings| settings.path = program_path.into());
        fs::create_dir(server.home().join("d")).unwrap();
        fs::write(server.home().join("d/one\ntwo ö\\"), "broken").unwrap();
        fs::write(server.home().join("d/plain ö\\"), "whole").unwrap();
        let back = server.path("back");
        let output = server
            .command("scp", &["-Orq", "ann@127.0.0.1:d", &back.display().to_string()])
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let mut names: Vec<_> = fs::read_dir(back).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let ours = copied("/nowhere");
    assert_eq!(ours, ["one\\^Jtwo \\M-C\\M-6\\\\", "plain ö\\"]);
    assert_eq!(ours, copied("/usr/bin:/bin"), "as the image's own");
}

#[test]
fn a_folder_is_listed_with_names_of_owners_and_with_itself() {
    let server = Server::start();
    fs::create_dir(server.home().join("d")).unwrap();
    let (well, said) = sftp(&server, "ls -la d\n");
    assert!(well, "{said}");
    let lines: Vec<Vec<&str>> = said
        .lines()
        .map(|line| line.split_whitespace().collect())
        .filter(|words: &Vec<_>| words.len() == 9)
        .collect();
    let of = |name: &str| lines.iter().find(|words| words[8].trim_start_matches("d/") == name).unwrap();
    assert_eq!(of(".")[2..4], ["root", "root"], "{said}");
    let number = UID.to_string();
    assert_eq!(of("..")[2..4], [number.as_str(), &number], "{said}");
}

#[test]
fn sftp_does_not_need_the_homes_user_to_be_known() {
    let server = Server::start();
    // A packet that is none ends the server, not more.
    let output = fed(server.command("ssh", &["-s", "ann@127.0.0.1", "sftp"]), vec![0xff; 64]);
    assert!(text(&output.stderr).contains("sftp: a packet of"), "{output:?}");
    assert_eq!(server.says("echo well"), "well\n");
}
