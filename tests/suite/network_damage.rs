//! What is written down of networks, and cannot be read any more.

use std::fs;
use std::path::PathBuf;

use crate::fixture::Net;
use crate::network_reach::{IDLE, WEB, from_host, lacks_something, listens, says};

/// The file, as the test sees it: herd has a `/run` of its own.
fn state_file(net: &Net) -> PathBuf {
    let found = net.host(&["find", "/run/herd/network", "-name", "state.json"]);
    let herd = net.herd.pid();
    PathBuf::from(format!("/proc/{herd}/root{}", found.trim()))
}

/// But for what was switched on: nobody knows any more how it was.
fn left(net: &Net) -> Vec<String> {
    let mut made = net.made();
    // One that forwards has an anycast address for each subnet (RFC 4291).
    made.retain(|line| !line.contains("forward") && !line.starts_with("anycast "));
    made
}

#[test]
fn a_damaged_registry_is_told_keeps_running_boxes_and_is_made_anew_behind_the_last() {
    if lacks_something() {
        return;
    }
    let web = format!("{WEB}ports = [\"8080:80\"]\n");
    let net = Net::start(
        crate::fixture::Herd::builder()
            .unit("web", &web)
            .available("db", &format!("restart = \"no\"\n{IDLE}")),
    );
    listens(&net, "web");
    let file = state_file(&net);
    let whole = fs::read_to_string(&file).unwrap();
    let half = &whole[..whole.len() / 2];
    let elsewhere = whole.replace("\"network\":\"default\"", "\"network\":\"other\"");
    for damaged in ["", "{", half, "[]", "\0\0\0", &elsewhere] {
        fs::write(&file, damaged).unwrap();
        let output = net.herd.ctl(&["start", "db"]);
        assert_ne!(output.code, 0);
        net.herd.wait_state("db", "failed");
        let failure = net.herd.status("db")["failure"].to_string();
        let told = "state.json is damaged: what boxes have is not known, and no network changes before the last of them has ended";
        assert!(failure.contains(told), "{damaged}: {failure}");
        let output = net.herd.ctl(&["network", "list"]);
        assert!(
            output.stderr.contains("state.json is damaged"),
            "{output:?}"
        );
        says(from_host(&net, "TCP4:127.0.0.1:8080"), "web for");
    }
    // What a later herd has written more is no damage.
    let more = whole.replacen('{', "{\"later\":1,", 1);
    fs::write(&file, more).unwrap();
    net.herd.ok(&["start", "db"]);
    net.herd.ok(&["stop", "db"]);
    fs::write(&file, half).unwrap();
    net.herd.ok(&["stop", "web"]);
    assert_eq!(left(&net), Vec::<String>::new());
    net.herd.ok(&["start", "db", "web"]);
    // Its log says of an earlier run that it listens.
    let patient = "TCP4:127.0.0.1:8080,retry=100,interval=0.1";
    says(from_host(&net, patient), "web for");
    net.herd.ok(&["stop", "db", "web"]);
    assert_eq!(left(&net), Vec::<String>::new());
}
