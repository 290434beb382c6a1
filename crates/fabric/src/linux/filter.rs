//! Expressions of pcap-filter(7) become programs: by `tcpdump -ddd`, in a process of its own. It runs as nobody and opens no
//! interface; what users write is one argument of it, and what it prints is read with limits.

use std::io::ErrorKind;
use std::process::Stdio;
use std::time::Duration;

use testyard_capture::SnapLength;
use testyard_capture::filter::{LONGEST_TEXT, Program};
use tokio::io::AsyncReadExt as _;
use tokio::process::Command;

use super::program::SYSTEM_FOLDERS;
use crate::FabricError;
use crate::capture::CaptureError;

/// An expression that people write has a line.
const LONGEST_EXPRESSION: usize = 4096;
const LONGEST_COMPLAINT: u64 = 4096;
/// It takes milliseconds, unless a host's name is looked up.
const PATIENCE: Duration = Duration::from_secs(5);
/// `nobody`, and `nogroup`, on every Linux.
const NOBODY: u32 = 65_534;

/// The program of an expression; without one, every packet's.
pub(crate) async fn compile(expression: Option<&str>, kept: SnapLength) -> Result<Program, CaptureError> {
    let Some(expression) = expression else { return Ok(Program::everything(kept)) };
    let refused = |reason: String| CaptureError::Filter { expression: shortened(expression), reason };
    if expression.len() > LONGEST_EXPRESSION {
        return Err(refused(format!("it is longer than {LONGEST_EXPRESSION} bytes")));
    }
    if expression.contains('\0') {
        return Err(refused("it has a NUL in it".to_owned()));
    }
    // It would let nothing through, without a word.
    if expression.split(|c: char| !c.is_alphanumeric()).any(|word| word == "vlan") {
        let reason = "the kernel keeps VLAN tags beside its packets, where a filter cannot see them: \
                      capture without `vlan`, and choose in Wireshark";
        return Err(refused(reason.to_owned()));
    }
    let output = tokio::time::timeout(PATIENCE, run(expression, kept)).await.map_err(|_| {
        refused(format!(
            "it could not be read in {} s; names in it are looked up on the host, so write addresses",
            PATIENCE.as_secs()
        ))
    })??;
    if !output.success {
        return Err(refused(complaint(&output.stderr)));
    }
    Program::parse(&output.stdout).map_err(|error| refused(error.to_string()))
}

struct Output {
    success: bool,
    stdout: String,
    stderr: String,
}

async fn run(expression: &str, kept: SnapLength) -> Result<Output, FabricError> {
    let failed = |error: std::io::Error| FabricError::Kernel {
        action: "running tcpdump for a filter".to_owned(),
        detail: error.to_string(),
    };
    let mut command = Command::new("tcpdump");
    command
        .args(["-ddd", "-y", "EN10MB", "-s", &kept.bytes().to_string(), "--", expression])
        .env_clear()
        .env("LC_ALL", "C")
        .env("PATH", SYSTEM_FOLDERS)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    if nix::unistd::geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    let mut child = command.spawn().map_err(|error| match error.kind() {
        ErrorKind::NotFound => FabricError::Lacking(
            "filters of captures need the program tcpdump: install the package tcpdump".to_owned(),
        ),
        _ => failed(error),
    })?;
    let (stdout, stderr) = (child.stdout.take().expect("piped"), child.stderr.take().expect("piped"));
    let (mut program, mut words) = (Vec::new(), Vec::new());
    // One that prints more than this is cut off, and no program then.
    let limit = LONGEST_TEXT as u64;
    let (mut stdout, mut stderr) = (stdout.take(limit), stderr.take(LONGEST_COMPLAINT));
    let (printed, said) = tokio::join!(stdout.read_to_end(&mut program), stderr.read_to_end(&mut words));
    printed.and(said).map_err(failed)?;
    drop((stdout, stderr));
    let status = child.wait().await.map_err(failed)?;
    Ok(Output {
        success: status.success(),
        stdout: String::from_utf8_lossy(&program).into_owned(),
        stderr: String::from_utf8_lossy(&words).into_owned(),
    })
}

/// The last of its words; what comes before are warnings.
fn complaint(words: &str) -> String {
    let last = words.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("tcpdump did not say why");
    last.trim().trim_start_matches("tcpdump: ").to_owned()
}

fn shortened(expression: &str) -> String {
    const SHOWN: usize = 200;
    let end = expression.floor_char_boundary(SHOWN);
    if end < expression.len() { format!("{}…", &expression[..end]) } else { expression.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn reason(expression: &str) -> String {
        match compile(Some(expression), SnapLength::MAX).await {
            Err(CaptureError::Filter { reason, .. }) => reason,
            other => panic!("{expression}: {other:?}"),
        }
    }

    #[tokio::test]
    async fn expressions_become_programs() {
        let all = compile(None, SnapLength::new(64)).await.unwrap();
        assert_eq!(all, Program::everything(SnapLength::new(64)));
        let program = compile(Some("icmp or tcp port 80"), SnapLength::new(64)).await.unwrap();
        let kept = program.instructions().iter().any(|i| i.code == 6 && i.operand == 64);
        assert!(kept, "{program:?}");
    }

    #[tokio::test]
    async fn what_is_wrong_is_said() {
        assert!(reason("tcp prot 80").await.contains("syntax error"));
        assert!(
            reason("-w /tmp/stolen").await.contains("syntax error"),
            "it is an expression, and no option"
        );
        assert!(reason("inbound").await.contains("inbound"));
        assert!(reason("not (vlan 7)").await.contains("VLAN"));
        assert!(reason("tcp\0").await.contains("NUL"));
        assert!(reason(&"(".repeat(5000)).await.contains("longer than"));
    }
}
