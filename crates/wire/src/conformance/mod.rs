//! The suite that every back end of impairments must pass, so that all behave alike. It sends frames of its own at the
//! two ends of a link and judges what comes out; it knows nothing of what is between.
//!
//! Every function panics with what is wrong, as tests do.

mod machine;

use std::fmt::Write as _;
use std::os::fd::AsFd as _;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll, ppoll};
use nix::sys::time::TimeSpec;
use testyard_model::impairment::Impairment;
use testyard_model::setting::Setting;

use crate::emulator::Nanos;
use crate::frame::{Frame, LONGEST, Offload};
use crate::io::clock::{Moment, now};
use crate::io::port::{BATCH, Port};

use machine::Watch;

/// What impairs a link between two nodes.
pub trait Backend {
    /// Makes the link so: stages for either direction, from end 0 to end 1 and back; when it returns, it is so.
    fn set(&mut self, up: bool, directions: [Vec<Impairment>; 2]);

    /// Whether queues are exact to the packet, rather than roughly so.
    fn exact(&self) -> bool;

    /// Whether it can do this one way; what it cannot is left out, and said in the report.
    fn can(&self, _stages: &[Impairment]) -> bool {
        true
    }

    /// Whether the machine keeps time: an emulated processor's timers and interrupts are as late as it is slow.
    fn keeps_time(&self) -> bool {
        true
    }
}

/// A node's end of the link.
#[derive(Debug)]
pub struct End {
    port: Port,
}

/// A frame that came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// When, by the kernel: that this process was late to look does not count.
    pub at: Nanos,
    /// The Ethernet frame.
    pub bytes: Vec<u8>,
}

/// An ethertype for experiments (IEEE 802).
const ETHERTYPE: [u8; 2] = [0x88, 0xb5];
/// Header, number, time.
const NUMBERED: usize = 14 + 4 + 8;
/// How long nothing must come until nothing will.
const QUIET_MS: u64 = 300;
/// For so long is a part tried again that fails on a machine that others use, too.
const PATIENCE: Duration = Duration::from_mins(3);
const MS: Nanos = 1_000_000;

impl End {
    /// The end at an interface of the calling thread's network namespace.
    ///
    /// # Panics
    /// If there is no such interface, or the caller is not root.
    #[must_use]
    pub fn open(interface: &str) -> Self {
        let index = nix::net::if_::if_nametoindex(interface).expect("the interface is there");
        Self { port: Port::open(index).expect("a packet socket can be opened") }
    }

    /// Sends Ethernet frames as they are, at once.
    ///
    /// # Panics
    /// If the interface does not take them.
    pub fn send(&self, frames: &[Vec<u8>]) {
        let frames: Vec<Frame> = frames.iter().map(|bytes| Frame::new(Offload::default(), bytes)).collect();
        let mut sent = 0;
        while sent < frames.len() {
            sent += self.port.send(frames[sent..].iter().map(Frame::wire)).expect("frames are taken");
        }
    }

    /// Whatever comes until nothing has come for a while.
    #[must_use]
    pub fn collect(&self, quiet_ms: u64) -> Vec<Arrival> {
        let mut all = Vec::new();
        let mut buffers = vec![vec![0; LONGEST]; BATCH];
        let mut got = Vec::new();
        loop {
            let mut fds = [PollFd::new(self.port.as_fd(), PollFlags::POLLIN)];
            let patience = PollTimeout::try_from(quiet_ms).unwrap_or(PollTimeout::MAX);
            if poll(&mut fds, patience).expect("poll") == 0 {
                return all;
            }
            let _ = self.port.receive(&mut buffers, &mut got);
            let moment = Moment::this();
            for (buffer, got) in buffers.iter_mut().zip(&got) {
                let full = std::mem::replace(buffer, vec![0; LONGEST]);
                if let Ok(frame) = Frame::received(full, got.length, got.vlan) {
                    let at = moment.of(got.came);
                    all.push(Arrival { at, bytes: frame.ethernet().to_vec() });
                }
            }
        }
    }

