//! What the machine was to come to, and what it has come to: `herd goal`, and `runlevel`.

use super::fixture::Disk;
use crate::needs;

#[test]
fn goals_are_told_of_with_their_runlevels() {
    if !needs::machine() {
        return;
    }
    let mut disk = Disk::new().script(
        "look",
        "until runlevel -q; do sleep 0.1; done
         tell() { echo $1: $(herd goal | tail -n +2 | sed 's/ [0-9].*ago .* ago/ reached/') runlevel $(runlevel) who $(who -r | tr -s ' ' | cut -d ' ' -f 2,3,7).; }
         tell first
         herd goal graphical --no-wait; until runlevel | grep -q 5; do sleep 0.1; done; tell second
         herd goal multi-user --no-wait; tell third
         herd goal --json | tr -d ' \\n' | sed 's/:[0-9]*[0-9]/:N/g'; echo
         herd goal rescue --no-wait",
    );
    let mut machine = disk.boot();
    machine.wait("first: default reached runlevel N 3 who run-level 3.");
    machine.wait("second: graphical reached default reached runlevel 3 5 who run-level 5 last=3.");
    machine.wait("third: multi-user reached graphical reached default reached runlevel 3 5");
    machine.wait("[{\"name\":\"multi-user\",\"since\":N,\"reached\":N},{\"name\":\"graphical\",");
    machine.wait("Rescue: ");
    machine.shell();
    machine.enter("echo level=$(runlevel) goals=$(herd goal | awk 'NR == 2 { print $1 }')");
    machine.wait("level=5 1 goals=rescue");
    machine.enter("kill -PWR 1");
    machine.ended();
}

#[test]
fn a_goal_that_is_not_reached_says_so_and_has_no_runlevel() {
    if !needs::machine() {
        return;
    }
    let mut disk = Disk::new().unit(
        "look",
        "command = ['/bin/sh', '-c', 'herd goal; runlevel; echo code: $$?.; kill -PWR 1']\n\
         oneshot = true\nstdout = 'file:/dev/console'",
    );
    let mut machine = disk.boot();
    let words = machine.wait("default  ");
    assert!(words.ends_with(" ago  no"), "{words}");
    machine.wait("unknown");
    machine.wait("code: 1.");
    machine.ended();
}

#[test]
fn a_boot_that_waits_says_for_what_and_how_long_yet() {
    if !needs::machine() {
        return;
    }
    let fstab = "/dev/nowhere /srv/nowhere ext4 x-systemd.device-timeout=40s 0 2\n";
    let mut disk = Disk::new().fstab(fstab);
    let mut machine = disk.boot();
    let words = machine.wait("waiting for: ");
    let (_, words) = words.split_once("waiting for: ").unwrap();
    let (unit, rest) = words.split_once(" (").unwrap();
    assert!(
        ["fsck-srv-nowhere", "mount-srv-nowhere"].contains(&unit),
        "{words}"
    );
    assert!(
        rest.ends_with("; device /dev/nowhere, 40s at most)"),
        "{words}"
    );
    machine.wait("waiting for: ");
    machine.wait("Emergency: ");
    machine.shell();
    machine.enter("kill -PWR 1");
    let said = machine.ended();
    let words = said.iter().filter(|line| line.contains("waiting for: "));
    // After 5 s, 15 s and 35 s.
    assert!((2..=4).contains(&words.count()), "{said:#?}");
}

#[test]
fn a_quiet_boot_waits_without_a_word_and_herd_goal_says_for_what() {
    if !needs::machine() {
        return;
    }
    let mut disk = Disk::new()
        .word("quiet")
        .unit(
            "slow",
            "command = ['/bin/sh', '-c', 'read x </run/gate']\noneshot = true\ncommand_pre = [['mkfifo', '/run/gate']]",
        )
        .unit(
            "look",
            "command = '/usr/local/bin/look'\noneshot = true\nafter = ['sysinit']\nstdout = 'file:/dev/console'",
        )
        .program(
            "/usr/local/bin/look",
            "until herd goal --json | grep -q '\"waits_for\".*[0-9][0-9] s'; do sleep 1; done
             herd goal; herd status slow | head -n 1; echo >/run/gate; kill -PWR 1",
        );
    let mut machine = disk.boot();
    let words = machine.wait("waiting for: ");
    assert!(
        words.starts_with("waiting for: ") && words.contains("slow ("),
        "{words}"
    );
    let said = machine.ended();
    let console = said.iter().filter(|line| line.contains("* waiting for"));
    assert_eq!(console.count(), 0, "{said:#?}");
}
