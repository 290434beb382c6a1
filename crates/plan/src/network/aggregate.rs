//! Many networks with one next hop as few routes: neighbours in the address space become the prefix that holds both.
//!
//! A route never covers an address that is nobody's here: a node's answers to the outside, which leave over the control
//! network, must not go astray because a route to `10.0.0.0/8` was short to write. Only the two /24 of each /16 that
//! automatic addressing leaves out (`10.x.0.0`, `10.x.255.0`) are covered too.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net};

use crate::network::addresses::overlap;
use crate::network::graph::{HERE, NOWHERE, Search};
use crate::network::parts::NetworkLink;

/// A network by address: the number of one, or a gap that automatic addressing leaves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Item {
    base: u128,
    length: u8,
    /// [`NOWHERE`] is a gap.
    network: u32,
}

/// A part of the address space with one next hop; [`HERE`] if any is good.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Block {
    base: u128,
    length: u8,
    hop: u32,
}

/// All networks of a family, and the gaps, by address.
pub(crate) fn items(networks: &[IpNet], links: &[NetworkLink], avoided: &[IpNet], ipv4: bool) -> Vec<Item> {
    let item = |network: IpNet, number: u32| Item {
        base: base(network),
        length: network.prefix_len(),
        network: number,
    };
    let mut items: Vec<Item> =
        networks.iter().zip(0..).map(|(network, number)| item(*network, number)).collect();
    let by_address = |item: &Item| (item.base, item.length, item.network);
    items.sort_unstable_by_key(by_address);
    if !ipv4 {
        return items;
    }
    let blocks: BTreeSet<u32> = links
        .iter()
        .filter(|link| link.automatic)
        .filter_map(|link| match link.subnets.first() {
            Some(IpNet::V4(network)) => Some(u32::from(network.network()) & 0xffff_0000),
            _ => None,
        })
        .collect();
    let mut gaps = Vec::new();
    for block in blocks {
        for gap in [block, block | 0xff00].map(Ipv4Addr::from) {
            let Ok(gap) = Ipv4Net::new(gap, 24) else { continue };
            let gap = IpNet::V4(gap);
            let last = base(gap) + 0xff;
            let behind = items.partition_point(|item| item.base <= last);
            // Whoever overlaps begins inside of it, or is a wider one that begins before.
            let taken =
                items[..behind].last().is_some_and(|item| end(item.base, item.length, 32) >= base(gap));
            if !taken && !avoided.iter().any(|avoided| overlap(*avoided, gap)) {
                gaps.push(item(gap, NOWHERE));
            }
        }
    }
    items.extend(gaps);
    items.sort_unstable_by_key(by_address);
    items
}

/// The routes to what a search found: prefix and number of the next hop.
pub(crate) fn aggregate(items: &[Item], search: &Search, ipv4: bool) -> Vec<(IpNet, u32)> {
    let width = if ipv4 { 32 } else { 128 };
    let mut blocks: Vec<Block> = Vec::new();
    let mut nested: Vec<Block> = Vec::new();
    let mut rest = items;
    while let Some(first) = rest.first() {
        // Several links may have one network: the nearest of them counts.
        let same =
            rest.iter().take_while(|item| (item.base, item.length) == (first.base, first.length)).count();
        let (twins, behind) = rest.split_at(same);
        rest = behind;
        let hop_of = |item: &Item| {
            if item.network == NOWHERE { HERE } else { search.network_hop[item.network as usize] }
        };
        let nearest = |item: &&Item| match hop_of(item) {
            HERE => (0, 0),
            NOWHERE => (2, 0),
            _ => (1, search.rank[item.network as usize]),
        };
        let hop = twins.iter().min_by_key(nearest).map_or(NOWHERE, hop_of);
        let block = Block { base: first.base, length: first.length, hop };
        if hop == NOWHERE {
            continue;
        }
        if blocks.last().is_some_and(|last| end(last.base, last.length, width) >= block.base) {
            nested.push(block);
            continue;
        }
        blocks.push(block);
        while let [.., one, other] = blocks[..]
            && let Some(both) = join(one, other, width)
        {
            blocks.truncate(blocks.len() - 2);
            blocks.push(both);
        }
    }
    let routes = blocks.into_iter().chain(nested).filter(|block| block.hop != HERE);
    routes.filter_map(|block| Some((prefix(block, ipv4)?, block.hop))).collect()
}

/// The prefix that holds two halves with one next hop.
fn join(one: Block, other: Block, width: u8) -> Option<Block> {
    let hop = match (one.hop, other.hop) {
        (HERE, hop) | (hop, HERE) => hop,
        (hop, same) if hop == same => hop,
        _ => return None,
    };
    let halves = one.length == other.length && one.length > 0;
    let bit = 1_u128.checked_shl(u32::from(width.checked_sub(one.length)?))?;
    (halves && one.base & bit == 0 && one.base.checked_add(bit)? == other.base).then_some(Block {
        base: one.base,
        length: one.length - 1,
        hop,
    })
}

fn base(network: IpNet) -> u128 {
    match network {
        IpNet::V4(net) => u128::from(u32::from(net.network())),
        IpNet::V6(net) => u128::from(net.network()),
    }
}

/// The last address.
fn end(base: u128, length: u8, width: u8) -> u128 {
    base | 1_u128.checked_shl(u32::from(width - length)).map_or(u128::MAX, |size| size - 1)
}

fn prefix(block: Block, ipv4: bool) -> Option<IpNet> {
    let address = if ipv4 {
        IpAddr::V4(Ipv4Addr::from(u32::try_from(block.base).ok()?))
    } else {
        IpAddr::V6(Ipv6Addr::from(block.base))
    };
    IpNet::new(address, block.length).ok()
}
