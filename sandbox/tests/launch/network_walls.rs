//! The walls of boxes' networks hold whatever others do to the firewall, and the machine is as it was without them.
#![allow(
    clippy::disallowed_methods,
    reason = "the world around a box is made by foreign programs, and a rate is seen by the clock"
)]

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use sandbox::Config;
use sandbox::config::{Access, Rates, Verdict};
use sandbox::network::{self, Damage, Repaired, Watch};

use crate::fixture::Case;
use crate::network::{
    Running, SERVE, Served, World, asking, fine, here, ip, machine, on_default, once, private,
    release, run, unique, with_ports,
};

/// Somebody who may do everything to the box's own network.
fn with_capabilities(config: &mut Config) {
    const NET_ADMIN: u8 = 12;
    const NET_RAW: u8 = 13;
    let walls = config.walls.as_mut().unwrap();
    walls.capability_bounding_set = [NET_ADMIN, NET_RAW].map(Into::into).to_vec();
    walls.ambient_capabilities = walls.capability_bounding_set.clone();
    walls.system_calls.filter = None;
}

/// A connection from a box, by which lines are sent and come back.
struct Talk(Child);

impl Talk {
    fn from(boxed: &Running, patience: &str, to: &str) -> Self {
        let mut command = Command::new("nsenter");
        let target = boxed.pid.to_string();
        command.args(["-t", &target, "-n", "socat", patience, "-", to]);
        let both = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        Self(both.spawn().unwrap())
    }

    fn say(&mut self, line: &[u8]) {
        self.0.stdin.as_mut().unwrap().write_all(line).unwrap();
    }

