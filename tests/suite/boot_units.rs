//! What a machine's boot is made of beside services, as the first process of user-mode Linux sees it.

use crate::fixture::{HERD, Uml};

/// Two disks: one with a file system called data, one with swap.
const DISKS: &str = "
    dd if=/dev/zero of=/var/tmp/disk bs=1M count=16 2>/dev/null; losetup /dev/loop0 /var/tmp/disk
    mkfs.ext4 -q -L data /dev/loop0; mkdir -p /mnt; mount /dev/loop0 /mnt; mkdir /mnt/sub; umount /mnt
    dd if=/dev/zero of=/var/tmp/swap bs=1M count=8 2>/dev/null; losetup /dev/loop1 /var/tmp/swap
    chmod 600 /var/tmp/swap; mkswap /dev/loop1 >/dev/null";

#[test]
fn what_fstab_says_is_checked_mounted_bound_and_swapped_on() {
    let said = Uml::new()
        .lay(DISKS)
        .file(
            "/etc/fstab",
            "LABEL=data /srv/data ext4 noatime 0 2
a broken line of fstab
/srv/data/sub /srv/bound none bind
tmpfs /srv/my\\040tmp tmpfs size=1m,mode=700
/dev/nowhere /srv/none ext4 nofail,x-systemd.device-timeout=1s 0 2
/dev/loop0 /srv/later ext4 noauto
proc /proc proc hidepid=invisible
/dev/loop1 none swap sw,pri=7",
        )
        .unit(
            "needy",
            "requires_mounts_for = ['/srv/data/deep/below']\noneshot = true\nremain_after_exit = true\n\
             command = 'findmnt -no SOURCE,FSTYPE,OPTIONS /srv/data'",
        )
        .look(
            "echo == mounts; findmnt -rno TARGET,OPTIONS
             echo == swaps; cat /proc/swaps
             echo == needy; herd logs needy; herd why needy
             echo == nofail; herd is-active local-fs; herd status mount-srv-none
             echo == later; herd is-active mount-srv-later
             echo == herd; herd logs herd
             echo == fsck; herd logs fsck-srv-data
             sed -i '/srv.bound/d; s,a broken.*,/srv/data /srv/again none bind,' /etc/fstab
             echo == rescan; herd rescan
             echo == again; herd start mount-srv-again && findmnt -rno SOURCE /srv/again
             herd stop mount-srv-again; findmnt /srv/again || echo gone
             findmnt -rno TARGET /srv/bound",
        );
    let Some(said) = said else { return };
    said.has("mounts", "/srv/data rw,noatime");
    said.has("mounts", "/srv/bound rw");
    said.has("mounts", "/srv/my\\x20tmp rw,relatime,size=1024k,mode=700");
    said.has("mounts", "hidepid=invisible");
    said.has("swaps", "/dev/loop1");
    said.has("needy", "/dev/loop0 ext4   rw,noatime");
    said.has("nofail", "active\n");
    said.has("nofail", "/srv/none, line 5 of /etc/fstab");
    assert_eq!(said.part("later"), "inactive");
    said.has(
        "herd",
        "line 2 of /etc/fstab is passed over: the fifth field \"fstab\" is not a number",
    );
    said.has("fsck", "data: clean");
    said.has("rescan", "added mount-srv-again");
    said.has("rescan", "removed mount-srv-bound");
    // What is mounted stays, though its line is gone.
    assert!(
        said.part("again").ends_with("/dev/loop0\ngone\n/srv/bound"),
        "{}",
        said.part("again")
    );
}

#[test]
fn what_must_be_mounted_and_cannot_be_ends_in_the_emergency_shell() {
    let boot = Uml::new();
    let path = boot.path("look");
    let shell = format!("command = '{}'\ncommand_stop_post = []", path.display());
    let said = boot
        .looker("echo == state; herd is-active web local-fs; herd why local-fs; herd why web")
        .file(
            "/etc/fstab",
            "/srv/nothing /srv/bound none bind\n/dev/nowhere /x ext4 x-systemd.device-timeout=1s",
        )
        .file(
            "/etc/herd/available/emergency-shell.toml.d/50-test.toml",
            &shell,
        )
        .unit("web", "command = 'sleep infinity'")
        .word("quiet")
        .run();
    let Some(said) = said else { return };
    for line in [
        "herd: line 1 of /etc/fstab: cannot mount /srv/nothing on /srv/bound: mount: /srv/bound: special device \
         /srv/nothing does not exist.",
        "herd: line 2 of /etc/fstab: /dev/nowhere has not come within 1s",
        "local-fs: failed: mount-srv-bound, which it requires, is not active",
    ] {
        assert!(said.console.contains(line), "{line}\n{}", said.console);
    }
    let states: Vec<&str> = said.part("state").lines().take(2).collect();
    assert_ne!(states[0], "active");
    assert_eq!(states[1], "failed");
    said.has("state", "mount-srv-bound, which it requires, is not active");
}

