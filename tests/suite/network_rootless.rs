//! Networks of boxes that a user's herd builds: a program leads them outside, and lives as long as they do.

use std::fs;
use std::os::unix::fs::MetadataExt;

use crate::fixture::{Deadline, Herd, Net};
use crate::needs;
use crate::network_reach::{
    IDLE, WEB, from_box, from_host, from_outside, lacks_something, listens, says,
};

const USER: u32 = 1000;

/// Everybody may open the device there, as on most machines.
const TUN: &str = "mknod -m 666 /run/tun c 10 200 && mount --bind /run/tun /dev/net/tun";
/// So that no file of this name is there to be run.
const HIDE: &str = "for program in $HIDDEN; do \
    if test -e $program; then mount --bind /dev/null $(realpath $program) || exit; fi; done";

fn lacks_program(name: &str) -> bool {
    lacks_something() || !needs::program(name)
}

/// A user's herd with these units, on a host without these programs.
fn user_without(hidden: &str, units: &[(&str, &str)]) -> Net {
    let builder = units.iter().fold(Herd::builder(), |builder, (name, text)| {
        builder.unit(name, text)
    });
    let hide = HIDE.replace("$HIDDEN", hidden);
    let before = format!("{TUN} && {{ {hide}; }}");
    Net::start_after(&before, builder, |builder| builder.owner(USER))
}

fn user(units: &[(&str, &str)]) -> Net {
    user_without("", units)
}

const PASTA: &str = "/usr/bin/pasta /usr/local/bin/pasta";
const BOTH: &str =
    "/usr/bin/pasta /usr/local/bin/pasta /usr/bin/slirp4netns /usr/local/bin/slirp4netns";

/// The programs at work on the fixture's host, and who keeps them: pid and name.
pub(crate) fn keepers(net: &Net) -> Vec<(i32, String)> {
    let own = net.host.network();
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let here = pids
        .filter(|pid| fs::metadata(format!("/proc/{pid}/ns/net")).is_ok_and(|at| at.ino() == own));
    let named = here.filter_map(|pid| {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
        Some((pid, name.trim().to_owned()))
    });
    let ours = ["herd-net", "pasta", "passt", "slirp4netns"];
    named
        .filter(|(_, name)| ours.iter().any(|one| name.starts_with(one)))
        .collect()
}

#[track_caller]
pub(crate) fn wait_until_none_is_kept(net: &Net) {
    let deadline = Deadline::new();
    while !keepers(net).is_empty() {
        assert!(!deadline.left().is_zero(), "{:?}", keepers(net));
    }
}

fn once(unit: &str) -> String {
    format!("restart = \"no\"\n{unit}")
}

#[test]
fn a_users_box_reaches_the_outside_by_both_protocols_and_families() {
    if lacks_program("pasta") {
        return;
    }
    let net = user(&[("web", IDLE)]);
    net.herd.wait_state("web", "active");
    let _listener = net.listen_outside(7000);
    says(
        from_box(&net, "web", "TCP4:198.51.100.2:7000"),
        "outside for ",
    );
    says(
        from_box(&net, "web", "TCP4:203.0.113.9:7000"),
        "outside for ",
    );
    says(
        from_box(&net, "web", "TCP6:[2001:db8:1::2]:7000"),
        "outside for ",
    );
    let answers = "ip netns exec outside socat UDP4-RECVFROM:7001,fork SYSTEM:'read line; echo by UDP' \
                   >/dev/null 2>&1 </dev/null & echo $! > /run/answers";
    net.host(&["sh", "-c", answers]);
    let deadline = Deadline::new();
    while !net.outside(&["ss", "-lunH"]).stdout.contains(":7001 ") {
        assert!(!deadline.left().is_zero(), "nobody listens");
    }
    let ask = "echo | socat -t1 -T3 - UDP4:198.51.100.2:7001";
    says(net.in_box("web", &["sh", "-c", ask]), "by UDP");
    net.host(&["sh", "-c", "kill $(cat /run/answers)"]);
    net.herd.ok(&["stop", "web"]);
    assert_eq!(keepers(&net), []);
    net.assert_nothing_is_left();
}

