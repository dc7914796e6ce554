//! `isolate`, `allow`, `deny` and networks that lead nowhere.

use crate::fixture::{Herd, Net, Output, ask};
use crate::network_reach::{
    IDLE, WEB, from_box, from_host, from_outside, lacks_something, listens, says,
};

/// It is refused by a rule, or nobody answers in time; nothing else keeps it from being asked.
#[track_caller]
fn hears_nothing(output: Output) {
    assert_eq!(output.stdout, "", "{output:?}");
    let reasons = [
        "No route to host",
        "Permission denied",
        "Network is unreachable",
        "Connection refused",
        "Connection timed out",
    ];
    let told = &output.stderr;
    assert!(
        reasons.iter().any(|reason| told.contains(reason)),
        "{output:?}"
    );
}

#[test]
fn an_isolated_box_is_reached_by_no_other_box_and_still_from_outside() {
    if lacks_something() {
        return;
    }
    let web = format!("{WEB}isolate = true\nports = [\"8080:80\"]\n");
    let net = Net::with(&[("web", &web), ("db", IDLE), ("other", WEB)]);
    listens(&net, "web");
    listens(&net, "other");
    net.herd.wait_state("db", "active");
    hears_nothing(from_box(&net, "db", "TCP4:web:80"));
    hears_nothing(from_box(&net, "web", "TCP4:other:80"));
    says(from_box(&net, "db", "TCP4:other:80"), "web for");
    says(from_box(&net, "db", "TCP4:198.51.100.1:8080"), "web for");
    says(from_outside(&net, "TCP4:198.51.100.1:8080"), "web for");
    says(from_host(&net, "TCP4:127.0.0.1:8080"), "web for");
}

#[test]
fn what_is_allowed_alone_is_all_that_passes() {
    if lacks_something() {
        return;
    }
    let db = format!("{IDLE}allow = [\"boxes:80\"]\n");
    let net = Net::with(&[("web", WEB), ("db", &db)]);
    listens(&net, "web");
    net.herd.wait_state("db", "active");
    says(from_box(&net, "db", "TCP4:web:80"), "web for");
    let _listener = net.listen_outside(7);
    hears_nothing(from_box(&net, "db", "TCP4:203.0.113.9:7"));
    says(from_box(&net, "web", "TCP4:203.0.113.9:7"), "outside for");
}

#[test]
fn a_denied_peer_is_not_reached_and_all_others_are() {
    if lacks_something() {
        return;
    }
    let db = format!("{IDLE}deny = [\"boxes\"]\n");
    let net = Net::with(&[("web", WEB), ("db", &db), ("free", IDLE)]);
    listens(&net, "web");
    net.herd.wait_state("db", "active");
    net.herd.wait_state("free", "active");
    hears_nothing(from_box(&net, "db", "TCP4:web:80"));
    hears_nothing(from_box(&net, "db", "TCP6:web:80"));
    says(from_box(&net, "free", "TCP4:web:80"), "web for");
    says(from_box(&net, "free", "TCP6:web:80"), "web for");
}

#[test]
fn who_may_come_in_is_said_by_in() {
    if lacks_something() {
        return;
    }
    let web = format!("{WEB}ports = [\"8080:80\"]\nallow = [\"in 198.51.100.0/24\"]\n");
    let net = Net::with(&[("web", &web), ("db", IDLE)]);
    listens(&net, "web");
    net.herd.wait_state("db", "active");
    says(from_outside(&net, "TCP4:198.51.100.1:8080"), "web for");
    hears_nothing(from_box(&net, "db", "TCP4:web:80"));
    let from_elsewhere = "TCP4:198.51.100.1:8080,bind=203.0.113.9";
    hears_nothing(
        net.outside(
            &ask(from_elsewhere)
                .iter()
                .map(String::as_str)
                .collect::<Vec<_>>(),
        ),
    );
}

