//! The process that serves one connection, and the programs that it starts from itself.

use std::ffi::OsString;
use std::io;
use std::net::IpAddr;
use std::process::ExitCode;

/// Names to addresses, for `ssh -L`; called on a thread of its own, as the user.
pub type Resolver = fn(&str) -> io::Result<Vec<IpAddr>>;

/// Runs what `arguments` ask for, the words after [`crate::COMMAND`]:
///
/// - `serve SETTINGS [--quiet]`: the connection on standard input; see [`crate::Connection::command`],
/// - `sftp`: the SFTP server on standard input and output, as whoever runs it,
/// - `scp …`: the far side of an old `scp`, likewise.
pub fn main(arguments: impl IntoIterator<Item = OsString>, resolve: Resolver) -> ExitCode {
    let _ = (arguments.into_iter().count(), resolve);
    ExitCode::FAILURE
}
