//! Groups of connected units to hosts, and a group that is too large for any host in regions.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};

use crate::place::Room;
use crate::place::units::Units;

/// Places what is not placed yet, where there is room for it; what finds none is left.
pub(super) fn grow(units: &Units<'_>, rooms: &mut [Room<'_>], placed: &mut [Option<usize>]) {
    let mut groups = groups(units, placed);
    // The large ones first, while there is room for them as a whole; like ones in the order of the topology.
    let slots = |group: &Vec<u32>| group.iter().map(|unit| units.list[*unit as usize].slots).sum::<u32>();
    groups.sort_by_cached_key(|group| Reverse(slots(group)));
    let mut region = Region::new(units);
    for group in groups {
        if !whole(units, &group, rooms, placed) {
            region.split(&group, rooms, placed);
        }
    }
}

/// Fills one host after the other, the most free first, in the order of the topology, which often means something.
pub(super) fn in_order(units: &Units<'_>, rooms: &mut [Room<'_>], placed: &mut [Option<usize>]) {
    let mut order: Vec<usize> = (0..rooms.len()).collect();
    order.sort_by_key(|room| Reverse(rooms[*room].slots));
    for (unit, place) in units.list.iter().zip(placed).filter(|(_, place)| place.is_none()) {
        *place = order.iter().copied().find(|room| rooms[*room].fits(unit));
        if let Some(room) = *place {
            rooms[room].take(unit);
        }
    }
}

/// Places what is not placed yet unit by unit: first those that few hosts take, and of these the large ones.
pub(super) fn choosiest_first(units: &Units<'_>, rooms: &mut [Room<'_>], placed: &mut [Option<usize>]) {
    let mut order: Vec<usize> = (0..placed.len()).filter(|unit| placed[*unit].is_none()).collect();
    order.sort_by_cached_key(|unit| {
        let unit = &units.list[*unit];
        (rooms.iter().filter(|room| room.takes(unit)).count(), Reverse(unit.slots))
    });
    for unit in order {
        let fits = |room: usize| rooms[room].fits(&units.list[unit]);
        // Of hosts with equal room, the first: max_by_key would give the last.
        let best = (0..rooms.len()).rev().filter(|room| fits(*room)).max_by_key(|room| rooms[*room].slots);
        if let Some(best) = best {
            rooms[best].take(&units.list[unit]);
            placed[unit] = Some(best);
        }
    }
}

/// Units without a host that cables connect, by their first unit.
fn groups(units: &Units<'_>, placed: &[Option<usize>]) -> Vec<Vec<u32>> {
    let mut seen: Vec<bool> = placed.iter().map(Option::is_some).collect();
    let mut seen_cable = vec![false; units.cables.len()];
    let mut groups = Vec::new();
    for first in 0..placed.len() {
        if std::mem::replace(&mut seen[first], true) {
            continue;
        }
        let (mut group, mut at) = (vec![first as u32], 0);
        while let Some(unit) = group.get(at).copied() {
            at += 1;
            for cable in &units.cables_of[unit as usize] {
                if std::mem::replace(&mut seen_cable[*cable as usize], true) {
                    continue;
                }
                for other in &units.cables[*cable as usize].units {
                    if !std::mem::replace(&mut seen[*other as usize], true) {
                        group.push(*other);
                    }
                }
            }
        }
        groups.push(group);
    }
    groups
}

/// Puts the group on one host, if one has room for it: the one that most of its traffic leads to already, and of equals
/// the one with the most free slots.
fn whole(units: &Units<'_>, group: &[u32], rooms: &mut [Room<'_>], placed: &mut [Option<usize>]) -> bool {
    let unit = |unit: &u32| &units.list[*unit as usize];
    let slots: u32 = group.iter().map(|u| unit(u).slots).sum();
    let ports = group.iter().fold(0_u32, |sum, u| sum.saturating_add(unit(u).ports));
    let mut pull = vec![0_u64; rooms.len()];
    for member in group {
        for cable in &units.cables_of[*member as usize] {
            let cable = &units.cables[*cable as usize];
            // Of a large LAN, a few members show where it is.
            for host in cable.units.iter().take(64).filter_map(|other| placed[*other as usize]) {
                pull[host] += cable.weight;
            }
        }
    }
    let fits = |room: &Room<'_>| {
        room.slots >= slots && room.ports >= ports && group.iter().all(|u| room.takes(unit(u)))
    };
    let best =
        (0..rooms.len()).rev().filter(|i| fits(&rooms[*i])).max_by_key(|i| (pull[*i], rooms[*i].slots));
    let Some(best) = best else { return false };
    for member in group {
        rooms[best].take(unit(member));
        placed[*member as usize] = Some(best);
    }
    true
}

