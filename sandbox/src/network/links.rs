//! The messages that make links, addresses and routes. Pure.
#![forbid(unsafe_code)]

use std::net::IpAddr;
use std::os::fd::RawFd;

use netlink_packet_core::DefaultNla;
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage, AddressScope};
use netlink_packet_route::link::{
    BridgeStpState, InfoBridge, InfoBridgePort, InfoData, InfoIpVlan, InfoKind, InfoMacVlan,
    InfoPortData, InfoPortKind, InfoVeth, IpVlanMode, LinkAttribute, LinkFlags, LinkInfo,
    LinkMessage, MacVlanMode,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::tc::{TcAttribute, TcHandle, TcMessage, TcOption};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::netlink::{Manner, Request};
use crate::config::MacAddress;

/// `lo` of every network namespace.
pub(crate) const LOOPBACK: u32 = 1;

fn named(name: &str) -> LinkMessage {
    let mut link = LinkMessage::default();
    link.attributes.push(LinkAttribute::IfName(name.to_owned()));
    link
}

fn raise(link: &mut LinkMessage) {
    link.header.flags = LinkFlags::Up;
    link.header.change_mask = LinkFlags::Up;
}

/// A bridge without a spanning tree; nothing that boxes send to groups is learned or kept. Its hardware
/// address stays, whoever comes and goes.
pub(crate) fn bridge(name: &str, mac: MacAddress, mtu: Option<u32>) -> Request {
    let mut link = named(name);
    link.attributes.push(LinkAttribute::Address(mac.0.to_vec()));
    link.attributes.extend(mtu.map(LinkAttribute::Mtu));
    link.attributes.push(LinkAttribute::LinkInfo(vec![
        LinkInfo::Kind(InfoKind::Bridge),
        LinkInfo::Data(InfoData::Bridge(vec![
            InfoBridge::StpState(BridgeStpState::Disabled),
            InfoBridge::ForwardDelay(0),
            InfoBridge::MulticastSnooping(false),
        ])),
    ]));
    (RouteNetlinkMessage::NewLink(link), Manner::Add)
}

/// What the box's end is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct End<'a> {
    pub(crate) name: &'a str,
    /// The network namespace it is made in.
    pub(crate) namespace: RawFd,
    pub(crate) mac: Option<MacAddress>,
    pub(crate) mtu: Option<u32>,
}

impl End<'_> {
    fn message(&self) -> LinkMessage {
        let mut link = named(self.name);
        let mac = self.mac.map(|mac| LinkAttribute::Address(mac.0.to_vec()));
        link.attributes.extend(mac);
        link.attributes.extend(self.mtu.map(LinkAttribute::Mtu));
        link.attributes.push(LinkAttribute::NetNsFd(self.namespace));
        link
    }
}

/// Two ends: `host`'s on the bridge `bridge`, the other in the box.
pub(crate) fn pair(host: &str, bridge: u32, end: &End<'_>) -> Request {
    let mut link = named(host);
    raise(&mut link);
    link.attributes.push(LinkAttribute::Controller(bridge));
    link.attributes.extend(end.mtu.map(LinkAttribute::Mtu));
    link.attributes.push(LinkAttribute::LinkInfo(vec![
        LinkInfo::Kind(InfoKind::Veth),
        LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(end.message()))),
    ]));
    (RouteNetlinkMessage::NewLink(link), Manner::Add)
}

/// Puts `host` on the bridge `bridge` again.
pub(crate) fn put_on(host: &str, bridge: u32) -> Request {
    let mut link = named(host);
    raise(&mut link);
    link.attributes.push(LinkAttribute::Controller(bridge));
    (RouteNetlinkMessage::NewLink(link), Manner::Change)
}

/// What comes from this port of a bridge may go back to it: a box that asks for itself by way of the host, where
/// `br_netfilter` leads it straight from port to port.
pub(crate) fn back_and_forth(host: &str) -> Request {
    let mut link = named(host);
    link.attributes.push(LinkAttribute::LinkInfo(vec![
        LinkInfo::PortKind(InfoPortKind::Bridge),
        LinkInfo::PortData(InfoPortData::BridgePort(vec![InfoBridgePort::HairpinMode(
            true,
        )])),
    ]));
    (RouteNetlinkMessage::NewLink(link), Manner::Change)
}

/// An interface of the box on the wire of the host's interface `parent`.
pub(crate) fn on_parent(parent: u32, with_own_mac: bool, end: &End<'_>) -> Request {
    let mut link = end.message();
    link.attributes.push(LinkAttribute::Link(parent));
    let (kind, data) = if with_own_mac {
        let mode = InfoMacVlan::Mode(MacVlanMode::Bridge);
        (InfoKind::MacVlan, InfoData::MacVlan(vec![mode]))
    } else {
        let mode = InfoIpVlan::Mode(IpVlanMode::L2);
        (InfoKind::IpVlan, InfoData::IpVlan(vec![mode]))
    };
    link.attributes.push(LinkAttribute::LinkInfo(vec![
        LinkInfo::Kind(kind),
        LinkInfo::Data(data),
    ]));
    (RouteNetlinkMessage::NewLink(link), Manner::Add)
}

pub(crate) fn up(index: u32) -> Request {
    let mut link = LinkMessage::default();
    link.header.index = index;
    raise(&mut link);
    (RouteNetlinkMessage::NewLink(link), Manner::Change)
}

