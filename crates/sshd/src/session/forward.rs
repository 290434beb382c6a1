//! Sockets behind channels: what `ssh -L`, `-R`, `-D` and `-A` ask for. Everything is opened as the user.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use nix::sys::stat::{Mode, umask};
use russh::server::{Handle, Msg};
use russh::{Channel, ChannelId};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::task::JoinHandle;

use super::Resolver;
use super::inbox::Inboxes;
use super::program::Port;

const CHUNK: usize = 32 << 10;
/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(30);
/// How long accepting rests when it fails, for want of descriptors say.
const BACK_OFF: Duration = Duration::from_millis(200);

/// Listens for the client until it is dropped.
pub(super) struct Forward {
    tasks: Vec<JoinHandle<()>>,
    path: Option<PathBuf>,
}

/// What a forward needs of the connection.
#[derive(Clone)]
pub(super) struct Link {
    pub(super) handle: Handle,
    pub(super) inboxes: Arc<Inboxes>,
    /// Channels of the connection; what comes in beyond them is closed.
    pub(super) most: usize,
}

// === impl Forward ===

impl Drop for Forward {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
        if let Some(path) = &self.path {
            let _ = std::fs::remove_file(path);
        }
    }
}

impl Forward {
    /// Listens on `port` of the loopback addresses, whatever address the client names: like OpenSSH as it is shipped,
    /// nothing of a client's is opened to the network. Port 0 is one that is free; says which.
    pub(super) async fn tcp(link: &Link, address: &str, port: u16) -> io::Result<(Self, u16)> {
        let first = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await;
        let port = match &first {
            Ok(listener) => listener.local_addr()?.port(),
            Err(_) => port,
        };
        let second = TcpListener::bind((Ipv6Addr::LOCALHOST, port)).await;
        let port = match (&first, &second) {
            (Err(_), Ok(listener)) => listener.local_addr()?.port(),
            _ => port,
        };
        let listeners: Vec<_> = match (first, second) {
            (Err(error), Err(_)) => return Err(error),
            (first, second) => first.into_iter().chain(second).collect(),
        };
        let tasks = listeners.into_iter().map(|listener| {
            let (link, address) = (link.clone(), address.to_owned());
            tokio::spawn(async move {
                loop {
                    let Ok((stream, peer)) = listener.accept().await else {
                        tokio::time::sleep(BACK_OFF).await;
                        continue;
                    };
                    if link.inboxes.count() >= link.most {
                        continue;
                    }
                    let (link, address) = (link.clone(), address.clone());
                    tokio::spawn(async move {
                        let opening = link.handle.channel_open_forwarded_tcpip(
                            address,
                            port.into(),
                            peer.ip().to_string(),
                            peer.port().into(),
                        );
                        if let Ok(channel) = opening.await {
                            link.tcp(channel, stream).await;
                        }
                    });
                }
            })
        });
        Ok((Self { tasks: tasks.collect(), path: None }, port))
    }

    /// Listens on a socket at `path`, for this user alone.
    pub(super) fn local(link: &Link, path: &Path) -> io::Result<Self> {
        let listener = private(path)?;
        let name = path.to_string_lossy().into_owned();
        Ok(Self::accept(link, listener, path.to_owned(), move |handle| {
            let name = name.clone();
            async move { handle.channel_open_forwarded_streamlocal(name).await }
        }))
    }

    /// Listens for programs that look for the client's agent, on a socket at `path`.
    pub(super) fn agent(link: &Link, path: &Path) -> io::Result<Self> {
        let listener = private(path)?;
        Ok(Self::accept(link, listener, path.to_owned(), |handle| async move {
            handle.channel_open_agent().await
        }))
    }

    fn accept<O, F>(link: &Link, listener: UnixListener, path: PathBuf, open: O) -> Self
    where
        O: Fn(Handle) -> F + Send + Sync + 'static,
        F: Future<Output = Result<Channel<Msg>, russh::Error>> + Send + 'static,
    {
        let link = link.clone();
        let task = tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else {
                    tokio::time::sleep(BACK_OFF).await;
                    continue;
                };
                if link.inboxes.count() >= link.most {
                    continue;
                }
                let opening = open(link.handle.clone());
                let link = link.clone();
                tokio::spawn(async move {
                    if let Ok(channel) = opening.await {
                        let (read, write) = stream.into_split();
                        link.pump(channel, read, write).await;
                    }
                });
            }
        });
        Self { tasks: vec![task], path: Some(path) }
    }
}

/// A socket that only this user can connect to, from its first moment.
fn private(path: &Path) -> io::Result<UnixListener> {
    // One thread, and no await between: nothing else makes a file meanwhile.
    let before = umask(Mode::from_bits_truncate(0o177));
    let made = UnixListener::bind(path);
    umask(before);
    let listener = made?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

// === impl Link ===

impl Link {
    /// Carries bytes between a channel and a connection until both directions have ended.
    pub(super) async fn tcp(&self, channel: Channel<Msg>, stream: TcpStream) {
        let _ = stream.set_nodelay(true);
        let (read, write) = stream.into_split();
        self.pump(channel, read, write).await;
    }

    /// The same for any two streams.
    pub(super) async fn pump<R, W>(&self, channel: Channel<Msg>, mut read: R, mut write: W)
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let id: ChannelId = channel.id();
        let (_, half) = channel.split();
        // Closed already?
        let Some(inbox) = self.inboxes.get(id) else { return };
        let port = Port { write: half, inbox, handle: self.handle.clone() };
        let read_all = async {
            let mut buffer = BytesMut::new();
            loop {
                buffer.reserve(CHUNK);
                match read.read_buf(&mut buffer).await {
                    Ok(1..) if port.send(None, buffer.split().freeze()).await => {}
                    _ => break,
                }
            }
            let _ = port.write.eof().await;
        };
        // A client that closes takes nothing more, but what it has sent is still on its way to the other side.
        let up = async {
            tokio::select! {
                () = read_all => {}
                () = port.inbox.closed() => {}
            }
        };
        let down = async {
            while let Some(data) = port.inbox.next().await {
                if write.write_all(&data).await.is_err() {
                    port.inbox.deafen();
                }
            }
            let _ = write.shutdown().await;
        };
        tokio::join!(up, down);
        let _ = port.write.close().await;
        self.inboxes.remove(id);
    }
}

/// Connects to the first address of `host` that answers.
pub(super) async fn connect(host: &str, port: u16, resolve: Resolver) -> io::Result<TcpStream> {
    let made = async {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in lookup(host, resolve).await? {
            match TcpStream::connect(SocketAddr::new(address, port)).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(last)
    };
    tokio::time::timeout(CONNECT, made).await?
}

/// Connects to a socket of the node.
pub(super) async fn connect_local(path: &str) -> io::Result<UnixStream> {
    UnixStream::connect(path).await
}

async fn lookup(host: &str, resolve: Resolver) -> io::Result<Vec<IpAddr>> {
    if let Ok(address) = host.trim_start_matches('[').trim_end_matches(']').parse() {
        return Ok(vec![address]);
    }
    if host.is_empty() || host.eq_ignore_ascii_case("localhost") {
        return Ok(vec![Ipv6Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into()]);
    }
    let host = host.to_owned();
    tokio::task::spawn_blocking(move || resolve(&host)).await?
}
