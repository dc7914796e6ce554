//! Networks of boxes. Each case has a network namespace of its own that plays the host, and another
//! that plays the world outside: nothing here touches the machine's own network.
#![allow(
    clippy::disallowed_methods,
    reason = "the world around a box is made by foreign programs, and a rate is seen by the clock"
)]

use std::fmt::Write;
use std::fs;
use std::io::BufRead;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};
use sandbox::config::{
    Access, Interface, Link, Network, PrivateNetwork, Rates, UserNamespace, Verdict,
};
use sandbox::session::{self, Options};
use sandbox::status::Message;
use sandbox::{Config, Files, Launcher, network};

use crate::boxed::boxed;
use crate::fixture::{
    Case, Outcome, carried, files_of, follow, launcher, next, outcome, outcome_of, plan, wait,
};

/// The namespaces of one case.
pub(crate) struct World {
    outside: Child,
}

pub(crate) fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {told}");
    String::from_utf8(output.stdout).unwrap()
}

pub(crate) fn ip(arguments: &str) -> String {
    run("ip", &arguments.split(' ').collect::<Vec<_>>())
}

impl World {
    pub(crate) fn new() -> Self {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        // Of a namespace that had the number before and has ended.
        fs::remove_dir_all(registry()).ok();
        ip("link set lo up");
        let mut outside = Command::new("unshare");
        outside.args(["-n", "sh", "-c", "ip link set lo up; echo; exec cat"]);
        let mut outside = outside
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = [0];
        std::io::Read::read_exact(outside.stdout.as_mut().unwrap(), &mut line).unwrap();
        let world = Self { outside };
        ip(&format!(
            "link add wan type veth peer name lan netns {}",
            world.outside.id()
        ));
        for command in [
            "address add 192.0.2.1/24 dev wan",
            "-6 address add 2001:db8::1/64 dev wan nodad",
            "link set wan up",
            "route add default via 192.0.2.2",
            "-6 route add default via 2001:db8::2",
        ] {
            if command.contains("route") {
                world.outside("ip address add 192.0.2.2/24 dev lan; ip -6 address add 2001:db8::2/64 dev lan nodad; ip link set lan up");
            }
            if ip("-o route").contains("default") && command.starts_with("route") {
                continue;
            }
            ip(command);
        }
        world
    }

    pub(crate) fn outside_id(&self) -> String {
        self.outside.id().to_string()
    }

    /// Runs a script outside.
    pub(crate) fn outside(&self, script: &str) -> String {
        let target = self.outside.id().to_string();
        let output = Command::new("nsenter")
            .args(["-t", &target, "-n", "sh", "-c", script])
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap()
    }
}

/// Until [`SERVE`] serves in the network namespace of this process.
pub(crate) fn await_servers(namespace_of: u32) {
    let target = namespace_of.to_string();
    let ask = ["-t", &target, "-n", "ss", "-Hltun", "sport", "=", ":80"];
    while run("nsenter", &ask).lines().count() < 4 {}
}

/// Servers that are no box's.
pub(crate) struct Served(Child);

impl Served {
    pub(crate) fn start(mut command: Command) -> Self {
        Self(command.process_group(0).spawn().unwrap())
    }

    /// What it writes next, where that is kept.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        let out = self.0.stdout.as_mut().unwrap();
        std::io::BufReader::with_capacity(1, out)
            .read_line(&mut line)
            .unwrap();
        line
    }

    /// All that it writes, where that is kept.
    pub(crate) fn output(&mut self) -> ChildStdout {
        self.0.stdout.take().unwrap()
    }

    fn listening(self, namespace_of: u32) -> Self {
        await_servers(namespace_of);
        self
    }

    pub(crate) fn on_host() -> Self {
        let mut command = Command::new("sh");
        command.args(["-c", SERVE]);
        Self::start(command).listening(std::process::id())
    }

    pub(crate) fn outside(world: &World) -> Self {
        let mut command = Command::new("nsenter");
        let target = world.outside.id().to_string();
        command.args(["-t", &target, "-n", "sh", "-c", SERVE]);
        Self::start(command).listening(world.outside.id())
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let group = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process_group(group, rustix::process::Signal::KILL).unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.outside.kill().unwrap();
        self.outside.wait().unwrap();
    }
}

/// A box that stays until it is told to end.
pub(crate) struct Running {
    id: String,
    pub(crate) pid: u32,
    pub(crate) pidfd: OwnedFd,
    _status: OwnedFd,
    _launcher: Launcher,
}

impl Drop for Running {
    fn drop(&mut self) {
        // One that a failing case leaves.
        let kill = rustix::process::Signal::KILL;
        rustix::process::pidfd_send_signal(&self.pidfd, kill).ok();
    }
}

impl Running {
    pub(crate) fn start(config: &Config) -> Self {
        let launcher = launcher();
        let null = fs::File::open("/dev/null").unwrap();
        let log = fs::File::options()
            .append(true)
            .open("/dev/stderr")
            .unwrap();
        let files = Files {
            stdin: null.as_fd(),
            stdout: log.as_fd(),
            stderr: log.as_fd(),
            passed: &[],
            held: &[],
            own: &[],
        };
        let launched = launcher.launch(&carried(&plan(config)), files).unwrap();
        let status = launched.status.unwrap();
        let (mut pid, mut pidfd) = (launched.pid, launched.pidfd);
        loop {
            match next(&status) {
                Message::Moved {
                    pid: moved,
                    pidfd: init,
                    ..
                } => {
                    wait(&pidfd);
                    (pid, pidfd) = (moved, init);
                }
                Message::Executed => break,
                Message::Main { .. } | Message::Executing => {}
                other @ (Message::Failed(_)
                | Message::AtGate { .. }
                | Message::Stopped(_)
                | Message::Exited(_)
                | Message::Closed) => panic!("{other:?}"),
            }
        }
        if config.process.argv.iter().any(|word| word == SERVE) {
            await_servers(u32::try_from(pid).unwrap());
        }
        let walls = config.walls.as_ref().unwrap();
        Self {
            pid: u32::try_from(pid).unwrap(),
            id: walls.network.as_private().unwrap().id.clone(),
            pidfd,
            _status: status,
            _launcher: launcher,
        }
    }

