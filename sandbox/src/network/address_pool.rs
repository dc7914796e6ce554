//! Which subnet a network gets, and which address a box: decided from names, so that they rarely change. Pure.
#![forbid(unsafe_code)]

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::config::MacAddress;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// Where networks are made: 10.209.0.0 to 10.220.255.255, which neither docker, podman, libvirt nor
/// Kubernetes take by default.
const FIRST_BLOCK: u8 = 209;
const BLOCKS: u32 = 12;
/// A bridge has 1,024 ports at most (`BR_MAX_PORTS` of Linux), a /22 has 1,022 addresses.
const LENGTH: u8 = 22;
const SUBNETS: u32 = BLOCKS << (LENGTH - 16);

/// FNV-1a: the same everywhere and for ever.
fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// `hash % modulus`, which fits.
fn remainder(hash: u64, modulus: u32) -> u32 {
    u32::try_from(hash % u64::from(modulus.max(1))).unwrap_or(0)
}

/// Where the host's routes and addresses are.
#[derive(Debug, Clone, Default)]
pub(crate) struct Routes {
    /// Routes to others, and addresses of the host itself.
    pub(crate) main: Vec<IpNet>,
    /// Routes that refuse or drop. One that is narrower goes before them, as a network's is before what an administrator
    /// has closed all of 10.0.0.0/8 with.
    pub(crate) nowhere: Vec<IpNet>,
    /// Routes of other tables than the main one, which rules of the host may ask first (tunnels have such), and subnets
    /// of interfaces that may be down.
    pub(crate) elsewhere: Vec<IpNet>,
}

impl Routes {
    /// What a subnet that was asked for overlaps.
    pub(crate) fn clash(&self, subnet: IpNet) -> Option<IpNet> {
        let in_it = self.nowhere.iter().filter(|other| subnet.contains(*other));
        let mut all = overlapping(subnet, &self.main).chain(in_it);
        all.next().copied()
    }

    /// Claims that this subnet is none to choose.
    pub(crate) fn is_avoided(&self, subnet: IpNet) -> bool {
        self.clash(subnet).is_some() || overlapping(subnet, &self.elsewhere).next().is_some()
    }
}

fn overlapping(subnet: IpNet, others: &[IpNet]) -> impl Iterator<Item = &IpNet> {
    let overlaps = move |other: &&IpNet| subnet.contains(*other) || other.contains(&subnet);
    others.iter().filter(overlaps)
}

/// The subnet that the network of this name gets, where it can; `None` when every one is taken.
pub(crate) fn subnet(name: &str, is_taken: impl Fn(IpNet) -> bool) -> Option<Ipv4Net> {
    let within = |first: Ipv4Addr, count: u32| {
        let preferred = remainder(hash(name), count);
        (0..count)
            .map(move |step| (preferred + step) % count)
            .filter_map(move |number| {
                let start = u32::from(first) + (number << (32 - LENGTH));
                Ipv4Net::new(Ipv4Addr::from(start), LENGTH).ok()
            })
    };
    // The others where somebody has all of 10.0.0.0/8, as companies' tunnels do.
    within(Ipv4Addr::new(10, FIRST_BLOCK, 0, 0), SUBNETS)
        .chain(within(Ipv4Addr::new(172, 16, 0, 0), 1 << (LENGTH - 12)))
        .chain(within(Ipv4Addr::new(192, 168, 0, 0), 1 << (LENGTH - 16)))
        .find(|subnet| !is_taken(IpNet::V4(*subnet)))
}

/// The /64 that the network of this name gets: below a /48 that is this machine's own (RFC 4193), which
/// `machine` decides.
pub(crate) fn subnet6(
    name: &str,
    machine: &str,
    is_taken: impl Fn(IpNet) -> bool,
) -> Option<Ipv6Net> {
    let global = hash(machine);
    let preferred = remainder(hash(name), 1 << 16);
    (0..1 << 16)
        .map(|step| (preferred + step) % (1 << 16))
        .filter_map(|number| {
            let prefix = 0xfd << 120 | u128::from(global & 0xff_ffff_ffff) << 80;
            let subnet = prefix | u128::from(number) << 64;
            Ipv6Net::new(Ipv6Addr::from(subnet), 64).ok()
        })
        .find(|subnet| !is_taken(IpNet::V6(*subnet)))
}

/// The gateway of a subnet: its first address.
pub(crate) fn gateway(subnet: Ipv4Net) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(subnet.network()).saturating_add(1))
}

pub(crate) fn gateway6(subnet: Ipv6Net) -> Ipv6Addr {
    Ipv6Addr::from(u128::from(subnet.network()).saturating_add(1))
}

/// What a box may have: neither the subnet's own address, nor the gateway's, nor everybody's.
pub(crate) fn may_be_a_box(subnet: Ipv4Net, address: Ipv4Addr) -> bool {
    subnet.contains(&address)
        && address != subnet.network()
        && address != subnet.broadcast()
        && address != gateway(subnet)
}

/// The number, below `subnet`, of the box of this name: the one it would rather have, or the next that is
/// not taken. `None` when all are.
pub(crate) fn number(name: &str, subnet: Ipv4Net, is_taken: impl Fn(u32) -> bool) -> Option<u32> {
    // 0 is the subnet's, 1 the gateway's, the last everybody's.
    let size = 1u32.checked_shl(u32::from(32 - subnet.prefix_len()))?;
    let boxes = size.checked_sub(3).filter(|boxes| *boxes > 0)?;
    let preferred = remainder(hash(name), boxes);
    (0..boxes)
        .map(|step| 2 + (preferred + step) % boxes)
        .find(|number| !is_taken(*number))
}

