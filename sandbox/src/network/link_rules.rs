//! The rules for frames that boxes send onto a bridge, which is what its ports would do for isolated ones if
//! `br_netfilter` let them: with it (docker and Kubernetes load it) the kernel leads a packet from one box to
//! another's port on the host straight from port to port. Pure.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use super::address_pool::bridge_mac;
use super::links::SMALLEST_BURST;
use super::nft::{
    Base, Chain, Expression, FORWARD, HARDWARE_ADDRESS, Header, INPUT, INTERFACE_NAME,
    IPV4_ADDRESS, IPV6_ADDRESS, Kind, META_ETHER_TYPE, META_IIFNAME, META_PROTOCOL, PREROUTING,
    Register, Set, Table, Target, interface, pair,
};
use super::state::State;

const PORTS: &str = "ports";
const SENDERS: &str = "senders";
const GATEWAYS: &str = "gateways";
const ENDS4: &str = "ends4";
const ENDS6: &str = "ends6";
const RATES: &str = "rates";

const IP: [u8; 2] = [0x08, 0x00];
const ARP: [u8; 2] = [0x08, 0x06];
const IP6: [u8; 2] = [0x86, 0xdd];
const ICMP6: u8 = 58;

pub(crate) fn table(state: &State) -> Table {
    let mut table = Table::default();
    for (name, kind, length) in [
        (PORTS, INTERFACE_NAME, 16),
        (SENDERS, pair(INTERFACE_NAME, HARDWARE_ADDRESS), 24),
        (GATEWAYS, pair(INTERFACE_NAME, HARDWARE_ADDRESS), 24),
        (ENDS4, pair(INTERFACE_NAME, IPV4_ADDRESS), 20),
        (ENDS6, pair(INTERFACE_NAME, IPV6_ADDRESS), 32),
    ] {
        let set = Set {
            key_length: length,
            key_type: kind,
            kind: Kind::Set,
            elements: BTreeMap::new(),
        };
        table.sets.insert(name, set);
    }
    let rates = Set {
        key_length: 16,
        key_type: INTERFACE_NAME,
        kind: Kind::Verdicts,
        elements: BTreeMap::new(),
    };
    table.sets.insert(RATES, rates);
    for lease in state.leases.values() {
        let Some(rate) = lease.rates.out else {
            continue;
        };
        for link in &lease.links {
            table.hold(&link.device, rate);
        }
    }
    for link in state.leases.values().flat_map(|lease| &lease.links) {
        let port = interface(&link.device);
        let mut put = |set: &str, rest: &[u8]| {
            let mut key = [&port, rest].concat();
            key.resize(key.len().next_multiple_of(4), 0);
            if let Some(set) = table.sets.get_mut(set) {
                set.elements.insert(key, None);
            }
        };
        put(PORTS, &[]);
        put(SENDERS, &link.mac.0);
        put(ENDS4, &link.address.octets());
        if let Some(six) = link.address6 {
            put(ENDS6, &six.octets());
        }
        if let Some(bridge) = state.networks.get(&link.network) {
            put(GATEWAYS, &bridge_mac(bridge.subnet).0);
        }
    }
    for (name, hook, priority, rules) in [
        // Before br_netfilter, which is at 0.
        ("guard", PREROUTING, -400, guard()),
        ("input", INPUT, 0, reserved()),
        ("forward", FORWARD, 0, forward()),
    ] {
        let base = Some(Base {
            kind: "filter",
            hook,
            priority,
        });
        table.chains.insert(name.to_owned(), Chain { base, rules });
    }
    table
}

impl Table {
    /// The box limits what it sends itself, by a queue of its end of the pair, which keeps in step what it holds back. It may
    /// be able to take that away; what then comes too fast is dropped here: the kernel lets the bytes of a second and
    /// this burst pass at once, so what the queue lets through always passes.
    fn hold(&mut self, device: &str, rate: u64) {
        let chain = format!("rate-{device}");
        if let Some(set) = self.sets.get_mut(RATES) {
            let to = Target::Chain(chain.clone());
            set.elements.insert(interface(device), Some(to));
        }
        let over = Expression::Over {
            rate: rate.min(FASTEST),
            burst: SMALLEST_BURST,
            bytes: true,
        };
        let rules = vec![vec![over, Expression::dropped()]];
        self.chains.insert(chain, Chain { base: None, rules });
    }
}

/// Bytes a second that the kernel can count: the nanoseconds of a second times these are below 2^64. No pair of
/// interfaces is as fast.
const FASTEST: u64 = 16_000_000_000;

