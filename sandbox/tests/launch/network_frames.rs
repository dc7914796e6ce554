//! Frames as no honest program sends them: what a box with raw sockets, or a machine on the same wire, gets through.
#![allow(
    clippy::disallowed_methods,
    reason = "frames are sent and seen by foreign programs, and a rate is seen by the clock"
)]

use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::{Command, Stdio};
use std::time::Instant;

use sandbox::config::{Access, Verdict};
use sandbox::network;

use crate::fixture::Case;
use crate::network::{
    Running, SERVE, Served, World, asking, fine, here, on_default, once, private, release, run,
    with_ports,
};

type Mac = [u8; 6];

const IP: [u8; 2] = [0x08, 0x00];
const ARP: [u8; 2] = [0x08, 0x06];
const IP6: [u8; 2] = [0x86, 0xdd];
const IDLE: &str = "exec tail -f /dev/null";

fn mac(text: &str) -> Mac {
    let parts: Vec<u8> = text
        .trim()
        .split(':')
        .map(|part| u8::from_str_radix(part, 16).unwrap())
        .collect();
    parts.try_into().unwrap()
}

/// Of an interface in the network namespace of this process.
fn mac_in(namespace_of: u32, device: &str) -> Mac {
    let target = namespace_of.to_string();
    let told = run(
        "nsenter",
        &["-t", &target, "-n", "ip", "-o", "link", "show", device],
    );
    let (_, rest) = told.split_once("link/ether ").unwrap();
    mac(rest.split(' ').next().unwrap())
}

/// As socat's raw sockets send it, by an interface in the network namespace of this process.
fn send(namespace_of: u32, device: &str, frame: &[u8]) {
    let target = namespace_of.to_string();
    let to = format!("INTERFACE:{device}");
    let mut child = Command::new("nsenter")
        .args(["-t", &target, "-n", "socat", "-u", "-", &to])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(frame).unwrap();
    assert!(child.wait().unwrap().success());
}

/// What a program there hears, until something is among it.
struct Heard(
    #[expect(dead_code, reason = "ends it")] Served,
    std::process::ChildStdout,
);

impl Heard {
    fn by(namespace_of: u32, from: &str, until: &str) -> Self {
        let target = namespace_of.to_string();
        let mut command = Command::new("nsenter");
        command.args(["-t", &target, "-n", "socat", "-T10", "-u", from, "STDOUT"]);
        let mut served = Served::start({
            command.stdout(Stdio::piped());
            command
        });
        let out = served.output();
        let wait = format!("until {until}; do :; done");
        run("nsenter", &["-t", &target, "-n", "sh", "-c", &wait]);
        Self(served, out)
    }

    fn on(namespace_of: u32, device: &str) -> Self {
        let until = "[ $(wc -l < /proc/self/net/packet) -gt 1 ]";
        Self::by(namespace_of, &format!("INTERFACE:{device}"), until)
    }

    fn at(namespace_of: u32, kind: &str, port: u16) -> Self {
        let until = format!("ss -Hlun sport = :{port} | grep -q .");
        Self::by(namespace_of, &format!("{kind}-RECV:{port}"), &until)
    }

    /// All until this has come.
    fn until(&mut self, last: &str) -> String {
        let mut all = Vec::new();
        let mut part = [0; 4096];
        loop {
            let read = self.1.read(&mut part).unwrap();
            all.extend(&part[..read]);
            let text = String::from_utf8_lossy(&all).into_owned();
            if text.contains(last) {
                return text;
            }
            assert!(read > 0, "{last} does not come: {text:?}");
        }
    }
}

fn ether(to: Mac, from: Mac, kind: [u8; 2], content: &[u8]) -> Vec<u8> {
    let mut frame = [&to[..], &from, &kind, content].concat();
    frame.resize(frame.len().max(60), 0);
    frame
}

/// RFC 1071.
fn sum(parts: &[&[u8]]) -> [u8; 2] {
    let bytes = parts.concat();
    let mut sum: u32 = bytes
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!u16::try_from(sum).unwrap()).to_be_bytes()
}

fn length(bytes: usize) -> [u8; 2] {
    u16::try_from(bytes).unwrap().to_be_bytes()
}

/// With options of the destination in between, which say nothing.
fn ipv6(from: Ipv6Addr, to: Ipv6Addr, next: u8, behind_options: bool, content: &[u8]) -> Vec<u8> {
    let options: &[u8] = if behind_options {
        &[next, 0, 1, 4, 0, 0, 0, 0]
    } else {
        &[]
    };
    let first = if behind_options { 60 } else { next };
    let whole = length(options.len() + content.len());
    let start = [0x60, 0, 0, 0, whole[0], whole[1], first, 255];
    [&start, &from.octets()[..], &to.octets(), options, content].concat()
}

