//! The wire of a slice: started when there is something to impair, told what, ended when there is nothing any more. It
//! outlives us; a later agent finds it by its socket.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use testyard_wire::{Client, ClientError, Desired, Observed};

use super::space::Space;
use crate::FabricError;

/// A wire is there within milliseconds; a machine that is busy may take longer.
const START: Duration = Duration::from_secs(10);
/// How often it is looked whether it has ended instead.
const LOOK: Duration = Duration::from_millis(250);

/// What is known of a slice's wire.
#[derive(Debug, Default)]
pub(super) struct Wire {
    client: Option<Client>,
    /// If it is ours to wait for.
    child: Option<Child>,
}

impl Wire {
    /// Has the wire be this.
    pub(super) fn apply(
        &mut self,
        space: &Space,
        program: &[OsString],
        desired: &Desired,
    ) -> Result<(), FabricError> {
        if let Some(client) = &mut self.client {
            match client.apply(desired) {
                Ok(()) => return Ok(()),
                Err(ClientError::Gone(_)) => self.client = None,
                Err(error) => return Err(failed("telling the wire", &error)),
            }
        }
        let told =
            Client::connect(&space.socket()).and_then(|mut client| client.apply(desired).map(|()| client));
        let client = match told {
            Ok(client) => client,
            Err(ClientError::Connect { .. }) => self.start_with(space, program, desired)?,
            // It has been killed or told to end, and closes its sockets to the interfaces, which takes the kernel a while
            // each; nobody is to mistake what it listened on for a wire.
            Err(ClientError::Gone(_)) => {
                let _ = std::fs::remove_file(space.socket());
                self.start_with(space, program, desired)?
            }
            Err(error) => return Err(failed("telling the wire", &error)),
        };
        self.client = Some(client);
        Ok(())
    }

    fn start_with(
        &mut self,
        space: &Space,
        program: &[OsString],
        desired: &Desired,
    ) -> Result<Client, FabricError> {
        let mut client = self.start(space, program)?;
        client.apply(desired).map_err(|error| failed("telling the wire", &error))?;
        Ok(client)
    }

    pub(super) fn observe(&mut self, space: &Space) -> Result<Observed, FabricError> {
        if let Some(client) = &mut self.client
            && let Ok(observed) = client.observe()
        {
            return Ok(observed);
        }
        // It is not kept: nobody has told it what to be.
        let mut client =
            Client::connect(&space.socket()).map_err(|error| failed("asking the wire", &error))?;
        client.observe().map_err(|error| failed("asking the wire", &error))
    }

    /// Interfaces of its have appeared. Whether it has looked: else it is to be told again what to be, since one that answers
    /// now may be another, which knows nothing.
    pub(super) fn look(&mut self) -> bool {
        let looked = self.client.as_mut().is_some_and(|client| client.look().is_ok());
        if !looked {
            self.client = None;
        }
        looked
    }

    /// Whether it has ended, or could not be started.
    pub(super) fn is_gone(&mut self) -> bool {
        self.client.as_mut().is_none_or(|client| matches!(client.observe(), Err(ClientError::Gone(_))))
    }

    /// Ends it, if there is one, and waits until it is over.
    pub(super) fn stop(&mut self, space: &Space) -> Result<(), FabricError> {
        let client = self.client.take().map_or_else(|| Client::connect(&space.socket()), Ok);
        match client.and_then(Client::stop) {
            Ok(()) | Err(ClientError::Connect { .. } | ClientError::Gone(_)) => {}
            Err(error) => return Err(failed("ending the wire", &error)),
        }
        if let Some(mut child) = self.child.take() {
            let _ = child.wait();
        }
        Ok(())
    }

    fn start(&mut self, space: &Space, program: &[OsString]) -> Result<Client, FabricError> {
        let action = "starting the wire";
        let (first, rest) = program
            .split_first()
            .ok_or_else(|| FabricError::Lacking("this host has no program for impaired links".to_owned()))?;
        if let Some(mut old) = self.child.take() {
            // It does not answer. The new one waits until it moves no frames any more; all of its sockets are closed much later.
            let _ = old.kill();
            std::thread::spawn(move || old.wait());
        }
        let log = OpenOptions::new().create(true).append(true).open(space.log());
        let log = log.map_err(|error| failed(action, &error))?;
        let errors = log.try_clone().map_err(|error| failed(action, &error))?;
        let child = Command::new(first)
            .args(rest)
            .arg("--socket")
            .arg(space.socket())
            .arg("--netns")
            .arg(space.netns())
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            // What ends us from a terminal must not end it.
            .process_group(0)
            .spawn()
            .map_err(|error| failed(action, &error))?;
        let child = self.child.insert(child);
        let until = Instant::now() + START;
        loop {
            match Client::wait(&space.socket(), LOOK) {
                Ok(client) => return Ok(client),
                Err(error) if Instant::now() >= until => return Err(failed(action, &error)),
                Err(error) => {
                    if let Ok(Some(status)) = child.try_wait() {
                        let detail = format!("it has ended ({status}): see {}", space.log().display());
                        return Err(FabricError::Kernel { action: action.to_owned(), detail });
                    }
                    tracing::debug!(%error, "a wire takes its time");
                }
            }
        }
    }
}

fn failed(action: &str, error: &dyn std::error::Error) -> FabricError {
    let source = error.source().map(|source| format!(": {source}")).unwrap_or_default();
    FabricError::Kernel { action: action.to_owned(), detail: format!("{error}{source}") }
}
