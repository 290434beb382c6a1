//! A capture of links that are on several hosts: what each sees, put together.

use std::time::Duration;

use futures_util::Stream;
use futures_util::stream::{self, SelectAll, StreamExt as _};
use testyard_capture::merge::Merge;
use testyard_fabric::capture::{CaptureEnd, CaptureEvent, CaptureStream, EndReason};
use testyard_model::id::HostName;
use tokio::time::{Interval, MissedTickBehavior};

/// How long packets wait for those of other hosts, at most twice.
const ROUND: Duration = Duration::from_millis(100);
/// Bytes that wait; with more, a round ends at once.
const MOST: usize = 8 << 20;

/// One capture of those of several hosts. It ends when all have ended, or one has failed.
pub(crate) fn merged(captures: Vec<(HostName, CaptureStream)>) -> CaptureStream {
    CaptureStream::relayed(events(captures))
}

fn events(captures: Vec<(HostName, CaptureStream)>) -> impl Stream<Item = CaptureEvent> + Send + 'static {
    let merge = Merge::of(captures.len());
    let (hosts, captures): (Vec<HostName>, Vec<CaptureStream>) = captures.into_iter().unzip();
    let numbered =
        |(number, capture): (usize, CaptureStream)| capture.map(move |event| (number, event)).boxed();
    let sources = captures.into_iter().enumerate().map(numbered).collect();
    let mut round = tokio::time::interval(ROUND);
    round.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let end = CaptureEnd { reason: EndReason::Parted, received: 0, dropped: 0 };
    let merging = Merging { hosts, sources, merge, round, end, state: State::Runs };
    stream::unfold(merging, |mut merging| async { Some((merging.next().await?, merging)) })
}

struct Merging {
    hosts: Vec<HostName>,
    sources: SelectAll<stream::BoxStream<'static, (usize, CaptureEvent)>>,
    merge: Merge,
    round: Interval,
    /// What all have counted, and why the last ended.
    end: CaptureEnd,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Runs,
    /// All that waited is out.
    Flushed,
    Over,
}

impl Merging {
    async fn next(&mut self) -> Option<CaptureEvent> {
        while self.state == State::Runs {
            let ready = tokio::select! {
                event = self.sources.next() => match event {
                    Some((source, event)) => self.take(source, event),
                    None => self.flushed(),
                },
                _ = self.round.tick() => self.merge.round(),
            };
            if !ready.is_empty() {
                return Some(CaptureEvent::Blocks(ready));
            }
        }
        if self.state == State::Over {
            return None;
        }
        self.state = State::Over;
        // The others are dropped, and end.
        self.sources.clear();
        Some(CaptureEvent::Ended(self.end.clone()))
    }

    /// What can be told on at once.
    fn take(&mut self, source: usize, event: CaptureEvent) -> Vec<u8> {
        let mut ready = Vec::new();
        match event {
            CaptureEvent::Blocks(bytes) => {
                if let Err(error) = self.merge.take(source, &bytes, &mut ready) {
                    self.fail(source, &error.to_string());
                } else if self.merge.size() > MOST {
                    ready.append(&mut self.merge.round());
                }
            }
            CaptureEvent::Ended(CaptureEnd { reason, received, dropped }) => {
                self.end.received += received;
                self.end.dropped += dropped;
                match reason {
                    EndReason::Failed(text) => self.fail(source, &text),
                    EndReason::Stopped => self.fail(source, &EndReason::Stopped.to_string()),
                    // A LAN may have lost its last member there, and go on elsewhere.
                    reason => self.end.reason = reason,
                }
            }
        }
        if self.state == State::Flushed {
            ready.append(&mut self.merge.flush());
        }
        ready
    }

    fn fail(&mut self, source: usize, text: &str) {
        self.end.reason = EndReason::Failed(format!("host {}: {text}", self.hosts[source]));
        self.state = State::Flushed;
    }

    fn flushed(&mut self) -> Vec<u8> {
        self.state = State::Flushed;
        self.merge.flush()
    }
}

#[cfg(test)]
mod tests {
    use testyard_capture::SnapLength;
    use testyard_capture::pcapng::{Direction, Interface, Packet, Section, blocks};

    use super::*;

    fn capture(name: &str, times: &[u64]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut section = Section::begin("test", &mut out);
        let interface = Interface { name, description: "link", snap_length: SnapLength::MAX, filter: None };
        let number = section.interface(&interface, &mut out);
        for time in times {
            let packet = Packet { time: *time, direction: Direction::In, length: 1, data: b"x", missing: 0 };
            section.packet(number, &packet, &mut out);
        }
        out
    }

    fn host(name: &str, events: Vec<CaptureEvent>, goes_on: bool) -> (HostName, CaptureStream) {
        let events = stream::iter(events);
        let stream = if goes_on {
            CaptureStream::relayed(events.chain(stream::pending()))
        } else {
            CaptureStream::relayed(events)
        };
        (name.parse().unwrap(), stream)
    }

    fn ended(reason: EndReason) -> CaptureEvent {
        CaptureEvent::Ended(CaptureEnd { reason, received: 2, dropped: 1 })
    }

    async fn all(captures: Vec<(HostName, CaptureStream)>) -> (usize, CaptureEnd) {
        let events: Vec<CaptureEvent> = merged(captures).collect().await;
        let (CaptureEvent::Ended(end), bytes) = events.split_last().unwrap() else { panic!("no end") };
        let bytes: Vec<u8> = bytes
            .iter()
            .flat_map(|event| match event {
                CaptureEvent::Blocks(bytes) => bytes.clone(),
                CaptureEvent::Ended(end) => panic!("{end:?} before the end"),
            })
            .collect();
        (blocks(&bytes).count(), end.clone())
    }

    #[tokio::test(start_paused = true)]
    async fn it_goes_on_until_all_have_ended() {
        let a = vec![CaptureEvent::Blocks(capture("a", &[1, 3])), ended(EndReason::LinkGone)];
        let b = vec![CaptureEvent::Blocks(capture("b", &[2, 4])), ended(EndReason::Parted)];
        let (count, end) = all(vec![host("h1", a, false), host("h2", b, false)]).await;
        assert_eq!((count, end.received, end.dropped), (1 + 2 + 4, 4, 2));
        assert!(matches!(end.reason, EndReason::Parted | EndReason::LinkGone));
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_fails_ends_it_and_is_named() {
        let a = vec![CaptureEvent::Blocks(capture("a", &[1]))];
        let b = vec![ended(EndReason::Failed("it is away".to_owned()))];
        let (_, end) = all(vec![host("h1", a, true), host("h2", b, false)]).await;
        assert_eq!(end.reason, EndReason::Failed("host h2: it is away".to_owned()));
        let b = vec![CaptureEvent::Blocks(vec![0; 64])];
        let (_, end) = all(vec![host("h1", Vec::new(), true), host("h2", b, true)]).await;
        assert!(matches!(&end.reason, EndReason::Failed(text) if text.contains("cannot be read")), "{end:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn packets_are_told_while_it_runs() {
        let a = vec![CaptureEvent::Blocks(capture("a", &[1, 2]))];
        let mut merged = merged(vec![host("h1", a, true), host("h2", Vec::new(), true)]);
        let mut seen = 0;
        // Section, interface, and both packets a round later.
        while seen < 4 {
            let Some(CaptureEvent::Blocks(bytes)) = merged.next().await else { panic!("it has not ended") };
            seen += blocks(&bytes).count();
        }
    }
}
