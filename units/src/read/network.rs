//! `[network]`: which network the box has, and what goes through it.
#![forbid(unsafe_code)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use sandbox::config::{
    Access, BridgeNetwork, Interface, Join, Link, MacAddress, NamespaceKind, NamespaceSource,
    Network, NetworkSyntax, Port, PrivateNetwork, Verdict,
};

use super::Draft;
use super::limits::size;
use crate::name::UnitName;
use crate::network::network_name;
use crate::reader::{Item, Reader};

/// The keys of `[network]`, as they stand there.
#[derive(Debug, Default)]
pub(crate) struct NetworkKeys {
    /// `None` when the unit does not say, and has what its profile says.
    pub(crate) mode: Option<Mode>,
    pub(crate) bridges: Vec<String>,
    /// The length of the prefix where one is written.
    pub(crate) address: Option<(Ipv4Addr, Option<u8>)>,
    pub(crate) address6: Option<(Ipv6Addr, Option<u8>)>,
    pub(crate) gateway: Option<Ipv4Addr>,
    pub(crate) gateway6: Option<Ipv6Addr>,
    pub(crate) mac: Option<MacAddress>,
    pub(crate) mtu: Option<u32>,
    /// Everything but the interfaces.
    pub(crate) through: PrivateNetwork,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Mode {
    Host,
    None,
    Loopback,
    Bridge,
    Join(UnitName),
    MacVlan(String),
    IpVlan(String),
    Path(PathBuf),
}

/// The plain modes, and what the others look like.
type Made = Option<fn() -> Mode>;
const MODES: [(&str, Made); 8] = [
    ("host", Some(|| Mode::Host)),
    ("none", Some(|| Mode::None)),
    ("loopback", Some(|| Mode::Loopback)),
    ("bridge", Some(|| Mode::Bridge)),
    ("join:UNIT", None),
    ("macvlan:INTERFACE", None),
    ("ipvlan:INTERFACE", None),
    ("path:/PATH", None),
];

pub(super) fn read(draft: &mut Draft, reader: &mut Reader<'_>, name: &str, item: Item<'_>) -> bool {
    let own = draft.unit.name.clone();
    let keys = &mut draft.network;
    let through = &mut keys.through;
    match name {
        "mode" => keys.mode = read_mode(reader, item, &own),
        "bridge" => keys.bridges = read_bridges(reader, item),
        "address" => keys.address = read_address(reader, item, "IPv4", "192.168.1.5", 32),
        "address6" => keys.address6 = read_address(reader, item, "IPv6", "fd00::5", 128),
        "gateway" => read_gateways(keys, reader, item),
        "dns" => {
            let items = reader.list(item);
            let servers = items.into_iter().filter_map(|item| read_ip(reader, item));
            through.dns = Some(servers.collect());
        }
        "hosts" => through.hosts = read_hosts(reader, item),
        "ports" => through.ports = read_ports(reader, item),
        "mac" => keys.mac = parsed(reader, item, str::parse),
        "mtu" => keys.mtu = reader.number(item, SMALLEST_MTU..=65_535),
        "isolate" => through.isolate = reader.boolean(item).unwrap_or_default(),
        "allow" => read_access(through, reader, item, Verdict::Allow),
        "deny" => read_access(through, reader, item, Verdict::Deny),
        "rate_in" => through.rates.into = read_rate(reader, item),
        "rate_out" => through.rates.out = read_rate(reader, item),
        "connection_rate" => {
            through.rates.connections = reader.number(item, 1..=i64::from(u32::MAX));
        }
        _ => return false,
    }
    true
}

/// The network of a box that names none.
const DEFAULT_NETWORK: &str = "default";
/// IPv6 has no smaller one (RFC 8200).
const SMALLEST_MTU: i64 = 1280;

fn read_mode(reader: &mut Reader<'_>, item: Item<'_>, own: &UnitName) -> Option<Mode> {
    let text = reader.text(item)?;
    let Some((kind, rest)) = text.split_once(':') else {
        return reader.word(item, &text, &MODES)?.map(|mode| mode());
    };
    match kind {
        "join" => match UnitName::new(rest) {
            Ok(name) if name.is_template() => {
                let hint = format!("name an instance: \"join:{name}x\"");
                reader.error_with_hint(item, format!("{rest:?} is a template"), hint);
                None
            }
            Ok(name) if name == *own => {
                let hint = "name the unit that has the network, or set `mode = \"bridge\"`";
                reader.error_with_hint(item, "a unit cannot join its own network", hint);
                None
            }
            Ok(name) => Some(Mode::Join(name)),
            Err(problem) => {
                reader.error(item, problem.to_string());
                None
            }
        },
        "macvlan" => interface(reader, item, rest).map(Mode::MacVlan),
        "ipvlan" => interface(reader, item, rest).map(Mode::IpVlan),
        "path" => reader.absolute(item, rest).map(Mode::Path),
        _ => reader.word(item, &text, &MODES)?.map(|mode| mode()),
    }
}

/// The name of an interface of the host: `IFNAMSIZ` is 16.
fn interface(reader: &mut Reader<'_>, item: Item<'_>, name: &str) -> Option<String> {
    let fits = |c: char| !c.is_whitespace() && !c.is_control() && !matches!(c, '/' | ':');
    if name.is_empty() || name.len() > 15 || matches!(name, "." | "..") || !name.chars().all(fits) {
        let hint = "`ip link` lists the interfaces of the host";
        reader.error_with_hint(item, format!("{name:?} is no name of an interface"), hint);
        return None;
    }
    Some(name.to_owned())
}

fn read_bridges(reader: &mut Reader<'_>, item: Item<'_>) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    let items = reader.list(item);
    if items.is_empty() {
        let hint = "leave `bridge` out for the network \"default\"";
        reader.error_with_hint(item, "a box on a bridge needs the name of one", hint);
    }
    for item in items {
        let Some(text) = reader.text(item) else {
            continue;
        };
        match network_name(&text) {
            Err(problem) => reader.error(item, problem.to_string()),
            Ok(()) if names.contains(&text) => {
                reader.error(item, format!("network {text:?} is there twice"));
            }
            Ok(()) => names.push(text),
        }
    }
    names
}

