//! A network of the box's own: bridges, addresses, names, ports, and the rules between them.
//!
//! ```text
//!   box "web" (its own network namespace)             the host
//!  ┌─────────────────────────────────┐
//!  │ lo   127.0.0.1                  │     hvID.0, a port
//!  │ eth0 10.216.248.191/32  ────────┼─────┐ of the bridge
//!  │      default via 10.216.248.1   │     │
//!  │ /etc/hosts: web, db, …          │  ┌──┴──────────────┐   table inet herd
//!  │ /etc/resolv.conf: real servers  │  │ herd-default    │   guard        no foreign source address
//!  └─────────────────────────────────┘  │ 10.216.248.1/22 ├─▶ ports        8080 → 10.216.248.191:80
//!   box "db"    10.216.249.3/32 ────────┤                 │   forward      allow, deny, isolate, rates
//!                                       └─────────────────┘   postrouting  masquerade ──▶ eth0 of the host
//! ```
//!
//! A box has all of its addresses for itself and asks its gateway for everybody else, also for the box next door.
//! Frames to anybody else, or from anybody else's address, do not pass its port: every packet between boxes goes by
//! the host's rules, where connections are known. They stand in one table for packets and one for frames (nftables has
//! no table of both), changed by one batch, which the kernel takes whole or not at all. Nothing of anybody
//! else's is touched.
//!
//! Who builds a box takes a *lease* before its namespaces exist ([`PrivateNetwork::id`]), and links it once they do. The
//! lease is written down under `/run/herd/network`, in a file of the network namespace that it is for, which any
//! number of supervisors share. [`release`] ends it; what a killed supervisor has left is found by
//! [`collect`], which also happens with every new lease: a lease is over when its box's first process has gone and
//! its interface with it.
//!
//! The rules are the walls, and whoever may change the firewall can take them away: `nft flush ruleset` does. Then boxes
//! reach each other, and whoever a box had been denied, until [`repair`] or the next lease puts the tables back. herd's
//! supervisor does so at once, by [`Watch`]; who uses this crate without it, or `vb`, does it by hand or lives with it.
//! With bridges it is the same: [`LinkWatch`] hears that one has gone, and [`mend()`] or the next lease on its network makes it
//! again and puts the boxes back on it.
//! So that what listens on the host's loopback is not open then too, `route_localnet` is set for a bridge only as long as a
//! box on it has a port on a loopback address of the host.
//!
//! Without root there is no lease, and nothing of the host changes: a program of the system's speaks for the box
//! ([`UserModeProgram`]), kept by a process that lives as long as the box. [`release`] then waits for its end.
//!
//! [`PrivateNetwork::id`]: crate::config::PrivateNetwork::id
#![forbid(unsafe_code)]

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::config::{MacAddress, Port};
use crate::sys::Errno;

mod address_pool;
mod apply;
mod connections;
mod damage;
mod firewall;
mod hand;
mod holder;
mod keeper;
mod link_rules;
mod link_watch;
mod links;
mod mend;
mod names;
mod netlink;
mod news;
mod nft;
mod picture;
mod port_rules;
mod registry;
pub(crate) mod relay;
mod rules;
mod settings;
mod state;
mod strangers;
mod trial;
pub(crate) mod user_mode;
mod watch;

pub(crate) use apply::{Taken, resolv_of_host};
pub use apply::{collect, is_nowhere, name_servers, release};
pub use firewall::{Damage, Repaired, refusals_to_forward, repair};
pub use holder::Holder;
pub(crate) use keeper::Keeper;
pub use link_watch::{LinkWatch, LinksHeard};
pub use mend::{CutOff, Harm, Mended, Mending, mend};
pub(crate) use names::hosts;
pub(crate) use registry::box_directory;
pub use registry::held_by;
pub(crate) use trial::tried;
pub use user_mode::{UserModeKind, UserModeProgram};
pub use watch::{Heard, Stranger, Watch};

/// Where everything is written down.
pub const BASE: &str = "/run/herd/network";

