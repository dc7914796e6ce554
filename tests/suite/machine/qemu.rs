//! What user-mode Linux cannot show: Debian's own kernel with all of its controllers, disks behind the device
//! mapper and md, a kernel that follows another, and a machine that is really switched off.

use super::fixture::Disk;
use crate::needs;

#[test]
fn debians_kernel_boots_to_a_login_hands_over_to_another_and_switches_off() {
    if !needs::emulated_machine() {
        return;
    }
    let mut disk = Disk::new().qemu().tools().with_login().option(&["-k"]).script(
        "look",
        "if grep -q following /proc/cmdline; then
             echo the next kernel: $(herd is-active multi-user)
             until herd logs power-button 2>/dev/null | grep 'listening to /dev/input/'; do sleep 0.5; done
             exit
         fi
         echo goal: $(herd is-active multi-user), kernel: $(uname -r)
         echo controllers: $(cat /sys/fs/cgroup/cgroup.subtree_control).
         echo hierarchies: $(grep -c cgroup /proc/mounts), address: $(ip -br address show eth0)
         herd status | head -3
         mount -L kernel -o ro /mnt
         herd kexec --no-wait && echo begins without a kernel
         kexec --load /mnt/vmlinuz --initrd=/mnt/initramfs --command-line=\"$(cat /proc/cmdline) following\" && echo loaded
         herd kexec --no-wait",
    );
    let mut machine = disk.boot();
    machine.prompt("machine login:");
    let goal = machine.wait("goal: ");
    assert!(
        goal.contains("goal: active") && goal.contains("cloud-amd64"),
        "{goal}"
    );
    let controllers = machine.wait("controllers: ");
    for controller in ["cpuset", "cpu", "io", "memory", "pids"] {
        let there = controllers.split([' ', '.']).any(|word| word == controller);
        assert!(there, "{controller}: {controllers}");
    }
    machine.wait("hierarchies: 1, address: eth0");
    machine.wait("loaded");
    machine.wait("herd: rebooting into the next kernel");
    machine.prompt("machine login:");
    machine.wait("the next kernel: active");
    machine.wait("listening to /dev/input/event");
    machine.press_power_button();
    machine.wait("herd: powering off");
    let said = machine.ended();
    for line in said {
        assert!(!line.contains("begins without"), "{line}");
        assert!(!line.contains(" stays "), "{line}");
    }
}

/// A file system on a loop device, whose file is on one on a mapping on an array on two disks; swap on a second
/// mapping.
#[test]
#[ignore = "two minutes of emulation; `tests/dev vm-long` runs it"]
fn what_lies_between_file_systems_and_disks_is_let_go_in_order() {
    if !needs::emulated_machine() {
        return;
    }
    let mut disk = Disk::new().qemu().tools().option(&["-r"]);
    for mebibytes in [48, 48, 16] {
        disk = disk.empty_disk(mebibytes << 20);
    }
    let mut disk = disk.script(
        "stack",
        r#"set -ex
         udevadm settle
         map() { dmsetup create $1 --table "0 $(blockdev --getsz $2) linear $2 0"; }
         if [ ! -e /var/made ]; then
             touch /var/made
             mdadm --create /dev/md0 --run --assume-clean --level=1 --raid-devices=2 --metadata=1.2 /dev/vdb /dev/vdc 2>&1
             array=/dev/md0
         else
             array=/dev/$(ls /sys/block | grep ^md)
             echo array: $(cat /sys/block/md*/md/array_state) $(cat /sys/block/md*/md/sync_action) $(cat /sys/block/md*/md/degraded).
         fi
         map lower $array
         map swap /dev/vdd
         mkdir -p /srv/lower /srv/inner
         if [ ! -e /var/formatted ]; then
             mkfs.ext4 -q /dev/mapper/lower
             mkswap -q /dev/mapper/swap
             mount /dev/mapper/lower /srv/lower
             truncate -s 16M /srv/lower/file
             mkfs.ext4 -q /srv/lower/file
             touch /var/formatted
         else
             echo lower: $(dumpe2fs -h /dev/mapper/lower 2>/dev/null | grep state:)
             mount /dev/mapper/lower /srv/lower
         fi
         swapon /dev/mapper/swap
         losetup -f /srv/lower/file # loads the module: there is a node for whoever asks
         echo inner: $(dumpe2fs -h /dev/loop0 2>/dev/null | grep state:)
         mount /dev/loop0 /srv/inner
         echo x >>/srv/inner/boots
         echo boots: $(wc -l </srv/inner/boots), recoveries: $(dmesg | grep -c recovery).
         if [ $(wc -l </srv/inner/boots) -lt 2 ]; then reboot; else poweroff; fi"#,
    );
    let mut machine = disk.boot();
    machine.wait("boots: 1, recoveries: 0.");
    // In the order of the stack, each in the round after the one that kept it busy.
    let released = machine.wait("let go of ");
    let order = [
        "/srv/inner",
        "loop device loop0",
        "/srv/lower",
        "mapping lower",
        "array md0",
        "swap /dev/dm-1",
        "mapping swap",
    ];
    let places: Vec<_> = order.iter().map(|what| released.find(what)).collect();
    assert!(
        places.iter().all(Option::is_some) && places.is_sorted(),
        "{released}"
    );
    machine.wait("herd: rebooting");
    assert!(machine.wait("array: ").contains(" idle 0."));
    machine.wait("lower: Filesystem state: clean");
    machine.wait("inner: Filesystem state: clean");
    machine.wait("boots: 2, recoveries: 0.");
    machine.wait("herd: powering off");
    let said = machine.ended();
    for line in said {
        assert!(!line.contains(" stays "), "{line}");
    }
}