    /// The addresses of its first interface.
    pub(crate) fn addresses(&self) -> (Ipv4Addr, Ipv6Addr) {
        let ends = network::box_of(&self.id).unwrap().unwrap().ends;
        (ends[0].address, ends[0].address6.unwrap())
    }

    pub(crate) fn stop(self) {
        let kill = rustix::process::Signal::KILL;
        rustix::process::pidfd_send_signal(&self.pidfd, kill).unwrap();
        wait(&self.pidfd);
        network::release(&[&self.id]).unwrap();
    }
}

/// The files of a box lie where those of other namespaces lie too.
pub(crate) fn unique(id: &str) -> String {
    format!("{id}{}", std::process::id())
}

pub(crate) fn release(id: &str) {
    network::release(&[&unique(id)]).unwrap();
}

pub(crate) fn on_default(id: &str, script: &str) -> Config {
    on(id, &["default"], script)
}

pub(crate) fn on(id: &str, networks: &[&str], script: &str) -> Config {
    let mut config = boxed(script);
    config.name = format!("box-{id}");
    let walls = config.walls.as_mut().unwrap();
    walls.network = Network::Private(Box::new(PrivateNetwork {
        id: unique(id),
        name: config.name.clone(),
        interfaces: networks.iter().map(|name| Interface::on(name)).collect(),
        names: true,
        ..PrivateNetwork::default()
    }));
    config
}

pub(crate) fn fine(config: &Config) -> Outcome {
    let outcome = outcome(config);
    assert_eq!(outcome.failure, None);
    outcome
}

/// Says over TCP and UDP of both families, at port 80, who asks, once it was asked: socat drops the answer of a
/// program that has ended when it has a line for it.
pub(crate) const SERVE: &str = "
    for kind in TCP4-LISTEN:80 TCP6-LISTEN:80,ipv6only UDP4-LISTEN:80 UDP6-LISTEN:80,ipv6only; do
        socat $kind,reuseaddr,fork SYSTEM:'set -f; read line; echo $SOCAT_PEERADDR' &
    done
    wait";

/// Asks there over TCP and UDP: one line each, of the kind and who the server thinks we are. A server that has
/// only just been started is asked again.
pub(crate) fn asking(at: &str, port: u16) -> String {
    let six = at.starts_with('[');
    let mut script = String::new();
    for kind in if six {
        ["TCP6", "UDP6"]
    } else {
        ["TCP4", "UDP4"]
    } {
        let ask = format!(
            "echo x | timeout 2 socat -T1 - {kind}:{at}:{port},connect-timeout=1 2>/dev/null"
        );
        writeln!(script, "for i in 1 2 3; do a=$({ask}); [ -n \"$a\" ] && break; done; echo {kind} ${{a:-nothing}}").unwrap();
    }
    script
}

/// As `asking`, once: for what is not to be reached.
pub(crate) fn once(at: &str, port: u16) -> String {
    let kind = if at.starts_with('[') { "TCP6" } else { "TCP4" };
    format!(
        "echo x | timeout 2 socat -T1 - {kind}:{at}:{port},connect-timeout=1 2>&1 | sed 's/.*: //'\n"
    )
}

pub(crate) fn here(script: &str) -> String {
    run("sh", &["-c", script])
}

pub(crate) fn private(config: &mut Config) -> &mut PrivateNetwork {
    match &mut config.walls.as_mut().unwrap().network {
        Network::Private(private) => private,
        Network::Host | Network::None | Network::Loopback => panic!("no network of its own"),
    }
}

fn told(kinds: [&str; 2], by: &str) -> String {
    kinds.iter().map(|kind| format!("{kind} {by}\n")).collect()
}

pub(crate) fn told4(by: Ipv4Addr) -> String {
    told(["TCP4", "UDP4"], &by.to_string())
}

/// How many processes lead ports in our network namespace.
fn relays() -> usize {
    let own = fs::read_link("/proc/self/ns/net").unwrap();
    let is_one = |pid: &Path| {
        fs::read_to_string(pid.join("comm")).is_ok_and(|name| name == "herd-net\n")
            && fs::read_link(pid.join("ns/net")).is_ok_and(|net| net == own)
    };
    let pids = fs::read_dir("/proc").unwrap().flatten();
    pids.filter(|entry| is_one(&entry.path())).count()
}

/// One that has closed everything is on its way out still.
fn wait_for_no_relay() {
    let start = Instant::now();
    while relays() > 0 {
        assert!(start.elapsed() < Duration::from_secs(5), "one is left");
    }
}

/// As socat writes them.
fn told6(by: Ipv6Addr) -> String {
    let groups: Vec<String> = by
        .segments()
        .iter()
        .map(|part| format!("{part:04x}"))
        .collect();
    told(["TCP6", "UDP6"], &format!("[{}]", groups.join(":")))
}

