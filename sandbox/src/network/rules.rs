//! The rules for what is routed, made from all that boxes have. Pure.
//!
//! Base chains and sets are always the same; a box with access lines has chains of its own, which the
//! maps lead to by its address. So one box more or less changes a few elements, whatever the others have.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use ipnet::IpNet;

use super::link_rules;
use super::nft::{
    self, Base, Batch, CONNECTION_PORT, CONNECTION_STATE, CONNECTION_STATUS, CONNECTION_TO4,
    CONNECTION_TO6, Chain, Expression, FORWARD, Header, INPUT, INTERFACE_NAME, IPV4_ADDRESS,
    IPV6_ADDRESS, Kind, META_FAMILY, META_IIFNAME, META_OIFNAME, META_PROTOCOL, OUTPUT,
    POSTROUTING, PREROUTING, Register, Set, Table, Tables, Target, Verdict, interface, pair,
};
use super::port_rules;
use super::state::{Bridge, Lease, State};
use crate::config::{Access, Direction, Peer, Protocol, Verdict as Word};

const BRIDGES: &str = "bridges";
const OUT4: &str = "out4";
const OUT6: &str = "out6";
const IN4: &str = "in4";
const IN6: &str = "in6";
const ITSELF4: &str = "itself4";
const ITSELF6: &str = "itself6";

const INVALID: u32 = 1;
const ESTABLISHED_OR_RELATED: u32 = 2 | 4;
const DESTINATION_CHANGED: u32 = 1 << 5;
/// `IPS_CONFIRMED`: the first packet of the connection has passed.
const KNOWN: u32 = 1 << 3;
/// `RTN_LOCAL`.
const LOCAL: u32 = 2;
/// `RTN_MULTICAST`, behind `RTN_BROADCAST` and `RTN_ANYCAST`: the host hears what is sent to these too.
const MULTICAST: u32 = 5;

const GROUPS6: Ipv6Addr = Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0);

/// Ranges of addresses that are not of the internet.
const PRIVATE: [&str; 10] = [
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "100.64.0.0/10",
    "169.254.0.0/16",
    "224.0.0.0/4",
    "255.255.255.255/32",
    "fc00::/7",
    "fe80::/10",
    "ff00::/8",
];

/// What the kernel is to have.
pub(crate) fn tables(state: &State) -> Tables {
    Tables {
        inet: table(state),
        bridge: link_rules::table(state),
    }
}

/// What turns the rules of `before` into those of `after`; `None` when they are the same. Takes as long as what
/// differs, and ports, are many: a box without ports that is the same in both adds the same to both.
pub(crate) fn change(before: &State, after: &State) -> Option<Batch> {
    let matters = |one: &State, other: &State| {
        let leases = one
            .leases
            .iter()
            .filter(|(id, lease)| !lease.ports.is_empty() || other.leases.get(*id) != Some(*lease));
        let clone = |(id, lease): (&String, &Lease)| (id.clone(), lease.clone());
        tables(&State {
            networks: one.networks.clone(),
            leases: leases.map(clone).collect(),
            ..State::default()
        })
    };
    nft::change(&matters(before, after), &matters(after, before))
}

fn table(state: &State) -> Table {
    let mut table = Table {
        sets: sets(),
        chains: BTreeMap::new(),
    };
    for bridge in state.networks.values() {
        table.put(BRIDGES, interface(&bridge.device), None);
    }
    for (id, lease) in &state.leases {
        table.lease(id, lease);
    }
    let bridges: Vec<&Bridge> = state.networks.values().collect();
    for (name, base, rules) in [
        ("guard", base("filter", PREROUTING, -300), guard(&bridges)),
        ("prerouting", base("nat", PREROUTING, -100), to_ports()),
        ("output_nat", base("nat", OUTPUT, -100), to_ports()),
        (
            "postrouting",
            base("nat", POSTROUTING, 100),
            postrouting(&bridges),
        ),
        ("forward", base("filter", FORWARD, 0), forward(&bridges)),
        ("input", base("filter", INPUT, 0), input()),
        ("output", base("filter", OUTPUT, 0), output()),
    ] {
        table.chains.insert(name.to_owned(), Chain { base, rules });
    }
    for (name, rules) in port_rules::chains(state) {
        table.chains.insert(name, Chain { base: None, rules });
    }
    port_rules::elements(state, |set, key, to| table.put(set, key, Some(to)));
    table
}

