//! The rules that lead ports of the host into boxes. Pure.
//!
//! What comes to one of the host's addresses passes the chain `ports`, whose first rule looks its protocol and port up
//! in the map `led` and goes on in the chain of the box that has it: a box more changes nothing that others have,
//! and nothing has to be taken out for it, for which the kernel would wait until no packet is under way in it.
//! Where two boxes have one number, on two addresses of the host, or somebody has very many, rules of `ports` itself
//! lead there, and change as a whole.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;

use super::nft::{
    Expression, Header, Kind, META_PROTOCOL, PORT, PROTOCOL, Register, Set, Target, pair,
};
use super::relay;
use super::rules::{Side, address, destination_port, family, number_of, protocol};
use super::state::{Lease, State};
use crate::config::Port;

pub(crate) const LED: &str = "led";
pub(crate) const SHIFTED: &str = "shifted";

/// A range of more has no place in the map.
const FEW: u16 = 64;

/// The chains that ports lead through, with `ports` first among them.
pub(crate) fn chains(state: &State) -> BTreeMap<String, Vec<Vec<Expression>>> {
    let together = together(state);
    let mut all = BTreeMap::new();
    let mut common = vec![by_number()];
    for (id, lease) in &state.leases {
        let rules = of(state, lease);
        if rules.is_empty() {
            continue;
        }
        if together.contains(id.as_str()) {
            common.extend(rules);
        } else {
            all.insert(chain(id), rules);
        }
    }
    all.insert("ports".to_owned(), common);
    all
}

