//! Process 1 itself breaks: its mistakes are gone on from, its crashes leave the machine running.

use super::fixture::{Disk, Machine};
use crate::needs;

/// Of debug builds, from `SIGRTMIN` on (`herd/src/daemon/fault.rs`).
const IN_AN_EVENT: i32 = 42;
const IN_THE_LOOP: i32 = 43;
const IN_THE_LOG_WRITER: i32 = 44;
const ABORT: i32 = 45;
const IN_A_THREAD: i32 = 46;

/// Once herd has crashed it writes more than any pipe holds, and counts what it got rid of.
const WRITER: &str = "command = ['/bin/sh', '-c', 'until [ -e /run/crashed ]; do sleep 0.1; done; \
    i=0; while :; do head -c 65536 /dev/zero; i=$((i + 1)); echo $i >/run/written; done']\n";

/// The same with notifications, of which a socket holds a few.
const NOTIFIER: &str = "command = ['/usr/bin/perl', '-MSocket', '-e', 'select(undef, undef, undef, 0.1) until -e \"/run/crashed\"; \
    socket(my $s, PF_UNIX, SOCK_DGRAM, 0); connect($s, pack_sockaddr_un(\"/run/herd/notify\")) or die $!; \
    for (1 .. 5000) { send($s, \"STATUS=$_\", 0) or die $! } open(my $f, \">\", \"/run/notified\"); sleep']\n";

/// Every end that one of them must not come to.
fn assert_alive(said: &[String]) {
    let panicked = said.iter().any(|line| line.contains("Kernel panic"));
    assert!(!panicked, "{said:#?}");
}

/// The machine after a crash of its first process: shell, services, children, clients, and a way out.
fn assert_runs_on(mut machine: Machine, reason: &str) {
    let line = machine
        .wait("services run on, nobody looks after them, and what they write is thrown away");
    assert!(
        line.contains("stopped deciding after ") && line.contains(reason),
        "{line}"
    );
    machine.shell();
    machine.enter("written() { cat /run/written 2>/dev/null | grep . || echo 0; }");
    machine.enter("until [ $(written) -ge 100 ] && [ -e /run/notified ]; do sleep 0.1; done; echo still $((6 * 7))");
    machine.wait("still 42");
    // Once more is nothing new, and orphans are reaped.
    machine.enter("kill -SEGV 1; kill -ABRT 1; for i in 1 2 3 4 5 6 7 8 9; do (true &); done");
    machine.enter("while grep -q '^State:.Z' /proc/[0-9]*/status 2>/dev/null; do sleep 0.1; done; echo zombies $((6 - 6))");
    machine.wait("zombies 0");
    machine.enter("before=$(written); until [ $(written) -gt $((before + 20)) ]; do :; done; echo again $((6 * 7))");
    machine.wait("again 42");
    // What user-mode Linux wants of programs (tests/vm/README.md); herd gives it to services.
    machine.enter("export $(grep -o 'GLIBC_TUNABLES=[^ ]*' /proc/cmdline)");
    machine.enter("herd status; echo code $?");
    machine.wait("code 4");
    machine.enter("reboot -f");
    assert_alive(&machine.ended());
}

#[test]
fn a_crash_leaves_the_kernel_the_services_and_a_shell() {
    if !needs::machine() {
        return;
    }
    for (signal, reason) in [
        (libc::SIGSEGV, "(SIGSEGV)"),
        (IN_THE_LOOP, "bug in herd: a mistake on purpose in the loop"),
        (ABORT, "(SIGABRT)"),
        (IN_A_THREAD, "(SIGSEGV)"),
    ] {
        let mut disk = Disk::new()
            .unit("writer", WRITER)
            .unit("notifier", NOTIFIER)
            .script(
                "harm",
                &format!("herd is-active writer notifier; kill -{signal} 1; touch /run/crashed"),
            );
        let mut machine = disk.boot();
        for _ in 0..2 {
            assert!(machine.wait("active").ends_with("active"));
        }
        assert_runs_on(machine, reason);
    }
}

#[test]
fn a_mistake_in_an_event_or_in_the_log_writer_is_told_and_gone_on_from() {
    if !needs::machine() {
        return;
    }
    for (signal, what) in [
        (IN_AN_EVENT, "a mistake on purpose in an event"),
        (IN_THE_LOG_WRITER, "a mistake on purpose in the log writer"),
    ] {
        let mut disk = Disk::new()
            .file("/etc/herd/available/after.toml", "command = ['/bin/sh', '-c', 'echo heard; sleep infinity']\n")
            .script(
                "harm",
                &format!(
                    "kill -{signal} 1; herd start after; until herd logs after | grep heard; do sleep 0.1; done
                     echo the goal is $(herd is-active multi-user).; herd shutdown --no-wait"
                ),
            );
        let mut machine = disk.boot();
        machine.wait("panicked at ");
        machine.wait(what);
        machine.wait("heard");
        machine.wait("the goal is active.");
        machine.wait("herd: powering off");
        assert_alive(&machine.ended());
    }
}