/// A network cannot be made, and nothing of it is left.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    #[error("cannot use {path}", path = path.display())]
    Registry { path: PathBuf, source: io::Error },
    #[error(
        "{path} is damaged: what boxes have is not known, and no network changes before the last of them has ended",
        path = path.display()
    )]
    Damaged { path: PathBuf, source: io::Error },
    #[error("port {port}{} is taken by {by}", of_range(*.port, *.number))]
    PortTaken { port: Port, number: u16, by: String },
    #[error("port {port}{} is in use on the host{}", of_range(*.port, *.number), held(.by.as_ref()))]
    PortInUse {
        port: Port,
        /// Which of them.
        number: u16,
        /// Who listens there, where that can be found.
        by: Option<Holder>,
        source: io::Error,
    },
    #[error("cannot listen at port {port}")]
    Relay { port: Port, source: io::Error },
    #[error(
        "{count} ports on [::1]: a box has {most} at most, because each takes a socket that waits"
    )]
    TooManyRelayed { count: usize, most: usize },
    #[error(
        "port {port}: the host gives ports below {first} to root alone (net.ipv4.ip_unprivileged_port_start)"
    )]
    PortOfRoot { port: Port, first: u16 },
    #[error("{program} {words}")]
    UserMode {
        program: &'static str,
        /// How it ended, and what it said.
        words: String,
    },
    #[error("a box with the id {0} runs already")]
    IdTaken(String),
    #[error("ports lead to a box on a bridge, and it has none")]
    PortsWithoutBridge,
    #[error(
        "port {port}: network {network} is internal, where only the host itself reaches a port: give the port an address of 127.0.0.0/8 or [::1], or the box another network too"
    )]
    PortInside { port: Port, network: String },
    #[error("port {port}: network {network}, where it leads, has no IPv6")]
    PortWithoutIpv6 { port: Port, network: String },
    #[error(
        "what goes through an interface that is on no bridge of herd's does not pass the host: nothing can be allowed, denied or limited there"
    )]
    RulesWithoutBridge,
    #[error("network {0} is given twice")]
    Twice(String),
    #[error("address {address} is taken by {by}")]
    AddressTaken { address: IpAddr, by: String },
    #[error("hardware address {mac} is taken on network {network}, by {by}")]
    MacTaken {
        mac: MacAddress,
        network: String,
        by: String,
    },
    #[error("address {address} is none of a box in network {network} ({subnet})")]
    OutsideSubnet {
        address: IpAddr,
        network: String,
        subnet: IpNet,
    },
    #[error("address {address}: network {network} has no IPv6")]
    NoIpv6 { address: Ipv6Addr, network: String },
    #[error("network {network} is full: all addresses of {subnet} are taken, by {boxes} boxes")]
    Exhausted {
        network: String,
        subnet: Ipv4Net,
        boxes: usize,
    },
    #[error("network {network}: {subnet} overlaps {route}, to which the host has a route")]
    SubnetTaken {
        network: String,
        subnet: IpNet,
        route: IpNet,
    },
    #[error("network {network}: {subnet6} has no place for every box of {subnet}")]
    SmallSubnet6 {
        network: String,
        subnet6: Ipv6Net,
        subnet: Ipv4Net,
    },
    #[error(
        "the host has routes into every subnet that networks are made in: give the network one"
    )]
    NoSubnet,
    #[error("an interface {0} is there already that is not herd's")]
    Foreign(String),
    #[error(
        "interface {0} is of a box of another herd in this network namespace, whose /run is not ours: herds that share a network share /run/herd too"
    )]
    OtherHerd(String),
    #[error("the host has no interface {0}")]
    NoParent(String),
    #[error("this kernel has no {0}")]
    NoKind(&'static str),
    #[error("cannot {action}")]
    Link { action: String, source: io::Error },
    #[error("this kernel has no nf_tables, which ports, NAT and rules between boxes need")]
    NoFirewall,
    #[error("cannot change the tables inet herd and bridge herd of the firewall")]
    Rules(#[source] io::Error),
    #[error("cannot set {path} to {value}", path = path.display())]
    Setting {
        path: PathBuf,
        value: String,
        source: io::Error,
    },
}

/// Which port of a range it is; nothing where there is one alone.
fn of_range(port: Port, number: u16) -> String {
    match port.count {
        1 => String::new(),
        _ => format!(": {number}"),
    }
}

fn held(holder: Option<&Holder>) -> String {
    holder.map_or_else(String::new, |holder| format!(", by {holder}"))
}

impl NetworkError {
    /// The kernel's reason, or the number that comes nearest to ours.
    pub(crate) fn errno(&self) -> Errno {
        let source = match self {
            Self::Registry { source, .. }
            | Self::Damaged { source, .. }
            | Self::PortInUse { source, .. }
            | Self::Link { source, .. }
            | Self::Relay { source, .. }
            | Self::Rules(source)
            | Self::Setting { source, .. } => source,
            Self::PortTaken { .. }
            | Self::AddressTaken { .. }
            | Self::MacTaken { .. }
            | Self::SubnetTaken { .. } => {
                return Errno(libc::EADDRINUSE);
            }
            Self::OutsideSubnet { .. } | Self::NoIpv6 { .. } | Self::Exhausted { .. } => {
                return Errno(libc::EADDRNOTAVAIL);
            }
            Self::NoSubnet | Self::SmallSubnet6 { .. } => return Errno(libc::EADDRNOTAVAIL),
            Self::Foreign(_) | Self::OtherHerd(_) => return Errno(libc::EEXIST),
            Self::NoParent(_) => return Errno(libc::ENODEV),
            Self::PortOfRoot { .. } => return Errno(libc::EACCES),
            Self::UserMode { .. } => return Errno(libc::ENETDOWN),
            Self::NoFirewall => return Errno(libc::EPROTONOSUPPORT),
            Self::NoKind(_) => return Errno(libc::EOPNOTSUPP),
            Self::TooManyRelayed { .. } => return Errno(libc::E2BIG),
            Self::IdTaken(_) => return Errno(libc::EEXIST),
            Self::PortsWithoutBridge
            | Self::PortInside { .. }
            | Self::PortWithoutIpv6 { .. }
            | Self::RulesWithoutBridge
            | Self::Twice(_) => {
                return Errno(libc::EINVAL);
            }
        };
        Errno(source.raw_os_error().unwrap_or(libc::EIO))
    }
}

/// One network, as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkView {
    pub name: String,
    /// The bridge.
    pub device: String,
    pub subnet: Ipv4Net,
    pub subnet6: Option<Ipv6Net>,
    pub gateway: Ipv4Addr,
    pub gateway6: Option<Ipv6Addr>,
    pub internal: bool,
    pub boxes: Vec<BoxView>,
}

