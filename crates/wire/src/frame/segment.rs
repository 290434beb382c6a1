//! What a network card does to a frame that is too long: it is cut into segments, each with headers of its own
//! (TCP over IPv4 and IPv6, UDP). As in the kernel's `tcp_gso_segment` and `__udp_gso_segment`, in what a receiver can
//! see: identification counts up, FIN and PSH are only on the last, CWR only on the first.

use std::sync::Arc;

use super::{ECN, Frame, HEADER, Offload, TCP4, TCP6, UDP, checksum};
use crate::emulator::{Grain, Packet as _};

const TCP: u8 = 6;
const UDP_PROTOCOL: u8 = 17;
const FIN_PSH: u8 = 0x09;
const CWR: u8 = 0x80;
/// VLAN tags in a row that are looked behind.
const TAGS: usize = 4;
/// More segments than any sender makes (64 KiB in pieces of 48 bytes are 1366): cutting must not multiply a lie.
const MOST: usize = 2_048;

/// Where things are in a frame that can be cut.
#[derive(Clone, Copy, Debug)]
struct Layout {
    network: usize,
    version6: bool,
    transport: usize,
    payload: usize,
    tcp: bool,
}

/// How long the headers of a frame are that can be cut; none for any other.
pub(super) fn headers(frame: &Frame) -> Option<usize> {
    layout(frame).map(|layout| layout.payload)
}

fn layout(frame: &Frame) -> Option<Layout> {
    let offload = frame.offload();
    let tcp = match offload.kind() {
        TCP4 | TCP6 => true,
        UDP => false,
        _ => return None,
    };
    let bytes = frame.ethernet();
    let word = |at: usize| Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]));
    let mut at = 12;
    let mut kind = word(at)?;
    for _ in 0..TAGS {
        if matches!(kind, 0x8100 | 0x88a8) {
            at += 4;
            kind = word(at)?;
        }
    }
    let network = at + 2;
    let transport = usize::from(offload.start);
    let protocol = if tcp { TCP } else { UDP_PROTOCOL };
    let version6 = match kind {
        0x0800 => {
            let length = usize::from(bytes.get(network)? & 0xf) * 4;
            let fits = bytes.get(network)? >> 4 == 4 && length >= 20 && network + length == transport;
            if !fits || *bytes.get(network + 9)? != protocol {
                return None;
            }
            false
        }
        // Headers between are taken along as they are.
        0x86dd if bytes.get(network)? >> 4 == 6 && transport >= network + 40 => true,
        _ => return None,
    };
    let length = if tcp { usize::from(bytes.get(transport + 12)? >> 4) * 4 } else { 8 };
    let payload = transport + length;
    let sound = offload.size > 0 && length >= 8 && (!tcp || length >= 20) && payload < bytes.len();
    let sound = sound && (bytes.len() - payload).div_ceil(usize::from(offload.size)) <= MOST;
    let kind_fits = !tcp || (offload.kind() == TCP6) == version6;
    (sound && kind_fits).then_some(Layout { network, version6, transport, payload, tcp })
}

/// Cuts a frame as finely as asked, in order; whole, if it need not or cannot be.
pub fn split(frame: Frame, grain: Grain, mut take: impl FnMut(Frame)) -> Option<Vec<u8>> {
    let together = match grain {
        Grain::Whole => u32::MAX,
        Grain::Packet => 1,
        Grain::Bytes(most) => {
            let one = (frame.bytes() / u64::from(frame.packets().max(1))).max(1);
            u32::try_from(most / one).unwrap_or(u32::MAX).max(1)
        }
    };
    let Some(layout) = layout(&frame).filter(|_| together < frame.packets()) else {
        if frame.packets() == 1 && frame.offload().gso != 0 && layout(&frame).is_some() {
            take(single(&frame));
            return Some(frame.into_buffer());
        }
        take(frame);
        return None;
    };
    let origin = Arc::new((layout, frame.offload()));
    let size = usize::from(frame.offload().size);
    let step = size * together as usize;
    let payload = frame.ethernet().len() - layout.payload;
    let mut done = 0;
    while done < payload {
        let length = step.min(payload - done);
        take(piece(&frame, &origin, done, length, done + length == payload));
        done += length;
    }
    Some(frame.into_buffer())
}

/// A frame of one segment needs no cutting, only to be called what it is.
fn single(frame: &Frame) -> Frame {
    let mut frame = frame.copy();
    let offload = frame.offload();
    frame.set_offload(Offload { gso: 0, size: 0, header: 0, ..offload });
    frame.count();
    frame
}

