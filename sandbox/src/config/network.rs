//! A network of the box's own: where it is attached, what leads into it, where it may connect.
#![forbid(unsafe_code)]

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

/// What a box has for a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Network {
    /// The caller's.
    Host,
    /// An empty network namespace: not even loopback is up.
    None,
    /// A network namespace with `lo` up.
    Loopback,
    /// A network namespace with interfaces that lead outside. Without root that is one interface that
    /// `pasta(1)` or `slirp4netns(1)` serves, on the network `default`; what takes more is refused by name.
    Private(Box<PrivateNetwork>),
}

impl Network {
    /// The interfaces and what is let through them, of a network of the box's own.
    pub fn as_private(&self) -> Option<&PrivateNetwork> {
        if let Self::Private(private) = self {
            Some(private)
        } else {
            None
        }
    }
}

/// Interfaces that lead out of the box, and what goes through them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PrivateNetwork {
    /// Tells this box from every other one, and this run from the one before: 1 to 10 letters and
    /// digits. What is made for the box bears it, and [`release`](crate::network::release) takes it.
    pub id: String,
    /// What other boxes on the same networks know it as; it also decides which address it would rather have.
    pub name: String,
    /// `eth0`, `eth1`, … in this order; the first that can has the default route.
    pub interfaces: Vec<Interface>,
    /// Ports of the host that lead into the box.
    pub ports: Vec<Port>,
    /// No other box is reached, nor reaches this one.
    pub isolate: bool,
    pub access: Vec<Access>,
    pub rates: Rates,
    /// Name servers in the box; `None` takes the host's.
    pub dns: Option<Vec<IpAddr>>,
    /// More lines of the box's `/etc/hosts`.
    pub hosts: Vec<(String, IpAddr)>,
    /// The box's own `/etc/resolv.conf` and `/etc/hosts` take the place of those it would see.
    pub names: bool,
}

impl fmt::Display for PrivateNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("take a place")?;
        for (index, interface) in self.interfaces.iter().enumerate() {
            let and = if index == 0 { "" } else { "," };
            write!(f, "{and} on {} for eth{index}", interface.link)?;
            let four = interface.address.map(IpAddr::V4);
            for address in [four, interface.address6.map(IpAddr::V6)]
                .into_iter()
                .flatten()
            {
                write!(f, " with {address}")?;
            }
        }
        for (index, port) in self.ports.iter().enumerate() {
            write!(
                f,
                "{} {port}",
                if index == 0 {
                    ", with the host's ports"
                } else {
                    ","
                }
            )?;
        }
        if self.isolate {
            f.write_str(", out of reach of other boxes")?;
        }
        for access in &self.access {
            write!(f, "; {access}")?;
        }
        Ok(())
    }
}

/// One interface of the box.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    pub link: Link,
    /// `None` has one chosen, where the link is a bridge; other links have no other address.
    pub address: Option<Ipv4Addr>,
    /// As above.
    pub address6: Option<Ipv6Addr>,
    /// Length of the prefix of `address`, for links that are no bridge.
    pub length: u8,
    /// As above, of `address6`.
    pub length6: u8,
    /// Where the default route leads, for links that are no bridge; a bridge is its own.
    pub gateway: Option<Ipv4Addr>,
    pub gateway6: Option<Ipv6Addr>,
    /// The hardware address; `None` derives one from the address.
    pub mac: Option<MacAddress>,
    /// Bytes; `None` leaves it at the network's.
    pub mtu: Option<u32>,
}

impl Interface {
    /// One on the bridge of this network, with everything chosen.
    pub fn on(network: &str) -> Self {
        Self {
            link: Link::Bridge(BridgeNetwork::new(network)),
            address: None,
            address6: None,
            length: 24,
            length6: 64,
            gateway: None,
            gateway6: None,
            mac: None,
            mtu: None,
        }
    }
}

/// Where an interface leads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Link {
    /// To the bridge of this network, which is made when its first box comes.
    Bridge(BridgeNetwork),
    /// To the same wire as this interface of the host, with a hardware address of its own.
    MacVlan(String),
    /// As above, with the hardware address of the host's.
    IpVlan(String),
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bridge(network) => write!(f, "network {}", network.name),
            Self::MacVlan(parent) => write!(f, "the wire of {parent}"),
            Self::IpVlan(parent) => write!(f, "{parent}"),
        }
    }
}

