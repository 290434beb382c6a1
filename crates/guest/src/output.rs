//! What a process says: into a file up to a limit, its end kept for the report.

use std::io::{Read, Write};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// The bytes of the end that are kept for the report.
const TAIL: usize = 4096;

/// How long the end of an output is waited for when its process has ended. Something that the process has started may
/// hold the pipe open for ever.
const SETTLE: Duration = Duration::from_millis(100);

/// An output that is being written.
#[derive(Default)]
pub(crate) struct Output {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    tail: Vec<u8>,
    ended: bool,
}

impl Output {
    /// Follows `pipe` into `file`, at most `limit` bytes of it, in a thread of its own.
    pub(crate) fn follow(
        pipe: impl Read + Send + 'static,
        file: impl Write + Send + 'static,
        limit: u64,
    ) -> std::io::Result<Arc<Self>> {
        let output = Arc::<Self>::default();
        let shared = Arc::clone(&output);
        std::thread::Builder::new().name("output".into()).stack_size(64 << 10).spawn(move || {
            shared.copy(pipe, file, limit);
            shared.state.lock().unwrap_or_else(PoisonError::into_inner).ended = true;
            shared.changed.notify_all();
        })?;
        Ok(output)
    }

    fn copy(&self, mut pipe: impl Read, mut file: impl Write, limit: u64) {
        let mut buffer = [0; 8 << 10];
        let mut left = limit;
        let mut note = format!("\n[testyard: the output is cut here, after {limit} bytes]\n");
        loop {
            let length = match pipe.read(&mut buffer) {
                Ok(0) => return,
                Ok(length) => length,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(_) => return,
            };
            let kept = usize::try_from(left).unwrap_or(usize::MAX).min(length);
            // A full disk does not stop the process: it may be about to make room.
            let _ = file.write_all(&buffer[..kept]);
            left -= kept as u64;
            if kept < length {
                let _ = file.write_all(std::mem::take(&mut note).as_bytes());
            }
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.tail.extend_from_slice(&buffer[length.saturating_sub(TAIL)..length]);
            let surplus = state.tail.len().saturating_sub(TAIL);
            state.tail.drain(..surplus);
        }
    }

    /// The end of what was said, once the process has ended.
    pub(crate) fn tail(&self) -> Vec<u8> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (state, _) = self
            .changed
            .wait_timeout_while(state, SETTLE, |state| !state.ended)
            .unwrap_or_else(PoisonError::into_inner);
        state.tail.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Seek as _;

    #[test]
    fn long_outputs_are_cut_and_their_end_is_kept() {
        let mut file = tempfile::tempfile().unwrap();
        let text: Vec<u8> = (0..100_000u32).flat_map(|i| i.to_string().into_bytes()).collect();
        let output =
            Output::follow(std::io::Cursor::new(text.clone()), file.try_clone().unwrap(), 1000).unwrap();
        let tail = loop {
            let tail = output.tail();
            if tail.ends_with(b"99999") {
                break tail;
            }
        };
        assert_eq!(tail, text[text.len() - TAIL..]);
        let mut kept = Vec::new();
        file.rewind().unwrap();
        file.read_to_end(&mut kept).unwrap();
        let note = b"\n[testyard: the output is cut here, after 1000 bytes]\n";
        assert_eq!(kept, [&text[..1000], note].concat());
    }
}
