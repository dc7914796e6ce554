//! What hangs in the kernel at the end of a machine, and keeps it from nothing.

use super::fixture::{Disk, SECOND};
use crate::needs;

#[test]
fn a_file_system_that_cannot_be_let_go_is_named_and_left_at_its_deadline() {
    if !needs::machine() {
        return;
    }
    let mut disk = Disk::new().second_disk().fstab(SECOND).script(
        "freeze",
        "truncate -s 8M /srv/data/image; mkfs.ext4 -q /srv/data/image; mkdir -p /srv/inner
             mount -o loop /srv/data/image /srv/inner; sync
             fsfreeze -f /srv/data; echo lost >/srv/inner/file; echo it is frozen
             herd poweroff --no-wait",
    );
    let mut machine = disk.boot();
    machine.wait("it is frozen");
    machine.wait("the disks take nothing any more");
    machine.wait("file system /srv/inner: letting go of it, for 30 s at most");
    machine.wait("/srv/inner stays mounted: it did not answer");
    machine.wait("herd: powering off");
    machine.ended();
}

/// The kernel's limit counts its own threads too, which alone are more than this.
#[test]
fn a_machine_whose_kernel_gives_no_thread_any_more_is_let_go_and_ends() {
    if !needs::machine() {
        return;
    }
    let mut disk = Disk::new().word("herd.mask=udev").script(
        "end",
        "if [ -e /var/again ]; then
             echo recoveries: $(dmesg | grep -c 'recovery complete').; kill -PWR 1
         else
             touch /var/again
             echo of the kernel: $(ps -o pid= --ppid 2 | wc -l).
             echo 20 >/proc/sys/kernel/threads-max; kill -PWR 1; while :; do :; done
         fi",
    );
    let mut machine = disk.boot();
    let line = machine.wait("of the kernel: ");
    let count = line.trim_end_matches('.').rsplit(' ').next().unwrap();
    assert!(count.parse::<u32>().unwrap() > 20, "{line}");
    machine.wait("herd: powering off");
    let said = machine.ended();
    for word in ["stays", "nothing watches over the end", "Kernel panic"] {
        assert!(!said.iter().any(|line| line.contains(word)), "{said:#?}");
    }
    let mut machine = disk.boot();
    machine.wait("recoveries: 0.");
    machine.ended();
}
