//! Sees that others change packet rules: the kernel announces each change of nftables, which `iptables` is today too.
//! The rest, and what gets lost, is found by looking now and then.

use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use nix::errno::Errno;
use nix::sys::socket::SockProtocol;
use tokio::sync::mpsc;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use super::jump;
use super::namespace::{Namespace, THREAD_NAME};
use crate::netlink::Refusal;
use crate::netlink::socket::Socket;
use crate::netlink::wire::{Reply, attribute, text};

/// One change comes as several messages, and a firewall's restart as many.
const SETTLE: Duration = Duration::from_millis(50);
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// Where the kernel announces nothing.
const LOOK_EVERY_BLIND: Duration = Duration::from_secs(10);
/// How soon the thread notices that nobody listens any more.
const WAKE_S: i64 = 1;
/// `NFNLGRP_NFTABLES` as a bit.
const GROUP: u32 = 1 << 6;
const SUBSYSTEM: u16 = 10;
/// `NFT_MSG_NEWGEN` ends what belongs together and names the program.
const NEW_GENERATION: u16 = SUBSYSTEM << 8 | 15;
const GENERATION_PROGRAM: u16 = 3;

/// Ticks after changes that are not the fabric's own, and now and then.
pub(crate) fn disturbances(namespace: &Namespace) -> BoxStream<'static, ()> {
    let (changed, changes) = mpsc::channel(1);
    let (listening, heard) = std::sync::mpsc::channel();
    let started = namespace.thread(move || {
        let result = listen(&changed, &listening);
        drop(listening);
        if let Err(refusal) = result {
            tracing::warn!(%refusal, "changes of packet rules are not announced; looking every 10 s instead");
        }
    });
    let blind = started.is_err();
    // A fraction of a millisecond: what happens from now on is seen. An error means that the thread has ended.
    let _ = heard.recv();
    let state = Watch { changes, ticks: ticks(if blind { LOOK_EVERY_BLIND } else { LOOK_EVERY }), blind };
    stream::unfold(state, |mut watch| async move {
        watch.next().await;
        Some(((), watch))
    })
    .boxed()
}

struct Watch {
    changes: mpsc::Receiver<()>,
    ticks: Interval,
    /// The listener has ended.
    blind: bool,
}

impl Watch {
    async fn next(&mut self) {
        tokio::select! {
            change = self.changes.recv(), if !self.blind => {
                if change.is_none() {
                    self.blind = true;
                    self.ticks = ticks(LOOK_EVERY_BLIND);
                    // What was missed while the listener ended is looked for now.
                    return;
                }
                tokio::time::sleep(SETTLE).await;
                while self.changes.try_recv().is_ok() {}
            }
            _ = self.ticks.tick() => {}
        }
    }
}

fn ticks(period: Duration) -> Interval {
    let mut ticks = interval_at(Instant::now() + period, period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// Listens until nobody wants to hear; returns early where there is nothing to be heard.
fn listen(changed: &mpsc::Sender<()>, listening: &std::sync::mpsc::Sender<()>) -> Result<(), Refusal> {
    let socket = Socket::open(SockProtocol::NetlinkNetFilter, GROUP)?;
    let _ = listening.send(());
    socket.patience(WAKE_S)?;
    if jump::is_legacy() {
        return Ok(());
    }
    while !changed.is_closed() {
        match socket.receive() {
            Ok(replies) if replies.iter().any(is_foreign) => drop(changed.try_send(())),
            Ok(_) | Err(Refusal { errno: Errno::EAGAIN, .. }) => {}
            // More at once than the buffer holds.
            Err(Refusal { errno: Errno::ENOBUFS, .. }) => drop(changed.try_send(())),
            Err(refusal) => return Err(refusal),
        }
    }
    Ok(())
}

fn is_foreign(reply: &Reply) -> bool {
    let program = || reply.body.get(4..).and_then(|body| attribute(body, GENERATION_PROGRAM)).map(text);
    reply.kind == NEW_GENERATION && program().is_none_or(|name| name != THREAD_NAME)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::wire::{Message, messages};

    fn generation(program: &str) -> Reply {
        let mut datagram = Vec::new();
        Message::new(NEW_GENERATION, 0, &[0; 4])
            .u32(1, 7)
            .u32(2, 99)
            .text(GENERATION_PROGRAM, program)
            .write(1, 0, &mut datagram);
        messages(&datagram).remove(0)
    }

    #[test]
    fn our_own_changes_are_not_disturbances() {
        assert!(is_foreign(&generation("nft")));
        assert!(is_foreign(&generation("dockerd")));
        assert!(!is_foreign(&generation(THREAD_NAME)));
    }
}
