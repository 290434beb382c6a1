//! What moves together: a node, or all nodes of a partition; and what connects such units.

use std::collections::HashMap;

use testyard_model::name::SliverTypeName;

use crate::place::{Cable, Need, Unplaceable};
use crate::plan::HostView;

/// Nodes that are on one host.
#[derive(Clone, Debug)]
pub(super) struct Unit<'a> {
    /// Indexes of the needs.
    pub(super) nodes: Vec<usize>,
    pub(super) slots: u32,
    pub(super) ports: u32,
    /// The kinds of its nodes, each once.
    pub(super) sliver_types: Vec<&'a SliverTypeName>,
    pub(super) partition: Option<&'a str>,
    /// The host that it has to be on.
    pub(super) fixed: Option<usize>,
}

/// All units, and the cables between different ones.
#[derive(Debug)]
pub(super) struct Units<'a> {
    pub(super) list: Vec<Unit<'a>>,
    pub(super) cables: Vec<Cabling>,
    /// The cables of each unit.
    pub(super) cables_of: Vec<Vec<u32>>,
}

/// A cable between units.
#[derive(Debug)]
pub(super) struct Cabling {
    pub(super) units: Vec<u32>,
    pub(super) weight: u64,
}

impl<'a> Units<'a> {
    pub(super) fn new(
        needs: &[Need<'a>],
        cables: &[Cable],
        hosts: &[HostView<'_>],
    ) -> Result<Self, Unplaceable> {
        let named = |name: &str| hosts.iter().position(|view| view.host.name().as_str() == name);
        let mut list: Vec<Unit<'a>> = Vec::with_capacity(needs.len());
        let mut unit_of = Vec::with_capacity(needs.len());
        let mut partitions: HashMap<&str, usize> = HashMap::new();
        for (node, need) in needs.iter().enumerate() {
            let at = need.partition.and_then(|name| partitions.get(name).copied()).unwrap_or(list.len());
            if at == list.len() {
                let fixed = need.partition.and_then(named);
                let partition = need.partition;
                list.push(Unit { nodes: vec![], slots: 0, ports: 0, sliver_types: vec![], partition, fixed });
                partition.map(|name| partitions.insert(name, at));
            }
            unit_of.push(at as u32);
            let unit = &mut list[at];
            unit.nodes.push(node);
            unit.slots += 1;
            unit.ports = unit.ports.saturating_add(need.ports);
            if !unit.sliver_types.contains(&need.sliver_type) {
                unit.sliver_types.push(need.sliver_type);
            }
            let Some(bound) = &need.bound else { continue };
            let Some(host) = named(bound.as_str()) else { continue };
            match unit.fixed {
                Some(other) if other != host => {
                    let why = format!(
                        "its nodes cannot be together: one is bound to {bound}, others to {}",
                        hosts[other].host.name()
                    );
                    let partition = need.partition.unwrap_or_default().to_owned();
                    let nodes = needs.iter().filter(|other| other.partition == need.partition).count();
                    return Err(Unplaceable::Partition { partition, nodes, why });
                }
                _ => unit.fixed = Some(host),
            }
        }
        let mut cables_of = vec![Vec::new(); list.len()];
        let mut between = Vec::new();
        for cable in cables {
            let mut units: Vec<u32> = cable.nodes.iter().map(|node| unit_of[*node]).collect();
            units.sort_unstable();
            units.dedup();
            if units.len() > 1 {
                units.iter().for_each(|unit| cables_of[*unit as usize].push(between.len() as u32));
                between.push(Cabling { units, weight: cable.weight });
            }
        }
        Ok(Self { list, cables: between, cables_of })
    }

    /// Units that cables lead to from a unit, some of them several times.
    pub(super) fn neighbours(&self, unit: u32) -> impl Iterator<Item = u32> + '_ {
        let cables = self.cables_of[unit as usize].iter();
        cables.flat_map(|cable| self.cables[*cable as usize].units.iter().copied())
    }
}
