//! Networks come with their boxes and go with them: at a stop, a failure, a restart, a death of herd.

use std::os::unix::process::ExitStatusExt;

use crate::fixture::{Deadline, Herd, Net, children};
use crate::network_reach::{
    IDLE, WEB, from_box, from_host, from_outside, lacks_something, listens, says,
};

#[test]
fn nothing_is_left_of_a_network_when_its_last_box_is_stopped() {
    if lacks_something() {
        return;
    }
    let web = format!("{WEB}ports = [\"8080:80\"]\n");
    let net = Net::with(&[("web", &web), ("db", IDLE)]);
    net.herd.wait_state("web", "active");
    net.herd.wait_state("db", "active");
    assert!(net.made().iter().any(|line| line.contains("herd-default")));
    net.herd.ok(&["stop", "web"]);
    let made = net.made();
    assert!(
        made.iter().any(|line| line.contains("herd-default")),
        "{made:#?}"
    );
    net.herd.ok(&["stop", "db"]);
    net.assert_nothing_is_left();
}

#[test]
fn a_start_that_fails_leaves_nothing() {
    if lacks_something() {
        return;
    }
    let missing = IDLE.replace("/bin/sleep", "/nowhere/at/all");
    let missing = format!("restart = \"no\"\n{missing}ports = [\"8080:80\"]\n");
    let net = Net::with(&[("web", &missing)]);
    net.herd.wait_state("web", "failed");
    net.assert_nothing_is_left();
}

#[test]
fn a_restart_keeps_address_and_ports() {
    if lacks_something() {
        return;
    }
    let web = format!("{WEB}ports = [\"8080:80\"]\n");
    let net = Net::with(&[("web", &web)]);
    net.herd.wait_state("web", "active");
    let address = net.address("web");
    for _ in 0..5 {
        net.herd.ok(&["restart", "web"]);
        assert_eq!(net.address("web"), address);
    }
    // Its own death too.
    let (mark, before) = (net.herd.mark(), i64::from(net.herd.main_pid("web")));
    net.herd.ok(&["kill", "--signal", "KILL", "web"]);
    net.herd.wait_change(mark, "a new run", |change| {
        change.state == "active" && change.main_pid.is_some_and(|pid| pid != before)
    });
    assert_eq!(net.address("web"), address);
    let made = net.made();
    let ends = made
        .iter()
        .filter(|line| line.starts_with("hv") && line.ends_with(':'));
    assert_eq!(ends.count(), 1, "{made:#?}");
}

#[test]
fn what_a_killed_herd_has_left_goes_when_it_comes_back() {
    if lacks_something() {
        return;
    }
    let mut net = Net::with(&[("web", IDLE)]);
    net.herd.wait_state("web", "active");
    net.herd.remove_unit("web");
    // With the file gone nothing is started by the next one.
    net.herd.signal(nix::sys::signal::Signal::SIGKILL);
    assert_eq!(net.herd.wait_end().signal(), Some(9));
    assert!(!net.made().is_empty());
    net.restart();
    net.wait_until_nothing_is_left();
}

#[test]
fn a_unit_with_a_port_starts_at_once_when_a_killed_herd_comes_back() {
    if lacks_something() {
        return;
    }
    let web = format!("{WEB}ports = [\"8080:80\"]\n");
    let mut net = Net::with(&[("web", &web)]);
    listens(&net, "web");
    // Somebody looks into the box, and stays.
    let pid = net.herd.main_pid("web").to_string();
    let mut look = net.host.command();
    look.args(["nsenter", "-t", &pid, "-n", "sleep", "1000"]);
    let mut left = look.spawn().unwrap();
    let entered = format!("/proc/{}/ns/net", left.id());
    let own = std::fs::read_link(format!("/proc/{pid}/ns/net")).unwrap();
    let deadline = Deadline::new();
    while std::fs::read_link(&entered).unwrap() != own {
        assert!(!deadline.left().is_zero());
    }
    net.herd.signal(nix::sys::signal::Signal::SIGKILL);
    assert_eq!(net.herd.wait_end().signal(), Some(9));
    net.restart();
    net.herd.wait_state("web", "active");
    let to = "TCP4:198.51.100.1:8080,retry=99,interval=0.05";
    says(from_outside(&net, to), "web for 198.51.100.2\n");
    let made = net.made();
    let ends = made
        .iter()
        .filter(|line| line.starts_with("hv") && line.ends_with(':'));
    assert_eq!(ends.count(), 1, "{made:#?}");
    left.kill().unwrap();
    left.wait().unwrap();
    net.herd.ok(&["stop", "web"]);
    net.wait_until_nothing_is_left();
}

