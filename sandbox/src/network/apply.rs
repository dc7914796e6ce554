//! Leases, and the links they come to.
#![forbid(unsafe_code)]

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use ipnet::IpNet;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use super::address_pool as pool;
use super::damage;
use super::hand::Hand;
use super::holder;
use super::keeper;
use super::links::{self, End};
use super::netlink::Netlink;
use super::registry::Registry;
use super::relay::{self, Door, Relay};
use super::state::{Around, Bridge, Lease, Leased, State};
use super::{NetworkError, connections, firewall, mend, names, settings, strangers};
use crate::config::{Interface, Link, MacAddress, Port, PrivateNetwork, Protocol, Rates};
use crate::seccomp::Program;
use crate::step::NetworkLease;

/// A box's lease, in the process that builds it.
#[derive(Debug)]
pub(crate) struct Taken {
    /// In the network namespace that the lease is of.
    host: Netlink,
    ends: Vec<Planned>,
    /// Makes links where we may not any more.
    hand: Option<Hand>,
    /// Calls the box where the kernel leads no port.
    relay: Option<Relay>,
    /// Says that the box is, or is being built.
    live: Option<OwnedFd>,
}

/// An interface that the box will have.
#[derive(Debug, Clone)]
struct Planned {
    /// Its name in the box.
    name: String,
    mtu: Option<u32>,
    rates: Rates,
    way: Way,
}

/// Where it leads.
#[derive(Debug, Clone)]
struct Way {
    on: On,
    mac: Option<MacAddress>,
    addresses: Vec<(IpAddr, u8)>,
    /// Gateways that are on the link though no address of ours says so.
    neighbours: Vec<IpAddr>,
    /// Subnets, or everything, and who knows the way.
    routes: Vec<(Option<(IpAddr, u8)>, IpAddr)>,
}

#[derive(Debug, Clone)]
enum On {
    /// The host's end, and the number of the bridge.
    Bridge {
        device: String,
        bridge: u32,
    },
    Parent {
        index: u32,
        own_mac: bool,
    },
}

impl Taken {
    /// Takes a lease, and makes what is of the host: bridges, rules, files.
    /// By hand links can be made even by a caller that has entered a user namespace.
    ///
    /// # Errors
    /// [`NetworkError`]; nothing is left.
    pub(crate) fn take(lease: &NetworkLease) -> Result<Self, NetworkError> {
        let wanted = &lease.network;
        let mut registry = Registry::open()?;
        let live = registry.live(&wanted.id)?;
        let mut host = open_route()?;
        clear(&mut registry, &mut host)?;
        let id = &wanted.id;
        let made = make_lease(&mut registry, &mut host, lease)
            .and_then(|doors| Ok((plan(&registry.state, &mut host, wanted)?, doors)))
            .inspect_err(|_| {
                // The first failure is the one to tell.
                drop_leases(&mut registry, &mut host, &[id]).ok();
            });
        // A copy of ours must not hold the lock.
        let addresses = registry.state.addresses_of_ports(id);
        registry.leave()?;
        let (ends, doors) = made?;
        let start = |filter: &Program| Relay::start(id, doors, &addresses, filter);
        let relay = match lease.relay.as_ref().map(start).transpose() {
            Ok(relay) => relay,
            Err(error) => {
                drop(live);
                release(&[id]).ok();
                return Err(error);
            }
        };
        let hand = lease.by_hand.then(|| {
            let work = |namespace: BorrowedFd<'_>| make_all(&mut host, &ends, namespace);
            Hand::start(work).map_err(failed("start a helper"))
        });
        let hand = match hand.transpose() {
            Ok(hand) => hand,
            Err(error) => {
                drop((live, relay));
                release(&[id]).ok();
                return Err(error);
            }
        };
        Ok(Self {
            host,
            ends,
            hand,
            relay,
            live: Some(live),
        })
    }