pub(crate) fn address(subnet: Ipv4Net, number: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(subnet.network()) | number)
}

pub(crate) fn address6(subnet: Ipv6Net, number: u32) -> Ipv6Addr {
    Ipv6Addr::from(u128::from(subnet.network()) | u128::from(number))
}

/// A hardware address that only this address has: locally administered, so that no vendor's is like it.
pub(crate) fn mac(address: Ipv4Addr) -> MacAddress {
    let [a, b, c, d] = address.octets();
    MacAddress([0x02, 0x68, a, b, c, d])
}

/// The bridge's own, from its address.
pub(crate) fn bridge_mac(subnet: Ipv4Net) -> MacAddress {
    let [a, b, c, d] = gateway(subnet).octets();
    MacAddress([0x02, 0x69, a, b, c, d])
}

/// The link-local address that an interface of this hardware address has (RFC 4291, appendix A).
pub(crate) fn link_local(MacAddress([a, b, c, d, e, f]): MacAddress) -> Ipv6Addr {
    let of = |high: u8, low: u8| u16::from_be_bytes([high, low]);
    let own = [of(a ^ 2, b), of(c, 0xff), of(0xfe, d), of(e, f)];
    Ipv6Addr::new(0xfe80, 0, 0, 0, own[0], own[1], own[2], own[3])
}

/// What the names of all bridges begin with.
pub(crate) const DEVICE_PREFIX: &str = "herd-";

/// The name of a network's bridge: `herd-` and the name, where that is no longer than the kernel lets it be.
pub(crate) fn device(network: &str) -> String {
    let plain = format!("{DEVICE_PREFIX}{network}");
    if plain.len() < libc::IFNAMSIZ && plain.is_ascii() {
        plain
    } else {
        format!("{DEVICE_PREFIX}{:010x}", hash(network) & 0xff_ffff_ffff)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nobody(_: IpNet) -> bool {
        false
    }

    fn to(nets: &[&str]) -> Vec<IpNet> {
        nets.iter().map(|net| net.parse().unwrap()).collect()
    }

    #[test]
    fn a_name_prefers_the_same_subnet_and_address_always() {
        let subnet = subnet("default", nobody).unwrap();
        assert_eq!(subnet.to_string(), "10.216.248.0/22");
        assert_eq!(number("web", subnet, |_| false), Some(191));
    }

    #[test]
    fn a_subnet_that_the_host_has_a_route_to_is_not_taken() {
        let beside = |main: &[&str]| {
            let routes = Routes {
                main: to(main),
                ..Routes::default()
            };
            subnet("default", |subnet| routes.is_avoided(subnet))
        };
        let first = beside(&[]);
        assert_ne!(beside(&["10.216.249.7/32"]), first);
        let other = beside(&["10.216.0.0/16"]).unwrap();
        assert!(!to(&["10.216.0.0/16"])[0].contains(&IpNet::V4(other)));
        let other = beside(&["10.0.0.0/8", "172.16.0.0/12"]).unwrap();
        assert!(other.to_string().starts_with("192.168."), "{other}");
        assert_eq!(beside(&["0.0.0.0/0"]), None);
    }

    #[test]
    fn what_leads_nowhere_is_in_the_way_of_nobody_but_within_a_subnet() {
        let routes = Routes {
            nowhere: to(&["10.0.0.0/8", "10.216.249.0/26"]),
            elsewhere: to(&["10.217.0.0/16"]),
            ..Routes::default()
        };
        let asked = |subnet: &str| routes.clash(subnet.parse().unwrap());
        assert_eq!(asked("10.216.0.0/24"), None);
        assert_eq!(asked("10.216.248.0/22"), Some(to(&["10.216.249.0/26"])[0]));
        // Whoever asks for it by name may know better which packets another table leads.
        assert_eq!(asked("10.217.0.0/24"), None);
        assert!(routes.is_avoided("10.217.0.0/24".parse().unwrap()));
        let chosen = subnet("default", |subnet| routes.is_avoided(subnet)).unwrap();
        assert_eq!(chosen.to_string(), "10.216.252.0/22");
    }

    #[test]
    fn a_collision_takes_the_next_and_a_full_subnet_has_none() {
        let subnet: Ipv4Net = "10.0.0.0/29".parse().unwrap();
        let mut taken = Vec::new();
        while let Some(number) = number("web", subnet, |number| taken.contains(&number)) {
            assert!(may_be_a_box(subnet, address(subnet, number)));
            taken.push(number);
        }
        taken.sort_unstable();
        assert_eq!(taken, [2, 3, 4, 5, 6]);
        for tiny in ["10.0.0.0/31", "10.0.0.0/32", "10.0.0.0/30"] {
            let free = number("web", tiny.parse().unwrap(), |_| false);
            assert_eq!(free.is_some(), tiny.ends_with("30"), "{tiny}");
        }
    }

    #[test]
    fn every_machine_has_unique_local_subnets_of_its_own() {
        let one = subnet6("default", "4f3c", nobody).unwrap();
        let two = subnet6("default", "9a1b", nobody).unwrap();
        assert_ne!(one, two);
        assert!(one.network().is_unique_local() && two.network().is_unique_local());
    }

    #[test]
    fn a_link_local_address_is_the_one_that_the_kernel_makes() {
        let mac = bridge_mac("10.216.248.0/22".parse().unwrap());
        let made = link_local(mac).to_string();
        assert_eq!(made, "fe80::69:aff:fed8:f801");
    }

    #[test]
    fn a_bridge_has_a_name_that_the_kernel_takes() {
        assert_eq!(device("default"), "herd-default");
        assert_eq!(device("a-very-long-network").len(), 15);
        assert_ne!(device("a-very-long-network"), device("a-very-long-networl"));
    }
}
