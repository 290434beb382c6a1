//! The process that serves one connection, and the programs that it starts from itself.

mod connection;
mod forward;
mod handler;
mod inbox;
mod login;
mod program;
mod unread;

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::sys::stat::{Mode, umask};
use russh::keys::PrivateKey;
use russh::{MethodKind, MethodSet, Preferred, SshId, cipher, compression, server};

use self::connection::Connection;
use crate::settings::{Settings, SettingsError};
use crate::{kernel, scp, sftp};

/// Names to addresses, for `ssh -L`; called on a thread of its own, as the user.
pub type Resolver = fn(&str) -> io::Result<Vec<IpAddr>>;

/// Why a connection cannot be served.
#[derive(Debug, thiserror::Error)]
enum ServeError {
    #[error("usage: serve SETTINGS [--quiet]")]
    Usage,
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error("no host key can be read")]
    NoHostKey,
    #[error("the connection is not one")]
    Socket(#[source] io::Error),
}

/// Runs what `arguments` ask for, the words after [`crate::COMMAND`]:
///
/// - `serve SETTINGS [--quiet]`: the connection on standard input; see [`crate::Connection::command`],
/// - `sftp`: the SFTP server on standard input and output, as whoever runs it,
/// - `scp …`: the far side of an old `scp`, likewise.
pub fn main(arguments: impl IntoIterator<Item = OsString>, resolve: Resolver) -> ExitCode {
    let mut arguments = arguments.into_iter();
    let served = match arguments.next() {
        Some(word) if word == "sftp" => return sftp::main(),
        Some(word) if word == "scp" => return scp::main(arguments),
        Some(word) if word == "serve" => serve(arguments, resolve),
        _ => Err(ServeError::Usage),
    };
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let cause =
                std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
            say(&format!("ssh: {error}{cause}"));
            ExitCode::FAILURE
        }
    }
}

/// A line of the log, in one piece.
fn say(line: &str) {
    let _ = io::stderr().write_all(format!("{line}\n").as_bytes());
}

fn serve(mut arguments: impl Iterator<Item = OsString>, resolve: Resolver) -> Result<(), ServeError> {
    let settings = PathBuf::from(arguments.next().ok_or(ServeError::Usage)?);
    let quiet = arguments.next().is_some_and(|word| word == "--quiet");
    kernel::plain_signals();
    umask(Mode::from_bits_truncate(0o022));
    let settings = Arc::new(Settings::read(&settings)?);
    let (socket, life) = take_standard().map_err(ServeError::Socket)?;
    let stream = TcpStream::from(socket);
    let (peer, local) = endpoints(&stream).map_err(ServeError::Socket)?;
    let config = Arc::new(configuration(&settings)?);
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(ServeError::Socket)?;
    let done = Arc::new(AtomicBool::new(false));
    let login = login::Login::new(Arc::clone(&settings), peer, life, Arc::clone(&done));
    let grace = Duration::from_secs(settings.limits.grace_seconds);
    let connection = Connection::new(settings, login, peer, local, resolve, quiet);
    unread::listen(Arc::clone(&connection.inboxes));
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::from_std(stream).map_err(ServeError::Socket)?;
        let session = async {
            // However a connection ends, there is nobody left to be told.
            if let Ok(session) = server::run_stream(config, stream, connection).await {
                let _ = session.await;
            }
        };
        tokio::pin!(session);
        tokio::select! {
            () = &mut session => return Ok::<(), ServeError>(()),
            () = tokio::time::sleep(grace) => {}
        }
        if done.load(Ordering::Relaxed) {
            session.await;
        }
        Ok(())
    })?;
    // Programs that still run belong to process 1 now; nothing here waits for a thread that looks up a name.
    runtime.shutdown_background();
    Ok(())
}

/// Takes the connection and the pipe of this process's life from standard input and output, so that nothing which is
/// started later has them.
fn take_standard() -> io::Result<(OwnedFd, File)> {
    let socket = io::stdin().as_fd().try_clone_to_owned()?;
    let life = io::stdout().as_fd().try_clone_to_owned()?;
    // An image may lack even /dev/null: the read end of a pipe that nobody writes is as empty.
    let nothing: OwnedFd = match File::options().read(true).write(true).open("/dev/null") {
        Ok(file) => file.into(),
        Err(_) => io::pipe()?.0.into(),
    };
    nix::unistd::dup2_stdin(&nothing)?;
    nix::unistd::dup2_stdout(&nothing)?;
    Ok((socket, life.into()))
}

fn endpoints(stream: &TcpStream) -> io::Result<(SocketAddr, SocketAddr)> {
    let plain = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
    let ends = (plain(stream.peer_addr()?), plain(stream.local_addr()?));
    stream.set_nodelay(true)?;
    stream.set_nonblocking(true)?;
    Ok(ends)
}

fn configuration(settings: &Settings) -> Result<server::Config, ServeError> {
    let keys: Vec<_> = settings.host_keys.iter().filter_map(|path| host_key(path)).collect();
    if keys.is_empty() {
        return Err(ServeError::NoHostKey);
    }
    let limits = &settings.limits;
    let rekey = limits.rekey_bytes.clamp(1 << 20, 1 << 30);
    Ok(server::Config {
        server_id: SshId::Standard(unread::GREETING.into()),
        methods: MethodSet::from(&[MethodKind::PublicKey][..]),
        auth_rejection_time: Duration::from_millis(limits.refusal_milliseconds),
        // Every client asks first what it may try; the answer is the same for all logins.
        auth_rejection_time_initial: Some(Duration::ZERO),
        keys,
        limits: russh::Limits::new(rekey, rekey, Duration::from_secs(3600)),
        window_size: inbox::WIDE,
        maximum_packet_size: 32 << 10,
        channel_buffer_size: 32,
        event_buffer_size: 32,
        preferred: Preferred {
            // The kind that begins after authentication, for who asks for it.
            compression: vec![compression::NONE, compression::ZLIB_LEGACY].into(),
            // What russh prefers, and the one that OpenSSH's clients with hardware for it are told to prefer.
            cipher: Preferred::DEFAULT.cipher.iter().copied().chain([cipher::AES_128_GCM]).collect(),
            ..Preferred::DEFAULT
        },
        max_auth_attempts: limits.attempts,
        inactivity_timeout: None,
        keepalive_interval: (limits.keepalive_seconds > 0)
            .then(|| Duration::from_secs(limits.keepalive_seconds)),
        keepalive_max: 3,
        nodelay: true,
        ..server::Config::default()
    })
}

fn host_key(path: &Path) -> Option<PrivateKey> {
    let text = std::fs::read_to_string(path).ok()?;
    let key = PrivateKey::from_openssh(&text).ok();
    if key.is_none() {
        say(&format!("ssh: {} is not a host key that can be used", path.display()));
    }
    key
}
