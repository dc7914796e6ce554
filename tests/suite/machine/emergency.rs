//! What somebody finds who is given a shell instead of a login: words about what failed, and the logs of a boot that
//! has not got as far as its disks.

use super::fixture::Disk;
use crate::needs;

const NOWHERE: &str = "/dev/nowhere /srv/nowhere ext4 x-systemd.device-timeout=";

/// Says something before any file system is there.
const EARLY: &str = "command = ['/bin/sh', '-c', 'echo hello from early; exec sleep infinity']\n\
                     default_dependencies = false\n";

#[test]
fn the_emergency_shell_says_what_failed_and_why_and_its_logs_can_be_read() {
    if !needs::machine() {
        return;
    }
    let mut disk = Disk::new()
        .fstab(&format!("{NOWHERE}1s 0 2\n"))
        .unit("early", EARLY)
        .unit(
            "broken",
            "command = 'false'\noneshot = true\nrestart = 'no'\ndefault_dependencies = false\nbefore = ['local-fs']",
        );
    let mut machine = disk.boot();
    machine.wait("Emergency: a shell and nothing else. What has failed:");
    let first = machine.wait("  ");
    let second = machine.wait("  ");
    let reason = "-srv-nowhere: exit 1: line 2 of /etc/fstab: /dev/nowhere has not come within 1s";
    assert_eq!(first, "  broken: exit 1");
    assert!(second.ends_with(reason), "{second}");
    machine.wait(
        "herd status broken and herd logs broken say more. ctrl-D or exit tries the boot again.",
    );
    machine.shell();
    machine.enter("herd logs fsck-srv-nowhere mount-srv-nowhere | grep -o 'has not come within 1s' | sed s/^/log:/");
    machine.wait("log:has not come within 1s");
    machine.enter("herd logs early | grep -o 'hello from early' | sed s/^/log:/");
    machine.wait("log:hello from early");
    machine.enter("herd status broken | grep -o 'Failure: .*' | sed s/^/told:/");
    machine.wait("told:Failure: exit 1");
    machine.enter("kill -PWR 1");
    machine.ended();
}

#[test]
fn a_shell_that_was_asked_for_says_so() {
    if !needs::machine() {
        return;
    }
    for (word, words) in [
        (
            "emergency",
            "Emergency: a shell and nothing else, as was asked for. ctrl-D or exit tries the boot again.",
        ),
        (
            "rescue",
            "Rescue: only file systems are up, as was asked for. ctrl-D or exit goes on with the boot.",
        ),
    ] {
        let mut disk = Disk::new().word(word);
        let mut machine = disk.boot();
        machine.wait(words);
        machine.shell();
        machine.enter("kill -PWR 1");
        machine.ended();
    }
}

#[test]
fn the_logs_of_a_boot_that_waits_can_be_read_and_go_where_they_belong_once_it_goes_on() {
    if !needs::machine() {
        return;
    }
    let mut disk = Disk::new()
        .second_disk()
        .fstab("/dev/late /srv/data ext4 x-systemd.device-timeout=120s 0 0\n")
        .word("quiet")
        .unit("early", EARLY)
        .program(
            "/usr/local/bin/look",
            "exec >/dev/console 2>&1
             until herd logs early 2>/dev/null | grep -q 'hello from early'; do sleep 0.2; done
             echo while it waits: $(ls -d /run/log/herd /var/log/herd 2>/dev/null | tr '\\n' ' ').
             ln -s ubdb /dev/late
             until herd is-active -q local-fs; do sleep 0.2; done
             until [ ! -e /run/log/herd ]; do sleep 0.2; done
             echo afterwards: $(herd logs early | grep -c 'hello from early') $(grep -c 'hello from early' /var/log/herd/early.log).
             kill -PWR 1",
        )
        .unit(
            "look",
            "command = '/usr/local/bin/look'\ndefault_dependencies = false\n",
        );
    let mut machine = disk.boot();
    machine.wait("while it waits: /run/log/herd .");
    machine.wait("afterwards: 1 1.");
    machine.ended();
}

#[test]
fn who_goes_to_emergency_before_the_disks_are_there_finds_the_logs() {
    if !needs::machine() {
        return;
    }
    let mut disk = Disk::new()
        .fstab(&format!("{NOWHERE}infinity 0 2\n"))
        .unit("early", EARLY)
        .unit(
            "hurry",
            "command = ['/bin/sh', '-c', 'echo in a hurry; herd goal emergency --no-wait']\noneshot = true\n\
             default_dependencies = false\nafter = ['early']",
        );
    let mut machine = disk.boot();
    machine.wait("Emergency: a shell and nothing else, as was asked for.");
    machine.shell();
    machine.enter("herd logs hurry | grep -o 'in a hurry' | sed s/^/log:/");
    machine.wait("log:in a hurry");
    machine.enter("herd logs herd | grep -o 'the goal is emergency now' | sed s/^/log:/");
    machine.wait("log:the goal is emergency now");
    machine.enter("kill -PWR 1");
    machine.ended();
}
