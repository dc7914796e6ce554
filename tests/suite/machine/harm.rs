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
            "command = ['/bin/sh', '-c', 'exec tail -c 1000M /dev/zero']\nrestart = 'no'",
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

#[test]
fn herd_survives_a_storm_of_forks() {
    if !needs::machine() {
        return;
    }
    let mut disk = with_after(Disk::new())
        .unit(
            "storm",
            "command = ['/bin/sh', '-c', 'bomb() { bomb | bomb & }; bomb; sleep infinity']\nrestart = 'no'\n\
             [limits]\ntasks = 200\n",
        )
        .script(
            "look",
            &format!("sleep 2; echo storm: $(herd is-active storm); herd stop storm; echo calm: $(herd is-active storm); {STILL_WELL}"),
        );
    let mut machine = disk.boot();
    machine.wait("storm: ");
    machine.wait("calm: inactive");
    machine.wait("started");
    machine.ended();
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
    machine.wait("herd: ");
    machine.wait("SIGSEGV");
    machine.enter("");
    machine.enter("echo $((6 * 7)) is the answer of a shell");
    machine.wait("42 is the answer of a shell");
    let said = machine.cut();
    assert!(
        !said.iter().any(|line| line.contains("Kernel panic")),
        "{said:#?}"
    );
}