#[expect(clippy::unnecessary_wraps, reason = "beside chains without a base")]
fn base(kind: &'static str, hook: u32, priority: i32) -> Option<Base> {
    Some(Base {
        kind,
        hook,
        priority,
    })
}

fn sets() -> BTreeMap<&'static str, Set> {
    let of = |key_type: u32, key_length: u32, kind: Kind| Set {
        key_type,
        key_length,
        kind,
        elements: BTreeMap::new(),
    };
    let mut sets = BTreeMap::from([
        (BRIDGES, of(INTERFACE_NAME, 16, Kind::Set)),
        (ITSELF4, of(pair(IPV4_ADDRESS, IPV4_ADDRESS), 8, Kind::Set)),
        (ITSELF6, of(pair(IPV6_ADDRESS, IPV6_ADDRESS), 32, Kind::Set)),
    ]);
    sets.extend(port_rules::sets());
    for name in [OUT4, IN4] {
        sets.insert(name, of(IPV4_ADDRESS, 4, Kind::Verdicts));
    }
    for name in [OUT6, IN6] {
        sets.insert(name, of(IPV6_ADDRESS, 16, Kind::Verdicts));
    }
    sets
}

impl Table {
    fn put(&mut self, set: &'static str, key: Vec<u8>, to: Option<Target>) {
        if let Some(set) = self.sets.get_mut(set) {
            set.elements.insert(key, to);
        }
    }

    /// A chain for this box, which the maps of both families lead to.
    fn chain(
        &mut self,
        name: String,
        maps: (&'static str, &'static str),
        lease: &Lease,
        rules: Vec<Vec<Expression>>,
    ) {
        if rules.is_empty() {
            return;
        }
        let chain = || Some(Target::Chain(name.clone()));
        for link in &lease.links {
            self.put(maps.0, link.address.octets().to_vec(), chain());
            if let Some(six) = link.address6 {
                self.put(maps.1, six.octets().to_vec(), chain());
            }
        }
        self.chains.insert(name, Chain { base: None, rules });
    }

    fn lease(&mut self, id: &str, lease: &Lease) {
        // Both directions lead here, so that they have one measure.
        if let Some(rate) = lease.rates.connections {
            let over = Expression::Over {
                rate: rate.into(),
                burst: rate.max(5),
                bytes: false,
            };
            let rules = vec![vec![over, Expression::dropped()]];
            let chain = Chain { base: None, rules };
            self.chains.insert(rate_chain(id), chain);
        }
        if !lease.ports.is_empty() {
            for link in &lease.links {
                let four = link.address.octets();
                self.put(ITSELF4, [four, four].concat(), None);
                if let Some(six) = link.address6 {
                    self.put(ITSELF6, [six.octets(), six.octets()].concat(), None);
                }
            }
        }
        self.chain(
            format!("out-{id}"),
            (OUT4, OUT6),
            lease,
            access(id, lease, Direction::Out),
        );
        self.chain(
            format!("in-{id}"),
            (IN4, IN6),
            lease,
            access(id, lease, Direction::In),
        );
    }
}

