//! Programs of the host that do what the kernel offers no stable interface for: `nft` and `iptables`. Argument vectors
//! and standard input, never a shell. A child is in the network namespace of the thread that starts it.

use std::io::{ErrorKind, Write as _};
use std::process::{Command, Stdio};

use crate::FabricError;

/// Services are often started without these.
pub(crate) const SYSTEM_FOLDERS: &str = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin";

/// What a program said.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) success: bool,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs a program to its end; `None` if it is not installed.
pub(crate) fn run(program: &str, arguments: &[&str], stdin: &str) -> Result<Option<Output>, FabricError> {
    let failed = |error: std::io::Error| FabricError::Kernel {
        action: format!("running {program}"),
        detail: error.to_string(),
    };
    let path = std::env::var("PATH")
        .map_or_else(|_| SYSTEM_FOLDERS.to_owned(), |path| format!("{path}:{SYSTEM_FOLDERS}"));
    let child = Command::new(program)
        .args(arguments)
        .env("LC_ALL", "C")
        .env("PATH", path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    // Both programs read all of their input before they write, so one after the other cannot block. One that ends
    // early says why on its standard error.
    if let Some(mut pipe) = child.stdin.take()
        && let Err(error) = pipe.write_all(stdin.as_bytes())
        && error.kind() != ErrorKind::BrokenPipe
    {
        let _ = child.kill();
        let _ = child.wait();
        return Err(failed(error));
    }
    let output = child.wait_with_output().map_err(failed)?;
    Ok(Some(Output {
        success: output.status.success(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    }))
}

/// Runs `nft`, which must be there and succeed.
pub(crate) fn nft(action: &str, arguments: &[&str], stdin: &str) -> Result<String, FabricError> {
    let output = run("nft", arguments, stdin)?.ok_or_else(|| {
        FabricError::Lacking("the program nft is missing: install the package nftables".to_owned())
    })?;
    if output.success {
        return Ok(output.stdout);
    }
    // It goes on to quote what it did not understand.
    let detail = output.stderr.lines().next().unwrap_or_default().to_owned();
    Err(FabricError::Kernel { action: action.to_owned(), detail })
}