#[test]
fn a_box_that_asks_is_answered_through_restarts_of_the_other() {
    if lacks_something() {
        return;
    }
    // Between its end and its next start the other has no name, of which socat speaks.
    let asks = IDLE.replace(
        "[\"/bin/sleep\", \"1000\"]",
        "[\"/bin/sh\", \"-c\", \"while :; do socat -T3 - TCP4:web:80,retry=999,interval=0.01 2>/dev/null; done\"]",
    );
    let asks = format!("after = [\"web\"]\n{asks}");
    let net = Net::with(&[("web", WEB), ("asks", &asks)]);
    for _ in 0..3 {
        net.herd.wait_state("web", "active");
        net.herd.ok(&["restart", "web"]);
        let before = net.herd.out("asks").len();
        let deadline = Deadline::new();
        while net.herd.out("asks").len() <= before + 1 {
            assert!(!deadline.left().is_zero(), "{before} answers");
        }
        let out = net.herd.out("asks");
        assert!(
            out.iter().all(|line| line.starts_with("web for ")),
            "{out:?}"
        );
    }
}

#[test]
fn a_joined_box_is_at_its_units_localhost_and_comes_back_with_it() {
    if lacks_something() {
        return;
    }
    let side =
        "command = [\"/bin/sleep\", \"1000\"]\nboxed = true\n[network]\nmode = \"join:web\"\n";
    let net = Net::with(&[("web", WEB), ("side", side)]);
    listens(&net, "web");
    net.herd.wait_state("side", "active");
    says(from_box(&net, "side", "TCP4:localhost:80"), "web for");
    let hosts = net.in_box("side", &["cat", "/etc/hosts"]).stdout;
    assert!(
        hosts.contains(&format!("{}\tweb\n", net.address("web"))),
        "{hosts}"
    );
    let first = net.herd.main_pid("side");
    net.herd.ok(&["restart", "web"]);
    net.herd.wait_state("side", "active");
    assert_ne!(net.herd.main_pid("side"), first);
    net.herd.ok(&["stop", "web"]);
    net.herd.wait_state("side", "inactive");
    net.assert_nothing_is_left();
}

#[test]
fn a_join_of_a_unit_that_is_not_there_fails_by_name() {
    if lacks_something() {
        return;
    }
    let web = "command = \"/bin/true\"\noneshot = true\nremain_after_exit = true\nboxed = true\n\
               [network]\nmode = \"bridge\"\n";
    let side = "command = [\"/bin/sleep\", \"1000\"]\nboxed = true\nrestart = \"no\"\n\
                [network]\nmode = \"join:web\"\n";
    let net = Net::with(&[("web", web), ("side", side)]);
    net.herd.wait_state("side", "failed");
    let failure = net.herd.status("side")["failure"].to_string();
    assert!(
        failure.contains("web has no process whose network could be joined"),
        "{failure}"
    );
    net.wait_until_nothing_is_left();
}

#[test]
fn commands_beside_the_main_one_are_in_its_network() {
    if lacks_something() {
        return;
    }
    let web = WEB.replace(
        "boxed = true\n",
        "boxed = true\n\
         command_pre = \"/bin/sh -c 'ip -br addr show eth0 > /proc/1/fd/1; ip -br addr show eth0'\"\n\
         command_stop = \"/bin/sh -c 'socat -T3 - TCP4:localhost:80,retry=99,interval=0.02'\"\n",
    );
    let web = format!("{web}ports = [\"8080:80\"]\n");
    let net = Net::with(&[("web", &web)]);
    listens(&net, "web");
    says(from_host(&net, "TCP4:127.0.0.1:8080"), "web for");
    net.herd.ok(&["stop", "web"]);
    let out = net.herd.out("web");
    assert!(out.iter().any(|line| line.contains("web for")), "{out:?}");
    assert!(out.iter().any(|line| line.starts_with("eth0")), "{out:?}");
    net.assert_nothing_is_left();
}

#[test]
fn a_port_in_use_is_an_error_that_names_it() {
    if lacks_something() {
        return;
    }
    let first = format!("{WEB}ports = [\"8080:80\"]\n");
    let second = first.replace(
        "boxed = true\n",
        "boxed = true\nafter = [\"web\"]\nrestart = \"no\"\n",
    );
    let net = Net::with(&[("web", &first), ("web2", &second)]);
    net.herd.wait_state("web2", "failed");
    let failure = net.herd.status("web2")["failure"].to_string();
    assert!(
        failure.contains("port 8080:80/tcp is taken by web"),
        "{failure}"
    );
    listens(&net, "web");
    says(from_outside(&net, "TCP4:198.51.100.1:8080"), "web for");
}

