//! What herd has made for boxes' networks in one network namespace, and what a box more makes of it. Pure.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use super::address_pool as pool;
use super::{NetworkError, relay};
use crate::config::{
    Access, BridgeNetwork, Interface, Link, MacAddress, Port, PrivateNetwork, Rates,
};

/// All of it: what the rules of the firewall are made from. It is read by other versions of herd than the one that
/// wrote it: what comes to be later needs a default, here and below.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct State {
    /// By name; each has a bridge for as long as it has a box.
    pub(crate) networks: BTreeMap<String, Bridge>,
    /// By the id of the box.
    pub(crate) leases: BTreeMap<String, Lease>,
    /// Settings of the kernel that were changed, by path.
    pub(crate) settings: BTreeMap<String, Setting>,
    /// The rules in the kernel may be others: somebody was stopped while changing them.
    pub(crate) unsure: bool,
    /// Somebody else translated addresses already when forwarding was switched on.
    #[serde(default)]
    pub(crate) others_translated: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Bridge {
    pub(crate) device: String,
    pub(crate) subnet: Ipv4Net,
    pub(crate) subnet6: Option<Ipv6Net>,
    #[serde(default)]
    pub(crate) internal: bool,
    pub(crate) mtu: Option<u32>,
}

/// What one box has.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Lease {
    pub(crate) name: String,
    /// Those on bridges, in the order of the box's interfaces.
    pub(crate) links: Vec<Leased>,
    pub(crate) ports: Vec<Port>,
    pub(crate) isolate: bool,
    pub(crate) access: Vec<Access>,
    pub(crate) rates: Rates,
    /// The name servers that the box was given.
    pub(crate) dns: Vec<IpAddr>,
    pub(crate) hosts: Vec<(String, IpAddr)>,
    /// The box has a hosts file.
    pub(crate) names: bool,
    /// No process of the box outlives the first one, which has the lock.
    pub(crate) ends_with_first: bool,
}

/// One end of a box on a bridge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Leased {
    pub(crate) network: String,
    /// The end that the host has.
    pub(crate) device: String,
    pub(crate) address: Ipv4Addr,
    pub(crate) address6: Option<Ipv6Addr>,
    pub(crate) mac: MacAddress,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Setting {
    pub(crate) before: String,
    pub(crate) ours: String,
}

/// What is so on the machine, whoever asks.
#[derive(Debug, Clone, Default)]
pub(crate) struct Around {
    pub(crate) routes: pool::Routes,
    pub(crate) has_ipv6: bool,
    /// What only this machine has.
    pub(crate) machine: String,
    /// The name servers of the host that a box can reach.
    pub(crate) dns: Vec<IpAddr>,
}

impl State {
    /// Claims that it could have been made by [`Self::add`]: boxes are on networks that are there, which have places.
    pub(crate) fn is_sound(&self) -> bool {
        let mut links = self.leases.values().flat_map(|lease| &lease.links);
        let mut subnets = self.networks.values().map(|bridge| bridge.subnet);
        links.all(|link| self.networks.contains_key(&link.network))
            && subnets.all(|subnet| (1..=29).contains(&subnet.prefix_len()))
    }

