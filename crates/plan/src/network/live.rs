//! Changes of links while they run. Names, addresses and routes stay as they are: a link that is down is no other network.

use testyard_model::impairment::{Impairment, ImpairmentError};
use testyard_model::link::LinkKind;
use testyard_model::name::ClientId;
use testyard_model::netem::{Said, Unsaid};
use testyard_model::setting::Setting;
use testyard_model::suggest::closest;

use crate::network::parts::{NetworkLink, NetworkPlan};
use crate::network::seed_of;

/// Why a link cannot be changed so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LiveError {
    /// There is no such link.
    #[error("there is no link {link:?}{}", like(.suggestion, .known))]
    Link {
        /// As asked for.
        link: String,
        /// What was probably meant.
        suggestion: Option<String>,
        /// What there is, the first few.
        known: Vec<String>,
    },
    /// No node or interface of that name is on the link.
    #[error("link {link} has no member {from:?}{}", like(.suggestion, .known))]
    Member {
        /// The link.
        link: String,
        /// As asked for.
        from: String,
        /// What was probably meant.
        suggestion: Option<String>,
        /// What there is, the first few.
        known: Vec<String>,
    },
    /// No link can be so.
    #[error("link {link}: {error}")]
    Impossible {
        /// The link.
        link: String,
        /// Why.
        error: ImpairmentError,
    },
    /// Its hosts have nothing to do it with.
    #[error("link {link}: {why}; its host has netem alone, and with the emulator auto the wire does it")]
    Netem {
        /// The link.
        link: String,
        /// Why.
        why: Unsaid,
    },
}

fn like(suggestion: &Option<String>, known: &[String]) -> String {
    match suggestion {
        Some(meant) => format!("; did you mean {meant:?}?"),
        None if known.is_empty() => String::new(),
        None => format!("; there are: {}", known.join(", ")),
    }
}

fn nearest<'a>(given: &str, known: impl Iterator<Item = &'a str> + Clone) -> (Option<String>, Vec<String>) {
    let few = known.clone().take(10).map(str::to_owned).collect();
    (closest(given, known).map(str::to_owned), few)
}

impl NetworkLink {
    /// Whether the user has chosen the seed, and with it every chance.
    #[must_use]
    pub fn is_seed_chosen(&self) -> bool {
        self.seed != seed_of(&self.client_id)
    }

    /// Whether netem can do it, if it has to.
    ///
    /// # Errors
    /// [`LiveError::Netem`]
    pub(crate) fn check_netem(&self) -> Result<(), LiveError> {
        if !self.only_netem {
            return Ok(());
        }
        // As the fabric does it: what a sender's end does, then what a receiver's does; on a LAN they are apart.
        let ways: Vec<Vec<Impairment>> = match (self.kind, self.members.as_slice()) {
            (LinkKind::PointToPoint, [a, b]) => {
                vec![vec![a.to_link, b.from_link], vec![b.to_link, a.from_link]]
            }
            (_, members) => members.iter().flat_map(|m| [vec![m.to_link], vec![m.from_link]]).collect(),
        };
        for mut stages in ways {
            stages.retain(|stage| !stage.is_clear());
            Said::of(&stages, self.is_seed_chosen())
                .map_err(|why| LiveError::Netem { link: self.client_id.to_string(), why })?;
        }
        Ok(())
    }
}

impl NetworkPlan {
    /// A link by its name.
    ///
    /// # Errors
    /// [`LiveError::Link`]
    pub fn link(&self, link: &ClientId) -> Result<&NetworkLink, LiveError> {
        self.links.iter().find(|known| known.client_id == *link).ok_or_else(|| {
            let (suggestion, known) =
                nearest(link.as_str(), self.links.iter().map(|link| link.client_id.as_str()));
            LiveError::Link { link: link.to_string(), suggestion, known }
        })
    }

    /// Takes a link down or up.
    ///
    /// # Errors
    /// [`LiveError::Link`]
    pub fn set_down(&mut self, link: &ClientId, down: bool) -> Result<(), LiveError> {
        self.link(link)?;
        self.edit(link, |link| link.down = down);
        Ok(())
    }

    /// Changes what a link does to packets: to those that the member `from` sends, an interface or a node, or to all.
    /// Then what was done on the way out of the link in the same respect is done no more, so that a delay of 50 ms is
    /// 50 ms from anybody to anybody. Only the rate of a LAN is that of its members' ends, in both directions.
    ///
    /// # Errors
    /// [`LiveError`]; then nothing has changed.
    pub fn set(
        &mut self,
        link: &ClientId,
        from: Option<&ClientId>,
        settings: &[Setting],
    ) -> Result<(), LiveError> {
        let mut changed = self.link(link)?.clone();
        let lan = changed.kind == LinkKind::Lan;
        let mut any = false;
        for member in &mut changed.members {
            if from.is_some_and(|from| *from != member.interface && *from != member.node) {
                continue;
            }
            any = true;
            for setting in settings {
                setting.apply(&mut member.to_link);
                match setting {
                    _ if from.is_some() => {}
                    Setting::Rate(_) if lan => setting.apply(&mut member.from_link),
                    other => other.cleared().apply(&mut member.from_link),
                }
            }
            let checked = member.to_link.check().and_then(|()| member.from_link.check());
            checked.map_err(|error| LiveError::Impossible { link: link.to_string(), error })?;
        }
        if !any {
            let from = from.map(ToString::to_string).unwrap_or_default();
            let members = changed.members.iter().map(|member| member.interface.as_str());
            let (suggestion, known) = nearest(&from, members);
            return Err(LiveError::Member { link: link.to_string(), from, suggestion, known });
        }
        changed.check_netem()?;
        self.edit(link, |link| link.members = changed.members);
        Ok(())
    }

    fn edit(&mut self, name: &ClientId, edit: impl FnOnce(&mut NetworkLink)) {
        if let Some(link) = self.links.iter_mut().find(|link| link.client_id == *name) {
            edit(link);
        }
    }
}