/// What the maps have for them.
pub(crate) fn elements(state: &State, mut put: impl FnMut(&'static str, Vec<u8>, Target)) {
    let together = together(state);
    for (id, lease) in &state.leases {
        for port in led(lease).filter(|port| is_shifted_range(port)) {
            for (host, inside) in port.on_host().zip(port.inside..) {
                let inside = Target::Value(inside.to_be_bytes().to_vec());
                put(SHIFTED, [shift(port), in_register(host)].concat(), inside);
            }
        }
        if together.contains(id.as_str()) || lease.links.is_empty() {
            continue;
        }
        for port in led(lease) {
            let over = vec![number_of(port.protocol), 0, 0, 0];
            for host in port.on_host() {
                let key = [over.clone(), in_register(host)].concat();
                put(LED, key, Target::Chain(chain(id)));
            }
        }
    }
}

pub(crate) fn sets() -> [(&'static str, Set); 2] {
    let of = |key_type, kind| Set {
        key_type,
        key_length: 8,
        kind,
        elements: BTreeMap::new(),
    };
    [
        (LED, of(pair(PROTOCOL, PORT), Kind::Verdicts)),
        (SHIFTED, of(pair(PORT, PORT), Kind::Values(PORT, 2))),
    ]
}

fn chain(id: &str) -> String {
    format!("ports-{id}")
}

fn by_number() -> Vec<Expression> {
    vec![
        Expression::meta(META_PROTOCOL),
        Expression::Payload {
            of: Header::Transport,
            offset: 2,
            length: 2,
            to: Register::OneBehind4,
        },
        Expression::by_map(LED),
    ]
}

/// Those of a box's ports that rules lead; the others are a process's.
fn led(lease: &Lease) -> impl Iterator<Item = &Port> {
    lease.ports.iter().filter(|port| !relay::is_for(port))
}

/// The boxes that the map cannot lead to.
fn together(state: &State) -> BTreeSet<&str> {
    let mut ranges: Vec<(u8, u16, u16, &str)> = Vec::new();
    for (id, lease) in &state.leases {
        ranges.extend(led(lease).map(|port| {
            let on_host = port.on_host();
            let protocol = number_of(port.protocol);
            (protocol, *on_host.start(), *on_host.end(), id.as_str())
        }));
    }
    ranges.sort_unstable();
    let mut found = BTreeSet::new();
    // Of all that began before, the one that reaches furthest. One that it hides overlaps it, so is found already.
    let mut furthest: Option<(u8, u16, &str)> = None;
    for (protocol, first, last, id) in ranges {
        if last - first >= FEW {
            found.insert(id);
        }
        match furthest {
            Some((same, until, other)) if same == protocol && first <= until => {
                if other != id {
                    found.extend([id, other]);
                }
                if last > until {
                    furthest = Some((protocol, last, id));
                }
            }
            _ => furthest = Some((protocol, last, id)),
        }
    }
    found
}

fn of(state: &State, lease: &Lease) -> Vec<Vec<Expression>> {
    let mut rules = Vec::new();
    let Some(link) = state.link_of_ports(&lease.links) else {
        return rules;
    };
    for port in led(lease) {
        if !matches!(port.address, Some(IpAddr::V6(_))) {
            lead(&mut rules, port, IpAddr::V4(link.address));
        }
        if let Some(six) = link.address6
            && !matches!(port.address, Some(IpAddr::V4(_)))
        {
            lead(&mut rules, port, IpAddr::V6(six));
        }
    }
    rules
}

/// More than one port, which have other numbers in the box.
fn is_shifted_range(port: &Port) -> bool {
    port.count > 1 && port.host != port.inside
}

/// How far the numbers of a range are moved, modulo 2^16, as the first part of a key. The map has it so that every
/// range that is moved as far as another one shares what it has with it, whosever it is.
fn shift(port: &Port) -> Vec<u8> {
    in_register(port.inside.wrapping_sub(port.host))
}

/// As part of a key of more than one: filled up to four bytes.
fn in_register(number: u16) -> Vec<u8> {
    let [high, low] = number.to_be_bytes();
    vec![high, low, 0, 0]
}

/// One rule, however many ports it is: the kernel knows no sum, so that a map has what is moved.
fn lead(rules: &mut Vec<Vec<Expression>>, port: &Port, to: IpAddr) {
    let ipv6 = to.is_ipv6();
    let start = || {
        let mut parts = family(ipv6);
        if let Some(on) = port.one_address() {
            parts = address(&IpNet::from(on), Side::Destination, true);
        } else if ipv6 {
            // The kernel does not believe an answer for it that comes from elsewhere: who asks is refused
            // at once instead, and asks 127.0.0.1.
            let itself = IpNet::from(IpAddr::V6(Ipv6Addr::LOCALHOST));
            parts = address(&itself, Side::Destination, false);
        }
        parts.extend(protocol(port.protocol));
        parts
    };
    let load = |address: IpAddr| {
        let value = match address {
            IpAddr::V4(four) => four.octets().to_vec(),
            IpAddr::V6(six) => six.octets().to_vec(),
        };
        Expression::Value {
            to: Register::One,
            value,
        }
    };
    let destination = |port: Option<Register>| Expression::Destination {
        ipv6,
        address: Register::One,
        port,
    };
    if port.host == port.inside {
        let mut parts = start();
        parts.extend(destination_port(&port.on_host()));
        parts.extend([load(to), destination(None)]);
        rules.push(parts);
        return;
    }
    let mut parts = start();
    parts.extend(destination_port(&port.on_host()));
    if is_shifted_range(port) {
        let by = port.inside.wrapping_sub(port.host).to_be_bytes().to_vec();
        parts.extend([
            Expression::Value {
                to: Register::One,
                value: by,
            },
            Expression::Payload {
                of: Header::Transport,
                offset: 2,
                length: 2,
                to: Register::OneBehind4,
            },
            Expression::Mapped {
                map: SHIFTED,
                from: Register::One,
                to: Register::Two,
            },
        ]);
    } else {
        parts.push(Expression::Value {
            to: Register::Two,
            value: port.inside.to_be_bytes().to_vec(),
        });
    }
    parts.extend([load(to), destination(Some(Register::Two))]);
    rules.push(parts);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Interface, PrivateNetwork};
    use crate::network::state::Around;

    fn with(state: &mut State, id: &str, ports: &[&str]) {
        let wanted = PrivateNetwork {
            id: id.into(),
            name: id.into(),
            interfaces: vec![Interface::on("default")],
            ports: ports.iter().map(|port| port.parse().unwrap()).collect(),
            ..PrivateNetwork::default()
        };
        state.add(&wanted, &Around::default()).unwrap();
    }

    fn elements_led(state: &State) -> usize {
        let mut count = 0;
        elements(state, |set, _, _| count += usize::from(set == LED));
        count
    }

    #[test]
    fn one_box_more_changes_no_chain_of_another() {
        let mut state = State::default();
        with(&mut state, "b", &["80:80", "53:53/udp"]);
        let before = chains(&state);
        assert_eq!(elements_led(&state), 2);
        with(
            &mut state,
            "a",
            &["81:80", "80:80/udp", "8000-8009:9000-9009"],
        );
        let after = chains(&state);
        assert_eq!(elements_led(&state), 14);
        assert!(before.iter().all(|(name, rules)| after[name] == *rules));
        assert_eq!(
            after.keys().collect::<Vec<_>>(),
            ["ports", "ports-a", "ports-b"]
        );
    }

    #[test]
    fn boxes_with_one_number_on_two_addresses_are_told_apart_by_rules() {
        let mut state = State::default();
        with(&mut state, "a", &["127.0.0.1:8000-8010:8000-8010"]);
        with(&mut state, "b", &["127.0.0.2:8010:80"]);
        with(&mut state, "c", &["8011:80"]);
        let all = chains(&state);
        assert_eq!(all.keys().collect::<Vec<_>>(), ["ports", "ports-c"]);
        assert_eq!((all["ports"].len(), elements_led(&state)), (3, 1));
        state.remove("b");
        assert_eq!(elements_led(&state), 12);
    }

    #[test]
    fn very_many_ports_are_one_rule() {
        let mut state = State::default();
        with(&mut state, "a", &["10000-59999:10000-59999"]);
        assert_eq!(
            (chains(&state)["ports"].len(), elements_led(&state)),
            (2, 0)
        );
    }

    #[test]
    fn what_a_relay_leads_has_no_rule() {
        let mut state = State::default();
        with(
            &mut state,
            "a",
            &["[::1]:8443:443", "[::1]:9000-9009:80-89/udp"],
        );
        with(&mut state, "b", &["127.0.0.1:8443:443"]);
        let all = chains(&state);
        assert_eq!(all.keys().collect::<Vec<_>>(), ["ports", "ports-b"]);
        assert_eq!(elements_led(&state), 1);
        let mut count = 0;
        elements(&state, |_, _, _| count += 1);
        assert_eq!(count, 1);
    }
}
