//! Containers that leave herd little: no place to write, no name for the user, no capability, no cgroup. Each is
//! made do with, or refused with its reason.

use std::os::unix::fs::PermissionsExt;

use crate::fixture::{Container, Image};
use crate::needs;

fn ready() -> bool {
    needs::root() && needs::program("crun") && needs::program("busybox")
}

#[test]
fn a_root_that_cannot_be_written_costs_the_log_files_and_is_told_once() {
    if !ready() {
        return;
    }
    let image = Image::minimal().unit("web", "command = ['sh', '-c', 'echo hello; sleep 1000']");
    let mut container = Container::of(image).start();
    container.wait_out("| hello");
    assert_eq!(
        container.lines("herd")[..4],
        [
            "* process 1 of a container of oci, by the variable `container`",
            "* the runtime directory is /dev/shm/herd-0: /run/herd: read-only file system",
            "* no log files are kept: /var/log/herd: read-only file system",
            "* no cgroup is ours to use: processes are told apart by session, and a unit with limits on \
             memory, CPU or tasks does not start",
        ]
    );
    // The verbs find it there by themselves.
    let status = container.exec(&["/herd", "status", "web"]);
    assert!(status.stdout.contains("active (running)"), "{status:?}");
    let logs = container.exec(&["/herd", "logs", "web"]);
    assert_eq!(logs.code, 1, "{logs:?}");
    assert!(
        logs.stderr
            .contains("this herd keeps no log files; its lines are on its own output"),
        "{logs:?}"
    );
    let followed = container.exec(&["/herd", "logs", "--follow", "web"]);
    assert_eq!((followed.code, followed.stderr), (1, logs.stderr));
    container.stop();
}

#[test]
fn a_user_whom_nobody_knows_is_enough() {
    if !ready() {
        return;
    }
    let image = Image::minimal().unit("web", "command = ['sh', '-c', 'id; sleep 1000']");
    let mut container = Container::of(image).user(1_000_650_000).start();
    container.wait_out("uid=1000650000 gid=0");
    let lines = container.lines("herd");
    assert!(
        lines.contains(
            &"* the runtime directory is /dev/shm/herd-1000650000: XDG_RUNTIME_DIR is not set"
                .to_owned()
        ),
        "{lines:?}"
    );
    assert_eq!(container.exec(&["/herd", "is-active", "--all"]).code, 0);
    for (other, message) in [
        (
            0,
            "cannot reach herd at /run/herd/control.sock: no such file or directory",
        ),
        (1001, "XDG_RUNTIME_DIR is not set"),
    ] {
        assert_eq!(
            container.exec_as(other, &["/herd", "status"]).stderr,
            format!(
                "herd: {message}\nhint: process 1 is the herd of user 1000650000: ask as that user\n"
            )
        );
    }
    container.stop();
}

#[test]
fn a_run_where_nothing_may_be_executed_does_for_boxes_too() {
    if !ready() {
        return;
    }
    let image = Image::minimal().unit(
        "web",
        "command = ['sh', '-c', 'echo in a box; sleep 1000']\nboxed = true\n[box]\nbest_effort = ['protect_proc', 'pid_namespace']",
    );
    let mut container = Container::of(image)
        .with_every_capability()
        .tmpfs("/run", &["nosuid", "nodev", "noexec", "mode=755"])
        .start();
    container.wait_out("| in a box");
    assert!(
        !container.out().contains("the runtime directory is"),
        "{}",
        container.out()
    );
    container.stop();
}

#[test]
fn without_any_place_for_its_sockets_herd_says_which_it_tried() {
    if !ready() {
        return;
    }
    let image = Image::minimal().unit("web", "command = 'sleep 1000'");
    let mut container = Container::of(image).tmpfs("/dev/shm", &["ro"]).start();
    assert_eq!(container.wait_end(), 1);
    assert_eq!(
        container.out(),
        "herd: there is no directory for herd's sockets: /run/herd: read-only file system\n\
         hint: make one of /run, /tmp, /dev/shm writable, or give --runtime-dir\n"
    );
}

