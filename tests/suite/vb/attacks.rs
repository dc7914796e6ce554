//! The attacks of goals.md against a box of `vb` with the flags that careful callers of bubblewrap
//! use. Where bubblewrap lets something through by design (all capabilities to root, descriptors of
//! the caller), the caller's flag against it is among them.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use crate::box_probe::{probe, user_boxes};
use crate::fixture::{Output, run};
use crate::needs;

pub(super) const USUAL: &[&str] = &[
    "--unshare-all",
    "--unshare-user",
    "--disable-userns",
    "--cap-drop",
    "ALL",
    "--new-session",
    "--die-with-parent",
    "--ro-bind",
    "/",
    "/",
    "--proc",
    "/proc",
    "--dev",
    "/dev",
    "--tmpfs",
    "/tmp",
];

const USER: [&str; 5] = [
    "setpriv",
    "--reuid=1000",
    "--regid=1000",
    "--clear-groups",
    "--",
];

/// `vb FLAGS… WORDS…`, as root or as a user.
fn vb(as_user: bool, flags: &[&str], words: &[&str]) -> Output {
    let place = tempfile::tempdir().unwrap();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = place.path().join("vb");
    fs::copy(env!("CARGO_BIN_EXE_herd"), &program).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let program = program.display().to_string();
    let mut line: Vec<&str> = if as_user { USER.to_vec() } else { Vec::new() };
    line.push(&program);
    line.extend(flags);
    line.extend(words);
    run(Command::new(line[0]).args(&line[1..]).current_dir("/"))
}

/// Each attack's answer from inside such a box.
fn answers(as_user: bool, attacks: &[&str]) -> BTreeMap<String, String> {
    let probe = probe().display().to_string();
    let mut flags = USUAL.to_vec();
    // The probe may lie below /tmp.
    flags.extend(["--ro-bind", &probe, &probe]);
    let mut words = vec![probe.as_str(), "tries"];
    words.extend(attacks);
    let output = vb(as_user, &flags, &words);
    serde_json::from_str(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"))
}

fn nobody_is_let_through(attacks: &[&str]) {
    if !user_boxes() {
        return;
    }
    for as_user in [false, true] {
        let let_through: Vec<_> = answers(as_user, attacks)
            .into_iter()
            .filter(|(_, answer)| answer == "ok")
            .collect();
        assert_eq!(let_through, [], "as a user: {as_user}");
    }
}

#[test]
fn a_box_of_vb_gains_no_privilege_and_undoes_no_mount() {
    nobody_is_let_through(&[
        "mount",
        "umount|/tmp",
        "umount|/proc",
        "remount-rw|/",
        "remount-rw|/proc/sys",
        "open-tree",
        "fsopen|tmpfs",
        "fsopen|cgroup",
        "pivot-root",
        "chroot|/tmp",
        "unshare|user",
        "unshare|mount",
        "clone-user",
        "write-map",
        "mknod|/tmp/node",
        "device|8|0",
        "set-capability|/tmp",
        "keep-capabilities",
        "ambient|21",
        "setuid|12345",
        "setgroups",
        "sethostname",
    ]);
}

#[test]
fn a_box_of_vb_reaches_no_part_of_the_kernel() {
    nobody_is_let_through(&[
        "open-write|/proc/sys/kernel/core_pattern",
        "open-write|/proc/sys/kernel/modprobe",
        "open-write|/proc/sysrq-trigger",
        "open-write|/sys/kernel/uevent_helper",
        "open-write|/sys/fs/cgroup/release_agent",
        "create|/sys/fs/cgroup/x",
        "open-by-handle",
        "fanotify",
        "kexec",
        "reboot",
        "init-module",
        "swapon",
        "quotactl",
        "settime",
        "oom-score|-500",
        "sched-fifo",
        "nice|-5",
        "create|/etc/x",
        "create|/usr/x",
    ]);
}

#[test]
fn a_box_of_vb_reads_nothing_of_its_first_process() {
    nobody_is_let_through(&[
        "read|/proc/1/environ",
        "read|/proc/1/mem",
        "read-link|/proc/1/fd/3",
        "list|/proc/1/root/",
        "ptrace|1",
        "process-vm-readv|1",
    ]);
}

#[test]
fn a_box_of_vb_pushes_no_input_into_a_terminal() {
    // With a session of its own there is no terminal to push into.
    nobody_is_let_through(&["tiocsti", "tiocsti-high", "tioclinux"]);
}

/// GHSA-pxhw-h44j-8pfx: a link in the tree, and then something to be made below it.
#[test]
fn links_in_a_tree_lead_no_mount_outside() {
    if !user_boxes() {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let tree = place.path().join("tree");
    let outside = place.path().join("outside");
    for directory in [&tree, &outside] {
        fs::create_dir(directory).unwrap();
        fs::set_permissions(directory, fs::Permissions::from_mode(0o777)).unwrap();
    }
    symlink(&outside, tree.join("link")).unwrap();
    symlink("../outside", tree.join("up")).unwrap();
    let tree = tree.display().to_string();
    for as_user in [false, true] {
        for link in ["/link", "/up"] {
            let below = format!("{link}/made");
            for more in [
                vec!["--dir", &*below],
                vec!["--tmpfs", &*below],
                vec!["--ro-bind", "/etc", &*below],
                vec!["--symlink", "x", &*below],
            ] {
                let mut flags = vec!["--bind", tree.as_str(), "/"];
                flags.extend(more);
                drop(vb(as_user, &flags, &["/bin/true"]));
                let made: Vec<_> = fs::read_dir(&outside).unwrap().collect();
                assert!(made.is_empty(), "{flags:?}: {made:?}");
            }
        }
    }
}

/// CVE-2020-5291, CVE-2026-41163: bubblewrap's troubles began with its mode bits.
#[test]
fn a_launcher_that_was_made_setuid_refuses_to_run() {
    if !needs::root() || !needs::program("setpriv") {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
    for name in ["herd", "vb", "bwrap"] {
        let program = place.path().join(name);
        fs::copy(env!("CARGO_BIN_EXE_herd"), &program).unwrap();
        for mode in [0o4755, 0o2755] {
            fs::set_permissions(&program, fs::Permissions::from_mode(mode)).unwrap();
            let output = as_user(&program, &["--version"]);
            assert_eq!(output.code, 1, "{name} {mode:o}: {output:?}");
            let said = "herd: refuses to run setuid or setgid: every option would be a way up\n";
            assert!(output.stderr.starts_with(said), "{}", output.stderr);
            assert_eq!(output.stdout, "");
        }
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(as_user(&program, &["--version"]).code, 0);
    }
}

fn as_user(program: &Path, words: &[&str]) -> Output {
    run(Command::new(USER[0])
        .args(&USER[1..])
        .arg(program)
        .args(words))
}