    /// Adds what a box wants.
    pub(crate) fn add(
        &mut self,
        wanted: &PrivateNetwork,
        around: &Around,
    ) -> Result<(), NetworkError> {
        if self.leases.contains_key(&wanted.id) {
            return Err(NetworkError::IdTaken(wanted.id.clone()));
        }
        let (count, most) = (relay::count(&wanted.ports), relay::MOST_PORTS);
        if count > most {
            return Err(NetworkError::TooManyRelayed { count, most });
        }
        for port in &wanted.ports {
            let mut taken = self.leases.values().flat_map(|lease| {
                let ports = lease.ports.iter();
                ports.filter_map(move |taken| Some((taken.clash(port)?, &lease.name)))
            });
            if let Some((number, by)) = taken.next() {
                return Err(NetworkError::PortTaken {
                    port: *port,
                    number,
                    by: by.clone(),
                });
            }
        }
        let is_bridge = |interface: &Interface| matches!(interface.link, Link::Bridge(_));
        let rules = !wanted.access.is_empty()
            || wanted.isolate
            || wanted.rates.into.is_some()
            || wanted.rates.connections.is_some();
        if rules && !wanted.interfaces.iter().all(is_bridge) {
            return Err(NetworkError::RulesWithoutBridge);
        }
        let mut links: Vec<Leased> = Vec::new();
        for (index, interface) in wanted.interfaces.iter().enumerate() {
            let Link::Bridge(network) = &interface.link else {
                continue;
            };
            if links.iter().any(|other| other.network == network.name) {
                return Err(NetworkError::Twice(network.name.clone()));
            }
            let bridge = self.bridge(network, around)?.clone();
            links.push(self.address(wanted, index, interface, &bridge, &network.name)?);
        }
        self.lead_ports(&wanted.ports, &links)?;
        let lease = Lease {
            name: wanted.name.clone(),
            links,
            ports: wanted.ports.clone(),
            isolate: wanted.isolate,
            access: wanted.access.clone(),
            rates: wanted.rates,
            dns: wanted.dns.clone().unwrap_or_else(|| around.dns.clone()),
            hosts: wanted.hosts.clone(),
            names: wanted.names,
            ends_with_first: false,
        };
        self.leases.insert(wanted.id.clone(), lease);
        Ok(())
    }

    /// Refuses ports that would lead nowhere.
    fn lead_ports(&self, ports: &[Port], links: &[Leased]) -> Result<(), NetworkError> {
        if ports.is_empty() {
            return Ok(());
        }
        let Some(link) = self.link_of_ports(links) else {
            return Err(NetworkError::PortsWithoutBridge);
        };
        // A relay calls by IPv4 too.
        let is_of_six = |port: &&Port| {
            port.address.is_some_and(|address| address.is_ipv6()) && !relay::is_for(port)
        };
        if link.address6.is_none()
            && let Some(port) = ports.iter().find(is_of_six)
        {
            return Err(NetworkError::PortWithoutIpv6 {
                port: *port,
                network: link.network.clone(),
            });
        }
        let is_internal = |name: &str| self.networks.get(name).is_none_or(|one| one.internal);
        let is_loopback = |port: &Port| port.address.is_some_and(|address| address.is_loopback());
        match ports.iter().find(|port| !is_loopback(port)) {
            Some(port) if is_internal(&link.network) => Err(NetworkError::PortInside {
                port: *port,
                network: link.network.clone(),
            }),
            _ => Ok(()),
        }
    }

    /// Where the ports of this box lead, IPv6 first.
    pub(crate) fn addresses_of_ports(&self, id: &str) -> Vec<IpAddr> {
        let lease = self.leases.get(id);
        let link = lease.and_then(|lease| self.link_of_ports(&lease.links));
        link.map_or_else(Vec::new, |link| {
            let six = link.address6.map(IpAddr::V6);
            six.into_iter().chain([IpAddr::V4(link.address)]).collect()
        })
    }

