//! Whether the machine was left alone while something was measured. What fails on one that was not says nothing of a back
//! end, so it is measured again; what fails on one that was is the back end's.

use std::fmt;
use std::fs::read_to_string;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::poll::{PollTimeout, poll};

use crate::emulator::Nanos;
use crate::io::clock::now;

use super::MS;

/// A timer that was later than this was held up. Rates are within 2 %: of the shortest measurement, this is 3 %.
const STALL: Nanos = 5 * MS;
/// More of the time than this, and something could run that did not: the suite alone makes it less than a tenth.
const PRESSED: f64 = 0.3;
/// More of the time than this was the machine another's.
const STOLEN: f64 = 0.01;

/// Looks at the machine from when it is made until [`Watch::end`].
pub(super) struct Watch {
    begun: Instant,
    waited: Option<Duration>,
    stolen: Option<Duration>,
    enough: Arc<AtomicBool>,
    timer: JoinHandle<Nanos>,
}

/// What was seen of the machine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Seen {
    /// By how much the latest timer was late.
    late: Nanos,
    /// The share of the time in which something waited for a processor.
    pressed: f64,
    /// The share of the time, of one processor's, that the machine was not given.
    stolen: f64,
}

impl Watch {
    pub(super) fn begin() -> Self {
        let enough = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&enough);
        let timer = std::thread::spawn(move || {
            let mut latest = 0;
            while !until.load(Ordering::Relaxed) {
                let begin = now();
                let _ = poll(&mut [], PollTimeout::from(1_u8));
                latest = latest.max((now() - begin).saturating_sub(MS));
            }
            latest
        });
        Self { begun: Instant::now(), waited: waited(), stolen: stolen(), enough, timer }
    }

    pub(super) fn end(self) -> Seen {
        self.enough.store(true, Ordering::Relaxed);
        let late = self.timer.join().unwrap_or(Nanos::MAX);
        let all = self.begun.elapsed().as_secs_f64();
        let share = |before: Option<Duration>, after: Option<Duration>| {
            before.zip(after).map_or(0.0, |(before, after)| after.saturating_sub(before).as_secs_f64() / all)
        };
        Seen { late, pressed: share(self.waited, waited()), stolen: share(self.stolen, stolen()) }
    }
}

impl Seen {
    /// Whether it was left alone.
    pub(super) fn alone(self) -> bool {
        self.late <= STALL && self.pressed <= PRESSED && self.stolen <= STOLEN
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { late, pressed, stolen } = self;
        let late = late / 1_000;
        write!(f, "timers up to {late} µs late, pressed {pressed:.2}, stolen {stolen:.3} of the time")
    }
}

/// How long something has waited for a processor (`Documentation/accounting/psi.rst`), where the kernel counts it.
fn waited() -> Option<Duration> {
    let text = read_to_string("/proc/pressure/cpu").ok()?;
    let total = text.lines().find(|line| line.starts_with("some "))?.rsplit("total=").next()?;
    total.trim().parse().ok().map(Duration::from_micros)
}

/// How much of its processors' time others were given (`proc_stat(5)`, in hundredths of a second).
fn stolen() -> Option<Duration> {
    let text = read_to_string("/proc/stat").ok()?;
    let ticks: u64 = text.lines().next()?.split_ascii_whitespace().nth(8)?.parse().ok()?;
    Some(Duration::from_millis(10 * ticks))
}