    /// What comes back; shorter when nothing more does.
    fn hear(&mut self, length: usize) -> String {
        let mut heard = String::new();
        let out = self.0.stdout.as_mut().unwrap();
        out.take(length as u64).read_to_string(&mut heard).unwrap();
        heard
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// Sends back what comes to port 81, and to port 80 over UDP says this name.
fn echo(id: &str) -> Config {
    let script = format!(
        "socat TCP4-LISTEN:81,fork,reuseaddr EXEC:cat & {}",
        SERVE.replace("echo $SOCAT_PEERADDR", &format!("echo {id}"))
    );
    let mut config = on_default(id, &script);
    // One that `Running` waits for.
    config.process.argv.push(SERVE.into());
    config
}

fn ruleset() -> String {
    run("nft", &["list", "ruleset"])
}

fn repaired(damage: Damage, boxes: usize) -> Option<Repaired> {
    Some(Repaired { damage, boxes })
}

/// What of the kernel's network settings may change with forwarding, of every interface but those of boxes.
fn settings() -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    let mut take = |path: &Path| {
        if let Ok(value) = fs::read_to_string(path) {
            all.insert(path.display().to_string(), value.trim().to_owned());
        }
    };
    take(Path::new("/proc/sys/net/ipv4/ip_forward"));
    for family in ["ipv4", "ipv6"] {
        let conf = format!("/proc/sys/net/{family}/conf");
        for interface in fs::read_dir(conf).unwrap() {
            for key in fs::read_dir(interface.unwrap().path()).unwrap() {
                let path = key.unwrap().path();
                // What cannot be read is a secret, and what is random is none of ours.
                if path.is_file() && !path.ends_with("stable_secret") {
                    take(&path);
                }
            }
        }
    }
    all
}

fn set(path: &str, value: &str) {
    fs::write(format!("/proc/sys/net/{path}"), value).unwrap();
}

fn is_set(path: &str, value: &str) -> bool {
    fs::read_to_string(format!("/proc/sys/net/{path}"))
        .unwrap()
        .trim()
        == value
}

pub(crate) const CASES: &[Case] = &[
    (
        "walls_that_were_cleared_are_put_back_and_what_began_meanwhile_ends",
        || {
            let _world = World::new();
            let server = Running::start(&echo("aa"));
            let mut shy = on_default("bb", "exec tail -f /dev/null");
            private(&mut shy).isolate = true;
            let shy = Running::start(&shy);
            let free = Running::start(&on_default("cc", "exec tail -f /dev/null"));
            let to = format!("TCP4:{}:81,connect-timeout=2", server.addresses().0);
            let mut before = Talk::from(&free, "-T60", &to);
            before.say(b"1\n");
            assert_eq!(before.hear(2), "1\n");
            run(
                "nft",
                &[
                    "add table inet mine; add chain inet mine in { type filter hook input priority 0; }",
                ],
            );
            let all = ruleset();
            assert_eq!(network::repair().unwrap(), None);
            run("nft", &["flush ruleset"]);
            let mut sneaked = Talk::from(&shy, "-T1", &to);
            sneaked.say(b"1\n");
            assert_eq!(sneaked.hear(2), "1\n", "there is no wall");
            run(
                "nft",
                &[
                    "add table inet mine; add chain inet mine in { type filter hook input priority 0; }",
                ],
            );
            assert_eq!(network::repair().unwrap(), repaired(Damage::Missing, 3));
            let lines = |text: &str| {
                let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
                lines.sort();
                lines
            };
            assert_eq!(lines(&ruleset()), lines(&all));
            sneaked.say(b"2\n");
            assert_eq!(sneaked.hear(2), "", "it has ended");
            before.say(b"2\n");
            assert_eq!(before.hear(2), "2\n", "nobody denied it");
            let handles = run("nft", &["-a", "list", "ruleset"]);
            assert_eq!(network::repair().unwrap(), None);
            assert_eq!(run("nft", &["-a", "list", "ruleset"]), handles);
            drop((before, sneaked));
            for one in [server, shy, free] {
                one.stop();
            }
        },
    ),
    (
        "whatever_is_done_to_a_table_of_herds_is_noticed_and_undone",
        || {
            let _world = World::new();
            let mut config = with_ports("aa", &["8080:80", "9000-9003:90-93/udp"]);
            let private = private(&mut config);
            private.isolate = true;
            private.rates = Rates {
                out: Some(1_000_000),
                into: Some(1_000_000),
                connections: Some(100),
            };
            private.access = ["10.0.0.0/8:80-90", "dns", "private"]
                .iter()
                .map(|line| Access::parse(Verdict::Allow, line).unwrap())
                .collect();
            let server = Running::start(&config);
            let mut watch = Watch::new().unwrap();
            let all = ruleset();
            assert_eq!(
                network::repair().unwrap(),
                None,
                "the kernel says it as it was said"
            );
            let out = format!("out-{}", unique("aa"));
            for change in [
                "flush chain inet herd forward",
                "delete table bridge herd",
                "add table inet herd { flags dormant; }",
                "insert rule inet herd forward accept",
                &format!("flush chain inet herd {out}"),
                "delete element inet herd bridges { \"herd-default\" }",
                "add element bridge herd ports { \"wan\" }",
                "add chain inet herd forward { policy drop; }",
                "add chain inet herd more",
            ] {
                run("nft", &[change]);
                let by = watch.hear().by.unwrap().to_string();
                assert!(by.starts_with("nft (process "), "{change}: {by}");
                assert_eq!(
                    network::repair().unwrap(),
                    repaired(Damage::Changed, 1),
                    "{change}"
                );
                assert_eq!(ruleset(), all, "{change}");
                assert_eq!(watch.hear().by, None, "what herd does is no news: {change}");
            }
            assert!(here(&asking("127.0.0.1", 8080)).starts_with("TCP4 "));
            server.stop();
        },
    ),
    ("what_boxes_and_others_do_beside_is_no_news", || {
        let _world = World::new();
        let mut watch = Watch::new().unwrap();
        fine(&on_default("aa", "true"));
        run("nft", &["add table inet mine; add table ip herd"]);
        release("aa");
        let heard = watch.hear();
        assert_eq!(heard.by, None);
        assert!(!heard.is_more);
        assert_eq!(
            network::repair().unwrap(),
            None,
            "there is nothing to have walls"
        );
    }),
    (
        "a_box_that_takes_its_queues_away_is_held_back_as_before",
        || {
            let world = World::new();
            let target = world.outside_id();
            let own = "";
            let none = "PATH=$PATH:/usr/sbin:/sbin; tc qdisc del dev eth0 root; tc qdisc show dev eth0 | grep tbf;";
            for (queue, least) in [(own, 2_000_000), (none, 300_000)] {
                let mut serve = Command::new("nsenter");
                let count = [
                    "-t",
                    &target,
                    "-n",
                    "socat",
                    "-T1",
                    "-u",
                    "TCP4-LISTEN:90,reuseaddr",
                    "SYSTEM:wc -c",
                ];
                serve.args(count).stdout(Stdio::piped());
                let mut serve = Served::start(serve);
                world.outside("until ss -ltn | grep -q ':90 '; do :; done");
                let send = "timeout 3 socat -u OPEN:/dev/zero TCP4:192.0.2.2:90; :";
                let mut config = on_default("aa", &format!("{queue}{send}"));
                with_capabilities(&mut config);
                private(&mut config).rates.out = Some(1_000_000);
                let start = Instant::now();
                assert_eq!(fine(&config).stdout, "");
                let came: u32 = serve.line().trim().parse().unwrap();
                let took = start.elapsed().as_secs_f64();
                release("aa");
                // A second's worth may come at once.
                let most = 1_000_000.0 * (took + 1.0) + 131_072.0;
                assert!(came > least && f64::from(came) < most, "{came} in {took} s");
            }
        },
    ),
    ("packets_to_a_port_reach_the_box_that_has_it_now", || {
        let world = World::new();
        let ask = "echo x | socat -t1 -T1 - UDP4:192.0.2.1:8080,sourceport=5000 2>/dev/null";
        for id in ["aa", "bb", "aa"] {
            let mut config = echo(id);
            private(&mut config).ports = vec!["8080:80/udp".parse().unwrap()];
            let server = Running::start(&config);
            assert_eq!(world.outside(ask), format!("{id}\n"));
            server.stop();
            assert_eq!(world.outside(ask), "", "nobody is there");
        }
    }),
    (
        "every_setting_of_every_interface_is_as_it_was_when_the_last_box_has_gone",
        || {
            let _world = World::new();
            for name in ["one", "two", "eth0.7"] {
                ip(&format!("link add {name} type bridge"));
                ip(&format!("link set {name} up"));
            }
            for (path, value) in [
                ("ipv4/conf/one/forwarding", "1"),
                ("ipv4/conf/two/accept_redirects", "0"),
                ("ipv4/conf/two/send_redirects", "0"),
                ("ipv6/conf/two/forwarding", "1"),
                ("ipv6/conf/one/accept_ra", "0"),
                ("ipv6/conf/two/accept_redirects", "0"),
                ("ipv4/conf/eth0.7/route_localnet", "1"),
                ("ipv4/conf/default/forwarding", "1"),
            ] {
                set(path, value);
            }
            let before = settings();
            let server = Running::start(&with_ports("aa", &["8080:80"]));
            assert_ne!(settings(), before);
            fine(&on_default("bb", "true"));
            release("bb");
            server.stop();
            assert_eq!(settings(), before);
            // What others have set meanwhile stays, and who came meanwhile is as if herd had not been there.
            set("ipv4/conf/default/forwarding", "0");
            let mut expected = settings();
            let server = Running::start(&on_default("aa", SERVE));
            set("ipv4/conf/one/forwarding", "0");
            set("ipv4/conf/two/forwarding", "0");
            expected.insert("/proc/sys/net/ipv4/conf/one/forwarding".into(), "0".into());
            ip("link add late type bridge");
            assert!(is_set("ipv4/conf/late/forwarding", "1"));
            server.stop();
            assert!(is_set("ipv4/conf/late/forwarding", "0"));
            assert!(is_set("ipv6/conf/late/forwarding", "0"));
            ip("link del late");
            assert_eq!(settings(), expected);
        },
    ),
    (
        "who_began_to_forward_meanwhile_goes_on_and_who_did_before_changes_nothing",
        || {
            let _world = World::new();
            let nat = "add table ip other; add chain ip other out { type nat hook postrouting priority 100; }";
            let server = Running::start(&on_default("aa", SERVE));
            run("nft", &[nat]);
            let during = settings();
            server.stop();
            assert!(is_set("ipv4/ip_forward", "1"));
            assert!(is_set("ipv6/conf/all/forwarding", "1"));
            assert!(is_set("ipv4/conf/wan/forwarding", "1"));
            assert_eq!(during["/proc/sys/net/ipv4/conf/all/send_redirects"], "0");
            assert!(is_set("ipv4/conf/all/send_redirects", "1"));
            set("ipv4/ip_forward", "0");
            set("ipv6/conf/all/forwarding", "0");
            let before = settings();
            let server = Running::start(&on_default("aa", SERVE));
            server.stop();
            assert_eq!(settings(), before);
        },
    ),
    (
        "the_hosts_loopback_is_led_to_a_bridge_only_where_a_port_is",
        || {
            let _world = World::new();
            let localnet = "ipv4/conf/herd-default/route_localnet";
            let server = Running::start(&with_ports("aa", &["192.0.2.1:8080:80"]));
            assert!(is_set(localnet, "0"));
            let led = Running::start(&with_ports("bb", &["127.0.0.1:9090:80"]));
            assert!(is_set(localnet, "1"));
            assert!(here(&asking("127.0.0.1", 9090)).starts_with("TCP4 10."));
            led.stop();
            assert!(is_set(localnet, "0"));
            server.stop();
        },
    ),
    (
        "what_is_written_down_of_a_namespace_that_has_gone_goes_with_its_number",
        || {
            let _world = World::new();
            let before = machine();
            let link = fs::read_link("/proc/self/ns/net").unwrap();
            let number: String = link
                .to_string_lossy()
                .chars()
                .filter(char::is_ascii_digit)
                .collect();
            let directory = Path::new(network::BASE).join(format!("ns-{number}"));
            let server = Running::start(&with_ports("aa", &["8080:80"]));
            let state = fs::read(directory.join("state.json")).unwrap();
            server.stop();
            fs::create_dir_all(&directory).unwrap();
            fs::write(directory.join("state.json"), &state).unwrap();
            fs::write(directory.join("default.hosts"), "").unwrap();
            // No namespace has this number.
            fs::write(directory.join("lock"), u64::MAX.to_string()).unwrap();
            let files = Path::new(network::BASE).join(format!("box-{}", unique("aa")));
            fs::create_dir_all(&files).unwrap();
            assert_eq!(network::networks().unwrap(), []);
            // It has the other's port, and nobody says that it is taken.
            let server = Running::start(&with_ports("bb", &["8080:80"]));
            assert_eq!(network::networks().unwrap()[0].boxes.len(), 1);
            assert!(!files.exists());
            server.stop();
            assert_eq!(machine(), before);
        },
    ),
    (
        "a_packet_of_no_connection_does_not_leave_with_the_address_of_a_box",
        || {
            let world = World::new();
            let target = world.outside_id();
            let mut serve = Command::new("nsenter");
            let log = "socat -u IP4-RECVFROM:6,fork SYSTEM:'set -f; cat >/dev/null; echo got $SOCAT_PEERADDR' & \
                       socat -u IP4-RECVFROM:253,fork SYSTEM:'set -f; cat >/dev/null; echo then $SOCAT_PEERADDR' & wait";
            serve
                .args(["-t", &target, "-n", "sh", "-c", log])
                .stdout(Stdio::piped());
            let mut serve = Served::start(serve);
            world.outside("until [ $(ss -Hlwn | wc -l) = 2 ]; do :; done");
            // A header of TCP with a wrong sum, then something that is let through.
            let script = "printf '\\000\\120\\000\\120aaaabbbb\\120\\020\\000\\000\\000\\001\\000\\000' | socat -u - IP4-SENDTO:192.0.2.2:6
                          for i in 1 2 3; do echo x | socat -u - IP4-SENDTO:192.0.2.2:253; done";
            let mut config = on_default("aa", script);
            with_capabilities(&mut config);
            fine(&config);
            let line = serve.line();
            assert_eq!(line, "then 192.0.2.1\n");
            release("aa");
            drop(serve);
        },
    ),
    (
        "without_br_netfilter_the_walls_and_the_ports_are_the_same",
        || {
            let world = World::new();
            for family in ["ip", "ip6", "arp"] {
                let path = format!("/proc/sys/net/bridge/bridge-nf-call-{family}tables");
                // Where it is not loaded it is as if it were off.
                fs::write(path, "0").ok();
            }
            let server = Running::start(&with_ports("aa", &["8080:80"]));
            let mut shy = with_ports("cc", &["9090:80"]);
            private(&mut shy).isolate = true;
            let shy = Running::start(&shy);
            let (four, _) = server.addresses();
            let script = asking("box-aa", 80) + &asking("192.0.2.1", 8080) + &once("box-cc", 80);
            let told = fine(&on_default("bb", &script)).stdout;
            assert_eq!(told.matches("TCP4 10.").count(), 2, "{told}");
            assert!(told.ends_with("No route to host\n"), "{told}");
            release("bb");
            assert!(here(&asking("127.0.0.1", 8080)).starts_with("TCP4 10."));
            assert!(here(&asking("192.0.2.1", 9090)).starts_with("TCP4 192"));
            assert!(
                world
                    .outside(&asking("192.0.2.1", 8080))
                    .starts_with("TCP4 192.0.2.2")
            );
            // By way of the host to itself.
            let pid = server.pid.to_string();
            let itself = asking("192.0.2.1", 8080);
            let told = run("nsenter", &["-t", &pid, "-n", "sh", "-c", &itself]);
            assert!(told.starts_with("TCP4 10."), "{told}");
            let mut config = on_default("dd", &once(&four.to_string(), 80));
            private(&mut config).access = vec![Access::parse(Verdict::Deny, "boxes").unwrap()];
            assert_eq!(fine(&config).stdout, "No route to host\n");
            release("dd");
            // Nor as somebody else.
            let mut config = on_default(
                "ee",
                "ip address add 10.216.250.250/32 dev eth0; echo x | timeout 2 socat -T1 - \
                 TCP4:box-aa:80,bind=10.216.250.250,connect-timeout=1 2>&1 | sed 's/.*: //'",
            );
            with_capabilities(&mut config);
            assert!(fine(&config).stdout.contains("timed out"));
            release("ee");
            shy.stop();
            server.stop();
        },
    ),
];
