//! The SFTP server, a program of its own on standard input and output, run as the user.
//!
//! A plain loop: requests are answered in their order, and answers are written when no further request waits, so a
//! client that sends many at once gets many at once. Names are bytes.

mod files;
mod folder;
mod listing;
mod owners;
mod wire;

use std::io::{self, Read, Write};
use std::process::ExitCode;

use self::files::Files;
use self::wire::Answers;

/// Bytes that are read of the client at once.
const BUFFER: usize = 256 << 10;
/// Answers are written once they are this long, whatever else waits.
const ENOUGH: usize = 512 << 10;

/// Why the server ends before the client does.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SftpError {
    #[error("a packet of {0} bytes")]
    Length(usize),
    #[error("a packet that is cut short")]
    Malformed,
    #[error("the connection broke")]
    Io(#[from] io::Error),
}

/// Serves standard input and output.
pub(crate) fn main() -> ExitCode {
    match serve(io::stdin().lock(), io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "sftp: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Serves until `input` ends.
pub(crate) fn serve(mut input: impl Read, mut output: impl Write) -> Result<(), SftpError> {
    let mut files = Files::default();
    let mut answers = Answers::default();
    let mut waiting = Vec::with_capacity(BUFFER);
    let mut chunk = vec![0; BUFFER];
    loop {
        let mut at = 0;
        while let Some(packet) = next(&waiting[at..])? {
            at += 4 + packet.len();
            let (id, request) = wire::parse(packet).ok_or(SftpError::Malformed)?;
            files.answer(id, request, &mut answers);
            if answers.0.len() >= ENOUGH {
                output.write_all(&answers.0)?;
                answers.0.clear();
            }
        }
        waiting.drain(..at);
        output.write_all(&answers.0)?;
        output.flush()?;
        answers.0.clear();
        match input.read(&mut chunk) {
            Ok(0) => return Ok(()),
            Ok(read) => waiting.extend_from_slice(&chunk[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// The first packet of `bytes`, if it is there as a whole.
fn next(bytes: &[u8]) -> Result<Option<&[u8]>, SftpError> {
    let Some((length, rest)) = bytes.split_first_chunk::<4>() else { return Ok(None) };
    let length = u32::from_be_bytes(*length) as usize;
    if length == 0 || length > wire::PACKET {
        return Err(SftpError::Length(length));
    }
    Ok(rest.get(..length))
}

/// Reads packets without carrying them out.
pub(crate) fn fuzz(mut data: &[u8]) {
    while let Ok(Some(packet)) = next(data) {
        let _ = wire::parse(packet);
        data = &data[4 + packet.len()..];
    }
}