#[test]
fn ports_of_the_host_lead_into_a_users_box() {
    if lacks_program("pasta") {
        return;
    }
    let ports = "ports = [\"8080:80\", \"5353:53/udp\", \"127.0.0.1:7777:80\", \"[::1]:7778:80\", \"0.0.0.0:7779:80\", \"[::]:7780:80\", \"9000-9002:80-82\"]\n";
    let net = user(&[("web", &format!("{WEB}{ports}"))]);
    net.herd.wait_state("web", "active");
    listens(&net, "web");
    for port in [8080, 9000] {
        says(
            from_host(&net, &format!("TCP4:127.0.0.1:{port}")),
            "web for",
        );
        says(
            from_host(&net, &format!("TCP4:198.51.100.1:{port}")),
            "web for",
        );
        says(
            from_outside(&net, &format!("TCP4:198.51.100.1:{port}")),
            "web for",
        );
        says(
            from_outside(&net, &format!("TCP6:[2001:db8:1::1]:{port}")),
            "web for",
        );
    }
    says(from_host(&net, "TCP4:127.0.0.1:7777"), "web for");
    says(from_host(&net, "TCP6:[::1]:7778"), "web for");
    assert_eq!(from_outside(&net, "TCP6:[2001:db8:1::1]:7778").stdout, "");
    assert_eq!(from_outside(&net, "TCP4:198.51.100.1:7777").stdout, "");
    says(from_outside(&net, "TCP4:198.51.100.1:7779"), "web for");
    assert_eq!(from_outside(&net, "TCP6:[2001:db8:1::1]:7779").stdout, "");
    says(from_outside(&net, "TCP6:[2001:db8:1::1]:7780"), "web for");
    assert_eq!(from_outside(&net, "TCP4:198.51.100.1:7780").stdout, "");
    // Not from the host's own loopback: Debian 12's pasta loses the answer where the numbers differ.
    let ask = "echo | socat -t1 -T3 - UDP4:198.51.100.1:5353";
    says(net.outside(&["sh", "-c", ask]), "web by UDP");
    // Its ports are free for the next run at once.
    for _ in 0..3 {
        net.herd.ok(&["restart", "web"]);
    }
    assert_eq!(net.herd.state("web"), "active");
}