/// What comes from a bridge has an address of that bridge, and nothing that comes from anywhere is for the host's
/// loopback: the kernel would refuse it by the route alone, which it asks for only after a port has led it to a box, and
/// bridges have to let it through for the host's own connections to ports. (`::1` it refuses before all rules.)
fn guard(bridges: &[&Bridge]) -> Vec<Vec<Expression>> {
    let mut rules = vec![rule([
        vec![
            Expression::meta(META_IIFNAME),
            Expression::is_not(&interface("lo")),
        ],
        address(&loopback(), Side::Destination, true),
        vec![Expression::dropped()],
    ])];
    for bridge in bridges {
        let from = || iifname(&bridge.device);
        let own = IpNet::V4(bridge.subnet);
        rules.push(rule([
            from(),
            address(&own, Side::Source, false),
            vec![Expression::dropped()],
        ]));
        if let Some(six) = bridge.subnet6 {
            let back = || vec![Expression::back()];
            rules.push(rule([
                from(),
                address(&IpNet::V6(six), Side::Source, true),
                back(),
            ]));
            // Neighbours are asked after with link-local addresses, and nothing else is: access lines know the
            // box by its own.
            rules.push(rule([from(), neighbours(), back()]));
        }
        rules.push(rule([from(), family(true), vec![Expression::dropped()]]));
    }
    rules
}

fn to_ports() -> Vec<Vec<Expression>> {
    let mut rule = vec![Expression::AddressKind {
        source: false,
        to: Register::One,
    }];
    rule.push(Expression::is(&LOCAL.to_ne_bytes()));
    rule.push(Expression::Verdict(Verdict::Jump("ports".to_owned())));
    vec![rule]
}

fn postrouting(bridges: &[&Bridge]) -> Vec<Vec<Expression>> {
    let masquerade = || vec![Expression::Masquerade];
    // A box that asks for itself by way of the host would not believe an answer from itself.
    let mut rules = vec![
        rule([
            family(false),
            vec![
                Expression::load(Header::Network, 12, 4),
                Expression::Payload {
                    of: Header::Network,
                    offset: 16,
                    length: 4,
                    to: Register::OneBehind4,
                },
                Expression::is_in(ITSELF4),
            ],
            masquerade(),
        ]),
        rule([
            family(true),
            vec![
                Expression::load(Header::Network, 8, 16),
                Expression::Payload {
                    of: Header::Network,
                    offset: 24,
                    length: 16,
                    to: Register::Two,
                },
                Expression::is_in(ITSELF6),
            ],
            masquerade(),
        ]),
    ];
    for bridge in bridges {
        let to = || oifname(&bridge.device, true);
        // The host's own connections to its loopback ports.
        rules.push(rule([
            to(),
            address(&loopback(), Side::Source, true),
            masquerade(),
        ]));
        if bridge.internal {
            continue;
        }
        let six = bridge.subnet6.map(IpNet::V6);
        for subnet in [Some(IpNet::V4(bridge.subnet)), six].into_iter().flatten() {
            let away = oifname(&bridge.device, false);
            rules.push(rule([
                away,
                address(&subnet, Side::Source, true),
                masquerade(),
            ]));
        }
    }
    rules
}

fn forward(bridges: &[&Bridge]) -> Vec<Vec<Expression>> {
    let mut rules = vec![established(), of_no_connection()];
    rules.extend(from_a_box());
    rules.extend(to_a_box());
    for bridge in bridges {
        let inside = [
            iifname(&bridge.device),
            oifname(&bridge.device, true),
            vec![Expression::accept()],
        ];
        rules.push(rule(inside));
        if bridge.internal {
            rules.push(rule([iifname(&bridge.device), vec![Expression::Reject]]));
            rules.push(rule([
                oifname(&bridge.device, true),
                vec![Expression::dropped()],
            ]));
        }
    }
    // From outside, and from other bridges, only to ports that lead here.
    let led = connection_has(CONNECTION_STATUS, DESTINATION_CHANGED);
    rules.push(rule([to_bridges(), led, vec![Expression::accept()]]));
    rules.push(rule([to_bridges(), vec![Expression::dropped()]]));
    rules
}

fn input() -> Vec<Vec<Expression>> {
    let mut rules = vec![
        rule([from_bridges(), neighbours(), vec![Expression::accept()]]),
        established(),
        of_no_connection(),
    ];
    rules.extend(from_a_box());
    rules
}

