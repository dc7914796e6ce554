//! Logins on the console: offered, used, and back again.

use super::fixture::{Disk, Machine};
use crate::needs;

fn log_in(machine: &mut Machine) {
    machine.prompt("machine login:");
    machine.enter("root");
    machine.prompt("root@machine:~#");
    // A helper of udev's that is killed while it forks is this kernel's end (tests/vm/README.md).
    machine.enter("udevadm settle -t 30");
    machine.prompt("root@machine:~#");
}

#[test]
fn the_console_offers_a_login_and_another_after_each() {
    if !needs::machine() {
        return;
    }
    let mut disk = Disk::new()
        .with_login()
        .file("/etc/locale.conf", "LANG=C.UTF-8\n");
    let mut machine = disk.boot();
    log_in(&mut machine);
    machine.enter("who | tr -s ' ' | sed 's/^/who: /'");
    machine.wait("who: root ttyS0 ");
    machine.enter("echo session: $(tty) $(id -un) $PWD $LANG");
    machine.wait("session: /dev/ttyS0 root /root C.UTF-8");
    machine.prompt("root@machine:~#");
    machine.enter("exit");
    // The next one is a login of its own, and the one before is over.
    log_in(&mut machine);
    machine.enter("echo sessions: $(who | wc -l) $(herd is-active serial-getty@ttyS0)");
    machine.wait("sessions: 1 active");
    machine.enter("kill -PWR 1");
    machine.wait("serial-getty@ttyS0: stopped");
    machine.ended();
}

#[test]
fn a_login_that_is_killed_comes_back() {
    if !needs::machine() {
        return;
    }
    let mut disk = Disk::new().with_login().script(
        "harm",
        "until first=$(pgrep -x agetty); do sleep 0.1; done
         kill -KILL $first
         until second=$(pgrep -x agetty) && [ $second != $first ]; do sleep 0.1; done
         echo; echo another: $(herd is-active serial-getty@ttyS0), $(ps -o args= -p $second)",
    );
    let mut machine = disk.boot();
    let line = machine.wait("another: active, ");
    assert!(
        line.contains("/sbin/agetty -o -p -- \\u --keep-baud "),
        "{line}"
    );
    machine.enter("");
    log_in(&mut machine);
    machine.enter("kill -PWR 1");
    machine.ended();
}

#[test]
fn without_agetty_busybox_offers_the_login() {
    if !needs::machine() {
        return;
    }
    let mut disk = Disk::new()
        .with_login()
        .with_environment()
        .without("/usr/sbin/agetty");
    let mut machine = disk.boot();
    log_in(&mut machine);
    machine.enter("echo getty: $(tr '\\0' ' ' </proc/$PPID/cmdline)");
    // agetty would have said -p.
    assert!(machine.wait("getty: /").ends_with("getty: /bin/login --"));
    machine.enter("kill -PWR 1");
    machine.ended();
}

#[test]
fn without_a_getty_it_is_said_once_that_no_login_is_offered() {
    if !needs::machine() {
        return;
    }
    let mut disk = Disk::new()
        .with_login()
        .without("/usr/sbin/agetty")
        .without("/usr/bin/busybox")
        .script(
            "look",
            "until herd is-failed -q serial-getty@ttyS0; do sleep 0.1; done
             echo goal: $(herd is-active multi-user); herd logs serial-getty@ttyS0 | sed 's/^/log: /'; kill -PWR 1",
        );
    const WORDS: &str = "no login is offered on ttyS0: neither agetty (package util-linux) nor a busybox with getty \
                         (package busybox) is installed";
    let mut machine = disk.boot();
    machine.wait("goal: active");
    machine.wait("log: ");
    let said = machine.ended();
    let count = |words: &str| said.iter().filter(|line| line.contains(words)).count();
    // On the console, and in the log that the script shows.
    assert_eq!(count(WORDS), 2, "{said:#?}");
    assert_eq!(count("serial-getty@ttyS0: failed: exit 69"), 1, "{said:#?}");
}

/// The console is the shell's alone, services are stopped, and all of it comes back behind it.
#[test]
fn rescue_and_emergency_take_the_console_of_a_running_machine_and_give_it_back() {
    if !needs::machine() {
        return;
    }
    let mut disk = Disk::new()
        .with_login()
        .unit("web", "command = 'sleep infinity'");
    let mut machine = disk.boot();
    log_in(&mut machine);
    for (ask, set_up) in [
        ("kill -35 1", "active"),
        ("herd goal emergency", "inactive"),
    ] {
        machine.enter(ask);
        machine.shell();
        machine.enter("echo left: $(pgrep -c agetty) $(pgrep -c sleep) $(herd is-active sysinit).");
        machine.wait(&format!("left: 0 0 {set_up}."));
        machine.enter("exit");
        log_in(&mut machine);
        machine.enter("until herd is-active -q default; do sleep 0.1; done; echo back: $(herd is-active web serial-getty@ttyS0)");
        machine.wait("back: active active");
    }
    machine.enter("kill -PWR 1");
    machine.ended();
}

#[test]
fn a_disk_that_does_not_come_leaves_the_console_to_the_shell_until_its_line_has_gone() {
    if !needs::machine() {
        return;
    }
    let mut disk = Disk::new()
        .with_login()
        .fstab("/dev/nowhere /srv/nowhere ext4 x-systemd.device-timeout=1s 0 2\n");
    let mut machine = disk.boot();
    for _ in 0..2 {
        machine.wait("Emergency: ");
        machine.shell();
        machine.enter("echo left: $(pgrep -c agetty) $(herd is-active basic networking).");
        machine.wait("left: 0 inactive inactive.");
        machine.enter("sleep 1; exit");
    }
    machine.wait("Emergency: ");
    machine.shell();
    machine.enter("sed -i /nowhere/d /etc/fstab; exit");
    log_in(&mut machine);
    machine.enter("kill -PWR 1");
    machine.ended();
}

#[test]
fn who_lets_go_of_one_file_system_stops_nobody_who_does_not_need_it() {
    if !needs::machine() {
        return;
    }
    let user = "command = 'sleep infinity'\nrequires_mounts_for = ['/tmp/here']";
    let mut disk = Disk::new()
        .fstab("tmpfs /tmp tmpfs nosuid,nodev\n")
        .unit("web", "command = 'sleep infinity'")
        .unit("user", user)
        .script(
            "look",
            "herd restart mount-tmp; echo anew: $(herd is-active web user default)
             herd stop mount-tmp; echo after: $(herd is-active web user default mount-tmp)
             herd start user; echo again: $(herd is-active user mount-tmp); kill -PWR 1",
        );
    let mut machine = disk.boot();
    machine.wait("anew: active active active");
    machine.wait("after: active inactive active inactive");
    machine.wait("again: active active");
    machine.ended();
}
