//! Keys of `[network]` that a mode has no use for, or cannot do without.
#![forbid(unsafe_code)]

use std::net::IpAddr;

use ipnet::IpNet;
use sandbox::capability::CAP_NET_ADMIN;
use sandbox::config::NamespaceKind;

use super::Check;
use crate::read::{Draft, NetworkKeys, NetworkMode};
use crate::unit::PrivateUsers;

/// All but `mode`.
const KEYS: [&str; 15] = [
    "bridge",
    "address",
    "address6",
    "gateway",
    "dns",
    "hosts",
    "ports",
    "mac",
    "mtu",
    "isolate",
    "allow",
    "deny",
    "rate_in",
    "rate_out",
    "connection_rate",
];

/// What the host's rules do, past which a wire of the host leads.
const BY_RULES: [&str; 8] = [
    "bridge",
    "ports",
    "isolate",
    "allow",
    "deny",
    "rate_in",
    "rate_out",
    "connection_rate",
];

impl Check<'_, '_, '_> {
    pub(super) fn network(&mut self, draft: &Draft) {
        // Without a box each of the keys has been told already, and so has a mode that is none.
        let is_unread = draft.network.mode.is_none() && self.given("network.mode");
        if !draft.boxed || is_unread {
            return;
        }
        self.ends_at_the_box(draft);
        let keys = &draft.network;
        match &keys.mode {
            None | Some(NetworkMode::Host) => {
                let hint = "set `mode = \"bridge\"` in [network]";
                self.none_of(&KEYS, "needs a network of the box's own", hint);
            }
            Some(NetworkMode::None | NetworkMode::Loopback) => {
                let why = "means nothing to a box that nobody reaches by the network";
                self.none_of(&KEYS, why, "set `mode = \"bridge\"` in [network]");
            }
            Some(NetworkMode::Join(unit)) => {
                let why = format!("means nothing here: the network is {unit}'s");
                self.none_of(&KEYS, &why, &format!("write it into [network] of {unit}"));
                self.joined_once(draft);
            }
            Some(NetworkMode::Path(_)) => {
                let why = "means nothing to a network that somebody else has made";
                self.none_of(&KEYS, why, "leave it out, or set `mode = \"bridge\"`");
                self.joined_once(draft);
            }
            Some(NetworkMode::Bridge) => self.on_bridges(keys),
            Some(NetworkMode::MacVlan(_)) => self.on_a_wire(keys, "macvlan"),
            Some(NetworkMode::IpVlan(_)) => {
                let path = "network.mac";
                if self.given(path) {
                    let message = "an ipvlan has the hardware address of the host's interface";
                    self.error(path, message, "use macvlan for one of the box's own");
                }
                self.on_a_wire(keys, "ipvlan");
            }
        }
    }

    /// Without a user namespace in between, a link that leads out of the box is a way for `CAP_NET_ADMIN` too.
    fn ends_at_the_box(&mut self, draft: &Draft) {
        let (Some(walls), Some(mode)) = (&draft.unit.walls, &draft.network.mode) else {
            return;
        };
        let leads_out = match mode {
            NetworkMode::Bridge
            | NetworkMode::MacVlan(_)
            | NetworkMode::IpVlan(_)
            | NetworkMode::Join(_) => true,
            NetworkMode::Host
            | NetworkMode::None
            | NetworkMode::Loopback
            | NetworkMode::Path(_) => false,
        };
        let made = draft.unit.entry.as_ref();
        let made = made
            .is_some_and(|entry| entry.private_users != PrivateUsers::No || entry.disable_userns);
        let joined = walls
            .join
            .iter()
            .any(|join| join.kind == NamespaceKind::User);
        let users = made || joined || walls.user_namespace.is_some() || walls.namespaces.user;
        // A user's herd always makes one.
        let is_root = self.reader.specifiers.facts.uid == "0";
        let may_change = walls.capability_bounding_set.contains(&CAP_NET_ADMIN);
        if is_root && leads_out && may_change && !users {
            let path = match self.given("box.capability_bounding_set") {
                true => "box.capability_bounding_set",
                false => "box.ambient_capabilities",
            };
            let message = "CAP_NET_ADMIN reaches from such a network into the host's where the box has no user namespace";
            let hint = "set `private_users = \"pick\"` in [box], or leave the capability out";
            self.error(path, message, hint);
        }
    }

    fn none_of(&mut self, keys: &[&str], why: &str, hint: &str) {
        for key in keys {
            let path = format!("network.{key}");
            if self.given(&path) {
                self.error(&path, format!("`{key}` {why}"), hint);
            }
        }
    }

    /// One network namespace, by one key.
    fn joined_once(&mut self, draft: &Draft) {
        let walls = draft.unit.walls.iter();
        let joins = walls.flat_map(|walls| &walls.join);
        let by_path = joins.filter(|join| join.kind == NamespaceKind::Net).count();
        let by_unit = draft.unit.entry.iter();
        let by_unit = by_unit.filter(|entry| entry.network_of.is_some()).count();
        if by_path + by_unit > 1 {
            let message = "two network namespaces are joined, and a box has one";
            let hint = "leave `net` out of `namespace_paths`";
            self.error("network.mode", message, hint);
        }
        let made = draft.unit.walls.as_ref();
        if by_unit > 0 && made.is_some_and(|walls| walls.namespaces.net) {
            let message = "the net namespace is joined, and another is to be made";
            self.error("network.mode", message, "leave \"net\" out of `namespaces`");
        }
    }

    fn on_bridges(&mut self, keys: &NetworkKeys) {
        if self.given("network.gateway") {
            let message = "`gateway` means nothing on a bridge, which is the gateway itself";
            self.error("network.gateway", message, "leave it out");
        }
        if keys.bridges.len() > 1 {
            let why = "does not say on which of the bridges";
            let hint = "name one bridge, or leave it out and have one chosen on each";
            self.none_of(&["address", "address6", "mac"], why, hint);
        }
        let lengths = [
            ("address", keys.address.and_then(|(_, length)| length)),
            ("address6", keys.address6.and_then(|(_, length)| length)),
        ];
        for (key, length) in lengths {
            if length.is_some() {
                let message = format!("`{key}` has a prefix, which on a bridge is the network's");
                let hint =
                    "write the address alone; `herd network create --subnet` is about networks";
                self.error(&format!("network.{key}"), message, hint);
            }
        }
    }

    /// On the wire of an interface of the host.
    fn on_a_wire(&mut self, keys: &NetworkKeys, mode: &str) {
        let why = format!("needs a bridge: packets of a {mode} pass by the host's rules");
        self.none_of(&BY_RULES, &why, "set `mode = \"bridge\"`, or leave it out");
        if !self.given("network.address") && !self.given("network.address6") {
            let message = format!("a {mode} needs an `address`: nobody chooses one there");
            let hint = "add `address = \"192.168.1.5/24\"`, of the wire that the interface is on";
            self.error("network.mode", message, hint);
        }
        let four = keys.address.map(|(ip, length)| (IpAddr::V4(ip), length));
        let six = keys.address6.map(|(ip, length)| (IpAddr::V6(ip), length));
        let families = [
            ("address", four, keys.gateway.map(IpAddr::V4)),
            ("address6", six, keys.gateway6.map(IpAddr::V6)),
        ];
        for (key, address, gateway) in families {
            match (address, gateway) {
                (Some((ip, None)), _) => {
                    let length = if ip.is_ipv4() { 24 } else { 64 };
                    let message = format!("`{key}` needs the length of its prefix with {mode}");
                    let hint = format!("write \"{ip}/{length}\"");
                    self.error(&format!("network.{key}"), message, &hint);
                }
                (Some((ip, Some(length))), Some(gateway)) => {
                    let subnet = IpNet::new(ip, length).map(|net| net.trunc());
                    if let Ok(subnet) = subnet
                        && !subnet.contains(&gateway)
                        && !is_link_local(gateway)
                    {
                        let message = format!("gateway {gateway} is not in {subnet}");
                        let hint = "a gateway is reached without another one";
                        self.error("network.gateway", message, hint);
                    }
                }
                (None, Some(gateway)) => {
                    let message = format!("gateway {gateway} without an `{key}` to ask it from");
                    self.error("network.gateway", message, "");
                }
                (None, None) | (Some((_, Some(_))), None) => {}
            }
        }
    }
}

fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(six) if six.is_unicast_link_local())
}