#[test]
fn a_users_box_does_not_reach_what_listens_on_the_hosts_loopback() {
    if lacks_program("pasta") {
        return;
    }
    for hidden in ["", PASTA] {
        if !hidden.is_empty() && !needs::program("slirp4netns") {
            continue;
        }
        let secret = "command = [\"/bin/sh\", \"-c\", '''
socat -d -d TCP4-LISTEN:6000,bind=127.0.0.1,fork SYSTEM:'echo secret' &
exec socat -d -d TCP6-LISTEN:6000,bind=[::1],fork SYSTEM:'echo secret'
''']\n";
        let net = user_without(hidden, &[("web", IDLE), ("secret", secret)]);
        net.herd.wait_state("web", "active");
        for text in ["listening on AF=2 ", "listening on AF=10 "] {
            net.herd.wait_log("secret", text);
        }
        says(from_host(&net, "TCP4:127.0.0.1:6000"), "secret");
        for to in [
            "TCP4:127.0.0.1:6000",
            "TCP4:198.51.100.1:6000",
            "TCP4:198.51.100.2:6000",
            "TCP4:169.254.1.1:6000",
            "TCP4:169.254.2.2:6000",
            "TCP4:10.0.2.2:6000",
            "TCP4:10.0.2.3:6000",
            "TCP4:0.0.0.0:6000",
            "TCP6:[::1]:6000",
            "TCP6:[2001:db8:1::1]:6000",
            "TCP6:[2001:db8:1::2]:6000",
            "TCP6:[fe80::1%eth0]:6000",
        ] {
            let output = from_box(&net, "web", to);
            assert!(
                !output.stdout.contains("secret"),
                "{hidden}, {to}: {output:?}"
            );
        }
    }
}

#[test]
fn a_users_box_has_names_of_its_own() {
    if lacks_program("pasta") {
        return;
    }
    let more = "hosts = { \"db.test\" = \"203.0.113.7\" }\n";
    let own = "dns = [\"203.0.113.53\"]\n";
    let net = user(&[
        ("web", &format!("{IDLE}{more}")),
        ("own", &format!("{IDLE}{own}")),
    ]);
    for unit in ["web", "own"] {
        net.herd.wait_state(unit, "active");
    }
    let read = |unit, path| net.in_box(unit, &["cat", path]).stdout;
    assert_eq!(
        read("web", "/etc/resolv.conf"),
        "nameserver 203.0.113.9\nsearch example.test\n"
    );
    assert_eq!(
        read("own", "/etc/resolv.conf"),
        "nameserver 203.0.113.53\nsearch example.test\n"
    );
    assert!(read("web", "/etc/hosts").ends_with("203.0.113.7\tdb.test\n"));
    assert!(read("own", "/etc/hosts").starts_with("127.0.0.1\tlocalhost\n"));
}

#[test]
fn the_program_goes_with_the_box_whoever_ends_it() {
    if lacks_program("pasta") {
        return;
    }
    let mut net = user(&[("web", &once(IDLE))]);
    net.herd.wait_state("web", "active");
    assert_eq!(keepers(&net).len(), 2, "{:?}", keepers(&net));
    net.herd.ok(&["stop", "web"]);
    assert_eq!(keepers(&net), []);
    net.herd.ok(&["start", "web"]);
    net.herd.ok(&["kill", "--signal", "KILL", "web"]);
    net.herd.wait_state("web", "failed");
    wait_until_none_is_kept(&net);
    net.herd.ok(&["start", "web"]);
    let main = net.herd.main_pid("web");
    net.herd.signal(nix::sys::signal::Signal::SIGKILL);
    net.herd.wait_end();
    // Who is left is a box with its network; it ends, and both are gone.
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(main),
        nix::sys::signal::Signal::SIGKILL,
    )
    .ok();
    wait_until_none_is_kept(&net);
    net.assert_nothing_is_left();
    // What a herd that was killed leaves is for the next one to clear.
    for socket in ["run/control.sock", "run/notify"] {
        fs::remove_file(net.herd.path(socket)).unwrap();
    }
}

#[test]
fn a_box_whose_program_dies_ends_and_says_why() {
    if lacks_program("pasta") {
        return;
    }
    let net = user(&[("web", &once(IDLE))]);
    net.herd.wait_state("web", "active");
    let all = keepers(&net);
    let (pid, _) = all.iter().find(|(_, name)| name != "herd-net").unwrap();
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(*pid),
        nix::sys::signal::Signal::SIGKILL,
    )
    .unwrap();
    net.herd.wait_state("web", "failed");
    net.herd.wait_log(
        "web",
        "herd: pasta, which leads the box's network outside, was killed by signal 9: the box ends",
    );
    wait_until_none_is_kept(&net);
}

/// The failure that `herd status` shows.
#[track_caller]
fn failure_of(net: &Net, unit: &str) -> String {
    net.herd.wait_state(unit, "failed");
    let status = net.herd.status(unit);
    assert_eq!(keepers(net), []);
    status["failure"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn without_a_program_the_unit_says_what_to_install() {
    if lacks_something() {
        return;
    }
    let net = user_without(BOTH, &[("web", &once(IDLE))]);
    assert_eq!(
        failure_of(&net, "web"),
        "net_namespace: without root a network of its own takes a program, and neither pasta nor \
         slirp4netns is there: install pasta (Debian: package passt)"
    );
    // One that comes later is found without another herd.
    if needs::program("slirp4netns") {
        net.host(&["sh", "-c", "umount $(realpath /usr/bin/slirp4netns)"]);
        net.herd.ok(&["start", "web"]);
    }
}

#[test]
fn slirp4netns_is_taken_where_pasta_is_missing_and_leads_no_ports() {
    if lacks_program("slirp4netns") {
        return;
    }
    let web = once(&format!("{WEB}ports = [\"8080:80\"]\n"));
    let net = user_without(PASTA, &[("web", &web), ("idle", &once(IDLE))]);
    net.herd.wait_state("idle", "active");
    let _listener = net.listen_outside(7000);
    says(
        from_box(&net, "idle", "TCP4:203.0.113.9:7000"),
        "outside for ",
    );
    assert_eq!(
        failure_of_other(&net, "web"),
        "net_namespace: slirp4netns leads no port to a box, and port 8080:80/tcp is asked for: install \
         pasta (Debian: package passt)"
    );
    net.herd.ok(&["stop", "idle"]);
    assert_eq!(keepers(&net), []);
}

#[track_caller]
fn failure_of_other(net: &Net, unit: &str) -> String {
    net.herd.wait_state(unit, "failed");
    let status = net.herd.status(unit);
    status["failure"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn what_takes_root_is_refused_by_name() {
    if lacks_program("pasta") {
        return;
    }
    for (key, what) in [
        (
            "isolate = true",
            "`isolate` is a rule of the host's firewall",
        ),
        (
            "deny = [\"10.0.0.0/8\"]",
            "`allow` and `deny` are rules of the host's firewall",
        ),
        ("rate_out = \"1M\"", "a rate is held by the host's queues"),
        (
            "connection_rate = 5",
            "a connection rate is a rule of the host's firewall",
        ),
        (
            "address = \"10.0.0.5\"",
            "an address of the box's own is given",
        ),
        ("mac = \"02:00:00:00:00:05\"", "a hardware address is given"),
        ("bridge = \"back\"", "boxes are on network back by a bridge"),
        (
            "bridge = [\"a\", \"b\"]",
            "a box with 2 interfaces is on that many networks",
        ),
    ] {
        let net = user(&[("web", &once(&format!("{IDLE}{key}\n")))]);
        let told = format!("net_namespace: {what}, which takes root");
        assert_eq!(failure_of(&net, "web"), told);
    }
}

#[test]
fn a_port_that_cannot_be_had_is_told_before_anything_is_made() {
    if lacks_program("pasta") {
        return;
    }
    let low = once(&format!("{IDLE}ports = [\"80\"]\n"));
    let taken = once(&format!("{IDLE}ports = [\"8080\"]\n"));
    let net = user(&[("first", &taken), ("low", &low)]);
    net.herd.wait_state("first", "active");
    let told = failure_of_other(&net, "low");
    let why = "port 80:80/tcp: the host gives ports below 1024 to root alone (net.ipv4.ip_unprivileged_port_start)";
    assert!(told.contains(why), "{told}");
    net.herd.write_unit("second", &taken);
    net.herd.wait_state("second", "failed");
    let told = failure_of_other(&net, "second");
    assert!(
        told.contains("port 8080:8080/tcp is in use on the host"),
        "{told}"
    );
    assert_eq!(net.herd.state("first"), "active");
}

#[test]
fn what_the_program_says_at_its_end_is_the_failure_of_its_step() {
    if lacks_program("pasta") {
        return;
    }
    let builder = Herd::builder().unit("web", &once(IDLE));
    let shut = "mknod -m 600 /run/tun c 10 200 && mount --bind /run/tun /dev/net/tun";
    let net = Net::start_after(shut, builder, |builder| builder.owner(USER));
    let told = failure_of(&net, "web");
    assert!(
        told.contains("bring up lo and the box's interfaces, with addresses and routes: pasta ended with status 1 (Failed to open tun"),
        "{told}"
    );
}

#[test]
fn what_runs_beside_a_users_service_is_in_its_network() {
    if lacks_program("pasta") {
        return;
    }
    let unit = format!(
        "command_post = [[\"/bin/sh\", \"-c\", \"socat - TCP4:127.0.0.1:80 && ip -o addr show dev eth0\"]]\nready = {{ command = [\"/bin/sh\", \"-c\", \"socat - TCP4:127.0.0.1:80\"], interval = \"20ms\" }}\n{WEB}"
    );
    let net = user(&[
        ("web", &unit),
        (
            "side",
            "boxed = true\ncommand = [\"/bin/sh\", \"-c\", \"socat - TCP4:127.0.0.1:80; exec sleep 1000\"]\n[network]\nmode = \"join:web\"\n",
        ),
    ]);
    net.herd.wait_state("web", "active");
    net.herd.wait_log("web", "inet 198.51.100.1/24");
    net.herd.wait_log("side", "web for 127.0.0.1");
}