/// An address, and the length of its prefix where there is one.
fn read_address<A: std::str::FromStr>(
    reader: &mut Reader<'_>,
    item: Item<'_>,
    family: &str,
    example: &str,
    longest: u8,
) -> Option<(A, Option<u8>)> {
    let text = reader.text(item)?;
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length.parse::<u8>())),
        None => (&*text, None),
    };
    match (address.parse(), length) {
        (Ok(address), None) => Some((address, None)),
        (Ok(address), Some(Ok(length))) if (1..=longest).contains(&length) => {
            Some((address, Some(length)))
        }
        _ => {
            let message = format!("{text:?} is no {family} address");
            let hint = format!("write \"{example}\"; with macvlan and ipvlan \"{example}/24\"");
            let hint = match longest {
                128 => hint.replace("/24", "/64"),
                _ => hint,
            };
            reader.error_with_hint(item, message, hint);
            None
        }
    }
}

fn read_ip(reader: &mut Reader<'_>, item: Item<'_>) -> Option<IpAddr> {
    let text = reader.text(item)?;
    let address = text.parse().ok();
    if address.is_none() {
        let hint = "write \"192.0.2.53\" or \"2001:db8::53\"";
        reader.error_with_hint(item, format!("{text:?} is no IP address"), hint);
    }
    address
}

fn read_gateways(keys: &mut NetworkKeys, reader: &mut Reader<'_>, item: Item<'_>) {
    for item in reader.list(item) {
        let is_second = match read_ip(reader, item) {
            Some(IpAddr::V4(address)) => keys.gateway.replace(address).is_some(),
            Some(IpAddr::V6(address)) => keys.gateway6.replace(address).is_some(),
            None => false,
        };
        if is_second {
            reader.error(item, "there is one gateway for each family");
        }
    }
}

fn read_hosts(reader: &mut Reader<'_>, item: Item<'_>) -> Vec<(String, IpAddr)> {
    let mut hosts = Vec::new();
    let Some(table) = reader.table(item) else {
        return hosts;
    };
    for (name, value) in table {
        let value = item.sibling(value);
        let name = name.get_ref();
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
        if name.is_empty() || name.len() > 253 || !name.chars().all(fits) {
            let hint = "a host name is letters, digits, - and .";
            reader.error_with_hint(value, format!("{name:?} is no host name"), hint);
            continue;
        }
        hosts.extend(read_ip(reader, value).map(|address| (name.to_string(), address)));
    }
    hosts
}

