//! What files of `/etc` make of a machine, seen from inside of it.

use super::fixture::Disk;
use crate::needs;

#[test]
fn names_settings_users_files_and_modules_are_as_their_files_say() {
    if !needs::machine() {
        return;
    }
    let mut disk = Disk::new()
        .file("/etc/hostname", "# ours\nweb7\n")
        .file("/etc/locale.conf", "LANG=C.UTF-8\nLC_TIME=POSIX\n")
        .file("/etc/sysctl.d/50-test.conf", "kernel.sysrq = 17\n")
        .file("/etc/sysusers.d/test.conf", "u shopkeeper 4711 - /srv/shop\n")
        .file(
            "/etc/tmpfiles.d/test.conf",
            "d /run/shop 0750 shopkeeper shopkeeper\nf /srv/shop.txt 0640 root shopkeeper - open\nR! /var/spool/old\n",
        )
        .file("/var/spool/old/letter", "")
        .file("/etc/modules-load.d/test.conf", "# needed\nshopfloor\n")
        .program("/usr/sbin/modprobe", "echo \"modprobe $*\" >>/run/modprobe")
        .program("/usr/bin/setupcon", "echo a font >/run/setupcon")
        .script(
            "look",
            "echo host: $(hostname)
             echo language: $LANG $LC_TIME
             echo sysctl: $(cat /proc/sys/kernel/sysrq)
             echo user: $(getent passwd shopkeeper)
             echo files: $(stat -c '%a %U %G' /run/shop /srv/shop.txt) $(cat /srv/shop.txt) $(ls /var/spool/old 2>&1 | wc -w)
             echo modules: $(cat /run/modprobe)
             echo console: $(cat /run/setupcon)
             echo states: $(herd is-active modules-load sysctl sysusers tmpfiles random-seed)
             kill -PWR 1",
        );
    let mut machine = disk.boot();
    machine.wait("host: web7");
    machine.wait("language: C.UTF-8 POSIX");
    machine.wait("sysctl: 17");
    machine.wait("user: shopkeeper:x:4711:4711::/srv/shop:/usr/sbin/nologin");
    machine.wait("files: 750 shopkeeper shopkeeper 640 root shopkeeper open");
    let modules = machine.wait("modules: modprobe ");
    assert!(modules.ends_with("shopfloor"), "{modules}");
    machine.wait("console: a font");
    machine.wait("states: active active active active active");
    machine.ended();
}

#[test]
fn each_boot_begins_with_a_seed_that_the_one_before_left() {
    if !needs::machine() {
        return;
    }
    let mut disk = Disk::new().script(
        "look",
        "sum=$(sha256sum </var/lib/herd/random-seed | cut -c1-64)
         echo now: $sum, boots without: $(herd logs random-seed | grep -c 'no seed of a boot before').
         herd stop random-seed; sha256sum </var/lib/herd/random-seed | cut -c1-64 | sed 's/^/left: /'
         herd start random-seed; sha256sum </var/lib/herd/random-seed | cut -c1-64 | sed 's/^/next: /'
         kill -PWR 1",
    );
    let mut seeds = Vec::new();
    for _ in 1..=2 {
        let mut machine = disk.boot();
        let line = machine.wait("now: ");
        // Of the first boot, and of no other.
        assert!(line.ends_with("boots without: 1."), "{line}");
        seeds.push(
            line.split_once("now: ")
                .unwrap()
                .1
                .split_at(64)
                .0
                .to_owned(),
        );
        for moment in ["left: ", "next: "] {
            let line = machine.wait(moment);
            seeds.push(line.split_once(moment).unwrap().1.to_owned());
        }
        machine.ended();
    }
    let mut different = seeds.clone();
    different.sort();
    different.dedup();
    assert_eq!(different.len(), seeds.len(), "{seeds:#?}");
}

#[test]
fn addresses_are_set_by_ifupdown_and_by_files_of_herds_own() {
    if !needs::routed_machine() {
        return;
    }
    let mut disk = Disk::new()
        .file(
            "/etc/network/interfaces",
            "auto lo\niface lo inet loopback\nauto old0\niface old0 inet static\n    pre-up ip link add old0 type dummy\n    \
             address 192.0.2.9/25\n    gateway 192.0.2.1\n",
        )
        .file(
            "/etc/herd/interfaces/own0",
            "ADDRESS=\"198.51.100.7/24 2001:db8::7/64\"\nGATEWAY=\"2001:db8::1\"\nDNS=\"198.51.100.53 2001:db8::53\"\n",
        )
        .link("/etc/herd/enabled/static@own0.toml", "/run/herd/boot/static@.toml")
        .unit(
            "device",
            "command = 'ip link add own0 type dummy'\noneshot = true\nremain_after_exit = true\nbefore = ['network-pre']",
        )
        .unit(
            "server",
            "command = ['/bin/sh', '-c', 'ip -br address >/run/at-start']\noneshot = true\n\
             wants = ['network-online']\nafter = ['network-online']",
        )
        .script(
            "look",
            "echo at start: $(grep -c -e 192.0.2.9/25 -e 198.51.100.7/24 /run/at-start).
             echo old0: $(ip -br -4 address show old0)
             echo own0: $(ip -br address show own0)
             echo routes: $(ip route show default) and $(ip -6 route show default)
             echo names: $(cat /etc/resolv.conf)
             herd stop static@own0 networking
             echo stopped: $(ip -br address show own0) and $(ip -br -4 address show old0).
             kill -PWR 1",
        );
    let mut machine = disk.boot();
    machine.wait("at start: 2.");
    assert!(
        machine
            .wait("old0: ")
            .ends_with("old0 UNKNOWN 192.0.2.9/25")
    );
    let own = machine.wait("own0: ");
    assert!(own.contains("198.51.100.7/24 2001:db8::7/64"), "{own}");
    let routes = machine.wait("routes: ");
    assert!(
        routes.contains("default via 192.0.2.1 dev old0")
            && routes.contains("default via 2001:db8::1 dev own0"),
        "{routes}"
    );
    machine.wait("names: nameserver 198.51.100.53 nameserver 2001:db8::53");
    let stopped = machine.wait("stopped: ");
    for address in ["198.51.100.7", "2001:db8::7", "192.0.2.9"] {
        assert!(!stopped.contains(address), "{stopped}");
    }
    machine.ended();
}

#[test]
fn what_no_host_name_can_hold_is_left_out_and_the_console_says_so() {
    if !needs::machine() {
        return;
    }
    let mut disk = Disk::new()
        .file("/etc/hostname", "# of the shop\nweb 7!\n")
        .script("look", "echo host: $(hostname).; kill -PWR 1");
    let mut machine = disk.boot();
    machine.wait(
        "cannot set the name of the host: /etc/hostname: \"web 7!\" is not up to 64 letters, digits, dots and dashes; it is web7 now",
    );
    machine.wait("host: web7.");
    machine.ended();
}
