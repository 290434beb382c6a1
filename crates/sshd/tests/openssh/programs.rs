//! What runs behind channels: shells, commands, terminals, their input, output and end.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::support::{Client, Server, fed, text};

#[test]
fn how_a_command_ends_is_told() {
    let server = Server::start();
    assert_eq!(server.ssh(&[], "exit 7").status.code(), Some(7));
    let output = server.ssh(&[], "echo out; echo err >&2; exit 3");
    assert_eq!(
        (text(&output.stdout), text(&output.stderr), output.status.code()),
        ("out\n".into(), "err\n".into(), Some(3))
    );
    // OpenSSH's client ends with 255 when the program ended by a signal.
    assert_eq!(server.ssh(&[], "kill -TERM $$").status.code(), Some(255));
    let output = server.ssh(&["-v"], "kill -USR2 $$");
    assert!(text(&output.stderr).contains("rtype exit-signal"), "{output:?}");
    assert_eq!(server.ssh(&[], "/no/such/program").status.code(), Some(127));
}

#[test]
fn input_reaches_its_end_and_so_does_output() {
    let server = Server::start();
    let output = fed(server.command("ssh", &["ann@127.0.0.1", "cat; echo done"]), b"a\0b\xff\n".to_vec());
    assert_eq!(output.stdout, b"a\0b\xff\ndone\n");
    // Output that ends before its program does, and a program in the background that keeps nothing open.
    let begun = Instant::now();
    assert_eq!(server.says("sleep 60 </dev/null >/dev/null 2>&1 & echo now"), "now\n");
    assert!(begun.elapsed() < Duration::from_secs(30));
}

