//! Networks without root: a program speaks for the box, with sockets of its own on the host. What it can be asked
//! for, and with which words. Pure.
//!
//! ```text
//!   box                                 the host's network
//!  ┌───────────────────┐
//!  │ lo    127.0.0.1   │   frames    ┌──────────┐  sockets of the user's own
//!  │ eth0, a tap  ─────┼─────────────┤  pasta   ├──────────────────────────▶ outside
//!  └───────────────────┘             └──────────┘◀── ports of the host
//! ```
//!
//! Nothing of the host is changed: no interface, no rule, no setting. What hangs on those (rules, rates, places on
//! named networks) is refused by its name.
#![forbid(unsafe_code)]

use std::ffi::CString;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::config::{Link, Port, PrivateNetwork, Protocol};
use crate::host::Host;

/// A program that gives a network namespace a way out without root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserModeProgram {
    pub kind: UserModeKind,
    pub path: PathBuf,
}

/// Which one, the better one first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum UserModeKind {
    /// `pasta(1)`: both families, and ports.
    Pasta,
    /// `slirp4netns(1)`: IPv4, and no ports.
    Slirp4netns,
}

impl UserModeKind {
    const ALL: [Self; 2] = [Self::Pasta, Self::Slirp4netns];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Pasta => "pasta",
            Self::Slirp4netns => "slirp4netns",
        }
    }
}

/// Where the system has its programs. `PATH` is not asked: what runs there holds the host's network.
const PLACES: [&str; 3] = ["/usr/bin", "/bin", "/usr/local/bin"];

/// What to do where there is none.
pub(crate) const ADVICE: &str = "install pasta (Debian: package passt)";

impl UserModeProgram {
    /// The better one of those that `is_there`.
    pub(crate) fn find(is_there: impl Fn(&Path) -> bool) -> Option<Self> {
        UserModeKind::ALL.into_iter().find_map(|kind| {
            let mut places = PLACES
                .iter()
                .map(|place| Path::new(place).join(kind.name()));
            let path = places.find(|path| is_there(path))?;
            Some(Self { kind, path })
        })
    }
}

/// What one box has of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UserNetwork {
    pub(crate) id: String,
    pub(crate) program: UserModeProgram,
    pub(crate) ports: Vec<Port>,
    pub(crate) mtu: Option<u32>,
}

impl fmt::Display for UserNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.program.path.display();
        write!(f, "have {path} stand by to lead the box's network outside")?;
        for (index, port) in self.ports.iter().enumerate() {
            let and = if index == 0 {
                ", with the host's ports"
            } else {
                ","
            };
            write!(f, "{and} {port}")?;
        }
        Ok(())
    }
}

/// The network of a box whose builder is not root.
///
/// # Errors
/// What cannot be had so, by its name.
pub(crate) fn plan(wanted: &PrivateNetwork, host: &Host) -> Result<UserNetwork, String> {
    if let Some(refused) = needs_root(wanted) {
        return Err(format!("{refused}, which takes root"));
    }
    let Some(program) = host.user_mode.clone() else {
        return Err(format!(
            "without root a network of its own takes a program, and neither pasta nor slirp4netns is there: {ADVICE}"
        ));
    };
    if program.kind == UserModeKind::Slirp4netns
        && let Some(port) = wanted.ports.first()
    {
        return Err(format!(
            "slirp4netns leads no port to a box, and port {port} is asked for: {ADVICE}"
        ));
    }
    let mtu = wanted
        .interfaces
        .first()
        .and_then(|interface| interface.mtu);
    Ok(UserNetwork {
        id: wanted.id.clone(),
        program,
        ports: wanted.ports.clone(),
        mtu,
    })
}

/// The network of a unit that names none.
const USUAL: &str = "default";

fn needs_root(wanted: &PrivateNetwork) -> Option<String> {
    let one = match &*wanted.interfaces {
        [one] => one,
        all => {
            return Some(format!(
                "a box with {} interfaces is on that many networks",
                all.len()
            ));
        }
    };
    match &one.link {
        Link::Bridge(network) if network.name == USUAL => {
            let named = network.subnet.is_some() || network.subnet6.is_some();
            if named || network.internal || !network.ipv6 || network.mtu.is_some() {
                return Some(format!(
                    "network {USUAL} has a definition, and boxes share it by a bridge"
                ));
            }
        }
        Link::Bridge(network) => {
            return Some(format!("boxes are on network {} by a bridge", network.name));
        }
        Link::MacVlan(parent) | Link::IpVlan(parent) => {
            return Some(format!("the box shares the wire of {parent}"));
        }
    }
    let rates = &wanted.rates;
    let keys = [
        (
            one.address.is_some() || one.address6.is_some(),
            "an address of the box's own is given",
        ),
        (one.mac.is_some(), "a hardware address is given"),
        (wanted.isolate, "`isolate` is a rule of the host's firewall"),
        (
            !wanted.access.is_empty(),
            "`allow` and `deny` are rules of the host's firewall",
        ),
        (
            rates.out.is_some() || rates.into.is_some(),
            "a rate is held by the host's queues",
        ),
        (
            rates.connections.is_some(),
            "a connection rate is a rule of the host's firewall",
        ),
    ];
    let mut asked = keys.into_iter().filter(|(is_asked, _)| *is_asked);
    asked.next().map(|(_, what)| what.to_owned())
}

