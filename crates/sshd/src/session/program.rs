//! A program behind a channel: what the client sends goes in, what it writes comes out, and its end is told.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::sync::{Arc, Weak};

use bytes::{Bytes, BytesMut};
use nix::fcntl::OFlag;
use nix::sys::signal::Signal;
use russh::server::{Handle, Msg};
use russh::{ChannelWriteHalf, Sig};
use tokio::io::AsyncWriteExt as _;
use tokio::io::unix::AsyncFd;
use tokio::net::unix::pipe;
use tokio::process::Child;

use super::inbox::Inbox;
use crate::shell::Launch;
use crate::terminal::{self, Terminal};

/// Bytes that are read of a program at once: two packets.
const CHUNK: usize = 64 << 10;
/// The number of standard error's stream in SSH.
const STDERR: u32 = 1;

/// A channel as the task that serves it holds it.
pub(super) struct Port {
    pub(super) write: ChannelWriteHalf<Msg>,
    pub(super) inbox: Arc<Inbox>,
    pub(super) handle: Handle,
}

/// A program that has been started.
pub(super) struct Program {
    child: Child,
    io: Io,
}

enum Io {
    Pipes { input: pipe::Sender, output: pipe::Receiver, error: pipe::Receiver },
    Terminal(Arc<AsyncFd<OwnedFd>>),
}

// === impl Program ===