    /// In the box's network namespace: gives it its interfaces.
    pub(crate) fn connect(&mut self) -> Result<(), NetworkError> {
        let namespace = rustix::fs::open(
            c"/proc/self/ns/net",
            rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC,
            rustix::fs::Mode::empty(),
        )
        .map_err(|errno| failed("open our network namespace")(errno.into()))?;
        match self.hand.take() {
            Some(hand) => hand.call(namespace.as_fd())?,
            None => make_all(&mut self.host, &self.ends, namespace.as_fd())?,
        }
        settings::inside()?;
        let mut inside = open_route()?;
        let up = inside.one(links::up(links::LOOPBACK));
        up.map_err(failed("bring the loopback interface up"))?;
        for end in &self.ends {
            raise(&mut inside, end)?;
        }
        self.relay.take().map_or(Ok(()), Relay::begin)
    }

    /// The descriptor that says that the box lives, for its first process to keep.
    pub(crate) fn take_live(&mut self) -> Option<OwnedFd> {
        self.live.take()
    }
}

pub(super) fn failed(action: &str) -> impl FnOnce(io::Error) -> NetworkError + use<> {
    let action = action.to_owned();
    move |source| NetworkError::Link { action, source }
}

pub(super) fn open_route() -> Result<Netlink, NetworkError> {
    Netlink::route().map_err(failed("open a netlink socket"))
}

/// Makes the host's side of every interface, and the box's end in `namespace`.
fn make_all(
    host: &mut Netlink,
    ends: &[Planned],
    namespace: BorrowedFd<'_>,
) -> Result<(), NetworkError> {
    for planned in ends {
        let end = End {
            name: &planned.name,
            namespace: namespace.as_raw_fd(),
            mac: planned.way.mac,
            mtu: planned.mtu,
        };
        let (requests, action) = match &planned.way.on {
            On::Bridge { device, bridge } => (
                vec![
                    links::pair(device, *bridge, &end),
                    links::back_and_forth(device),
                ],
                format!("make the pair of interfaces {device} and {}", planned.name),
            ),
            On::Parent { index, own_mac } => (
                vec![links::on_parent(*index, *own_mac, &end)],
                format!("make interface {}", planned.name),
            ),
        };
        host.all(requests).map_err(|error| match &planned.way.on {
            On::Parent { own_mac, .. } if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {
                NetworkError::NoKind(if *own_mac { "macvlan" } else { "ipvlan" })
            }
            On::Bridge { .. } | On::Parent { .. } => failed(&action)(error),
        })?;
        if let (On::Bridge { device, .. }, Some(rate)) = (&planned.way.on, planned.rates.into) {
            let index = host.index(device);
            let shaped = index.and_then(|index| host.one(links::shape(index, rate)));
            shaped.map_err(failed(&format!("limit the rate of {device}")))?;
        }
    }
    Ok(())
}

/// Inside: up, with its addresses and routes.
fn raise(inside: &mut Netlink, end: &Planned) -> Result<(), NetworkError> {
    let index = inside.index(&end.name);
    let index = index.map_err(failed(&format!("find interface {}", end.name)))?;
    let mut requests = vec![links::up(index)];
    requests.extend(end.rates.out.map(|rate| links::shape(index, rate)));
    let addresses = end.way.addresses.iter();
    requests.extend(addresses.map(|(address, length)| links::address(index, *address, *length)));
    let neighbours = end.way.neighbours.iter();
    requests.extend(neighbours.map(|gateway| links::on_link(index, *gateway)));
    for (subnet, gateway) in &end.way.routes {
        requests.push(links::behind(index, *subnet, *gateway));
    }
    let set = inside.all(requests);
    set.map_err(failed(&format!("set up interface {}", end.name)))
}

/// What the box's interfaces come to, by the lease that it has.
fn plan(
    state: &State,
    host: &mut Netlink,
    wanted: &PrivateNetwork,
) -> Result<Vec<Planned>, NetworkError> {
    let mut ends = Vec::new();
    let mut has_default = false;
    for (number, interface) in wanted.interfaces.iter().enumerate() {
        let (way, usual_mtu) = match &interface.link {
            Link::Bridge(network) => {
                let lease = state.leases.get(&wanted.id);
                let leased = lease.and_then(|lease| {
                    let mut links = lease.links.iter();
                    links.find(|link| link.network == network.name)
                });
                let (Some(leased), Some(bridge)) = (leased, state.networks.get(&network.name))
                else {
                    continue;
                };
                let index = host.index(&bridge.device);
                let index = index.map_err(failed(&format!("find {}", bridge.device)))?;
                let way = by_bridge(index, leased, bridge, &mut has_default);
                (way, bridge.mtu)
            }
            Link::MacVlan(parent) | Link::IpVlan(parent) => {
                let index = host.index(parent);
                let index = index.map_err(|_| NetworkError::NoParent(parent.clone()))?;
                (by_parent(index, interface, &mut has_default), None)
            }
        };
        ends.push(Planned {
            name: format!("eth{number}"),
            mtu: interface.mtu.or(usual_mtu),
            rates: wanted.rates,
            way,
        });
    }
    Ok(ends)
}