/// Where a piece comes from, so that it can be put together again with its neighbours.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    /// One for all pieces of a frame.
    whole: Arc<(Layout, Offload)>,
    /// Which of the payload's bytes come behind the piece.
    next: usize,
    from: usize,
}

/// Puts neighbours of one frame together again: what has had the same fate need not go through the kernel piece by piece.
pub fn join(frames: &mut Vec<Frame>) {
    let mut kept = 0;
    for index in 1..frames.len() {
        let (before, rest) = frames.split_at_mut(index);
        if !absorb(&mut before[kept], &rest[0]) {
            kept += 1;
            frames.swap(kept, index);
        }
    }
    frames.truncate(kept + 1);
}

fn absorb(frame: &mut Frame, other: &Frame) -> bool {
    let (Some(mine), Some(others)) = (&mut frame.origin, &other.origin) else { return false };
    if !Arc::ptr_eq(&mine.whole, &others.whole) || mine.next != others.from {
        return false;
    }
    mine.next = others.next;
    let (layout, offload) = *mine.whole;
    let from = mine.from;
    if layout.tcp {
        let ends = other.ethernet()[layout.transport + 13] & FIN_PSH;
        frame.ethernet_mut()[layout.transport + 13] |= ends;
    }
    // Pieces are alone in their buffers.
    frame.buffer.extend_from_slice(&other.ethernet()[layout.payload..]);
    frame.end = frame.buffer.len();
    seal(&mut frame.buffer, layout, offload, from);
    frame.count();
    true
}

fn put(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

fn piece(whole: &Frame, origin: &Arc<(Layout, Offload)>, from: usize, length: usize, last: bool) -> Frame {
    let (layout, offload) = **origin;
    let Layout { network, version6, transport, payload, tcp } = layout;
    let source = whole.ethernet();
    let mut buffer = Vec::with_capacity(HEADER + payload + length);
    buffer.resize(HEADER, 0);
    buffer.extend_from_slice(&source[..payload]);
    buffer.extend_from_slice(&source[payload + from..payload + from + length]);
    let bytes = &mut buffer[HEADER..];
    if !version6 {
        let identification = u16::from_be_bytes([bytes[network + 4], bytes[network + 5]]);
        let index = from / usize::from(offload.size);
        put(bytes, network + 4, identification.wrapping_add(index as u16));
    }
    if tcp {
        let at = transport + 4;
        let sequence = u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        bytes[at..at + 4].copy_from_slice(&sequence.wrapping_add(from as u32).to_be_bytes());
        let flags = &mut bytes[transport + 13];
        if !last {
            *flags &= !FIN_PSH;
        }
        if from > 0 {
            *flags &= !CWR;
        }
    }
    seal(&mut buffer, layout, offload, from);
    let end = buffer.len();
    let origin = Some(Origin { whole: Arc::clone(origin), next: from + length, from });
    let mut frame = Frame { buffer, begin: 0, end, packets: 1, bytes: 0, origin };
    frame.count();
    frame
}

/// Writes all that depends on the length, and what is left to do.
fn seal(buffer: &mut [u8], layout: Layout, offload: Offload, from: usize) {
    let Layout { network, version6, transport, payload, tcp } = layout;
    let (header, bytes) = buffer.split_at_mut(HEADER);
    let transport_length = bytes.len() - transport;
    let addresses = if version6 {
        put(bytes, network + 4, (bytes.len() - network - 40) as u16);
        network + 8..network + 40
    } else {
        put(bytes, network + 2, (bytes.len() - network) as u16);
        put(bytes, network + 10, 0);
        let sum = !checksum::fold(checksum::sum(&bytes[network..transport]));
        put(bytes, network + 10, sum);
        network + 12..network + 20
    };
    let (protocol, field) = if tcp { (TCP, 16) } else { (UDP_PROTOCOL, 6) };
    if !tcp {
        put(bytes, transport + 4, transport_length as u16);
    }
    // The pseudo-header's part; the rest is whoever's who ends the frame's way, as always.
    let pseudo = checksum::sum(&bytes[addresses]) + u64::from(protocol) + transport_length as u64;
    put(bytes, transport + field, checksum::fold(pseudo));
    let several = bytes.len() - payload > usize::from(offload.size);
    let gso = if from > 0 { offload.gso & !ECN } else { offload.gso };
    let left = Offload {
        needs_checksum: true,
        flags: offload.flags,
        gso: if several { gso } else { 0 },
        header: if several { payload as u16 } else { 0 },
        size: if several { offload.size } else { 0 },
        start: transport as u16,
        offset: field as u16,
    };
    left.write(header);
}