/// Grows regions; the memory that it takes is used again for the next.
struct Region<'u, 'a> {
    units: &'u Units<'a>,
    /// How much connects a unit with the region.
    pull: Vec<u64>,
    touched: Vec<bool>,
    candidates: BinaryHeap<(i64, Reverse<u32>)>,
    /// The weight of all cables of a unit.
    weight: Vec<u64>,
    /// The turn in which a unit or a cable was seen last.
    seen: Vec<u32>,
    seen_cable: Vec<u32>,
    turn: u32,
}

impl<'u, 'a> Region<'u, 'a> {
    fn new(units: &'u Units<'a>) -> Self {
        let (pull, touched) = (vec![0; units.list.len()], vec![false; units.cables.len()]);
        let (seen, seen_cable) = (vec![0; units.list.len()], vec![0; units.cables.len()]);
        let of_cable = |cable: &u32| units.cables[*cable as usize].weight;
        let weight = units.cables_of.iter().map(|cables| cables.iter().map(of_cable).sum()).collect();
        Self { units, pull, touched, candidates: BinaryHeap::new(), weight, seen, seen_cable, turn: 0 }
    }

    /// Fills one host after the other that links can leave, the most free first, each with units that belong together.
    fn split(&mut self, group: &[u32], rooms: &mut [Room<'_>], placed: &mut [Option<usize>]) {
        let mut order: Vec<usize> =
            (0..rooms.len()).filter(|room| !rooms[*room].view.host.is_alone()).collect();
        order.sort_by_key(|room| Reverse(rooms[*room].slots));
        let mut left: Vec<u32> = group.to_vec();
        for host in order {
            self.fill(&left, host, &mut rooms[host], placed);
            left.retain(|unit| placed[*unit as usize].is_none());
        }
    }

    fn fill(&mut self, left: &[u32], host: usize, room: &mut Room<'_>, placed: &mut [Option<usize>]) {
        left.iter().for_each(|unit| self.pull[*unit as usize] = 0);
        self.touched.fill(false);
        self.candidates.clear();
        // What is on the host already attracts its neighbours.
        let there: Vec<u32> = left
            .iter()
            .flat_map(|unit| self.units.neighbours(*unit).take(64))
            .filter(|other| placed[*other as usize] == Some(host))
            .collect();
        there.into_iter().for_each(|unit| self.attract(unit, placed));
        let mut seeds = left.iter().copied();
        let mut refused = HashSet::new();
        while room.slots > 0 {
            let next = match self.candidates.pop() {
                Some((gain, Reverse(unit))) if gain == self.gain(unit) => unit,
                Some(_) => continue,
                None => {
                    let fresh = |unit: &u32| placed[*unit as usize].is_none() && !refused.contains(unit);
                    match seeds.find(fresh) {
                        Some(seed) => self.end_of(seed, placed),
                        None => break,
                    }
                }
            };
            if placed[next as usize].is_some() || refused.contains(&next) {
                continue;
            }
            let unit = &self.units.list[next as usize];
            if !room.fits(unit) {
                refused.insert(next);
                continue;
            }
            room.take(unit);
            placed[next as usize] = Some(host);
            self.attract(next, placed);
        }
    }

    /// Counts the cables of a unit that is of the region now for those at their other ends.
    fn attract(&mut self, unit: u32, placed: &[Option<usize>]) {
        for cable in &self.units.cables_of[unit as usize] {
            if std::mem::replace(&mut self.touched[*cable as usize], true) {
                continue;
            }
            let cable = &self.units.cables[*cable as usize];
            for other in cable.units.iter().filter(|other| placed[**other as usize].is_none()) {
                self.pull[*other as usize] += cable.weight;
                let gain = self.gain(*other);
                self.candidates.push((gain, Reverse(*other)));
            }
        }
    }

    /// How much less passes the region's border if a unit joins.
    fn gain(&self, unit: u32) -> i64 {
        let whole = |weight: u64| i64::try_from(weight).unwrap_or(i64::MAX / 4).min(i64::MAX / 4);
        2 * whole(self.pull[unit as usize]) - whole(self.weight[unit as usize])
    }

    /// A unit as far from this one as can be: a region that begins at an end leaves no hole in the middle.
    fn end_of(&mut self, unit: u32, placed: &[Option<usize>]) -> u32 {
        self.turn += 1;
        self.seen[unit as usize] = self.turn;
        let (mut queue, mut at) = (vec![unit], 0);
        while let Some(unit) = queue.get(at).copied() {
            at += 1;
            for cable in &self.units.cables_of[unit as usize] {
                if std::mem::replace(&mut self.seen_cable[*cable as usize], self.turn) == self.turn {
                    continue;
                }
                for other in &self.units.cables[*cable as usize].units {
                    let seen = std::mem::replace(&mut self.seen[*other as usize], self.turn) == self.turn;
                    if !seen && placed[*other as usize].is_none() {
                        queue.push(*other);
                    }
                }
            }
        }
        queue.last().copied().unwrap_or(unit)
    }
}