fn by_bridge(index: u32, leased: &Leased, bridge: &Bridge, has_default: &mut bool) -> Way {
    let gateway = IpAddr::V4(pool::gateway(bridge.subnet));
    let mut addresses = vec![(IpAddr::V4(leased.address), 32)];
    let mut neighbours = vec![gateway];
    let is_default = !bridge.internal && !*has_default;
    *has_default |= is_default;
    let behind = |subnet: IpNet| (!is_default).then(|| (subnet.network(), subnet.prefix_len()));
    let mut routes = vec![(behind(bridge.subnet.into()), gateway)];
    if let (Some(six), Some(subnet)) = (leased.address6, bridge.subnet6) {
        let gateway = IpAddr::V6(pool::gateway6(subnet));
        addresses.push((six.into(), 128));
        neighbours.push(gateway);
        routes.push((behind(subnet.into()), gateway));
    }
    Way {
        on: On::Bridge {
            device: leased.device.clone(),
            bridge: index,
        },
        mac: Some(leased.mac),
        addresses,
        neighbours,
        routes,
    }
}

fn by_parent(index: u32, interface: &Interface, has_default: &mut bool) -> Way {
    let own_mac = matches!(interface.link, Link::MacVlan(_));
    let four = interface
        .address
        .map(|four| (IpAddr::V4(four), interface.length));
    let six = interface
        .address6
        .map(|six| (IpAddr::V6(six), interface.length6));
    let gateways = [
        interface.gateway.map(IpAddr::V4),
        interface.gateway6.map(IpAddr::V6),
    ];
    let routes: Vec<_> = gateways
        .into_iter()
        .flatten()
        .filter(|_| !*has_default)
        .map(|gateway| (None, gateway))
        .collect();
    *has_default |= !routes.is_empty();
    Way {
        on: On::Parent { index, own_mac },
        mac: interface.mac.filter(|_| own_mac),
        addresses: four.into_iter().chain(six).collect(),
        neighbours: Vec::new(),
        routes,
    }
}

/// Writes the lease down, then makes what it needs; gives where a relay is to listen.
fn make_lease(
    registry: &mut Registry,
    host: &mut Netlink,
    lease_of: &NetworkLease,
) -> Result<Vec<Door>, NetworkError> {
    let wanted = &lease_of.network;
    let before = registry.state.clone();
    let resolv = fs::read_to_string(names::RESOLV).unwrap_or_default();
    let around = look_around(host, &before, wanted, &resolv)?;
    // What is refused here has changed nothing.
    let mut wanted_state = before.clone();
    let added = wanted_state.add(wanted, &around);
    added.map_err(|error| by_a_former_run(error, registry))?;
    if let Some(lease) = wanted_state.leases.get_mut(&wanted.id) {
        lease.ends_with_first = lease_of.ends_with_first;
    }
    if before.networks.is_empty() && !wanted_state.networks.is_empty() {
        // Its tables have the same names as ours.
        if let Some(device) = strangers::box_of_another_herd(&before) {
            return Err(NetworkError::OtherHerd(device));
        }
    }
    for (name, bridge) in &wanted_state.networks {
        if !before.networks.contains_key(name) && host.index(&bridge.device).is_ok() {
            return Err(NetworkError::Foreign(bridge.device.clone()));
        }
    }
    for port in wanted.ports.iter().filter(|port| !relay::is_for(port)) {
        is_free(port)?;
    }
    let doors = relay::open(&wanted.ports)?;
    let changes = settings::forwarding(&mut wanted_state)?;
    registry.state = wanted_state;
    let unsure = before.unsure;
    registry.state.unsure = true;
    registry.write()?;
    let mut made = Vec::new();
    for (name, bridge) in &registry.state.networks {
        let is_new = !before.networks.contains_key(name);
        if unsure || is_new || host.index(&bridge.device).is_err() {
            make_bridge(host, bridge)?;
            made.push((name, bridge));
        }
    }
    firewall::commit(&before, unsure, &registry.state)?;
    for (name, bridge) in made {
        settings::bridge(&bridge.device)?;
        // Somebody has removed it under those that were on it.
        mend::put_back_on(host, &registry.state, name, bridge)?;
    }
    // Behind the rules that watch what it lets through.
    settings::loopback_ports(&registry.state)?;
    for change in &changes {
        change.make()?;
    }
    connections::forget_ports(host, &wanted.ports)
        .map_err(failed("forget connections to the ports"))?;
    let over_host = lease_of.over_host_tree;
    registry.write_names(&resolv, Some(&wanted.id), over_host)?;
    registry.state.unsure = false;
    registry.write()?;
    Ok(doors)
}