impl Program {
    /// Starts `launch` in a session of its own, on `terminal` or on three pipes.
    pub(super) fn start(
        launch: &Launch,
        environment: &[(String, String)],
        terminal: Option<Terminal>,
    ) -> io::Result<Self> {
        let mut command = Command::new(&launch.program);
        command.arg0(&launch.name).args(&launch.arguments).env_clear();
        command.envs(environment.iter().map(|(name, value)| (name, value)));
        crate::kernel::own_session(&mut command, terminal.is_some());
        let io = match terminal {
            Some(terminal) => {
                let Terminal { master, slave, .. } = terminal;
                command.stdin(slave.try_clone()?).stdout(slave.try_clone()?).stderr(slave);
                Io::Terminal(Arc::new(master))
            }
            None => {
                let (read, input) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
                command.stdin(read);
                let (output, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
                command.stdout(write);
                let (error, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
                command.stderr(write);
                Io::Pipes {
                    input: pipe::Sender::from_owned_fd(input)?,
                    output: pipe::Receiver::from_owned_fd(output)?,
                    error: pipe::Receiver::from_owned_fd(error)?,
                }
            }
        };
        // The command, and with it the program's ends of the pipes, ends here.
        let child = tokio::process::Command::from(command).spawn()?;
        Ok(Self { child, io })
    }

    /// The process, which is also the number of its group.
    pub(super) fn group(&self) -> Option<i32> {
        self.child.id().and_then(|pid| i32::try_from(pid).ok())
    }

    /// The terminal, for the client's changes of its size; it ends with the program, whoever still knows of it.
    pub(super) fn terminal(&self) -> Weak<AsyncFd<OwnedFd>> {
        match &self.io {
            Io::Terminal(master) => Arc::downgrade(master),
            Io::Pipes { .. } => Weak::new(),
        }
    }

    /// Serves it until it has ended and everything has been said, or until the client closes the channel. A program
    /// on pipes lives on then and finds them closed; one on a terminal gets the kernel's SIGHUP.
    pub(super) async fn serve(self, port: &Port) {
        let Self { child, io } = self;
        match io {
            Io::Pipes { input, output, error } => {
                let inbox = Arc::clone(&port.inbox);
                let feeding = tokio::spawn(feed(input, inbox));
                // A client that closes the channel has sent what it has sent; a program that has ended takes nothing more.
                if on_pipes(child, output, error, port).await {
                    feeding.abort();
                }
            }
            Io::Terminal(master) => {
                let (typist, inbox) = (Arc::clone(&master), Arc::clone(&port.inbox));
                let typing = tokio::spawn(async move {
                    while let Some(data) = inbox.next().await {
                        if terminal::write(&typist, &data).await.is_err() {
                            inbox.deafen();
                        }
                    }
                });
                on_terminal(child, &master, port).await;
                typing.abort();
            }
        }
    }
}

async fn feed(mut input: pipe::Sender, inbox: Arc<Inbox>) {
    while let Some(data) = inbox.next().await {
        if input.write_all(&data).await.is_err() {
            inbox.deafen();
        }
    }
}

/// True if the program has ended, false if the client has closed the channel before.
async fn on_pipes(mut child: Child, output: pipe::Receiver, error: pipe::Receiver, port: &Port) -> bool {
    let (mut output, mut error) = (Some(output), Some(error));
    let mut running = true;
    let mut open = true;
    while open && (running || output.is_some() || error.is_some()) {
        tokio::select! {
            data = read(output.as_ref()), if output.is_some() => {
                if data.is_empty() { output = None } else { open = port.send(None, data).await }
            }
            data = read(error.as_ref()), if error.is_some() => {
                if data.is_empty() { error = None } else { open = port.send(Some(STDERR), data).await }
            }
            status = child.wait(), if running => {
                running = false;
                port.tell(status).await;
            }
            // What it writes now breaks its pipe, as it would in a shell's pipeline.
            () = port.inbox.is_unread(), if output.is_some() => output = None,
            () = port.inbox.closed() => open = false,
        }
    }
    open
}

async fn on_terminal(mut child: Child, master: &AsyncFd<OwnedFd>, port: &Port) {
    let mut buffer = vec![0; 16 << 10];
    let status = loop {
        tokio::select! {
            data = read_terminal(master, &mut buffer) => {
                // The end of the terminal: all have closed it, and the shell is about to end.
                if data.is_empty() {
                    tokio::select! {
                        status = child.wait() => break status,
                        () = port.inbox.closed() => return,
                    }
                }
                if !port.send(None, data).await {
                    return;
                }
            }
            status = child.wait() => break status,
            // A terminal has no half to close: it hangs up.
            () = port.inbox.is_unread() => return,
            () = port.inbox.closed() => return,
        }
    };
    // What was written before the end; others in the background may hold the terminal open, and are not waited for.
    loop {
        match terminal::read(master, &mut buffer) {
            Ok(read) if read > 0 => {
                if !port.send(None, Bytes::copy_from_slice(&buffer[..read])).await {
                    return;
                }
            }
            _ => break,
        }
    }
    port.tell(status).await;
}

/// The next bytes of a pipe; none at its end.
async fn read(pipe: Option<&pipe::Receiver>) -> Bytes {
    let Some(pipe) = pipe else { return std::future::pending().await };
    loop {
        if pipe.readable().await.is_err() {
            return Bytes::new();
        }
        // Only now, so that a program which says nothing costs nothing.
        let mut buffer = BytesMut::with_capacity(CHUNK);
        match pipe.try_read_buf(&mut buffer) {
            Ok(read) if read < CHUNK / 4 => return Bytes::copy_from_slice(&buffer),
            Ok(_) => return buffer.freeze(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return Bytes::new(),
        }
    }
}

async fn read_terminal(master: &AsyncFd<OwnedFd>, buffer: &mut [u8]) -> Bytes {
    loop {
        let Ok(mut ready) = master.readable().await else { return Bytes::new() };
        match ready.try_io(|_| terminal::read(master, buffer)) {
            Ok(Ok(read)) => return Bytes::copy_from_slice(&buffer[..read]),
            Ok(Err(_)) => return Bytes::new(),
            Err(_) => {}
        }
    }
}

// === impl Port ===

impl Port {
    /// Sends to the client, as fast as it takes it. False once the channel is closed.
    pub(super) async fn send(&self, stream: Option<u32>, data: Bytes) -> bool {
        let sent = async {
            match stream {
                None => self.write.data_bytes(data).await,
                Some(stream) => self.write.extended_data_bytes(stream, data).await,
            }
        };
        tokio::select! {
            sent = sent => sent.is_ok(),
            () = self.inbox.closed() => false,
        }
    }

    /// Says a line to the client's standard error.
    pub(super) async fn complain(&self, line: &str) {
        let _ = self.send(Some(STDERR), format!("{line}\r\n").into()).await;
    }

    /// Tells how the program ended.
    async fn tell(&self, status: io::Result<ExitStatus>) {
        let Ok(status) = status else { return };
        let _ = match (status.code(), status.signal()) {
            (Some(code), _) => self.write.exit_status(code.unsigned_abs()).await.is_ok(),
            (None, signal) => {
                let name = signal_name(signal.unwrap_or_default());
                let told = self.handle.exit_signal_request(
                    self.write.id(),
                    name,
                    status.core_dumped(),
                    String::new(),
                    String::new(),
                );
                told.await.is_ok()
            }
        };
    }

    /// Tells an exit status that no program gave.
    pub(super) async fn exit(&self, code: u32) {
        let _ = self.write.exit_status(code).await;
    }

    /// Ends the channel.
    pub(super) async fn close(&self) {
        let _ = self.write.eof().await;
        let _ = self.write.close().await;
    }
}

/// A signal's number as SSH names it.
fn signal_name(number: i32) -> Sig {
    match Signal::try_from(number) {
        Ok(Signal::SIGABRT) => Sig::ABRT,
        Ok(Signal::SIGALRM) => Sig::ALRM,
        Ok(Signal::SIGFPE) => Sig::FPE,
        Ok(Signal::SIGHUP) => Sig::HUP,
        Ok(Signal::SIGILL) => Sig::ILL,
        Ok(Signal::SIGINT) => Sig::INT,
        Ok(Signal::SIGKILL) => Sig::KILL,
        Ok(Signal::SIGPIPE) => Sig::PIPE,
        Ok(Signal::SIGQUIT) => Sig::QUIT,
        Ok(Signal::SIGSEGV) => Sig::SEGV,
        Ok(Signal::SIGTERM) => Sig::TERM,
        Ok(Signal::SIGUSR1) => Sig::USR1,
        Ok(other) => Sig::Custom(format!("{}@testyard", other.as_str().trim_start_matches("SIG"))),
        Err(_) => Sig::Custom(format!("{number}@testyard")),
    }
}

/// The signal that a client names; `None` for one that is not sent for it.
pub(super) fn signal_of(name: &Sig) -> Option<Signal> {
    Some(match name {
        Sig::ABRT => Signal::SIGABRT,
        Sig::ALRM => Signal::SIGALRM,
        Sig::FPE => Signal::SIGFPE,
        Sig::HUP => Signal::SIGHUP,
        Sig::ILL => Signal::SIGILL,
        Sig::INT => Signal::SIGINT,
        Sig::KILL => Signal::SIGKILL,
        Sig::PIPE => Signal::SIGPIPE,
        Sig::QUIT => Signal::SIGQUIT,
        Sig::SEGV => Signal::SIGSEGV,
        Sig::TERM => Signal::SIGTERM,
        Sig::USR1 => Signal::SIGUSR1,
        Sig::Custom(name) if name == "USR2" => Signal::SIGUSR2,
        Sig::Custom(_) => return None,
    })
}

/// Where programs start: the home, or the root if it cannot be entered.
pub(super) fn enter(home: &Path) {
    if std::env::set_current_dir(home).is_err() {
        let _ = std::env::set_current_dir("/");
    }
}