#[test]
fn an_internal_network_leads_nowhere() {
    if lacks_something() {
        return;
    }
    let inner = |unit: &str| unit.replace("\"bridge\"", "\"bridge\"\nbridge = \"inner\"");
    let builder = Herd::builder()
        .unit("web", &inner(WEB))
        .unit("db", &inner(IDLE))
        .file(
            "networks/inner.toml",
            "internal = true\nsubnet = \"10.99.0.0/24\"\n",
        );
    let net = Net::start(builder);
    listens(&net, "web");
    net.herd.wait_state("db", "active");
    assert!(net.address("db").starts_with("10.99.0."));
    says(from_box(&net, "db", "TCP4:web:80"), "web for");
    let routes = net.in_box("db", &["ip", "route"]).stdout;
    assert!(!routes.contains("default"), "{routes}");
    let _listener = net.listen_outside(7);
    says(from_host(&net, "TCP4:198.51.100.2:7"), "outside for");
    hears_nothing(from_box(&net, "db", "TCP4:198.51.100.2:7"));
    // Nor with a route.
    let show = net.herd.json(&["network", "show", "inner"]);
    let gateway = show["gateway"].as_str().unwrap();
    let pid = net.herd.main_pid("db").to_string();
    let inside = ["nsenter", "--target", &pid, "--net", "--"];
    let route = [
        "ip", "route", "add", "default", "via", gateway, "dev", "eth0",
    ];
    net.host(&[&inside[..], &route].concat());
    hears_nothing(from_box(&net, "db", "TCP4:198.51.100.2:7"));
    says(from_box(&net, "db", "TCP4:web:80"), "web for");
}

const INTERNAL: &str = "internal = true\nsubnet = \"10.99.0.0/24\"\n";

#[test]
fn ports_lead_by_the_first_network_that_leads_outside() {
    if lacks_something() {
        return;
    }
    let web = WEB.replace("\"bridge\"", "\"bridge\"\nbridge = [\"inner\", \"front\"]");
    let web = format!("{web}ports = [\"8080:80\"]\n");
    let builder = Herd::builder().file("networks/inner.toml", INTERNAL);
    let net = Net::start(builder.unit("web", &web));
    listens(&net, "web");
    assert!(net.address("web").starts_with("10.99.0."));
    says(
        from_outside(&net, "TCP4:198.51.100.1:8080"),
        "web for 198.51.100.2\n",
    );
    says(from_outside(&net, "TCP6:[2001:db8:1::1]:8080"), "web for");
    says(from_host(&net, "TCP4:127.0.0.1:8080"), "web for");
}

#[test]
fn a_port_of_a_box_inside_alone_is_the_hosts_own_or_an_error() {
    if lacks_something() {
        return;
    }
    let web = WEB.replace("\"bridge\"", "\"bridge\"\nbridge = \"inner\"");
    let own = format!("{web}ports = [\"127.0.0.1:8080:80\"]\n");
    let all = format!("restart = \"no\"\n{web}ports = [\"127.0.0.1:81:80\", \"8081:80\"]\n");
    let builder = Herd::builder().file("networks/inner.toml", INTERNAL);
    let net = Net::start(builder.unit("own", &own).unit("all", &all));
    listens(&net, "own");
    says(from_host(&net, "TCP4:127.0.0.1:8080"), "web for");
    net.herd.wait_state("all", "failed");
    let failure = net.herd.status("all")["failure"].to_string();
    let told = "port 8081:80/tcp: network inner is internal, where only the host itself reaches a port: \
                give the port an address of 127.0.0.0/8 or [::1], or the box another network too";
    assert!(failure.contains(told), "{failure}");
}

#[test]
fn access_lines_speak_of_the_boxs_port_whatever_of_the_host_leads_to_it() {
    if lacks_something() {
        return;
    }
    let by_host = format!("{WEB}ports = [\"8080:80\"]\nallow = [\"in any:8080\"]\n");
    let by_box = format!("{WEB}ports = [\"8081:80\"]\nallow = [\"in any:80\"]\n");
    let denied = format!("{WEB}ports = [\"8082-8083:79-80\"]\ndeny = [\"in any:80\"]\n");
    let net = Net::with(&[
        ("wrong", &by_host),
        ("right", &by_box),
        ("denied", &denied),
        ("db", IDLE),
    ]);
    for unit in ["wrong", "right", "denied"] {
        listens(&net, unit);
    }
    net.herd.wait_state("db", "active");
    for ask in [from_outside, from_host] {
        says(ask(&net, "TCP4:198.51.100.1:8081"), "web for");
        hears_nothing(ask(&net, "TCP4:198.51.100.1:8080"));
        hears_nothing(ask(&net, "TCP4:198.51.100.1:8083"));
    }
    says(from_box(&net, "db", "TCP4:198.51.100.1:8081"), "web for");
    says(from_box(&net, "db", "TCP4:right:80"), "web for");
    hears_nothing(from_box(&net, "db", "TCP4:198.51.100.1:8083"));
    hears_nothing(from_box(&net, "db", "TCP4:denied:80"));
}
