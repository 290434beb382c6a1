//! When slivers expire.
//!
//! A lease ends at the time asked for, or after the default life; never later than the policy's longest life and the
//! caller's credential allow. Allocate and Provision cut what is too late, as GENI's own aggregate (gcf) does, since
//! clients send the end of the slice and read `geni_expires` back; the view carries a notice. Renew refuses it, with
//! the latest time that is allowed, unless the caller asks for as late as possible. A time that is past is always
//! refused. Everything is in whole seconds.

use jiff::{SignedDuration, Timestamp};
use testyard_model::state::Allocation;
use testyard_model::time::{format, whole_seconds};

/// How long slivers may live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeasePolicy {
    /// While they are allocated.
    pub allocated: Lease,
    /// Once they are provisioned.
    pub provisioned: Lease,
}

/// How long slivers may live in one allocation state, from the call on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// If the caller asks for nothing.
    pub default: SignedDuration,
    /// At most.
    pub longest: SignedDuration,
}

/// A time that a lease cannot end at.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LeaseError {
    /// It is past.
    #[error("{} is past: it is {} now", format(*asked), format(*now))]
    Past {
        /// As asked for.
        asked: Timestamp,
        /// Now.
        now: Timestamp,
    },
    /// It is later than is allowed.
    #[error("{} is too late: {} can be had until {} at most (geni_extend_alap takes that)", format(*asked), state_word(*state), format(*latest))]
    TooLate {
        /// As asked for.
        asked: Timestamp,
        /// The latest that is allowed.
        latest: Timestamp,
        /// The state that the limit is of.
        state: Allocation,
    },
}

fn state_word(state: Allocation) -> &'static str {
    if state == Allocation::Allocated { "slivers that are only allocated" } else { "slivers" }
}

/// The default: an allocation lives 10 minutes and at most 2 hours, provisioned slivers 7 days and at most 30.
impl Default for LeasePolicy {
    fn default() -> Self {
        let minutes = SignedDuration::from_mins;
        Self {
            allocated: Lease { default: minutes(10), longest: minutes(120) },
            provisioned: Lease { default: minutes(7 * 24 * 60), longest: minutes(30 * 24 * 60) },
        }
    }
}

impl LeasePolicy {
    /// The lease of a state.
    #[must_use]
    pub fn of(&self, state: Allocation) -> Lease {
        if state == Allocation::Provisioned { self.provisioned } else { self.allocated }
    }

    /// The latest end that is allowed now for a caller whose credential ends at `until`.
    #[must_use]
    pub fn latest(&self, state: Allocation, until: Timestamp, now: Timestamp) -> Timestamp {
        whole_seconds(after(now, self.of(state).longest).min(until))
    }

    /// The end of a new lease, and whether it is earlier than what was asked for.
    ///
    /// # Errors
    /// [`LeaseError::Past`]
    pub fn begin(
        &self,
        state: Allocation,
        asked: Option<Timestamp>,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<(Timestamp, bool), LeaseError> {
        let latest = self.latest(state, until, now);
        let asked_or_default = asked.map_or_else(|| after(now, self.of(state).default), whole_seconds);
        let end = whole_seconds(asked_or_default.min(latest));
        if end <= now {
            return Err(LeaseError::Past { asked: end, now });
        }
        Ok((end, asked.is_some_and(|asked| whole_seconds(asked) > end)))
    }

    /// The end of a lease that is renewed.
    ///
    /// # Errors
    /// [`LeaseError`]
    pub fn renew(
        &self,
        state: Allocation,
        asked: Timestamp,
        as_late_as_possible: bool,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<Timestamp, LeaseError> {
        let (asked, latest) = (whole_seconds(asked), self.latest(state, until, now));
        if asked <= now {
            Err(LeaseError::Past { asked, now })
        } else if asked <= latest {
            Ok(asked)
        } else if as_late_as_possible && latest > now {
            Ok(latest)
        } else {
            Err(LeaseError::TooLate { asked, latest, state })
        }
    }
}

fn after(now: Timestamp, life: SignedDuration) -> Timestamp {
    now.saturating_add(life).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use Allocation::{Allocated, Provisioned};

    fn at(minutes: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + 60 * minutes).unwrap()
    }

    const DAY: i64 = 24 * 60;

    #[test]
    fn beginning() {
        let policy = LeasePolicy::default();
        for (state, asked, until, end) in [
            (Allocated, None, 100 * DAY, (10, false)),
            (Allocated, None, 5, (5, false)),
            (Allocated, Some(60), 100 * DAY, (60, false)),
            (Allocated, Some(3 * DAY), 100 * DAY, (120, true)),
            (Provisioned, None, 100 * DAY, (7 * DAY, false)),
            (Provisioned, Some(6 * DAY), 100 * DAY, (6 * DAY, false)),
            (Provisioned, Some(6 * DAY), DAY, (DAY, true)),
            (Provisioned, Some(60 * DAY), 100 * DAY, (30 * DAY, true)),
        ] {
            let found = policy.begin(state, asked.map(at), at(until), at(0)).unwrap();
            assert_eq!(found, (at(end.0), end.1), "{state:?} {asked:?} {until}");
        }
        assert!(policy.begin(Allocated, Some(at(-1)), at(DAY), at(0)).is_err());
        assert!(policy.begin(Allocated, None, at(0), at(0)).is_err());
    }

    #[test]
    fn renewing() {
        let policy = LeasePolicy::default();
        let renew = |state, asked, alap, until| policy.renew(state, at(asked), alap, at(until), at(0));
        assert_eq!(renew(Provisioned, 5, false, DAY), Ok(at(5)));
        assert_eq!(renew(Provisioned, 40 * DAY, true, 100 * DAY), Ok(at(30 * DAY)));
        assert_eq!(renew(Allocated, DAY, true, 100 * DAY), Ok(at(120)));
        let error = renew(Provisioned, 2 * DAY, false, DAY).unwrap_err();
        assert!(error.to_string().contains(&format(at(DAY))), "{error}");
        assert!(renew(Provisioned, 0, true, DAY).is_err());
    }

    #[test]
    fn whole_seconds_only() {
        let now = Timestamp::new(1_800_000_000, 900_000_000).unwrap();
        let (end, _) = LeasePolicy::default().begin(Allocated, None, at(DAY), now).unwrap();
        assert_eq!(end, at(10));
        let near = Timestamp::new(1_800_000_000, 950_000_000).unwrap();
        assert!(LeasePolicy::default().renew(Allocated, near, false, at(DAY), now).is_err());
    }
}