fn output() -> Vec<Vec<Expression>> {
    // Everything between boxes passes here, on purpose: they are not told of a shorter way.
    const REDIRECT: u8 = 5;
    const REDIRECT6: u8 = 137;
    let drop_all = |what: Vec<Expression>| rule([to_bridges(), what, vec![Expression::dropped()]]);
    let mut rules = vec![
        drop_all([icmp(false), vec![Expression::is(&[REDIRECT])]].concat()),
        drop_all([icmp(true), vec![Expression::is(&[REDIRECT6])]].concat()),
        established(),
        rule([to_bridges(), neighbours(), vec![Expression::accept()]]),
        // And the host speaks to no box by an address that no line knows.
        drop_all(link_local()),
    ];
    // By address alone: what is led here by a port has, in this hook, the way that it would have gone.
    rules.extend(to_chains(Vec::new, Side::Destination, [IN4, IN6]));
    rules
}

/// Without asking for neighbours there is no IPv6 (RFC 4861): ICMPv6 135 and 136, and nobody's 134, who would be a
/// router. Directly behind the header, as everybody sends them.
fn neighbours() -> Vec<Expression> {
    let mut parts = family(true);
    parts.extend([
        Expression::load(Header::Network, 6, 1),
        Expression::is(&[58]),
    ]);
    parts.extend(icmp(true));
    parts.push(Expression::Range {
        from: Register::One,
        first: vec![135],
        last: vec![136],
    });
    parts
}

/// A message of ICMP, whose type is then in the first register.
fn icmp(ipv6: bool) -> Vec<Expression> {
    let number = if ipv6 {
        libc::IPPROTO_ICMPV6
    } else {
        libc::IPPROTO_ICMP
    };
    let mut parts = over(number);
    parts.push(Expression::load(Header::Transport, 0, 1));
    parts
}

/// `IPPROTO_*`.
fn over(number: i32) -> Vec<Expression> {
    let number = u8::try_from(number).unwrap_or(0);
    vec![Expression::meta(META_PROTOCOL), Expression::is(&[number])]
}

fn loopback() -> IpNet {
    IpNet::V4(ipnet::Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8))
}

fn link_local() -> Vec<Expression> {
    let net = ipnet::Ipv6Net::new_assert(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10);
    address(&IpNet::V6(net), Side::Destination, true)
}

fn rate_chain(id: &str) -> String {
    format!("new-{id}")
}

/// What a box's access lines say of new connections in one direction.
fn access(id: &str, lease: &Lease, direction: Direction) -> Vec<Vec<Expression>> {
    let mut rules = Vec::new();
    if lease.rates.connections.is_some() {
        // A flow that nobody answers stays new.
        let first = connection_lacks(CONNECTION_STATUS, KNOWN);
        let jump = Expression::Verdict(Verdict::Jump(rate_chain(id)));
        rules.push(rule([first, vec![jump]]));
    }
    if lease.isolate {
        let other = match direction {
            Direction::Out => to_bridges(),
            Direction::In => from_bridges(),
        };
        // By a port of the host one comes as from outside.
        let directly = connection_lacks(CONNECTION_STATUS, DESTINATION_CHANGED);
        rules.push(rule([other, directly, vec![Expression::Reject]]));
    }
    let lines = |word: Word| {
        let ours = move |access: &&Access| access.direction == direction && access.verdict == word;
        lease.access.iter().filter(ours)
    };
    for (word, end) in [
        (Word::Allow, Expression::back()),
        (Word::Deny, Expression::Reject),
    ] {
        for line in lines(word) {
            for mut matched in matches(line, lease) {
                matched.push(end.clone());
                rules.push(matched);
            }
        }
    }
    if lines(Word::Allow).next().is_some() && lines(Word::Deny).next().is_none() {
        rules.push(vec![Expression::Reject]);
    }
    rules
}

