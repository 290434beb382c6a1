//! Images on their way to hosts before anybody has decided that they are needed there: a pull takes longer than a plan, and a user
//! often takes longer still from Allocate to Provision.

use std::collections::{BTreeMap, BTreeSet};

use testyard_agent::Ahead;
use testyard_model::id::HostName;
use testyard_model::image::ImageSource;
use testyard_model::sliver_type::SliverType;
use testyard_model::topology::Topology;
use testyard_plan::PlannedNode;

use crate::core::Core;

impl Core {
    /// With one host there is no choice: its images can come while the plan is made.
    pub(crate) fn ahead_of_plan(&self, topology: &Topology) {
        let drivers = self.drivers.all();
        let [only] = &drivers[..] else { return };
        let settings = self.settings.load();
        let images: BTreeSet<Ahead> = topology
            .nodes
            .iter()
            .filter_map(|node| {
                let kind = kind(settings.sliver_types(), node.sliver_type.as_ref())?;
                Some(of(kind, node.image.as_ref().unwrap_or(&kind.default_image)))
            })
            .collect();
        only.ahead(images);
    }

    /// Each host is told of what it will need.
    pub(crate) fn ahead<'n>(&self, nodes: impl IntoIterator<Item = &'n PlannedNode>) {
        let mut images: BTreeMap<&HostName, BTreeSet<Ahead>> = BTreeMap::new();
        for node in nodes {
            images.entry(&node.host).or_default().insert(of(&node.sliver_type, &node.image));
        }
        for (host, images) in images {
            if let Some(driver) = self.drivers.get(host) {
                driver.ahead(images);
            }
        }
    }
}

fn kind<'k>(
    kinds: &'k [SliverType],
    name: Option<&testyard_model::name::SliverTypeName>,
) -> Option<&'k SliverType> {
    match name {
        None => kinds.first(),
        Some(name) => kinds.iter().find(|kind| kind.name == *name),
    }
}

/// Of a URL only the file comes ahead: it is made in the place of a node, and waits for that.
fn of(kind: &SliverType, image: &ImageSource) -> Ahead {
    Ahead { runtime: kind.runtime, image: image.clone() }
}