    /// Where a box's ports lead: to its first network that leads outside, by which it also answers; where it has none
    /// to its first.
    pub(crate) fn link_of_ports<'a>(&self, links: &'a [Leased]) -> Option<&'a Leased> {
        let leads = |link: &&Leased| {
            let bridge = self.networks.get(&link.network);
            bridge.is_some_and(|bridge| !bridge.internal)
        };
        links.iter().find(leads).or_else(|| links.first())
    }

    /// The network of this name as it is, or as it comes to be.
    fn bridge(&mut self, wanted: &BridgeNetwork, around: &Around) -> Result<&Bridge, NetworkError> {
        if !self.networks.contains_key(&wanted.name) {
            let bridge = self.new_bridge(wanted, around)?;
            self.networks.insert(wanted.name.clone(), bridge);
        }
        Ok(&self.networks[&wanted.name])
    }

    fn new_bridge(&self, wanted: &BridgeNetwork, around: &Around) -> Result<Bridge, NetworkError> {
        let ours = self.networks.values().flat_map(|bridge| {
            let six = bridge.subnet6.map(IpNet::V6);
            [IpNet::V4(bridge.subnet)].into_iter().chain(six)
        });
        let mut routes = around.routes.clone();
        routes.main.extend(ours);
        let clash = |subnet: IpNet| {
            let route = routes.clash(subnet);
            route.map(|route| NetworkError::SubnetTaken {
                network: wanted.name.clone(),
                subnet,
                route,
            })
        };
        let is_taken = |subnet: IpNet| routes.is_avoided(subnet);
        let subnet = match wanted.subnet {
            Some(subnet) => match clash(IpNet::V4(subnet)) {
                Some(error) => return Err(error),
                None => subnet.trunc(),
            },
            None => pool::subnet(&wanted.name, is_taken).ok_or(NetworkError::NoSubnet)?,
        };
        let subnet6 = match wanted.subnet6 {
            _ if !wanted.ipv6 || !around.has_ipv6 => None,
            Some(subnet) => match clash(IpNet::V6(subnet)) {
                Some(error) => return Err(error),
                None => Some(subnet.trunc()),
            },
            None => pool::subnet6(&wanted.name, &around.machine, is_taken),
        };
        // A box has the same number in both.
        if let Some(six) = subnet6
            && 128 - six.prefix_len() < 32 - subnet.prefix_len()
        {
            return Err(NetworkError::SmallSubnet6 {
                network: wanted.name.clone(),
                subnet6: six,
                subnet,
            });
        }
        Ok(Bridge {
            device: pool::device(&wanted.name),
            subnet,
            subnet6,
            internal: wanted.internal,
            mtu: wanted.mtu,
        })
    }

    fn address(
        &self,
        wanted: &PrivateNetwork,
        index: usize,
        interface: &Interface,
        bridge: &Bridge,
        network: &str,
    ) -> Result<Leased, NetworkError> {
        let others = || {
            self.leases.values().flat_map(move |lease| {
                let links = lease.links.iter().map(move |link| (&lease.name, link));
                links.filter(move |(_, link)| link.network == network)
            })
        };
        let taken_by = |address: IpAddr| {
            others()
                .find(|(_, link)| {
                    IpAddr::V4(link.address) == address
                        || link.address6.map(IpAddr::V6) == Some(address)
                })
                .map(|(name, _)| NetworkError::AddressTaken {
                    address,
                    by: name.clone(),
                })
        };
        let address = match interface.address {
            Some(address) if !pool::may_be_a_box(bridge.subnet, address) => {
                return Err(NetworkError::OutsideSubnet {
                    address: address.into(),
                    network: network.to_owned(),
                    subnet: bridge.subnet.into(),
                });
            }
            Some(address) => match taken_by(address.into()) {
                Some(error) => return Err(error),
                None => address,
            },
            None => {
                let is_taken = |number: u32| {
                    let address = pool::address(bridge.subnet, number);
                    let six = bridge.subnet6.map(|subnet| pool::address6(subnet, number));
                    taken_by(address.into()).is_some()
                        || six.is_some_and(|six| taken_by(six.into()).is_some())
                };
                let number =
                    pool::number(&wanted.name, bridge.subnet, is_taken).ok_or_else(|| {
                        NetworkError::Exhausted {
                            network: network.to_owned(),
                            subnet: bridge.subnet,
                            boxes: others().count(),
                        }
                    })?;
                pool::address(bridge.subnet, number)
            }
        };
        let address6 = match (interface.address6, bridge.subnet6) {
            (Some(address), None) => {
                return Err(NetworkError::NoIpv6 {
                    address,
                    network: network.to_owned(),
                });
            }
            (Some(address), Some(subnet)) => {
                // The first of a subnet is all of its routers' (RFC 4291, 2.6.1), the host's too.
                let is_hosts = [subnet.network(), pool::gateway6(subnet)].contains(&address);
                if !subnet.contains(&address) || is_hosts {
                    return Err(NetworkError::OutsideSubnet {
                        address: address.into(),
                        network: network.to_owned(),
                        subnet: subnet.into(),
                    });
                }
                match taken_by(address.into()) {
                    Some(error) => return Err(error),
                    None => Some(address),
                }
            }
            (None, Some(subnet)) => {
                let number = u32::from(address) & u32::from(bridge.subnet.hostmask());
                let six = pool::address6(subnet, number);
                // Beside one that was asked for, its number may be somebody's who has asked for that.
                match taken_by(six.into()) {
                    Some(error) => return Err(error),
                    None => Some(six),
                }
            }
            (None, None) => None,
        };
        // A bridge sends what is for one of two such stations to whichever spoke last.
        let mac = interface.mac.unwrap_or(pool::mac(address));
        let by_box = others().find(|(_, link)| link.mac == mac);
        let by = match by_box {
            Some((name, _)) => Some(name.clone()),
            None => (mac == pool::bridge_mac(bridge.subnet)).then(|| "the bridge".to_owned()),
        };
        if let Some(by) = by {
            return Err(NetworkError::MacTaken {
                mac,
                network: network.to_owned(),
                by,
            });
        }
        Ok(Leased {
            network: network.to_owned(),
            device: host_device(&wanted.id, index),
            address,
            address6,
            mac,
        })
    }

    /// Takes away what a box has, and the networks that have no box without it; gives both. `None` when it has
    /// nothing.
    pub(crate) fn remove(&mut self, id: &str) -> Option<(Lease, Vec<Bridge>)> {
        let lease = self.leases.remove(id)?;
        let used = |name: &str| {
            let mut links = self.leases.values().flat_map(|lease| &lease.links);
            links.any(|link| link.network == name)
        };
        let gone: Vec<String> = self
            .networks
            .keys()
            .filter(|name| !used(name))
            .cloned()
            .collect();
        let bridges = gone
            .iter()
            .filter_map(|name| self.networks.remove(name))
            .collect();
        Some((lease, bridges))
    }

    /// What the box of `lease` finds in its hosts file: itself, and everybody on the same networks.
    pub(crate) fn names_for(&self, lease: &Lease) -> Vec<(IpAddr, String)> {
        let mut lines = Vec::new();
        for link in &lease.links {
            for other in self.leases.values() {
                let theirs = other.links.iter().filter(|l| l.network == link.network);
                for end in theirs {
                    lines.push((IpAddr::V4(end.address), other.name.clone()));
                    if let Some(six) = end.address6 {
                        lines.push((IpAddr::V6(six), other.name.clone()));
                    }
                }
            }
        }
        lines
    }
}

