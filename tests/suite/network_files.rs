//! `herd network`: files of networks, and what runs on them.

use crate::fixture::{Herd, Net};
use crate::network_reach::{IDLE, lacks_something};

#[test]
fn a_network_is_written_shown_used_and_removed() {
    if lacks_something() {
        return;
    }
    let web = IDLE.replace("\"bridge\"", "\"bridge\"\nbridge = \"back\"");
    let net = Net::start(Herd::builder().available("web", &web));
    let herd = &net.herd;
    let create = [
        "network",
        "create",
        "back",
        "--subnet",
        "10.77.0.0/24",
        "--no-ipv6",
    ];
    let said = herd.ok(&[&create[..], &["--description", "for the \"database\""]].concat());
    assert!(said.contains("bridge = \"back\""), "{said}");
    assert_eq!(
        herd.read("networks/back.toml"),
        "description = \"for the \\\"database\\\"\"\nsubnet = \"10.77.0.0/24\"\nipv6 = false\n"
    );
    let again = herd.ctl(&create);
    let path = herd.path("networks/back.toml");
    assert_eq!(again.code, 1);
    assert_eq!(
        again.stderr,
        format!(
            "herd: {} exists\nhint: it is left as it is; edit it, or remove it first\n",
            path.display()
        )
    );
    let list = herd.ok(&["network", "list"]);
    assert!(
        list.contains("back  no box  -       10.77.0.0/24  for the \"database\""),
        "{list}"
    );
    herd.ok(&["start", "web"]);
    assert!(net.address("web").starts_with("10.77.0."));
    let show = herd.ok(&["network", "show", "back"]);
    for part in [
        "Gateway: 10.77.0.1\n",
        "Device: herd-back\n",
        "web  10.77.0.",
    ] {
        assert!(show.contains(part), "{show}");
    }
    let refused = herd.ctl(&["network", "remove", "back"]);
    assert_eq!(refused.code, 1);
    assert_eq!(
        refused.stderr,
        "herd: network back has 1 box: web\nhint: stop them first\n"
    );
    herd.ok(&["stop", "web"]);
    herd.ok(&["network", "remove", "back"]);
    assert!(!path.exists());
    let gone = herd.ctl(&["network", "remove", "back"]);
    assert_eq!(
        gone.stderr,
        "herd: there is no network back\nhint: `herd network list` shows all that have a file or a box\n"
    );
    net.assert_nothing_is_left();
}

#[test]
fn what_is_no_network_is_told() {
    let herd = Herd::builder().start();
    for (words, told) in [
        (
            &["create", "a/b"][..],
            "herd: \"a/b\" is no name of a network: the name of a network is 1 to 32 letters, digits, - _ and ., and begins with one of the first two\n",
        ),
        (
            &["create", "n", "--subnet", "10.0.0.0/33"],
            "herd: \"10.0.0.0/33\" is no IPv4 subnet\nhint: write \"10.20.0.0/24\"\n",
        ),
        (
            &["create", "n", "--subnet", "10.0.0.7/24"],
            "herd: 10.0.0.7/24 has bits behind its prefix: the subnet is 10.0.0.0/24\nhint: write \"10.20.0.0/24\"\n",
        ),
        (
            &["create", "n", "--subnet", "127.1.0.0/16"],
            "herd: 127.1.0.0/16: addresses of this kind are no network's\nhint: write \"10.20.0.0/24\"\n",
        ),
        (
            &["create", "n", "--subnet6", "ff00::/64"],
            "herd: ff00::/64: addresses of this kind are no network's\nhint: write \"fd00:1:2:3::/64\"\n",
        ),
    ] {
        let output = herd.ctl(&[&["network"], words].concat());
        assert_eq!(output.stderr, told);
        assert_eq!(output.code, 2);
    }
    assert!(!herd.path("networks/n.toml").exists());
}

#[test]
fn a_network_file_in_error_fails_the_start_and_says_where() {
    if lacks_something() {
        return;
    }
    let web = IDLE.replace("boxed = true\n", "boxed = true\nrestart = \"no\"\n");
    let builder = Herd::builder().unit("web", &web).file(
        "networks/default.toml",
        "subnet = \"10.0.0.0\"\nsubnets = 1\n",
    );
    let net = Net::start(builder);
    net.herd.wait_state("web", "failed");
    let failure = net.herd.status("web")["failure"]
        .as_str()
        .unwrap()
        .to_owned();
    for part in [
        "\"10.0.0.0\" is no IPv4 subnet",
        "unknown key `subnets`",
        "did you mean `subnet`?",
    ] {
        assert!(failure.contains(part), "{failure}");
    }
    let list = net.herd.ok(&["network", "list"]);
    assert!(list.contains("default  broken"), "{list}");
}
