//! What hurts a machine and does not bring its first process down.

use super::fixture::{Disk, Machine};
use crate::needs;

/// What a machine that is well can still do: answer, start something, switch itself off.
const STILL_WELL: &str = "echo the goal is $(herd is-active multi-user).; herd start after && echo after is $(herd is-active after).; \
     herd shutdown --no-wait";

/// It did all of that; what it said.
fn assert_well(mut machine: Machine) -> Vec<String> {
    let goal = machine.wait("the goal is ");
    assert!(goal.ends_with("the goal is active."), "{goal}");
    let after = machine.wait("after is ");
    assert!(after.ends_with("after is active."), "{after}");
    machine.wait("herd: powering off");
    let said = machine.ended();
    assert_silent(&said, "Kernel panic");
    said
}

fn assert_silent(said: &[String], word: &str) {
    assert!(!said.iter().any(|line| line.contains(word)), "{said:#?}");
}

fn with_after(disk: Disk) -> Disk {
    disk.file(
        "/etc/herd/available/after.toml",
        "command = 'sleep infinity'\n",
    )
}

#[test]
fn herd_survives_when_memory_runs_out() {
    if !needs::machine() {
        return;
    }
    let mut disk = with_after(Disk::new())
        .option(&["-m", "192"])
        .unit(
            "hog",
            "command = ['/bin/sh', '-c', 'exec tail /dev/zero']\nrestart = 'no'",
        )
        .script(
            "look",
            &format!("until herd is-failed -q hog; do sleep 0.2; done; herd why hog; herd logs hog; {STILL_WELL}"),
        );
    let mut machine = disk.boot();
    machine.wait("hog ");
    machine.wait("for want of it on the machine");
    assert_well(machine);
}

/// Each child of the storm has children that nobody waits for, and ends. A bomb that has to be killed while
/// it forks is nothing for user-mode Linux: a fork that fails late brings that kernel down.
#[test]
fn herd_answers_in_a_storm_of_forks() {
    if !needs::machine() {
        return;
    }
    let storm = "command = ['/bin/sh', '-c', 'for i in $(seq 60); do (true & true & true &) & done; wait; echo over >>/run/storms; sleep infinity']\n";
    let mut disk = with_after(Disk::new())
        .unit("storm-1", storm)
        .unit("storm-2", storm)
        .unit("storm-3", storm)
        .script(
            "look",
            &format!(
                "for i in $(seq 20); do herd is-active -q storm-1 storm-2 storm-3 || echo no answer; done; \
                 until [ \"$(cat /run/storms 2>/dev/null | wc -l)\" -eq 3 ]; do herd is-active -q storm-1 || echo no answer; done; echo weathered; {STILL_WELL}"
            ),
        );
    let mut machine = disk.boot();
    machine.wait("weathered");
    assert_silent(&assert_well(machine), "no answer");
}

#[test]
fn orphans_are_reaped_as_fast_as_they_come() {
    if !needs::machine() {
        return;
    }
    let mut disk = with_after(Disk::new()).script(
        "look",
        &format!(
            "for i in $(seq 500); do (true &) ; done; sleep 0.5; \
             echo zombies: $(grep -h '^State:.Z' /proc/[0-9]*/status 2>/dev/null | wc -l).; {STILL_WELL}"
        ),
    );
    let mut machine = disk.boot();
    assert!(machine.wait("zombies: ").ends_with("zombies: 0."));
    assert_well(machine);
}

#[test]
fn a_full_disk_stops_neither_boot_nor_shutdown() {
    if !needs::machine() {
        return;
    }
    let mut disk = with_after(Disk::new()).script(
        "look",
        &format!(
            "if [ -e /filled ]; then echo second boot, $(df / | awk 'END {{ print $4 }}') KiB free; fi
             dd if=/dev/zero of=/filled bs=1M 2>/dev/null; dd if=/dev/zero of=/filled.too bs=1k 2>/dev/null; {STILL_WELL}"
        ),
    );
    assert_well(disk.boot());
    let mut machine = disk.boot();
    assert!(machine.wait("second boot").contains(" 0 KiB free"));
    assert_well(machine);
}