impl Lease {
    /// All that the box has, of both families.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.links.iter().flat_map(|link| {
            let six = link.address6.map(IpAddr::V6);
            [Some(IpAddr::V4(link.address)), six].into_iter().flatten()
        })
    }

    /// Claims that there are peers whom it does not reach, or who do not reach it.
    pub(crate) fn is_walled(&self) -> bool {
        self.isolate || !self.access.is_empty()
    }
}

/// The host's end of a box's interface. An id has 10 characters at most, a name 15.
pub(crate) fn host_device(id: &str, index: usize) -> String {
    format!("hv{id}.{index}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn around() -> Around {
        Around {
            has_ipv6: true,
            machine: "4f3c".into(),
            ..Around::default()
        }
    }

    fn wanted(id: &str, name: &str, networks: &[&str]) -> PrivateNetwork {
        PrivateNetwork {
            id: id.into(),
            name: name.into(),
            interfaces: networks.iter().map(|name| Interface::on(name)).collect(),
            names: true,
            ..PrivateNetwork::default()
        }
    }

    #[test]
    fn boxes_of_one_network_have_addresses_of_their_own_and_find_each_other() {
        let mut state = State::default();
        for number in 0..200 {
            let name = format!("box{number}");
            state
                .add(
                    &wanted(&format!("{number:08x}"), &name, &["default"]),
                    &around(),
                )
                .unwrap();
        }
        let links = state.leases.values().flat_map(|lease| &lease.links);
        let addresses: std::collections::BTreeSet<_> = links.clone().map(|l| l.address).collect();
        let six: std::collections::BTreeSet<_> = links.map(|l| l.address6).collect();
        assert_eq!((addresses.len(), six.len()), (200, 200));
        let lease = state.leases["00000000"].clone();
        assert_eq!(state.names_for(&lease).len(), 400);
    }

    #[test]
    fn a_network_goes_with_its_last_box() {
        let mut state = State::default();
        state
            .add(&wanted("1", "a", &["front", "back"]), &around())
            .unwrap();
        state.add(&wanted("2", "b", &["back"]), &around()).unwrap();
        let (_, bridges) = state.remove("1").unwrap();
        assert_eq!(bridges.len(), 1);
        assert_eq!(bridges[0].device, "herd-front");
        assert_eq!(state.remove("1"), None);
        assert_eq!(state.remove("2").unwrap().1[0].device, "herd-back");
        assert_eq!(state, State::default());
    }

    #[test]
    fn what_two_boxes_cannot_both_have_is_told_by_who_has_it() {
        let mut state = State::default();
        let mut one = wanted("1", "a", &["default"]);
        one.ports = vec!["8080:80".parse().unwrap()];
        state.add(&one, &around()).unwrap();
        let address = state.leases["1"].links[0].address;
        let mut two = wanted("2", "b", &["default"]);
        two.ports = vec!["127.0.0.1:8080:81".parse().unwrap()];
        let error = state.clone().add(&two, &around()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "port 127.0.0.1:8080:81/tcp is taken by a"
        );
        two.ports = vec!["8000-8100:9000-9100".parse().unwrap()];
        let error = state.clone().add(&two, &around()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "port 8000-8100:9000-9100/tcp: 8080 is taken by a"
        );
        two.ports.clear();
        two.interfaces[0].address = Some(address);
        let error = state.clone().add(&two, &around()).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("address {address} is taken by a")
        );
        two.interfaces[0].address = Some("192.0.2.1".parse().unwrap());
        let error = state.clone().add(&two, &around()).unwrap_err();
        let told = "address 192.0.2.1 is none of a box in network default (10.216.248.0/22)";
        assert_eq!(error.to_string(), told);
        two.interfaces[0].address = None;
        let six = state.networks["default"].subnet6.unwrap();
        for hosts in [six.network(), pool::gateway6(six)] {
            two.interfaces[0].address6 = Some(hosts);
            let error = state.clone().add(&two, &around()).unwrap_err();
            assert!(
                matches!(error, NetworkError::OutsideSubnet { .. }),
                "{error}"
            );
        }
    }

    #[test]
    fn a_subnet_of_ipv6_without_a_place_for_every_box_is_refused() {
        let mut wanted = wanted("1", "a", &["lan"]);
        if let Link::Bridge(network) = &mut wanted.interfaces[0].link {
            network.subnet = Some("10.0.0.0/8".parse().unwrap());
            network.subnet6 = Some("fd00::/112".parse().unwrap());
        }
        let error = State::default().add(&wanted, &around()).unwrap_err();
        let told = "network lan: fd00::/112 has no place for every box of 10.0.0.0/8";
        assert_eq!(error.to_string(), told);
    }

    #[test]
    fn a_full_network_says_so() {
        let mut state = State::default();
        for number in 0..6 {
            let mut wanted = wanted(&number.to_string(), &format!("box{number}"), &["small"]);
            if let Link::Bridge(network) = &mut wanted.interfaces[0].link {
                network.subnet = Some("10.1.0.0/29".parse().unwrap());
            }
            let added = state.add(&wanted, &around());
            if number < 5 {
                added.unwrap();
            } else {
                let told =
                    "network small is full: all addresses of 10.1.0.0/29 are taken, by 5 boxes";
                assert_eq!(added.unwrap_err().to_string(), told);
            }
        }
    }

    #[test]
    fn a_hardware_address_is_one_boxs_alone() {
        let mut state = State::default();
        state.add(&wanted("1", "a", &["lan"]), &around()).unwrap();
        let theirs = state.leases["1"].links[0].mac;
        let bridges = pool::bridge_mac(state.networks["lan"].subnet);
        for (mac, by) in [(theirs, "a"), (bridges, "the bridge")] {
            let mut second = wanted("2", "b", &["lan"]);
            second.interfaces[0].mac = Some(mac);
            let error = state.clone().add(&second, &around()).unwrap_err();
            let told = format!("hardware address {mac} is taken on network lan, by {by}");
            assert_eq!(error.to_string(), told);
            // On another wire it is no matter.
            if let Link::Bridge(network) = &mut second.interfaces[0].link {
                network.name = "wan".to_owned();
            }
            state.clone().add(&second, &around()).unwrap();
        }
    }

    #[test]
    fn a_subnet_asked_for_that_the_host_reaches_otherwise_is_refused() {
        let mut wanted = wanted("1", "a", &["lan"]);
        if let Link::Bridge(network) = &mut wanted.interfaces[0].link {
            network.subnet = Some("192.168.1.0/24".parse().unwrap());
        }
        let around = Around {
            routes: pool::Routes {
                main: vec!["192.168.0.0/16".parse().unwrap()],
                ..pool::Routes::default()
            },
            ..around()
        };
        let error = State::default().add(&wanted, &around).unwrap_err();
        let told =
            "network lan: 192.168.1.0/24 overlaps 192.168.0.0/16, to which the host has a route";
        assert_eq!(error.to_string(), told);
    }

    /// As it was first written. Nothing may be asked for that is not in it.
    const FIRST_FORM: &str = r#"{"networks":{"default":{"device":"herd-default","subnet":"10.216.248.0/22","subnet6":"fd12:542e:3409:c5fe::/64","internal":false,"mtu":null}},"leases":{"1f2e3d4c":{"name":"web","links":[{"network":"default","device":"hv1f2e3d4c.0","address":"10.216.249.2","address6":"fd12:542e:3409:c5fe::102","mac":[2,0,10,216,249,2]}],"ports":[{"address":"127.0.0.1","host":8080,"inside":80,"count":1,"protocol":"Tcp"}],"isolate":true,"access":[{"verdict":"Allow","direction":"In","peer":{"Subnet":"198.51.100.0/24"},"ports":{"start":443,"end":443},"protocol":"Tcp"}],"rates":{"out":null,"into":1048576,"connections":null},"dns":["203.0.113.9"],"hosts":[["db","10.0.0.1"]],"names":true}},"settings":{"/proc/sys/net/ipv4/ip_forward":{"before":"0","ours":"1"}},"unsure":false}"#;

    #[test]
    fn what_the_first_herd_wrote_is_read_by_every_later_one() {
        let state: State = serde_json::from_str(FIRST_FORM).unwrap();
        assert!(state.is_sound());
        let lease = &state.leases["1f2e3d4c"];
        assert_eq!(lease.links[0].device, "hv1f2e3d4c.0");
        assert_eq!(lease.ports[0].to_string(), "127.0.0.1:8080:80/tcp");
        assert!(lease.isolate && lease.names);
        // Written again it is the same, with what came later.
        let again = serde_json::to_string(&state).unwrap();
        assert_eq!(serde_json::from_str::<State>(&again).unwrap(), state);
    }

    #[test]
    fn what_is_missing_has_a_default_and_what_is_not_known_is_passed_over() {
        let bare = r#"{"networks":{"lan":{"device":"herd-lan","subnet":"10.1.0.0/24","later":1}},
            "leases":{"1":{"name":"web","links":[{"network":"lan","device":"hv1.0",
            "address":"10.1.0.2","mac":[2,0,10,1,0,2],"later":{}}]}},"later":[]}"#;
        let state: State = serde_json::from_str(bare).unwrap();
        assert_eq!(state.leases["1"].ports, []);
        assert_eq!(state.networks["lan"].subnet6, None);
        assert_eq!(
            serde_json::from_str::<State>("{}").unwrap(),
            State::default()
        );
    }

    #[test]
    fn what_does_not_hold_together_is_not_sound() {
        let mut state: State = serde_json::from_str(FIRST_FORM).unwrap();
        state.networks.clear();
        assert!(!state.is_sound());
        let mut state: State = serde_json::from_str(FIRST_FORM).unwrap();
        state.networks.get_mut("default").unwrap().subnet = "10.0.0.1/32".parse().unwrap();
        assert!(!state.is_sound());
    }
}
