//! `/etc/hosts` and `/etc/resolv.conf` of a box. Pure.
#![forbid(unsafe_code)]

use std::fmt::Write;
use std::net::IpAddr;

/// `hosts(5)`: the box's loopback, then everybody it shares a network with, then what its config adds.
pub(crate) fn hosts(names: &[(IpAddr, String)], more: &[(String, IpAddr)]) -> String {
    let mut text =
        String::from("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n");
    let more = more.iter().map(|(name, address)| (address, name));
    for (address, name) in names.iter().map(|(a, n)| (a, n)).chain(more) {
        let name: String = name
            .chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() || c == '.' {
                    c
                } else {
                    '-'
                }
            })
            .collect();
        // Into a string nothing fails to be written.
        writeln!(text, "{address}\t{name}").ok();
    }
    text
}

/// The host's own `resolv.conf(5)`, and the one that systemd-resolved keeps beside its stub.
pub(crate) const RESOLV: &str = "/etc/resolv.conf";
pub(crate) const BEHIND_STUB: &str = "/run/systemd/resolve/resolv.conf";

/// The name servers of a `resolv.conf` that a box can reach too: none on the host's loopback, nor of one of its links
/// (`fe80::1%wan0`), which is not a box's.
pub(crate) fn servers(resolv: &str) -> Vec<IpAddr> {
    resolv
        .lines()
        .filter_map(|line| {
            let (word, rest) = line.split_once([' ', '\t'])?;
            let server = rest.split_ascii_whitespace().next()?;
            (word == "nameserver").then(|| server.parse::<IpAddr>().ok())?
        })
        .filter(|address| {
            let of_a_link = matches!(address, IpAddr::V6(six) if six.is_unicast_link_local());
            !of_a_link && !address.is_loopback() && !address.is_unspecified()
        })
        .collect()
}

/// The box's: these servers, and what else the host's says (`search`, `options`).
pub(crate) fn resolv(servers: &[IpAddr], host: &str) -> String {
    let mut text = String::new();
    for server in servers {
        writeln!(text, "nameserver {server}").ok();
    }
    for line in host.lines() {
        let word = line.split([' ', '\t']).next().unwrap_or_default();
        if ["search", "domain", "options"].contains(&word) && line.len() < 1024 {
            writeln!(text, "{line}").ok();
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_on_the_hosts_loopback_are_none_of_a_box() {
        let stub =
            "# by systemd-resolved\nnameserver 127.0.0.53\noptions edns0 trust-ad\nsearch\tlan\n";
        assert_eq!(servers(stub), Vec::<IpAddr>::new());
        let real: Vec<IpAddr> = servers(
            "nameserver\t192.0.2.1\nnameserver fe80::1%eth0\nnameserver fe80::1\nnameserver x\nnameservers 192.0.2.2\n",
        );
        assert_eq!(real.len(), 1);
        let text = resolv(&real[..1], stub);
        assert_eq!(
            text,
            "nameserver 192.0.2.1\noptions edns0 trust-ad\nsearch\tlan\n"
        );
    }

    #[test]
    fn a_name_is_what_a_hosts_file_can_hold() {
        let lines = hosts(
            &[("10.0.0.2".parse().unwrap(), "web@1".into())],
            &[("db\n6.6.6.6 bank".into(), "10.0.0.9".parse().unwrap())],
        );
        assert!(
            lines.ends_with("10.0.0.2\tweb-1\n10.0.0.9\tdb-6.6.6.6-bank\n"),
            "{lines}"
        );
    }
}