#[test]
fn a_hardware_address_that_another_box_has_is_an_error_that_names_it() {
    if lacks_something() {
        return;
    }
    let own = format!("restart = \"no\"\n{IDLE}mac = \"02:00:00:12:34:56\"\n");
    let builder = Herd::builder().unit("web", &own).available("db", &own);
    let net = Net::start(builder);
    net.herd.wait_state("web", "active");
    let refused = net.herd.ctl(&["start", "db"]);
    let told = "hardware address 02:00:00:12:34:56 is taken on network default, by web";
    assert!(refused.stderr.contains(told), "{refused:?}");
    net.herd.ok(&["stop", "web"]);
    net.herd.ok(&["start", "db"]);
    net.herd.ok(&["stop", "db"]);
    net.assert_nothing_is_left();
}

#[test]
fn many_boxes_come_and_go_and_nothing_is_left() {
    if lacks_something() {
        return;
    }
    let names: Vec<String> = (0..20).map(|number| format!("box{number}")).collect();
    let builder = names
        .iter()
        .fold(Herd::builder(), |builder, name| builder.unit(name, IDLE));
    let net = Net::start(builder);
    for name in &names {
        net.herd.wait_state(name, "active");
    }
    let all: Vec<&str> = names.iter().map(String::as_str).collect();
    net.herd.ok(&[&["restart"], &all[..]].concat());
    let mut addresses: Vec<String> = names.iter().map(|name| net.address(name)).collect();
    addresses.sort();
    addresses.dedup();
    assert_eq!(addresses.len(), names.len());
    net.herd.ok(&[&["stop"], &all[..]].concat());
    net.assert_nothing_is_left();
}

#[test]
fn herds_own_end_leaves_nothing() {
    if lacks_something() {
        return;
    }
    let web = format!("{WEB}ports = [\"8080:80\"]\n");
    let mut net = Net::with(&[("web", &web), ("db", IDLE)]);
    net.herd.wait_state("web", "active");
    net.herd.wait_state("db", "active");
    net.herd.ok(&["shutdown"]);
    net.herd.wait_end();
    net.assert_nothing_is_left();
}

#[test]
fn what_kill_mode_leaves_alive_keeps_the_network_and_takes_it_along_at_its_end() {
    if lacks_something() {
        return;
    }
    let web = "command = [\"/bin/sh\", \"-c\", \"setsid sleep 1000 & echo left $!; exec sleep 1000\"]\n\
               kill_mode = \"process\"\nboxed = true\n\
               box.namespaces = [\"net\", \"mount\"]\n\
               [network]\nmode = \"bridge\"\nports = [\"8080:80\"]\n";
    let net = Net::with(&[("web", web)]);
    let line = net.herd.wait_log("web", "left ");
    let left = line.rsplit(' ').next().unwrap();
    net.herd.ok(&["stop", "web"]);
    assert_eq!(net.herd.state("web"), "inactive");
    let made = net.made();
    assert!(
        made.iter().any(|line| line.contains("herd-default")),
        "{made:#?}"
    );
    net.host(&["kill", "-KILL", left]);
    net.wait_until_nothing_is_left();
}

/// A usual run of the tests has time for 50; `tests/dev networks-long` is 1,000.
#[test]
fn descriptors_and_processes_stay_as_many_over_many_networks() {
    if lacks_something() {
        return;
    }
    let runs = std::env::var("HERD_NETWORK_RUNS").ok();
    let runs: u32 = runs.and_then(|runs| runs.parse().ok()).unwrap_or(50);
    let job = "command = \"/bin/true\"\noneshot = true\nboxed = true\n\
               [network]\nmode = \"bridge\"\nports = [\"8080:80\"]\nallow = [\"dns\"]\nrate_in = \"1M\"\n";
    let net = Net::start(Herd::builder().available("job", job));
    // What one start needs for good is there then.
    for _ in 0..3 {
        net.herd.ok(&["start", "job"]);
    }
    net.herd.wait_state("job", "inactive");
    let herd = net.herd.pid();
    let open = || {
        let descriptors = std::fs::read_dir(format!("/proc/{herd}/fd")).unwrap();
        let leads_to = |entry: std::fs::DirEntry| std::fs::read_link(entry.path()).ok();
        let descriptors: Vec<_> = descriptors.flatten().filter_map(leads_to).collect();
        (descriptors, children(herd).len())
    };
    let before = open();
    for _ in 0..runs {
        net.herd.ok(&["start", "job"]);
    }
    let deadline = Deadline::new();
    loop {
        let now = open();
        if now.0.len() <= before.0.len() && now.1 <= before.1 {
            break;
        }
        assert!(!deadline.left().is_zero(), "{before:?}, {now:?} now");
    }
    net.wait_until_nothing_is_left();
}