/// What a line is about, as beginnings of rules: one for each family and protocol that it needs.
fn matches(line: &Access, lease: &Lease) -> Vec<Vec<Expression>> {
    let mut rules = with_ports(line, peers(line, lease), destination_port);
    if line.direction == Direction::Out {
        // Who is led on by a port of the host's asks for both: that port, and where it leads.
        let led = connection_has(CONNECTION_STATUS, DESTINATION_CHANGED);
        let asked = with_ports(line, asked_for(line, lease), original_port);
        rules.extend(asked.into_iter().map(|parts| rule([led.clone(), parts])));
    }
    rules
}

fn peers(line: &Access, lease: &Lease) -> Vec<Vec<Expression>> {
    let side = match line.direction {
        Direction::Out => Side::Destination,
        Direction::In => Side::Source,
    };
    match line.peer {
        Peer::Any => vec![Vec::new()],
        Peer::Host => {
            let source = line.direction == Direction::In;
            let kind = Expression::AddressKind {
                source,
                to: Register::One,
            };
            if source {
                return vec![vec![kind, Expression::is(&LOCAL.to_ne_bytes())]];
            }
            let heard = Expression::Range {
                from: Register::One,
                first: LOCAL.to_ne_bytes().to_vec(),
                last: MULTICAST.to_ne_bytes().to_vec(),
            };
            // Of a group of IPv6 the kernel says only whether there is a route.
            let groups = IpNet::V6(ipnet::Ipv6Net::new_assert(GROUPS6, 8));
            vec![vec![kind, heard], address(&groups, side, true)]
        }
        Peer::Boxes => vec![match line.direction {
            Direction::Out => to_bridges(),
            Direction::In => from_bridges(),
        }],
        Peer::Subnet(_) | Peer::Private | Peer::Dns => {
            let nets = nets(line, lease);
            nets.iter().map(|net| address(net, side, true)).collect()
        }
    }
}

/// The addresses of a line whose peer is nothing else.
fn nets(line: &Access, lease: &Lease) -> Vec<IpNet> {
    match line.peer {
        Peer::Subnet(net) => vec![net],
        Peer::Private => PRIVATE.iter().filter_map(|net| net.parse().ok()).collect(),
        Peer::Dns => lease.dns.iter().copied().map(IpNet::from).collect(),
        Peer::Any | Peer::Host | Peer::Boxes => Vec::new(),
    }
}

/// Of a connection that is led on by a port of the host's: whom it was for before.
fn asked_for(line: &Access, lease: &Lease) -> Vec<Vec<Expression>> {
    match line.peer {
        Peer::Any if line.ports.is_none() => Vec::new(),
        Peer::Any => vec![Vec::new()],
        // Only the host's own addresses are led on. What others lead elsewhere is let through by no line of ours.
        Peer::Host if line.verdict == Word::Deny => vec![Vec::new()],
        Peer::Host => vec![to_bridges()],
        Peer::Boxes => Vec::new(),
        Peer::Subnet(_) | Peer::Private | Peer::Dns => {
            nets(line, lease).iter().map(original_address).collect()
        }
    }
}

/// Each of these, with the line's protocols and ports.
fn with_ports(
    line: &Access,
    peers: Vec<Vec<Expression>>,
    port: fn(&RangeInclusive<u16>) -> Vec<Expression>,
) -> Vec<Vec<Expression>> {
    let range = if line.peer == Peer::Dns {
        Some(53..=53)
    } else {
        line.ports.clone()
    };
    let Some(range) = range else {
        return peers;
    };
    let protocols = match line.protocol {
        Some(one) => vec![one],
        None => vec![Protocol::Tcp, Protocol::Udp],
    };
    let both = |peer: &Vec<Expression>, one: Protocol| {
        let parts = [peer.clone(), protocol(one), port(&range)];
        parts.concat()
    };
    peers
        .iter()
        .flat_map(|peer| protocols.iter().map(move |one| both(peer, *one)))
        .collect()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Source,
    Destination,
}

fn rule<const N: usize>(parts: [Vec<Expression>; N]) -> Vec<Expression> {
    parts.concat()
}

