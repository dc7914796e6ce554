//! An address by DHCP, from a server in a namespace of its own behind a pair of interfaces.

use super::fixture::{Disk, Machine};
use crate::needs;

const SERVER: &str = "start 192.0.2.10\nend 192.0.2.10\ninterface far0\nlease_file /run/leases\n\
    option subnet 255.255.255.0\noption router 192.0.2.1\noption dns 192.0.2.53\noption lease 600\n";

/// First no interface, then no server, then all of it; then an end.
const LOOK: &str = "herd start --no-wait network-online
    states() { echo $1: goal $(herd is-active multi-user), network $(herd is-active network), client $(herd is-active dhcp@eth0), online $(herd is-active network-online); }
    states 'no interface'
    ip netns add far
    ip link add eth0 type veth peer name far0 netns far
    ip -n far address add 192.0.2.1/24 dev far0
    ip -n far link set far0 up
    until ip -br link show eth0 | grep -q ' UP '; do sleep 0.2; done
    states 'no server'
    herd why network-online | head -3
    ip netns exec far busybox udhcpd -f /etc/udhcpd.conf >/run/server 2>&1 &
    until herd is-active -q network-online; do sleep 0.2; done
    states served
    # An address is what online means; clients set the rest behind it.
    until ip route show default | grep -q eth0 && grep -q 192.0.2.53 /etc/resolv.conf; do sleep 0.2; done
    echo address: $(ip -br -4 address show eth0), route: $(ip route show default).
    echo names: $(cat /etc/resolv.conf)
    herd restart dhcp@eth0
    until ip route show default | grep -q eth0; do sleep 0.2; done
    echo again: $(herd is-active dhcp@eth0)
    herd stop dhcp@eth0
    echo client: $(herd is-active dhcp@eth0), address: $(ip -br -4 address show eth0).
    echo clients left: $(pgrep -cf '^(dhclient|udhcpc|dhcpcd)').
    # There is one address: another card gets it only if this one has given it back.
    ip link set eth0 address 02:00:00:00:00:99
    herd start dhcp@eth0
    until ip route show default | grep -q eth0; do sleep 0.2; done
    echo another card: $(ip -br -4 address show eth0)
    herd shutdown --no-wait";

fn gets_an_address(disk: Disk) -> Machine {
    let mut disk = disk
        .file("/etc/udhcpd.conf", SERVER)
        .file(
            "/etc/network/interfaces",
            "auto lo\niface lo inet loopback\n",
        )
        .link(
            "/etc/herd/enabled/dhcp@eth0.toml",
            "/run/herd/boot/dhcp@.toml",
        )
        .script("look", LOOK);
    let mut machine = disk.boot();
    for lacking in ["no interface", "no server"] {
        let line = machine.wait(&format!("{lacking}: "));
        let states = "goal active, network active, client active, online inactive";
        assert!(line.ends_with(states), "{line}");
    }
    machine.wait("online@eth0");
    machine.wait("served: goal active, network active, client active, online active");
    let line = machine.wait("address: ");
    assert!(line.contains("192.0.2.10/24"), "{line}");
    assert!(
        line.contains("route: default via 192.0.2.1 dev eth0"),
        "{line}"
    );
    assert!(machine.wait("names: ").contains("nameserver 192.0.2.53"));
    machine.wait("again: active");
    machine
}

fn gives_it_back(mut machine: Machine) {
    let line = machine.wait("client: inactive, address: ");
    assert!(!line.contains("192.0.2"), "{line}");
    machine.wait("clients left: 0.");
    machine.wait("another card: ");
    machine.ended();
}

#[test]
fn dhclient_gets_an_address_and_gives_it_back() {
    if needs::routed_machine() {
        gives_it_back(gets_an_address(Disk::new()));
    }
}

#[test]
fn udhcpc_gets_an_address_and_gives_it_back() {
    if needs::routed_machine() {
        let disk = Disk::new().tools();
        gives_it_back(gets_an_address(disk.without("/usr/sbin/dhclient")));
    }
}

/// dhcpcd 9.4 now and then does not hear what it is told to do at a stop, so only this is asked of it.
#[test]
fn dhcpcd_gets_an_address() {
    if needs::routed_machine() {
        let disk = Disk::new().tools().without("/usr/sbin/dhclient");
        gets_an_address(disk.without("/usr/sbin/udhcpc")).cut();
    }
}

#[test]
fn without_a_client_the_machine_comes_up_and_says_what_is_missing() {
    if !needs::machine() {
        return;
    }
    let mut disk = Disk::new()
        .without("/usr/sbin/dhclient")
        .link("/etc/herd/enabled/dhcp@lo.toml", "/run/herd/boot/dhcp@.toml")
        .script("look", "herd logs dhcp@lo | grep -m 1 neither\necho goal: $(herd is-active multi-user)\nherd shutdown --no-wait");
    let mut machine = disk.boot();
    machine.wait("neither dhclient nor udhcpc nor dhcpcd is installed");
    machine.wait("goal: active");
    machine.ended();
}
