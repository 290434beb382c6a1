//! Frames that a host sends over links of a slice to see what they do: as [`testyard_fabric::Links::probe`], without what
//! only the host knows, where the nodes' namespaces are.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use testyard_fabric::links::PortId;
use testyard_fabric::links::probe::{ProbeEnd, ProbePath, ProbeRequest, ProbeTrain};
use testyard_model::id::SliverId;
use testyard_model::mac::Mac;
use testyard_model::probe::{Probed, Train};

/// What is sent over one way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// Over what.
    pub path: Path,
    /// What.
    pub train: Train,
    /// Whether the receiver sends a frame first, so that a switch knows where it is.
    pub greeting: bool,
}

/// What a train is sent over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Path {
    /// A link of the slice.
    Link {
        /// Who sends.
        from: PortId,
        /// Who receives.
        to: PortId,
    },
    /// Two interfaces without a link between, made for this.
    Reference,
    /// The first half of a way to another host.
    Out {
        /// Who sends.
        from: PortId,
        /// The interface there.
        to: Mac,
        /// The number of both halves.
        meeting: u32,
    },
    /// The second half of a way from another host.
    In {
        /// The interface there.
        from: Mac,
        /// Who receives.
        to: PortId,
        /// The number of both halves.
        meeting: u32,
    },
    /// None: only the host's clock is read.
    Clock,
}

/// Where the namespaces of nodes are that have been connected.
#[derive(Debug, Default)]
pub(crate) struct Places(Mutex<HashMap<SliverId, PathBuf>>);

impl Places {
    /// A node is here now.
    pub(crate) fn put(&self, node: SliverId, netns: PathBuf) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(node, netns);
    }

    /// A node is gone.
    pub(crate) fn forget(&self, node: SliverId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&node);
    }

    /// What the fabric is asked, and for each probe that it is not asked why.
    pub(crate) fn request(&self, run: u32, probes: &[Probe]) -> (ProbeRequest, Vec<Option<Probed>>) {
        let places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let end = |port: &PortId| {
            let netns = places.get(&port.node).ok_or(port.node)?;
            Ok::<_, SliverId>(ProbeEnd { port: port.clone(), netns: netns.clone() })
        };
        let (mut trains, mut answers) = (Vec::new(), Vec::with_capacity(probes.len()));
        for probe in probes {
            let path = match &probe.path {
                Path::Reference => Ok(ProbePath::Reference),
                Path::Link { from, to } => {
                    end(from).and_then(|from| Ok(ProbePath::Link { from, to: end(to)? }))
                }
                Path::Out { from, to, meeting } => {
                    end(from).map(|from| ProbePath::Out { from, to: *to, meeting: *meeting })
                }
                Path::In { from, to, meeting } => {
                    end(to).map(|to| ProbePath::In { from: *from, to, meeting: *meeting })
                }
                Path::Clock => Ok(ProbePath::Clock),
            };
            answers.push(match path {
                Ok(path) => {
                    trains.push(ProbeTrain { path, train: probe.train, greeting: probe.greeting });
                    None
                }
                Err(node) => Some(Probed::Failed(format!("{node} does not run here"))),
            });
        }
        (ProbeRequest { run, trains }, answers)
    }
}

/// Puts what the fabric has answered where it was asked.
pub(crate) fn together(mut known: Vec<Option<Probed>>, answered: Vec<Probed>) -> Vec<Probed> {
    let mut answered = answered.into_iter();
    let missing = || Probed::Failed("the host has not answered".to_owned());
    known.iter_mut().map(|answer| answer.take().or_else(|| answered.next()).unwrap_or_else(missing)).collect()
}
