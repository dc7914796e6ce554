//! Probes of units with a network of their own are made in it.

use crate::fixture::{Deadline, Herd, Net};
use crate::network_reach::{WEB, lacks_something, listens};

/// Answers HTTP at port 80 of its own loopback, and at no other address.
const SITE: &str = "command = [\"/bin/sh\", \"-c\", '''
exec socat TCP4-LISTEN:80,bind=127.0.0.1,fork,reuseaddr SYSTEM:'read line; echo HTTP/1.0 200 OK; echo'
''']
boxed = true
restart = \"no\"
";

#[test]
fn a_probe_of_a_box_on_a_bridge_asks_the_boxs_own_loopback() {
    if lacks_something() {
        return;
    }
    let ready = "ready = { tcp = \"127.0.0.1:80\", interval = \"10ms\", timeout = \"1s\" }\n";
    let health = "health.http = \"http://127.0.0.1/\"\nhealth.interval = \"10ms\"\n";
    let site = format!("{ready}{health}{SITE}[network]\nmode = \"bridge\"\n");
    let net = Net::with(&[("web", &site)]);
    net.herd.wait_state("web", "active");
    let deadline = Deadline::new();
    while net.herd.status("web")["health"] != "healthy" {
        assert!(!deadline.left().is_zero(), "{:#}", net.herd.status("web"));
    }
    net.herd.ok(&["stop", "web"]);
    net.assert_nothing_is_left();
}

#[test]
fn what_listens_on_the_hosts_loopback_is_no_answer_of_a_box() {
    if lacks_something() {
        return;
    }
    let decoy = "command = [\"socat\", \"-d\", \"-d\", \"TCP4-LISTEN:4711,fork,reuseaddr\", \"SYSTEM:true\"]\n";
    let idle = "after = [\"decoy\"]\ncommand = [\"/bin/sleep\", \"1000\"]\nboxed = true\nrestart = \"no\"\n\
                timeout_start = \"500ms\"\nready = { tcp = \"127.0.0.1:4711\", interval = \"10ms\" }\n[network]\n";
    let net = Net::start(
        Herd::builder()
            .unit("decoy", decoy)
            .available("bridge", &format!("{idle}mode = \"bridge\"\n"))
            .available("alone", &format!("{idle}mode = \"loopback\"\n"))
            .available("hosts", &format!("{idle}mode = \"host\"\n")),
    );
    net.herd.wait_log("decoy", "listening on");
    net.herd.ok(&["start", "hosts"]);
    for name in ["bridge", "alone"] {
        net.herd.ctl(&["start", name]);
        net.herd.wait_state(name, "failed");
        let failure = net.herd.status(name)["failure"].to_string();
        assert!(failure.contains("timeout"), "{failure}");
    }
}

#[test]
fn a_probe_of_a_joined_unit_asks_in_the_network_that_it_shares() {
    if lacks_something() {
        return;
    }
    let side = "command = [\"/bin/sleep\", \"1000\"]\nboxed = true\n\
                ready = { tcp = \"127.0.0.1:80\", interval = \"10ms\" }\n\
                [network]\nmode = \"join:web\"\n";
    let net = Net::with(&[("web", WEB), ("side", side)]);
    listens(&net, "web");
    net.herd.wait_state("side", "active");
    // And it is where its unit is.
    assert_eq!(net.address("side"), net.address("web"));
    let status = net.herd.ok(&["status", "side"]);
    let told = format!(
        "    Network: default: {}, {}\n",
        net.address("web"),
        net.address6("web")
    );
    assert!(status.contains(&told), "{status}");
}
