use std::cell::RefCell;
use std::net::IpAddr;
use std::path::Path;

use testyard_model::id::Instance;
use testyard_model::impairment::Impairment;
use testyard_model::link::LinkKind;

use super::super::capture::Budget;
use super::super::choice::Choice;
use super::super::layout::Means;
use super::super::names;
use super::super::space::Spaces;
use super::*;
use crate::links::{Beyond, HostLink, LinkEnd, PortId};
use crate::netlink::{Address, Lead, Mac, Refusal, Route, Seen};

/// A kernel's interfaces in memory, which stops to answer after so many changes, as if whoever asks were killed.
#[derive(Debug, Default)]
struct Kernel {
    links: Vec<Link>,
    leads: Vec<Lead>,
    left: Option<usize>,
    /// An interface that ends as soon as something is done to it.
    dying: Option<u32>,
}

impl Kernel {
    fn add(&mut self, name: &str, mtu: u32) -> u32 {
        let index = self.links.iter().map(|link| link.index).max().unwrap_or(1) + 1;
        let (name, alias) = (name.to_owned(), String::new());
        self.links.push(Link { index, name, alias, mac: None, mtu, group: 0, up: false, peer: 0, master: 0 });
        index
    }

    fn at(&mut self, link: &LinkRef) -> Result<&mut Link, Errno> {
        let is_it = |one: &Link| match link {
            LinkRef::Name(name) => one.name == *name,
            LinkRef::Index(index) => one.index == *index,
        };
        // It was there when it was looked for.
        self.links.retain(|one| !(self.dying == Some(one.index) && is_it(one)));
        self.links.iter_mut().find(|one| is_it(one)).ok_or(Errno::ENODEV)
    }

    fn change(&mut self, change: &Change) -> Result<(), Errno> {
        if let Some(left) = &mut self.left {
            *left = left.checked_sub(1).ok_or(Errno::EINTR)?;
        }
        match change {
            Change::CreateBridge { name, mtu } => {
                self.add(name, *mtu);
            }
            Change::CreateVeth { name, mtu, peer, .. } => {
                let (one, other) = (self.add(name, *mtu), self.add(&peer.name, *mtu));
                self.at(&LinkRef::Index(one))?.peer = other;
                self.at(&LinkRef::Index(other))?.peer = one;
            }
            Change::CreateTunnel { name, mtu, .. } => {
                self.add(name, *mtu);
            }
            Change::Lead { index, to } => {
                self.at(&LinkRef::Index(*index))?;
                self.leads.push(Lead { index: *index, mac: Mac::ZERO, to: *to });
            }
            Change::NoLead { lead } => {
                let before = self.leads.len();
                self.leads.retain(|there| there != lead);
                if self.leads.len() == before {
                    return Err(Errno::ENOENT);
                }
            }
            Change::DeleteLink { name } => {
                let gone = self.at(&LinkRef::Name(name.clone()))?.clone();
                self.leads.retain(|lead| lead.index != gone.index);
                self.links.retain(|link| link.index != gone.index && link.index != gone.peer);
            }
            Change::Master { link, bridge } => self.at(link)?.master = bridge.unwrap_or(0),
            Change::Alias { link, text } => self.at(link)?.alias.clone_from(text),
            Change::Mtu { link, mtu } => self.at(link)?.mtu = *mtu,
            Change::Up { link } => self.at(link)?.up = true,
            Change::Down { link } => self.at(link)?.up = false,
            Change::NoRedirect { index } => drop(self.at(&LinkRef::Index(*index))?),
            other => panic!("not looked for here: {other:?}"),
        }
        Ok(())
    }

    /// All that matters, by names.
    fn seen(&self) -> Vec<String> {
        let name = |index: u32| self.links.iter().find(|link| link.index == index).map(|link| &link.name);
        let show = |link: &Link| {
            let Link { name: own, alias, mtu, up, .. } = link;
            let leads = self.leads.iter().filter(|lead| lead.index == link.index);
            let leads: Vec<String> = leads.map(|lead| lead.to.to_string()).collect();
            let (peer, master) = (name(link.peer), name(link.master));
            format!("{own} {alias:?} {mtu} {up} peer {peer:?} master {master:?} leads to {leads:?}")
        };
        let mut seen: Vec<String> = self.links.iter().map(show).collect();
        seen.sort();
        seen
    }
}

/// The slice's namespace and the host's are one here.
impl Routing for &RefCell<Kernel> {
    fn link(&mut self, name: &str) -> Result<Option<Link>, Refusal> {
        Ok(self.borrow().links.iter().find(|link| link.name == name).cloned())
    }

    fn links(&mut self) -> Result<Vec<Link>, Refusal> {
        Ok(self.borrow().links.clone())
    }

    fn routes(&mut self) -> Result<Vec<Route>, Refusal> {
        Ok(Vec::new())
    }

    fn addresses(&mut self) -> Result<Vec<Address>, Refusal> {
        Ok(Vec::new())
    }

    fn proxies(&mut self) -> Result<Vec<(u32, IpAddr)>, Refusal> {
        Ok(Vec::new())
    }

    fn leads(&mut self) -> Result<Vec<Lead>, Refusal> {
        Ok(self.borrow().leads.clone())
    }

    fn disciplines(&mut self) -> Result<Vec<Seen>, Refusal> {
        Ok(Vec::new())
    }

