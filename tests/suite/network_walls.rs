//! What others do to the firewall does not open what boxes are denied: herd hears of it and puts its rules back.

use crate::fixture::{Deadline, Herd, Net, Output, until_changed};
use crate::network_reach::{IDLE, WEB, from_box, from_outside, lacks_something, listens, says};

#[track_caller]
fn hears_nothing(output: &Output) {
    assert_eq!(output.stdout, "", "{output:?}");
}

const BACK: &str = "they are back, with the rules of 3 boxes";

#[test]
fn a_cleared_firewall_is_back_at_once_and_others_keep_theirs() {
    if lacks_something() {
        return;
    }
    let web = format!("{WEB}isolate = true\nports = [\"8080:80\"]\n");
    let shy = format!("{IDLE}deny = [\"203.0.113.9\"]\n");
    let net = Net::with(&[("web", &web), ("shy", &shy), ("free", IDLE)]);
    listens(&net, "web");
    net.herd.wait_state("shy", "active");
    net.herd.wait_state("free", "active");
    let _listener = net.listen_outside(7);
    let foreign = "add table inet mine; add chain inet mine in { type filter hook input priority 5; }; \
                   add rule inet mine in tcp dport 25 drop";
    // The kernel lists chains by when they came.
    let rules = || {
        let listed = net.host(&["nft", "-s", "list", "ruleset"]);
        let mut lines: Vec<String> = listed.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let own = rules();
    for (number, clear) in [
        "flush ruleset",
        "delete table inet herd",
        "delete table bridge herd",
        "flush chain inet herd forward",
    ]
    .iter()
    .enumerate()
    {
        let all = format!("{clear}; {foreign}");
        net.host(&["nft", &all]);
        let mine = net.host(&["nft", "-a", "list", "table", "inet", "mine"]);
        let log = || net.herd.log("herd").join("\n");
        let is_back = || log().matches(BACK).count() > number;
        until_changed(&net.herd.path("log"), &Deadline::new(), is_back);
        assert!(is_back(), "{clear}: {}", log());
        hears_nothing(&from_box(&net, "free", "TCP4:web:80"));
        hears_nothing(&from_box(&net, "shy", "TCP4:203.0.113.9:7"));
        says(from_box(&net, "free", "TCP4:203.0.113.9:7"), "outside for");
        says(from_outside(&net, "TCP4:198.51.100.1:8080"), "web for");
        assert_eq!(
            net.host(&["nft", "-a", "list", "table", "inet", "mine"]),
            mine
        );
        net.host(&["nft", "delete", "table", "inet", "mine"]);
        assert_eq!(rules(), own, "{clear}");
    }
    let log = net.herd.log("herd").join("\n");
    assert_eq!(log.matches(BACK).count(), 4, "{log}");
    assert!(
        log.contains("has taken the tables herd of the firewall away: they are back"),
        "{log}"
    );
    assert!(log.contains("nft (process "), "{log}");
    net.herd.ok(&["stop", "web", "shy", "free"]);
    net.assert_nothing_is_left();
}

#[test]
fn what_others_do_beside_it_makes_herd_do_nothing() {
    if lacks_something() {
        return;
    }
    let net = Net::with(&[("web", IDLE), ("db", IDLE)]);
    net.herd.wait_state("web", "active");
    net.herd.wait_state("db", "active");
    let handle = || {
        let tables = net.host(&["nft", "-a", "list", "tables"]);
        let own = tables.lines().filter(|line| line.contains(" herd "));
        own.map(str::to_owned).collect::<Vec<_>>()
    };
    let before = handle();
    for _ in 0..3 {
        net.host(&[
            "nft",
            "add table inet mine; add table ip herd; delete table ip herd",
        ]);
        net.host(&["nft", "delete", "table", "inet", "mine"]);
        net.herd.ok(&["restart", "db"]);
    }
    assert_eq!(handle(), before);
    let log = net.herd.log("herd").join("\n");
    assert!(!log.contains("firewall"), "{log}");
}

#[test]
fn a_box_that_gets_no_name_server_is_told_of() {
    if lacks_something() {
        return;
    }
    let own = format!("{IDLE}dns = [\"203.0.113.9\"]\n");
    let builder = Herd::builder()
        .available("web", IDLE)
        .available("own", &own);
    let net = Net::start(builder);
    let only = "printf 'nameserver 127.0.0.53\\nnameserver ::1\\n' > /etc/resolv.conf";
    net.host(&["sh", "-c", only]);
    net.herd.ok(&["start", "web", "own"]);
    let told = net.herd.wait_log("web", "no name server for the box");
    assert!(told.ends_with("set `dns` in [network]"), "{told}");
    let resolv = net.in_box("web", &["cat", "/etc/resolv.conf"]).stdout;
    assert!(!resolv.contains("nameserver"), "{resolv}");
    let log = net.herd.log("own").join("\n");
    assert!(!log.contains("no name server"), "{log}");
}

#[test]
fn another_firewall_that_forwards_nothing_is_told_of_and_can_let_boxes_through() {
    if lacks_something() {
        return;
    }
    let web = format!("{WEB}ports = [\"8080:80\"]\n");
    let closed = "nft 'add table ip filter; \
        add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }'";
    let net = Net::start_after(closed, Herd::builder().unit("web", &web), |builder| builder);
    listens(&net, "web");
    let told = net.herd.wait_log("herd", "drops what is forwarded");
    assert!(
        told.contains("chain FORWARD of table ip filter drops"),
        "{told}"
    );
    let _listener = net.listen_outside(7);
    hears_nothing(&from_box(&net, "web", "TCP4:203.0.113.9:7"));
    hears_nothing(&from_outside(&net, "TCP4:198.51.100.1:8080"));
    says(from_outside(&net, "TCP6:[2001:db8:1::1]:8080"), "web for");
    let doctor = net.host.run(&[env!("CARGO_BIN_EXE_herd"), "doctor"]).stdout;
    assert!(
        doctor.contains("refused by chain FORWARD of table ip filter"),
        "{doctor}"
    );
    for way in ["iifname", "oifname"] {
        let rule = format!("add rule ip filter FORWARD {way} herd-default accept");
        net.host(&["nft", &rule]);
    }
    says(from_box(&net, "web", "TCP4:203.0.113.9:7"), "outside for");
    says(from_outside(&net, "TCP4:198.51.100.1:8080"), "web for");
}
