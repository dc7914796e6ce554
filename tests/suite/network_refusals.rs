//! What `[network]` does not take, and the words for it; and what only shows in a directory of units.

use crate::fixture::{Herd, Output};

/// `herd check` of a directory with these files.
fn check(units: &[(&str, &str)]) -> Output {
    let herd = Herd::builder().start();
    for (name, text) in units {
        herd.write(&format!("set/{name}.toml"), text);
    }
    let set = herd.path("set");
    let mut output = herd.ctl(&["check", set.to_str().unwrap()]);
    output.stdout = output.stdout.replace(set.to_str().unwrap(), "set");
    output.stderr = output.stderr.replace(set.to_str().unwrap(), "set");
    output
}

fn boxed(network: &str) -> String {
    format!("command = \"/bin/true\"\nboxed = true\n[network]\n{network}\n")
}

/// The message, the place and the hint of the only diagnostic.
#[track_caller]
fn refused(network: &str, message: &str, hint: &str) {
    let output = check(&[("web", &boxed(network))]);
    let text = format!("{}{}", output.stdout, output.stderr);
    assert_eq!(output.code, 1, "{network}: {text}");
    assert!(
        text.contains(&format!("error: {message}\n")),
        "{network}: {text}"
    );
    assert!(text.contains("set/web.toml:"), "{network}: {text}");
    if !hint.is_empty() {
        assert!(text.contains(hint), "{network}: {text}");
    }
    assert_eq!(text.matches("error: ").count(), 1, "{network}: {text}");
}

#[test]
fn every_wrong_value_is_told_by_kind() {
    for (network, message, hint) in [
        (
            "mode = \"brigde\"",
            "\"brigde\" is not known here",
            "did you mean \"bridge\"?",
        ),
        (
            "mode = \"join:web\"",
            "a unit cannot join its own network",
            "name the unit that has the network, or set `mode = \"bridge\"`",
        ),
        (
            "mode = \"macvlan:a/b\"\naddress = \"10.0.0.2/24\"",
            "\"a/b\" is no name of an interface",
            "`ip link` lists the interfaces of the host",
        ),
        (
            "mode = \"path:netns/x\"",
            "\"netns/x\" is not an absolute path",
            "",
        ),
        (
            "mode = \"bridge\"\nbridge = \"a b\"",
            "the name of a network is 1 to 32 letters, digits, - _ and ., and begins with one of the first two",
            "",
        ),
        (
            "mode = \"bridge\"\nbridge = [\"a\", \"a\"]",
            "network \"a\" is there twice",
            "",
        ),
        (
            "mode = \"bridge\"\naddress = \"10.0.0\"",
            "\"10.0.0\" is no IPv4 address",
            "write \"192.168.1.5\"; with macvlan and ipvlan \"192.168.1.5/24\"",
        ),
        (
            "mode = \"bridge\"\nports = [\"http\"]",
            "\"http\" is no port",
            "write \"8080:80\", \"127.0.0.1:5353:53/udp\", \"[2001:db8::1]:8443:443\" or \"8000-8010:8000-8010\"",
        ),
        (
            "mode = \"bridge\"\nports = [\"224.0.0.1:80:80\"]",
            "\"224.0.0.1:80:80\": nobody comes to a port by a multicast, broadcast, link-local or IPv4-mapped address",
            "",
        ),
        (
            "mode = \"bridge\"\nports = [\"[fe80::1]:80:80\"]",
            "\"[fe80::1]:80:80\": nobody comes to a port by a multicast, broadcast, link-local or IPv4-mapped address",
            "",
        ),
        (
            "mode = \"bridge\"\nports = [\"[::ffff:127.0.0.1]:80:80\"]",
            "\"[::ffff:127.0.0.1]:80:80\": nobody comes to a port by a multicast, broadcast, link-local or IPv4-mapped address",
            "",
        ),
        (
            "mode = \"bridge\"\nports = [\"70000:80\"]",
            "\"70000:80\": ports are 1 to 65535",
            "",
        ),
        (
            "mode = \"bridge\"\nports = [\"8080:80\", \"8080:81\"]",
            "8080:81/tcp and 8080:80/tcp are the same port of the host",
            "keep one of them",
        ),
        (
            "mode = \"bridge\"\nallow = [\"example.org\"]",
            "\"example.org\" is no address to allow or deny",
            "write \"10.0.0.0/8\"",
        ),
        (
            "mode = \"bridge\"\nmac = \"01:00:00:00:00:01\"",
            "\"01:00:00:00:00:01\" is no hardware address",
            "",
        ),
        (
            "mode = \"bridge\"\nmtu = 100",
            "the number must be from 1280 to 65535",
            "",
        ),
        (
            "mode = \"bridge\"\nrate_in = 0",
            "a rate of nothing is no network",
            "\"10M\" is 10 MiB a second",
        ),
        (
            "mode = \"bridge\"\nhosts = { \"a b\" = \"10.0.0.1\" }",
            "\"a b\" is no host name",
            "",
        ),
        (
            "mode = \"bridge\"\ndns = [\"dns.example\"]",
            "\"dns.example\" is no IP address",
            "",
        ),
    ] {
        refused(network, message, hint);
    }
}