/// What the host has that boxes' networks could have changed.
pub(crate) fn machine() -> String {
    let links = ip("-o link")
        .lines()
        .map(|line| line.split(' ').nth(1).unwrap().to_owned())
        .collect::<Vec<_>>();
    let forward = [
        "ipv4/ip_forward",
        "ipv6/conf/all/forwarding",
        "ipv6/conf/wan/accept_ra",
    ]
    .map(|key| fs::read_to_string(format!("/proc/sys/net/{key}")).unwrap());
    let left = registry().exists();
    format!(
        "{links:?} {forward:?} {} {} {} {left}",
        run("nft", &["list", "ruleset"]),
        ip("route"),
        ip("-6 route")
    )
}

/// Where the networks of this network namespace are written down.
pub(crate) fn registry() -> PathBuf {
    let written = fs::read_link("/proc/self/ns/net").unwrap();
    let number: String = written
        .to_string_lossy()
        .chars()
        .filter(char::is_ascii_digit)
        .collect();
    Path::new("/run/herd/network").join(format!("ns-{number}"))
}

pub(crate) fn with_ports(id: &str, ports: &[&str]) -> Config {
    let mut config = on_default(id, SERVE);
    private(&mut config).ports = ports.iter().map(|port| port.parse().unwrap()).collect();
    config
}

pub(crate) fn v4(text: &str) -> Ipv4Addr {
    text.parse().unwrap()
}

pub(crate) fn v6(text: &str) -> Ipv6Addr {
    text.parse().unwrap()
}

/// Tried with every carrier.
pub(crate) const CARRIED: &[Case] = &[
    ("a_box_on_a_bridge_has_addresses_routes_and_names", || {
        let _world = World::new();
        let before = machine();
        let script = "ip -o address show dev eth0; ip route; ip -6 route; cat /etc/hosts; getent ahostsv4 box-aa | head -1";
        let outcome = fine(&on_default("aa", script));
        let view = network::box_of(&unique("aa")).unwrap().unwrap();
        let (four, six) = (view.ends[0].address, view.ends[0].address6.unwrap());
        let networks = network::networks().unwrap();
        assert_eq!((networks.len(), networks[0].name.as_str()), (1, "default"));
        let (gateway, gateway6) = (networks[0].gateway, networks[0].gateway6.unwrap());
        for line in [
            format!("inet {four}/32 "),
            format!("inet6 {six}/128 "),
            format!("default via {gateway} dev eth0"),
            format!("default via {gateway6} dev eth0"),
            format!("{four}\tbox-aa\n{six}\tbox-aa\n"),
            "STREAM box-aa".to_owned(),
        ] {
            assert!(
                outcome.stdout.contains(&line),
                "{line}: {}{}",
                outcome.stdout,
                outcome.stderr
            );
        }
        release("aa");
        assert_eq!(machine(), before);
        assert_eq!(network::networks().unwrap(), []);
    }),
    ("a_port_that_is_taken_names_who_has_it", || {
        let _world = World::new();
        let server = Running::start(&with_ports("aa", &["8080:80"]));
        let failure = outcome(&with_ports("bb", &["127.0.0.1:8080:80"]))
            .failure
            .unwrap();
        assert_eq!(
            failure.to_string(),
            "take a place on network default for eth0, with the host's ports 127.0.0.1:8080:80/tcp: port 127.0.0.1:8080:80/tcp is taken by box-aa (step 1 of 52): address already in use"
        );
        assert_eq!(network::box_of(&unique("bb")).unwrap(), None);
        let _listener = std::net::TcpListener::bind("127.0.0.1:9090").unwrap();
        let failure = outcome(&with_ports("bb", &["9090:80"])).failure.unwrap();
        assert!(
            failure
                .to_string()
                .contains("port 9090:80/tcp is in use on the host, by "),
            "{failure}"
        );
        let failure = outcome(&with_ports("bb", &["9000-9100:80-180"])).failure;
        let failure = failure.unwrap().to_string();
        let told = "port 9000-9100:80-180/tcp: 9090 is in use on the host, by ";
        assert!(failure.contains(told), "{failure}");
        server.stop();
    }),
    ("a_box_in_a_user_namespace_has_a_network_too", || {
        let world = World::new();
        let before = machine();
        let listen = Served::outside(&world);
        let script = asking("192.0.2.2", 80) + &asking("[2001:db8::2]", 80);
        let mut config = on_default("aa", &script);
        let walls = config.walls.as_mut().unwrap();
        walls.user_namespace = Some(UserNamespace::default());
        walls.namespaces.user = true;
        let told = fine(&config).stdout;
        assert_eq!(told, told4(v4("192.0.2.1")) + &told6(v6("2001:db8::1")));
        release("aa");
        assert_eq!(machine(), before);
        drop(listen);
    }),
    (
        "a_failure_at_any_step_leaves_nothing_of_the_network",
        || {
            let _world = World::new();
            let before = machine();
            let config = with_ports("aa", &["8080:80"]);
            let plan = plan(&config);
            for step in 1..=plan.steps_len() {
                let outcome = outcome_of(&plan.clone().fail_at(step), &[]);
                assert_eq!(outcome.failure.map(|failure| failure.step), Some(step));
                release("aa");
                assert_eq!(machine(), before, "step {step}");
            }
        },
    ),
];