/// A network that boxes share. What its first box says of it holds until its last one has gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BridgeNetwork {
    /// Letters, digits, `-`, `_` and `.`, 32 at most.
    pub name: String,
    /// `None` has one chosen that no route of the host leads to.
    pub subnet: Option<Ipv4Net>,
    /// As above, below a prefix of RFC 4193 that is this machine's own.
    pub subnet6: Option<Ipv6Net>,
    /// IPv6 too, where the host has it.
    pub ipv6: bool,
    /// Boxes reach each other and the host, and nothing else.
    pub internal: bool,
    /// Bytes; `None` is the kernel's 1500.
    pub mtu: Option<u32>,
}

impl BridgeNetwork {
    /// With everything chosen.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            subnet: None,
            subnet6: None,
            ipv6: true,
            internal: false,
            mtu: None,
        }
    }
}

/// `8080:80`: what arrives at a port of the host goes to one of the box.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Port {
    /// The host's address that is asked; `None` is every one of them, `0.0.0.0` every one of IPv4, `::` of IPv6.
    pub address: Option<IpAddr>,
    /// The first of `count` ports of the host.
    pub host: u16,
    /// The first of `count` ports of the box.
    pub inside: u16,
    /// 1 or more.
    pub count: u16,
    pub protocol: Protocol,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Protocol {
    Tcp,
    Udp,
}

/// One line of what is let through. Of those that match, `allow` goes before `deny`; where a
/// direction has lines that allow and none that deny, everything else is denied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access {
    pub verdict: Verdict,
    pub direction: Direction,
    pub peer: Peer,
    /// `None` is every port, and every protocol that has none.
    pub ports: Option<RangeInclusive<u16>>,
    /// `None` is both, where there are ports.
    pub protocol: Option<Protocol>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    Allow,
    Deny,
}

/// Of a connection, seen from the box.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Direction {
    Out,
    In,
}

/// Whom a connection is to, or from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Peer {
    Any,
    Subnet(IpNet),
    /// This machine, by any of its addresses.
    Host,
    /// Boxes on herd's networks.
    Boxes,
    /// The box's name servers, at port 53.
    Dns,
    /// Addresses that are not of the internet: RFC 1918, RFC 6598, link-local, RFC 4193.
    Private,
}

/// How much goes through each interface; what is above waits its turn, and is dropped where it would wait long.
/// `None` is as much as there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Rates {
    /// Bytes a second out of the box.
    pub out: Option<u64>,
    /// Bytes a second into the box.
    pub into: Option<u64>,
    /// New connections a second, of both directions together; what is above is dropped. As many, and five at least, pass
    /// at once after a pause. Each counts once, at its first packet.
    pub connections: Option<u32>,
}

/// Six bytes; the first is even, because an odd one is a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MacAddress(pub [u8; 6]);

/// A text that is no port, access line or hardware address. The message says what one looks like.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NetworkSyntax {
    #[error(
        "{0:?} is no port: write \"8080:80\", \"127.0.0.1:5353:53/udp\", \"[2001:db8::1]:8443:443\" or \"8000-8010:8000-8010\""
    )]
    Port(String),
    #[error(
        "{0:?}: nobody comes to a port by a multicast, broadcast, link-local or IPv4-mapped address"
    )]
    PortAddress(String),
    #[error("{0:?}: ports are 1 to 65535")]
    PortNumber(String),
    #[error("{0:?}: both ranges need the same length")]
    Lengths(String),
    #[error("{0:?}: the protocol is tcp or udp")]
    Protocol(String),
    #[error(
        "{0:?} is no address to allow or deny: write \"10.0.0.0/8\", \"1.1.1.1:53/udp\", \"[2001:db8::]/32:443\", \"any:443\", \"in 192.168.0.0/16\", or host, boxes, dns, private, any"
    )]
    Access(String),
    #[error("{0:?}: a protocol needs a port")]
    ProtocolAlone(String),
    #[error("{0:?} is no hardware address: write \"02:00:00:12:34:56\", whose first byte is even")]
    Mac(String),
}

impl FromStr for Protocol {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "tcp" => Ok(Self::Tcp),
            "udp" => Ok(Self::Udp),
            _ => Err(()),
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// `80` or `80-90`, each 1 to 65535.
fn ports(text: &str) -> Option<Result<RangeInclusive<u16>, ()>> {
    let number = |text: &str| -> Option<Result<u16, ()>> {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| match text.parse() {
            Ok(0) | Err(_) => Err(()),
            Ok(number) => Ok(number),
        })
    };
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (number(first)?, number(last)?) {
        (Ok(first), Ok(last)) if first <= last => Some(Ok(first..=last)),
        (Ok(_), Ok(_)) => None,
        (Err(()), _) | (_, Err(())) => Some(Err(())),
    }
}