fn read_ports(reader: &mut Reader<'_>, item: Item<'_>) -> Vec<Port> {
    let mut ports: Vec<Port> = Vec::new();
    for item in reader.list(item) {
        let Some(port) = parsed(reader, item, str::parse::<Port>) else {
            continue;
        };
        if let Some(other) = ports.iter().find(|other| other.clashes_with(&port)) {
            let message = format!("{port} and {other} are the same port of the host");
            reader.error_with_hint(item, message, "keep one of them");
        }
        ports.push(port);
    }
    ports
}

fn read_access(
    through: &mut PrivateNetwork,
    reader: &mut Reader<'_>,
    item: Item<'_>,
    verdict: Verdict,
) {
    for item in reader.list(item) {
        let parse = |text: &str| Access::parse(verdict, text);
        through.access.extend(parsed(reader, item, parse));
    }
}

/// What the crate's own grammar reads, whose errors tell how it is written.
fn parsed<T>(
    reader: &mut Reader<'_>,
    item: Item<'_>,
    parse: impl FnOnce(&str) -> Result<T, NetworkSyntax>,
) -> Option<T> {
    let text = reader.text(item)?;
    match parse(&text) {
        Ok(value) => Some(value),
        Err(problem) => {
            let text = problem.to_string();
            match text.split_once(": write ") {
                Some((what, how)) => reader.error_with_hint(item, what, format!("write {how}")),
                None => reader.error(item, text),
            }
            None
        }
    }
}

fn read_rate(reader: &mut Reader<'_>, item: Item<'_>) -> Option<u64> {
    let rate = size(reader, item)?;
    if rate == 0 {
        let hint = "`mode = \"loopback\"` lets nothing through; \"10M\" is 10 MiB a second";
        reader.error_with_hint(item, "a rate of nothing is no network", hint);
        return None;
    }
    Some(rate)
}

/// The walls that the keys come to.
pub(super) fn assemble(draft: &mut Draft) {
    let name = draft.unit.name.to_string();
    let Some(mode) = draft.network.mode.clone() else {
        return;
    };
    let keys = &draft.network;
    let private = |interfaces: Vec<Interface>| {
        Network::Private(Box::new(PrivateNetwork {
            name,
            interfaces,
            names: true,
            ..keys.through.clone()
        }))
    };
    let (network, join) = match mode {
        Mode::Host => (Network::Host, None),
        Mode::None => (Network::None, None),
        Mode::Loopback => (Network::Loopback, None),
        Mode::Bridge => (private(keys.on_bridges()), None),
        Mode::MacVlan(parent) => (private(vec![keys.on(Link::MacVlan(parent))]), None),
        Mode::IpVlan(parent) => (private(vec![keys.on(Link::IpVlan(parent))]), None),
        Mode::Path(path) => {
            let from = NamespaceSource::Path(path);
            let kind = NamespaceKind::Net;
            (Network::Host, Some(Join { kind, from }))
        }
        Mode::Join(unit) => {
            // It ends with what it is in, and comes back with it.
            let dependencies = draft.dependencies();
            for list in [&mut dependencies.after, &mut dependencies.binds_to] {
                if !list.contains(&unit) {
                    list.push(unit.clone());
                }
            }
            draft.entry().network_of = Some(unit);
            (Network::Host, None)
        }
    };
    let walls = draft.walls();
    walls.namespaces.net |= network != Network::Host;
    walls.network = network;
    walls.join.extend(join);
}

impl NetworkKeys {
    fn on_bridges(&self) -> Vec<Interface> {
        let default = [DEFAULT_NETWORK.to_owned()];
        let names = match &*self.bridges {
            [] => &default[..],
            names => names,
        };
        let links = names.iter().map(|name| BridgeNetwork::new(name));
        links
            .map(|network| self.on(Link::Bridge(network)))
            .collect()
    }

    fn on(&self, link: Link) -> Interface {
        let length = |written: Option<u8>, usual| written.unwrap_or(usual);
        Interface {
            link,
            address: self.address.map(|(address, _)| address),
            address6: self.address6.map(|(address, _)| address),
            length: length(self.address.and_then(|(_, length)| length), 24),
            length6: length(self.address6.and_then(|(_, length)| length), 64),
            gateway: self.gateway,
            gateway6: self.gateway6,
            mac: self.mac,
            mtu: self.mtu,
        }
    }
}
