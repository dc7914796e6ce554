//! What fstab asks for, and what becomes of lines that cannot be had.

use super::fixture::Disk;
use crate::needs;

const ROOT: &str = "LABEL=root / ext4 errors=remount-ro 0 1\n";

#[test]
fn fstab_is_mounted_before_services_and_let_go_after_them() {
    if !needs::machine() {
        return;
    }
    let mut disk = Disk::new()
        .second_disk()
        .file(
            "/etc/fstab",
            &format!("{ROOT}/dev/ubdb /srv/data ext4 noatime 0 2\ntmpfs /srv/scratch tmpfs size=1M,mode=700\n"),
        )
        .unit(
            "early",
            "command = ['/bin/sh', '-c', 'grep -E \" /srv/(data|scratch) \" /proc/mounts | sort; echo kept >>/srv/data/file']\n\
             oneshot = true\nstdout = 'file:/dev/console'",
        )
        .script(
            "look",
            "echo state: $(herd is-active mount-srv-data), lines: $(wc -l </srv/data/file).; dmesg | grep -c 'ubdb.*recovery'; kill -PWR 1",
        );
    for boot in 1..=2 {
        let mut machine = disk.boot();
        assert!(machine.wait("/srv/data ext4").contains("noatime"));
        assert!(machine.wait("/srv/scratch tmpfs").contains("size=1024k"));
        machine.wait(&format!("state: active, lines: {boot}."));
        machine.wait("0");
        machine.ended();
    }
}

#[test]
fn a_broken_line_and_a_device_that_may_be_missing_hold_up_nothing() {
    if !needs::machine() {
        return;
    }
    let mut disk = Disk::new()
        .file(
            "/etc/fstab",
            &format!(
                "{ROOT}onlyone\n/dev/nowhere /srv/nowhere ext4 nofail,x-systemd.device-timeout=1s 0 2\n\
                 tmpfs /srv/scratch tmpfs size=1M\n"
            ),
        )
        .script(
            "look",
            "echo goal: $(herd is-active multi-user), scratch: $(herd is-active mount-srv-scratch), nowhere: $(herd is-active mount-srv-nowhere); kill -PWR 1",
        );
    let mut machine = disk.boot();
    machine.wait("/etc/fstab");
    let line = machine.wait("goal: active, scratch: active, nowhere: ");
    assert!(!line.ends_with(" active"), "{line}");
    machine.ended();
}

#[test]
fn a_disk_that_has_to_be_there_and_is_not_leads_to_the_emergency_shell() {
    if !needs::machine() {
        return;
    }
    let mut disk = Disk::new().file(
        "/etc/fstab",
        &format!("{ROOT}/dev/nowhere /srv/nowhere ext4 x-systemd.device-timeout=1s 0 2\n"),
    );
    let mut machine = disk.boot();
    machine.shell();
    machine.enter("echo one=$(herd is-active emergency) two=$(herd is-active local-fs)");
    machine.wait("one=active two=");
    machine.enter("kill -PWR 1");
    machine.ended();
}
