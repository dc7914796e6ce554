//! Bridges that somebody has taken away or changed under the boxes on them, put right again.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::net::IpAddr;

use super::apply::{failed, make_bridge, open_route};
use super::netlink::{AddressView, Netlink};
use super::registry::Registry;
use super::state::{Bridge, State};
use super::{NetworkError, address_pool as pool, links, settings};

/// What was wrong with a bridge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Harm {
    /// There was none of this name.
    Missing,
    /// It was down, or lacked an address.
    Changed,
    /// So many boxes were not on it any more, or their interfaces were down.
    Left(usize),
}

/// A bridge that is as it should be again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mended {
    pub network: String,
    /// The bridge.
    pub device: String,
    pub harm: Harm,
    /// So many are on it.
    pub boxes: usize,
}

impl fmt::Display for Mended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { device, boxes, .. } = self;
        match self.harm {
            Harm::Missing => write!(
                f,
                "somebody has taken bridge {device} away: it is back, with {} on it",
                counted(*boxes)
            ),
            Harm::Changed => write!(f, "somebody has changed bridge {device}: it is as it was"),
            Harm::Left(left) => write!(
                f,
                "somebody has taken {} off bridge {device}: on it again",
                counted(left)
            ),
        }
    }
}

fn counted(boxes: usize) -> String {
    match boxes {
        1 => "1 box".to_owned(),
        more => format!("{more} boxes"),
    }
}

/// A box that lives and whose interface is gone: only a new start gives it one. It may also be about to end: the kernel takes
/// the interfaces of a box before the end of its last process can be seen by anything but that process's flags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CutOff {
    /// Of the box.
    pub id: String,
    pub network: String,
    /// The host's end.
    pub device: String,
}

/// What [`mend`] has found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mending {
    pub mended: Vec<Mended>,
    pub cut_off: Vec<CutOff>,
}

/// Looks whether bridges with boxes are there, up, with their addresses and their boxes on them, and puts right what is
/// not: connections go on. Of the interfaces in `gone` it is said whose they were, where that box lives. Waits for others
/// that change networks of the same machine only where something is wrong.
///
/// [`LinkWatch`](super::LinkWatch) tells when to ask.
///
/// # Errors
/// When what is written down cannot be read, or the kernel refuses a change.
pub fn mend(gone: &BTreeSet<String>) -> Result<Mending, NetworkError> {
    let mut host = open_route()?;
    let state = Registry::look()?;
    let is_ours = |device: &String| lease_of(&state, device).is_some();
    if harms(&mut host, &state)?.is_empty() && !gone.iter().any(is_ours) {
        return Ok(Mending::default());
    }
    let Some(registry) = Registry::open_existing()? else {
        return Ok(Mending::default());
    };
    let mending = put_right(&registry, &mut host, gone);
    registry.leave()?;
    mending
}

fn put_right(
    registry: &Registry,
    host: &mut Netlink,
    gone: &BTreeSet<String>,
) -> Result<Mending, NetworkError> {
    let state = &registry.state;
    let mut mending = Mending::default();
    for (network, harm) in harms(host, state)? {
        let Some(bridge) = state.networks.get(&network) else {
            continue;
        };
        make_bridge(host, bridge)?;
        settings::bridge(&bridge.device)?;
        if harm == Harm::Changed && bridge.subnet6.is_some() {
            add_link_local(host, bridge)?;
        }
        put_back_on(host, state, &network, bridge)?;
        mending.mended.push(Mended {
            device: bridge.device.clone(),
            harm,
            boxes: ends_on(state, &network).count(),
            network,
        });
    }
    if !mending.mended.is_empty() {
        settings::loopback_ports(state)?;
    }
    for device in gone {
        let Some((id, network)) = lease_of(state, device) else {
            continue;
        };
        let is_gone = host.link_if_any(device).map_err(unseen(device))?.is_none();
        if is_gone && registry.is_live(id) {
            mending.cut_off.push(CutOff {
                id: id.to_owned(),
                network: network.to_owned(),
                device: device.clone(),
            });
        }
    }
    Ok(mending)
}