    /// As [`Self::collect`], of frames that bear a [`number`] only: a node that has just been plugged says
    /// something of its own.
    pub fn numbered(&self, quiet_ms: u64) -> Vec<Arrival> {
        let mut all = self.collect(quiet_ms);
        all.retain(|arrival| arrival.bytes.len() >= NUMBERED && arrival.bytes[12..14] == ETHERTYPE);
        all
    }

    /// Sends numbered frames of a length at a pace.
    ///
    /// # Panics
    /// If the interface does not take them.
    pub fn pace(&self, count: u32, length: usize, pace: Nanos) {
        let begin = now();
        for number in 0..count {
            wait(begin + u64::from(number) * pace);
            self.send(&[frame(number, length)]);
        }
    }
}

/// How long single frames take from one end to the other, the median in nanoseconds.
///
/// # Panics
/// If none arrives.
#[must_use]
pub fn latency(from: &End, to: &End, count: u32, pace: Nanos) -> Nanos {
    std::thread::scope(|scope| {
        let collector = scope.spawn(|| to.numbered(500));
        from.pace(count, 100, pace);
        median(collector.join().expect("no panic").iter().map(took).collect())
    })
}

/// Until this time of the clock. A processor that turns on the spot delays what an emulated one has to do besides.
fn wait(until: Nanos) {
    loop {
        match until.saturating_sub(now()) {
            0 => return,
            short if short < MS / 5 => std::hint::spin_loop(),
            long => {
                let _ = ppoll(&mut [], Some(TimeSpec::from_duration(Duration::from_nanos(long))), None);
            }
        }
    }
}

/// How late a timer of a millisecond is, the median.
fn timers() -> Nanos {
    let late = (0..50).map(|_| {
        let begin = now();
        let _ = poll(&mut [], PollTimeout::from(1_u8));
        (now() - begin).saturating_sub(MS)
    });
    median(late.collect())
}

/// A numbered frame that says when it was made.
fn frame(number: u32, length: usize) -> Vec<u8> {
    let mut bytes = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
    bytes.extend(ETHERTYPE);
    bytes.extend(number.to_be_bytes());
    bytes.extend(now().to_be_bytes());
    bytes.resize(length.max(60), 0xa5);
    bytes
}

/// Its number.
///
/// # Panics
/// If it is none.
#[must_use]
pub fn number(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(bytes[14..18].try_into().expect("four bytes"))
}

fn took(arrival: &Arrival) -> Nanos {
    let sent = Nanos::from_be_bytes(arrival.bytes[18..26].try_into().expect("eight bytes"));
    // The kernel stamps by another clock, which is known to a moment only.
    arrival.at.saturating_sub(sent)
}

fn median(mut values: Vec<Nanos>) -> Nanos {
    assert!(!values.is_empty(), "nothing has arrived");
    values.sort_unstable();
    values[values.len() / 2]
}

/// An impairment from settings with `;` between.
///
/// # Panics
/// If they are none.
#[must_use]
pub fn impairment(settings: &str) -> Impairment {
    let mut impairment = Impairment::default();
    for setting in settings.split(';').filter(|text| !text.is_empty()) {
        setting.parse::<Setting>().expect("a setting").apply(&mut impairment);
    }
    impairment.check().expect("possible");
    impairment
}

/// A back end and the ends of its link.
pub struct Bench<'a> {
    /// What is tried.
    pub backend: &'a mut dyn Backend,
    /// Where frames go in and come out.
    pub ends: [&'a End; 2],
}

/// A part of the suite; what it measured.
type Part<'a> = fn(&mut Bench<'a>) -> String;

impl<'a> Bench<'a> {
    fn forth(&mut self, settings: &[&str]) {
        self.backend.set(true, [settings.iter().map(|text| impairment(text)).collect(), Vec::new()]);
    }