#[test]
fn much_goes_through_both_ways_and_stays_itself() {
    let server = Server::start();
    let megabytes = 200;
    let mut child = server
        .command("ssh", &["ann@127.0.0.1", "cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let block: Vec<u8> = (0..1 << 20).map(|at: u32| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let sent = block.clone();
    let feeding = std::thread::spawn(move || {
        for _ in 0..megabytes {
            stdin.write_all(&sent).unwrap();
        }
    });
    let mut stdout = child.stdout.take().unwrap();
    let mut got = vec![0; 1 << 20];
    for _ in 0..megabytes {
        stdout.read_exact(&mut got).unwrap();
        assert!(got == block);
    }
    assert_eq!(stdout.read(&mut got).unwrap(), 0);
    feeding.join().unwrap();
    assert!(child.wait().unwrap().success());
}

/// Kilobytes that the process uses, by itself.
fn memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
    line.split_ascii_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn a_program_that_does_not_read_neither_fills_memory_nor_stops_the_others() {
    let server = Server::start();
    let control = server.path("control").display().to_string();
    let socket = format!("ControlPath={control}");
    let _master =
        Client(server.command("ssh", &["-M", "-N", "-o", &socket, "ann@127.0.0.1"]).spawn().unwrap());
    wait_for(|| std::path::Path::new(&control).exists());
    let session: u32 = {
        let output = server.ssh(&["-o", &socket], "echo $PPID");
        text(&output.stdout).trim().parse().unwrap()
    };
    let before = memory(session);
    // Takes nothing until it is told to, then everything.
    let mut stuck = server
        .command("ssh", &["-o", &socket, "ann@127.0.0.1", "until [ -e go ]; do sleep 0.1; done; wc -c"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = stuck.stdin.take().unwrap();
    let feeding = std::thread::spawn(move || {
        for _ in 0..64 {
            stdin.write_all(&[7; 1 << 20]).unwrap();
        }
    });
    // Other channels of the same connection work all the while, in both directions.
    for _ in 0..10 {
        let output = fed(
            server.command("ssh", &["-o", &socket, "ann@127.0.0.1", "cat; head -c 1000000 /dev/zero"]),
            vec![1; 300_000],
        );
        assert_eq!(output.stdout.len(), 1_300_000);
    }
    assert!(!feeding.is_finished());
    let grown = memory(session).saturating_sub(before);
    assert!(grown < 40 << 10, "{grown} kB");
    std::fs::write(server.home().join("go"), "").unwrap();
    let output = stuck.wait_with_output().unwrap();
    assert_eq!(text(&output.stdout).trim(), (64 << 20).to_string());
    feeding.join().unwrap();
    let _ = server.command("ssh", &["-o", &socket, "-O", "exit", "ann@127.0.0.1"]).output();
}

/// Looks again until something is so.
pub(crate) fn wait_for(is: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is() {
        assert!(begun.elapsed() < Duration::from_secs(30));
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

#[test]
fn output_that_nobody_takes_does_not_fill_memory() {
    let server = Server::start();
    let mut child = server
        .command("ssh", &["ann@127.0.0.1", "echo $PPID; head -c 300000000 /dev/zero"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = BufReader::with_capacity(64, child.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    let session = line.trim().parse().unwrap();
    // Long enough for all of it, were it not held back.
    std::thread::park_timeout(Duration::from_secs(2));
    let used = memory(session);
    assert!(used < 40 << 10, "{used} kB");
    let mut rest = Vec::new();
    stdout.read_to_end(&mut rest).unwrap();
    assert_eq!(rest.len(), 300_000_000);
    assert!(child.wait().unwrap().success());
}

#[test]
fn keys_are_exchanged_anew_in_the_middle() {
    let server = Server::with(|settings| settings.limits.rekey_bytes = 1 << 20);
    let output =
        fed(server.command("ssh", &["-o", "RekeyLimit=3M", "ann@127.0.0.1", "cat"]), vec![9; 30 << 20]);
    assert!(output.status.success(), "{output:?}");
    assert!(output.stdout == vec![9; 30 << 20]);
}

#[test]
fn compression_is_served() {
    let server = Server::start();
    let output = fed(server.command("ssh", &["-C", "ann@127.0.0.1", "cat"]), vec![9; 3 << 20]);
    assert!(output.stdout == vec![9; 3 << 20]);
}

#[test]
fn a_hundred_channels_at_once() {
    let server = Server::start();
    let socket = format!("ControlPath={}", server.path("control").display());
    let _master =
        Client(server.command("ssh", &["-M", "-N", "-o", &socket, "ann@127.0.0.1"]).spawn().unwrap());
    wait_for(|| server.path("control").exists());
    let children: Vec<_> = (0..100)
        .map(|number| {
            server
                .command(
                    "ssh",
                    &[
                        "-o",
                        &socket,
                        "ann@127.0.0.1",
                        &format!("echo {number}; until [ -e go ]; do sleep 0.2; done; exit {}", number % 50),
                    ],
                )
                .stdout(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    let count = || {
        text(&server.ssh(&["-o", &socket], "pgrep -u $(id -u) -fc 'unti[l] . -e go'").stdout)
            .trim()
            .parse::<usize>()
            .unwrap_or(0)
    };
    wait_for(|| count() >= 100);
    std::fs::write(server.home().join("go"), "").unwrap();
    for (number, child) in children.into_iter().enumerate() {
        let output = child.wait_with_output().unwrap();
        assert_eq!(text(&output.stdout), format!("{number}\n"));
        assert_eq!(output.status.code(), Some((number % 50) as i32));
    }
    // Nobody is left that has ended and is not waited for.
    assert_eq!(text(&server.ssh(&["-o", &socket], "ps -o stat= --ppid $PPID | grep -c Z").stdout), "0\n");
    let _ = server.command("ssh", &["-o", &socket, "-O", "exit", "ann@127.0.0.1"]).output();
}

#[test]
fn a_terminal_has_its_size_its_kind_and_its_owner() {
    let server = Server::start();
    let run = |command: &str| {
        let line = format!(
            "stty rows 33 cols 101; exec ssh {} -tt ann@127.0.0.1 '{command}'",
            server.options().join(" ")
        );
        let output = std::process::Command::new("script")
            .args(["-qec", &line, "/dev/null"])
            .env("TERM", "vt220")
            .env("SHELL", "/bin/sh")
            .output()
            .unwrap();
        text(&output.stdout).replace(['\r', '\0'], "").replace("^@", "")
    };
    let said = run(
        "stty size; tty; echo $TERM $SSH_TTY; ps -o tty= -p $$; stat -c %u $(tty); test -t 2 && echo err",
    );
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines[0], "33 101", "{said}");
    assert!(lines[1].starts_with("/dev/pts/"), "{said}");
    assert_eq!(lines[2], format!("vt220 {}", lines[1]));
    assert_eq!(format!("/dev/{}", lines[3].trim()), lines[1]);
    assert_eq!(&lines[4..], [crate::support::UID.to_string().as_str(), "err"]);
}

#[test]
fn a_terminal_is_resized_while_its_program_runs() {
    use nix::sys::signal::{Signal, kill};
    let server = Server::start();
    let pair =
        nix::pty::openpty(&nix::pty::Winsize { ws_row: 20, ws_col: 50, ws_xpixel: 0, ws_ypixel: 0 }, None)
            .unwrap();
    let mut child = server
        .command(
            "ssh",
            &[
                "-tt",
                "ann@127.0.0.1",
                "trap 'stty size; exit 5' WINCH; echo ready; while :; do sleep 0.1; done",
            ],
        )
        .stdin(pair.slave.try_clone().unwrap())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    assert_eq!(line.trim(), "ready");
    let resized = std::process::Command::new("stty")
        .args(["rows", "44", "cols", "132"])
        .stdin(pair.slave)
        .status()
        .unwrap();
    assert!(resized.success());
    kill(nix::unistd::Pid::from_raw(child.id() as i32), Signal::SIGWINCH).unwrap();
    line.clear();
    output.read_line(&mut line).unwrap();
    assert_eq!(line.trim(), "44 132");
    assert_eq!(child.wait().unwrap().code(), Some(5));
}

#[test]
fn the_end_of_a_connection_hangs_its_terminal_up() {
    let server = Server::start();
    let mut child = server
        .command(
            "ssh",
            &["-tt", "ann@127.0.0.1", "trap 'touch hung; exit' HUP; echo ready; while :; do sleep 0.1; done"],
        )
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line.trim(), "ready");
    child.kill().unwrap();
    child.wait().unwrap();
    wait_for(|| server.home().join("hung").exists());
}

#[test]
fn a_login_shell_is_one() {
    let server = Server::with(|settings| settings.motd = Some("welcome\n".into()));
    std::fs::write(server.home().join(".profile"), "echo profile\n").unwrap();
    let output = fed(server.command("ssh", &["-T", "ann@127.0.0.1"]), b"echo $0; exit 4\n".to_vec());
    assert_eq!((text(&output.stdout), output.status.code()), ("profile\n-sh\n".into(), Some(4)));
    let output = fed(server.command("ssh", &["-tt", "ann@127.0.0.1"]), b"exit 6\n".to_vec());
    assert!(text(&output.stdout).starts_with("welcome\r\n"), "{output:?}");
    assert_eq!(output.status.code(), Some(6));
}

#[test]
fn a_node_with_nothing_in_it_is_served() {
    let server = Server::bare();
    let echo = server.home().join("echo");
    std::fs::copy("/bin/echo", &echo).unwrap();
    let output = server.ssh(&[], "./echo 'a  b' \"c\" $HOME *");
    assert_eq!(text(&output.stdout), "a  b c $HOME *\n", "{output:?}");
    for (command, said) in
        [("ls | wc", "needs a shell"), ("none -x", "none: "), ("", "this node has no shell")]
    {
        let output = server.ssh(&[], command);
        assert_eq!(output.status.code(), Some(127), "{output:?}");
        assert!(text(&output.stderr).contains(said), "{output:?}");
    }
    std::fs::write(server.path("file"), "copied").unwrap();
    for (way, name) in [("-s", "new"), ("-O", "old")] {
        let output = server
            .command(
                "scp",
                &[way, "-q", &server.path("file").display().to_string(), &format!("ann@127.0.0.1:{name}")],
            )
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        assert_eq!(std::fs::read(server.home().join(name)).unwrap(), b"copied");
    }
}

#[test]
fn variables_that_are_harmless_are_taken() {
    let server = Server::start();
    let mut command = server
        .command("ssh", &["-o", "SendEnv=LC_* GIT_AUTHOR_NAME LD_PRELOAD BASH_ENV", "ann@127.0.0.1", "env"]);
    command.env("LC_TIME", "C").env("GIT_AUTHOR_NAME", "Ann").env("BASH_ENV", "/x");
    let said = text(&command.output().unwrap().stdout);
    assert!(said.contains("LC_TIME=C\n") && said.contains("GIT_AUTHOR_NAME=Ann\n"), "{said}");
    assert!(!said.contains("BASH_ENV"), "{said}");
    let port = server.address.port().to_string();
    let connection = said.lines().find_map(|line| line.strip_prefix("SSH_CONNECTION=")).unwrap();
    assert!(
        connection.starts_with("127.0.0.1 ") && connection.ends_with(&format!(" 127.0.0.1 {port}")),
        "{connection}"
    );
    assert!(said.contains("SSH_CLIENT=127.0.0.1 "), "{said}");
}

#[test]
fn many_connections_are_counted_and_let_go() {
    let server = Server::start();
    for round in 0..30 {
        assert_eq!(server.says(&format!("echo {round}")), format!("{round}\n"));
    }
}

#[test]
fn the_ciphers_of_openssh_are_served() {
    let server = Server::start();
    for cipher in
        ["chacha20-poly1305@openssh.com", "aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "aes256-ctr"]
    {
        let output = fed(server.command("ssh", &["-c", cipher, "ann@127.0.0.1", "cat"]), vec![5; 1 << 20]);
        assert!(output.stdout == vec![5; 1 << 20], "{cipher}: {:?}", output.status);
    }
}

#[test]
fn a_program_whose_output_nobody_reads_gets_to_know_it() {
    let server = Server::start();
    let mut child = server
        .command("ssh", &["ann@127.0.0.1", "echo $PPID; exec yes"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    let session = line.trim().to_owned();
    // As `| head -1` does.
    drop(stdout);
    let mut child = Client(child);
    wait_for(|| children(&session).is_empty());
    assert_eq!(child.0.wait().unwrap().code(), Some(255), "ended by a signal, which is told");
    // One that lives on sees an error, and its exit status is told. OpenSSH's client prints nothing more of its errors.
    let script = "trap '' PIPE; while echo y; do :; done 2>/dev/null; touch noticed; exit 5";
    let mut child = server.command("ssh", &["ann@127.0.0.1", script]).stdout(Stdio::piped()).spawn().unwrap();
    let mut first = [0; 1];
    child.stdout.take().unwrap().read_exact(&mut first).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(5));
    assert!(server.home().join("noticed").exists());
}

#[test]
fn one_of_several_programs_is_not_mistaken_for_another() {
    let server = Server::start();
    let socket = format!("ControlPath={}", server.path("control").display());
    let _master =
        Client(server.command("ssh", &["-M", "-N", "-o", &socket, "ann@127.0.0.1"]).spawn().unwrap());
    wait_for(|| server.path("control").exists());
    let count = "i=0; while [ $i -lt 200 ]; do echo $i; i=$((i+1)); done; until [ -e go ]; do sleep 0.1; done; echo last";
    let steady = server
        .command("ssh", &["-o", &socket, "ann@127.0.0.1", count])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut unread = server
        .command("ssh", &["-o", &socket, "ann@127.0.0.1", "trap 'echo > seen' EXIT; seq 1000000; sleep 1"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = [0; 1];
    unread.stdout.take().unwrap().read_exact(&mut first).unwrap();
    wait_for(|| server.home().join("seen").exists());
    std::fs::write(server.home().join("go"), "").unwrap();
    assert!(text(&steady.wait_with_output().unwrap().stdout).ends_with("199\nlast\n"));
    let _ = unread.wait();
    let _ = server.command("ssh", &["-o", &socket, "-O", "exit", "ann@127.0.0.1"]).output();
}

/// The processes that a process of this machine has started.
fn children(pid: &str) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default()
}
