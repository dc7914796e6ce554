//! Who reaches whom by `[network] mode = "bridge"`: real packets, between boxes, the host and an outside.

use crate::fixture::{Herd, Net, Output, ask};
use crate::needs;

pub(crate) fn lacks_something() -> bool {
    !(needs::root()
        && needs::unshare(&["--mount", "--net"])
        && needs::program("ip")
        && needs::program("nft")
        && needs::program("socat")
        && needs::program("nsenter"))
}

/// Says its name and who asked, by TCP at port 80 and by UDP at port 53.
pub(crate) const WEB: &str = "command = [\"/bin/sh\", \"-c\", '''
for kind in TCP4-LISTEN:80 TCP6-LISTEN:80,ipv6only; do
    socat -d -d $kind,fork,reuseaddr SYSTEM:'set -f; echo web for $SOCAT_PEERADDR' &
done
exec socat -d -d UDP6-RECVFROM:53,fork SYSTEM:'read line; echo web by UDP'
''']
boxed = true
[network]
mode = \"bridge\"
";

/// Waits until all listen.
pub(crate) fn listens(net: &Net, unit: &str) {
    for text in ["listening on AF=2 ", "listening on AF=10 ", "receiving on"] {
        net.herd.wait_log(unit, text);
    }
}

pub(crate) const IDLE: &str = "command = [\"/bin/sleep\", \"1000\"]
boxed = true
[network]
mode = \"bridge\"
";

#[track_caller]
pub(crate) fn says(output: Output, text: &str) {
    assert!(output.stdout.contains(text), "{output:?}");
}

/// What `socat` is told by this address, from a box.
pub(crate) fn from_box(net: &Net, unit: &str, to: &str) -> Output {
    let words = ask(to);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    net.in_box(unit, &words)
}

pub(crate) fn from_host(net: &Net, to: &str) -> Output {
    let words = ask(to);
    net.host
        .run(&words.iter().map(String::as_str).collect::<Vec<_>>())
}

pub(crate) fn from_outside(net: &Net, to: &str) -> Output {
    let words = ask(to);
    net.outside(&words.iter().map(String::as_str).collect::<Vec<_>>())
}

#[test]
fn a_box_has_addresses_a_route_and_names_of_its_own() {
    if lacks_something() {
        return;
    }
    let net = Net::with(&[("web", IDLE)]);
    net.herd.wait_state("web", "active");
    let (four, six) = (net.address("web"), net.address6("web"));
    let links = net.in_box("web", &["ip", "-br", "addr"]).stdout;
    let eth0 = links.lines().find(|line| line.starts_with("eth0")).unwrap();
    assert!(eth0.contains(&format!("{four}/32")), "{links}");
    assert!(eth0.contains(&format!("{six}/128")), "{links}");
    let routes = net.in_box("web", &["ip", "route"]).stdout;
    assert!(routes.contains("default via 10."), "{routes}");
    let hosts = net.in_box("web", &["cat", "/etc/hosts"]).stdout;
    assert!(hosts.contains("127.0.0.1\tlocalhost\n"), "{hosts}");
    assert!(hosts.contains(&format!("{four}\tweb\n")), "{hosts}");
    let resolv = net.in_box("web", &["cat", "/etc/resolv.conf"]).stdout;
    assert_eq!(resolv, "nameserver 203.0.113.9\nsearch example.test\n");
}

#[test]
fn a_box_reaches_the_outside_and_has_the_hosts_address_there() {
    if lacks_something() {
        return;
    }
    let net = Net::with(&[("web", IDLE)]);
    net.herd.wait_state("web", "active");
    let _listener = net.listen_outside(7);
    let four = from_box(&net, "web", "TCP4:203.0.113.9:7");
    says(four, "outside for 198.51.100.1\n");
    let six = from_box(&net, "web", "TCP6:[2001:db8:1::2]:7");
    says(six, "[2001:0db8:0001:0000:0000:0000:0000:0001]");
}

#[test]
fn boxes_reach_each_other_by_the_names_of_their_units() {
    if lacks_something() {
        return;
    }
    let net = Net::with(&[("web", WEB), ("db", IDLE)]);
    listens(&net, "web");
    net.herd.wait_state("db", "active");
    let from = net.address("db");
    says(
        from_box(&net, "db", "TCP4:web:80"),
        &format!("web for {from}\n"),
    );
    says(from_box(&net, "db", "TCP6:web:80"), "web for");
    let hosts = net.in_box("web", &["cat", "/etc/hosts"]).stdout;
    assert!(hosts.contains(&format!("{from}\tdb\n")), "{hosts}");
    net.herd.ok(&["stop", "db"]);
    let hosts = net.in_box("web", &["cat", "/etc/hosts"]).stdout;
    assert!(!hosts.contains("db"), "{hosts}");
}

#[test]
fn published_ports_lead_into_the_box_from_everywhere() {
    if lacks_something() {
        return;
    }
    let web = format!("{WEB}ports = [\"8080:80\", \"5353:53/udp\"]\n");
    let net = Net::with(&[("web", &web), ("db", IDLE)]);
    listens(&net, "web");
    net.herd.wait_state("db", "active");
    for to in ["127.0.0.1", "198.51.100.1", &net.address("web")] {
        let port = if to.starts_with("10.") { 80 } else { 8080 };
        says(from_host(&net, &format!("TCP4:{to}:{port}")), "web for");
    }
    says(from_host(&net, "TCP6:[2001:db8:1::1]:8080"), "web for");
    says(
        from_outside(&net, "TCP4:198.51.100.1:8080"),
        "web for 198.51.100.2\n",
    );
    says(from_outside(&net, "TCP6:[2001:db8:1::1]:8080"), "web for");
    // From the other box, and from the box itself.
    says(from_box(&net, "db", "TCP4:198.51.100.1:8080"), "web for");
    says(from_box(&net, "web", "TCP4:198.51.100.1:8080"), "web for");
    let udp = |output: Output| says(output, "web by UDP");
    let send = |to: &str| format!("echo | socat -t1 -T3 - UDP:{to}");
    udp(net.host.run(&["sh", "-c", &send("127.0.0.1:5353")]));
    udp(net.host.run(&["sh", "-c", &send("198.51.100.1:5353")]));
    udp(net.outside(&["sh", "-c", &send("198.51.100.1:5353")]));
    udp(net.outside(&["sh", "-c", &send("[2001:db8:1::1]:5353")]));
    udp(net.in_box("db", &["sh", "-c", &send("198.51.100.1:5353")]));
}

#[test]
fn the_first_packet_of_ipv6_reaches_a_box_on_a_new_network() {
    if lacks_something() {
        return;
    }
    let web = format!("{WEB}ports = [\"8080:80\"]\n");
    let net = Net::with(&[("web", &web)]);
    listens(&net, "web");
    // A lost one is sent again after a second.
    let to = "TCP6:[2001:db8:1::1]:8080,connect-timeout=0.9";
    says(net.outside(&["socat", "-T3", "-", to]), "web for");
}

#[test]
fn a_port_of_one_address_is_a_port_of_that_address_alone() {
    if lacks_something() {
        return;
    }
    let web = format!("{WEB}ports = [\"127.0.0.1:8080:80\"]\n");
    let net = Net::with(&[("web", &web)]);
    listens(&net, "web");
    says(from_host(&net, "TCP4:127.0.0.1:8080"), "web for");
    assert_eq!(from_outside(&net, "TCP4:198.51.100.1:8080").stdout, "");
    assert_eq!(from_host(&net, "TCP4:198.51.100.1:8080").stdout, "");
}

#[test]
fn a_port_of_all_addresses_of_one_family_is_none_of_the_other() {
    if lacks_something() {
        return;
    }
    let web = format!("{WEB}ports = [\"0.0.0.0:8080:80\", \"[::]:8081:80\"]\n");
    let net = Net::with(&[("web", &web)]);
    listens(&net, "web");
    for (address, port, other) in [
        ("TCP4:198.51.100.1", 8080, 8081),
        ("TCP6:[2001:db8:1::1]", 8081, 8080),
    ] {
        says(from_outside(&net, &format!("{address}:{port}")), "web for");
        says(from_host(&net, &format!("{address}:{port}")), "web for");
        assert_eq!(from_outside(&net, &format!("{address}:{other}")).stdout, "");
    }
    says(from_host(&net, "TCP4:127.0.0.1:8080"), "web for");
    assert_eq!(net.herd.status("web")["ports"][1], "[::]:8081:80/tcp");
}

#[test]
fn a_port_of_ipv6_is_refused_where_the_network_has_none() {
    if lacks_something() {
        return;
    }
    let web = format!("restart = \"no\"\n{IDLE}ports = [\"[::]:8081:80\"]\n");
    let builder = Herd::builder()
        .available("web", &web)
        .file("networks/default.toml", "ipv6 = false\n");
    let net = Net::start(builder);
    let refused = net.herd.ctl(&["start", "web"]);
    let told = "port [::]:8081:80/tcp: network default, where it leads, has no IPv6";
    assert!(refused.stderr.contains(told), "{refused:?}");
    net.assert_nothing_is_left();
}

#[test]
fn a_box_on_a_wire_of_the_host_is_reached_there_or_the_kernel_lacks_the_kind() {
    if lacks_something() {
        return;
    }
    let net = Net::start(Herd::builder());
    for kind in ["macvlan", "ipvlan"] {
        let mode = format!("\"{kind}:wan\"\naddress = \"198.51.100.77/24\"");
        let web = format!("restart = \"no\"\n{}", WEB.replace("\"bridge\"", &mode));
        net.herd.write_unit(kind, &web);
        net.herd.ok(&["rescan"]);
        let started = net.herd.ctl(&["start", kind]);
        let has_none = net.host.run(&[
            "ip", "link", "add", "link", "wan", "name", "try", "type", kind,
        ]);
        if has_none.stderr.contains("Unknown device type") {
            let told = format!("this kernel has no {kind}");
            assert!(started.stderr.contains(&told), "{started:?}");
        } else {
            net.host(&["ip", "link", "delete", "try"]);
            listens(&net, kind);
            says(from_outside(&net, "TCP4:198.51.100.77:80"), "web for");
            net.herd.ok(&["stop", kind]);
        }
        net.herd.remove_unit(kind);
        net.wait_until_nothing_is_left();
    }
}

#[test]
fn a_box_on_two_networks_has_an_end_on_each() {
    if lacks_something() {
        return;
    }
    let front = IDLE.replace("\"bridge\"", "\"bridge\"\nbridge = \"front\"");
    let back = WEB.replace("\"bridge\"", "\"bridge\"\nbridge = \"back\"");
    let both = IDLE.replace("\"bridge\"", "\"bridge\"\nbridge = [\"front\", \"back\"]");
    let net = Net::with(&[("front", &front), ("back", &back), ("both", &both)]);
    listens(&net, "back");
    net.herd.wait_state("front", "active");
    net.herd.wait_state("both", "active");
    says(from_box(&net, "both", "TCP4:back:80"), "web for");
    // One that is on another network alone does not even know the name.
    assert_eq!(from_box(&net, "front", "TCP4:back:80").stdout, "");
    let status = net.herd.status("both");
    let networks: Vec<_> = status["addresses"].as_array().unwrap().iter().collect();
    assert_eq!(networks.len(), 2, "{status:#}");
    assert_eq!(networks[0]["network"], "front");
    assert_eq!(networks[1]["network"], "back");
}

#[test]
fn status_and_network_show_where_a_box_is() {
    if lacks_something() {
        return;
    }
    let web = format!("{WEB}ports = [\"8080:80\"]\n");
    let net = Net::with(&[("web", &web)]);
    net.herd.wait_state("web", "active");
    let (four, six) = (net.address("web"), net.address6("web"));
    let status = net.herd.ok(&["status", "web"]);
    assert!(
        status.contains(&format!("    Network: default: {four}, {six}\n")),
        "{status}"
    );
    assert!(status.contains("      Ports: 8080:80/tcp\n"), "{status}");
    let list = net.herd.ok(&["network", "list"]);
    assert!(list.contains("default  1 box  herd-default  10."), "{list}");
    let show = net.herd.ok(&["network", "show", "default"]);
    assert!(show.contains("none; everything is chosen"), "{show}");
    assert!(show.contains(&format!("web  {four}")), "{show}");
    let json = net.herd.json(&["network", "show", "default"]);
    assert_eq!(json["boxes"][0]["name"], "web");
    assert_eq!(json["boxes"][0]["ports"][0], "8080:80/tcp");
    let plan = net.herd.ok(&["plan", "web"]);
    let step = "take a place on network default for eth0, with the host's ports 8080:80/tcp\n";
    assert!(plan.contains(step), "{plan}");
    // What it has is shown as it is; what each start has anew, as the manual calls it.
    let links = net.host(&["ip", "-o", "link"]);
    let (_, end) = links.split_once(": hv").unwrap();
    let own = format!(
        "/run/herd/network/box-{}/hosts",
        end.split('.').next().unwrap()
    );
    assert!(plan.contains(&own), "{plan}");
    net.herd.ok(&["stop", "web"]);
    let plan = net.herd.ok(&["plan", "web"]);
    assert!(plan.contains("/run/herd/network/box-ID/hosts"), "{plan}");
    assert!(!plan.contains(&own), "{plan}");
    net.herd.ok(&["start", "web"]);
    let security = net.herd.ok(&["security", "web"]);
    assert!(security.contains("has a network of its own"), "{security}");
}

/// Answers every question about an address with 192.0.2.7, and nothing else.
const RESOLVER: &str = "perl -e 'use IO::Socket::INET; \
    my $s = IO::Socket::INET->new(LocalAddr => \"203.0.113.9\", LocalPort => 53, Proto => \"udp\") or die; \
    while ($s->recv(my $q, 512)) { my ($name) = substr($q, 12) =~ /^((?:[\\x01-\\x3f].*?)?\\x00)/s; \
    my $kind = unpack(\"n\", substr($q, 12 + length $name, 2)); \
    my $end = substr($q, 12, length($name) + 4); my $a = $kind == 1; \
    $s->send(substr($q, 0, 2) . pack(\"n5\", 0x8180, 1, $a, 0, 0) . $end . \
    ($a ? pack(\"nnnNnC4\", 0xc00c, 1, 1, 60, 4, 192, 0, 2, 7) : \"\")); }'";

#[test]
fn a_name_is_resolved_by_the_server_in_the_boxs_resolv_conf() {
    if lacks_something() || !needs::program("perl") {
        return;
    }
    let net = Net::with(&[("web", IDLE)]);
    net.herd.wait_state("web", "active");
    let mut resolver = net.host.command();
    resolver.args([
        "ip",
        "netns",
        "exec",
        "outside",
        "sh",
        "-c",
        &format!("exec {RESOLVER}"),
    ]);
    let mut resolver = resolver.spawn().unwrap();
    let deadline = crate::fixture::Deadline::new();
    while !net.outside(&["ss", "-lunH"]).stdout.contains(":53 ") {
        assert!(!deadline.left().is_zero(), "nobody resolves");
    }
    let told = net.in_box("web", &["getent", "ahostsv4", "somebody.example"]);
    resolver.kill().unwrap();
    resolver.wait().unwrap();
    says(told, "192.0.2.7");
}