    /// What the way itself takes, without any impairment.
    fn own(&mut self) -> Nanos {
        self.forth(&[]);
        latency(self.ends[0], self.ends[1], 100, 2 * MS)
    }

    /// By how much a delay may be more than asked because of the machine; less it never is. One that keeps time has no excuse.
    /// An emulated one is judged by what is measured of it: the way itself, and how late a timer is that waits for nothing
    /// else. A delay is that and a softirq or two more, on processors that change their speed as their host is busy.
    fn lateness(&mut self) -> Nanos {
        if self.backend.keeps_time() { 0 } else { 4 * (self.own() + timers()) }
    }

    /// The delay that these had. What an emulated machine does besides only adds to it, so there it is that of the soonest.
    fn delay_of(&self, arrivals: &[Arrival]) -> Nanos {
        let mut times: Vec<Nanos> = arrivals.iter().map(took).collect();
        if self.backend.keeps_time() {
            return median(times);
        }
        times.sort_unstable();
        times[times.len() / 10]
    }

    /// Times are so many times as long where the machine is so late that it would hide them.
    fn scale(&self) -> u64 {
        if self.backend.keeps_time() { 1 } else { 5 }
    }

    fn through(&mut self, settings: &str, count: u32, length: usize, pace: Nanos) -> Vec<Arrival> {
        self.through_stages(&[settings], count, length, pace)
    }

    fn through_stages(&mut self, stages: &[&str], count: u32, length: usize, pace: Nanos) -> Vec<Arrival> {
        self.forth(stages);
        let (from, to) = (self.ends[0], self.ends[1]);
        std::thread::scope(|scope| {
            let collector = scope.spawn(|| to.numbered(1_000));
            from.pace(count, length, pace);
            collector.join().expect("no panic")
        })
    }

    fn burst(&mut self, settings: &str, count: u32, length: usize) -> Vec<Arrival> {
        self.forth(&[settings]);
        let frames: Vec<Vec<u8>> = (0..count).map(|number| frame(number, length)).collect();
        self.pass(&frames, End::numbered)
    }

    fn pass(&self, frames: &[Vec<u8>], collect: fn(&End, u64) -> Vec<Arrival>) -> Vec<Arrival> {
        let (from, to) = (self.ends[0], self.ends[1]);
        std::thread::scope(|scope| {
            let collector = scope.spawn(|| collect(to, 1_000));
            from.send(frames);
            collector.join().expect("no panic")
        })
    }