/// At which numbers a program finds what it needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Given {
    Nothing,
    NetworkNamespace,
    UserNamespace,
    /// Where it speaks.
    Said,
    /// Where it says that it is ready.
    Ready,
    /// Closed when it is to end.
    End,
}

/// Descriptors from 0 on. Newer versions of pasta close all but the first three.
pub(crate) fn given(kind: UserModeKind) -> &'static [Given] {
    match kind {
        UserModeKind::Pasta => &[Given::NetworkNamespace, Given::UserNamespace, Given::Said],
        UserModeKind::Slirp4netns => &[
            Given::Nothing,
            Given::Nothing,
            Given::Said,
            Given::NetworkNamespace,
            Given::UserNamespace,
            Given::Ready,
            Given::End,
        ],
    }
}

/// The interface in the box.
const INTERFACE: &str = "eth0";
/// What both take at most; frames do not leave the machine.
const MTU: u32 = 65520;

/// The command line, from the name on.
pub(crate) fn arguments(wanted: &UserNetwork) -> Vec<CString> {
    let mtu = wanted.mtu.unwrap_or(MTU).min(MTU).to_string();
    let words = match wanted.program.kind {
        UserModeKind::Pasta => pasta(&wanted.ports, &mtu),
        UserModeKind::Slirp4netns => slirp4netns(&mtu),
    };
    // Numbers, addresses and constants hold no NUL.
    words
        .into_iter()
        .filter_map(|word| CString::new(word).ok())
        .collect()
}

fn pasta(ports: &[Port], mtu: &str) -> Vec<String> {
    let mut words: Vec<String> = [
        "pasta",
        "--foreground",
        "--quiet",
        "--config-net",
        "--ns-ifname",
        INTERFACE,
        "--mtu",
        mtu,
        // The gateway's address is the gateway's, not the host's loopback.
        "--no-map-gw",
        // By default what listens on the host's loopback is led to that of the box.
        "--tcp-ns",
        "none",
        "--udp-ns",
        "none",
        "--no-netns-quit",
        "--netns",
        "/proc/self/fd/0",
        "--userns",
        "/proc/self/fd/1",
        // Its number is the first line that is no message: it is ready.
        "--pid",
        "/proc/self/fd/2",
    ]
    .map(str::to_owned)
    .into();
    for (protocol, option) in [
        (Protocol::Tcp, "--tcp-ports"),
        (Protocol::Udp, "--udp-ports"),
    ] {
        let mut of_it = ports
            .iter()
            .filter(|port| port.protocol == protocol)
            .peekable();
        if of_it.peek().is_none() {
            words.extend([option.to_owned(), "none".to_owned()]);
        }
        for port in of_it {
            words.extend([option.to_owned(), port_word(port)]);
        }
    }
    words
}

/// `127.0.0.1/8000-8010:80-90`.
fn port_word(port: &Port) -> String {
    let range = |first: u16| match port.count {
        1 => first.to_string(),
        count => format!("{first}-{}", first + (count - 1)),
    };
    let address = port
        .address
        .map_or(String::new(), |address| format!("{address}/"));
    format!("{address}{}:{}", range(port.host), range(port.inside))
}

fn slirp4netns(mtu: &str) -> Vec<String> {
    let mtu = format!("--mtu={mtu}");
    [
        "slirp4netns",
        "--configure",
        &mtu,
        "--disable-host-loopback",
        "--disable-dns",
        // Its own sandbox would have to be user 0 in the box's user namespace.
        "--enable-seccomp",
        "--netns-type=path",
        "--userns-path=/proc/self/fd/4",
        "--ready-fd=5",
        "--exit-fd=6",
        "/proc/self/fd/3",
        INTERFACE,
    ]
    .map(str::to_owned)
    .into()
}

/// What the program said, for a message: its words on one line.
pub(crate) fn words(said: &str, own: i32) -> String {
    let noise = |line: &&str| {
        // pasta tries to reach a log that its sandbox has shut out.
        !(line.is_empty() || line.ends_with("to syslog") || **line == *own.to_string())
    };
    let lines: Vec<&str> = said.lines().map(str::trim).filter(noise).collect();
    let text = lines.join("; ");
    text.chars()
        .filter(|c| !c.is_control())
        .take(LONGEST)
        .collect()
}