#[test]
fn a_boot_goes_on_once_fstab_is_mended_in_the_emergency_shell() {
    let boot = Uml::new();
    let mend = "sed -i s,/srv/nothing,/usr, /etc/fstab; echo mended >/dev/console";
    let shell = format!("command = ['/bin/sh', '-c', '{mend}']");
    let said = boot
        .file("/etc/fstab", "/srv/nothing /srv/bound none bind,ro")
        .file("/etc/herd/available/emergency-shell.toml.d/50-test.toml", &shell)
        .unit("web", "command = 'sleep infinity'")
        .look("echo == state; findmnt -rno TARGET /srv/bound; herd is-active web default; herd logs herd");
    let Some(said) = said else { return };
    assert!(said.console.contains("mended"), "{}", said.console);
    assert!(
        said.part("state")
            .starts_with("/srv/bound\nactive\nactive\n"),
        "{}",
        said.look
    );
    said.has("state", "the goal is default now");
}

#[test]
fn a_boot_sets_the_kernel_up_and_passes_over_what_is_not_installed() {
    let said = Uml::new()
        .file(
            "/etc/sysctl.d/50-test.conf",
            "kernel.sysrq = 17\n-kernel.panic = nonsense\nkernel.nonsense = 1\nnet.ipv4.conf.*.rp_filter = 2\n\
             fs.file-max = many\nbroken",
        )
        .file("/etc/locale.conf", "LANG=C.UTF-8")
        .file("/etc/herd/interfaces/lo", "ADDRESS=\"192.0.2.7/32 192.0.2.8/32\"")
        .lay("ln -s /run/herd/boot/static@.toml /etc/herd/enabled/static@lo.toml; mv /sbin/modprobe /sbin/modprobe.not")
        .unit("first", "command = 'sleep infinity'\ncondition.first_boot = true")
        .unit("worded", "command = 'sleep infinity'\ncondition.kernel_command_line = 'VM_PID1'")
        .unit("wordless", "command = 'sleep infinity'\ncondition.kernel_command_line = 'nobody.says.this'")
        .lay("rm -f /etc/machine-id")
        .look(
            "echo == sysctl; cat /proc/sys/kernel/sysrq /proc/sys/net/ipv4/conf/lo/rp_filter; herd logs sysctl
             echo == sysinit; herd is-active sysinit
             echo == modules; herd status modules-load; herd why modules-load
             echo == udev; herd why udev
             echo == seed; stat -c '%a %s' /var/lib/herd/random-seed; herd logs random-seed; sum </var/lib/herd/random-seed
             herd stop random-seed; sum </var/lib/herd/random-seed; herd start random-seed
             echo == locale; echo $LANG
             echo == lo; ip -br address show lo
             herd check /etc/herd/enabled/static@lo.toml
             echo == conditions; herd is-active first worded wordless
             echo == status; herd status
             echo == all; herd status --all",
        );
    let Some(said) = said else { return };
    assert!(
        said.part("sysctl").starts_with("17\n2\n"),
        "{}",
        said.part("sysctl")
    );
    for line in [
        "/etc/sysctl.d/50-test.conf:6: \"broken\" is passed over: it is not key = value",
        "/etc/sysctl.d/50-test.conf:3: cannot set kernel/nonsense to \"1\": no such file or directory",
        "/etc/sysctl.d/50-test.conf:2: cannot set kernel/panic to \"nonsense\": invalid argument",
        "/etc/sysctl.d/50-test.conf:5: cannot set fs/file-max to \"many\": invalid argument",
        "herd: 2 of the settings could not be made",
    ] {
        said.has("sysctl", line);
    }
    assert_eq!(said.part("sysinit"), "active");
    said.has(
        "modules",
        "file_is_executable = \"/sbin/modprobe\" does not hold",
    );
    said.has("udev", "does not hold");
    assert!(!said.console.contains("udev: skipped"), "{}", said.console);
    assert!(
        said.console.contains("sysctl: failed: exit 1"),
        "{}",
        said.console
    );
    said.has("seed", "600 512");
    said.has("seed", "there is no seed of a boot before");
    let sums: Vec<&str> = said.part("seed").lines().rev().take(2).collect();
    assert_ne!(sums[0], sums[1]);
    said.has("locale", "C.UTF-8");
    said.has("lo", "192.0.2.7/32 192.0.2.8/32");
    assert_eq!(said.part("conditions"), "active\nactive\ninactive");
    let names = |part: &str| -> Vec<String> {
        let lines = said.part(part).lines().skip(1);
        let first = lines.filter_map(|line| line.split_whitespace().next());
        first.map(str::to_owned).collect()
    };
    assert_eq!(
        names("status"),
        ["first", "look", "static@lo", "worded", "wordless", "sysctl"]
    );
    let all = names("all");
    assert_eq!(all[..2], ["first", "look"]);
    assert!(all.contains(&"multi-user".to_owned()));
    assert!(!all.contains(&"user@".to_owned()));
}