#[test]
fn a_directory_of_another_user_in_tmp_is_not_taken() {
    if !ready() {
        return;
    }
    let image = Image::minimal().unit("web", "command = 'sleep 1000'");
    let trap = image.root().join("tmp/herd-0");
    std::fs::create_dir(&trap).unwrap();
    std::os::unix::fs::chown(&trap, Some(1000), Some(1000)).unwrap();
    let tmp = image.root().join("tmp");
    let mut builder = Container::of(image);
    builder = builder.bind_at(&tmp, "/tmp");
    let mut container = builder.start();
    container.wait_out("the runtime directory is /dev/shm/herd-0");
    container.wait_out("web: active");
    assert_eq!(container.exec(&["/herd", "status"]).code, 0);
    container.stop();
}

#[test]
fn a_box_without_cap_sys_admin_is_refused_with_the_reason_or_given_up_by_name() {
    if !ready() {
        return;
    }
    let image = Image::minimal()
        .unit("boxed", "command = 'sleep 1000'\nboxed = true\nrestart = 'no'")
        .unit(
            "weak",
            "command = ['sh', '-c', 'echo in what is left; sleep 1000']\nboxed = true\n[box]\nbest_effort = ['namespaces']",
        );
    let mut container = Container::of(image).start();
    container.wait_out("boxed    * failed");
    container.wait_out("| in what is left");
    let refused = container.lines("boxed").join("\n");
    assert!(refused.contains("failed: "), "{refused}");
    let given_up = container.lines("weak").join("\n");
    assert!(given_up.contains("goes without"), "{given_up}");
    let doctor = container.exec(&["/herd", "doctor"]);
    assert!(
        doctor
            .stdout
            .starts_with("in a container of oci, by the variable `container`\n"),
        "{doctor:?}"
    );
    container.stop();
}

#[test]
fn what_takes_a_capability_that_the_engine_withholds_says_which() {
    if !ready() {
        return;
    }
    let boxed = "command = 'sleep 1000'\nboxed = true\nrestart = 'no'\n";
    let image = || {
        Image::minimal()
            .unit("net", &format!("{boxed}[network]\nmode = 'bridge'"))
            .unit("pick", &format!("{boxed}[box]\nprivate_users = 'pick'"))
            .unit("someone", &format!("dynamic_user = true\n{boxed}"))
            .unit("nice", "command = 'sleep 1000'\nnice = -5\nrestart = 'no'")
    };
    let refused = |container: &Container, unit: &str, lines: &[&str]| {
        container.wait_out(&format!("{unit:<8} * failed"));
        assert_eq!(container.lines(unit), lines);
    };
    let mut container = Container::of(image()).without_masks().start();
    refused(
        &container,
        "someone",
        &[
            "* failed: user_namespace: as another user than root it takes CAP_SYS_ADMIN: without it a box \
             stands in a user namespace that has herd's own user alone",
            "* hint: start the container with --cap-add SYS_ADMIN",
        ],
    );
    refused(
        &container,
        "nice",
        &[
            "* failed: set the nice level to -5 (step 4 of 8): permission denied; it may take CAP_SYS_NICE",
        ],
    );
    // Root with CAP_SETUID and CAP_SETGID needs no newuidmap(1).
    container.wait_out("pick: active");
    container.stop();
    let mut container = Container::of(image()).capability("CAP_SYS_ADMIN").start();
    refused(
        &container,
        "net",
        &[
            "* failed: net_namespace: root here lacks CAP_NET_ADMIN, which a network takes",
            "* hint: start the container with --cap-add NET_ADMIN",
        ],
    );
    container.wait_out("someone: active");
    container.stop();
    assert!(
        !container.out().contains("a network is not given back"),
        "{}",
        container.out()
    );
}

