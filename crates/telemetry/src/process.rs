//! The process itself, by the names that Prometheus' own libraries use.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// What this process uses. What the kernel does not say is left out.
#[derive(Clone, Copy, Debug)]
pub struct Process {
    /// Seconds of Unix time at which it began.
    begun: f64,
}

impl Process {
    /// This process, which has begun just now.
    #[must_use]
    pub fn begun() -> Self {
        let begun = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
        Self { begun }
    }
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut gauge = |name, help, value: Option<f64>| match value {
            Some(value) => {
                let gauge = ConstGauge::new(value);
                gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)
            }
            None => Ok(()),
        };
        gauge("process_resident_memory_bytes", "Memory that the process has", resident())?;
        gauge("process_open_fds", "Files that the process has open", open_files())?;
        gauge("process_start_time_seconds", "When the process began, in Unix time", Some(self.begun))?;
        if let Some(seconds) = used() {
            let counter = ConstCounter::new(seconds.as_secs_f64());
            let help = "Time of processors that the process has used";
            let name = "process_cpu_seconds";
            counter.encode(encoder.encode_descriptor(name, help, None, counter.metric_type())?)?;
        }
        Ok(())
    }
}

#[allow(clippy::cast_precision_loss, reason = "no machine has so much memory")]
fn resident() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some((kibibytes << 10) as f64)
}

#[allow(clippy::cast_precision_loss, reason = "there are never so many")]
fn open_files() -> Option<f64> {
    // One of them is this look.
    std::fs::read_dir("/proc/self/fd").ok().map(|all| all.count().saturating_sub(1) as f64)
}

fn used() -> Option<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_SELF).ok()?;
    let of = |time: TimeVal| {
        let (seconds, micros) = (u64::try_from(time.tv_sec()).ok()?, u64::try_from(time.tv_usec()).ok()?);
        Some(Duration::from_secs(seconds) + Duration::from_micros(micros))
    };
    Some(of(usage.user_time())? + of(usage.system_time())?)
}

#[cfg(test)]
mod tests {
    use prometheus_client::registry::Registry;

    use super::*;
    use crate::render;

    #[test]
    fn the_process_is_told_of() {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Process::begun()));
        let text = render([&registry]);
        for name in [
            "process_resident_memory_bytes",
            "process_open_fds",
            "process_start_time_seconds",
            "process_cpu_seconds_total",
        ] {
            let value = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
            let value: f64 = value.unwrap_or_else(|| panic!("{name} in:\n{text}")).parse().unwrap();
            assert!(value > 0.0 || name == "process_cpu_seconds_total", "{name} {value}");
        }
    }
}
