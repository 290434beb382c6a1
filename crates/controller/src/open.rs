//! Opening: what the store has becomes the state in memory, and the tasks are started.

use std::sync::Arc;

use arc_swap::ArcSwap;
use testyard_store::{Change, ChangeError, Contents, ReadError, Store, Versioned, WriteError};
use tokio::sync::{Notify, broadcast, watch};

use crate::clock::Clock;
use crate::core::{Core, Shared};
use crate::entropy::Randomness;
use crate::hosts::Drivers;
use crate::keeper::{Keeper, SEEN_VERSION};
use crate::observe::Chores;
use crate::settings::Settings;
use crate::slice::Slice;
use crate::state::{Seen, State};
use crate::turn::Turns;
use crate::verb::Verifying;

/// Events that a slow listener may be behind before it misses some.
const EVENTS: usize = 4096;

const AUTHORITY: &str = "authority";
/// Hosts that are drained, a JSON list.
pub(crate) const DRAINED: &str = "drained";
/// The number after which those of slices go on.
pub(crate) const LAST_TAG: &str = "last_tag";
/// The last number that was given to a link between hosts.
pub(crate) const LAST_VNI: &str = "last_vni";

/// The controller cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The store cannot be read.
    #[error("cannot load the state")]
    Read(#[from] ReadError),
    /// A row of the store makes no sense.
    #[error("the state in the store makes no sense: {0}")]
    State(String),
    /// The store cannot be written.
    #[error("the store cannot be written: {0}")]
    Write(String),
    /// The store is of another testbed.
    #[error(
        "the state is that of {stored}, and the configuration says {configured}: slivers would change their names; end them first, or use another store"
    )]
    Authority {
        /// Whose slivers are in the store.
        stored: String,
        /// Who the configuration says that we are.
        configured: String,
    },
}

/// Settings that cannot be taken while the controller runs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReconfigureError {
    /// It would be another testbed.
    #[error("the authority cannot be changed from {running} to {configured} while the testbed runs")]
    Authority {
        /// As it runs.
        running: String,
        /// As configured.
        configured: String,
    },
}

impl Core {
    pub(crate) async fn open(
        store: Store,
        settings: Settings,
        clock: Arc<dyn Clock>,
        randomness: Arc<dyn Randomness>,
    ) -> Result<Arc<Self>, OpenError> {
        let contents = store.load().await?;
        check_authority(&store, &contents, &settings).await?;
        let core = Self {
            store,
            settings: ArcSwap::from_pointee(settings),
            shared: Shared::default(),
            clock,
            randomness,
            turns: Turns::default(),
            drivers: Drivers::default(),
            events: broadcast::Sender::new(EVENTS),
            changes: watch::Sender::new(0),
            expiry: Notify::new(),
            keeper: Keeper::default(),
            chores: Chores::default(),
            verifying: Verifying::default(),
            draining: tokio::sync::Mutex::default(),
        };
        load(&mut core.shared.write(), &contents).map_err(OpenError::State)?;
        let core = Arc::new(core);
        // What is known to be in the store is not told again as new; what is another than before is.
        let slices: Vec<Arc<Slice>> = core.shared.read().slices().cloned().collect();
        for slice in slices {
            core.derive(&mut core.shared.write(), &slice, &slice.slivers, core.clock.now());
        }
        Ok(core)
    }
}

async fn check_authority(store: &Store, contents: &Contents, settings: &Settings) -> Result<(), OpenError> {
    let configured = settings.authority().to_string();
    match contents.meta.get(AUTHORITY) {
        Some(stored) if *stored == configured => return Ok(()),
        Some(stored) if !contents.slices.is_empty() => {
            return Err(OpenError::Authority { stored: stored.clone(), configured });
        }
        _ => {}
    }
    let write = move |change: &Change<'_>| change.put_meta(AUTHORITY, &configured);
    let written: Result<(), WriteError<ChangeError>> = store.write(write, |&()| ()).await;
    written.map_err(|error| OpenError::Write(error.to_string()))
}

fn load(state: &mut State, contents: &Contents) -> Result<(), String> {
    for rows in &contents.slices {
        let slice = Slice::load(rows)?;
        state.hold(&slice).map_err(|taken| taken.to_string())?;
        for (sliver, seen) in &rows.slivers {
            let Some(row) = seen else { continue };
            let bad = |detail| format!("what was seen of sliver {}: {detail}", sliver.id);
            let observed = row.observed.as_ref().map(|text| Versioned::read(SEEN_VERSION, text)).transpose();
            let observed: Option<testyard_agent::observed::Node> = observed.map_err(bad)?;
            let events = Versioned::read(SEEN_VERSION, &row.events).map_err(bad)?;
            state.seen.insert(sliver.id, Seen { observed: observed.map(Arc::new), events, last: None });
        }
        for sliver in slice.slivers.iter().filter(|sliver| !sliver.is_leaving()) {
            let last = state.operational(sliver);
            state.seen.entry(sliver.id).or_default().last = Some(last);
        }
        // It is told everything.
        let hosts = slice.hosts().into_iter().map(|host| ((slice.id, host.clone()), slice.revision));
        state.asked.extend(hosts);
        state.replace(slice);
    }
    if let Some(drained) = contents.meta.get(DRAINED) {
        state.drained = serde_json::from_str(drained).map_err(|error| format!("drained hosts: {error}"))?;
    }
    if let Some(last) = contents.meta.get(LAST_VNI) {
        state.last_vni = Some(serde_json::from_str(last).map_err(|error| format!("last VNI: {error}"))?);
    }
    if let Some(last) = contents.meta.get(LAST_TAG) {
        let last: u32 = last.parse().map_err(|error| format!("last tag: {error}"))?;
        state.go_on_after(last);
    }
    state.shutdowns.extend(contents.shutdowns.iter().map(|row| row.slice.clone()));
    Ok(())
}
