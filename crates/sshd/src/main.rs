//! The server as a program of its own, for tests and measurements: `testyard-sshd listen ADDRESS:PORT SETTINGS`.

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::path::PathBuf;
use std::process::{Child, ExitCode};

use testyard_sshd::{COMMAND, Listener, ListenerLimits, session};

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let done = match arguments.next() {
        Some(word) if word == COMMAND => return session::main(arguments, resolve),
        Some(word) if word == "listen" => listen(&arguments.collect::<Vec<_>>()),
        _ => Err(io::Error::other("usage: testyard-sshd listen ADDRESS:PORT SETTINGS")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "testyard-sshd: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Listens, says on standard output where, and serves until standard input ends.
fn listen(arguments: &[OsString]) -> io::Result<()> {
    let [address, settings] = arguments else { return Err(io::Error::other("listen ADDRESS:PORT SETTINGS")) };
    let address = address.to_str().and_then(|text| text.parse::<SocketAddr>().ok());
    let address = address.ok_or_else(|| io::Error::other("no address"))?;
    let settings = PathBuf::from(settings);
    let (listener, _) = Listener::bind(&[address], ListenerLimits::default())?;
    let mut output = io::stdout();
    for address in listener.addresses() {
        writeln!(output, "{address}")?;
    }
    output.flush()?;
    let mut children = Vec::<Child>::new();
    listener.run(&io::stdin(), |connection| {
        children.retain_mut(|child| !matches!(child.try_wait(), Ok(Some(_))));
        children.push(connection.command("/proc/self/exe".as_ref(), &settings).spawn()?);
        Ok(())
    });
    Ok(())
}

fn resolve(name: &str) -> io::Result<Vec<IpAddr>> {
    Ok((name, 0).to_socket_addrs()?.map(|address| address.ip()).collect())
}