fn with_protocol(text: &str) -> Result<(&str, Option<Protocol>), NetworkSyntax> {
    // The last part behind a slash, where it is no length of a prefix.
    match text.rsplit_once('/') {
        Some((rest, word)) if word.starts_with(|c: char| c.is_ascii_alphabetic()) => {
            let protocol = word.parse();
            let protocol = protocol.map_err(|()| NetworkSyntax::Protocol(text.to_owned()))?;
            Ok((rest, Some(protocol)))
        }
        _ => Ok((text, None)),
    }
}

/// Not one that means several hosts, or several links, or that is written as another family's.
fn may_be_asked(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(four) => !four.is_multicast() && !four.is_broadcast(),
        IpAddr::V6(six) => {
            !six.is_multicast() && !six.is_unicast_link_local() && six.to_ipv4_mapped().is_none()
        }
    }
}

impl FromStr for Port {
    type Err = NetworkSyntax;

    /// `[ADDRESS:]PORTS[:PORTS][/tcp|/udp]`; the address of IPv6 in brackets.
    fn from_str(text: &str) -> Result<Self, NetworkSyntax> {
        let no_port = || NetworkSyntax::Port(text.to_owned());
        let (rest, protocol) = with_protocol(text)?;
        let (address, rest) = match rest.strip_prefix('[') {
            Some(rest) => {
                let (address, rest) = rest.split_once("]:").ok_or_else(no_port)?;
                let address: Ipv6Addr = address.parse().map_err(|_| no_port())?;
                (Some(IpAddr::from(address)), rest)
            }
            None => match rest.split_once(':') {
                Some((address, rest)) if address.contains('.') => {
                    let address: Ipv4Addr = address.parse().map_err(|_| no_port())?;
                    (Some(IpAddr::from(address)), rest)
                }
                _ => (None, rest),
            },
        };
        if address.is_some_and(|address| !may_be_asked(address)) {
            return Err(NetworkSyntax::PortAddress(text.to_owned()));
        }
        let read = |part: &str| {
            let range = ports(part).ok_or_else(no_port)?;
            range.map_err(|()| NetworkSyntax::PortNumber(text.to_owned()))
        };
        let (host, inside) = rest.split_once(':').unwrap_or((rest, rest));
        let (host, inside) = (read(host)?, read(inside)?);
        if host.len() != inside.len() {
            return Err(NetworkSyntax::Lengths(text.to_owned()));
        }
        Ok(Self {
            address,
            host: *host.start(),
            inside: *inside.start(),
            count: host.end() - host.start() + 1,
            protocol: protocol.unwrap_or(Protocol::Tcp),
        })
    }
}

impl Port {
    /// Ports of the host.
    pub fn on_host(&self) -> RangeInclusive<u16> {
        self.host..=self.host + (self.count - 1)
    }

    /// The one address of the host that is asked; `None` where it is any of a family, or of both.
    pub fn one_address(&self) -> Option<IpAddr> {
        self.address.filter(|address| !address.is_unspecified())
    }

    /// Claims that what is sent to this address of the host is for this port.
    pub fn is_at(&self, address: IpAddr) -> bool {
        self.address.is_none_or(|own| {
            own == address || own.is_unspecified() && own.is_ipv4() == address.is_ipv4()
        })
    }

    /// Claims that something that arrives could be meant for both.
    pub fn clashes_with(&self, other: &Self) -> bool {
        self.clash(other).is_some()
    }

    /// The first number at which something that arrives could be meant for both.
    pub fn clash(&self, other: &Self) -> Option<u16> {
        let address = match (self.address, other.address) {
            (Some(one), Some(two)) => self.is_at(two) || other.is_at(one),
            _ => true,
        };
        let (one, two) = (self.on_host(), other.on_host());
        let clashes = address
            && self.protocol == other.protocol
            && one.start() <= two.end()
            && two.start() <= one.end();
        clashes.then(|| self.host.max(other.host))
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            Some(IpAddr::V4(address)) => write!(f, "{address}:")?,
            Some(IpAddr::V6(address)) => write!(f, "[{address}]:")?,
            None => {}
        }
        for (index, first) in [self.host, self.inside].into_iter().enumerate() {
            if index > 0 {
                f.write_str(":")?;
            }
            write!(f, "{first}")?;
            if self.count > 1 {
                write!(f, "-{}", first + (self.count - 1))?;
            }
        }
        write!(f, "/{}", self.protocol)
    }
}