/// Says that who has it is no more, where only its network is left.
fn by_a_former_run(mut error: NetworkError, registry: &Registry) -> NetworkError {
    if let NetworkError::PortTaken { by, .. }
    | NetworkError::AddressTaken { by, .. }
    | NetworkError::MacTaken { by, .. } = &mut error
    {
        let mut of_name = registry
            .state
            .leases
            .iter()
            .filter(|(_, lease)| lease.name == *by);
        if of_name.all(|(id, lease)| !lease.ends_with_first && !registry.is_live(id)) {
            *by = format!("{by}, or by what a former run of it has left in its network");
        }
    }
    error
}

fn look_around(
    host: &mut Netlink,
    state: &State,
    wanted: &PrivateNetwork,
    resolv: &str,
) -> Result<Around, NetworkError> {
    let is_new = wanted.interfaces.iter().any(|interface| {
        matches!(&interface.link, Link::Bridge(network) if !state.networks.contains_key(&network.name))
    });
    let mut around = Around::default();
    if is_new {
        let machine = fs::read_to_string("/etc/machine-id").unwrap_or_default();
        machine.trim().clone_into(&mut around.machine);
        around.routes = host
            .routes()
            .map_err(failed("list the routes of the host"))?;
        around.has_ipv6 = settings::has_ipv6();
    }
    if wanted.dns.is_none() {
        around.dns = reachable_servers(resolv);
    }
    Ok(around)
}

/// The name servers that a box gets which names none of its own: those in `/etc/resolv.conf` that are not on the host's
/// loopback, or else those behind systemd-resolved. Without any the box resolves no names but those of other boxes.
pub fn name_servers() -> Vec<IpAddr> {
    reachable_servers(&fs::read_to_string(names::RESOLV).unwrap_or_default())
}

fn reachable_servers(resolv: &str) -> Vec<IpAddr> {
    let servers = names::servers(resolv);
    if !servers.is_empty() {
        return servers;
    }
    names::servers(&fs::read_to_string(names::BEHIND_STUB).unwrap_or_default())
}

/// A `resolv.conf` of these servers, or of those of the host.
pub(crate) fn resolv_of_host(servers: Option<&[IpAddr]>) -> String {
    let resolv = fs::read_to_string(names::RESOLV).unwrap_or_default();
    match servers {
        Some(servers) => names::resolv(servers, &resolv),
        None => names::resolv(&reachable_servers(&resolv), &resolv),
    }
}

/// Claims that the host has not the address of this port, as far as can be told: nobody reaches the port there.
/// A port on `[::1]`, where something listens for the box, is refused at once on a host without that.
pub fn is_nowhere(port: &Port) -> bool {
    let Some(address) = port.address.filter(|_| !relay::is_for(port)) else {
        return false;
    };
    let tried = UdpSocket::bind(SocketAddr::new(address, 0));
    tried.is_err_and(|error| error.kind() == io::ErrorKind::AddrNotAvailable)
}

