//! The units of a table, letter by letter.

use units::UnitName;

use super::{Check, Machine, Made, read};

fn made(text: &str) -> Made {
    let machine = Machine {
        herd: "/usr/bin/herd".to_owned(),
        ..Machine::default()
    };
    Made::of(&read(text.as_bytes()), &machine)
}

fn ties(made: &Made) -> Vec<String> {
    let tie = |(by, name, strongly): &(String, String, bool)| {
        let how = if *strongly { "requires" } else { "wants" };
        format!("{by} {how} {name}")
    };
    made.ties.iter().map(tie).collect()
}

#[test]
fn a_file_system_is_checked_and_mounted_and_the_boot_needs_it() {
    let made = made("UUID=ab-1 /srv/my\\040data ext4 noatime 0 2\n");
    assert_eq!(
        made.units["mount-srv-my\\x20data"],
        r#"description = "/srv/my data, line 1 of /etc/fstab"
oneshot = true
remain_after_exit = true
requires = ["fsck-srv-my\\x20data"]
after = ["local-fs-pre", "fsck-root", "remount-root", "fsck-srv-my\\x20data"]
requires_mounts_for = ["/srv"]
command = ["/usr/bin/herd", "machine", "mount", "--line", "1", "--timeout", "1min 30s", "--kind", "ext4", "--options", "noatime", "--", "UUID=ab-1", "/srv/my data"]
command_stop = [["umount", "/srv/my data"]]
timeout_start = "3min"
"#
    );
    assert_eq!(
        made.units["fsck-srv-my\\x20data"],
        r#"description = "Check of /srv/my data, line 1 of /etc/fstab"
oneshot = true
remain_after_exit = true
after = ["local-fs-pre", "fsck-root", "remount-root"]
command = ["/usr/bin/herd", "machine", "check", "--line", "1", "--timeout", "1min 30s", "--", "fsck", "-a", "-T", "-l", "UUID=ab-1"]
[condition]
file_is_executable = ["/sbin/fsck.ext4"]
"#
    );
    assert_eq!(
        ties(&made),
        [
            "local-fs wants remount-root",
            "local-fs requires mount-srv-my\\x20data"
        ]
    );
}

#[test]
fn the_root_is_checked_while_nobody_writes_and_gets_its_options() {
    let made = made("LABEL=root / ext4 errors=remount-ro 0 1\n");
    assert_eq!(
        made.units["remount-root"],
        r#"description = "The root with its options"
oneshot = true
remain_after_exit = true
requires = ["fsck-root"]
after = ["fsck-root"]
before = ["local-fs-pre", "local-fs"]
command = ["mount", "-o", "remount", "/"]
"#
    );
    let check = &made.units["fsck-root"];
    assert!(check.ends_with("path_is_read_write = \"!/\"\n"), "{check}");
    assert_eq!(
        ties(&made),
        ["local-fs requires fsck-root", "local-fs wants remount-root"]
    );
}

#[test]
fn a_root_without_a_line_becomes_writable_unless_the_command_line_says_otherwise() {
    let made = made("");
    let text = &made.units["remount-root"];
    assert!(text.contains("\"remount,rw\", \"/\""), "{text}");
    let machine = Machine {
        keeps_root: true,
        ..Machine::default()
    };
    assert!(Made::of(&read(b""), &machine).units.is_empty());
}

#[test]
fn what_may_fail_is_wanted_and_what_nobody_starts_is_only_there() {
    let made = made(
        "/dev/sdb1 /a ext4 nofail 0 0\n/dev/sdc1 /b ext4 noauto 0 0\n\
         /dev/sdd1 /c ext4 noauto,x-systemd.wanted-by=multi-user.target 0 0\n",
    );
    assert_eq!(
        ties(&made),
        [
            "local-fs wants remount-root",
            "local-fs wants mount-a",
            "multi-user wants mount-c"
        ]
    );
    for name in ["mount-a", "mount-b", "mount-c"] {
        let text = &made.units[name];
        assert!(text.contains("default_dependencies = false"), "{text}");
        // Until every service has stopped it is not let go.
        assert!(text.contains("\"machine\", \"unmount\", \"--\""), "{text}");
    }
}

#[test]
fn a_claim_of_another_unit_takes_the_place_of_the_target() {
    let made = made("/dev/sdd1 /c ext4 x-systemd.required-by=db.service 0 0\n");
    assert_eq!(
        ties(&made),
        ["local-fs wants remount-root", "db requires mount-c"]
    );
}

#[test]
fn shares_come_after_the_network() {
    let made = made("server:/export /mnt nfs rw 0 0\n/dev/sdb1 /iscsi ext4 _netdev 0 2\n");
    let text = &made.units["mount-mnt"];
    assert!(
        text.contains(
            "after = [\"remote-fs-pre\", \"network\", \"network-online\", \"remount-root\"]"
        ),
        "{text}"
    );
    assert!(text.contains("wants = [\"network-online\"]"), "{text}");
    assert!(!text.contains("--timeout"), "{text}");
    assert!(ties(&made).contains(&"remote-fs requires mount-mnt".to_owned()));
    assert!(ties(&made).contains(&"remote-fs requires mount-iscsi".to_owned()));
    assert!(made.units.contains_key("fsck-iscsi"));
}