impl Access {
    /// `[in|out] PEER[:PORTS][/tcp|/udp]`; an address of IPv6 that has a port in brackets.
    ///
    /// # Errors
    /// [`NetworkSyntax`] says what one looks like.
    pub fn parse(verdict: Verdict, text: &str) -> Result<Self, NetworkSyntax> {
        let wrong = || NetworkSyntax::Access(text.to_owned());
        let (direction, rest) = match text.split_once(' ') {
            Some(("in", rest)) => (Direction::In, rest.trim()),
            Some(("out", rest)) => (Direction::Out, rest.trim()),
            Some(_) => return Err(wrong()),
            None => (Direction::Out, text),
        };
        let (rest, protocol) = with_protocol(rest)?;
        let (peer, range) = split_ports(rest).ok_or_else(wrong)?;
        let ports = match range.map(|range| ports(range).ok_or_else(wrong)) {
            None => None,
            Some(range) => Some(range?.map_err(|()| NetworkSyntax::PortNumber(text.to_owned()))?),
        };
        if protocol.is_some() && ports.is_none() {
            return Err(NetworkSyntax::ProtocolAlone(text.to_owned()));
        }
        let peer = match peer {
            "any" | "*" => Peer::Any,
            "host" => Peer::Host,
            "boxes" => Peer::Boxes,
            "dns" => Peer::Dns,
            "private" => Peer::Private,
            subnet => Peer::Subnet(subnet_of(subnet).ok_or_else(wrong)?),
        };
        if peer == Peer::Dns && (ports.is_some() || direction == Direction::In) {
            return Err(wrong());
        }
        Ok(Self {
            verdict,
            direction,
            peer,
            ports,
            protocol,
        })
    }
}

/// The peer, and the text of its ports. `fd00::/8` has none; `[fd00::]/8:443` has.
fn split_ports(text: &str) -> Option<(&str, Option<&str>)> {
    if text.starts_with('[') {
        return match text.rsplit_once(':') {
            Some((peer, ports)) if peer.contains(']') && !ports.contains(']') => {
                Some((peer, Some(ports)))
            }
            _ => Some((text, None)),
        };
    }
    match text.split_once(':') {
        Some((_, rest)) if rest.contains(':') => Some((text, None)),
        Some((peer, ports)) if !peer.is_empty() => Some((peer, Some(ports))),
        Some(_) => None,
        None => Some((text, None)),
    }
}

fn subnet_of(text: &str) -> Option<IpNet> {
    let bare: String = text.chars().filter(|c| !matches!(c, '[' | ']')).collect();
    match bare.split_once('/') {
        Some(_) => bare.parse::<IpNet>().ok().map(|net| net.trunc()),
        None => bare.parse::<IpAddr>().ok().map(IpNet::from),
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.verdict {
            Verdict::Allow => "allow ",
            Verdict::Deny => "deny ",
        })?;
        f.write_str(match self.direction {
            Direction::Out => "out ",
            Direction::In => "in ",
        })?;
        match (&self.peer, &self.ports) {
            (Peer::Subnet(IpNet::V6(net)), Some(_)) => {
                write!(f, "[{}]/{}", net.addr(), net.prefix_len())?;
            }
            (Peer::Subnet(net), _) => write!(f, "{net}")?,
            (Peer::Any, _) => f.write_str("any")?,
            (Peer::Host, _) => f.write_str("host")?,
            (Peer::Boxes, _) => f.write_str("boxes")?,
            (Peer::Dns, _) => f.write_str("dns")?,
            (Peer::Private, _) => f.write_str("private")?,
        }
        if let Some(ports) = &self.ports {
            write!(f, ":{}", ports.start())?;
            if ports.start() != ports.end() {
                write!(f, "-{}", ports.end())?;
            }
        }
        match self.protocol {
            Some(protocol) => write!(f, "/{protocol}"),
            None => Ok(()),
        }
    }
}

impl FromStr for MacAddress {
    type Err = NetworkSyntax;

