//! Calls at the front doors, counted and timed.

use std::fmt::{self, Write as _};
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// Where a call came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Door {
    /// The AM API.
    Am,
    /// The local socket.
    Local,
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// As it was asked.
    Done,
    /// With a reason that lies with the caller or with what is there.
    Refused,
    /// With a fault of the testbed's own.
    Failed,
}

impl EncodeLabelValue for Door {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        encoder.write_str(match self {
            Self::Am => "am",
            Self::Local => "local",
        })
    }
}

impl EncodeLabelValue for Outcome {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        encoder.write_str(match self {
            Self::Done => "done",
            Self::Refused => "refused",
            Self::Failed => "failed",
        })
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ended {
    door: Door,
    call: String,
    outcome: Outcome,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Taken {
    door: Door,
    call: String,
}

/// Calls at the front doors. Clones count together.
#[derive(Clone, Debug)]
pub struct Calls {
    ended: Family<Ended, Counter>,
    taken: Family<Taken, Histogram, fn() -> Histogram>,
}

/// Seconds; what is answered from memory takes less than the first.
const BUCKETS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];

impl Default for Calls {
    fn default() -> Self {
        Self { ended: Family::default(), taken: Family::new_with_constructor(|| Histogram::new(BUCKETS)) }
    }
}

impl Calls {
    /// Takes note of a call. Names of calls are the program's own: what callers send is never a label.
    pub fn note(&self, door: Door, call: &str, outcome: Outcome, took: Duration) {
        let call = call.to_owned();
        self.ended.get_or_create(&Ended { door, call: call.clone(), outcome }).inc();
        self.taken.get_or_create(&Taken { door, call }).observe(took.as_secs_f64());
    }

    /// Has them told in this registry.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("calls", "Calls that have ended", self.ended.clone());
        let help = "How long calls took";
        registry.register_with_unit("call", help, Unit::Seconds, self.taken.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{PREFIX, render};

    #[test]
    fn calls_are_counted_and_timed() {
        let (calls, mut registry) = (Calls::default(), Registry::with_prefix(PREFIX));
        calls.register(&mut registry);
        calls.note(Door::Am, "Allocate", Outcome::Done, Duration::from_millis(20));
        calls.clone().note(Door::Am, "Allocate", Outcome::Refused, Duration::from_millis(2));
        let text = render([&registry]);
        for line in [
            r#"testyard_calls_total{door="am",call="Allocate",outcome="refused"} 1"#,
            r#"testyard_call_seconds_count{door="am",call="Allocate"} 2"#,
            r#"testyard_call_seconds_bucket{le="0.0025",door="am",call="Allocate"} 1"#,
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in:\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }
}