/// Nobody on the host listens there, from whom it would be taken.
pub(super) fn is_free(port: &Port) -> Result<(), NetworkError> {
    let addresses = match port.address {
        Some(address) => vec![address],
        None => vec![Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()],
    };
    for number in port.on_host() {
        for address in &addresses {
            let Err(source) = try_to_bind(*address, number, port.protocol) else {
                continue;
            };
            if source.kind() == io::ErrorKind::AddrInUse {
                return Err(NetworkError::PortInUse {
                    port: *port,
                    number,
                    by: holder::of(number, port.protocol),
                    source,
                });
            }
            if source.kind() == io::ErrorKind::PermissionDenied {
                return Err(NetworkError::PortOfRoot {
                    port: *port,
                    first: settings::first_port_of_all(),
                });
            }
        }
    }
    Ok(())
}

/// As whoever listens there would; of IPv6 for that family alone.
fn try_to_bind(address: IpAddr, number: u16, protocol: Protocol) -> io::Result<()> {
    let family = match address {
        IpAddr::V4(_) => AddressFamily::INET,
        IpAddr::V6(_) => AddressFamily::INET6,
    };
    let kind = match protocol {
        Protocol::Tcp => SocketType::STREAM,
        Protocol::Udp => SocketType::DGRAM,
    };
    let flags = SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(family, kind, flags, None)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    if protocol == Protocol::Tcp {
        // Connections that have ended are nobody's.
        sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    rustix::net::bind(&socket, &SocketAddr::new(address, number))?;
    if protocol == Protocol::Tcp {
        rustix::net::listen(&socket, 1)?;
    }
    Ok(())
}

/// Makes the bridge, or what is missing of it.
pub(super) fn make_bridge(host: &mut Netlink, bridge: &Bridge) -> Result<(), NetworkError> {
    let action = format!("make bridge {}", bridge.device);
    let gateway = pool::gateway(bridge.subnet);
    let mac = pool::bridge_mac(bridge.subnet);
    let made = there_is(host.one(links::bridge(&bridge.device, mac, bridge.mtu)));
    made.map_err(failed(&action))?;
    let index = host.index(&bridge.device).map_err(failed(&action))?;
    let four = Some((gateway.into(), bridge.subnet.prefix_len()));
    let six = bridge.subnet6;
    let six = six.map(|subnet| (pool::gateway6(subnet).into(), subnet.prefix_len()));
    settings::address_at_once(&bridge.device)?;
    let addresses = [four, six].into_iter().flatten();
    let addresses = addresses.map(|(address, length)| links::address(index, address, length));
    for request in addresses.chain([links::up(index)]) {
        there_is(host.one(request)).map_err(failed(&action))?;
    }
    Ok(())
}

fn there_is(answer: io::Result<()>) -> io::Result<()> {
    match answer {
        Err(error) if error.raw_os_error() == Some(libc::EEXIST) => Ok(()),
        answer => answer,
    }
}

/// Takes away the leases of boxes that nobody builds any more and that have gone. Somebody else may still be in the
/// network of such a box, as `nsenter(1)` is: the box's end is taken from there. Only where a box has no first process
/// whose end is everybody's does its interface say that somebody is left.
fn clear(registry: &mut Registry, host: &mut Netlink) -> Result<usize, NetworkError> {
    damage::heal(registry, host)?;
    let mut is_over = |id: &str, lease: &Lease| {
        let mut links = lease.links.iter();
        !registry.is_live(id)
            && (lease.ends_with_first || !links.any(|link| host.index(&link.device).is_ok()))
    };
    let leases = registry.state.leases.iter();
    let over: Vec<String> = leases
        .filter(|(id, lease)| is_over(id, lease))
        .map(|(id, _)| id.clone())
        .collect();
    let ids: Vec<&str> = over.iter().map(String::as_str).collect();
    drop_leases(registry, host, &ids).map(|()| over.len())
}

/// Takes an interface away, if it is there.
pub(super) fn remove_interface(host: &mut Netlink, device: &str) -> Result<(), NetworkError> {
    match host.one(links::remove(device)) {
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(()),
        answer => answer.map_err(failed(&format!("remove interface {device}"))),
    }
}

/// Takes herd's tables away, if they are there.
pub(super) fn remove_rules() -> Result<(), NetworkError> {
    firewall::commit(&State::default(), true, &State::default())
}

/// Takes away what these leases have: all in one go, or each by itself where that is refused, so that one that
/// cannot be ended keeps no other.
fn drop_leases(
    registry: &mut Registry,
    host: &mut Netlink,
    ids: &[&str],
) -> Result<(), NetworkError> {
    if ids.is_empty() {
        return Ok(());
    }
    let leases = ids.iter().filter_map(|id| registry.state.leases.get(*id));
    let addresses: Vec<IpAddr> = leases.flat_map(Lease::addresses).collect();
    let mut dropped = drop_together(registry, host, ids);
    if dropped.is_err() && ids.len() > 1 {
        dropped = Ok(());
        for id in ids {
            let ended = drop_together(registry, host, &[id]);
            dropped = dropped.and(ended);
        }
    }
    // Their interfaces have gone, so nothing is added any more; who has their addresses next has to wait until then.
    dropped.and(connections::forget(&addresses).map_err(failed("forget connections of a box")))
}

fn drop_together(
    registry: &mut Registry,
    host: &mut Netlink,
    ids: &[&str],
) -> Result<(), NetworkError> {
    // What cannot be taken away stays written down, whatever else is.
    let mut after = registry.state.clone();
    let removed: Vec<(Lease, Vec<Bridge>)> = ids.iter().filter_map(|id| after.remove(id)).collect();
    if !removed.is_empty() {
        let devices = removed.iter().flat_map(|(lease, bridges)| {
            let ends = lease.links.iter().map(|link| link.device.as_str());
            ends.chain(bridges.iter().map(|bridge| bridge.device.as_str()))
        });
        remove_links(host, &devices.collect::<Vec<_>>())?;
        firewall::commit(&registry.state, registry.state.unsure, &after)?;
        settings::loopback_ports(&after)?;
        settings::put_back(&mut after);
        after.unsure = false;
        registry.state = after;
    }
    for id in ids {
        registry.forget(id);
    }
    if !removed.is_empty() && !registry.state.leases.is_empty() {
        registry.write_names("", None, false)?;
    }
    registry.write()
}

/// Nobody but root has leases, or may look at those of root.
fn may_lease() -> bool {
    rustix::process::geteuid().is_root()
}

/// Removes those of these that are there. To remove interfaces takes the kernel some 20 ms, until every processor has
/// forgotten them, be it one or a hundred: so those that are to go are brought together first.
fn remove_links(host: &mut Netlink, devices: &[&str]) -> Result<(), NetworkError> {
    let is_there = |answer: io::Result<()>| match answer {
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(false),
        answer => answer.map(|()| true),
    };
    let refused = |device: &str| failed(&format!("remove interface {device}"));
    if let [device] = devices {
        return remove_interface(host, device);
    }
    let mut any = false;
    for device in devices {
        any |= is_there(host.one(links::mark_to_remove(device))).map_err(refused(device))?;
    }
    if any {
        let removed = is_there(host.one(links::remove_marked()));
        removed.map_err(failed("remove interfaces"))?;
    }
    Ok(())
}

/// Ends the leases of these boxes: their interfaces, rules, addresses and files go, and with the last box
/// of a network its bridge. Those that have none are passed over. Takes some 20 ms, however many they are, and waits for
/// others that change networks of the same machine.
///
/// # Errors
/// The first thing that could not be taken away; what is left of it is taken away by the next [`collect`].
pub fn release(ids: &[&str]) -> Result<(), NetworkError> {
    // Nobody keeps a network of root's.
    if !may_lease() {
        return keeper::wait_for_ends(ids).map_err(failed("wait until a network has ended"));
    }
    let Some(mut registry) = Registry::open_existing()? else {
        return Ok(());
    };
    let mut host = open_route()?;
    let healed = damage::heal(&mut registry, &mut host);
    let given_back = drop_leases(&mut registry, &mut host, ids);
    let ended = healed.and(given_back);
    registry.leave()?;
    ended
}

/// Takes away what boxes that are no more have left, because who should have [released](release) them has
/// died; gives how many there were.
///
/// # Errors
/// As [`release`].
pub fn collect() -> Result<usize, NetworkError> {
    if !may_lease() {
        return Ok(0);
    }
    let Some(mut registry) = Registry::open_existing()? else {
        return Ok(0);
    };
    let mut host = open_route()?;
    let cleared = clear(&mut registry, &mut host)?;
    registry.leave()?;
    Ok(cleared)
}