    fn from_str(text: &str) -> Result<Self, NetworkSyntax> {
        let wrong = || NetworkSyntax::Mac(text.to_owned());
        let bytes: Vec<u8> = text
            .split(':')
            .map(|part| match part.len() {
                2 => u8::from_str_radix(part, 16).map_err(|_| wrong()),
                _ => Err(wrong()),
            })
            .collect::<Result<_, _>>()?;
        let bytes = <[u8; 6]>::try_from(bytes).map_err(|_| wrong())?;
        if bytes[0] & 1 == 1 || bytes == [0; 6] {
            return Err(wrong());
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<String> = self.0.iter().map(|byte| format!("{byte:02x}")).collect();
        f.write_str(&parts.join(":"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_read_as_they_are_written() {
        for (text, told) in [
            ("80", "80:80/tcp"),
            ("8080:80", "8080:80/tcp"),
            ("127.0.0.1:5353:53/udp", "127.0.0.1:5353:53/udp"),
            ("[2001:db8::1]:8443:443", "[2001:db8::1]:8443:443/tcp"),
            ("[::1]:8443:443", "[::1]:8443:443/tcp"),
            ("8000-8010:9000-9010", "8000-8010:9000-9010/tcp"),
            ("0.0.0.0:80:80", "0.0.0.0:80:80/tcp"),
            ("[::]:80:80", "[::]:80:80/tcp"),
            ("65535", "65535:65535/tcp"),
        ] {
            assert_eq!(
                text.parse::<Port>().map(|port| port.to_string()),
                Ok(told.to_owned())
            );
        }
    }

    #[test]
    fn what_is_no_port_is_told_by_kind() {
        for (text, wrong) in [
            ("", NetworkSyntax::Port("".into())),
            ("http", NetworkSyntax::Port("http".into())),
            ("1:2:3", NetworkSyntax::Port("1:2:3".into())),
            ("300.0.0.1:1:1", NetworkSyntax::Port("300.0.0.1:1:1".into())),
            ("90-80", NetworkSyntax::Port("90-80".into())),
            ("0:80", NetworkSyntax::PortNumber("0:80".into())),
            ("65536", NetworkSyntax::PortNumber("65536".into())),
            ("80-90:80", NetworkSyntax::Lengths("80-90:80".into())),
            ("80/sctp", NetworkSyntax::Protocol("80/sctp".into())),
        ] {
            assert_eq!(text.parse::<Port>(), Err(wrong));
        }
    }

    #[test]
    fn access_lines_read_as_they_are_written() {
        for (text, told) in [
            ("10.0.0.0/8", "allow out 10.0.0.0/8"),
            ("10.1.2.3/8", "allow out 10.0.0.0/8"),
            ("1.1.1.1:53/udp", "allow out 1.1.1.1/32:53/udp"),
            ("2001:db8::1", "allow out 2001:db8::1/128"),
            ("fd00::/8", "allow out fd00::/8"),
            ("[fd00::]/8:443", "allow out [fd00::]/8:443"),
            (
                "[fd00::1]:443-445/tcp",
                "allow out [fd00::1]/128:443-445/tcp",
            ),
            ("any:443", "allow out any:443"),
            ("in any", "allow in any"),
            ("in 192.168.0.0/16:80", "allow in 192.168.0.0/16:80"),
            ("dns", "allow out dns"),
            ("host", "allow out host"),
            ("out boxes:80", "allow out boxes:80"),
        ] {
            let read = Access::parse(Verdict::Allow, text).map(|access| access.to_string());
            assert_eq!(read, Ok(told.to_owned()), "{text}");
        }
        for text in [
            "",
            "example.org",
            "10.0.0.0/33",
            "up any",
            ":80",
            "any:x",
            "in dns",
            "dns:53",
        ] {
            let wrong = Err(NetworkSyntax::Access(text.into()));
            assert_eq!(Access::parse(Verdict::Deny, text), wrong, "{text}");
        }
    }

    #[test]
    fn hardware_addresses_are_six_bytes_of_one_station() {
        assert!("02:00:00:12:34:56".parse::<MacAddress>().is_ok());
        for text in [
            "",
            "02:00:00:12:34",
            "01:00:00:12:34:56",
            "0:0:0:0:0:0",
            "gg:00:00:00:00:00",
        ] {
            assert_eq!(
                text.parse::<MacAddress>(),
                Err(NetworkSyntax::Mac(text.into()))
            );
        }
    }

    #[test]
    fn ports_clash_where_one_packet_could_be_meant_for_both() {
        let port = |text: &str| text.parse::<Port>().expect(text);
        assert!(port("80").clashes_with(&port("127.0.0.1:80:8080")));
        assert!(port("80-90").clashes_with(&port("90")));
        assert!(!port("80").clashes_with(&port("80/udp")));
        assert!(!port("127.0.0.1:80:80").clashes_with(&port("127.0.0.2:80:80")));
        let (four, six) = (port("0.0.0.0:80:80"), port("[::]:80:80"));
        assert!(!four.clashes_with(&six));
        for any in [four, six] {
            assert!(any.clashes_with(&port("80")) && port("80").clashes_with(&any));
        }
        assert!(four.clashes_with(&port("127.0.0.1:80:81")));
        assert!(port("[2001:db8::1]:80:81").clashes_with(&six));
        assert!(!port("[2001:db8::1]:80:81").clashes_with(&four));
    }
}