pub(crate) fn family(ipv6: bool) -> Vec<Expression> {
    let number = if ipv6 { 10 } else { 2 };
    vec![Expression::meta(META_FAMILY), Expression::is(&[number])]
}

fn iifname(device: &str) -> Vec<Expression> {
    vec![
        Expression::meta(META_IIFNAME),
        Expression::is(&interface(device)),
    ]
}

fn oifname(device: &str, equal: bool) -> Vec<Expression> {
    let with = interface(device);
    let compare = Expression::Compare {
        from: Register::One,
        equal,
        with,
    };
    vec![Expression::meta(META_OIFNAME), compare]
}

fn from_bridges() -> Vec<Expression> {
    vec![Expression::meta(META_IIFNAME), Expression::is_in(BRIDGES)]
}

fn to_bridges() -> Vec<Expression> {
    vec![Expression::meta(META_OIFNAME), Expression::is_in(BRIDGES)]
}

/// Whatever belongs to a connection that was let through.
fn established() -> Vec<Expression> {
    let known = connection_has(CONNECTION_STATE, ESTABLISHED_OR_RELATED);
    rule([known, vec![Expression::accept()]])
}

/// What a box sends that belongs to no connection and begins none would leave with the box's own address: it is not
/// masqueraded.
fn of_no_connection() -> Vec<Expression> {
    let invalid = connection_has(CONNECTION_STATE, INVALID);
    rule([from_bridges(), invalid, vec![Expression::dropped()]])
}

/// One of these bits at least.
fn connection_has(key: u32, bits: u32) -> Vec<Expression> {
    connection_bits(key, bits, Expression::is_not(&[0; 4]))
}

/// None of these bits.
fn connection_lacks(key: u32, bits: u32) -> Vec<Expression> {
    connection_bits(key, bits, Expression::is(&[0; 4]))
}

fn connection_bits(key: u32, bits: u32, holds: Expression) -> Vec<Expression> {
    let to = Register::One;
    let load = Expression::Connection { key, to };
    vec![load, Expression::mask(bits.to_ne_bytes().to_vec()), holds]
}