/// The kernel gives an interface its link-local address when it goes up, and not again where somebody has taken that from
/// it; without one it asks for no neighbour.
fn add_link_local(host: &mut Netlink, bridge: &Bridge) -> Result<(), NetworkError> {
    let address = IpAddr::V6(pool::link_local(pool::bridge_mac(bridge.subnet)));
    let index = host.index(&bridge.device).map_err(unseen(&bridge.device))?;
    match host.one(links::address(index, address, 64)) {
        Err(error) if error.raw_os_error() == Some(libc::EEXIST) => Ok(()),
        answer => answer.map_err(failed(&format!("give {} its address", bridge.device))),
    }
}

/// Puts the boxes of a network on its bridge that are not, as those of one that was made anew.
pub(super) fn put_back_on(
    host: &mut Netlink,
    state: &State,
    network: &str,
    bridge: &Bridge,
) -> Result<(), NetworkError> {
    let index = host.index(&bridge.device).map_err(unseen(&bridge.device))?;
    for device in ends_on(state, network) {
        let link = host.link_if_any(device).map_err(unseen(device))?;
        if link.is_none_or(|link| link.is_up && link.bridge == Some(index)) {
            continue;
        }
        let put = [links::put_on(device, index), links::back_and_forth(device)];
        match host.all(put) {
            // Its box has ended at this moment.
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => {}
            answer => answer.map_err(failed(&format!("put {device} on {}", bridge.device)))?,
        }
    }
    Ok(())
}

/// The networks whose bridge is not as it should be.
fn harms(host: &mut Netlink, state: &State) -> Result<Vec<(String, Harm)>, NetworkError> {
    if state.networks.is_empty() {
        return Ok(Vec::new());
    }
    let addresses = host.addresses();
    let addresses = addresses.map_err(failed("list the addresses of the host"))?;
    let mut found = Vec::new();
    for (network, bridge) in &state.networks {
        let harm = harm(host, state, addresses.as_deref(), network, bridge);
        found.extend(
            harm.map_err(unseen(&bridge.device))?
                .map(|harm| (network.clone(), harm)),
        );
    }
    Ok(found)
}

fn harm(
    host: &mut Netlink,
    state: &State,
    addresses: Option<&[AddressView]>,
    network: &str,
    bridge: &Bridge,
) -> io::Result<Option<Harm>> {
    let Some(link) = host.link_if_any(&bridge.device)? else {
        return Ok(Some(Harm::Missing));
    };
    let six = bridge.subnet6.map(|six| IpAddr::V6(pool::gateway6(six)));
    let mut own = [Some(IpAddr::V4(pool::gateway(bridge.subnet))), six]
        .into_iter()
        .flatten();
    let has = |address: IpAddr| {
        addresses.is_none_or(|all| {
            all.iter()
                .any(|one| one.index == link.index && one.address == address)
        })
    };
    if !link.is_up || !own.all(has) {
        return Ok(Some(Harm::Changed));
    }
    let mut left = 0;
    for device in ends_on(state, network) {
        let end = host.link_if_any(device)?;
        left += usize::from(end.is_some_and(|end| !end.is_up || end.bridge != Some(link.index)));
    }
    Ok((left > 0).then_some(Harm::Left(left)))
}

fn ends_on<'a>(state: &'a State, network: &'a str) -> impl Iterator<Item = &'a str> {
    let links = state.leases.values().flat_map(|lease| &lease.links);
    let on_it = links.filter(move |link| link.network == network);
    on_it.map(|link| link.device.as_str())
}

/// Whose end this is, and on which network.
fn lease_of<'a>(state: &'a State, device: &str) -> Option<(&'a str, &'a str)> {
    state.leases.iter().find_map(|(id, lease)| {
        let link = lease.links.iter().find(|link| link.device == device)?;
        Some((id.as_str(), link.network.as_str()))
    })
}

fn unseen(device: &str) -> impl FnOnce(io::Error) -> NetworkError + use<> {
    failed(&format!("find {device}"))
}