const LONGEST: usize = 400;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Access, Interface, Rates, Verdict};
    use crate::host::Architecture;

    fn host(kind: UserModeKind) -> Host {
        let path = Path::new("/usr/bin").join(kind.name());
        Host {
            is_root: false,
            user_mode: Some(UserModeProgram { kind, path }),
            ..Host::of_tests(Architecture::X86_64)
        }
    }

    fn usual() -> PrivateNetwork {
        PrivateNetwork {
            id: "abc".to_owned(),
            interfaces: vec![Interface::on("default")],
            ..PrivateNetwork::default()
        }
    }

    #[test]
    fn ports_are_written_as_pasta_reads_them() {
        for (port, word) in [
            ("8080:80", "8080:80"),
            ("127.0.0.1:5353:53/udp", "127.0.0.1/5353:53"),
            ("[2001:db8::1]:8443:443", "2001:db8::1/8443:443"),
            ("8000-8010:9000-9010", "8000-8010:9000-9010"),
            ("0.0.0.0:8080:80", "0.0.0.0/8080:80"),
            ("[::]:8080:80", "::/8080:80"),
        ] {
            assert_eq!(port_word(&port.parse().unwrap()), word);
        }
    }

    #[test]
    fn nothing_is_led_to_the_hosts_loopback_whatever_ports_there_are() {
        for ports in [vec![], vec!["80".parse().unwrap()]] {
            let words = pasta(&ports, "1500").join(" ");
            for option in [
                "--no-map-gw",
                "--tcp-ns none",
                "--udp-ns none",
                "--udp-ports none",
            ] {
                assert!(words.contains(option), "{words}");
            }
        }
        assert!(
            slirp4netns("1500")
                .join(" ")
                .contains("--disable-host-loopback")
        );
    }

    #[test]
    fn what_takes_root_is_refused_by_its_name() {
        let on = |name: &str| vec![Interface::on(name)];
        let access = Access::parse(Verdict::Deny, "any").unwrap();
        let given = |change: &dyn Fn(&mut Interface)| {
            let mut one = Interface::on("default");
            change(&mut one);
            vec![one]
        };
        let cases = [
            (
                PrivateNetwork {
                    isolate: true,
                    ..usual()
                },
                "`isolate`",
            ),
            (
                PrivateNetwork {
                    access: vec![access],
                    ..usual()
                },
                "`allow` and `deny`",
            ),
            (
                PrivateNetwork {
                    rates: Rates {
                        out: Some(1),
                        ..Rates::default()
                    },
                    ..usual()
                },
                "a rate",
            ),
            (
                PrivateNetwork {
                    rates: Rates {
                        connections: Some(1),
                        ..Rates::default()
                    },
                    ..usual()
                },
                "a connection rate",
            ),
            (
                PrivateNetwork {
                    interfaces: on("back"),
                    ..usual()
                },
                "network back",
            ),
            (
                PrivateNetwork {
                    interfaces: [on("default"), on("back")].concat(),
                    ..usual()
                },
                "2 interfaces",
            ),
            (
                PrivateNetwork {
                    interfaces: given(&|one| one.address = Some([10, 0, 0, 2].into())),
                    ..usual()
                },
                "an address",
            ),
            (
                PrivateNetwork {
                    interfaces: given(&|one| one.mac = "02:00:00:00:00:01".parse().ok()),
                    ..usual()
                },
                "a hardware address",
            ),
            (
                PrivateNetwork {
                    interfaces: given(&|one| one.link = Link::MacVlan("wan".into())),
                    ..usual()
                },
                "the wire of wan",
            ),
        ];
        for (wanted, name) in cases {
            let refused = plan(&wanted, &host(UserModeKind::Pasta)).unwrap_err();
            assert!(
                refused.contains(name) && refused.ends_with("takes root"),
                "{refused}"
            );
        }
        assert!(plan(&usual(), &host(UserModeKind::Pasta)).is_ok());
    }

    #[test]
    fn a_missing_program_and_one_that_can_less_are_told_with_the_package() {
        let with_port = PrivateNetwork {
            ports: vec!["80".parse().unwrap()],
            ..usual()
        };
        assert!(plan(&usual(), &host(UserModeKind::Slirp4netns)).is_ok());
        let refused = plan(&with_port, &host(UserModeKind::Slirp4netns)).unwrap_err();
        assert!(
            refused.starts_with("slirp4netns leads no port to a box"),
            "{refused}"
        );
        let none = Host {
            user_mode: None,
            ..host(UserModeKind::Pasta)
        };
        let missing = plan(&usual(), &none).unwrap_err();
        assert!(
            missing.ends_with("install pasta (Debian: package passt)"),
            "{missing}"
        );
    }

    #[test]
    fn the_better_program_is_taken_where_both_are_there() {
        let found = |there: &[&str]| {
            UserModeProgram::find(|path| there.iter().any(|one| Path::new(one) == path))
        };
        let both = found(&["/usr/bin/slirp4netns", "/usr/local/bin/pasta"]).unwrap();
        assert_eq!(both.kind, UserModeKind::Pasta);
        assert_eq!(
            found(&["/bin/slirp4netns"]).unwrap().kind,
            UserModeKind::Slirp4netns
        );
        assert_eq!(found(&["/home/me/bin/pasta"]), None);
    }

    #[test]
    fn its_words_are_one_line_without_noise() {
        let said = "Failed to send 45 bytes to syslog\n123\nFailed to open tun\u{7}\nexiting\n";
        assert_eq!(words(said, 123), "Failed to open tun; exiting");
    }
}