/// A box sends from its own addresses, and to nobody but its gateway and to all.
fn guard() -> Vec<Vec<Expression>> {
    let of_others = |pair: Expression, set| {
        vec![
            port(),
            pair,
            Expression::is_not_in(set),
            Expression::dropped(),
        ]
    };
    let mut unknown = vec![Expression::meta(META_ETHER_TYPE)];
    unknown.extend([IP, ARP, IP6].map(|kind| Expression::is_not(&kind)));
    unknown.push(Expression::dropped());
    let mut rules = vec![
        vec![port(), Expression::is_not_in(PORTS), Expression::back()],
        vec![port(), Expression::by_map(RATES)],
        of_others(with(Header::Link, 6, 6), SENDERS),
        [to_all(false), of_others(with(Header::Link, 0, 6), GATEWAYS)].concat(),
        unknown,
    ];
    // struct iphdr, and struct arphdr with addresses of IPv4.
    for (kind, offset) in [(IP, 12), (ARP, 14)] {
        let sender = of_others(with(Header::Network, offset, 4), ENDS4);
        rules.push([is_ether(kind), sender].concat());
    }
    let link_local = vec![
        Expression::load(Header::Network, 8, 2),
        Expression::mask(vec![0xff, 0xc0]),
        Expression::is(&[0xfe, 0x80]),
    ];
    let nobody = vec![
        Expression::load(Header::Network, 8, 16),
        Expression::is(&[0; 16]),
    ];
    // What neighbours say to each other (RFC 4861 4) the host hears behind other headers too, where its target is not
    // looked at here.
    let hidden = vec![
        Expression::load(Header::Network, 6, 1),
        Expression::is_not(&[ICMP6]),
        Expression::meta(META_PROTOCOL),
        Expression::is(&[ICMP6]),
        Expression::load(Header::Transport, 0, 1),
        between(133, 137),
        Expression::dropped(),
    ];
    rules.push([is_ether(IP6), hidden].concat());
    // Who says where an address is to be found (136, RFC 4861 4.4) says it of its own.
    let target = of_others(with(Header::Network, 48, 16), ENDS6);
    rules.push([is_ether(IP6), says(136, 136), target].concat());
    // By other addresses than its own a box asks for neighbours, and nothing else.
    for fine in [link_local, nobody] {
        let back = vec![Expression::back()];
        rules.push([is_ether(IP6), fine, says(135, 136), back].concat());
    }
    // struct ipv6hdr.
    let sender = of_others(with(Header::Network, 8, 16), ENDS6);
    rules.push([is_ether(IP6), sender].concat());
    rules
}

fn between(first: u8, last: u8) -> Expression {
    Expression::Range {
        from: Register::One,
        first: vec![first],
        last: vec![last],
    }
}

/// ICMPv6 directly behind the header, of one of these types.
fn says(first: u8, last: u8) -> Vec<Expression> {
    vec![
        Expression::load(Header::Network, 6, 1),
        Expression::is(&[ICMP6]),
        Expression::load(Header::Network, 40, 1),
        between(first, last),
    ]
}

/// Frames to 01:80:c2:00:00:0X are for the bridge's port itself, past all that watches the bridge (IEEE 802.1D).
fn reserved() -> Vec<Vec<Expression>> {
    vec![not_from_a_box(vec![
        Expression::load(Header::Link, 0, 6),
        Expression::mask(vec![0xff, 0xff, 0xff, 0xff, 0xff, 0xf0]),
        Expression::is(&[0x01, 0x80, 0xc2, 0, 0, 0]),
    ])]
}

/// What is for all reaches the host alone.
fn forward() -> Vec<Vec<Expression>> {
    vec![not_from_a_box(to_all(true))]
}

fn not_from_a_box(what: Vec<Expression>) -> Vec<Expression> {
    let from_box = vec![port(), Expression::is_in(PORTS)];
    [from_box, what, vec![Expression::dropped()]].concat()
}

fn port() -> Expression {
    Expression::meta(META_IIFNAME)
}

/// Behind the port, for a look at both.
fn with(of: Header, offset: u32, length: u32) -> Expression {
    Expression::Payload {
        of,
        offset,
        length,
        to: Register::Two,
    }
}

fn is_ether(kind: [u8; 2]) -> Vec<Expression> {
    vec![Expression::meta(META_ETHER_TYPE), Expression::is(&kind)]
}

/// The lowest bit of a hardware address's first byte: a group, or everybody.
fn to_all(is: bool) -> Vec<Expression> {
    vec![
        Expression::load(Header::Link, 0, 1),
        Expression::mask(vec![1]),
        if is {
            Expression::is(&[1])
        } else {
            Expression::is_not(&[1])
        },
    ]
}
