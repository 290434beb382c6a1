//! Captures of the fake: what a test injects.

use testyard_capture::pcapng::{Direction, Interface, InterfaceNumber, Packet, Section, Statistics};
use testyard_model::id::SliceId;

use super::FakeFabric;
use crate::capture::{
    CaptureEnd, CaptureError, CaptureRequest, CaptureStream, EndReason, MOST_CAPTURES, Sender, queue,
};
use crate::links::{HostLink, PortId};

/// One that runs.
#[derive(Debug)]
pub(super) struct FakeCapture {
    slice: SliceId,
    request: CaptureRequest,
    sender: Sender,
    section: Section,
    interfaces: Vec<(PortId, InterfaceNumber, Statistics)>,
}

impl FakeFabric {
    /// A frame passes a node's interface: each capture of it has it. Filters are not looked at; `time` is in nanoseconds
    /// since 1970.
    pub fn inject(&self, slice: SliceId, port: &PortId, direction: Direction, time: u64, frame: &[u8]) {
        let mut inner = self.lock();
        for capture in inner.captures.iter_mut().filter(|capture| capture.slice == slice) {
            capture.pass(port, direction, time, frame);
        }
    }

    /// What is captured of a slice now.
    #[must_use]
    pub fn captures(&self, slice: SliceId) -> Vec<CaptureRequest> {
        let inner = self.lock();
        let running = inner.captures.iter().filter(|c| c.slice == slice && !c.sender.is_abandoned());
        running.map(|capture| capture.request.clone()).collect()
    }
}

/// Begins a capture among those that run.
pub(super) fn begin(
    running: &mut Vec<FakeCapture>,
    slice: SliceId,
    request: CaptureRequest,
    links: &[HostLink],
) -> Result<CaptureStream, CaptureError> {
    if let crate::capture::CapturedLinks::One(link) = request.links
        && !request.is_among(links)
    {
        return Err(CaptureError::NoLink { slice, link });
    }
    running.retain(|capture| !capture.sender.is_abandoned());
    if running.iter().filter(|capture| capture.slice == slice).count() >= MOST_CAPTURES {
        return Err(CaptureError::TooMany { slice });
    }
    let (sender, stream) = queue(|| ());
    let mut header = Vec::new();
    let section = Section::begin("Testyard, fake", &mut header);
    sender.push(header);
    let mut capture = FakeCapture { slice, request, sender, section, interfaces: Vec::new() };
    capture.describe(links);
    running.push(capture);
    Ok(stream)
}

/// A slice's links are others now.
pub(super) fn follow(running: &mut Vec<FakeCapture>, slice: SliceId, links: &[HostLink]) {
    running.retain_mut(|capture| {
        if capture.slice != slice {
            return true;
        }
        let stays = capture.request.is_among(links);
        if stays {
            capture.describe(links);
        } else {
            capture.end(EndReason::LinkGone);
        }
        stays
    });
}

/// A slice has parted.
pub(super) fn end(running: &mut Vec<FakeCapture>, slice: SliceId) {
    running.retain_mut(|capture| {
        let stays = capture.slice != slice;
        if !stays {
            capture.end(EndReason::Parted);
        }
        stays
    });
}

impl FakeCapture {
    fn describe(&mut self, links: &[HostLink]) {
        let mut described = Vec::new();
        for captured in self.request.interfaces(links) {
            if self.interfaces.iter().any(|(port, ..)| *port == captured.port) {
                continue;
            }
            let interface = Interface {
                name: &captured.name,
                description: &captured.link,
                snap_length: self.request.snap_length,
                filter: self.request.expression(),
            };
            let number = self.section.interface(&interface, &mut described);
            self.interfaces.push((captured.port, number, Statistics::default()));
        }
        self.sender.push(described);
    }

    fn pass(&mut self, port: &PortId, direction: Direction, time: u64, frame: &[u8]) {
        let Some((_, number, counted)) = self.interfaces.iter_mut().find(|(p, ..)| p == port) else { return };
        counted.received += 1;
        if self.sender.is_full() {
            counted.dropped += 1;
            return;
        }
        let length = u32::try_from(frame.len()).expect("a frame of a test is short");
        let data = &frame[..frame.len().min(self.request.snap_length.in_memory())];
        let mut block = Vec::new();
        self.section.packet(*number, &Packet { time, direction, length, data, missing: 0 }, &mut block);
        self.sender.push(block);
    }

    fn end(&mut self, reason: EndReason) {
        let mut blocks = Vec::new();
        let mut end = CaptureEnd { reason, received: 0, dropped: 0 };
        for (_, number, counted) in &self.interfaces {
            self.section.statistics(*number, counted, &mut blocks);
            end.received += counted.received;
            end.dropped += counted.dropped;
        }
        self.sender.push(blocks);
        self.sender.finish(end);
    }
}
