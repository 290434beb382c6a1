//! What a host does to connect nodes.
//!
//! First each node's control interface. The engine starts nodes without a network; the fabric makes a veth,
//! puts one half into the node as `eth0`, routes the node's addresses to the other half, and keeps one table of
//! packet rules: NAT out, forwarded ports in, no traffic between slices, source addresses enforced. What it makes
//! lives in the kernel, outlives the agent and carries the testbed's instance mark.
//!
//! Then the links of slices ([`links`]): their halves meet in a network namespace a slice, joined in the kernel where nothing
//! is to be done to their packets; where something is, the kernel's netem does it, or a wire. Where a link goes on at another host,
//! a tunnel (VXLAN) leads there.
//!
//! What passes the interfaces of links can be captured ([`capture`]).
//!
//! The kernel is behind [`Fabric`]; [`fake`] is one that remembers, for tests and for planning.

pub mod capture;
mod contract;
pub mod fake;
pub mod links;
mod linux;
mod netlink;

pub use contract::{
    Attached, Attachment, ControlAddress, Emulator, Fabric, FabricConfig, FabricError, Forward, Repair,
};
pub use links::Links;
pub use linux::{LinuxFabric, try_joining};
