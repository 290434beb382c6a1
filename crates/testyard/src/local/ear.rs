//! What is told of a slice, or of all, also over an end of the testbed: it may be back in a moment.

use std::time::Duration;

use testyard_web::api::{Event, Slice};
use testyard_web::client::Lines;
use testyard_web::{Client, ClientError};

/// How soon a testbed that has ended is looked for again.
const AWAY: Duration = Duration::from_millis(500);

/// Listens to a testbed.
pub(super) struct Ear<'c> {
    client: &'c Client,
    slice: Option<&'c str>,
    lines: Option<Lines>,
    /// It has listened once: from then on a testbed that does not answer is away.
    knows: bool,
    /// Something has been looked at since it listens.
    looked: bool,
}

/// What was heard.
#[derive(Debug)]
pub(super) enum Heard {
    /// This has happened.
    Event(Event),
    /// What happens from now on is heard; what happened while the testbed was away is not.
    Anew,
}

impl<'c> Ear<'c> {
    /// For one slice, or for all of the caller's.
    pub(super) const fn new(client: &'c Client, slice: Option<&'c str>) -> Self {
        Self { client, slice, lines: None, knows: false, looked: false }
    }

    /// The next that happens. What is dropped before it is there is not lost.
    ///
    /// # Errors
    /// If the testbed refuses, or never answered.
    pub(super) async fn next(&mut self) -> Result<Heard, ClientError> {
        loop {
            let Some(lines) = &mut self.lines else {
                self.listen().await?;
                return Ok(Heard::Anew);
            };
            if let Ok(Some(event)) = lines.next().await {
                return Ok(Heard::Event(event));
            }
            self.lines = None;
        }
    }

    /// The slice: at once for the first time, then when something has happened to it, and after `refresh` at the latest.
    ///
    /// # Errors
    /// If the testbed refuses, or never answered.
    pub(super) async fn look(&mut self, name: &str, refresh: Duration) -> Result<Slice, ClientError> {
        loop {
            // First the ear, then the eye: what happens in between is not missed.
            if self.lines.is_none() {
                self.listen().await?;
            } else if self.looked {
                if let Ok(heard) = tokio::time::timeout(refresh, self.next()).await {
                    heard?;
                }
                // Many things happen at a time; one look is enough for them.
                while let Some(lines) = &mut self.lines
                    && let Ok(Ok(Some(_))) = tokio::time::timeout(Duration::ZERO, lines.next::<Event>()).await
                {
                }
            }
            self.looked = true;
            match self.client.slice(name).await {
                Err(error) if is_away(&error) => self.lines = None,
                outcome => return outcome,
            }
            tokio::time::sleep(AWAY).await;
        }
    }

    /// Listens, as soon as the testbed is there.
    async fn listen(&mut self) -> Result<(), ClientError> {
        loop {
            match self.client.events(self.slice).await {
                Ok(lines) => {
                    (self.lines, self.knows, self.looked) = (Some(lines), true, false);
                    return Ok(());
                }
                Err(error) if self.knows && is_away(&error) => tokio::time::sleep(AWAY).await,
                Err(error) => return Err(error),
            }
        }
    }
}

/// Whether the testbed is away, and may be back in a moment.
fn is_away(error: &ClientError) -> bool {
    matches!(error, ClientError::Connect { .. } | ClientError::Broken(_))
}