/// One box on networks, as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BoxView {
    pub id: String,
    pub name: String,
    /// In the order of its interfaces that are on bridges.
    pub ends: Vec<EndView>,
    pub ports: Vec<Port>,
}

/// One interface of a box on a bridge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndView {
    pub network: String,
    pub device: String,
    pub address: Ipv4Addr,
    pub address6: Option<Ipv6Addr>,
}

/// All networks that have boxes, in the caller's network namespace.
///
/// # Errors
/// When what is written down cannot be read.
pub fn networks() -> Result<Vec<NetworkView>, NetworkError> {
    let state = registry::Registry::look()?;
    let boxes = boxes_of(&state);
    let view = |(name, bridge): (&String, &state::Bridge)| NetworkView {
        name: name.clone(),
        device: bridge.device.clone(),
        subnet: bridge.subnet,
        subnet6: bridge.subnet6,
        gateway: address_pool::gateway(bridge.subnet),
        gateway6: bridge.subnet6.map(address_pool::gateway6),
        internal: bridge.internal,
        boxes: boxes
            .iter()
            .filter(|one| one.ends.iter().any(|end| end.network == *name))
            .cloned()
            .collect(),
    };
    Ok(state.networks.iter().map(view).collect())
}

/// What the box of this id has; `None` when it has no lease.
///
/// # Errors
/// As [`networks`].
pub fn box_of(id: &str) -> Result<Option<BoxView>, NetworkError> {
    let boxes = boxes_of(&registry::Registry::look()?);
    Ok(boxes.into_iter().find(|one| one.id == id))
}

/// Reads bytes as answers of the kernel's netlink are read: links, addresses, routes, the firewall's. Gives a number for
/// the kind of what was found; there is no way to fail. It is here to be fed with what no kernel sends.
#[doc(hidden)]
pub fn read_answers(bytes: &[u8]) -> u64 {
    netlink::read_in_every_way(bytes)
}

fn boxes_of(state: &state::State) -> Vec<BoxView> {
    let end = |link: &state::Leased| EndView {
        network: link.network.clone(),
        device: link.device.clone(),
        address: link.address,
        address6: link.address6,
    };
    let view = |(id, lease): (&String, &state::Lease)| BoxView {
        id: id.clone(),
        name: lease.name.clone(),
        ends: lease.links.iter().map(end).collect(),
        ports: lease.ports.clone(),
    };
    state.leases.iter().map(view).collect()
}
