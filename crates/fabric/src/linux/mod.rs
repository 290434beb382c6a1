//! [`Fabric`] on Linux.
//!
//! An attachment is made on a thread of its own: rules first (elements of sets, [`wanted`]), then the interface
//! ([`interface`]). What all nodes share ([`rules`], [`jump`], [`settings`]) is made by `prepare` and mended by `repair`
//! whenever [`watch`] has seen others change packet rules.

pub(crate) mod filter;
mod interface;
mod joining;
mod jump;
mod links;
mod names;
mod namespace;
mod ports;
mod probe;
mod program;
mod resolver;
mod rules;
mod settings;
mod state;
mod wanted;
mod watch;

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use futures_util::stream::{self, BoxStream, StreamExt as _};
use nix::errno::Errno;
use testyard_model::id::{SliceId, SliverId};

use crate::links::HostLink;
use crate::netlink::conntrack::{Conntrack, Flows};
use crate::netlink::{Change, Routing as _, Rtnetlink};
use crate::{Attached, Attachment, Fabric, FabricConfig, FabricError, Repair};
use interface::{Plan, kernel};
pub use joining::try_joining;
use names::Names;
use namespace::Namespace;
use state::State;

/// Nodes that share a lock; calls for one node must not overlap.
const STRIPES: usize = 64;

/// The fabric of one testbed in the network namespace of this process, or another.
#[derive(Debug)]
pub struct LinuxFabric {
    inner: Arc<Inner>,
    namespace: Namespace,
    stripes: Vec<tokio::sync::Mutex<()>>,
    ends: links::Ends,
    kept: links::Kept,
    /// Two that measure at the same time measure each other.
    probing: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct Inner {
    config: FabricConfig,
    names: Names,
    state: Mutex<State>,
    /// Opened when needed, and kept open for the same reason as the table.
    conntrack: Mutex<Option<Conntrack>>,
    rooms: links::Rooms,
    /// Flows to be forgotten by whoever has the lock of `conntrack` next, for all who wait for it.
    stale: Mutex<Vec<Flows>>,
}

impl LinuxFabric {
    /// For the network namespace of this process.
    #[must_use]
    pub fn new(config: FabricConfig) -> Self {
        Self::with(config, None)
    }

    /// For the network namespace that `path` opens: several hosts on one machine.
    #[must_use]
    pub fn in_netns(config: FabricConfig, path: impl Into<PathBuf>) -> Self {
        Self::with(config, Some(path.into()))
    }

    fn with(config: FabricConfig, path: Option<PathBuf>) -> Self {
        let names = Names::new(&config.instance);
        Self {
            kept: links::Kept::new(config.captures.clone()),
            inner: Arc::new(Inner {
                names,
                rooms: links::Rooms::new(&config),
                config,
                state: Mutex::default(),
                conntrack: Mutex::default(),
                stale: Mutex::default(),
            }),
            namespace: Namespace::new(path),
            stripes: std::iter::repeat_with(tokio::sync::Mutex::default).take(STRIPES).collect(),
            ends: links::Ends::default(),
            probing: tokio::sync::Mutex::default(),
        }
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner, &mut Rtnetlink) -> Result<T, FabricError> + Send + 'static,
    ) -> Result<T, FabricError> {
        let inner = Arc::clone(&self.inner);
        self.namespace
            .run(move || {
                let mut host = Rtnetlink::open().map_err(|r| kernel("opening a netlink socket", &r))?;
                work(&inner, &mut host)
            })
            .await
    }

    fn stripe(&self, sliver: SliverId) -> &tokio::sync::Mutex<()> {
        &self.stripes[usize::from(sliver.uuid().as_bytes()[15]) % STRIPES]
    }
}

