//! Ports on `[::1]`, which a process of herd's leads into the box.

use std::fs;
use std::os::unix::process::ExitStatusExt;

use crate::fixture::{Deadline, Net};
use crate::network_reach::{IDLE, WEB, from_host, from_outside, lacks_something, listens, says};
use crate::network_rootless::{keepers, wait_until_none_is_kept};

/// Gives back what it gets at port 81, and the sum of all of it at port 82 of IPv4 alone.
const ECHO: &str = "command = [\"/bin/sh\", \"-c\", '''
socat -t30 -d -d TCP4-LISTEN:82,fork,reuseaddr EXEC:sha256sum &
exec socat -t30 -d -d TCP6-LISTEN:81,fork,reuseaddr EXEC:cat
''']
boxed = true
[network]
mode = \"bridge\"
ports = [\"[::1]:8081:81\", \"[::1]:8082:82\"]
";

fn echo() -> Net {
    let net = Net::with(&[("echo", ECHO)]);
    for text in ["listening on AF=2 ", "listening on AF=10 "] {
        net.herd.wait_log("echo", text);
    }
    net
}

/// A script on the host, in a directory of its own.
#[track_caller]
fn script(net: &Net, lines: &str) -> String {
    let whole = format!("at=$(mktemp -d) && cd $at || exit 1\n{lines}\ncd / && rm -r $at");
    net.host(&["timeout", "60", "sh", "-c", &whole])
}

fn relay(net: &Net) -> i32 {
    match &*keepers(net) {
        [(pid, name)] if name == "herd-net" => *pid,
        others => panic!("{others:?}"),
    }
}

#[test]
fn ports_of_ipv6s_loopback_lead_into_the_box_from_the_host_alone() {
    if lacks_something() {
        return;
    }
    let web = format!("{WEB}ports = [\"[::1]:8443:80\", \"[::1]:5353:53/udp\"]\n");
    let net = Net::with(&[("web", &web)]);
    listens(&net, "web");
    let show = net.herd.json(&["network", "show", "default"]);
    assert_eq!(show["boxes"][0]["ports"][0], "[::1]:8443:80/tcp");
    let status = net.herd.ok(&["status", "web"]);
    assert!(status.contains("[::1]:8443:80/tcp"), "{status}");
    // Who calls has the host's address on the bridge.
    let said = from_host(&net, "TCP6:[::1]:8443").stdout;
    assert!(
        said.starts_with("web for [fd") && said.ends_with(":0001]\n"),
        "{said}"
    );
    for _ in 0..3 {
        let ask = "echo | socat -t3 -T3 - UDP6:[::1]:5353";
        says(net.host.run(&["sh", "-c", ask]), "web by UDP");
    }
    assert_eq!(from_host(&net, "TCP4:127.0.0.1:8443").stdout, "");
    assert_eq!(from_outside(&net, "TCP6:[2001:db8:1::1]:8443").stdout, "");
    net.herd.ok(&["stop", "web"]);
    wait_until_none_is_kept(&net);
    assert_eq!(from_host(&net, "TCP6:[::1]:8443").stdout, "");
    net.assert_nothing_is_left();
}

#[test]
fn ten_megabytes_go_through_a_relay_both_ways_and_each_way_ends_by_itself() {
    if lacks_something() {
        return;
    }
    let net = echo();
    let told = script(
        &net,
        "head -c 10000000 /dev/urandom > all
         socat -t30 - TCP6:[::1]:8081 < all | cmp - all && echo same
         # Answered only once everything is there; and by IPv4, where nobody listens by IPv6.
         sha256sum < all > sum
         socat -t30 - TCP6:[::1]:8082 < all | cmp - sum && echo sum",
    );
    assert_eq!(told, "same\nsum\n");
}

#[test]
fn connections_through_a_relay_do_not_wait_for_each_other() {
    if lacks_something() {
        return;
    }
    let net = echo();
    let told = script(
        &net,
        "mkfifo in
         socat -t30 - TCP6:[::1]:8081 < in > first &
         exec 3> in
         echo one >&3
         until [ -s first ]; do :; done
         echo two | socat -t30 - TCP6:[::1]:8081
         echo three >&3
         exec 3>&-
         wait
         cat first",
    );
    assert_eq!(told, "two\none\nthree\n");
}

#[test]
fn a_relay_with_a_half_closed_connection_rests() {
    if lacks_something() {
        return;
    }
    // The box has said all, and reads on; then the client has, and the box goes on.
    let web = "command = [\"/bin/sh\", \"-c\", '''