    /// Everything, and one line for each part.
    pub fn all(&mut self) -> String {
        let mut report = String::new();
        let parts: [(&str, Part<'a>); 14] = [
            ("every frame passes", Self::transparent),
            ("delay", Self::delay),
            ("two stages", Self::two_stages),
            ("jitter", Self::jitter),
            ("distributions", Self::distributions),
            ("rate", Self::rate),
            ("queue", Self::queue),
            ("queue before a delay", Self::queue_before_delay),
            ("loss", Self::loss),
            ("duplicate", Self::duplicate),
            ("reorder", Self::reorder),
            ("corrupt", Self::corrupt),
            ("changes", Self::changes),
            ("down", Self::down),
        ];
        for (name, part) in parts {
            let _ = writeln!(report, "{name}: {}", self.on_a_quiet_machine(part));
        }
        self.forth(&[]);
        report
    }

    /// A part, again if it fails while others use the machine: on one that is left alone it fails at once.
    fn on_a_quiet_machine(&mut self, part: Part<'a>) -> String {
        let begun = Instant::now();
        let mut again = String::new();
        loop {
            let watch = Watch::begin();
            let done = catch_unwind(AssertUnwindSafe(|| part(self)));
            let seen = watch.end();
            match done {
                Ok(line) => return format!("{again}{line} ({seen})"),
                Err(wrong) if seen.alone() || begun.elapsed() > PATIENCE => resume_unwind(wrong),
                Err(_) => again = format!("{again}not judged ({seen}); "),
            }
        }
    }

    /// LLDP, spanning tree, tags, unknown types, all lengths: out as they went in, both ways, in order.
    pub fn transparent(&mut self) -> String {
        let mut frames = Vec::new();
        for to in [[1, 0x80, 0xc2, 0, 0, 0x0e], [1, 0x80, 0xc2, 0, 0, 0], [2, 0, 0, 0, 0, 9], [0xff; 6]] {
            for kind in [
                vec![0x88, 0xcc],
                vec![0, 50],
                vec![0x81, 0, 0, 7, 0x88, 0xb5],
                vec![0x88, 0xa8, 0, 9, 0x81, 0, 0, 7, 0x08, 0x06],
                vec![0x12, 0x34],
            ] {
                for length in [60, 64, 600, 1_514] {
                    let mut frame: Vec<u8> =
                        to.into_iter().chain([2, 0, 0, 0, 0, 7]).chain(kind.clone()).collect();
                    frame.resize(length, 0x3c);
                    frames.push(frame);
                }
            }
        }
        for settings in ["", "delay=1ms", "loss=0.0001%"] {
            let stages = vec![impairment(settings)];
            self.backend.set(true, [stages.clone(), stages]);
            for (from, to) in [(0, 1), (1, 0)] {
                self.ends[from].send(&frames);
                let mut got: Vec<Vec<u8>> =
                    self.ends[to].collect(QUIET_MS).into_iter().map(|a| a.bytes).collect();
                got.retain(|bytes| bytes[6..12] == [2, 0, 0, 0, 0, 7]);
                assert_eq!(got.len(), frames.len(), "{settings:?} from end {from}");
                assert!(got == frames, "{settings:?} from end {from}: a frame has changed, or the order");
            }
        }
        format!("{} frames", frames.len())
    }

    /// As asked within 1 % or 0.1 ms, from the call that sends a frame to the kernel's time stamp at the other end, so the
    /// way itself is part of it; the way back is not delayed.
    pub fn delay(&mut self) -> String {
        let late = self.lateness();
        let mut report = format!("own {} µs, timers {} µs late", self.own() / 1_000, timers() / 1_000);
        for asked in [1, 5, 20, 100] {
            let (all, middle) = self.nearest(asked * MS, |bench| {
                let arrivals = bench.through(&format!("delay={asked}ms"), 100, 100, 2 * MS);
                assert_eq!(arrivals.len(), 100);
                (bench.delay_of(&arrivals), median(arrivals.iter().map(took).collect()))
            });
            let tolerance = (asked * MS / 100).max(MS / 10);
            let _ = write!(
                report,
                ", {asked} ms: {:+} µs (median {:+})",
                (all / 1_000).cast_signed() - (asked * 1_000).cast_signed(),
                (middle / 1_000).cast_signed() - (asked * 1_000).cast_signed()
            );
            let good = asked * MS - tolerance..=asked * MS + tolerance + late;
            assert!(good.contains(&all), "{asked} ms: {all} ns, at most {late} ns late; {report}");
        }
        self.ends[1].send(&[frame(0, 100)]);
        let back = self.ends[0].numbered(QUIET_MS);
        assert!(took(&back[0]) < 50 * MS, "the way back is delayed too");
        report
    }

    /// A link's and a member's add up.
    pub fn two_stages(&mut self) -> String {
        let (all, _) = self.nearest(30 * MS, |bench| {
            let arrivals = bench.through_stages(&["delay=20ms", "delay=10ms"], 100, 100, 2 * MS);
            (bench.delay_of(&arrivals), 0)
        });
        assert!(all.abs_diff(30 * MS) <= 30 * MS / 100 + self.lateness(), "20 ms and 10 ms: {all} ns");
        format!("20 ms and 10 ms: {} µs", all / 1_000)
    }

    /// The best of a few measurements, and the median beside it: a machine that stalls spoils one, a wrong delay all.
    fn nearest(
        &mut self,
        asked: Nanos,
        mut measure: impl FnMut(&mut Self) -> (Nanos, Nanos),
    ) -> (Nanos, Nanos) {
        let measured = (0..3).map(|_| measure(self)).min_by_key(|(measured, _)| measured.abs_diff(asked));
        measured.unwrap_or((Nanos::MAX, Nanos::MAX))
    }

    /// Delays vary, the order stays.
    pub fn jitter(&mut self) -> String {
        let arrivals = self.through("delay=20ms;jitter=10ms", 300, 100, MS);
        let numbers: Vec<u32> = arrivals.iter().map(|a| number(&a.bytes)).collect();
        assert_eq!(numbers, (0..300).collect::<Vec<_>>(), "jitter has changed the order");
        let times: Vec<Nanos> = arrivals.iter().map(took).collect();
        let (least, most) = (times.iter().min().copied(), times.iter().max().copied());
        let spread = most.unwrap_or(0) - least.unwrap_or(0);
        assert!(spread > 5 * MS, "{spread}");
        format!("{} µs between the fastest and the slowest", spread / 1_000)
    }

    /// Shares of packets that are late by so much are those of the distribution.
    pub fn distributions(&mut self) -> String {
        let mut report = String::new();
        let own = self.own();
        // Fewer, where each takes longer.
        let (scale, count) = (self.scale(), 250 / u32::try_from(self.scale()).unwrap_or(1).min(2));
        for (name, below, least) in [
            // Of a uniform one a half is below the middle, and all above 20 ms less 4 ms.
            ("uniform", [(18, 0.25), (20, 0.5), (22, 0.75)], 16),
            // Below the mean less a standard deviation, below the mean, below it and one more.
            ("normal", [(16, 0.1587), (20, 0.5), (24, 0.8413)], 0),
            // 1 - 1/e, 1 - 1/e², 1 - 1/e³: one, two, three means above the delay.
            ("exponential", [(24, 0.6321), (28, 0.8647), (32, 0.9502)], 20),
        ] {
            let settings = format!("delay={}ms;jitter={}ms {name}", 20 * scale, 4 * scale);
            if !self.backend.can(&[impairment(&settings)]) {
                let _ = write!(report, "{name}: cannot; ");
                continue;
            }
            // So seldom that hardly any waits for the one ahead.
            let arrivals = self.through(&settings, count, 100, 12 * scale * MS);
            let times: Vec<Nanos> = arrivals.iter().map(|a| took(a).saturating_sub(own)).collect();
            assert_eq!(times.len(), count as usize, "{name}");
            for (ms, share) in below {
                let found =
                    times.iter().filter(|time| **time < ms * scale * MS).count() as f64 / f64::from(count);
                let deviation = f64::sqrt(share * (1.0 - share) / f64::from(count));
                let _ = write!(report, "{name} below {ms} ms: {found:.2} for {share:.2}; ");
                assert!((found - share).abs() < 4.9 * deviation, "{name}, {ms} ms: {found} for {share}");
            }
            let first = times.iter().min().copied().unwrap_or_default();
            assert!(first + MS / 10 >= least * scale * MS, "{name}: {first} ns");
        }
        report
    }

    /// Within 2 %. An emulated machine does not carry the 12,500 frames of a second of the last.
    pub fn rate(&mut self) -> String {
        let mut report = String::new();
        let rates = [("1Mbit", 1_000_000), ("10Mbit", 10_000_000), ("100Mbit", 100_000_000_u64)];
        let count = if self.backend.keeps_time() { 3 } else { 2 };
        for (rate, bits) in rates.into_iter().take(count) {
            let count = u32::try_from(bits / 8_000 / 3).unwrap_or(u32::MAX).clamp(100, 5_000);
            // A machine that stalls in the middle spoils a measurement, but not three; a wrong rate spoils all.
            let shares: Vec<f64> = (0..3).map(|_| self.share_of_time(rate, bits, count)).collect();
            let share = shares.iter().copied().min_by(|a, b| (a - 1.0).abs().total_cmp(&(b - 1.0).abs()));
            let share = share.unwrap_or(f64::NAN);
            let _ = write!(report, "{rate}: {:.3} ", 1.0 / share);
            assert!((0.98..1.02).contains(&share), "{rate}: {share}");
        }
        report
    }

    /// How long packets took at a rate, as a share of how long they should.
    fn share_of_time(&mut self, rate: &str, bits: u64, count: u32) -> f64 {
        // All at once: the rate must not depend on how soon this process can go on sending.
        let arrivals = self.burst(&format!("rate={rate};queue=6000"), count, 1_000);
        assert_eq!(arrivals.len(), count as usize, "{rate}");
        // Between each packet and the one half of all later, the median: one stall of the machine is not the rate.
        let half = arrivals.len() / 2;
        let spans =
            (0..half).map(|first| arrivals[first + half].at.saturating_sub(arrivals[first].at)).collect();
        let asked = half as u64 * 8_000 * 1_000_000_000 / bits;
        median(spans) as f64 / asked as f64
    }

    /// What comes on top of the limit is dropped.
    pub fn queue(&mut self) -> String {
        self.forth(&["rate=1Mbit;queue=10"]);
        let frames: Vec<Vec<u8>> = (0..100).map(|number| frame(number, 1_000)).collect();
        let (from, to) = (self.ends[0], self.ends[1]);
        let (count, sending) = std::thread::scope(|scope| {
            let collector = scope.spawn(|| to.numbered(1_000).len() as u64);
            let begin = now();
            from.send(&frames);
            let sending = now() - begin;
            (collector.join().expect("no panic"), sending)
        });
        let most = if self.backend.exact() { 10 } else { 14 };
        // Each takes 8 ms: so many are out before the last has come.
        let out = 1 + sending / (8 * MS);
        assert!((10..=most + out).contains(&count), "{count}, and {out} went meanwhile");
        format!("{count} of 100")
    }

    /// What is on its way does not count: a queue of 20 is enough for as many as come while 200 ms pass, if they come at half
    /// the rate.
    pub fn queue_before_delay(&mut self) -> String {
        let arrivals = self.through("rate=10Mbit;queue=20;delay=200ms", 150, 1_000, 2 * MS);
        assert_eq!(arrivals.len(), 150);
        "150 of 150".to_owned()
    }

    /// Within the binomial interval of one failure in a million.
    pub fn loss(&mut self) -> String {
        let mut report = String::new();
        for (settings, share, spread) in
            [("loss=10%", 0.1, 1.0), ("loss=1%", 0.01, 1.0), ("loss=burst 2% 20%", 2.0 / 22.0, 3.0)]
        {
            let lost = 4_000 - self.through(settings, 4_000, 60, 10_000).len();
            let deviation = spread * f64::sqrt(4_000.0 * share * (1.0 - share));
            let _ = write!(report, "{settings}: {lost} of 4000 ");
            assert!((lost as f64 - 4_000.0 * share).abs() < 4.9 * deviation, "{settings}: {lost}");
        }
        if self.backend.can(&[impairment("loss=every 10")]) {
            let arrivals = self.through("loss=every 10", 1_000, 60, 10_000);
            assert_eq!(arrivals.len(), 900);
            assert!(arrivals.iter().all(|a| number(&a.bytes) % 10 != 9), "every tenth");
        }
        report
    }

    /// As many as asked come twice, and alike.
    pub fn duplicate(&mut self) -> String {
        if !self.backend.can(&[impairment("duplicate=10%")]) {
            return "cannot".to_owned();
        }
        let arrivals = self.through("duplicate=10%", 2_000, 60, 20_000);
        let twice = arrivals.windows(2).filter(|two| two[0].bytes == two[1].bytes).count();
        assert_eq!(arrivals.len() - twice, 2_000);
        assert!((134..=266).contains(&twice), "{twice}");
        format!("{twice} of 2000")
    }

    /// As many as asked overtake; the others keep their order.
    pub fn reorder(&mut self) -> String {
        // So long a delay that a machine that stalls does not blur who has skipped it.
        let delay = 300 * self.scale().min(2);
        let arrivals = self.through(&format!("delay={delay}ms;reorder=10%"), 1_000, 60, MS / 2);
        let (early, late): (Vec<_>, Vec<_>) = arrivals.iter().partition(|a| took(a) < delay * MS / 2);
        assert_eq!(arrivals.len(), 1_000);
        assert!((50..=150).contains(&early.len()), "{}", early.len());
        assert!(
            late.windows(2).all(|two| number(&two[0].bytes) < number(&two[1].bytes)),
            "the others' order"
        );
        let early = early.len();
        let settings = "rate=1Mbit;delay=100ms;reorder=20%";
        if !self.backend.can(&[impairment(settings)]) {
            return format!("{early} of 1000; at a rate: cannot");
        }
        // A frame of 1000 bytes takes 8 ms, whatever it overtakes.
        let arrivals = self.through(settings, 100, 1_000, 10 * MS);
        assert_eq!(arrivals.len(), 100);
        let least = arrivals.iter().map(took).min().unwrap_or_default();
        assert!((8 * MS..50 * MS).contains(&least), "the rate is skipped, too: {least} ns");
        format!("{early} of 1000; the soonest of those at a rate after {} µs", least / 1_000)
    }

    /// As many as asked have one wrong bit.
    pub fn corrupt(&mut self) -> String {
        self.forth(&["corrupt=10%"]);
        let sent: Vec<Vec<u8>> = (0..1_000).map(|number| frame(number, 200)).collect();
        let arrivals = self.pass(&sent, End::collect);
        assert_eq!(arrivals.len(), 1_000, "nothing is lost");
        let wrong =
            |(a, b): (&Vec<u8>, &Arrival)| a.iter().zip(&b.bytes).map(|(a, b)| (a ^ b).count_ones()).sum();
        let bits: Vec<u32> = sent.iter().zip(&arrivals).map(wrong).collect();
        assert!(bits.iter().all(|count| *count <= 1), "one bit at most");
        let bad = bits.iter().filter(|count| **count == 1).count();
        assert!((53..=147).contains(&bad), "{bad}");
        format!("{bad} of 1000")
    }

    /// A change takes effect at once and loses nothing that is on its way.
    pub fn changes(&mut self) -> String {
        self.forth(&["rate=10Mbit;delay=300ms"]);
        self.ends[0].send(&(0..50).map(|number| frame(number, 1_000)).collect::<Vec<_>>());
        self.forth(&["rate=20Mbit;delay=200ms"]);
        self.forth(&["rate=50Mbit;delay=200ms;loss=0.0001%"]);
        self.ends[0].send(&(50..100).map(|number| frame(number, 1_000)).collect::<Vec<_>>());
        let numbers: Vec<u32> = self.ends[1].numbered(600).iter().map(|a| number(&a.bytes)).collect();
        assert_eq!(numbers, (0..100).collect::<Vec<_>>());
        "100 of 100".to_owned()
    }

    /// Nothing passes, either way, until it is up again.
    pub fn down(&mut self) -> String {
        self.backend.set(false, Default::default());
        for (from, to) in [(0, 1), (1, 0)] {
            self.ends[from].send(&[frame(1, 60)]);
            assert_eq!(self.ends[to].numbered(QUIET_MS), [], "from end {from}");
        }
        self.backend.set(true, Default::default());
        for (from, to) in [(0, 1), (1, 0)] {
            self.ends[from].send(&[frame(2, 60)]);
            assert_eq!(self.ends[to].numbered(QUIET_MS).len(), 1, "from end {from}");
        }
        "nothing, then all".to_owned()
    }
}
