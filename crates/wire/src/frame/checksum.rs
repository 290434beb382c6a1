//! The Internet checksum (RFC 1071).

/// The sum in 16-bit words, not yet folded.
pub(super) fn sum(bytes: &[u8]) -> u64 {
    let mut chunks = bytes.chunks_exact(4);
    let mut total: u64 =
        chunks.by_ref().map(|four| u64::from(u32::from_be_bytes([four[0], four[1], four[2], four[3]]))).sum();
    let rest = chunks.remainder();
    let mut last = [0; 4];
    last[..rest.len()].copy_from_slice(rest);
    total += u64::from(u32::from_be_bytes(last));
    total
}

/// Sixteen bits of it.
pub(super) fn fold(mut total: u64) -> u16 {
    while total >> 16 != 0 {
        total = (total & 0xffff) + (total >> 16);
    }
    total as u16
}

/// Completes a checksum whose field holds the sum of the pseudo-header; nothing, if it would be outside.
pub(super) fn complete(frame: &mut [u8], start: usize, offset: usize) {
    let field = start + offset;
    if field + 2 > frame.len() {
        return;
    }
    let sum = !fold(sum(&frame[start..]));
    // UDP's zero means none. The field of UDP is the only one at 6.
    let sum = if sum == 0 && offset == 6 { 0xffff } else { sum };
    frame[field..field + 2].copy_from_slice(&sum.to_be_bytes());
}
