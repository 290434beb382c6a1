//! Faults by call.

use testyard_model::id::SliverId;
use testyard_model::image::ImageName;

use crate::error::{ImageError, RuntimeError};
use crate::spec::NodeKey;

/// A method of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// [`crate::Runtime::facts`].
    Facts,
    /// [`crate::Runtime::image`].
    Image,
    /// [`crate::Runtime::create`].
    Create,
    /// [`crate::Runtime::listen`].
    Listen,
    /// [`crate::Runtime::start`].
    Start,
    /// [`crate::Runtime::stop`].
    Stop,
    /// [`crate::Runtime::hand_over`].
    HandOver,
    /// [`crate::Runtime::name`].
    Name,
    /// [`crate::Runtime::remove`].
    Remove,
    /// [`crate::Runtime::list`].
    List,
    /// [`crate::Runtime::disk_used`].
    DiskUsed,
}

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// [`RuntimeError::Unreachable`].
    Unreachable,
    /// [`RuntimeError::Failed`]; for an image [`ImageError::NotFound`].
    Failed,
    /// [`RuntimeError::Refused`]; for an image [`ImageError::Unfit`].
    Refused,
    /// It never answers.
    Hang,
}

/// Whether the call has had its effect when it fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// It has not.
    Before,
    /// It has; only the answer is lost.
    After,
}

/// Makes some calls of one method fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    op: Op,
    kind: FaultKind,
    moment: Moment,
    sliver: Option<SliverId>,
    skip: u32,
    times: Option<u32>,
}

impl Fault {
    /// Every call of this method fails, before it has had any effect.
    #[must_use]
    pub const fn of(op: Op, kind: FaultKind) -> Self {
        Self { op, kind, moment: Moment::Before, sliver: None, skip: 0, times: None }
    }

    /// Only the next `times` calls fail.
    #[must_use]
    pub const fn times(mut self, times: u32) -> Self {
        self.times = Some(times);
        self
    }

    /// The next `skip` calls do not fail yet.
    #[must_use]
    pub const fn skipping(mut self, skip: u32) -> Self {
        self.skip = skip;
        self
    }

    /// Only calls about this sliver fail.
    #[must_use]
    pub const fn on(mut self, sliver: SliverId) -> Self {
        self.sliver = Some(sliver);
        self
    }

    /// Calls have their effect, and their answers are lost.
    #[must_use]
    pub const fn after_effect(mut self) -> Self {
        self.moment = Moment::After;
        self
    }

    const fn is_used_up(&self) -> bool {
        matches!(self.times, Some(0))
    }

    /// Whether it acts on this call; counts.
    fn acts(&mut self, op: Op, key: Option<&NodeKey>) -> bool {
        let fits =
            self.op == op && self.sliver.is_none_or(|sliver| key.is_some_and(|key| key.sliver == sliver));
        if !fits || self.is_used_up() {
            return false;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        self.times = self.times.map(|times| times - 1);
        true
    }
}

/// What happens to this call, of all the faults.
pub(super) fn strike(faults: &mut Vec<Fault>, op: Op, key: Option<&NodeKey>) -> Option<(FaultKind, Moment)> {
    let struck =
        faults.iter_mut().find_map(|fault| fault.acts(op, key).then_some((fault.kind, fault.moment)));
    faults.retain(|fault| !fault.is_used_up());
    struck
}

/// The error of a call that fails so; it never returns for one that hangs.
pub(super) async fn error(kind: FaultKind, key: Option<&NodeKey>) -> RuntimeError {
    const DETAIL: &str = "injected fault";
    match (kind, key) {
        (FaultKind::Hang, _) => std::future::pending().await,
        (FaultKind::Failed, Some(key)) => {
            RuntimeError::Failed { key: *key, action: "pretending", detail: DETAIL.to_owned() }
        }
        (FaultKind::Refused, Some(key)) => RuntimeError::Refused { key: *key, detail: DETAIL.to_owned() },
        (FaultKind::Unreachable, _) | (_, None) => unreachable(DETAIL),
    }
}

pub(super) fn unreachable(detail: &str) -> RuntimeError {
    RuntimeError::Unreachable { engine: "Fake Engine", detail: detail.to_owned() }
}

/// The same error in the words of images.
pub(super) fn of_image(name: &ImageName, error: &RuntimeError) -> ImageError {
    let (name, detail) = (name.clone(), "injected fault".to_owned());
    match error {
        RuntimeError::Unreachable { engine, detail } => {
            ImageError::Unreachable { engine, detail: detail.clone() }
        }
        RuntimeError::Refused { .. } => ImageError::Unfit { name, detail },
        RuntimeError::Missing(_) | RuntimeError::EndedAtOnce { .. } | RuntimeError::Failed { .. } => {
            ImageError::NotFound { name, detail }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_count() {
        let mut faults = vec![Fault::of(Op::Create, FaultKind::Failed).skipping(1).times(2)];
        let mut create = || strike(&mut faults, Op::Create, None).is_some();
        assert_eq!([create(), create(), create(), create()], [false, true, true, false]);
        assert!(faults.is_empty());
    }
}