#[test]
fn keys_that_a_mode_has_no_use_for_are_refused() {
    for (network, message, hint) in [
        (
            "ports = [\"80\"]",
            "`ports` needs a network of the box's own",
            "set `mode = \"bridge\"` in [network]",
        ),
        (
            "mode = \"host\"\nallow = [\"dns\"]",
            "`allow` needs a network of the box's own",
            "set `mode = \"bridge\"` in [network]",
        ),
        (
            "mode = \"loopback\"\nisolate = true",
            "`isolate` means nothing to a box that nobody reaches by the network",
            "",
        ),
        (
            "mode = \"bridge\"\ngateway = \"10.0.0.1\"",
            "`gateway` means nothing on a bridge, which is the gateway itself",
            "leave it out",
        ),
        (
            "mode = \"bridge\"\nbridge = [\"a\", \"b\"]\naddress = \"10.0.0.2\"",
            "`address` does not say on which of the bridges",
            "name one bridge",
        ),
        (
            "mode = \"bridge\"\naddress = \"10.0.0.2/24\"",
            "`address` has a prefix, which on a bridge is the network's",
            "write the address alone",
        ),
        (
            "mode = \"macvlan:eth0\"",
            "a macvlan needs an `address`: nobody chooses one there",
            "",
        ),
        (
            "mode = \"macvlan:eth0\"\naddress = \"10.0.0.2\"",
            "`address` needs the length of its prefix with macvlan",
            "write \"10.0.0.2/24\"",
        ),
        (
            "mode = \"macvlan:eth0\"\naddress = \"10.0.0.2/24\"\ngateway = \"10.0.1.1\"",
            "gateway 10.0.1.1 is not in 10.0.0.0/24",
            "",
        ),
        (
            "mode = \"macvlan:eth0\"\naddress = \"10.0.0.2/24\"\nports = [\"80\"]",
            "`ports` needs a bridge: packets of a macvlan pass by the host's rules",
            "",
        ),
        (
            "mode = \"ipvlan:eth0\"\naddress = \"10.0.0.2/24\"\nmac = \"02:00:00:00:00:01\"",
            "an ipvlan has the hardware address of the host's interface",
            "use macvlan",
        ),
        (
            "mode = \"path:/run/netns/x\"\ndns = [\"10.0.0.1\"]",
            "`dns` means nothing to a network that somebody else has made",
            "",
        ),
    ] {
        refused(network, message, hint);
    }
}

#[test]
fn network_keys_need_a_box_and_say_so() {
    let unit = "command = \"/bin/true\"\n[network]\nmode = \"bridge\"\nports = [\"80\"]\n";
    let output = check(&[("web", unit)]);
    let text = format!("{}{}", output.stdout, output.stderr);
    for key in ["network.mode", "network.ports"] {
        let told = format!("error: `{key}` means nothing without a box\n");
        assert!(text.contains(&told), "{text}");
    }
    assert!(text.contains("set `boxed = true` at the top"), "{text}");
}

#[test]
fn a_join_is_of_a_unit_that_has_a_network() {
    let web = boxed("mode = \"bridge\"");
    let host = "command = \"/bin/true\"\nboxed = true\n";
    let side = boxed("mode = \"join:web\"");
    assert_eq!(check(&[("web", &web), ("side", &side)]).code, 0);
    for (units, message) in [
        (&[("side", &*side)][..], "there is no unit web"),
        (
            &[("web", host), ("side", &side)],
            "web has no network of its own to join",
        ),
        (
            &[
                ("web", &*web),
                ("side", &*boxed("mode = \"join:web\"\nports = [\"80\"]")),
            ],
            "`ports` means nothing here: the network is web's",
        ),
    ] {
        let output = check(units);
        let text = format!("{}{}", output.stdout, output.stderr);
        assert_eq!(output.code, 1, "{text}");
        assert!(text.contains(&format!("error: {message}\n")), "{text}");
        assert!(text.contains("set/side.toml:"), "{text}");
    }
}