    fn apply(&mut self, changes: &[Change]) -> Result<(), ChangeError> {
        changes.iter().try_for_each(|change| {
            self.borrow_mut()
                .change(change)
                .map_err(|errno| ChangeError { change: change.to_string(), refusal: errno.into() })
        })
    }
}

/// Makes a room's links so.
fn make_in(kernel: &RefCell<Kernel>, room: &mut Room) -> Result<(), FabricError> {
    make(room, &mut &*kernel, &mut Outside { kernel, space: 9 })
}

/// A LAN of three nodes, of which these are impaired.
fn lan(number: u8, mtu: u16, impaired: &[u8]) -> HostLink {
    let ends = (1..=3).map(|member| {
        let mut to_link = Impairment::default();
        if impaired.contains(&member) {
            to_link.delay = "5ms".parse().unwrap();
        }
        let node = format!("0197e7a0-0000-7000-8000-00000000{number:02x}{member:02x}").parse().unwrap();
        LinkEnd { port: PortId { node, device: "eth1".into() }, to_link, from_link: Impairment::default() }
    });
    HostLink {
        sliver: format!("0197e7a0-0000-7000-8000-0000000000{number:02x}").parse().unwrap(),
        name: format!("lan{number}"),
        kind: LinkKind::Lan,
        up: true,
        mtu,
        seed: 7,
        is_seed_chosen: false,
        capture: None,
        ends: ends.collect(),
        beyond: None,
    }
}

/// The same, with members at these hosts, too.
fn beyond(link: HostLink, vni: u32, peers: &[[u8; 4]]) -> HostLink {
    let (local, peers) = ([192, 0, 2, 1].into(), peers.iter().map(|peer| (*peer).into()).collect());
    HostLink { beyond: Some(Beyond { vni: vni.try_into().unwrap(), local, peers, far: None }), ..link }
}

/// A room that has just been entered, as by a server that has just been started.
fn room(links: &[HostLink]) -> Room {
    let instance: Instance = "t0".parse().unwrap();
    let slice = "0197e7a0-0000-7000-8000-000000000001".parse().unwrap();
    let mut room =
        Room::of(Spaces::new(Path::new("/nowhere"), &instance).of(slice), Budget::of_this_machine());
    room.layout = Layout::of(links, Means { choice: Choice::Wire, tunnel_port: 14_789 }).unwrap();
    room
}

/// What is there after one link has become another, if it is made so in one go.
fn whole(before: &[HostLink], after: &[HostLink]) -> (RefCell<Kernel>, usize) {
    let kernel = RefCell::new(Kernel::default());
    make_in(&kernel, &mut room(before)).unwrap();
    kernel.borrow_mut().left = Some(usize::MAX);
    make_in(&kernel, &mut room(after)).unwrap();
    let changes = usize::MAX - kernel.borrow_mut().left.take().unwrap();
    (kernel, changes)
}

/// Links come, change and go; whoever makes it so is killed after each step, and another goes on with what it finds.
#[test]
fn who_is_killed_after_any_step_leaves_nothing_half_made() {
    let one = [lan(1, 1500, &[1, 3])];
    let two = [lan(1, 1400, &[1]), lan(2, 9000, &[2])];
    let far = [beyond(lan(1, 1500, &[1]), 7, &[[192, 0, 2, 2], [192, 0, 2, 3]])];
    let farther = [beyond(lan(1, 1400, &[]), 7, &[[192, 0, 2, 3], [192, 0, 2, 4]]), lan(2, 9000, &[2])];
    let elsewhere = [beyond(lan(1, 1500, &[1]), 8, &[[192, 0, 2, 2]])];
    let ways: [(&[HostLink], &[HostLink]); 9] = [
        (&[], &one),
        (&one, &two),
        (&two, &one),
        (&one, &[]),
        (&one, &far),
        (&far, &farther),
        (&farther, &elsewhere),
        (&elsewhere, &one),
        (&farther, &[]),
    ];
    for (before, after) in ways {
        let (wanted, changes) = whole(before, after);
        for killed_after in 0..changes {
            let (kernel, _) = whole(&[], before);
            kernel.borrow_mut().left = Some(killed_after);
            make_in(&kernel, &mut room(after)).unwrap_err();
            kernel.borrow_mut().left = None;
            make_in(&kernel, &mut room(after)).unwrap();
            let (seen, wanted) = (kernel.borrow().seen(), wanted.borrow().seen());
            assert_eq!(seen, wanted, "killed after {killed_after} of {changes} changes");
        }
    }
}

/// Whichever node ends while its link is joined, the others are on it.
#[test]
fn who_ends_meanwhile_keeps_nobody_else_from_the_link() {
    for dying in 0..3 {
        let link = lan(1, 1500, &[]);
        let mut kernel = Kernel::default();
        let halves: Vec<String> = link.ends.iter().map(|end| names::half(&end.port)).collect();
        let indices: Vec<u32> = halves.iter().map(|half| kernel.add(half, 1500)).collect();
        kernel.dying = Some(indices[dying]);
        let kernel = RefCell::new(kernel);
        make_in(&kernel, &mut room(&[link])).unwrap();
        for (place, half) in halves.iter().enumerate() {
            let joined = (&kernel).link(half).unwrap().map(|half| half.up && half.master != 0);
            assert_eq!(joined, (place != dying).then_some(true), "{half}");
        }
    }
}
