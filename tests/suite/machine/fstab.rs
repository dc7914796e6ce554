//! What fstab asks for, and what becomes of lines that cannot be had.

use super::fixture::{Disk, ROOT, SECOND};
use crate::needs;

#[test]
fn fstab_is_mounted_before_services_and_let_go_after_them() {
    if !needs::machine() {
        return;
    }
    let mut disk = Disk::new()
        .second_disk()
        .fstab(&format!("{SECOND}tmpfs /srv/scratch tmpfs size=1M,mode=700\n"))
        .unit(
            "early",
            "command = ['/bin/sh', '-c', 'grep -E \" /srv/(data|scratch) \" /proc/mounts | sort; echo kept >>/srv/data/file']\n\
             oneshot = true\nstdout = 'file:/dev/console'",
        )
        .script(
            "look",
            "echo state: $(herd is-active mount-srv-data), lines: $(wc -l </srv/data/file), recoveries: $(dmesg | grep -c 'ubdb.*recovery').; kill -PWR 1",
        );
    for boot in 1..=2 {
        let mut machine = disk.boot();
        assert!(machine.wait("/srv/data ext4").contains("noatime"));
        assert!(machine.wait("/srv/scratch tmpfs").contains("size=1024k"));
        let state = format!("state: active, lines: {boot}, recoveries: 0.");
        assert_eq!(machine.wait("state: "), state);
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
    machine
        .wait("line 2 of /etc/fstab is passed over: a line has a device, a mount point and a type");
    let line = machine.wait("goal: ");
    let is_lost = ["activating", "failed"]
        .iter()
        .any(|state| line == format!("goal: active, scratch: active, nowhere: {state}"));
    assert!(is_lost, "{line}");
    machine.ended();
}

#[test]
fn a_disk_that_has_to_be_there_and_is_not_leads_to_the_emergency_shell() {
    if !needs::machine() {
        return;
    }
    let mut disk =
        Disk::new().fstab("/dev/nowhere /srv/nowhere ext4 x-systemd.device-timeout=1s 0 2\n");
    let mut machine = disk.boot();
    machine.wait("herd: line 2 of /etc/fstab: /dev/nowhere has not come within 1s");
    machine.wait("Emergency: ");
    machine.shell();
    machine.enter("echo one=$(herd is-active emergency) two=$(herd is-active local-fs)");
    machine.wait("one=active two=failed");
    machine.enter("kill -PWR 1");
    machine.ended();
}

/// An ordinary file that says it has seven names: repaired without asking.
const LITTLE_HARM: [&str; 2] = [
    "write /etc/hostname file",
    "set_inode_field /file links_count 7",
];

#[test]
fn a_disk_that_can_be_repaired_is_and_the_boot_goes_on() {
    if !needs::machine() || !needs::program("debugfs") {
        return;
    }
    let mut disk = Disk::new()
        .second_disk()
        .harm_second(&LITTLE_HARM)
        .fstab(SECOND)
        .script(
            "look",
            "herd logs fsck-srv-data | sed 's/^/fsck: /'
             echo goal: $(herd is-active multi-user), names: $(stat -c %h /srv/data/file), mounted: $(grep -c ' /srv/data ext4 rw' /proc/mounts).
             kill -PWR 1",
        );
    let mut machine = disk.boot();
    machine.wait("ref count is 7, should be 1.  FIXED.");
    machine.wait("goal: active, names: 1, mounted: 1.");
    machine.ended();
}

#[test]
fn a_disk_that_cannot_be_repaired_leads_to_the_emergency_shell_with_the_reason() {
    if !needs::machine() || !needs::program("debugfs") {
        return;
    }
    let no_root = (
        Disk::new().second_disk().harm_second(&["clri <2>"]),
        "errors are left that it does not repair by itself (exit 4): ",
        "Root inode is not a directory. /dev/ubdb: UNEXPECTED INCONSISTENCY; RUN fsck MANUALLY.",
    );
    let no_superblock = (
        Disk::new().second_disk().wipe_second(),
        "it could not work (exit 8): ",
        "Bad magic number in super-block while trying to open /dev/ubdb",
    );
    for (disk, why, said) in [no_root, no_superblock] {
        let mut disk = disk.fstab(SECOND).word("quiet");
        let mut machine = disk.boot();
        let line = machine.wait("herd: line 2 of /etc/fstab: fsck of /dev/ubdb: ");
        assert!(line.contains(why) && line.contains(said), "{line}");
        machine.wait("Emergency: ");
        machine.shell();
        machine.enter("echo one=$(herd is-active fsck-srv-data mount-srv-data multi-user)");
        machine.wait("one=failed ");
        machine.enter("grep -c /srv/data /proc/mounts | sed s/^/mounts=/");
        machine.wait("mounts=0");
        machine.enter("kill -PWR 1");
        machine.ended();
    }
}

#[test]
fn a_root_that_was_repaired_is_booted_anew() {
    if !needs::machine() || !needs::program("debugfs") {
        return;
    }
    let mut disk = Disk::new()
        .harm_root(&LITTLE_HARM)
        .word("ro")
        .script(
            "look",
            "echo goal: $(herd is-active multi-user), names: $(stat -c %h /file), check: $(herd is-active fsck-root).
             kill -PWR 1",
        );
    let mut machine = disk.boot();
    machine.wait("herd: the root was repaired while it was mounted: rebooting");
    machine.wait("herd: rebooting");
    let said = machine.ended();
    for word in ["goal: ", "Emergency", "sysinit: active"] {
        assert!(!said.iter().any(|line| line.contains(word)), "{said:#?}");
    }
    let mut machine = disk.boot();
    machine.wait("goal: active, names: 1, check: active.");
    machine.ended();
}

#[test]
fn a_swap_whose_device_does_not_come_is_named_on_the_console() {
    if !needs::machine() {
        return;
    }
    let mut disk = Disk::new()
        .fstab("/dev/nowhere none swap nofail,x-systemd.device-timeout=1s 0 0\n")
        .script(
            "look",
            "until herd is-failed -q swap-dev-nowhere; do sleep 0.1; done; kill -PWR 1",
        );
    let mut machine = disk.boot();
    machine.wait("herd: line 2 of /etc/fstab: /dev/nowhere has not come within 1s");
    machine.ended();
}

#[test]
fn a_swap_file_of_fstab_is_in_use_and_let_go_at_the_end() {
    if !needs::machine() {
        return;
    }
    let mut disk = Disk::new()
        .fstab("/var/swapfile none swap sw,pri=5 0 0\n")
        .unit(
            "make",
            "command = ['/bin/sh', '-ec', 'dd if=/dev/zero of=/var/swapfile bs=1M count=8; chmod 600 /var/swapfile; mkswap /var/swapfile']\n\
             oneshot = true\ndefault_dependencies = false\nafter = ['remount-root']\nbefore = ['swap-var-swapfile']",
        )
        .script(
            "look",
            "echo swap: $(tail -n +2 /proc/swaps) state: $(herd is-active swap-var-swapfile swap)
             herd stop swap-var-swapfile; echo stopped: $(tail -n +2 /proc/swaps | wc -l).
             herd start swap-var-swapfile; echo started: $(tail -n +2 /proc/swaps | wc -l).
             kill -PWR 1",
        );
    let mut machine = disk.boot();
    assert_eq!(
        machine.wait("swap: /"),
        "swap: /var/swapfile file 8188 0 5 state: active active"
    );
    machine.wait("stopped: 0.");
    machine.wait("started: 1.");
    let said = machine.ended();
    assert!(!said.iter().any(|line| line.contains("stay")), "{said:#?}");
}

#[test]
fn what_fstab_mounts_waits_for_a_root_that_is_read_only_at_first() {
    if !needs::machine() {
        return;
    }
    let mut disk = Disk::new()
        .word("ro")
        .file(
            "/etc/fstab",
            // No device has that name: the check is of the one that the root lies on.
            "/dev/root / ext4 defaults 0 1\ntmpfs /mnt/newdir tmpfs defaults 0 0\n\
             cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid 0 0\ndevpts /dev/pts devpts mode=600 0 0\n\
             proc /proc proc defaults,hidepid=1 0 0\n",
        )
        .script(
            "look",
            "echo goal: $(herd is-active multi-user fsck-root remount-root mount-mnt-newdir), mounted: $(grep -c '/mnt/newdir tmpfs' /proc/mounts).
             grep -E ' (/sys/fs/cgroup|/proc|/dev/pts) ' /proc/mounts
             kill -PWR 1",
        );
    let mut machine = disk.boot();
    machine.wait("goal: active active active active, mounted: 1.");
    let lost = |line: String, words: &[&str]| {
        let options: Vec<String> = line.split([' ', ',']).map(str::to_owned).collect();
        let is_lost = |word: &&&str| !options.iter().any(|option| option == **word);
        words.iter().filter(is_lost).count()
    };
    let mut said = machine.ended();
    said.retain(|line| line.split(' ').count() == 6);
    for (place, words) in [
        (
            " /sys/fs/cgroup ",
            &["nsdelegate", "memory_recursiveprot", "nodev"][..],
        ),
        (" /proc ", &["nosuid", "nodev", "noexec"]),
        (
            " /dev/pts ",
            &["nosuid", "noexec", "gid=5", "mode=600", "ptmxmode=666"],
        ),
    ] {
        let line = said.iter().find(|line| line.contains(place)).unwrap();
        assert_eq!(lost(line.clone(), words), 0, "{line}");
    }
}

#[test]
fn what_a_service_writes_as_it_ends_is_on_a_disk_that_nobody_waited_for() {
    if !needs::machine() {
        return;
    }
    let mut disk = Disk::new()
        .second_disk()
        .fstab("/dev/ubdb /data ext4 defaults,nofail 0 2\n")
        .program(
            "/usr/local/bin/keeper",
            // Once herd is done with all that could let go of the disk as a unit.
            "trap 'while [ $(herd is-active mount-data) != inactive ]; do :; done; echo kept >>/data/saved; sync; exit 0' TERM
             sleep infinity & wait",
        )
        .unit("keeper", "command = '/usr/local/bin/keeper'")
        .script(
            "look",
            "herd start mount-data; echo data: $(grep -c ' /data ext4' /proc/mounts), saved: $(wc -l </data/saved), recoveries: $(dmesg | grep -c 'ubdb.*recovery').
             [ -e /data/saved ] || : >/data/saved
             kill -PWR 1",
        );
    let mut machine = disk.boot();
    machine.wait("data: 1, saved: ");
    let said = machine.ended();
    let is_let_go = |line: &String| line.contains("let go of ") && line.contains("/data");
    assert!(said.iter().any(is_let_go), "{said:#?}");
    let mut machine = disk.boot();
    machine.wait("data: 1, saved: 1, recoveries: 0.");
    machine.ended();
}

/// Who mounts it here stands for a program as of fuse, which would end with the unit.
#[test]
fn what_a_program_answers_for_goes_once_the_services_have_stopped() {
    if !needs::machine() {
        return;
    }
    let mut disk = Disk::new()
        .second_disk()
        .fstab("/dev/ubdb /data fuse.ours defaults,nofail 0 0\n")
        .program(
            "/usr/sbin/mount.fuse.ours",
            "mount -i -t ext4 \"$1\" \"$2\"; sleep infinity & echo $! >/run/answers",
        )
        .program(
            "/usr/local/bin/keeper",
            "trap 'until herd logs mount-data | grep -q waits || ! grep -q \" /data \" /proc/mounts; do :; done
             kill -0 $(cat /run/answers) && echo kept >>/data/saved; sync; exit 0' TERM
             sleep infinity & wait",
        )
        .unit("keeper", "command = '/usr/local/bin/keeper'")
        .script(
            "look",
            "herd start mount-data; echo data: $(grep -c ' /data ext4' /proc/mounts), saved: $(cat /data/saved | wc -l), recoveries: $(dmesg | grep -c 'ubdb.*recovery').
             kill -PWR 1",
        );
    let mut machine = disk.boot();
    machine.wait("data: 1, saved: 0, recoveries: 0.");
    let said = machine.ended();
    let is_let_go = |line: &String| line.contains("let go of ") && line.contains("/data");
    assert!(!said.iter().any(is_let_go), "{said:#?}");
    let mut machine = disk.boot();
    machine.wait("data: 1, saved: 1, recoveries: 0.");
    machine.ended();
}

#[test]
fn a_line_that_requires_what_is_not_there_fails_alone_and_swap_says_why_it_fails() {
    if !needs::machine() {
        return;
    }
    let lines = "tmpfs /srv/scratch tmpfs size=1M\n/var/nothing none swap sw 0 0\n";
    let line = |option: &str| {
        format!(
            "{ROOT}tmpfs /srv/lost tmpfs {option}x-systemd.requires=nothere.service 0 0\n{lines}"
        )
    };
    let why = "herd: line 2 of /etc/fstab: /srv/lost requires nothere, which cannot be had";
    let no_swap = "herd: line 4 of /etc/fstab: cannot swap to /var/nothing: swapon: ";
    let mut disk = Disk::new().file("/etc/fstab", &line("nofail,")).script(
        "look",
        "echo goal: $(herd is-active multi-user), scratch: $(herd is-active mount-srv-scratch), lost: $(herd is-active mount-srv-lost); kill -PWR 1",
    );
    let mut machine = disk.boot();
    machine.wait("goal: active, scratch: active, lost: failed");
    let said = machine.ended();
    for word in [why, no_swap] {
        assert!(said.iter().any(|line| line.contains(word)), "{said:#?}");
    }
    let mut disk = Disk::new().file("/etc/fstab", &line(""));
    let mut machine = disk.boot();
    machine.wait(why);
    machine.wait("Emergency: ");
    machine.shell();
    machine.enter("echo one=$(herd is-active local-fs) two=$(herd is-active mount-srv-scratch)");
    machine.wait("one=failed two=active");
    machine.enter("kill -PWR 1");
    machine.ended();
}

/// Nothing waits for a swap that is `nofail`, so nothing orders its end after that of what lies in it.
#[test]
fn swap_that_memory_has_no_room_for_is_left_in_use_at_the_end() {
    if !needs::machine() {
        return;
    }
    let mut disk = Disk::new()
        .empty_disk(128 << 20)
        .option(&["-m", "128"])
        .word("loglevel=5")
        .file(
            "/etc/fstab",
            &format!(
                "{ROOT}/dev/ubdb none swap nofail 0 0\ntmpfs /srv/scratch tmpfs size=150M 0 0\n"
            ),
        )
        .unit(
            "make",
            "command = ['mkswap', '/dev/ubdb']\noneshot = true\ndefault_dependencies = false\n\
             before = ['swap-dev-ubdb']",
        )
        .script(
            "look",
            "if herd logs swap-dev-ubdb | grep 'in use: its .* do not fit into memory'; then kill -PWR 1; exit; fi
             dd if=/dev/zero of=/srv/scratch/file bs=1M count=140 2>/dev/null
             echo used: $(awk 'NR == 2 { print ($4 > 40000) ? \"much\" : \"little\" }' /proc/swaps).
             kill -PWR 1",
        );
    let mut machine = disk.boot();
    machine.wait("used: much.");
    let said = machine.ended();
    for word in ["Out of memory", "invoked oom-killer", "panic"] {
        assert!(!said.iter().any(|line| line.contains(word)), "{said:#?}");
    }
    let mut machine = disk.boot();
    machine.wait("swap /dev/ubdb stays in use: its ");
    machine.ended();
}

/// Who may mount (fuse lets every user) may have given the name.
#[test]
fn a_mount_point_whose_name_is_no_text_keeps_no_disk_from_being_let_go() {
    if !needs::machine() {
        return;
    }
    let mut disk = Disk::new().second_disk().script(
        "look",
        "odd=$(printf '/srv/odd\\344'); mkdir -p \"$odd\"; mount /dev/ubdb \"$odd\"
         echo mounted: $(ls \"$odd\"), recoveries: $(dmesg | grep -c 'ubdb.*recovery').
         kill -PWR 1",
    );
    for _ in 0..2 {
        let mut machine = disk.boot();
        machine.wait("mounted: lost+found, recoveries: 0.");
        let said = machine.ended();
        let is_let_go = |line: &String| line.contains("let go of ") && line.contains("/srv/odd");
        assert!(said.iter().any(is_let_go), "{said:#?}");
    }
}