#[test]
fn two_units_with_one_port_are_told_of() {
    let one = boxed("mode = \"bridge\"\nports = [\"53/udp\", \"8080:80\"]");
    for (two, port) in [
        ("\"8000-8090:9000-9090\"", "8080/tcp"),
        ("\"127.0.0.1:8080:1\"", "8080/tcp"),
        ("\"1\", \"[2001:db8::1]:50-60:50-60/udp\"", "53/udp"),
    ] {
        let two = boxed(&format!("mode = \"bridge\"\nports = [{two}]"));
        let output = check(&[("one", &one), ("two", &two)]);
        let text = format!("{}{}", output.stdout, output.stderr);
        let told = format!("warning: one publishes port {port} too\n");
        assert!(text.contains(&told), "{text}");
        assert!(text.contains("set/two.toml:5:"), "{text}");
        let hint = "it does at set/one.toml:5; only one of them can run: choose another, or say `conflicts = [\"one\"]`\n";
        assert!(text.contains(hint), "{text}");
        let excluding = format!("conflicts = [\"one\"]\n{two}");
        let output = check(&[("one", &one), ("two", &excluding)]);
        assert!(!output.stdout.contains("publishes"), "{output:?}");
    }
    for two in ["\"8080:80/udp\"", "\"8081-8090:80-89\"", "\"53\""] {
        let two = boxed(&format!("mode = \"bridge\"\nports = [{two}]"));
        let output = check(&[("one", &one), ("two", &two)]);
        assert!(!output.stdout.contains("publishes"), "{output:?}");
    }
    // Addresses of their own do not meet.
    let two = boxed("mode = \"bridge\"\nports = [\"127.0.0.1:80\"]");
    let three = boxed("mode = \"bridge\"\nports = [\"127.0.0.2:80\"]");
    let output = check(&[("two", &two), ("three", &three)]);
    assert!(!output.stdout.contains("publishes"), "{output:?}");
}

#[test]
fn two_units_with_one_address_are_told_of() {
    let on = |network: &str, keys: &str| {
        boxed(&format!(
            "mode = \"bridge\"\nbridge = \"{network}\"\n{keys}"
        ))
    };
    let wire = |kind: &str| {
        boxed(&format!(
            "mode = \"{kind}:eth0\"\naddress = \"10.0.0.2/24\""
        ))
    };
    let mac = "mac = \"02:00:00:00:00:01\"";
    for (one, two, told) in [
        (
            on("lan", "address = \"10.0.0.2\""),
            on("lan", "address = \"10.0.0.2\""),
            "one has address 10.0.0.2 on network lan too",
        ),
        (
            on("lan", "address6 = \"fd00::2\""),
            on("lan", "address6 = \"fd00:0::2\""),
            "one has address fd00::2 on network lan too",
        ),
        (
            on("lan", mac),
            on("lan", mac),
            "one has hardware address 02:00:00:00:00:01 on network lan too",
        ),
        (
            wire("macvlan"),
            wire("ipvlan"),
            "one has address 10.0.0.2 on the wire of eth0 too",
        ),
    ] {
        let output = check(&[("one", &one), ("two", &two)]);
        let text = format!("{}{}", output.stdout, output.stderr);
        assert!(text.contains(&format!("warning: {told}\n")), "{text}");
        assert!(text.contains("set/two.toml:"), "{text}");
        assert!(text.contains("it does at set/one.toml:"), "{text}");
        let excluding = format!("conflicts = [\"two\"]\n{one}");
        let output = check(&[("one", &excluding), ("two", &two)]);
        assert!(!output.stdout.contains(" too"), "{output:?}");
    }
    for (one, two) in [
        (on("lan", mac), on("wan", mac)),
        (on("lan", "address = \"10.0.0.2\""), wire("macvlan")),
    ] {
        let output = check(&[("one", &one), ("two", &two)]);
        assert!(!output.stdout.contains(" too"), "{output:?}");
    }
}

#[test]
fn a_capability_over_a_network_that_leads_out_needs_a_user_namespace() {
    if !crate::needs::root() {
        return;
    }
    let with = |network: &str, more: &str| {
        let keys = format!("[box]\nambient_capabilities = [\"CAP_NET_ADMIN\"]\n{more}");
        format!("{}{keys}", boxed(network))
    };
    let wire = "mode = \"macvlan:eth0\"\naddress = \"10.0.0.2/24\"";
    for network in ["mode = \"bridge\"", wire] {
        let output = check(&[("web", &with(network, ""))]);
        let text = format!("{}{}", output.stdout, output.stderr);
        assert_eq!(output.code, 1, "{text}");
        let told = "error: CAP_NET_ADMIN reaches from such a network into the host's where the box has no user namespace\n";
        assert!(text.contains(told), "{text}");
        let hint = "set `private_users = \"pick\"` in [box], or leave the capability out";
        assert!(text.contains(hint), "{text}");
        let output = check(&[("web", &with(network, "private_users = \"pick\"\n"))]);
        assert_eq!(output.code, 0, "{output:?}");
    }
    let joins = with("mode = \"join:web\"", "");
    let output = check(&[("web", &boxed("mode = \"bridge\"")), ("side", &joins)]);
    assert!(
        format!("{output:?}").contains("CAP_NET_ADMIN reaches"),
        "{output:?}"
    );
    for network in ["mode = \"loopback\"", "mode = \"host\""] {
        let output = check(&[("web", &with(network, ""))]);
        assert_eq!(output.code, 0, "{output:?}");
    }
}