impl Inner {
    /// A panic elsewhere leaves at worst a mirror that differs from the kernel, which is noticed and mended.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn attach(&self, host: &mut Rtnetlink, attachment: &Attachment, netns: &Path) -> Result<(), FabricError> {
        let sliver = attachment.sliver;
        let netns = open_node(netns, sliver)?;
        let (stale, mtu, uplink6) = {
            let mut state = self.state();
            if !state.is_prepared() {
                state.mend(&self.names, &self.config, host)?;
            }
            (state.admit(&self.names, attachment)?, state.mtu(), state.uplink6())
        };
        self.forget(&stale);
        let plan = Plan { names: &self.names, attachment, mtu };
        interface::connect(&plan, host, &netns)?;
        if let (true, Some(ipv6), Some(index)) = (self.config.ipv6_proxy, attachment.address.ipv6, uplink6) {
            host.apply(&[Change::Proxy { index, ip: ipv6.into(), present: true }])
                .map_err(interface::refused)?;
        }
        Ok(())
    }

    /// Lets in what comes through tunnels to these links, before they are joined.
    fn let_in(&self, host: &mut Rtnetlink, links: &[HostLink]) -> Result<(), FabricError> {
        let peers = peers(links);
        if peers.is_empty() {
            return Ok(());
        }
        let mut state = self.state();
        if !state.is_prepared() {
            state.mend(&self.names, &self.config, host)?;
        }
        state.let_in(&self.names, &peers)
    }

    /// Lets in no more than what the links that are there need: of a slice these, or none.
    fn keep_out(&self, slice: SliceId, links: Option<&[HostLink]>) -> Result<(), FabricError> {
        self.state().keep_out(&self.names, slice, links.map(peers), || self.rooms.joined())
    }

    fn detach(&self, host: &mut Rtnetlink, sliver: SliverId) -> Result<(), FabricError> {
        let name = self.names.link(sliver);
        let link = host.link(&name).map_err(|r| kernel(&format!("looking for {name}"), &r))?;
        let ours = link.filter(|l| self.names.read_alias(&l.alias).is_some_and(|(_, s)| s == sliver));
        if ours.is_some() {
            interface::remove(host, &name)?;
        }
        let mut state = self.state();
        if !state.is_prepared() {
            state.read_elements(&self.names)?;
        }
        let stale = state.dismiss(&self.names, sliver, ours.map(|l| l.group), host)?;
        drop(state);
        self.forget(&stale);
        if !self.config.ipv6_proxy {
            return Ok(());
        }
        let proxies = host.proxies().map_err(|r| kernel("listing neighbours", &r))?;
        for (index, ip) in proxies.into_iter().filter(|(_, ip)| stale.contains(&Flows::OfNode(*ip))) {
            match host.apply(&[Change::Proxy { index, ip, present: false }]) {
                Err(error) if error.refusal.errno != Errno::ENOENT => return Err(interface::refused(error)),
                _ => {}
            }
        }
        Ok(())
    }

    /// After the rules that began them are gone. Nodes do without: at worst a flow lasts until it has been quiet.
    fn forget(&self, stale: &[Flows]) {
        if stale.is_empty() {
            return;
        }
        // Reading the kernel's table takes milliseconds however little is in it, so one look serves many.
        self.stale.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(stale);
        let mut conntrack = self.conntrack.lock().unwrap_or_else(PoisonError::into_inner);
        let stale = std::mem::take(&mut *self.stale.lock().unwrap_or_else(PoisonError::into_inner));
        if stale.is_empty() {
            return;
        }
        let result = match &mut *conntrack {
            Some(conntrack) => conntrack.forget(&stale),
            none => Conntrack::open().and_then(|conntrack| none.insert(conntrack).forget(&stale)),
        };
        match result {
            Ok(count) => tracing::debug!(count, "the kernel has forgotten flows of nodes"),
            Err(refusal) => {
                *conntrack = None;
                tracing::warn!(%refusal, "the kernel still tracks flows by a node's old rules");
            }
        }
    }
}

#[async_trait]
impl Fabric for LinuxFabric {
    async fn prepare(&self) -> Result<(), FabricError> {
        self.run(|inner, host| inner.state().mend(&inner.names, &inner.config, host).map(drop)).await
    }

    async fn attach(&self, attachment: &Attachment, netns: &Path) -> Result<(), FabricError> {
        let _one = self.stripe(attachment.sliver).lock().await;
        let (attachment, netns) = (attachment.clone(), netns.to_owned());
        self.run(move |inner, host| inner.attach(host, &attachment, &netns)).await
    }

    async fn detach(&self, sliver: SliverId) -> Result<(), FabricError> {
        let _one = self.stripe(sliver).lock().await;
        self.run(move |inner, host| inner.detach(host, sliver)).await
    }

    async fn attached(&self) -> Result<Vec<Attached>, FabricError> {
        self.run(|inner, host| {
            let links = host.links().map_err(|r| kernel("listing interfaces", &r))?;
            let mut state = inner.state();
            if !state.is_prepared() {
                state.read_elements(&inner.names)?;
            }
            Ok(state.attached(&inner.names, &links))
        })
        .await
    }

    async fn repair(&self) -> Result<Vec<Repair>, FabricError> {
        let work = |inner: &Inner, host: &mut Rtnetlink| {
            let rules = inner.state().mend(&inner.names, &inner.config, host);
            Ok((rules, inner.rooms.repair()))
        };
        let (rules, (rewired, failed)) = self.run(work).await?;
        let (rewired, wires): (Vec<_>, Vec<_>) = rewired.into_iter().unzip();
        self.ends.watch(wires);
        let mut repairs = rules?;
        repairs.extend(rewired);
        failed.map_or(Ok(repairs), Err)
    }

    fn disturbances(&self) -> BoxStream<'static, ()> {
        let ends = self.ends.disturbances();
        stream::select(watch::disturbances(&self.namespace), ends).boxed()
    }

    async fn name_servers(&self) -> Result<Vec<IpAddr>, FabricError> {
        resolver::name_servers(self.inner.config.ipv6.is_some())
    }

    async fn reset(&self) -> Result<(), FabricError> {
        self.kept.reset().await;
        self.run(|inner, host| {
            inner.rooms.reset()?;
            inner.state().reset(&inner.names, &inner.config, host)
        })
        .await
    }
}

/// The hosts where links go on.
fn peers(links: &[HostLink]) -> BTreeSet<IpAddr> {
    links.iter().filter_map(|link| link.beyond.as_ref()).flat_map(|beyond| &beyond.peers).copied().collect()
}

fn open_node(path: &Path, sliver: SliverId) -> Result<File, FabricError> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => FabricError::Gone { sliver },
        // What `/proc` says of a process that is ending.
        _ if matches!(error.raw_os_error(), Some(libc::ESRCH | libc::ENOENT)) => FabricError::Gone { sliver },
        _ => FabricError::Kernel { action: format!("opening {}", path.display()), detail: error.to_string() },
    };
    let netns = namespace::open(path).map_err(failed)?;
    // The node's process has ended, and its number is a process of the host now.
    if same_file(&netns, &namespace::current().map_err(failed)?).map_err(failed)? {
        return Err(FabricError::Gone { sliver });
    }
    Ok(netns)
}

fn same_file(a: &File, b: &File) -> io::Result<bool> {
    let (a, b) = (a.metadata()?, b.metadata()?);
    Ok((a.dev(), a.ino()) == (b.dev(), b.ino()))
}
