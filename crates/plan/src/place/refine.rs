//! Moves that take traffic off the network between hosts: a unit to where most of its traffic goes, or two units each to
//! the other's host where there is no room. Every move lessens the traffic, so it ends; it is stopped before where it
//! would take long.

use crate::place::Room;
use crate::place::units::{Cabling, Units};

/// So many times all units are looked at.
const PASSES: usize = 6;
/// So many partners are looked at for a unit that finds no room.
const PARTNERS: usize = 48;
/// A pass that saves less than one part in so many of what passes between hosts is the last.
const LEAST_SAVING: u64 = 100;

/// Moves units as long as it helps; says what passes between hosts then.
pub(super) fn refine(units: &Units<'_>, rooms: &mut [Room<'_>], placed: &mut [usize]) -> u64 {
    if rooms.len() < 2 || units.cables.is_empty() {
        return 0;
    }
    let mut cut = Cut::new(units, placed);
    let mut before = cut.traffic();
    for _ in 0..PASSES {
        let mut moved = false;
        // Units at the edge of each host, who may change places.
        let mut edge: Vec<Vec<u32>> = vec![Vec::new(); rooms.len()];
        for unit in 0..placed.len() as u32 {
            if units.list[unit as usize].fixed.is_none() && cut.at_edge(unit) {
                edge[placed[unit as usize]].push(unit);
            }
        }
        for unit in 0..placed.len() as u32 {
            if units.list[unit as usize].fixed.is_some() || !cut.at_edge(unit) {
                continue;
            }
            let from = placed[unit as usize];
            let Some((to, gain)) = cut.best(unit, from) else { continue };
            if gain > 0 && rooms[to].fits(&units.list[unit as usize]) {
                shift(&mut cut, units, rooms, placed, unit, to);
                moved = true;
            } else if gain > 0 && rooms[to].takes(&units.list[unit as usize]) {
                moved |= swap(&mut cut, units, rooms, placed, unit, to, gain, &edge[to]);
            }
        }
        let traffic = cut.traffic();
        let saved = before.saturating_sub(std::mem::replace(&mut before, traffic));
        if !moved || saved.saturating_mul(LEAST_SAVING) < traffic {
            break;
        }
    }
    before
}

/// How many units of each cable are on each host.
struct Cut<'u, 'a> {
    units: &'u Units<'a>,
    on: Vec<Vec<(u32, u32)>>,
}

impl<'u, 'a> Cut<'u, 'a> {
    fn new(units: &'u Units<'a>, placed: &[usize]) -> Self {
        let mut cut = Self { units, on: vec![Vec::new(); units.cables.len()] };
        for (cable, on) in units.cables.iter().zip(&mut cut.on) {
            for unit in &cable.units {
                count(on, placed[*unit as usize] as u32);
            }
        }
        cut
    }

    fn traffic(&self) -> u64 {
        let of = |(cable, on): (&Cabling, &Vec<(u32, u32)>)| cable.weight.saturating_mul(on.len() as u64 - 1);
        self.units.cables.iter().zip(&self.on).map(of).fold(0, u64::saturating_add)
    }

    fn at_edge(&self, unit: u32) -> bool {
        self.units.cables_of[unit as usize].iter().any(|cable| self.on[*cable as usize].len() > 1)
    }

    /// What it saves to move a unit.
    fn gain(&self, unit: u32, from: usize, to: usize) -> i64 {
        let mut gain = 0;
        for cable in &self.units.cables_of[unit as usize] {
            let weight = i64::try_from(self.units.cables[*cable as usize].weight).unwrap_or(i64::MAX / 1024);
            let on = |host: usize| {
                let mut all = self.on[*cable as usize].iter();
                all.find(|(other, _)| *other as usize == host).map_or(0, |(_, count)| *count)
            };
            gain += if on(from) == 1 { weight } else { 0 };
            gain -= if on(to) == 0 { weight } else { 0 };
        }
        gain
    }

    /// The host of a neighbour that it saves most to move to; of equals the first.
    fn best(&self, unit: u32, from: usize) -> Option<(usize, i64)> {
        let cables = self.units.cables_of[unit as usize].iter();
        let mut hosts: Vec<u32> =
            cables.flat_map(|cable| &self.on[*cable as usize]).map(|(host, _)| *host).collect();
        hosts.sort_unstable();
        hosts.dedup();
        let others = hosts.into_iter().rev().map(|host| host as usize).filter(|host| *host != from);
        others.map(|to| (to, self.gain(unit, from, to))).max_by_key(|(_, gain)| *gain)
    }
}

fn count(on: &mut Vec<(u32, u32)>, host: u32) {
    match on.iter_mut().find(|(other, _)| *other == host) {
        Some((_, count)) => *count += 1,
        None => on.push((host, 1)),
    }
}

fn shift(
    cut: &mut Cut<'_, '_>,
    units: &Units<'_>,
    rooms: &mut [Room<'_>],
    placed: &mut [usize],
    unit: u32,
    to: usize,
) {
    let from = placed[unit as usize];
    rooms[from].give_back(&units.list[unit as usize]);
    rooms[to].take(&units.list[unit as usize]);
    shift_counts(cut, units, placed, unit, to);
}

/// Lets a unit change places with one at the edge of the other host, if that saves something in all.
#[allow(clippy::too_many_arguments)]
fn swap(
    cut: &mut Cut<'_, '_>,
    units: &Units<'_>,
    rooms: &mut [Room<'_>],
    placed: &mut [usize],
    unit: u32,
    to: usize,
    gain: i64,
    edge: &[u32],
) -> bool {
    let from = placed[unit as usize];
    let own = &units.list[unit as usize];
    // Each begins elsewhere, so that all of the edge is looked at by someone.
    let begin = unit as usize % edge.len().max(1);
    for partner in edge.iter().cycle().skip(begin).take(edge.len().min(PARTNERS)).copied() {
        let other = &units.list[partner as usize];
        // A cable between the two is counted as saved by both here; what they save together is seen below.
        if placed[partner as usize] != to || gain + cut.gain(partner, to, from) <= 0 {
            continue;
        }
        let alike = other.slots == own.slots && rooms[from].takes(other);
        let ports =
            rooms[to].ports + other.ports >= own.ports && rooms[from].ports + own.ports >= other.ports;
        if !alike || !ports {
            continue;
        }
        shift_counts(cut, units, placed, unit, to);
        let both = gain + cut.gain(partner, to, from);
        if both > 0 {
            // Both leave before one comes, so that no room is ever less than empty.
            rooms[to].give_back(other);
            rooms[from].give_back(own);
            rooms[to].take(own);
            rooms[from].take(other);
            shift_counts(cut, units, placed, partner, from);
            return true;
        }
        shift_counts(cut, units, placed, unit, from);
    }
    false
}

fn shift_counts(cut: &mut Cut<'_, '_>, units: &Units<'_>, placed: &mut [usize], unit: u32, to: usize) {
    let from = std::mem::replace(&mut placed[unit as usize], to);
    for cable in &units.cables_of[unit as usize] {
        let on = &mut cut.on[*cable as usize];
        count(on, to as u32);
        on.iter_mut().filter(|(host, _)| *host as usize == from).for_each(|(_, count)| *count -= 1);
        on.retain(|(_, count)| *count > 0);
    }
}