socat -t999 TCP6-LISTEN:81,fork SYSTEM:\"exec 1>&-; cat >/dev/null; sleep 999\" &
socat -t999 TCP6-LISTEN:82,fork SYSTEM:\"cat >/dev/null; sleep 999\" &
exec socat -d -d TCP6-LISTEN:80,fork SYSTEM:\"echo web\"
''']
boxed = true
[network]
mode = \"bridge\"
ports = [\"[::1]:8080-8082:80-82\"]
";
    let net = Net::with(&[("web", web)]);
    net.herd.wait_log("web", "listening on AF=10 ");
    let pid = relay(&net);
    let ticks = || -> u64 {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split(' ').collect();
        [12, 13]
            .map(|at| fields[at].parse::<u64>().unwrap())
            .iter()
            .sum()
    };
    script(
        &net,
        "mkfifo in
         socat -t999 - TCP6:[::1]:8081,retry=50,interval=0.02 < in > /dev/null & one=$!
         exec 3> in
         socat -t999 - TCP6:[::1]:8082,retry=50,interval=0.02 < /dev/null > /dev/null & two=$!
         for i in $(seq 100); do socat -T3 - TCP6:[::1]:8080 < /dev/null; done
         kill $one $two; wait; true",
    );
    let used = ticks();
    assert!(used < 30, "{used} ticks");
}

#[test]
fn a_range_of_ipv6s_loopback_leads_to_a_range() {
    if lacks_something() {
        return;
    }
    let web = format!("{WEB}ports = [\"[::1]:9000-9002:79-81\"]\n");
    let net = Net::with(&[("web", &web)]);
    listens(&net, "web");
    says(from_host(&net, "TCP6:[::1]:9001"), "web for");
    for port in [9000, 9002, 9003] {
        assert_eq!(from_host(&net, &format!("TCP6:[::1]:{port}")).stdout, "");
    }
}

#[test]
fn a_port_of_ipv6s_loopback_in_use_is_an_error_that_names_who_has_it() {
    if lacks_something() {
        return;
    }
    let holder =
        "command = [\"/usr/bin/socat\", \"-d\", \"-d\", \"TCP6-LISTEN:8444,bind=[::1]\", \"-\"]\n";
    let web = format!("restart = \"no\"\n{IDLE}ports = [\"[::1]:8443-8445:80-82\"]\n");
    let builder = crate::fixture::Herd::builder().unit("holder", holder);
    let net = Net::start(builder.available("web", &web));
    net.herd.wait_log("holder", "listening on AF=10 ");
    net.herd.ctl(&["start", "web"]);
    net.herd.wait_state("web", "failed");
    let failure = net.herd.status("web")["failure"].to_string();
    let holder = net.herd.main_pid("holder");
    let told = format!(
        "port [::1]:8443-8445:80-82/tcp: 8444 is in use on the host, by socat (process {holder})"
    );
    assert!(failure.contains(&told), "{failure}");
    wait_until_none_is_kept(&net);
    net.assert_nothing_is_left();
}

#[test]
fn a_port_of_ipv6s_loopback_that_another_box_has_is_refused_by_its_name() {
    if lacks_something() {
        return;
    }
    let first = format!("{IDLE}ports = [\"8443:80\"]\n");
    let second =
        format!("after = [\"web\"]\nrestart = \"no\"\n{IDLE}ports = [\"[::1]:8443:80\"]\n");
    let net = Net::with(&[("web", &first), ("web2", &second)]);
    net.herd.wait_state("web2", "failed");
    let failure = net.herd.status("web2")["failure"].to_string();
    assert!(
        failure.contains("port [::1]:8443:80/tcp is taken by web"),
        "{failure}"
    );
}

#[test]
fn a_relay_goes_with_its_box_whoever_ends_it() {
    if lacks_something() {
        return;
    }
    let web = format!("restart = \"no\"\n{WEB}ports = [\"[::1]:8443:80\"]\n");
    let mut net = Net::with(&[("web", &web)]);
    net.herd.wait_state("web", "active");
    relay(&net);
    net.herd.ok(&["kill", "--signal", "KILL", "web"]);
    net.herd.wait_state("web", "failed");
    net.wait_until_nothing_is_left();
    wait_until_none_is_kept(&net);
    net.herd.ok(&["start", "web"]);
    relay(&net);
    net.herd.remove_unit("web");
    net.herd.signal(nix::sys::signal::Signal::SIGKILL);
    assert_eq!(net.herd.wait_end().signal(), Some(9));
    net.restart();
    net.wait_until_nothing_is_left();
    wait_until_none_is_kept(&net);
}

#[test]
fn a_box_restarted_under_traffic_is_reached_by_its_relay_again() {
    if lacks_something() {
        return;
    }
    let net = echo();
    for _ in 0..4 {
        let flood = "for i in 1 2 3 4; do socat -u /dev/zero TCP6:[::1]:8081 >/dev/null 2>&1 & done";
        net.host(&["sh", "-c", flood]);
        let mark = net.herd.mark();
        net.herd.ok(&["restart", "echo"]);
        net.herd
            .wait_change(mark, "a new run", |change| change.state == "active");
        let told = "echo again | socat -t30 - TCP6:[::1]:8081,retry=100,interval=0.05";
        // Until the service listens, who connects is cut off.
        let ask = format!("until told=$({told}); [ -n \"$told\" ]; do :; done; echo again");
        assert_eq!(net.host(&["timeout", "60", "sh", "-c", &ask]), "again\n");
        relay(&net);
    }
    net.herd.ok(&["stop", "echo"]);
    wait_until_none_is_kept(&net);
    net.assert_nothing_is_left();
}

#[test]
fn a_box_on_an_internal_network_has_ports_of_both_loopbacks() {
    if lacks_something() {
        return;
    }
    let web = WEB.replace("\"bridge\"", "\"bridge\"\nbridge = \"back\"");
    let web = format!("{web}ports = [\"127.0.0.1:8443:80\", \"[::1]:8444:80\"]\n");
    let builder = crate::fixture::Herd::builder().available("web", &web);
    let net = Net::start(builder);
    net.herd.ok(&["network", "create", "back", "--internal"]);
    net.herd.ok(&["start", "web"]);
    listens(&net, "web");
    says(from_host(&net, "TCP4:127.0.0.1:8443"), "web for");
    says(from_host(&net, "TCP6:[::1]:8444"), "web for");
}

#[test]
fn a_relay_has_no_rights_and_nothing_open_but_its_sockets() {
    if lacks_something() {
        return;
    }
    let web = format!("{WEB}ports = [\"[::1]:8443:80\"]\n");
    let net = Net::with(&[("web", &web)]);
    listens(&net, "web");
    says(from_host(&net, "TCP6:[::1]:8443"), "web for");
    let pid = relay(&net);
    let of = |what: &str| format!("/proc/{pid}/{what}");
    let status = fs::read_to_string(of("status")).unwrap();
    for line in [
        "CapPrm:\t0000000000000000\n",
        "CapEff:\t0000000000000000\n",
        "CapAmb:\t0000000000000000\n",
        "NoNewPrivs:\t1\n",
        "Seccomp:\t2\n",
        "Threads:\t1\n",
    ] {
        assert!(status.contains(line), "{line}: {status}");
    }
    let at = |path: String| fs::read_link(path).unwrap().display().to_string();
    assert!(at(of("cwd")).ends_with('/'));
    let stat = fs::read_to_string(of("stat")).unwrap();
    let terminal = stat
        .rsplit_once(')')
        .unwrap()
        .1
        .split(' ')
        .nth(5)
        .unwrap()
        .to_owned();
    assert_eq!(terminal, "0", "{stat}");
    let deadline = Deadline::new();
    loop {
        let open = fs::read_dir(of("fd")).unwrap().flatten();
        let mut open: Vec<String> = open
            .map(|entry| at(entry.path().display().to_string()))
            .collect();
        open.sort();
        let kinds: Vec<&str> = open
            .iter()
            .map(|one| one.split('[').next().unwrap())
            .collect();
        // It listens, is marked by a name, and watches the box; the connection has ended.
        if kinds
            == [
                "anon_inode:",
                "anon_inode:",
                "socket:",
                "socket:",
                "socket:",
            ]
            || kinds == ["anon_inode:", "anon_inode:", "socket:", "socket:"]
            || kinds == ["anon_inode:", "pidfd:", "socket:", "socket:", "socket:"]
        {
            break;
        }
        assert!(!deadline.left().is_zero(), "{open:?}");
    }
    // It belongs to the unit, with whose processes it is counted and killed.
    let group = |pid: i32| fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    assert_eq!(group(pid), group(net.herd.main_pid("web")));
}
