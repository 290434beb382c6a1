//! Waiting until slivers are as asked for, with progress.

use std::time::{Duration, Instant};

use testyard_am::client::{CallOptions, Sliver, Slivers};
use testyard_trust::PassedCredential;

use super::session::Session;
use super::show;
use crate::exit::{Failure, Kind};
use crate::progress::Screen;

/// How often the aggregate is asked.
const PERIOD: Duration = Duration::from_millis(200);

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Goal {
    /// `geni_ready`.
    Ready,
    /// `geni_notready`: stopped.
    Stopped,
}

/// What a sliver has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    Reached,
    Failed,
    Underway,
}

impl Goal {
    /// The goal of an action, if it has one.
    pub(super) fn of_action(action: &str) -> Self {
        if action == "geni_stop" { Self::Stopped } else { Self::Ready }
    }

    fn progress(self, sliver: &Sliver) -> Progress {
        match (self, sliver.operational.as_str()) {
            (_, "geni_failed") => Progress::Failed,
            (Self::Ready, "geni_ready") | (Self::Stopped, "geni_notready") => Progress::Reached,
            _ => Progress::Underway,
        }
    }
}

/// Waits until every sliver has reached the goal.
///
/// # Errors
/// [`Kind::SliverFailed`] as soon as none is underway and one has failed, [`Kind::TimedOut`] when the time is over.
pub(super) async fn wait(
    session: &Session,
    urns: &[String],
    credentials: &[PassedCredential],
    options: &CallOptions,
    goal: Goal,
    limit: Duration,
) -> Result<Slivers, Failure> {
    let deadline = Instant::now() + limit;
    let mut screen = Screen::new(urns.len());
    loop {
        let slivers = session.client.status(urns, credentials, options).await?;
        for sliver in &slivers.slivers {
            let state = sliver.operational.strip_prefix("geni_").unwrap_or(&sliver.operational);
            let line = format!("{}  {state}  {}", show::name(sliver), sliver.progress);
            screen.update(&sliver.urn, line.trim_end().to_owned());
        }
        let count =
            |progress| slivers.slivers.iter().filter(|sliver| goal.progress(sliver) == progress).count();
        screen.count(count(Progress::Reached), slivers.slivers.len());
        if count(Progress::Underway) == 0 {
            screen.finish();
            return match slivers.slivers.iter().find(|sliver| goal.progress(sliver) == Progress::Failed) {
                None => Ok(slivers),
                Some(failed) => Err(Failure {
                    kind: Kind::SliverFailed,
                    message: format!("{} has failed: {}", show::name(failed), failed.error),
                }),
            };
        }
        if Instant::now() >= deadline {
            screen.finish();
            let late: Vec<&str> = slivers
                .slivers
                .iter()
                .filter(|sliver| goal.progress(sliver) == Progress::Underway)
                .map(show::name)
                .collect();
            let message = format!("not ready within {} s: {}", limit.as_secs(), late.join(", "));
            return Err(Failure { kind: Kind::TimedOut, message });
        }
        tokio::time::sleep(PERIOD).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goals() {
        let sliver = |operational: &str| Sliver { operational: operational.to_owned(), ..Sliver::default() };
        assert_eq!(Goal::Ready.progress(&sliver("geni_ready_busy")), Progress::Underway);
        assert_eq!(Goal::Ready.progress(&sliver("geni_ready")), Progress::Reached);
        assert_eq!(Goal::of_action("geni_stop").progress(&sliver("geni_ready")), Progress::Underway);
        assert_eq!(Goal::of_action("geni_stop").progress(&sliver("geni_notready")), Progress::Reached);
        assert_eq!(Goal::of_action("geni_reload").progress(&sliver("geni_failed")), Progress::Failed);
    }
}
