//! Who listens at a port of the host, by what `/proc` shows (`proc_net(5)`, `proc_pid_fd(5)`).
#![forbid(unsafe_code)]

use std::fmt;
use std::fs;

use crate::config::Protocol;

/// A process that has a port.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Holder {
    pub pid: u32,
    /// What the kernel calls it; a program can choose that itself.
    pub name: String,
}

impl Holder {
    /// `None` where there is no such process.
    pub(super) fn named(pid: u32) -> Option<Self> {
        let name = fs::read(format!("/proc/{pid}/comm")).ok()?;
        Some(Self {
            pid,
            name: String::from_utf8_lossy(&name).trim_end().to_owned(),
        })
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name: String = self.name.chars().filter(|c| !c.is_control()).collect();
        write!(f, "{name} (process {})", self.pid)
    }
}

/// The first process found that has this port, of any address, in our network namespace. `None` where nobody is
/// seen: it may be the kernel's own, or a process of a namespace that is not ours.
pub(super) fn of(port: u16, protocol: Protocol) -> Option<Holder> {
    let files = match protocol {
        Protocol::Tcp => ["tcp", "tcp6"],
        Protocol::Udp => ["udp", "udp6"],
    };
    let mut sockets = Vec::new();
    for file in files {
        let table = fs::read_to_string(format!("/proc/self/net/{file}")).unwrap_or_default();
        sockets.extend(table.lines().filter_map(|line| socket(line, port)));
    }
    if sockets.is_empty() {
        return None;
    }
    let pids = fs::read_dir("/proc").ok()?.flatten();
    let mut pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let pid = pids.find(|pid| has_one(*pid, &sockets))?;
    Some(Holder {
        pid,
        ..Holder::named(pid).unwrap_or_default()
    })
}

/// What a descriptor of the socket of this line leads to, where it is bound to the port and connected to nobody.
fn socket(line: &str, port: u16) -> Option<String> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let local = fields.next()?.rsplit_once(':')?.1;
    let remote = fields.next()?.rsplit_once(':')?.1;
    let is_it = u16::from_str_radix(local, 16).ok()? == port && remote == "0000";
    // Behind the state: queues, timer, retransmits, uid, timeout.
    let inode: u64 = fields.nth(6)?.parse().ok()?;
    is_it.then(|| format!("socket:[{inode}]"))
}

fn has_one(pid: u32, sockets: &[String]) -> bool {
    let Ok(open) = fs::read_dir(format!("/proc/{pid}/fd")) else {
        return false;
    };
    open.flatten().any(|entry| {
        let target = fs::read_link(entry.path()).unwrap_or_default();
        sockets.iter().any(|socket| target.as_os_str() == &**socket)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, UdpSocket};

    #[test]
    fn who_has_a_port_is_found_by_its_descriptor() {
        let tcp = TcpListener::bind("[::1]:0").unwrap();
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        for (port, protocol) in [
            (tcp.local_addr().unwrap().port(), Protocol::Tcp),
            (udp.local_addr().unwrap().port(), Protocol::Udp),
        ] {
            let holder = of(port, protocol).unwrap();
            assert_eq!(holder.pid, std::process::id());
        }
    }

    #[test]
    fn odd_lines_are_nobodys() {
        for line in ["", "sl", " 0: x:y", " 0: 00:0050 00:0000 0A 0 0 0 0"] {
            assert_eq!(socket(line, 80), None);
        }
        let line = "   0: 0100007F:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0";
        assert_eq!(socket(line, 80).unwrap(), "socket:[4711]");
        assert_eq!(socket(line, 81), None);
    }
}