/// The content with its sum at this offset.
fn summed6(from: Ipv6Addr, to: Ipv6Addr, next: u8, at: usize, content: &mut [u8]) {
    let whole = [&[0, 0][..], &length(content.len()), &[0, 0, 0, next]].concat();
    let sum = sum(&[&from.octets(), &to.octets(), &whole, content]);
    content[at..at + 2].copy_from_slice(&sum);
}

/// A datagram; over IPv4 it has no sum of its own.
fn udp(from: (IpAddr, u16), to: (IpAddr, u16), text: &str) -> Vec<u8> {
    let [source, destination] = [from.1, to.1].map(u16::to_be_bytes);
    let whole = length(8 + text.len());
    let mut content = [&source[..], &destination, &whole, &[0, 0], text.as_bytes()].concat();
    match (from.0, to.0) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let whole = length(20 + content.len());
            let mut header = [
                &[0x45, 0, whole[0], whole[1], 0, 0, 0, 0, 64, 17, 0, 0][..],
                &from.octets(),
                &to.octets(),
            ]
            .concat();
            let sum = sum(&[&header]);
            header[10..12].copy_from_slice(&sum);
            [header, content].concat()
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            summed6(from, to, 17, 6, &mut content);
            ipv6(from, to, 17, false, &content)
        }
        _ => panic!("two families"),
    }
}

/// Says, unasked, that an address is to be found at `at` (RFC 4861 4.4).
fn advertisement(from: Ipv6Addr, target: Ipv6Addr, at: Mac, hidden: bool) -> Vec<u8> {
    let all: Ipv6Addr = "ff02::1".parse().unwrap();
    let mut content = [
        &[136, 0, 0, 0, 0x20, 0, 0, 0][..],
        &target.octets(),
        &[2, 1],
        &at,
    ]
    .concat();
    summed6(from, all, 58, 2, &mut content);
    ipv6(from, all, 58, hidden, &content)
}

/// The same over IPv4 (RFC 826).
fn arp(sender: Ipv4Addr, at: Mac, to: Ipv4Addr) -> Vec<u8> {
    let start = [0, 1, 8, 0, 6, 4, 0, 2];
    [&start[..], &at, &sender.octets(), &[0; 6], &to.octets()].concat()
}

/// Where the host thinks that an address is.
fn found_at(address: IpAddr) -> String {
    let told = run("ip", &["neigh", "show", &address.to_string()]);
    let (_, rest) = told.split_once("lladdr ").unwrap_or(("", ""));
    rest.split(' ').next().unwrap().to_owned()
}

const ELSEWHERE: &str = "02:00:00:00:00:99";

fn with_access(id: &str, verdict: Verdict, lines: &[&str], script: &str) -> sandbox::Config {
    let mut config = on_default(id, script);
    private(&mut config).access = lines
        .iter()
        .map(|line| Access::parse(verdict, line).unwrap())
        .collect();
    config
}