/// What docker's filter answers to calls of herd's, which it refuses to everybody.
const REFUSED: [(&str, i32); 4] = [
    ("keyctl", libc::EPERM),
    ("add_key", libc::EPERM),
    ("request_key", libc::EPERM),
    ("pivot_root", libc::EPERM),
];

#[test]
fn behind_a_filter_that_has_no_clone3_processes_are_made_all_the_same() {
    if !ready() {
        return;
    }
    let image = Image::minimal()
        .unit(
            "web",
            "command = ['sh', '-c', 'echo serving; exec sleep 1000']",
        )
        .unit("job", "command = 'false'\noneshot = true\nrestart = 'no'\nuser = 'root'")
        .unit(
            "weak",
            "command = ['sh', '-c', 'echo in what is left; exec sleep 1000']\nboxed = true\n[box]\nbest_effort = ['namespaces']",
        )
        .unit("boxed", "command = 'sleep 1000'\nboxed = true\nrestart = 'no'");
    let without_cap_sys_admin = [
        ("clone3", libc::ENOSYS),
        ("unshare", libc::EPERM),
        ("mount", libc::EPERM),
        ("sethostname", libc::EPERM),
    ];
    let mut container = Container::of(image)
        .refusing(&[REFUSED.as_slice(), &without_cap_sys_admin].concat())
        .start();
    container.wait_out("web      | serving");
    container.wait_out("weak     | in what is left");
    container.wait_out("job      * process");
    container
        .wait_out("boxed    * hint: start the container with --security-opt seccomp=unconfined");
    assert_eq!(container.exec(&["/herd", "restart", "web", "weak"]).code, 0);
    container.stop();
}

#[test]
fn a_filter_without_pivot_root_is_named_whatever_the_capabilities() {
    if !ready() {
        return;
    }
    let image = || {
        Image::minimal().unit(
            "boxed",
            "command = 'sleep 1000'\nboxed = true\nrestart = 'no'",
        )
    };
    let mut container = Container::of(image())
        .with_every_capability()
        .arguments(&["--when-done", "stay"])
        .refusing(&REFUSED)
        .start();
    container.wait_out("boxed    * hint");
    assert_eq!(
        container.lines("boxed"),
        [
            "* failed: mount_namespace: no mounts can be made in one: the system call filter around us \
             (operation not permitted) refuses pivot_root",
            "* hint: start the container with --security-opt seccomp=unconfined; or best_effort = \
             [\"namespaces\"] in [box] goes without",
        ]
    );
    container.stop();
    // Keyrings that nobody can reach need no wall.
    let mut container = Container::of(image())
        .with_every_capability()
        .refusing(&REFUSED[..3])
        .start();
    container.wait_out("boxed: active");
    container.stop();
}

#[test]
fn without_cap_setfcap_root_has_no_user_namespace_and_is_told_why() {
    if !ready() {
        return;
    }
    let image = Image::minimal().unit(
        "boxed",
        "command = 'sleep 1000'\nboxed = true\nrestart = 'no'",
    );
    let mut container = Container::of(image)
        .user(0)
        .arguments(&["--when-done", "stay"])
        .start();
    container.wait_out("boxed    * hint");
    assert_eq!(
        container.lines("boxed"),
        [
            "* failed: mount_namespace: it takes a user namespace, which the want of CAP_SETFCAP forbids",
            "* hint: start the container with --cap-add SETFCAP --security-opt seccomp=unconfined \
             --security-opt unmask=ALL, or with --cap-add SYS_ADMIN; or best_effort = [\"namespaces\"] in \
             [box] goes without",
        ]
    );
    container.stop();
}

#[test]
fn with_a_whole_proc_a_box_stands_without_cap_sys_admin() {
    if !ready() {
        return;
    }
    let status = "busybox grep -E '^(CapEff|CapBnd|Seccomp|NoNewPrivs):' /proc/self/status";
    let image = Image::minimal().unit(
        "web",
        &format!("command = ['sh', '-c', \"{status}; sleep 1000\"]\nboxed = true"),
    );
    let mut container = Container::of(image).without_masks().start();
    container.wait_out("Seccomp");
    container.wait_out("web: active");
    let lines = container.lines("web");
    for line in [
        "CapEff:\t0000000000000000",
        "CapBnd:\t0000000000000000",
        "NoNewPrivs:\t1",
        "Seccomp:\t2",
    ] {
        assert!(
            lines.contains(&format!("| {line}")),
            "no {line} in {lines:?}"
        );
    }
    container.stop();
}

