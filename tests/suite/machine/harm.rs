//! What hurts a machine and does not bring its first process down.

use super::fixture::Disk;
use crate::needs;

/// What a machine that is well can still do: answer, start something, switch itself off.
const STILL_WELL: &str =
    "herd is-active multi-user; herd start after && echo started; herd shutdown --no-wait";

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
            &format!("until herd is-failed -q hog; do sleep 0.2; done; herd why hog; {STILL_WELL}"),
        );
    let mut machine = disk.boot();
    machine.wait("killed");
    machine.wait("started");
    machine.ended();
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
    machine.wait("started");
    let said = machine.ended();
    assert!(
        !said.iter().any(|line| line.contains("no answer")),
        "{said:#?}"
    );
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
    machine.wait("started");
    machine.ended();
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
    let mut machine = disk.boot();
    machine.wait("started");
    machine.ended();
    let mut machine = disk.boot();
    assert!(machine.wait("second boot").contains(" 0 KiB free"));
    machine.wait("started");
    machine.ended();
}

#[test]
fn a_crash_of_herd_itself_leaves_the_kernel_running_and_a_shell() {
    if !needs::machine() {
        return;
    }
    let mut disk = Disk::new().script("harm", "kill -SEGV 1");
    let mut machine = disk.boot();
    machine.wait("SIGSEGV");
    machine.shell();
    machine.enter("echo $((6 * 7)) is the answer of a shell");
    machine.wait("42 is the answer of a shell");
    let said = machine.cut();
    assert!(
        !said.iter().any(|line| line.contains("Kernel panic")),
        "{said:#?}"
    );
}
