//! The memory that captures of all slices of a host may hold together: what waits in the kernel, and what waits for readers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::capture::CaptureError;

/// Of the machine's memory, captures may hold the part of one by this.
const PART: u64 = 8;
/// Some captures can always run.
const LEAST: usize = 256 << 20;

/// What there is, and what of it is taken, in bytes.
#[derive(Debug)]
pub(in crate::linux::links) struct Budget {
    limit: usize,
    taken: AtomicUsize,
}

/// What one capture has taken. Given back when dropped.
#[derive(Debug)]
pub(super) struct Share {
    budget: Arc<Budget>,
    bytes: usize,
}

// === impl Budget ===

impl Budget {
    /// This machine's.
    pub(in crate::linux::links) fn of_this_machine() -> Arc<Self> {
        let info = rustix::system::sysinfo();
        let memory = info.totalram.saturating_mul(info.mem_unit.into());
        Self::new(usize::try_from(memory / PART).unwrap_or(usize::MAX).max(LEAST))
    }

    pub(super) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, taken: AtomicUsize::new(0) })
    }

    /// Nothing yet.
    pub(super) fn share(self: &Arc<Self>) -> Share {
        Share { budget: Arc::clone(self), bytes: 0 }
    }
}

// === impl Share ===

impl Share {
    /// Takes, or gives back, until it is so much.
    ///
    /// # Errors
    /// [`CaptureError::Memory`] if others have it; then it stays as it was.
    pub(super) fn resize(&mut self, bytes: usize) -> Result<(), CaptureError> {
        let Budget { limit, taken } = &*self.budget;
        let after = |taken: usize| {
            let all = taken - self.bytes + bytes;
            (all <= *limit || bytes <= self.bytes).then_some(all)
        };
        taken
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, after)
            .map_err(|taken| CaptureError::Memory { taken: taken >> 20, limit: limit >> 20 })?;
        self.bytes = bytes;
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.taken.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_taken_than_there_is() {
        let budget = Budget::new(100 << 20);
        let mut one = budget.share();
        one.resize(60 << 20).unwrap();
        let mut other = budget.share();
        let error = other.resize(50 << 20).unwrap_err().to_string();
        assert!(error.contains("hold 60 MiB, and may hold 100"), "{error}");
        other.resize(40 << 20).unwrap();
        one.resize(61 << 20).unwrap_err();
        one.resize(10 << 20).unwrap();
        drop(other);
        one.resize(100 << 20).unwrap();
        drop(one);
        assert_eq!(budget.taken.load(Ordering::Relaxed), 0);
    }
}
