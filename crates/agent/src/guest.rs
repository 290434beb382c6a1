//! The agent's end of the conversation with one node's guest.
//!
//! Whoever connects is somebody inside the node; root there is the user. So nothing that is said is trusted: messages
//! are bounded in size by the protocol, in number by a pause after each, reports are cut to what is kept, and a lie
//! can only make the liar's own node look wrong. The newest connection wins: a guest that comes back after its stream
//! broke must not wait for a time-out of the old one.

use std::time::Duration;

use testyard_guest_protocol::{Desired, FromGuest, PROTOCOL, Report, ToGuest, read_async, write_async};
use testyard_runtime::{GuestListener, GuestStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A flood is slowed to this much per connection and per message.
const PAUSE: Duration = Duration::from_millis(2);

/// A report that is longer than honest ones costs its sender this much more for each kilobyte.
const PAUSE_PER_KILOBYTE: Duration = Duration::from_millis(1);

/// Who connects must say who it is within this time.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);

/// Listens to the guest of one boot until it is dropped.
#[derive(Debug)]
pub(crate) struct Conversation {
    desired: watch::Sender<Option<Desired>>,
    heard: watch::Receiver<Heard>,
    task: JoinHandle<()>,
}

/// What the guest has said in this boot.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Heard {
    /// It has said hello.
    pub(crate) spoken: bool,
    /// It speaks another version of the protocol: this one.
    pub(crate) foreign_protocol: Option<u32>,
    /// Its last report.
    pub(crate) report: Option<Report>,
}

impl Conversation {
    pub(crate) fn start(listener: Box<dyn GuestListener>) -> Self {
        let (desired, to_send) = watch::channel(None);
        let (hear, heard) = watch::channel(Heard::default());
        let task = tokio::spawn(accept(listener, to_send, hear));
        Self { desired, heard, task }
    }

    /// Tells the guest; again after each new connection.
    pub(crate) fn tell(&self, desired: Desired) {
        self.desired.send_replace(Some(desired));
    }

    pub(crate) fn heard(&self) -> Heard {
        self.heard.borrow().clone()
    }

    /// Waits for the guest to say something new.
    pub(crate) async fn changed(&mut self) {
        if self.heard.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Conversation {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(
    mut listener: Box<dyn GuestListener>,
    to_send: watch::Receiver<Option<Desired>>,
    hear: watch::Sender<Heard>,
) {
    let mut current: Option<tokio::task::AbortHandle> = None;
    let mut streams = tokio::task::JoinSet::new();
    loop {
        match listener.accept().await {
            Ok(stream) => {
                if let Some(old) = current.take() {
                    old.abort();
                }
                current = Some(streams.spawn(converse(stream, to_send.clone(), hear.clone())));
                while streams.try_join_next().is_some() {}
            }
            Err(error) => tracing::debug!(%error, "a guest's connection failed"),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn converse(
    stream: Box<dyn GuestStream>,
    mut to_send: watch::Receiver<Option<Desired>>,
    hear: watch::Sender<Heard>,
) {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let hello = match tokio::time::timeout(HELLO_TIMEOUT, read_async::<FromGuest>(&mut reader)).await {
        Ok(Ok(FromGuest::Hello(hello))) => hello,
        _ => return,
    };
    let foreign = (hello.protocol != PROTOCOL).then_some(hello.protocol);
    hear.send_modify(|heard| {
        heard.spoken = true;
        heard.foreign_protocol = foreign;
    });
    if foreign.is_some() {
        return;
    }
    let listen = async {
        while let Ok(message) = read_async::<FromGuest>(&mut reader).await {
            let mut pause = PAUSE;
            if let FromGuest::Report(report) = message {
                let length = report.services.iter().map(|service| 64 + service.detail.len()).sum::<usize>();
                pause += PAUSE_PER_KILOBYTE * u32::try_from(length >> 10).unwrap_or(u32::MAX);
                let report = report.bounded();
                hear.send_if_modified(|heard| {
                    let new = heard.report.as_ref() != Some(&report);
                    heard.report = Some(report);
                    new
                });
            }
            tokio::time::sleep(pause).await;
        }
    };
    let speak = async {
        loop {
            let desired = to_send.borrow_and_update().clone();
            if let Some(desired) = desired
                && write_async(&mut writer, &ToGuest::Desired(Box::new(desired))).await.is_err()
            {
                return;
            }
            if to_send.changed().await.is_err() {
                return;
            }
        }
    };
    tokio::select! { () = listen => {}, () = speak => {} }
}