pub(crate) const CASES: &[Case] = &[
    ("no_line_is_passed_by_an_address_of_the_link", || {
        let _world = World::new();
        let host = Served::on_host();
        let script = "echo x | timeout 2 socat -T1 - \
                      'TCP6:[fe80::69:aff:fed8:f801%eth0]:80,connect-timeout=1' 2>&1 | sed 's/.*: //'; ";
        let mut config = on_default("aa", &(script.to_owned() + &asking("192.0.2.1", 80)));
        private(&mut config).access = vec![Access::parse(Verdict::Deny, "any").unwrap()];
        let told = fine(&config).stdout;
        assert!(!told.contains("fe80:"), "{told}");
        assert!(
            told.contains("timed out") && told.contains("TCP4 nothing"),
            "{told}"
        );
        release("aa");
        drop(host);
    }),
    (
        "many_boxes_with_lines_of_their_own_get_their_rules_at_once",
        || {
            let _world = World::new();
            let before = machine();
            let running: Vec<Running> = (0..40)
                .map(|number| {
                    let mut config =
                        on_default(&format!("m{number}"), "exec cat /dev/zero >/dev/null");
                    config.process.argv = ["/bin/sh", "-c", "exec tail -f /dev/null"]
                        .map(Into::into)
                        .to_vec();
                    private(&mut config).access =
                        ["10.1.0.0/16:80-90", "dns", "any:443", "private"]
                            .iter()
                            .map(|line| Access::parse(Verdict::Allow, line).unwrap())
                            .collect();
                    Running::start(&config)
                })
                .collect();
            run("nft", &["flush", "ruleset"]);
            fine(&on_default("last", "true"));
            assert!(
                run("nft", &["list", "chains"])
                    .matches("chain out-m")
                    .count()
                    == 40
            );
            release("last");
            running.into_iter().for_each(Running::stop);
            assert_eq!(machine(), before);
        },
    ),
    (
        "the_loopback_of_ipv6_is_led_by_a_process_that_goes_with_the_box",
        || {
            let _world = World::new();
            let before = machine();
            let mut config = with_ports("aa", &["[::1]:8443:80", "[::1]:8443:80/udp"]);
            config.process.argv = ["/bin/sh", "-c", SERVE].map(Into::into).to_vec();
            let running = Running::start(&config);
            let gateway = network::networks().unwrap()[0].gateway6.unwrap();
            assert_eq!(here(&asking("[::1]", 8443)), told6(gateway));
            assert_eq!(relays(), 1);
            running.stop();
            assert_eq!(machine(), before);
            wait_for_no_relay();
        },
    ),
    (
        "a_failure_at_any_step_leaves_no_process_that_leads_a_port",
        || {
            let _world = World::new();
            let before = machine();
            let plan = plan(&with_ports("aa", &["[::1]:8443:80"]));
            for step in 1..=plan.steps_len() {
                let outcome = outcome_of(&plan.clone().fail_at(step), &[]);
                assert_eq!(outcome.failure.map(|failure| failure.step), Some(step));
                release("aa");
                assert_eq!(machine(), before, "step {step}");
                wait_for_no_relay();
            }
        },
    ),
    (
        "a_box_has_256_ports_on_the_loopback_of_ipv6_at_most",
        || {
            let _world = World::new();
            let before = machine();
            let mut config = on_default("aa", "true");
            let ports = ["[::1]:20000-20254:80-334", "[::1]:53:53/udp"];
            private(&mut config).ports = ports.map(|port| port.parse().unwrap()).to_vec();
            fine(&config);
            release("aa");
            private(&mut config).ports = vec!["[::1]:20000-20256:80-336".parse().unwrap()];
            let failure = outcome(&config).failure;
            let reason =
                "257 ports on [::1]: a box has 256 at most, because each takes a socket that waits";
            let failure = failure.unwrap().to_string();
            assert!(failure.contains(reason), "{failure}");
            assert_eq!(machine(), before);
            wait_for_no_relay();
        },
    ),
    ("what_an_interface_is_asked_to_have_it_has", || {
        let _world = World::new();
        let mut config = on_default(
            "aa",
            "ip -o link show eth0; ip -o address show dev eth0; cat /etc/hosts",
        );
        let private = private(&mut config);
        private.interfaces[0].mac = Some("02:00:00:00:00:99".parse().unwrap());
        private.interfaces[0].mtu = Some(1400);
        private.hosts = vec![("printer".into(), v4("192.0.2.9").into())];
        if let Link::Bridge(network) = &mut private.interfaces[0].link {
            network.subnet = Some("10.99.0.0/24".parse().unwrap());
            network.subnet6 = Some("fd00:99::/64".parse().unwrap());
        }
        private.interfaces[0].address = Some(v4("10.99.0.42"));
        private.interfaces[0].address6 = Some(v6("fd00:99::beef"));
        let told = fine(&config).stdout;
        for part in [
            "02:00:00:00:00:99",
            "mtu 1400",
            "10.99.0.42/32",
            "fd00:99::beef/128",
            "192.0.2.9\tprinter\n",
        ] {
            assert!(told.contains(part), "{part}: {told}");
        }
        release("aa");
    }),
    (
        "new_connections_are_counted_and_those_above_the_rate_dropped",
        || {
            let world = World::new();
            let listen = Served::outside(&world);
            let script = "for i in 1 2 3 4 5 6 7 8 9 10 11 12; do \
                      socat -u OPEN:/dev/null TCP4:192.0.2.2:80,connect-timeout=0.1 2>/dev/null && echo in; done";
            let mut config = on_default("aa", script);
            private(&mut config).rates.connections = Some(1);
            let told = fine(&config).stdout.lines().count();
            // Five at once; the others come one by one, a second apart.
            assert!((1..=8).contains(&told), "{told} of 12");
            release("aa");
            drop(listen);
        },
    ),
    ("a_session_gives_its_place_on_a_network_back", || {
        let _world = World::new();
        let before = machine();
        let mut config = on_default(
            "aa",
            "ip -o -4 address show dev eth0 | grep -q 'inet 10\\.'",
        );
        private(&mut config).id.clear();
        let outcome = session::launch(&config, Files::of_caller(), Options::default()).unwrap();
        assert!(outcome.status.success());
        assert_eq!(machine(), before);
        config.process.argv = vec!["/nowhere".into()];
        session::spawn(&config, Files::of_caller(), Options::default()).unwrap_err();
        assert_eq!(machine(), before);
        config.process.argv = ["/bin/sh", "-c", "exec cat"].map(Into::into).to_vec();
        let session = session::spawn(&config, Files::of_caller(), Options::default()).unwrap();
        assert_eq!(network::networks().unwrap()[0].boxes.len(), 1);
        drop(session);
        assert_eq!(machine(), before);
    }),
    ("ports_lead_into_a_box_from_everywhere", || {
        let world = World::new();
        let before = machine();
        let server = Running::start(&with_ports("aa", &["8080:80", "8080:80/udp"]));
        let (four, six) = server.addresses();
        let gateway = network::networks().unwrap()[0].gateway;
        assert_eq!(here(&asking(&four.to_string(), 80)), told4(gateway));
        assert_eq!(
            here(&asking("127.0.0.1", 8080)),
            told4(gateway),
            "the host's loopback"
        );
        assert_eq!(here(&asking("192.0.2.1", 8080)), told4(v4("192.0.2.1")));
        assert_eq!(
            here(&asking("[2001:db8::1]", 8080)),
            told6(v6("2001:db8::1"))
        );
        let from_outside = asking("192.0.2.1", 8080) + &asking("[2001:db8::1]", 8080);
        let expected = told4(v4("192.0.2.2")) + &told6(v6("2001:db8::2"));
        assert_eq!(
            world.outside(&from_outside),
            expected,
            "the source address is kept"
        );
        // Round the corner: another box, and the box itself.
        let script =
            from_outside.clone() + &asking("box-aa", 80) + &asking(&format!("[{six}]"), 80);
        let other = fine(&on_default("bb", &script));
        let view = network::box_of(&unique("bb")).unwrap().unwrap();
        let (b4, b6) = (view.ends[0].address, view.ends[0].address6.unwrap());
        let expected = told4(b4) + &told6(b6) + &told4(b4) + &told6(b6);
        assert_eq!(other.stdout, expected, "{}", other.stderr);
        release("bb");
        server.stop();
        assert_eq!(machine(), before);
    }),
    ("a_box_reaches_itself_by_its_port_on_the_host", || {
        let _world = World::new();
        let mut config = with_ports("aa", &["8080:80", "8080:80/udp"]);
        let script = format!(
            "({SERVE}) & {}{}",
            asking("192.0.2.1", 8080),
            asking("[2001:db8::1]", 8080)
        );
        config.process.argv = ["/bin/sh", "-c", &script].map(Into::into).to_vec();
        let outcome = fine(&config);
        let networks = network::networks().unwrap();
        let expected = told4(networks[0].gateway) + &told6(networks[0].gateway6.unwrap());
        assert_eq!(outcome.stdout, expected, "{}", outcome.stderr);
        release("aa");
    }),
    ("a_port_leads_from_its_address_and_range_alone", || {
        let world = World::new();
        let ports = ["127.0.0.1:81:80", "[2001:db8::1]:82:80", "8000-8002:79-81"];
        let server = Running::start(&with_ports("aa", &ports));
        let gateway = network::networks().unwrap()[0].gateway;
        let tcp = |by: &str| format!("TCP4 {by}");
        assert!(here(&asking("127.0.0.1", 81)).contains(&tcp(&gateway.to_string())));
        assert!(here(&asking("127.0.0.1", 8001)).contains(&tcp(&gateway.to_string())));
        assert!(here(&once("192.0.2.1", 81)).contains("refused"));
        assert!(here(&once("127.0.0.1", 8000)).contains("refused"));
        assert!(world.outside(&once("192.0.2.1", 81)).contains("refused"));
        assert!(
            world
                .outside(&asking("[2001:db8::1]", 82))
                .contains("TCP6 [2001")
        );
        assert!(
            world
                .outside(&once("[2001:db8::1]", 81))
                .contains("refused")
        );
        server.stop();
    }),
    ("a_range_with_other_numbers_in_the_box_is_one_rule", || {
        let world = World::new();
        let before = machine();
        let server = Running::start(&with_ports(
            "aa",
            &["8000-8999:10-1009", "9053-9055:79-81/udp"],
        ));
        let other = Running::start(&with_ports(
            "bb",
            &["192.0.2.1:7000-7001:80-81", "10070-10079:11069-11078"],
        ));
        let rules = run("nft", &["list", "table", "inet", "herd"]);
        let dnat = rules
            .lines()
            .filter(|line| line.contains(" dnat ip"))
            .count();
        // Both families, but for the one that has an address.
        assert_eq!(dnat, 7, "{rules}");
        let led = world.outside(&asking("192.0.2.1", 8070));
        assert!(led.contains("TCP4 192.0.2.2\n"), "{led}");
        let led = world.outside(&asking("192.0.2.1", 9054));
        assert!(led.contains("UDP4 192.0.2.2\n"), "{led}");
        let led = world.outside(&asking("[2001:db8::1]", 8070));
        assert!(led.contains("TCP6 [2001"), "{led}");
        let led = world.outside(&asking("192.0.2.1", 7000));
        assert!(led.contains("TCP4 192.0.2.2\n"), "{led}");
        for nothing in [8069, 8071, 9000, 9054] {
            let led = world.outside(&once("192.0.2.1", nothing));
            assert!(led.contains("refused"), "{nothing}: {led}");
        }
        server.stop();
        let map = run("nft", &["list", "map", "inet", "herd", "shifted"]);
        assert_eq!(
            map.matches(" : ").count(),
            12 + 1,
            "what was of one is gone: {map}"
        );
        let led = world.outside(&asking("192.0.2.1", 7000));
        assert!(led.contains("TCP4 192.0.2.2\n"), "{led}");
        other.stop();
        assert_eq!(machine(), before);
    }),
    (
        "a_box_reaches_the_world_behind_the_hosts_address_and_not_the_other_way_round",
        || {
            let world = World::new();
            let listen = Served::outside(&world);
            let script = asking("192.0.2.2", 80) + &asking("[2001:db8::2]", 80);
            let outcome = fine(&on_default("aa", &script));
            assert_eq!(
                outcome.stdout,
                told4(v4("192.0.2.1")) + &told6(v6("2001:db8::1")),
                "{}",
                outcome.stderr
            );
            release("aa");
            let server = Running::start(&on_default("bb", SERVE));
            let (four, _) = server.addresses();
            world.outside("ip route add 10.0.0.0/8 via 192.0.2.1");
            assert!(
                world
                    .outside(&once(&four.to_string(), 80))
                    .contains("timed out")
            );
            server.stop();
            drop(listen);
        },
    ),
    (
        "an_isolated_box_reaches_no_other_and_is_reached_by_none",
        || {
            let _world = World::new();
            let server = Running::start(&on_default("aa", SERVE));
            let mut shy = with_ports("cc", &["9090:80"]);
            private(&mut shy).isolate = true;
            let shy = Running::start(&shy);
            let host = Served::on_host();
            let by_port = Running::start(&with_ports("dd", &["8080:80"]));
            let script = once("box-aa", 80) + &asking("192.0.2.1", 80) + &asking("192.0.2.1", 8080);
            let mut asks = on_default("bb", &script);
            private(&mut asks).isolate = true;
            let told = fine(&asks).stdout;
            assert!(told.starts_with("No route to host\nTCP4 10."), "{told}");
            assert_eq!(told.matches("TCP4 10.").count(), 2, "{told}");
            drop(host);
            release("bb");
            by_port.stop();
            let outcome = fine(&on_default(
                "bb",
                &(once("box-cc", 80) + &asking("box-aa", 80) + &asking("192.0.2.1", 9090)),
            ));
            let told = outcome.stdout;
            assert!(told.starts_with("No route to host\nTCP4 10."), "{told}");
            assert_eq!(told.matches("TCP4 10.").count(), 2, "{told}");
            release("bb");
            let (four, _) = shy.addresses();
            assert!(
                here(&asking(&four.to_string(), 80)).starts_with("TCP4 10."),
                "the host still reaches it"
            );
            shy.stop();
            server.stop();
        },
    ),
    (
        "access_lines_let_through_what_they_say_in_both_directions",
        || {
            let world = World::new();
            let listen = Served::outside(&world);
            assert!(here(&asking("192.0.2.2", 80)).starts_with("TCP4 192"));
            let try_both = asking("192.0.2.2", 80) + &asking("[2001:db8::2]", 80);
            for (allow, deny, four, six) in [
                (
                    &["192.0.2.0/24:80"][..],
                    &[][..],
                    "TCP4 192.0.2.1\nUDP4 192.0.2.1\n",
                    false,
                ),
                (
                    &["192.0.2.2:80/tcp"],
                    &[],
                    "TCP4 192.0.2.1\nUDP4 nothing\n",
                    false,
                ),
                (
                    &["[2001:db8::]/32:80"],
                    &[],
                    "TCP4 nothing\nUDP4 nothing\n",
                    true,
                ),
                (&[], &["192.0.2.2"], "TCP4 nothing\nUDP4 nothing\n", true),
                (&[], &["any:80/udp"], "TCP4 192.0.2.1\nUDP4 nothing\n", true),
                (
                    &["192.0.2.2"],
                    &["any"],
                    "TCP4 192.0.2.1\nUDP4 192.0.2.1\n",
                    false,
                ),
            ] {
                let mut config = on_default("aa", &try_both);
                let lines = |verdict: Verdict, texts: &[&str]| -> Vec<Access> {
                    texts
                        .iter()
                        .map(|text| Access::parse(verdict, text).unwrap())
                        .collect()
                };
                private(&mut config).access =
                    [lines(Verdict::Allow, allow), lines(Verdict::Deny, deny)].concat();
                let told = fine(&config).stdout;
                release("aa");
                assert!(told.starts_with(four), "{allow:?} {deny:?}: {told}");
                assert_eq!(
                    told.contains("2001:0db8"),
                    six,
                    "{allow:?} {deny:?}: {told}"
                );
            }
            let mut config = with_ports("aa", &["8080:80"]);
            private(&mut config).access =
                vec![Access::parse(Verdict::Deny, "in 192.0.2.2").unwrap()];
            let server = Running::start(&config);
            assert!(here(&asking("192.0.2.1", 8080)).starts_with("TCP4 192.0.2.1"));
            assert!(
                !world
                    .outside(&once("192.0.2.1", 8080))
                    .contains("192.0.2.2")
            );
            server.stop();
            drop(listen);
        },
    ),
    (
        "a_box_does_not_reach_the_loopback_of_the_host_nor_send_as_another",
        || {
            let _world = World::new();
            let _listener = std::net::TcpListener::bind("127.0.0.1:9090").unwrap();
            // With a port there, the bridge lets the loopback's addresses through.
            let server = Running::start(&with_ports("aa", &["127.0.0.1:8080:80"]));
            assert!(here(&asking("127.0.0.1", 8080)).starts_with("TCP4 10."));
            let gateway = network::networks().unwrap()[0].gateway;
            let mut config = on_default("bb", &format!(
            "ip route add 127.0.0.1/32 via {gateway} dev eth0 2>&1; ip route del local 127.0.0.0/8 table local; ip route del local 127.0.0.1 table local
             echo 1 > /proc/sys/net/ipv4/conf/all/route_localnet
             {} ip address add 10.216.250.250/32 dev eth0; echo x | timeout 2 socat -T1 - TCP4:box-aa:80,bind=10.216.250.250,connect-timeout=1 2>&1 | sed 's/.*: //'
             {}", once("127.0.0.1", 9090) + &once("127.0.0.1", 8080), asking("box-aa", 80)));
            // Somebody who may do everything in there.
            let walls = config.walls.as_mut().unwrap();
            walls.capability_bounding_set = vec![12, 13];
            walls.user_namespace = Some(UserNamespace::default());
            walls.ambient_capabilities = vec![12, 13];
            walls.protect_kernel_tunables = false;
            walls.system_calls.filter = None;
            let told = fine(&config).stdout;
            let lines: Vec<&str> = told.lines().collect();
            assert_eq!(
                lines
                    .iter()
                    .filter(|line| line.contains("timed out"))
                    .count(),
                3,
                "{told}"
            );
            assert!(told.contains("TCP4 10."), "{told}");
            release("bb");
            server.stop();
        },
    ),
    ("what_a_killed_supervisor_left_is_collected", || {
        let _world = World::new();
        let before = machine();
        let server = Running::start(&with_ports("aa", &["8080:80"]));
        assert_eq!(network::collect().unwrap(), 0, "it is alive");
        let kill = rustix::process::Signal::KILL;
        rustix::process::pidfd_send_signal(&server.pidfd, kill).unwrap();
        wait(&server.pidfd);
        while ip("-o link").contains("hvaa") {
            std::thread::yield_now();
        }
        assert_eq!(network::collect().unwrap(), 1);
        assert_eq!(machine(), before);
    }),
    ("two_networks_give_two_interfaces_and_one_way_out", || {
        let _world = World::new();
        let back = Running::start(&on("bb", &["back"], SERVE));
        let front = Running::start(&on("ff", &["default"], SERVE));
        let script = "ip -o route show default | wc -l; ip -o -4 address show | wc -l; ".to_owned()
            + &asking("box-bb", 80)
            + &asking("box-ff", 80);
        let told = fine(&on("cc", &["default", "back"], &script)).stdout;
        assert!(told.starts_with("1\n3\nTCP4 10."), "{told}");
        assert_eq!(told.matches(" 10.").count(), 4, "{told}");
        release("cc");
        let (four, _) = back.addresses();
        let told = fine(&on("dd", &["default"], &once(&four.to_string(), 80))).stdout;
        assert!(told.contains("timed out"), "networks are apart: {told}");
        release("dd");
        back.stop();
        front.stop();
    }),
    ("an_internal_network_leads_nowhere_else", || {
        let world = World::new();
        let inside = |id: &str, script: &str| {
            let mut config = on(id, &["quiet"], script);
            if let Link::Bridge(network) = &mut private(&mut config).interfaces[0].link {
                network.internal = true;
            }
            config
        };
        let server = Running::start(&inside("aa", SERVE));
        let told = fine(&inside(
            "bb",
            &(asking("box-aa", 80) + "ip route | grep -c default\n" + &once("192.0.2.2", 80)),
        ))
        .stdout;
        assert!(
            told.contains("TCP4 10.") && told.contains("\n0\n") && told.contains("unreachable"),
            "{told}"
        );
        release("bb");
        // Nor where somebody in there makes a route; the same is reached from a network that leads there.
        let listen = Served::outside(&world);
        let gateway = network::networks().unwrap()[0].gateway;
        let route = format!("ip route add 192.0.2.0/24 via {gateway} dev eth0 || echo none\n");
        let mut config = inside("bb", &(route + &once("192.0.2.2", 80)));
        let walls = config.walls.as_mut().unwrap();
        walls.capability_bounding_set = vec![12];
        walls.ambient_capabilities = vec![12];
        walls.user_namespace = Some(UserNamespace::default());
        assert_eq!(fine(&config).stdout, "No route to host\n");
        release("bb");
        let told = fine(&on_default("cc", &asking("192.0.2.2", 80))).stdout;
        assert_eq!(told, told4(v4("192.0.2.1")));
        release("cc");
        // And the way in is closed too, where a route is made outside.
        let (four, _) = server.addresses();
        world.outside("ip route add 10.0.0.0/8 via 192.0.2.1");
        let told = world.outside(&once(&four.to_string(), 80));
        assert_eq!(told, "Connection timed out\n");
        assert!(here(&asking(&four.to_string(), 80)).starts_with("TCP4 10."));
        drop(listen);
        server.stop();
    }),
    ("hosts_of_others_come_and_go_while_a_box_runs", || {
        let _world = World::new();
        let server = Running::start(&on_default(
            "aa",
            "until grep -q box-bb /etc/hosts; do :; done; while grep -q box-bb /etc/hosts; do :; done",
        ));
        fine(&on_default("bb", "true"));
        release("bb");
        assert!(wait(&server.pidfd).success());
        release("aa");
    }),
    (
        "a_firewall_that_was_cleared_comes_back_with_the_next_box",
        || {
            let _world = World::new();
            let before = machine();
            let server = Running::start(&with_ports("aa", &["8080:80"]));
            run("nft", &["flush", "ruleset"]);
            fine(&on_default("bb", "true"));
            assert!(here(&asking("192.0.2.1", 8080)).starts_with("TCP4 192"));
            release("bb");
            server.stop();
            assert_eq!(machine(), before);
        },
    ),
    ("rules_of_others_are_left_alone", || {
        let _world = World::new();
        for rule in [
            "add table inet filter",
            "add chain inet filter forward { type filter hook forward priority 0; }",
            "add rule inet filter forward tcp dport 25 drop",
            "add table ip nat",
        ] {
            run("nft", &[rule]);
        }
        let before = machine();
        fine(&on_default("aa", "true"));
        release("aa");
        assert_eq!(machine(), before);
    }),
    ("a_bridge_of_somebody_else_is_not_taken", || {
        let _world = World::new();
        ip("link add herd-default type bridge");
        let before = machine();
        let failure = outcome(&on_default("aa", "true")).failure.unwrap();
        assert!(
            failure
                .to_string()
                .contains("an interface herd-default is there already that is not herd's (step 1"),
            "{failure}"
        );
        assert_eq!(machine(), before);
    }),
    (
        "a_hundred_boxes_come_and_go_at_once_and_no_descriptor_is_left",
        || {
            let _world = World::new();
            let before = machine();
            let open = || fs::read_dir("/proc/self/fd").unwrap().count();
            let launcher = Launcher::new().unwrap();
            let count = open();
            let null = fs::File::open("/dev/null").unwrap();
            let names: Vec<String> = (0..100).map(|number| format!("b{number}")).collect();
            let launched: Vec<_> = names
                .iter()
                .map(|id| {
                    let config = on_default(id, "exit 7");
                    launcher
                        .launch(&plan(&config), files_of(null.as_fd()))
                        .unwrap()
                })
                .collect();
            for one in launched {
                let mut outcome = Outcome::default();
                follow(&one.status.unwrap(), one.pidfd, &mut outcome);
                assert_eq!(outcome.failure, None);
                assert_eq!(outcome.status.unwrap().code(), Some(7));
            }
            let addresses: std::collections::BTreeSet<_> = network::networks().unwrap()[0]
                .boxes
                .iter()
                .map(|one| one.ends[0].address)
                .collect();
            assert!(!addresses.is_empty());
            let ids: Vec<String> = names.iter().map(|id| unique(id)).collect();
            let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
            network::release(&ids).unwrap();
            drop(null);
            assert_eq!(open(), count);
            assert_eq!(machine(), before);
        },
    ),
    ("a_rate_holds_a_box_back_in_both_directions", || {
        let world = World::new();
        let target = world.outside.id().to_string();
        let mut serve = Command::new("nsenter");
        let script = "socat -u TCP4-LISTEN:90,fork OPEN:/dev/null & \
                      socat -u SYSTEM:'head -c 3000000 /dev/zero' TCP4-LISTEN:91 & wait";
        serve.args(["-t", &target, "-n", "sh", "-c", script]);
        let serve = Served::start(serve);
        world.outside("until [ $(ss -ltn | grep -cE ':9[01] ') = 2 ]; do :; done");
        let sends = "head -c 3000000 /dev/zero | socat -u - TCP4:192.0.2.2:90";
        let takes = "socat -u TCP4:192.0.2.2:91 - | wc -c";
        for (script, out, into) in [
            (sends, Some(1_000_000), None),
            (takes, None, Some(1_000_000)),
        ] {
            let mut config = on_default("aa", script);
            private(&mut config).rates = Rates {
                out,
                into,
                connections: None,
            };
            let start = Instant::now();
            fine(&config);
            // The first 128 KiB are for nothing, and what is on its way at the end is not waited for.
            assert!(
                start.elapsed() > Duration::from_millis(1_500),
                "{:?}",
                start.elapsed()
            );
            release("aa");
        }
        drop(serve);
    }),
    ("a_box_on_the_wire_of_the_host_has_an_address_there", || {
        let world = World::new();
        let before = machine();
        let mut config = on_default("aa", &(asking("192.0.2.2", 80) + "ip -o link show eth0"));
        private(&mut config).interfaces = vec![Interface {
            link: Link::MacVlan("wan".into()),
            address: Some(v4("192.0.2.77")),
            gateway: Some(v4("192.0.2.2")),
            mac: Some("02:00:00:00:00:77".parse().unwrap()),
            ..Interface::on("")
        }];
        let listen = Served::outside(&world);
        let told = fine(&config).stdout;
        assert!(told.starts_with(&told4(v4("192.0.2.77"))), "{told}");
        assert!(told.contains("02:00:00:00:00:77"), "{told}");
        release("aa");
        assert_eq!(machine(), before);
        private(&mut config).isolate = true;
        let failure = outcome(&config).failure.unwrap().to_string();
        let reason =
            "what goes through an interface that is on no bridge of herd's does not pass the host";
        assert!(failure.contains(reason), "{failure}");
        drop(listen);
    }),
];
