//! Boxes that fail to stand, end, or lose their herd: what is left (goals.md, items 33, 35, 41).

use std::fs;
use std::time::Duration;

use crate::box_probe::{children_named, default_box};
use crate::fixture::Herd;
use crate::needs;

/// Directories of groups of this herd's services, in every hierarchy.
fn groups(herd: &Herd) -> Vec<String> {
    let own = fs::read_dir(herd.path("log")).unwrap().count();
    assert!(own > 0, "the log of herd itself is there");
    let mut found = Vec::new();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    for line in mounts.lines().filter(|line| line.contains(" - cgroup")) {
        let point = line.split(' ').nth(4).unwrap();
        let Ok(names) = fs::read_dir(point) else {
            continue;
        };
        let bases = names
            .flatten()
            .filter(|entry| entry.file_name().to_string_lossy().starts_with("herd-"));
        for base in bases {
            let Ok(entries) = fs::read_dir(base.path()) else {
                continue;
            };
            let unit = entries
                .flatten()
                .filter(|entry| entry.file_name().to_string_lossy().starts_with(UNIT));
            found.extend(unit.map(|entry| entry.path().display().to_string()));
        }
    }
    found
}

/// A name that no other test's unit begins with.
const UNIT: &str = "boxends";

fn descriptors(herd: &Herd) -> usize {
    fs::read_dir(format!("/proc/{}/fd", herd.pid()))
        .unwrap()
        .count()
}

#[test]
fn a_box_that_does_not_stand_leaves_nothing() {
    if !needs::root() {
        return;
    }
    let stay = |top: &str, keys: &str, tables: &str| {
        default_box()
            .top(top)
            .keys(keys)
            .tables(tables)
            .service("stay")
    };
    let cases = [
        ("root", stay("box_root = '/nowhere'", "", "")),
        ("path", stay("", "read_write_paths = ['/nowhere']", "")),
        ("hide", stay("", "inaccessible_paths = ['/nowhere']", "")),
        ("bind", stay("", "bind_paths = ['/nowhere']", "")),
        ("target", stay("", "bind_paths = ['/usr:/nowhere/x']", "")),
        ("directory", stay("working_directory = '/nowhere'", "", "")),
        ("user", stay("user = 'no-such-user'", "", "")),
        (
            "command",
            "command = '/nowhere'\nboxed = true\nrestart = 'no'".to_owned(),
        ),
        (
            "limit",
            stay("", "", "[limits]\ntasks = 5\nopen_files = 4294967295"),
        ),
        (
            "network",
            stay(
                "",
                "bind_paths = ['/nowhere']",
                "[network]\nmode = 'loopback'",
            ),
        ),
    ];
    let mut builder = Herd::builder();
    for (name, unit) in &cases {
        builder = builder.available(&format!("{UNIT}-{name}"), unit);
    }
    let herd = builder.start();
    // The first one opens what herd keeps: its log.
    for (name, _) in &cases {
        herd.ctl(&["start", &format!("{UNIT}-{name}")]);
    }
    let before = (
        descriptors(&herd),
        fs::read_to_string(format!("/proc/{}/mountinfo", herd.pid())).unwrap(),
    );
    for (name, _) in &cases {
        let output = herd.ctl(&["start", &format!("{UNIT}-{name}")]);
        assert_eq!(output.code, 1, "{name}: {output:?}");
        let says_why = output.stderr.contains("(step ")
            || output.stderr.contains("no-such-user")
            || output.stderr.contains("command /nowhere");
        assert!(says_why, "{name}: {}", output.stderr);
    }
    assert_eq!(children_named("herd-exec", herd.pid()), Vec::<i32>::new());
    assert_eq!(groups(&herd), Vec::<String>::new());
    let after = (
        descriptors(&herd),
        fs::read_to_string(format!("/proc/{}/mountinfo", herd.pid())).unwrap(),
    );
    assert_eq!(before.1, after.1);
    // Give or take a client's connection that herd has not seen the end of.
    assert!(
        after.0 <= before.0 + 2,
        "{} before, {} after",
        before.0,
        after.0
    );
}

#[test]
fn two_hundred_boxes_leave_no_descriptor_and_no_process() {
    if !needs::root() {
        return;
    }
    let unit = "command = '/bin/true'\noneshot = true\nboxed = true";
    let herd = Herd::builder().available("web", unit).start();
    // Executors in reserve are made and used up in turn, with their descriptors: the most of some
    // starts tells what there is, whatever turn it is.
    let most = || {
        let starts = (0..8).map(|_| {
            let answer = herd.call("Start", &serde_json::json!({ "units": ["web"] }));
            assert!(answer["error"].is_null(), "{answer}");
            descriptors(&herd)
        });
        starts.max().unwrap()
    };
    let before = most();
    for _ in 0..24 {
        most();
    }
    let after = most();
    // Give or take a client's connection that herd has not seen the end of.
    assert!(after <= before + 2, "{before} before, {after} after");
    assert_eq!(children_named("herd-exec", herd.pid()), Vec::<i32>::new());
}