#[test]
fn a_bind_needs_what_it_is_of_and_is_never_checked() {
    let made = made("/srv/data/x /home/x none bind 0 2\n/srv/disk.img /img ext4 loop 0 2\n");
    let bind = &made.units["mount-home-x"];
    let paths = "requires_mounts_for = [\"/home\", \"/srv/data/x\"]";
    assert!(bind.contains(paths), "{bind}");
    assert!(!made.units.contains_key("fsck-home-x"));
    let image = &made.units["mount-img"];
    assert!(image.contains("[\"/srv/disk.img\"]"), "{image}");
}

#[test]
fn swap_has_its_priority_and_its_discards() {
    let made = made("UUID=1 none swap sw,pri=5,discard=once 0 0\n/swap none swap pri=-2\n");
    let text = &made.units["swap-dev-disk-by\\x2duuid-1"];
    let command = r#"command = ["/usr/bin/herd", "machine", "swap-on", "--line", "1", "--timeout", "1min 30s", "--", "swapon", "-p", "5", "--discard=once", "UUID=1"]"#;
    assert!(text.contains(command), "{text}");
    let text = &made.units["swap-swap"];
    assert!(text.contains("requires_mounts_for = [\"/swap\"]"), "{text}");
    // What is negative is the kernel's own.
    let command = r#"command = ["/usr/bin/herd", "machine", "swap-on", "--line", "2", "--", "swapon", "/swap"]"#;
    assert!(text.contains(command), "{text}");
    assert!(ties(&made).contains(&"swap requires swap-swap".to_owned()));
}

#[test]
fn file_systems_of_the_kernel_only_get_their_options() {
    let made = made("proc /proc proc hidepid=2 0 0\ntmpfs /run tmpfs defaults 0 0\n");
    let text = &made.units["mount-proc"];
    assert!(
        text.contains(
            r#"command = ["mount", "-t", "proc", "-o", "remount,nosuid,nodev,noexec,hidepid=2", "proc", "/proc"]"#
        ),
        "{text}"
    );
    assert!(!made.units.contains_key("mount-run"));
}

#[test]
fn no_word_of_a_line_becomes_a_specifier_or_a_variable() {
    let made = made("/dev/x%n /a$HOME ext4 x=\"%%$$\" 0 0\n");
    let text = &made.units["mount-a\\x24HOME"];
    assert!(text.contains(r#""/dev/x%%n", "/a$$HOME"]"#), "{text}");
    assert!(text.contains(r#""x=\"%%%%$$$$\"""#), "{text}");
}

#[test]
fn notes_name_their_line() {
    let made = made("\n/dev/sdb1 /a ext4 x-systemd.automount 0 0\n/dev/sdc1 none swap bsd 0 0\n");
    assert_eq!(
        made.notes,
        [
            "line 2 of /etc/fstab: x-systemd.automount is passed over: it is mounted at the boot, as with nofail",
            "line 3 of /etc/fstab: bsd is passed over: it is no option of swap",
        ]
    );
}

#[test]
fn checks_are_left_out_or_forced_when_the_command_line_says_so() {
    let table = read(b"/dev/sdb1 /a ext4 rw 0 2\n");
    let of = |check| {
        let machine = Machine {
            check,
            ..Machine::default()
        };
        Made::of(&table, &machine).units.remove("fsck-a")
    };
    assert_eq!(of(Check::Skip), None);
    assert!(of(Check::Force).unwrap().contains("\"-f\""));
}

#[test]
fn every_file_system_of_the_boot_gets_the_options_of_its_line() {
    for path in [
        "/proc",
        "/run/lock",
        "/sys/kernel/tracing",
        "/sys/fs/pstore",
    ] {
        let made = made(&format!("none {path} x ro 0 0\n"));
        let name = format!("mount{}", path.replace('/', "-"));
        let text = &made.units[&name];
        assert!(
            text.contains("\"-o\", \"remount,nosuid,nodev,noexec,"),
            "{text}"
        );
        assert!(text.contains(&format!("\"{path}\"]")), "{text}");
    }
}

#[test]
fn a_line_whose_requirement_cannot_be_had_fails_and_needs_it_no_more() {
    let table = read(b"/dev/sdb1 /a ext4 x-systemd.requires=nothere.service,x-systemd.requires=/b 0 0\n/dev/sdc1 /b ext4\n");
    let plain = Made::of(&table, &Machine::default());
    let required: Vec<&str> = plain.required.iter().map(UnitName::as_str).collect();
    assert_eq!(required, ["nothere"]);
    let text = &plain.units["mount-a"];
    assert!(
        text.contains("requires = [\"nothere\", \"mount-b\"]\n"),
        "{text}"
    );
    let machine = Machine {
        missing: plain.required,
        ..Machine::default()
    };
    let made = Made::of(&table, &machine);
    let text = &made.units["mount-a"];
    assert!(text.contains("requires = [\"mount-b\"]\n"), "{text}");
    assert!(text.contains("wants = [\"nothere\"]\n"), "{text}");
    assert!(text.contains("\"--missing\", \"nothere\""), "{text}");
    assert_eq!(
        made.notes,
        ["line 1 of /etc/fstab: it requires nothere, which cannot be had"]
    );
}

#[test]
fn what_may_lie_in_swap_begins_after_it_and_ends_before_it() {
    let made = made("tmpfs /scratch tmpfs size=1g 0 0\n/dev/sdb1 /a ext4 defaults 0 0\n");
    let text = &made.units["mount-scratch"];
    assert!(
        text.contains("after = [\"local-fs-pre\", \"fsck-root\", \"remount-root\", \"swap\"]\n"),
        "{text}"
    );
    let text = &made.units["mount-a"];
    assert!(
        text.contains("after = [\"local-fs-pre\", \"fsck-root\", \"remount-root\"]\n"),
        "{text}"
    );
}