pub(crate) const CASES: &[Case] = &[
    (
        "a_port_of_the_hosts_loopback_is_none_for_who_is_on_its_wire",
        || {
            let world = World::new();
            let outside: u32 = world.outside_id().parse().unwrap();
            let server = Running::start(&with_ports("aa", &["9090:81/udp"]));
            let loopback = Running::start(&with_ports("bb", &["127.0.0.1:9091:81/udp"]));
            let (host, from) = (mac_in(std::process::id(), "wan"), mac_in(outside, "lan"));
            let source = (IpAddr::from([192, 0, 2, 2]), 5000);
            let mut heard = Heard::at(server.pid, "UDP4", 81);
            let mut heard_loopback = Heard::at(loopback.pid, "UDP4", 81);
            for filter in ["0", "1"] {
                for name in ["all", "wan"] {
                    let path = format!("/proc/sys/net/ipv4/conf/{name}/rp_filter");
                    fs::write(path, filter).unwrap();
                }
                for (to, port, text) in [
                    ([127, 0, 0, 1], 9091, "sneaked "),
                    ([127, 0, 0, 1], 9090, "sneaked "),
                    ([192, 0, 2, 1], 9090, "asked "),
                ] {
                    let datagram = udp(source, (to.into(), port), text);
                    send(outside, "lan", &ether(host, from, IP, &datagram));
                }
                assert_eq!(heard.until("asked "), "asked ");
                here("echo known | socat -u - UDP4:127.0.0.1:9091");
                assert_eq!(heard_loopback.until("known"), "known\n");
            }
            drop((heard, heard_loopback));
            loopback.stop();
            server.stop();
        },
    ),
    ("a_box_sends_no_frame_as_another_nor_past_the_host", || {
        let _world = World::new();
        let victim = Running::start(&on_default("aa", SERVE));
        let boxed = Running::start(&on_default("bb", IDLE));
        let bridge = network::networks().unwrap().remove(0);
        let gateway = mac_in(std::process::id(), &bridge.device);
        let (own, others) = (mac_in(boxed.pid, "eth0"), mac_in(victim.pid, "eth0"));
        let (four, six) = boxed.addresses();
        let (victim4, victim6) = victim.addresses();
        let to_host = |from: IpAddr, text: &str| {
            let to = match from {
                IpAddr::V4(_) => IpAddr::from(bridge.gateway),
                IpAddr::V6(_) => bridge.gateway6.unwrap().into(),
            };
            udp((from, 5000), (to, 5001), text)
        };
        let to_victim = |text: &str| udp((four.into(), 5000), (victim4.into(), 80), text);
        let everybody = [0xff; 6];
        let link_local: Ipv6Addr = "fe80::1234".parse().unwrap();
        let reserved = [0x01, 0x80, 0xc2, 0, 0, 0x0e];
        let counted = "add table bridge seen; add counter bridge seen lldp; \
            add chain bridge seen in { type filter hook input priority 10; }; \
            add rule bridge seen in ether daddr 01:80:c2:00:00:0e counter name lldp";
        run("nft", &[counted]);
        let mut on_host = Heard::on(std::process::id(), &bridge.device);
        let mut at_victim = Heard::on(victim.pid, "eth0");
        let arp_of =
            |sender, at: &str| arp(sender, at.as_bytes().try_into().unwrap(), bridge.gateway);
        let hidden = |target, text: &str| {
            advertisement(six, target, text.as_bytes().try_into().unwrap(), true)
        };
        let open = |target, text: &str| {
            advertisement(six, target, text.as_bytes().try_into().unwrap(), false)
        };
        for (to, from, kind, content) in [
            (
                gateway,
                others,
                IP,
                to_host(four.into(), "DENIED sender of another"),
            ),
            (
                gateway,
                own,
                IP,
                to_host(victim4.into(), "DENIED source of another"),
            ),
            (
                gateway,
                own,
                IP6,
                to_host(victim6.into(), "DENIED source of another"),
            ),
            (
                gateway,
                own,
                IP6,
                to_host(link_local.into(), "DENIED source of nobody"),
            ),
            (others, own, IP, to_victim("DENIED past the host")),
            (everybody, own, IP, to_victim("PARTLY to everybody")),
            (gateway, own, [0x88, 0xb5], b"DENIED of no kind".to_vec()),
            (gateway, own, [0x81, 0x00], b"DENIED tag".to_vec()),
            (gateway, own, ARP, arp_of(victim4, "DENIED")),
            (everybody, own, ARP, arp_of(victim4, "DENIED")),
            (gateway, own, IP6, open(victim6, "DENIED")),
            (gateway, own, IP6, hidden(victim6, "DENIED")),
            (gateway, own, IP6, hidden(six, "DENIED")),
            (reserved, own, IP, to_host(four.into(), "DENIED group")),
            (gateway, own, ARP, arp_of(four, "passes")),
            (gateway, own, IP6, open(six, "passes")),
            (gateway, own, IP6, to_host(six.into(), "first of all")),
            (gateway, own, IP, to_host(four.into(), "last of all")),
        ] {
            send(boxed.pid, "eth0", &ether(to, from, kind, &content));
        }
        let told = on_host.until("last of all");
        assert!(!told.contains("DENIED"), "{told:?}");
        assert!(told.contains("PARTLY"), "the host hears what is for all");
        assert_eq!(told.matches("passes").count(), 2, "{told:?}");
        assert!(told.contains("first of all"), "{told:?}");
        let to_gateway = ether(gateway, own, IP, &to_victim("by the host"));
        send(boxed.pid, "eth0", &to_gateway);
        let told = at_victim.until("by the host");
        assert!(
            !told.contains("DENIED") && !told.contains("PARTLY"),
            "{told:?}"
        );
        let lldp = run("nft", &["list", "counter", "bridge", "seen", "lldp"]);
        assert!(lldp.contains("packets 0 "), "{lldp}");
        run("nft", &["delete", "table", "bridge", "seen"]);
        drop((on_host, at_victim));
        boxed.stop();
        victim.stop();
    }),
    ("a_box_does_not_move_anothers_address_to_itself", || {
        let _world = World::new();
        let victim = Running::start(&on_default("aa", SERVE));
        let boxed = Running::start(&on_default("bb", SERVE));
        let bridge = network::networks().unwrap().remove(0);
        let locktime = format!("/proc/sys/net/ipv4/neigh/{}/locktime", bridge.device);
        fs::write(locktime, "0").unwrap();
        let gateway = mac_in(std::process::id(), &bridge.device);
        let own = mac_in(boxed.pid, "eth0");
        let (four, six) = boxed.addresses();
        let (victim4, victim6) = victim.addresses();
        for to in [victim4.to_string(), four.to_string()] {
            assert!(here(&asking(&to, 80)).starts_with("TCP4 10."));
        }
        for to in [victim6, six] {
            assert!(here(&asking(&format!("[{to}]"), 80)).starts_with("TCP6 ["));
        }
        let places = || [victim4.into(), victim6.into()].map(found_at);
        let before = places();
        assert!(before.iter().all(|place| !place.is_empty()), "{before:?}");
        let elsewhere = mac(ELSEWHERE);
        let link_local: Ipv6Addr = "fe80::1234".parse().unwrap();
        let mut heard = Heard::at(std::process::id(), "UDP4", 5001);
        for (kind, content) in [
            (ARP, arp(victim4, elsewhere, bridge.gateway)),
            (IP6, advertisement(six, victim6, elsewhere, false)),
            (IP6, advertisement(six, victim6, elsewhere, true)),
            (IP6, advertisement(link_local, victim6, elsewhere, true)),
            (IP6, advertisement(link_local, victim6, elsewhere, false)),
        ] {
            send(boxed.pid, "eth0", &ether(gateway, own, kind, &content));
            let text = udp((four.into(), 5000), (bridge.gateway.into(), 5001), "then");
            send(boxed.pid, "eth0", &ether(gateway, own, IP, &text));
            heard.until("then");
            assert_eq!(places(), before);
        }
        // Its own it may move: the host listens to such frames.
        for (kind, content) in [
            (ARP, arp(four, elsewhere, bridge.gateway)),
            (IP6, advertisement(six, six, elsewhere, false)),
        ] {
            send(boxed.pid, "eth0", &ether(gateway, own, kind, &content));
            let text = udp((four.into(), 5000), (bridge.gateway.into(), 5001), "then");
            send(boxed.pid, "eth0", &ether(gateway, own, IP, &text));
            heard.until("then");
        }
        assert_eq!([four.into(), six.into()].map(found_at), [ELSEWHERE; 2]);
        drop(heard);
        boxed.stop();
        victim.stop();
    }),
    (
        "who_may_not_ask_the_host_is_not_heard_by_what_is_for_all_either",
        || {
            let _world = World::new();
            let deny = |id, peer| Running::start(&with_access(id, Verdict::Deny, &[peer], IDLE));
            let boxes = [
                ("DENIED", deny("aa", "host")),
                ("DENIED", deny("bb", "private")),
                ("FREE", deny("cc", "203.0.113.1")),
            ];
            let bridge = network::networks().unwrap().remove(0);
            let gateway = mac_in(std::process::id(), &bridge.device);
            let last: Ipv4Addr = u32::from(bridge.subnet.broadcast()).into();
            for (kind, to) in [
                ("UDP4", IpAddr::from(last)),
                ("UDP4", Ipv4Addr::BROADCAST.into()),
                ("UDP4", IpAddr::from([224, 0, 0, 1])),
                ("UDP6", "ff02::1".parse().unwrap()),
                ("UDP6", bridge.subnet6.unwrap().network().into()),
                ("UDP4", bridge.gateway.into()),
            ] {
                let mut heard = Heard::at(std::process::id(), kind, 5001);
                for (text, boxed) in &boxes {
                    let own = mac_in(boxed.pid, "eth0");
                    let (four, six) = boxed.addresses();
                    let (from, ether_kind) = match to {
                        IpAddr::V4(_) => (IpAddr::from(four), IP),
                        IpAddr::V6(_) => (six.into(), IP6),
                    };
                    let datagram = udp((from, 5000), (to, 5001), text);
                    let frame = ether(gateway, own, ether_kind, &datagram);
                    send(boxed.pid, "eth0", &frame);
                }
                assert_eq!(heard.until("FREE"), "FREE", "{to}");
            }
            for (_, boxed) in boxes {
                boxed.stop();
            }
        },
    ),
    (
        "access_lines_are_about_the_port_that_is_asked_and_the_one_it_leads_to",
        || {
            let _world = World::new();
            // Everybody who is refused is told so, however many there are.
            fs::write("/proc/sys/net/ipv4/icmp_ratelimit", "0").unwrap();
            fs::write("/proc/sys/net/ipv6/icmp/ratelimit", "0").unwrap();
            let server = Running::start(&with_ports("aa", &["8080:80"]));
            let four = server.addresses().0.to_string();
            let (refused, passes) = ("No route to host\n", "TCP4 10.");
            let (deny, allow) = (Verdict::Deny, Verdict::Allow);
            let net = format!("{four}:80/tcp");
            for (verdict, line, ending) in [
                (deny, "host", refused),
                (deny, "host:8080", refused),
                (deny, "192.0.2.1", refused),
                (deny, "192.0.2.0/24:8080/tcp", refused),
                (deny, "any:8080", refused),
                (deny, "boxes", refused),
                (deny, &net, refused),
                (deny, "host:8081", passes),
                (deny, "192.0.2.1:80", passes),
                (deny, "192.0.2.2", passes),
                (allow, "host", passes),
                (allow, "192.0.2.1:8080", passes),
                (allow, "any:8080", passes),
                (allow, "boxes:80", passes),
                (allow, "host:80", refused),
                (allow, "any:81", refused),
            ] {
                let script = match ending == passes {
                    true => asking("192.0.2.1", 8080),
                    false => once("192.0.2.1", 8080),
                };
                let told = fine(&with_access("bb", verdict, &[line], &script)).stdout;
                assert!(told.starts_with(ending), "{verdict:?} {line}: {told}");
                release("bb");
            }
            for (line, ending) in [("host", refused), ("192.0.2.1", "TCP6 [")] {
                let script = match line {
                    "host" => once("[2001:db8::1]", 8080),
                    _ => asking("[2001:db8::1]", 8080),
                };
                let told = fine(&with_access("bb", deny, &[line], &script)).stdout;
                // The kernel's word about the box's address reaches who asked for the host's, or does not.
                let is_refused = || {
                    ["ermission denied", "timed out"]
                        .iter()
                        .any(|way| told.contains(way))
                };
                assert!(
                    told.starts_with(ending) || line == "host" && is_refused(),
                    "{line}: {told}"
                );
                release("bb");
            }
            server.stop();
        },
    ),
    (
        "a_connection_is_counted_once_and_both_directions_together",
        || {
            let world = World::new();
            let outside: u32 = world.outside_id().parse().unwrap();
            let mut config = on_default("aa", IDLE);
            private(&mut config).rates.connections = Some(1);
            let boxed = Running::start(&config);
            let bridge = network::networks().unwrap().remove(0);
            let gateway = mac_in(std::process::id(), &bridge.device);
            let (own, four) = (mac_in(boxed.pid, "eth0"), boxed.addresses().0);
            let out = |port: u16, text: &str| {
                let to = ([192, 0, 2, 2].into(), 5001);
                let datagram = udp((four.into(), port), to, text);
                send(boxed.pid, "eth0", &ether(gateway, own, IP, &datagram));
            };
            let mut outside = Heard::at(outside, "UDP4", 5001);
            // Nobody answers.
            for _ in 0..11 {
                out(5000, "same ");
            }
            out(5000, "end of it ");
            assert_eq!(outside.until("end of it ").matches("same ").count(), 11);
            let mut inside = Heard::at(boxed.pid, "UDP4", 5002);
            let start = Instant::now();
            for number in 0..8 {
                out(6000 + number, "new ");
                here(&format!(
                    "printf 'new ' | socat -u - UDP4:{four}:5002,sourceport={} || :",
                    7000 + number
                ));
            }
            let took = start.elapsed().as_secs();
            out(5000, "end of it ");
            let went = outside.until("end of it ").matches("new ").count();
            let pid = boxed.pid.to_string();
            let itself = "printf end | socat -u - UDP4:127.0.0.1:5002";
            run("nsenter", &["-t", &pid, "-n", "sh", "-c", itself]);
            let came = inside.until("end").matches("new ").count();
            let most = 5 + usize::try_from(took).unwrap() + 2;
            assert!(
                (3..=most).contains(&(went + came)),
                "{went} {came} in {took} s"
            );
            drop((outside, inside));
            boxed.stop();
        },
    ),
];
