//! File systems and swaps of fstab that somebody mounts and lets go of without herd.

use super::fixture::Disk;
use crate::needs;

/// For scripts: waits until a unit is in a state.
const AWAIT: &str = "await() { until [ $(herd is-active $1) = $2 ]; do sleep 0.05; done; }
    states() { echo $1: mount $(herd is-active mount-srv-scratch), db $(herd is-active db), local-fs $(herd is-active local-fs), sysinit $(herd is-active sysinit).; }";

#[test]
fn what_is_unmounted_by_hand_is_known_to_be_gone_and_what_is_mounted_by_hand_to_be_there() {
    if !needs::machine() {
        return;
    }
    let mut disk = Disk::new()
        .fstab("tmpfs /srv/scratch tmpfs size=1M\ntmpfs /mnt/later tmpfs noauto,size=1M\n")
        .unit(
            "db",
            "command = 'sleep infinity'\nrequires_mounts_for = ['/srv/scratch/db']",
        )
        .script(
            "look",
            &format!(
                "{AWAIT}
                 await db active; states begin
                 umount /srv/scratch; await mount-srv-scratch inactive; await db inactive; await local-fs inactive
                 states gone; herd why mount-srv-scratch
                 herd start mount-srv-scratch; await db active; await local-fs active; states again; grep -c ' /srv/scratch ' /proc/mounts
                 umount /srv/scratch; await db inactive
                 mount /srv/scratch; await db active; await local-fs active; states hand
                 echo later: $(herd list --all --json | grep -c mount-mnt-later); mkdir -p /mnt/later
                 mount /mnt/later; await mount-mnt-later active; echo later is there
                 umount /mnt/later; await mount-mnt-later inactive; echo later is gone
                 herd stop mount-srv-scratch; herd why mount-srv-scratch; echo mounts: $(grep -c ' /srv/scratch ' /proc/mounts).
                 kill -PWR 1"
            ),
        );
    let mut machine = disk.boot();
    machine.wait("begin: mount active, db active, local-fs active, sysinit active.");
    machine.wait("gone: mount inactive, db inactive, local-fs inactive, sysinit active.");
    machine.wait("mount-srv-scratch is inactive: undone by somebody else");
    machine.wait("again: mount active, db active, local-fs active, sysinit active.");
    machine.wait("1");
    machine.wait("hand: mount active, db active, local-fs active, sysinit active.");
    machine.wait("later is there");
    machine.wait("later is gone");
    machine.wait("mount-srv-scratch is inactive: stopped");
    machine.wait("mounts: 0.");
    let said = machine.ended();
    assert!(!said.iter().any(|line| line.contains("bug")), "{said:#?}");
}

#[test]
fn a_swap_that_is_taken_and_given_by_hand_has_a_unit_that_knows() {
    if !needs::machine() {
        return;
    }
    let mut disk = Disk::new()
        .empty_disk(16 << 20)
        .fstab("/dev/disk/by-label/spare none swap sw 0 0\n")
        .unit(
            "make",
            "command = ['mkswap', '-L', 'spare', '/dev/ubdb']\noneshot = true\ndefault_dependencies = false\n\
             after = ['udev']\nbefore = ['swap-dev-disk-by\\x2dlabel-spare']"
                .replace('\\', "\\\\")
                .replace('\'', "\"")
                .as_str(),
        )
        .script(
            "look",
            &format!(
                "{AWAIT}
                 unit='swap-dev-disk-by\\x2dlabel-spare'
                 await \"$unit\" active; echo listed: $(awk 'NR == 2 {{ print $1 }}' /proc/swaps).
                 swapoff /dev/ubdb; await \"$unit\" inactive; echo gone: $(herd why \"$unit\").
                 swapon /dev/ubdb; await \"$unit\" active; echo there: $(herd is-active \"$unit\").
                 kill -PWR 1"
            ),
        );
    let mut machine = disk.boot();
    machine.wait("listed: /dev/ubdb.");
    machine.wait("label-spare is inactive: undone by somebody else.");
    machine.wait("there: active.");
    machine.ended();
}

/// That nothing happens takes a while to see.
#[test]
fn a_storm_of_mounts_is_looked_at_now_and_then_and_afterwards_herd_sleeps() {
    if !needs::machine() {
        return;
    }
    let mut disk = Disk::new()
        .fstab("tmpfs /srv/scratch tmpfs size=1M\n")
        .script(
            "look",
            &format!(
                "{AWAIT}
                 woken() {{ awk '/^voluntary/ {{ print $2 }}' /proc/1/status; }}
                 for i in $(seq 50); do mount -t tmpfs none /mnt; umount /mnt; umount /srv/scratch; mount /srv/scratch; done
                 await mount-srv-scratch active; echo after the storm: $(herd is-active mount-srv-scratch).
                 umount /srv/scratch; await mount-srv-scratch inactive; echo and then: inactive.
                 sleep 2; before=$(woken); sleep 3; echo woken: $(($(woken) - before)) times.
                 kill -PWR 1"
            ),
        );
    let mut machine = disk.boot();
    machine.wait("after the storm: active.");
    machine.wait("and then: inactive.");
    machine.wait("woken: 0 times.");
    machine.ended();
}

#[test]
fn a_disk_that_is_mounted_by_hand_in_the_emergency_shell_is_what_the_boot_missed() {
    if !needs::machine() {
        return;
    }
    let mut disk =
        Disk::new().fstab("/dev/nowhere /srv/nowhere ext4 x-systemd.device-timeout=1s 0 2\n");
    let mut machine = disk.boot();
    machine.wait("Emergency: ");
    machine.shell();
    machine.enter("mkdir -p /srv/nowhere; mount -t tmpfs none /srv/nowhere");
    machine.enter("until herd is-active -q local-fs; do sleep 0.1; done; echo mount=$(herd is-active mount-srv-nowhere) shell=$(herd is-active emergency-shell)");
    machine.wait("mount=active shell=active");
    machine.enter("exit");
    machine.wait("multi-user: active");
    machine.wait("default: active");
    machine.cut();
}