/// The jumps to the chain of the box whose address this is, of either family.
fn to_chains(
    start: fn() -> Vec<Expression>,
    side: Side,
    maps: [&'static str; 2],
) -> [Vec<Expression>; 2] {
    let [four, six] = maps;
    [(false, four), (true, six)].map(|(ipv6, map)| {
        let jump = vec![load_address(ipv6, side), Expression::by_map(map)];
        rule([start(), family(ipv6), jump])
    })
}

fn from_a_box() -> [Vec<Expression>; 2] {
    to_chains(from_bridges, Side::Source, [OUT4, OUT6])
}

fn to_a_box() -> [Vec<Expression>; 2] {
    to_chains(to_bridges, Side::Destination, [IN4, IN6])
}

/// `struct iphdr` and `struct ipv6hdr`.
fn load_address(ipv6: bool, side: Side) -> Expression {
    let (offset, length) = match (ipv6, side) {
        (false, Side::Source) => (12, 4),
        (false, Side::Destination) => (16, 4),
        (true, Side::Source) => (8, 16),
        (true, Side::Destination) => (24, 16),
    };
    Expression::Payload {
        of: Header::Network,
        offset,
        length,
        to: Register::One,
    }
}

/// The packet's address is in `net`, or is not.
pub(crate) fn address(net: &IpNet, side: Side, inside: bool) -> Vec<Expression> {
    let ipv6 = matches!(net, IpNet::V6(_));
    rule([
        family(ipv6),
        vec![load_address(ipv6, side)],
        loaded_is_in(net, inside),
    ])
}

/// Where the connection was to lead is in `net`.
fn original_address(net: &IpNet) -> Vec<Expression> {
    let ipv6 = matches!(net, IpNet::V6(_));
    let key = if ipv6 { CONNECTION_TO6 } else { CONNECTION_TO4 };
    let to = Register::One;
    rule([
        family(ipv6),
        vec![Expression::Original { key, to }],
        loaded_is_in(net, true),
    ])
}

fn loaded_is_in(net: &IpNet, inside: bool) -> Vec<Expression> {
    let (mask, network) = match net {
        IpNet::V4(net) => (
            net.netmask().octets().to_vec(),
            net.network().octets().to_vec(),
        ),
        IpNet::V6(net) => (
            net.netmask().octets().to_vec(),
            net.network().octets().to_vec(),
        ),
    };
    let mut parts = Vec::new();
    if mask.iter().any(|byte| *byte != u8::MAX) {
        parts.push(Expression::Mask {
            register: Register::One,
            mask,
        });
    }
    parts.push(Expression::Compare {
        from: Register::One,
        equal: inside,
        with: network,
    });
    parts
}

pub(crate) fn protocol(protocol: Protocol) -> Vec<Expression> {
    over(number_of(protocol).into())
}

/// `IPPROTO_*`.
pub(crate) fn number_of(protocol: Protocol) -> u8 {
    let number = match protocol {
        Protocol::Tcp => libc::IPPROTO_TCP,
        Protocol::Udp => libc::IPPROTO_UDP,
    };
    u8::try_from(number).unwrap_or(0)
}

pub(crate) fn destination_port(range: &RangeInclusive<u16>) -> Vec<Expression> {
    port_is(Expression::load(Header::Transport, 2, 2), range)
}

/// The port that the connection was to lead to.
fn original_port(range: &RangeInclusive<u16>) -> Vec<Expression> {
    let original = Expression::Original {
        key: CONNECTION_PORT,
        to: Register::One,
    };
    port_is(original, range)
}

fn port_is(load: Expression, range: &RangeInclusive<u16>) -> Vec<Expression> {
    let (first, last) = (
        range.start().to_be_bytes().to_vec(),
        range.end().to_be_bytes().to_vec(),
    );
    if first == last {
        return vec![load, Expression::is(&first)];
    }
    vec![
        load,
        Expression::Range {
            from: Register::One,
            first,
            last,
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Interface, PrivateNetwork};
    use crate::network::state::Around;

    fn wanted(id: &str, networks: &[&str], ports: &[&str], access: &[&str]) -> PrivateNetwork {
        PrivateNetwork {
            id: id.into(),
            name: id.into(),
            interfaces: networks.iter().map(|name| Interface::on(name)).collect(),
            ports: ports.iter().map(|port| port.parse().unwrap()).collect(),
            isolate: !access.is_empty(),
            ..PrivateNetwork::default()
        }
    }

    #[test]
    fn who_stays_as_he_is_adds_nothing_to_a_change_and_takes_nothing_from_it() {
        let boxes = [
            wanted("a", &["front"], &[], &[]),
            wanted(
                "b",
                &["front", "back"],
                &["80:80", "127.0.0.1:8000-8003:9000-9003"],
                &[],
            ),
            wanted("c", &["back"], &[], &["isolate"]),
            wanted("d", &["front"], &["127.0.0.1:81:81"], &["isolate"]),
            wanted(
                "e",
                &["other"],
                &["127.0.0.2:8001:9001", "127.0.0.2:81:1"],
                &[],
            ),
        ];
        let around = Around {
            has_ipv6: true,
            ..Around::default()
        };
        // Everybody comes, and goes in another order.
        let mut states = vec![State::default()];
        for one in &boxes {
            let mut next = states.last().unwrap().clone();
            next.add(one, &around).unwrap();
            states.push(next);
        }
        for id in ["b", "e", "a", "d", "c"] {
            let mut next = states.last().unwrap().clone();
            next.remove(id).unwrap();
            states.push(next);
        }
        for before in &states {
            for after in &states {
                let whole = nft::change(&tables(before), &tables(after));
                let bytes = |batch: Option<Batch>| batch.map(|batch| batch.bytes);
                assert_eq!(bytes(change(before, after)), bytes(whole));
            }
        }
    }
}
