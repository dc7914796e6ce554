//! Whoever takes bridges away, or changes them, cuts nobody off for long: herd hears of it and puts them right.

use crate::fixture::{Deadline, Herd, Net, until_changed};
use crate::network_reach::{
    IDLE, WEB, from_box, from_host, from_outside, lacks_something, listens, says,
};

fn waits_for_lines(net: &Net, text: &str, count: usize) {
    let log = || net.herd.log("herd").join("\n");
    let is_told = || log().matches(text).count() >= count;
    until_changed(&net.herd.path("log"), &Deadline::new(), is_told);
    assert!(is_told(), "{text}: {}", log());
}

/// The host's ends of boxes.
fn ends(net: &Net) -> Vec<String> {
    let links = net.host(&["ip", "-br", "link"]);
    let names = links
        .lines()
        .filter_map(|line| line.split([' ', '@']).next());
    let ends = names.filter(|name| name.starts_with("hv"));
    ends.map(str::to_owned).collect()
}

#[test]
fn a_bridge_that_somebody_removes_or_changes_is_as_it_was_with_its_boxes() {
    if lacks_something() {
        return;
    }
    let web = format!("{WEB}ports = [\"8080:80\", \"[::1]:8443:80\"]\n");
    let db = format!("{IDLE}bridge = [\"default\", \"back\"]\n");
    let net = Net::with(&[("web", &web), ("db", &db)]);
    listens(&net, "web");
    net.herd.wait_state("db", "active");
    let _listener = net.listen_outside(7);
    let made = || {
        let mut made = net.made();
        made.sort();
        made
    };
    let own = made();
    let all_is_well = || {
        says(from_box(&net, "db", "TCP4:web:80"), "web for");
        let six = format!("TCP6:[{}]:80", net.address6("web"));
        says(from_box(&net, "db", &six), "web for");
        says(from_box(&net, "db", "TCP4:203.0.113.9:7"), "outside for");
        says(from_outside(&net, "TCP4:198.51.100.1:8080"), "web for");
        says(from_host(&net, "TCP4:127.0.0.1:8080"), "web for");
        says(from_host(&net, "TCP6:[::1]:8443"), "web for");
        assert_eq!(made(), own);
    };
    all_is_well();

    net.host(&["ip", "link", "delete", "herd-default"]);
    let back = "somebody has taken bridge herd-default away: it is back, with 2 boxes on it";
    waits_for_lines(&net, back, 1);
    all_is_well();

    let changed = "somebody has changed bridge herd-default: it is as it was";
    net.host(&["ip", "link", "set", "herd-default", "down"]);
    waits_for_lines(&net, changed, 1);
    all_is_well();
    net.host(&["ip", "-4", "addr", "flush", "dev", "herd-default"]);
    waits_for_lines(&net, changed, 2);
    all_is_well();

    let all = ends(&net);
    assert_eq!(all.len(), 3, "{all:?}");
    for (number, end) in all.iter().enumerate() {
        net.host(&["ip", "link", "set", end, "nomaster"]);
        let left = "somebody has taken 1 box off bridge herd-";
        waits_for_lines(&net, left, number + 1);
        all_is_well();
    }

    net.herd.ok(&["stop", "web", "db"]);
    net.assert_nothing_is_left();
}

#[test]
fn a_box_whose_interface_is_taken_away_is_told_of_and_has_another_at_its_next_start() {
    if lacks_something() {
        return;
    }
    let net = Net::with(&[("web", WEB), ("db", IDLE)]);
    listens(&net, "web");
    net.herd.wait_state("db", "active");
    for end in ends(&net) {
        net.host(&["ip", "link", "delete", &end]);
    }
    let told = "its interface on network default has been taken away: it reaches nobody there, nor is it reached, before it is \
                started again";
    for unit in ["web", "db"] {
        net.herd.wait_log(unit, told);
    }
    net.herd.ok(&["restart", "web"]);
    net.herd.ok(&["restart", "db"]);
    let to_web = "TCP4:web:80,retry=99,interval=0.05";
    says(from_box(&net, "db", to_web), "web for");
    for unit in ["web", "db"] {
        assert_eq!(net.herd.log(unit).join("\n").matches(told).count(), 1);
    }
    net.herd.ok(&["stop", "web", "db"]);
    net.assert_nothing_is_left();
}

#[test]
fn boxes_that_come_and_go_are_no_change_by_anybody() {
    if lacks_something() {
        return;
    }
    let job =
        "command = \"/bin/true\"\noneshot = true\nboxed = true\n[network]\nmode = \"bridge\"\n";
    let builder = Herd::builder()
        .unit("web", IDLE)
        .unit("db", IDLE)
        .available("job", job);
    let net = Net::start(builder);
    net.herd.wait_state("db", "active");
    // Its interface goes before its end can be seen.
    for _ in 0..20 {
        net.herd.ok(&["start", "job"]);
    }
    for _ in 0..3 {
        net.herd.ok(&["restart", "web"]);
        let mark = net.herd.mark();
        net.herd.ok(&["kill", "--signal", "KILL", "db"]);
        net.herd.wait_change(mark, "a new run", |change| {
            change.unit == "db" && change.state == "active"
        });
    }
    net.host(&["ip", "link", "add", "other", "type", "bridge"]);
    net.host(&["ip", "addr", "add", "192.0.2.1/24", "dev", "other"]);
    net.host(&["ip", "link", "delete", "other"]);
    net.herd.ok(&["stop", "web", "db"]);
    net.assert_nothing_is_left();
    for log in ["herd", "web", "db", "job"] {
        let log = net.herd.log(log).join("\n");
        assert!(!log.contains("somebody"), "{log}");
        assert!(!log.contains("taken away"), "{log}");
    }
}