#[test]
fn limits_are_refused_where_no_cgroup_is_ours() {
    if !ready() {
        return;
    }
    let image = Image::minimal()
        .unit(
            "web",
            "command = 'sleep 1000'\nrestart = 'no'\n[limits]\nmemory = '64M'",
        )
        .unit("other", "command = 'sleep 1000'");
    let mut container = Container::of(image).start();
    container.wait_out("need a cgroup, and none is ours to use here");
    container.wait_out("other: active");
    let healthy = container.exec(&["/herd", "is-active", "--all"]);
    assert_eq!(
        (healthy.code, healthy.stdout.as_str()),
        (1, "web: failed (failed)\n")
    );
    container.stop();
}

#[test]
fn a_service_can_run_as_another_user_of_the_container() {
    if !ready() {
        return;
    }
    let image = Image::minimal()
        .file(
            "etc/passwd",
            "root:x:0:0:root:/root:/bin/sh\nweb:x:33:33:web:/srv:/bin/sh\n",
        )
        .file("etc/group", "root:x:0:\nweb:x:33:\n")
        .unit(
            "web",
            "command = ['sh', '-c', 'id -un; echo $$HOME; sleep 1000']\nuser = 'web'",
        );
    let mut container = Container::of(image).environment("HOME", "/root").start();
    container.wait_out("| /srv");
    assert!(container.out().contains("| web"), "{}", container.out());
    container.stop();
}

/// `podman run --userns=keep-id`: the user of the machine has its own number inside too, and nobody is root there.
#[test]
fn in_a_user_namespace_that_keeps_its_users_number_it_runs_as_that_user() {
    if !ready() {
        return;
    }
    let image = Image::minimal().unit(
        "web",
        "command = ['sh', '-c', 'id -u; wc -l </proc/self/uid_map; sleep 1000']",
    );
    let mut container = Container::of(image)
        .mapped(&[(0, 100_000, 1000), (1000, 0, 1), (1001, 101_001, 64_000)])
        .user(1000)
        .start();
    // herd's own lines may come between.
    container.wait_out("web      | 1000\n");
    container.wait_out("web      | 3\n");
    let status = container.exec(&["/herd", "is-active", "--all"]);
    assert_eq!(status.code, 0, "{status:?}");
    container.stop();
}

#[test]
fn a_user_whom_the_user_namespace_does_not_have_is_told_by_that_reason() {
    if !ready() {
        return;
    }
    let image = Image::minimal()
        .unit("web", "command = 'sleep 1000'")
        .unit("api", "command = 'true'\nuser = '1000'\nrestart = 'no'");
    let mut container = Container::of(image).mapped(&[(0, 0, 1)]).start();
    container
        .wait_out("(step 7 of 10): invalid argument; this user namespace has no such number\n");
    container.wait_out("web: active");
    container.stop();
}

#[test]
fn a_directory_of_units_that_cannot_be_read_ends_it() {
    if !ready() {
        return;
    }
    let image = Image::minimal().unit("web", "command = 'sleep 1000'");
    let enabled = image.root().join("etc/herd/enabled");
    std::fs::set_permissions(&enabled, std::fs::Permissions::from_mode(0o700)).unwrap();
    let mut container = Container::of(image).user(4711).tmpfs("/tmp", &[]).start();
    assert_eq!(container.wait_end(), 1, "{}", container.out());
    let out = container.out();
    for line in [
        "permission denied",
        "herd     * /etc/herd/enabled has no unit to run; stopping everything in order",
    ] {
        assert!(out.contains(line), "no {line:?} in {out}");
    }
}