#[test]
fn a_user_who_lingers_has_a_herd_of_their_own_and_all_of_it_ends_with_it() {
    let said = Uml::new()
        .lay(
            "echo ann:x:4242:4242::/home/ann:/bin/bash >>/etc/passwd; echo ann:x:4242: >>/etc/group
             mkdir -p /home/ann/.config/herd/enabled /var/lib/herd/linger; touch /var/lib/herd/linger/{ann,nobody-here}
             echo 'command = \"sleep 4242\"' >/home/ann/.config/herd/enabled/mine.toml; chown -R 4242:4242 /home/ann",
        )
        .look(
            "ann() { setpriv --reuid 4242 --regid 4242 --clear-groups env -u HERD_RUNTIME_DIR \\
                 XDG_RUNTIME_DIR=/run/user/4242 HOME=/home/ann '@HERD@' --user \"$@\"; }
             echo == linger; herd logs linger
             echo == up; until herd is-active -q user@4242; do read -t 0.05 </dev/zero; done
             stat -c '%a %U' /run/user/4242
             until ann is-active -q mine; do read -t 0.05 </dev/zero; done; ann is-active mine
             tr '\\0' '\\n' </proc/$(pgrep -xf 'sleep 4242')/environ | sort
             cat /proc/$(pgrep -xf 'sleep 4242')/cgroup
             echo == down; ann stop mine; ann start mine; herd stop user@4242; pgrep -u 4242 || echo nobody; ls /run/user
             echo == enabled; herd enable user@4242; until herd is-active -q user@4242; do read -t 0.05 </dev/zero; done
             herd disable user@4242"
                .replace("@HERD@", HERD)
                .as_str(),
        );
    let Some(said) = said else { return };
    said.has(
        "linger",
        "/var/lib/herd/linger/nobody-here: there is no such user",
    );
    said.has("up", "700 ann");
    for variable in [
        "HOME=/home/ann",
        "SHELL=/bin/bash",
        "USER=ann",
        "XDG_RUNTIME_DIR=/run/user/4242",
    ] {
        said.has("up", variable);
    }
    said.has("up", "/herd/user@4242");
    said.has("down", "nobody");
    assert!(
        said.part("down").ends_with("nobody"),
        "{}",
        said.part("down")
    );
    said.has("enabled", "user@4242: enabled");
}

#[test]
fn a_crash_of_the_first_process_leads_to_a_shell_and_not_to_a_panic() {
    let Some(said) = Uml::new()
        .lay(
            "rm -f /sbin/sulogin; printf '%s\\n' '#!/bin/sh' 'echo a way back in' \\
                 \"GLIBC_TUNABLES=$GLIBC_TUNABLES exec busybox poweroff -f\" >/sbin/sulogin; chmod 755 /sbin/sulogin",
        )
        .look("kill -SEGV 1; exec sleep infinity")
    else {
        return;
    };
    assert!(said.console.contains("a way back in"), "{}", said.console);
    assert!(
        said.console
            .contains("a memory access that is not allowed (SIGSEGV)"),
        "{}",
        said.console
    );
}
