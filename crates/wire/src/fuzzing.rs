//! Entry points of the fuzz targets (`fuzz/`), run over the committed corpora by an ordinary test too.

use crate::emulator::{Grain, Packet};
use crate::frame::{Frame, HEADER, LONGEST, ROOM, join, split};
use crate::protocol::{self, Answer, Request};

/// A stream of messages, as a wire and as a client read it.
///
/// # Panics
/// If a message does not survive being written and read: that is what is looked for.
pub fn messages(data: &[u8]) {
    let mut stream = data;
    while let Ok(request) = protocol::read::<Request>(&mut stream) {
        if let Request::Apply(desired) = &request
            && let Err(error) = desired.check()
        {
            assert!(!error.to_string().is_empty());
        }
        let mut bytes = Vec::new();
        protocol::write(&mut bytes, &request).expect("what was read can be written");
        let again: Request = protocol::read(&mut bytes.as_slice()).expect("what was written can be read");
        assert_eq!(again, request);
    }
    let _ = protocol::read::<Answer>(&mut &*data);
}

/// A frame with its header in front, as the kernel could hand it out for a node that lies. The first byte says what is
/// done with it.
///
/// # Panics
/// If something is lost or added: that is what is looked for.
pub fn frame(data: &[u8]) {
    let Some((how, input)) = data.split_first() else { return };
    let grain = match how % 3 {
        0 => Grain::Packet,
        1 => Grain::Bytes(u64::from(*how) * 16),
        _ => Grain::Whole,
    };
    frame_with(input, grain, u64::from(*how) << 56);
}

pub(crate) fn frame_with(input: &[u8], grain: Grain, random: u64) {
    let length = input.len().min(LONGEST - ROOM);
    for vlan in [None, Some((0x8100, 7))] {
        let mut buffer = vec![0; LONGEST];
        buffer[ROOM..ROOM + length].copy_from_slice(&input[..length]);
        let Ok(whole) = Frame::received(buffer, length, vlan) else { return };
        let added = if vlan.is_some() { 4 } else { 0 };
        assert_eq!(whole.ethernet().len(), length - HEADER + added);
        let (packets, bytes) = (whole.packets(), whole.bytes());
        assert!(packets >= 1 && bytes >= whole.ethernet().len() as u64);
        let mut pieces = Vec::new();
        let free = split(whole, grain, |piece| pieces.push(piece));
        assert!(free.is_some() || pieces.len() == 1);
        assert_eq!(pieces.iter().map(Packet::packets).sum::<u32>(), packets, "packets");
        assert_eq!(pieces.iter().map(Packet::bytes).sum::<u64>(), bytes, "bytes");
        let (mut joined, count) = (pieces.clone(), pieces.len());
        join(&mut joined);
        assert!(joined.len() == 1, "{count} pieces become one");
        assert_eq!((joined[0].packets(), joined[0].bytes()), (packets, bytes), "joined");
        for mut piece in pieces {
            if grain == Grain::Packet {
                assert_eq!(piece.packets(), 1);
            }
            let before = piece.ethernet().len();
            let twin = piece.copy();
            assert_eq!(twin.wire(), piece.wire());
            piece.damage(random);
            assert_eq!(piece.ethernet().len(), before);
            let _ = piece.shrink();
            assert_eq!(piece.ethernet().len(), before);
        }
    }
}