/// The first process of such a box may have ended before herd is told that there is one.
#[test]
fn the_end_of_a_box_of_one_process_is_never_lost() {
    if !needs::root() {
        return;
    }
    let unit = "command = 'sh -c \"exit 7\"'\nboxed = true\nrestart = 'no'\n[box]\nas_pid_1 = true";
    let herd = Herd::builder().available("web", unit).start();
    for _ in 0..40 {
        let mark = herd.mark();
        herd.command(&["start", "web"]).output().unwrap();
        herd.wait_change(mark, "the end", |change| change.state == "failed");
        assert_eq!(
            herd.status("web")["last_exit"]["code"],
            7,
            "{}",
            herd.status("web")
        );
    }
}

/// Until running services are taken up again, a box outlives a herd that was killed; one that was
/// still being built does not.
#[test]
fn a_killed_herd_leaves_boxes_that_stand_and_none_that_was_being_built() {
    if !needs::root() || !needs::cgroups() {
        return;
    }
    for microseconds in [0u64, 700, 1_500, 3_000, 5_000, 9_000] {
        let mut herd = Herd::builder()
            .available("web", &default_box().service("stay"))
            .start();
        let base = herd_group(&herd);
        let answer = std::thread::scope(|scope| {
            let starter = scope.spawn(|| {
                herd.command(&["start", "--no-wait", "web"])
                    .output()
                    .unwrap()
            });
            // Not to wait for anything: any moment is a good one.
            std::thread::park_timeout(Duration::from_micros(microseconds));
            herd.signal(nix::sys::signal::Signal::SIGKILL);
            starter.join().unwrap()
        });
        drop(answer);
        herd.wait_end();
        // An executor hears of its parent's end by a signal, so its own end is not far.
        let alive = settled(&base);
        let probes = alive.iter().filter(|name| name.ends_with("/probe")).count();
        let builders = alive.iter().filter(|name| *name == "herd-exec").count();
        assert!(
            (probes, builders) == (0, 0) || (probes, builders) == (1, 1),
            "{alive:?}"
        );
        end_all(&base);
        for socket in ["run/control.sock", "run/notify"] {
            fs::remove_file(herd.path(socket)).unwrap();
        }
        remove(&base);
    }
}

/// The empty groups that a killed herd could not remove.
pub(crate) fn remove(base: &std::path::Path) {
    for entry in fs::read_dir(base).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            remove(&entry.path());
        }
    }
    if base.exists() {
        fs::remove_dir(base).unwrap();
    }
}

/// The group of all services of this herd, once there is one.
pub(crate) fn herd_group(herd: &Herd) -> std::path::PathBuf {
    let directory = herd.path("run");
    let name = directory
        .as_os_str()
        .as_encoded_bytes()
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
    sandbox::Host::detect()
        .unwrap()
        .cgroups
        .v2
        .unwrap()
        .own
        .join(format!("herd-{name:016x}"))
}

fn pids(base: &std::path::Path) -> Vec<i32> {
    let mut found = Vec::new();
    for entry in fs::read_dir(base).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            found.extend(pids(&entry.path()));
        }
    }
    let text = fs::read_to_string(base.join("cgroup.procs")).unwrap_or_default();
    found.extend(
        text.lines()
            .filter_map(|line| line.parse::<i32>().ok())
            .filter(|pid| *pid > 0),
    );
    found
}

/// What runs in the group, once all that is about to end has ended.
fn settled(base: &std::path::Path) -> Vec<String> {
    let names = |pids: &[i32]| -> Vec<String> {
        let first = |pid: &i32| {
            let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(bytes.split(|byte| *byte == 0).next().unwrap_or_default())
                .into_owned()
        };
        pids.iter()
            .map(first)
            .filter(|name| !name.is_empty())
            .collect()
    };
    let deadline = crate::fixture::Deadline::new();
    loop {
        let alive = names(&pids(base));
        let probes = alive.iter().filter(|name| name.ends_with("/probe")).count();
        if alive.len() == 2 * probes || deadline.left() < Duration::from_secs(25) {
            return alive;
        }
        std::thread::yield_now();
    }
}

fn end_all(base: &std::path::Path) {
    for pid in pids(base) {
        nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(pid),
            nix::sys::signal::Signal::SIGKILL,
        )
        .ok();
        assert!(crate::fixture::gone(pid));
    }
}
