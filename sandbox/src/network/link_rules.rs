//! The rules for frames that boxes send onto a bridge, which is what its ports would do for isolated ones if
//! `br_netfilter` let them: with it (docker and Kubernetes load it) the kernel leads a packet from one box to
//! another's port on the host straight from port to port. Pure.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use super::address_pool::bridge_mac;
use super::nft::{
    Base, Chain, Expression, FORWARD, HARDWARE_ADDRESS, Header, INTERFACE_NAME, IPV4_ADDRESS,
    IPV6_ADDRESS, META_ETHER_TYPE, META_IIFNAME, PREROUTING, Register, Set, Table, Verdict,
    interface, pair,
};
use super::state::State;

const PORTS: &str = "ports";
const SENDERS: &str = "senders";
const GATEWAYS: &str = "gateways";
const ENDS4: &str = "ends4";
const ENDS6: &str = "ends6";

const IP: [u8; 2] = [0x08, 0x00];
const ARP: [u8; 2] = [0x08, 0x06];
const IP6: [u8; 2] = [0x86, 0xdd];

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
            jumps: false,
            elements: BTreeMap::new(),
        };
        table.sets.insert(name, set);
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

/// A box sends from its own addresses, and to nobody but its gateway and to all.
fn guard() -> Vec<Vec<Expression>> {
    let ours = [vec![port()], vec![not_in(PORTS)], vec![back()]].concat();
    let sender = vec![port(), load(Header::Link, 6, 6), not_in(SENDERS), dropped()];
    let to_others = [
        to_all(false),
        vec![
            port(),
            load(Header::Link, 0, 6),
            not_in(GATEWAYS),
            dropped(),
        ],
    ]
    .concat();
    let mut rules = vec![ours, sender, to_others];
    let mut unknown = vec![ether_type()];
    unknown.extend([IP, ARP, IP6].map(|kind| compare(false, &kind)));
    unknown.push(dropped());
    rules.push(unknown);
    // struct iphdr, struct arphdr with addresses of IPv4, struct ipv6hdr.
    for (kind, offset) in [(IP, 12), (ARP, 14)] {
        let mut rule = vec![ether_type(), compare(true, &kind), port()];
        rule.extend([load(Header::Network, offset, 4), not_in(ENDS4), dropped()]);
        rules.push(rule);
    }
    let link_local = vec![
        Expression::Payload {
            of: Header::Network,
            offset: 8,
            length: 2,
            to: Register::One,
        },
        Expression::Mask {
            register: Register::One,
            mask: vec![0xff, 0xc0],
        },
        compare(true, &[0xfe, 0x80]),
    ];
    let nobody = vec![
        Expression::Payload {
            of: Header::Network,
            offset: 8,
            length: 16,
            to: Register::One,
        },
        compare(true, &[0; 16]),
    ];
    for fine in [link_local, nobody] {
        let six = vec![ether_type(), compare(true, &IP6)];
        rules.push([six, fine, vec![back()]].concat());
    }
    let mut rule = vec![ether_type(), compare(true, &IP6), port()];
    rule.extend([load(Header::Network, 8, 16), not_in(ENDS6), dropped()]);
    rules.push(rule);
    rules
}

/// What is for all reaches the host alone.
fn forward() -> Vec<Vec<Expression>> {
    let from_box = vec![
        port(),
        Expression::Lookup {
            set: PORTS,
            from: Register::One,
            inverted: false,
            verdict: false,
        },
    ];
    vec![[from_box, to_all(true), vec![dropped()]].concat()]
}

fn port() -> Expression {
    Expression::Meta {
        key: META_IIFNAME,
        to: Register::One,
    }
}

fn ether_type() -> Expression {
    Expression::Meta {
        key: META_ETHER_TYPE,
        to: Register::One,
    }
}

fn load(of: Header, offset: u32, length: u32) -> Expression {
    Expression::Payload {
        of,
        offset,
        length,
        to: Register::Two,
    }
}

fn not_in(set: &'static str) -> Expression {
    Expression::Lookup {
        set,
        from: Register::One,
        inverted: true,
        verdict: false,
    }
}

fn compare(equal: bool, with: &[u8]) -> Expression {
    Expression::Compare {
        from: Register::One,
        equal,
        with: with.to_vec(),
    }
}

/// The lowest bit of a hardware address's first byte: a group, or everybody.
fn to_all(is: bool) -> Vec<Expression> {
    vec![
        Expression::Payload {
            of: Header::Link,
            offset: 0,
            length: 1,
            to: Register::One,
        },
        Expression::Mask {
            register: Register::One,
            mask: vec![1],
        },
        compare(is, &[1]),
    ]
}

fn back() -> Expression {
    Expression::Verdict(Verdict::Return)
}

fn dropped() -> Expression {
    Expression::Verdict(Verdict::Drop)
}
