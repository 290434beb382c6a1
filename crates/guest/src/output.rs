//! What a process says: handed on as it comes, its end kept for the report.

use std::io::{self, Read, Write as _};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// The bytes of the end that are kept for the report.
const TAIL: usize = 4096;

/// How long the end of an output is waited for when its process has ended. Something that the process has started may
/// hold the pipe open for ever.
const SETTLE: Duration = Duration::from_millis(100);

/// Where an output goes.
pub(crate) trait Sink: Send {
    /// Takes some of it. An error is told once and ends nothing: a full disk does not stop the process, which may be
    /// about to make room.
    fn take(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// There will be no more.
    fn end(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink for io::Stderr {
    fn take(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }
}

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
    trouble: Option<String>,
}

impl Output {
    /// Follows `pipe` into `sink`, in a thread of its own.
    pub(crate) fn follow(
        pipe: impl Read + Send + 'static,
        sink: impl Sink + 'static,
    ) -> io::Result<Arc<Self>> {
        let output = Arc::<Self>::default();
        let shared = Arc::clone(&output);
        std::thread::Builder::new().name("output".into()).stack_size(64 << 10).spawn(move || {
            shared.copy(pipe, sink);
            shared.state.lock().unwrap_or_else(PoisonError::into_inner).ended = true;
            shared.changed.notify_all();
        })?;
        Ok(output)
    }

    fn copy(&self, mut pipe: impl Read, mut sink: impl Sink) {
        let mut buffer = [0; 8 << 10];
        loop {
            let length = match pipe.read(&mut buffer) {
                Ok(length @ 1..) => length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Ok(_) | Err(_) => break,
            };
            let taken = sink.take(&buffer[..length]);
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.note(taken);
            state.tail.extend_from_slice(&buffer[..length]);
            let surplus = state.tail.len().saturating_sub(TAIL);
            state.tail.drain(..surplus);
        }
        let ended = sink.end();
        self.state.lock().unwrap_or_else(PoisonError::into_inner).note(ended);
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

    /// The first reason why some of it was not written.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).trouble.clone()
    }
}

impl State {
    fn note(&mut self, result: io::Result<()>) {
        if let Err(error) = result {
            self.trouble.get_or_insert_with(|| error.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes what has room, and says when it is over.
    struct Small(usize, std::sync::mpsc::Sender<usize>);

    impl Sink for Small {
        fn take(&mut self, bytes: &[u8]) -> io::Result<()> {
            self.0 += bytes.len();
            if self.0 > 10_000 { Err(io::Error::other("it is full")) } else { Ok(()) }
        }

        fn end(&mut self) -> io::Result<()> {
            self.1.send(self.0).map_err(io::Error::other)
        }
    }

    #[test]
    fn the_end_is_kept_and_a_full_sink_is_told() {
        let text: Vec<u8> = (0..100_000u32).flat_map(|i| i.to_string().into_bytes()).collect();
        let (sender, receiver) = std::sync::mpsc::channel();
        let output = Output::follow(io::Cursor::new(text.clone()), Small(0, sender)).unwrap();
        assert_eq!(receiver.recv().unwrap(), text.len());
        assert_eq!(output.tail(), text[text.len() - TAIL..]);
        assert_eq!(output.trouble().as_deref(), Some("it is full"));
    }
}
