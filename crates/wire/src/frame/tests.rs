use proptest::prelude::*;

use super::*;
use crate::emulator::Grain;

/// A TCP or UDP frame to be cut, its checksum field as the kernel leaves it.
pub(crate) fn large(version6: bool, tcp: bool, tagged: bool, payload: usize, size: u16) -> Frame {
    let mut bytes = vec![0x11; 12];
    if tagged {
        bytes.extend([0x81, 0, 0, 7]);
    }
    let length = if tcp { 20 } else { 8 } + payload;
    let protocol = if tcp { 6 } else { 17 };
    if version6 {
        bytes.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
        bytes.extend((length as u16).to_be_bytes());
        bytes.extend([protocol, 64]);
        bytes.extend([0x20; 32]);
    } else {
        bytes.extend([8, 0, 0x45, 0]);
        bytes.extend((length as u16 + 20).to_be_bytes());
        bytes.extend([0xff, 0xfe, 0x40, 0, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    }
    let start = bytes.len();
    if tcp {
        bytes.extend([0, 80, 0, 81, 0xff, 0xff, 0xff, 0, 0, 0, 0, 1, 0x50, 0x99, 1, 0, 0, 0, 0, 0]);
    } else {
        bytes.extend([0, 80, 0, 81, 0, 0, 0, 0]);
    }
    bytes.extend((0..payload).map(|i| (i * 7 + i / 256) as u8));
    let gso = match (tcp, version6) {
        (true, false) => TCP4,
        (true, true) => TCP6,
        (false, _) => UDP,
    };
    let offset = if tcp { 16 } else { 6 };
    let offload =
        Offload { needs_checksum: true, flags: 0, gso, header: 0, size, start: start as u16, offset };
    Frame::new(offload, &bytes)
}

fn cut(frame: Frame, grain: Grain) -> Vec<Frame> {
    let mut all = Vec::new();
    split(frame, grain, |piece| all.push(piece));
    all
}

#[test]
fn segments_are_what_a_card_would_send() {
    for version6 in [false, true] {
        for tcp in [false, true] {
            for tagged in [false, true] {
                let whole = large(version6, tcp, tagged, 4_000, 1_448);
                assert_eq!(whole.packets(), 3);
                let headers = whole.ethernet().len() - 4_000;
                assert_eq!(whole.bytes(), 4_000 + 3 * headers as u64);
                let mut pieces = cut(whole.clone(), Grain::Packet);
                assert_eq!(
                    pieces.iter().map(|p| p.ethernet().len() - headers).collect::<Vec<_>>(),
                    [1_448, 1_448, 1_104]
                );
                let data: Vec<u8> = pieces.iter().flat_map(|p| p.ethernet()[headers..].to_vec()).collect();
                assert_eq!(data, whole.ethernet()[headers..]);
                let network = if tagged { 18 } else { 14 };
                for (index, piece) in pieces.iter_mut().enumerate() {
                    piece.complete();
                    assert_eq!(piece.offload(), Offload::default());
                    check(piece.ethernet(), network, version6, tcp);
                    if tcp {
                        let transport = headers - 20;
                        let bytes = piece.ethernet();
                        let sequence =
                            u32::from_be_bytes(bytes[transport + 4..transport + 8].try_into().unwrap());
                        assert_eq!(sequence, 0xffff_ff00_u32.wrapping_add(index as u32 * 1_448));
                        let flags = [0x90, 0x10, 0x19][index];
                        assert_eq!(bytes[transport + 13], flags, "CWR, FIN, PSH");
                    }
                    if !version6 {
                        let id = u16::from_be_bytes([
                            piece.ethernet()[network + 4],
                            piece.ethernet()[network + 5],
                        ]);
                        assert_eq!(id, 0xfffe_u16.wrapping_add(index as u16));
                    }
                }
            }
        }
    }
}

/// Lengths and checksums.
fn check(bytes: &[u8], network: usize, version6: bool, tcp: bool) {
    let (transport, addresses) = if version6 {
        let length = u16::from_be_bytes([bytes[network + 4], bytes[network + 5]]);
        assert_eq!(usize::from(length), bytes.len() - network - 40);
        (network + 40, network + 8..network + 40)
    } else {
        let length = u16::from_be_bytes([bytes[network + 2], bytes[network + 3]]);
        assert_eq!(usize::from(length), bytes.len() - network);
        assert_eq!(checksum::fold(checksum::sum(&bytes[network..network + 20])), 0xffff);
        (network + 20, network + 12..network + 20)
    };
    let length = bytes.len() - transport;
    let total = checksum::sum(&bytes[addresses]) + if tcp { 6 } else { 17 } + length as u64;
    assert_eq!(checksum::fold(total + checksum::sum(&bytes[transport..])), 0xffff);
    if !tcp {
        assert_eq!(usize::from(u16::from_be_bytes([bytes[transport + 4], bytes[transport + 5]])), length);
    }
}

#[test]
fn pieces_of_several_segments() {
    let whole = large(false, true, false, 14_480, 1_448);
    let (packets, bytes) = (whole.packets(), whole.bytes());
    let pieces = cut(whole, Grain::Bytes(5_000));
    assert_eq!(pieces.iter().map(Packet::packets).collect::<Vec<_>>(), [3, 3, 3, 1]);
    assert_eq!(pieces.iter().map(Packet::packets).sum::<u32>(), packets);
    assert_eq!(pieces.iter().map(Packet::bytes).sum::<u64>(), bytes);
    let again: Vec<Frame> = pieces.into_iter().flat_map(|piece| cut(piece, Grain::Packet)).collect();
    let once = cut(large(false, true, false, 14_480, 1_448), Grain::Packet);
    assert_eq!(
        again.iter().map(Frame::wire).collect::<Vec<_>>(),
        once.iter().map(Frame::wire).collect::<Vec<_>>()
    );
}

#[test]
fn neighbours_are_joined_again() {
    for version6 in [false, true] {
        for tcp in [false, true] {
            let whole = large(version6, tcp, true, 10_000, 1_000);
            let mut pieces = cut(whole.clone(), Grain::Packet);
            join(&mut pieces);
            assert_eq!(pieces.len(), 1);
            assert_eq!((pieces[0].packets(), pieces[0].bytes()), (whole.packets(), whole.bytes()));
            // As if the whole had been cut in two, but for one that is lost, one that comes twice, one that is damaged.
            let mut pieces = cut(whole.clone(), Grain::Packet);
            pieces[5].damage(1 << 63);
            pieces.insert(3, pieces[2].copy());
            pieces.remove(1);
            join(&mut pieces);
            assert_eq!(pieces.iter().map(Packet::packets).collect::<Vec<_>>(), [1, 1, 3, 1, 4]);
            let again: Vec<Frame> = pieces.into_iter().flat_map(|piece| cut(piece, Grain::Packet)).collect();
            let once = cut(whole, Grain::Packet);
            for (number, index) in [0, 2, 2, 3, 4].into_iter().enumerate() {
                assert_eq!(again[number].wire(), once[index].wire());
            }
            for index in 6..10 {
                assert_eq!(again[index].wire(), once[index].wire());
            }
        }
    }
}

#[test]
fn a_tag_is_put_back() {
    let plain = large(false, true, false, 3_000, 1_000);
    let tagged = large(false, true, true, 3_000, 1_000);
    let mut buffer = vec![0; LONGEST];
    buffer[ROOM..ROOM + plain.wire().len()].copy_from_slice(plain.wire());
    let back = Frame::received(buffer, plain.wire().len(), Some((0x8100, 7))).unwrap();
    assert_eq!(back.ethernet(), tagged.ethernet());
    assert_eq!((back.offload().start, back.packets()), (tagged.offload().start, 3));
    assert!(Frame::received(vec![0; 100], HEADER + 13, None).is_err());
}

#[test]
fn damage_is_one_bit_and_shows() {
    for random in [0, 1 << 40, u64::MAX / 2, u64::MAX] {
        let mut sound = cut(large(false, true, false, 1_000, 600), Grain::Packet).remove(0);
        let mut bad = sound.clone();
        bad.damage(random);
        sound.complete();
        let different: u32 =
            sound.ethernet().iter().zip(bad.ethernet()).map(|(a, b)| (a ^ b).count_ones()).sum();
        assert_eq!((different, bad.offload()), (1, Offload::default()));
    }
}

#[test]
fn small_frames_leave_the_large_buffer() {
    let plain = large(false, false, false, 100, 1_000);
    let mut buffer = vec![0; LONGEST];
    buffer[ROOM..ROOM + plain.wire().len()].copy_from_slice(plain.wire());
    let mut frame = Frame::received(buffer, plain.wire().len(), None).unwrap();
    assert_eq!(frame.shrink().map(|buffer| buffer.len()), Some(LONGEST));
    assert_eq!(frame.wire(), plain.wire());
}

proptest! {
    #[test]
    fn lies_harm_nobody(
        header in proptest::array::uniform10(any::<u8>()),
        bytes in proptest::collection::vec(any::<u8>(), 14..300),
        begin in any::<bool>(),
        grain in prop_oneof![Just(Grain::Packet), (0_u64..3_000).prop_map(Grain::Bytes), Just(Grain::Whole)],
        random in any::<u64>(),
    ) {
        let mut input = header.to_vec();
        input.extend(bytes);
        if begin {
            // Likelier to get far.
            let likely = large(false, true, false, 200, 50);
            let keep = input.len().min(likely.wire().len()) / 2;
            input[..keep].copy_from_slice(&likely.wire()[..keep]);
        }
        crate::fuzzing::frame_with(&input, grain, random);
    }
}
