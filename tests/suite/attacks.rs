//! System calls and terminals: what the default box refuses, tried from inside (goals.md, items 1,
//! 2, 20 to 26, 29 to 31).

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};

use serde_json::Value;

use crate::box_probe::{Boxed, NOBODY, default_box, is_refused, run, user_boxes};
use crate::fixture::Herd;
use crate::needs;

/// Calls that no service needs, with arguments that would do no harm where they are let.
pub(crate) const CALLS: &[&str] = &[
    "mount",
    "umount|/tmp",
    "umount|/proc",
    "umount|/root",
    "umount|/proc/kcore",
    "remount-rw|/",
    "remount-rw|/proc/sys",
    "remount-rw|/sys",
    "open-tree",
    "fsopen|tmpfs",
    "fsopen|cgroup",
    "fsopen|proc",
    "pivot-root",
    "chroot|/tmp",
    "chroot-climb",
    "unshare|user",
    "unshare|mount",
    "unshare|pid",
    "unshare|net",
    "unshare|cgroup",
    "clone-user",
    "clone3",
    "setns",
    "write-map",
    "tiocsti",
    "tiocsti-high",
    "tioclinux",
    "pidfd-getfd",
    "keyctl",
    "add-key",
    "bpf",
    "io-uring",
    "userfaultfd",
    "perf",
    "fanotify",
    "open-by-handle",
    "kexec",
    "reboot",
    "init-module",
    "swapon",
    "quotactl",
    "syslog",
    "settime",
    "sethostname",
    "personality",
    "sched-fifo",
    "nice|-5",
    "oom-score|-500",
    "ptrace|1",
    "process-vm-readv|1",
    "kcmp|1",
    "mknod|/tmp/node",
    "device|8|0",
    "set-capability|/tmp",
    "keep-capabilities",
    "ambient|21",
    "x32",
    "int80",
    "unknown-number",
    // A packet socket takes a capability; AF_ALG and vsock are `restrict_address_families`' to shut.
    "socket|17|3",
    "chmod-suid|/tmp",
];

fn let_through(case: &Boxed, attacks: &[&str]) -> Vec<(String, String)> {
    case.tries(attacks)
        .into_iter()
        .filter(|(_, answer)| !is_refused(answer))
        .collect()
}

#[test]
fn nothing_forbidden_is_let_to_a_box_of_root() {
    if !needs::root() {
        return;
    }
    assert_eq!(let_through(&default_box(), CALLS), []);
}

#[test]
fn nothing_forbidden_is_let_to_a_box_of_another_user() {
    if !needs::root() {
        return;
    }
    assert_eq!(
        let_through(&default_box().top("user = 'nobody'"), CALLS),
        []
    );
}

#[test]
fn nothing_forbidden_is_let_to_a_box_of_a_users_herd() {
    if !user_boxes() {
        return;
    }
    let unit = default_box().unit(&format!("tries {}", CALLS.join(" ")));
    let (_herd, output) = run(Herd::builder().owner(NOBODY), &unit);
    let answers: Value = serde_json::from_str(&output).unwrap();
    for (attack, answer) in answers.as_object().unwrap() {
        assert!(is_refused(answer.as_str().unwrap()), "{attack}: {answer}");
    }
}

#[test]
fn other_numbers_of_a_call_do_not_exist() {
    if !needs::root() {
        return;
    }
    let answers = default_box().tries(&["clone3", "unknown-number"]);
    // A C library falls back to clone, whose flags the filter can see.
    assert_eq!(answers["clone3"], "ENOSYS");
    assert_eq!(answers["unknown-number"], "ENOSYS");
}

/// A terminal of the host: its master and the path of its slave.
pub(crate) fn terminal() -> (OwnedFd, String) {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
    (master, name)
}

/// CVE-2017-5226 and CVE-2019-10063, on a terminal that really is the service's own.
#[test]
fn a_box_pushes_no_input_into_its_terminal() {
    if !needs::root() {
        return;
    }
    let (_master, name) = terminal();
    // Held open, so that what is pushed is not dropped with the last one that has it.
    let slave = File::options().read(true).write(true).open(&name).unwrap();
    let mut settings = rustix::termios::tcgetattr(&slave).unwrap();
    settings.make_raw();
    rustix::termios::tcsetattr(&slave, rustix::termios::OptionalActions::Now, &settings).unwrap();
    let pushed = || rustix::io::ioctl_fionread(slave.as_fd()).unwrap();
    let case = default_box().top(&format!("stdin = 'tty'\ntty = '{name}'"));
    let answers = case.tries(&["tiocsti", "tiocsti-high", "tioclinux"]);
    assert!(
        answers.values().all(|answer| answer == "EPERM"),
        "{answers:?}"
    );
    assert_eq!(pushed(), 0);
    // That it would be pushed without the box is what makes this a test.
    let bare = case.keys("profile = 'none'");
    let allowed = std::fs::read_to_string("/proc/sys/dev/tty/legacy_tiocsti");
    if allowed.is_ok_and(|text| text.trim() == "1") {
        assert_eq!(bare.answer("tiocsti"), "ok");
        assert_eq!(pushed(), 1);
    } else {
        eprintln!("SKIPPED: needs a kernel with legacy_tiocsti");
    }
}

#[test]
fn a_box_reaches_no_terminal_of_the_host() {
    if !needs::root() {
        return;
    }
    let (_master, name) = terminal();
    assert_eq!(
        default_box().answer(&format!("open-write|{name}")),
        "ENOENT"
    );
    let user = default_box().top("user = 'nobody'");
    assert_eq!(user.answer(&format!("open-write|{name}")), "ENOENT");
}

#[test]
fn each_box_has_a_session_keyring_of_its_own() {
    if !needs::root() {
        return;
    }
    let case = default_box().keys("protect_kernel_tunables = false");
    let serials = || -> Vec<String> {
        let report = case.report();
        let lines = report["keys"].as_array().unwrap().clone();
        let sessions = lines
            .iter()
            .filter(|line| line.as_str().unwrap().contains("_ses"));
        sessions
            .map(|line| line.as_str().unwrap()[..8].to_owned())
            .collect()
    };
    let (one, other) = (serials(), serials());
    // Those of the user himself are in both lists, and the first may not be gone yet when the second looks.
    assert!(
        other.iter().any(|serial| !one.contains(serial)),
        "{one:?} {other:?}"
    );
    assert!(
        other.iter().any(|serial| !one.contains(serial)),
        "{one:?} {other:?}"
    );
}

#[test]
fn a_box_cannot_raise_its_own_limits() {
    if !needs::root() {
        return;
    }
    let case = default_box().tables("[limits]\nopen_files = 100");
    let answers = case.tries(&["open-files|200", "open-files|50"]);
    assert_eq!(
        (&*answers["open-files|200"], &*answers["open-files|50"]),
        ("EPERM", "ok")
    );
}

/// Item 29 as far as a shared network goes: what is not to be had is named by family.
#[test]
fn families_can_be_shut_by_name() {
    if !needs::root() {
        return;
    }
    let case = default_box().keys("restrict_address_families = ['AF_UNIX', 'AF_INET', 'AF_INET6']");
    // netlink, AF_ALG, vsock, packet
    let answers = case.tries(&[
        "socket|16|3",
        "socket|38|5",
        "socket|40|1",
        "socket|17|3",
        "socket|2|1",
    ]);
    assert_eq!(answers["socket|2|1"], "ok");
    for (attack, answer) in &answers {
        assert!(
            attack == "socket|2|1" || answer == "EAFNOSUPPORT",
            "{attack}: {answer}"
        );
    }
}
