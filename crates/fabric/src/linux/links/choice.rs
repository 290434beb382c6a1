//! Which back end impairs a link: netem or the wire.

use std::sync::OnceLock;

use super::layout::{Layout, Means};
use testyard_model::netem::Unsaid;

use super::netem::{Found, Terms, Tree};
use crate::links::HostLink;
use crate::linux::namespace;
use crate::netlink::{Refusal, Routing as _, Rtnetlink};
use crate::{Emulator, FabricError};

/// The index of `lo` in every namespace.
const LO: u32 = 1;

/// Chooses, by the configuration and what the kernel has.
#[derive(Debug)]
pub(super) struct Chooser {
    emulator: Emulator,
    tunnel_port: u16,
    /// Whether the kernel has netem, and why not; tried once, when it first matters.
    kernel: OnceLock<Result<(), String>>,
}

/// What is to impair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    Wire,
    /// netem; the wire where netem cannot say it, unless it is to be netem only.
    Netem {
        is_only: bool,
    },
}

/// A link that is to be netem's, and cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("link {link}: {why}; with the emulator auto, the wire does it")]
pub(super) struct Inexpressible {
    pub(super) link: String,
    pub(super) why: Unsaid,
}

impl Chooser {
    pub(super) fn new(emulator: Emulator, tunnel_port: u16) -> Self {
        Self { emulator, tunnel_port, kernel: OnceLock::new() }
    }

    /// What should be in the namespace of these links.
    pub(super) fn layout(&self, links: &[HostLink]) -> Result<Layout, FabricError> {
        let means = Means { choice: self.choice(links)?, tunnel_port: self.tunnel_port };
        Layout::of(links, means).map_err(|error| FabricError::Inexpressible(error.to_string()))
    }

    fn choice(&self, links: &[HostLink]) -> Result<Choice, FabricError> {
        let is_clear =
            |link: &HostLink| link.ends.iter().all(|end| end.to_link.is_clear() && end.from_link.is_clear());
        if self.emulator == Emulator::Wire || links.iter().all(is_clear) {
            return Ok(Choice::Wire);
        }
        let kernel = self.kernel.get_or_init(|| {
            let found = probe();
            match &found {
                Ok(()) => tracing::info!("this kernel has netem: it impairs what it can say"),
                Err(detail) => tracing::info!(%detail, "this kernel has no netem: wires impair"),
            }
            found
        });
        match (self.emulator, kernel) {
            (Emulator::Auto, Ok(())) => Ok(Choice::Netem { is_only: false }),
            (Emulator::Netem, Ok(())) => Ok(Choice::Netem { is_only: true }),
            (Emulator::Netem, Err(detail)) => Err(FabricError::Lacking(format!(
                "this kernel has no netem ({detail}): load sch_netem and sch_tbf, or set the emulator to auto"
            ))),
            (Emulator::Auto | Emulator::Wire, _) => Ok(Choice::Wire),
        }
    }
}

/// Tries what will be wanted where nobody is harmed. A name among the modules would say less: there may be no modules, and
/// whoever may load them is not always us.
fn probe() -> Result<(), String> {
    let terms = Terms { mtu: 65_536, seed: 0, is_seed_chosen: false };
    let tree = Tree::of(&[], terms).expect("nothing can be said");
    let tried = namespace::apart(|| {
        let mut kernel = Rtnetlink::open().map_err(|refusal: Refusal| refusal.to_string())?;
        kernel.apply(&tree.changes(LO, Found::Nothing)).map_err(|error| error.to_string())
    });
    tried.unwrap_or_else(|error| Err(error.to_string()))
}