/// Asks for the interface of this name.
pub(crate) fn ask(name: &str) -> RouteNetlinkMessage {
    RouteNetlinkMessage::GetLink(named(name))
}

pub(crate) fn remove(name: &str) -> Request {
    (RouteNetlinkMessage::DelLink(named(name)), Manner::Change)
}

/// "herd": nobody else's interfaces are in this group, and ours only when they are to go, under the registry's lock.
const TO_REMOVE: u32 = 0x6865_7264;

pub(crate) fn mark_to_remove(name: &str) -> Request {
    let mut link = named(name);
    link.attributes.push(LinkAttribute::Group(TO_REMOVE));
    (RouteNetlinkMessage::NewLink(link), Manner::Change)
}

/// All that are marked, in one go.
pub(crate) fn remove_marked() -> Request {
    let mut link = LinkMessage::default();
    link.attributes.push(LinkAttribute::Group(TO_REMOVE));
    (RouteNetlinkMessage::DelLink(link), Manner::Change)
}

fn family(address: IpAddr) -> AddressFamily {
    match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}

/// An address, used at once: nobody else on the link can have it.
pub(crate) fn address(index: u32, address: IpAddr, length: u8) -> Request {
    let mut message = AddressMessage::default();
    message.header.family = family(address);
    message.header.prefix_len = length;
    message.header.index = index;
    message.header.scope = AddressScope::Universe;
    message.attributes.push(AddressAttribute::Address(address));
    match address {
        IpAddr::V4(_) => message.attributes.push(AddressAttribute::Local(address)),
        IpAddr::V6(_) => {
            let at_once = AddressAttribute::Flags(AddressFlags::Nodad);
            message.attributes.push(at_once);
        }
    }
    (RouteNetlinkMessage::NewAddress(message), Manner::Add)
}

fn route(index: u32, family: AddressFamily) -> RouteMessage {
    let mut route = RouteMessage::default();
    route.header.address_family = family;
    route.header.table = 254;
    route.header.protocol = RouteProtocol::Static;
    route.header.kind = RouteType::Unicast;
    route.attributes.push(RouteAttribute::Oif(index));
    route
}

/// So much may come at once however low the rate is: two of the largest packets.
pub(crate) const SMALLEST_BURST: u32 = 128 * 1024;

/// No more than `rate` bytes a second leave by this interface: what comes faster waits for a fifth of a second, then is
/// dropped (`tc-tbf(8)`, `struct tc_tbf_qopt`).
pub(crate) fn shape(index: u32, rate: u64) -> Request {
    const PARAMETERS: u16 = 1;
    const RATE64: u16 = 4;
    const BURST: u16 = 6;
    const ETHERNET: u8 = 1;
    let burst = u32::try_from(rate / 50)
        .unwrap_or(u32::MAX)
        .max(SMALLEST_BURST);
    let queue = u32::try_from(rate / 5)
        .unwrap_or(u32::MAX)
        .saturating_add(burst);
    let short = u32::try_from(rate).unwrap_or(u32::MAX);
    let mut parameters = vec![0, ETHERNET, 0, 0, 0, 0, 0, 0];
    parameters.extend(short.to_ne_bytes());
    // No other rate for the peak.
    parameters.extend([0; 12]);
    parameters.extend(queue.to_ne_bytes());
    parameters.extend([0; 8]);
    let other = |kind: u16, value: Vec<u8>| TcOption::Other(DefaultNla::new(kind, value));
    let mut message = TcMessage::with_index(i32::try_from(index).unwrap_or(0));
    message.header.parent = TcHandle::ROOT;
    message.attributes.push(TcAttribute::Kind("tbf".to_owned()));
    message.attributes.push(TcAttribute::Options(vec![
        other(PARAMETERS, parameters),
        other(RATE64, rate.to_ne_bytes().to_vec()),
        other(BURST, burst.to_ne_bytes().to_vec()),
    ]));
    let message = RouteNetlinkMessage::NewQueueDiscipline(message);
    (message, Manner::Add)
}

/// `gateway` is on the link, whatever the length of our own address says.
pub(crate) fn on_link(index: u32, gateway: IpAddr) -> Request {
    let mut route = route(index, family(gateway));
    route.header.scope = RouteScope::Link;
    route.header.destination_prefix_length = if gateway.is_ipv4() { 32 } else { 128 };
    let to = RouteAttribute::Destination(RouteAddress::from(gateway));
    route.attributes.push(to);
    (RouteNetlinkMessage::NewRoute(route), Manner::Add)
}

/// All that is nowhere else, or all of `subnet`, lies behind `gateway`.
pub(crate) fn behind(index: u32, subnet: Option<(IpAddr, u8)>, gateway: IpAddr) -> Request {
    let mut route = route(index, family(gateway));
    route.header.scope = RouteScope::Universe;
    if let Some((address, length)) = subnet {
        route.header.destination_prefix_length = length;
        let to = RouteAttribute::Destination(RouteAddress::from(address));
        route.attributes.push(to);
    }
    let by = RouteAttribute::Gateway(RouteAddress::from(gateway));
    route.attributes.push(by);
    (RouteNetlinkMessage::NewRoute(route), Manner::Add)
}
