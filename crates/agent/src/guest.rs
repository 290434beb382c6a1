//! The agent's end of the conversation with one node's guest.
//!
//! Whoever connects is somebody inside the node; root there is the user. So nothing that is said is trusted: messages
//! are bounded in size, everything that the node says by its [`Ration`], reports are cut to what is kept, and a lie can
//! only make the liar's own node look wrong. The newest connection wins: a guest that comes back after its stream broke
//! must not wait for a time-out of the old one.

mod inside;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use testyard_guest_protocol::{
    FrameError, FromGuest, PROTOCOL, Report, ToGuest, decode, read_body_async, write_async,
};
use testyard_runtime::{GuestListener, GuestStream};
use tokio::io::AsyncRead;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::facts::Asker;
use crate::ration::Ration;

pub(crate) use inside::{Inside, Names};

/// The longest message of a guest in bytes: a report of 200 services with much to say about each has a tenth of it.
const LONGEST: usize = 1 << 20;

/// The pause after each connection, and after an accept that failed.
const PAUSE: Duration = Duration::from_millis(2);
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(100);

/// Who connects must say who it is within this time.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);

/// Who has asked something must read the answer within this time: it takes memory until then.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Listens to the guest of one boot until it is dropped.
#[derive(Debug)]
pub(crate) struct Conversation {
    inside: watch::Sender<Option<Inside>>,
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
    pub(crate) fn start(listener: Box<dyn GuestListener>, asker: Asker) -> Self {
        let (inside, to_send) = watch::channel(None);
        let (hear, heard) = watch::channel(Heard::default());
        let task = tokio::spawn(accept(listener, to_send, hear, asker));
        Self { inside, heard, task }
    }

    /// Tells the guest; again after each new connection.
    pub(crate) fn tell(&self, inside: Inside) {
        self.inside.send_replace(Some(inside));
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
    to_send: watch::Receiver<Option<Inside>>,
    hear: watch::Sender<Heard>,
    asker: Asker,
) {
    let mut current: Option<tokio::task::AbortHandle> = None;
    let mut streams = tokio::task::JoinSet::new();
    let ration = SharedRation::new();
    loop {
        match listener.accept().await {
            Ok(stream) => {
                if let Some(old) = current.take() {
                    old.abort();
                }
                let hearing = Hearing { ration: ration.clone(), hear: hear.clone() };
                current = Some(streams.spawn(converse(stream, to_send.clone(), hearing, asker.clone())));
                while streams.try_join_next().is_some() {}
                // Who connects without end waits in the socket's queue, which costs the agent nothing.
                tokio::time::sleep(ration.take(0).max(PAUSE)).await;
            }
            Err(error) => {
                tracing::debug!(%error, "a guest's connection failed");
                tokio::time::sleep(PAUSE_AFTER_FAILURE).await;
            }
        }
    }
}

/// One node's [`Ration`], whichever of its connections uses it.
#[derive(Clone)]
struct SharedRation(Arc<Mutex<Ration>>);

impl SharedRation {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(Ration::new(Instant::now()))))
    }

    fn take(&self, bytes: usize) -> Duration {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take(bytes, Instant::now())
    }
}

/// Where what one connection says goes.
struct Hearing {
    ration: SharedRation,
    hear: watch::Sender<Heard>,
}

impl Hearing {
    /// The next message, once the node has paid for it: it waits before it is looked at.
    async fn next(&self, reader: &mut (impl AsyncRead + Unpin)) -> Result<FromGuest, FrameError> {
        let body = read_body_async(reader, LONGEST).await?;
        let pause = self.ration.take(body.len());
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        decode(&body)
    }

    /// Takes a report with as many services and programs as were asked for: what was not is not kept.
    fn report(&self, report: Report, (services, programs): (usize, usize)) {
        let mut report = report.bounded();
        report.services.truncate(services);
        report.scheduled.truncate(programs);
        self.hear.send_if_modified(|heard| {
            let new = heard.report.as_ref() != Some(&report);
            heard.report = Some(report);
            new
        });
    }
}

async fn converse(
    stream: Box<dyn GuestStream>,
    mut to_send: watch::Receiver<Option<Inside>>,
    hearing: Hearing,
    asker: Asker,
) {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let hello = match tokio::time::timeout(HELLO_TIMEOUT, hearing.next(&mut reader)).await {
        Ok(Ok(FromGuest::Hello(hello))) => hello,
        _ => return,
    };
    let foreign = (hello.protocol != PROTOCOL).then_some(hello.protocol);
    hearing.hear.send_if_modified(|heard| {
        let new = !heard.spoken || heard.foreign_protocol != foreign;
        heard.spoken = true;
        heard.foreign_protocol = foreign;
        new
    });
    if foreign.is_some() {
        return;
    }
    let asked_for = to_send.clone();
    let (mut exchange, answering) = asker.begin();
    let questions = exchange.questions;
    let listen = async {
        while let Ok(message) = hearing.next(&mut reader).await {
            match message {
                FromGuest::Report(report) => {
                    let asked = |Inside { desired: asked, .. }: &Inside| {
                        (asked.installs.len() + asked.executes.len(), asked.scheduled.len())
                    };
                    let asked = asked_for.borrow().as_ref().map_or((usize::MAX, usize::MAX), asked);
                    hearing.report(*report, asked);
                }
                // Who asks more than can wait gets no answer.
                FromGuest::Ask(ask) => drop(questions.try_send(ask)),
                FromGuest::Hello(_) => {}
            }
        }
    };
    let speak = async {
        loop {
            let whole = to_send.borrow_and_update().as_ref().map(Inside::whole);
            if let Some(desired) = whole
                && write_async(&mut writer, &ToGuest::Desired(Box::new(desired))).await.is_err()
            {
                return;
            }
            loop {
                tokio::select! {
                    changed = to_send.changed() => match changed {
                        Ok(()) => break,
                        Err(_) => return,
                    },
                    Some(sent) = exchange.answers.recv() => {
                        let told = ToGuest::Told(sent.told);
                        let written = tokio::time::timeout(ANSWER_TIMEOUT, write_async(&mut writer, &told)).await;
                        if !matches!(written, Ok(Ok(()))) {
                            return;
                        }
                    }
                }
            }
        }
    };
    let answer = async {
        answering.await;
        std::future::pending().await
    };
    tokio::select! { () = listen => {}, () = speak => {}, () = answer => {} }
}

#[cfg(test)]
#[path = "guest/tests.rs"]
mod tests;
