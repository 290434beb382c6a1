//! Pauses that double, and how to pause.

use std::time::Duration;

use nix::poll::{PollTimeout, poll};

/// Doubling pauses between two bounds.
#[derive(Debug)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Backoff {
    /// From `first` on, doubled up to `longest`.
    #[must_use]
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, next: first }
    }

    /// How long to wait now; the next answer is twice that.
    pub fn step(&mut self) -> Duration {
        let now = self.next;
        self.next = (now * 2).min(self.longest);
        now
    }

    /// Begins with the first one again.
    pub const fn reset(&mut self) {
        self.next = self.first;
    }
}

/// Waits where there is no event to wait for.
pub fn pause(time: Duration) {
    let _ = poll(&mut [], PollTimeout::try_from(time).unwrap_or(PollTimeout::MAX));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        let ms = Duration::from_millis;
        let mut backoff = Backoff::new(ms(20), ms(100));
        assert_eq!(
            [backoff.step(), backoff.step(), backoff.step(), backoff.step()],
            [ms(20), ms(40), ms(80), ms(100)]
        );
        backoff.reset();
        assert_eq!(backoff.step(), ms(20));
    }
}
