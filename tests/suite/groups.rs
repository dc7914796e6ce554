//! Groups beyond limits: devices, standing still, slices, groups that a service divides itself, and
//! what is left of them all (goals.md, items 12, 16, 26, 35).

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::box_probe::{default_box, machine, probe};
use crate::fixture::{Deadline, Herd};
use crate::needs;

fn bare(words: &str, tables: &str) -> String {
    format!(
        "command = '{} {words}'\noneshot = true\nstdout = 'file:@D@/out'\n{}{tables}\n",
        probe().display(),
        machine()
    )
}

fn shell(script: &str, tables: &str) -> String {
    format!(
        "command = ['sh', '-c', '''{script}''']\nrestart = 'no'\n{}{tables}\n",
        machine()
    )
}

/// The directory of a process's v2 group.
fn v2_group(pid: i32) -> PathBuf {
    let v2 = sandbox::Host::detect().unwrap().cgroups.v2.unwrap();
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let path = text.lines().find_map(|line| line.strip_prefix("0::/"));
    v2.mount.join(path.unwrap())
}

/// Every group of the machine that a herd of the tests may have made.
fn all_groups() -> BTreeSet<PathBuf> {
    fn collect(directory: &Path, found: &mut BTreeSet<PathBuf>) {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                collect(&entry.path(), found);
                found.insert(entry.path());
            }
        }
    }
    let host = sandbox::Host::detect().unwrap();
    let v2 = host.cgroups.v2.iter().map(|v2| v2.own.clone());
    let v1 = host.cgroups.v1.values().map(|v1| v1.own.clone());
    let mut found = BTreeSet::new();
    for own in v2.chain(v1) {
        collect(&own, &mut found);
    }
    found
}

/// Those below the base of one herd, which is named after its directory.
fn groups_of(herd: &Herd) -> BTreeSet<PathBuf> {
    let pid = herd.main_pid("anchor");
    let base = v2_group(pid).parent().unwrap().to_owned();
    let base = base.file_name().unwrap().to_owned();
    let is_ours = |path: &PathBuf| path.components().any(|part| part.as_os_str() == base);
    all_groups().into_iter().filter(is_ours).collect()
}

fn keeps_devices() -> bool {
    needs::root() && needs::cgroups() && {
        let host = sandbox::Host::detect().unwrap();
        let has = host.cgroups.device_programs || host.cgroups.v1.contains_key("devices");
        if !has {
            eprintln!("SKIPPED: needs device programs or the v1 controller devices");
        }
        has
    }
}

#[test]
fn a_service_opens_no_device_but_those_its_unit_names() {
    if !keeps_devices() {
        return;
    }
    let words = "tries open-write|/dev/null open-write|/dev/kmsg open-write|/dev/zero";
    let herd = Herd::builder()
        .available("free", &bare(words, ""))
        .available("closed", &bare(words, "[limits]\ndevices = []"))
        .available("kmsg", &bare(words, "[limits]\ndevices = ['/dev/kmsg w']"))
        .available(
            "class",
            &bare(
                words,
                "[limits]\ndevices = ['char-m*m rw', '-/dev/herd-none']",
            ),
        )
        .start();
    let answers = |unit: &str| -> Vec<String> {
        drop(fs::remove_file(herd.path("out")));
        herd.ok(&["start", unit]);
        let all: Value = serde_json::from_str(&herd.read("out")).unwrap();
        words
            .split(' ')
            .skip(1)
            .map(|word| all[word].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(answers("free"), ["ok", "ok", "ok"]);
    assert_eq!(answers("closed"), ["ok", "EPERM", "ok"]);
    assert_eq!(answers("kmsg"), ["ok", "ok", "ok"]);
    assert_eq!(answers("class"), ["ok", "ok", "ok"]);
}

#[test]
fn a_box_has_the_device_policy_of_its_unit() {
    if !keeps_devices() {
        return;
    }
    let words = ["open-write|/dev/null", "open-write|/dev/kmsg"];
    let case = |keys: &str| {
        let keys = format!("private_devices = false\nprotect_kernel_logs = false\n{keys}");
        let answers = default_box().keys(&keys).tries(&words);
        words.map(|word| answers[word].clone())
    };
    assert_eq!(case("device_policy = 'auto'"), ["ok", "ok"]);
    assert_eq!(case("device_policy = 'closed'"), ["ok", "EPERM"]);
    assert_eq!(case("device_policy = 'strict'"), ["EPERM", "EPERM"]);
    let strict = "device_policy = 'strict'\ndevice_allow = ['/dev/kmsg w']";
    assert_eq!(case(strict), ["EPERM", "ok"]);
    assert_eq!(case("device_allow = '/dev/kmsg'"), ["ok", "ok"]);
    // A /dev of its own is filled when the group is joined already: its nodes are the host's, then.
    for (policy, answer) in [("strict", "EPERM"), ("closed", "ok"), ("auto", "ok")] {
        let keys = format!("device_policy = '{policy}'");
        assert_eq!(
            default_box().keys(&keys).answer(words[0]),
            answer,
            "{policy}"
        );
    }
}

#[test]
fn a_device_that_is_none_stops_the_start_by_its_name() {
    if !keeps_devices() {
        return;
    }
    for (rule, message) in [
        (
            "/dev/herd-none rw",
            "limits.devices: cannot look at /dev/herd-none",
        ),
        ("/dev/shm", "limits.devices: /dev/shm is no device"),
        (
            "block-herd-none",
            "limits.devices: this kernel has no block driver \"herd-none\"",
        ),
    ] {
        for boxed in ["", "boxed = true\n"] {
            let unit = format!(
                "{boxed}{}",
                shell("true", &format!("[limits]\ndevices = ['{rule}']"))
            );
            let herd = Herd::builder().available("web", &unit).start();
            let output = herd.ctl(&["start", "web"]);
            assert_eq!(output.code, 1);
            assert!(output.stderr.contains(message), "{}", output.stderr);
        }
    }
}

#[test]
fn devices_are_refused_to_a_herd_that_is_not_root() {
    if !needs::root() || !needs::program("setpriv") {
        return;
    }
    let herd = Herd::builder()
        .owner(65534)
        .available("web", &shell("true", "[limits]\ndevices = []"))
        .start();
    let output = herd.ctl(&["start", "web"]);
    assert_eq!(output.code, 1);
    let told = ["only root may say", "need a cgroup"];
    assert!(
        told.iter().any(|words| output.stderr.contains(words)),
        "{}",
        output.stderr
    );
}

/// Waits until the unit's finer state is this one, which only the kernel decides about.
fn wait_word(herd: &Herd, unit: &str, word: &str) {
    let deadline = Deadline::new();
    while herd.status(unit)["substate"] != word {
        assert!(!deadline.left().is_zero(), "{unit} is never {word}");
    }
}

/// Says `heard` on SIGUSR1.
const LISTENER: &str = "trap \"echo heard\" USR1; echo up; while :; do sleep 1000 & wait; done";

#[test]
fn a_frozen_service_hears_nothing_until_it_is_thawed() {
    if !needs::root() || !needs::cgroups() {
        return;
    }
    for boxed in ["", "boxed = true\n"] {
        let unit = format!("{boxed}{}", shell(LISTENER, ""));
        let herd = Herd::builder().unit("web", &unit).start();
        herd.wait_log("web", "up");
        herd.ok(&["freeze", "web"]);
        wait_word(&herd, "web", "frozen");
        assert!(herd.ok(&["status", "web"]).contains("active (frozen)"));
        herd.ok(&["kill", "-s", "USR1", "web"]);
        assert!(!herd.out("web").contains(&"heard".to_owned()));
        herd.ok(&["thaw", "web"]);
        herd.wait_log("web", "heard");
        assert_eq!(herd.status("web")["substate"], "running");
        // Thawing what is not frozen changes nothing.
        herd.ok(&["thaw", "web"]);
        // A stop does not wait for a service that cannot hear it.
        herd.ok(&["freeze", "web"]);
        herd.ok(&["stop", "web"]);
        assert_eq!(herd.state("web"), "inactive");
    }
}

#[test]
fn a_frozen_service_can_be_reloaded_restarted_and_killed() {
    if !needs::root() || !needs::cgroups() {
        return;
    }
    let unit = format!(
        "command_reload = 'sh -c \"echo reloaded\"'\n{}",
        shell(LISTENER, "").replace("restart = 'no'", "restart = 'always'")
    );
    let herd = Herd::builder().unit("web", &unit).start();
    herd.wait_state("web", "active");
    herd.ok(&["freeze", "web"]);
    herd.ok(&["reload", "web"]);
    herd.wait_log("web", "reloaded");
    assert_eq!(herd.status("web")["substate"], "running");
    let first = herd.main_pid("web");
    herd.ok(&["freeze", "web"]);
    herd.ok(&["restart", "web"]);
    let second = herd.main_pid("web");
    let is_new = |pid: i64| pid != i64::from(second);
    assert_ne!(second, first);
    herd.ok(&["freeze", "web"]);
    wait_word(&herd, "web", "frozen");
    // By somebody else, who does not thaw it.
    let mark = herd.mark();
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(second),
        nix::sys::signal::Signal::SIGKILL,
    )
    .unwrap();
    herd.wait_change(mark, "a new process", |change| {
        change.state == "active" && change.main_pid.is_some_and(is_new)
    });
    assert_eq!(herd.status("web")["substate"], "running");
}

#[test]
fn a_unit_can_begin_frozen() {
    if !needs::root() || !needs::cgroups() {
        return;
    }
    for boxed in ["", "boxed = true\n"] {
        let unit = format!("{boxed}{}", shell(LISTENER, "[limits]\nfreeze = true"));
        let herd = Herd::builder().available("web", &unit).start();
        herd.ok(&["start", "web"]);
        wait_word(&herd, "web", "frozen");
        herd.ok(&["thaw", "web"]);
        herd.wait_log("web", "up");
        herd.ok(&["restart", "web"]);
        wait_word(&herd, "web", "frozen");
    }
}

#[test]
fn only_what_is_active_can_be_frozen() {
    if !needs::root() || !needs::cgroups() {
        return;
    }
    let herd = Herd::builder()
        .available("web", &shell(LISTENER, ""))
        .start();
    let output = herd.ctl(&["freeze", "web"]);
    assert_eq!(output.code, 1);
    assert_eq!(
        output.stderr,
        "herd: web is not active, so there is nothing to freeze\n"
    );
    assert_eq!(herd.ctl(&["freeze", "nobody"]).code, 3);
}

fn can_be_written_by_others(group: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    let above = group.parent().unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
    (mode(group) | mode(above)) & 0o022 != 0
}

/// Says `up` from a group of its own below the one it was started in.
fn divides() -> String {
    let mount = sandbox::Host::detect().unwrap().cgroups.v2.unwrap().mount;
    format!(
        "g={}$(sed -n \"s/^0:://p\" /proc/self/cgroup) && mkdir $g/own && echo $$$$ >$g/own/cgroup.procs \
         && for c in $(cat $g/cgroup.controllers); do echo +$c >$g/cgroup.subtree_control; done \
         && echo up; exec sleep 1000",
        mount.display()
    )
}

#[test]
fn a_delegated_service_divides_its_group_as_its_own_user() {
    if !needs::root() || !needs::cgroups() {
        return;
    }
    let unit = format!(
        "user = 'nobody'\ncommand_reload = 'sed -n \"s/^0::/in /p\" /proc/self/cgroup'\n{}",
        shell(&divides(), "[limits]\ndelegate = true\ntasks = 50")
    );
    let herd = Herd::builder().unit("web", &unit).start();
    herd.wait_log("web", "up");
    let pid = herd.main_pid("web");
    let group = v2_group(pid);
    assert!(group.ends_with("web/own"), "{}", group.display());
    assert!(!can_be_written_by_others(group.parent().unwrap()));
    assert!(herd.status("web")["tasks"].as_i64().unwrap() >= 1);
    // A command beside the service has a place beside what the service made.
    herd.ok(&["reload", "web"]);
    let line = herd.wait_log("web", "in /");
    assert!(line.ends_with("/web/.control"), "{line}");
    assert!(group.exists());
    // What was handed out by the last run is no hindrance to the next.
    herd.ok(&["restart", "web"]);
    herd.wait_state("web", "active");
    assert_ne!(herd.main_pid("web"), pid);
    herd.ok(&["stop", "web"]);
    assert!(!group.parent().unwrap().exists());
}

#[test]
fn a_delegated_box_sees_its_own_groups_and_no_others() {
    if !needs::root() || !needs::cgroups() {
        return;
    }
    let script = "cd /sys/fs/cgroup && mkdir own && echo $$$$ >own/cgroup.procs \
                  && echo groups $(find . -type d) && echo up; cat cgroup.kill; \
                  cat /proc/self/cgroup; exec sleep 1000";
    for user in ["", "user = 'nobody'\n"] {
        let unit = shell(script, "[limits]\ndelegate = true");
        let herd = Herd::builder()
            .unit("anchor", &shell("exec sleep 1000", ""))
            .unit("web", &format!("boxed = true\n{user}{unit}"))
            .start();
        assert_eq!(herd.wait_log("web", "groups"), "out groups . ./own");
        let pid = herd.main_pid("web");
        assert!(v2_group(pid).ends_with("web/own"));
        herd.wait_log("web", "0::/own");
        herd.ok(&["restart", "web"]);
        herd.wait_state("web", "active");
    }
}

#[test]
fn what_was_not_delegated_is_not_the_service_s_to_divide() {
    if !needs::root() || !needs::cgroups() {
        return;
    }
    let unit = format!("user = 'nobody'\n{}", shell(&divides(), ""));
    let herd = Herd::builder().unit("web", &unit).start();
    herd.wait_log("web", "Permission denied");
}

#[test]
fn units_of_a_slice_share_a_group_and_the_limits_of_its_target() {
    if !needs::root() || !needs::controller("pids") {
        return;
    }
    let member = |words: &str| {
        format!(
            "command = '{} {words}'\nrestart = 'no'\n{}[limits]\nslice = 'apps-web'\n",
            probe().display(),
            machine()
        )
    };
    let herd = Herd::builder()
        .unit("apps", "kind = 'target'\n[limits]\ntasks = 30\n")
        .unit("anchor", &shell("exec sleep 1000", ""))
        .available("one", &member("fork-bomb 19"))
        .available("two", &member("fork-bomb 50"))
        .start();
    let before = groups_of(&herd);
    herd.ok(&["start", "one"]);
    herd.wait_log("one", "19 ok");
    let group = v2_group(herd.main_pid("one"));
    assert!(!can_be_written_by_others(&group));
    assert!(
        group.ends_with("apps.slice/apps-web.slice/one"),
        "{}",
        group.display()
    );
    // 20 are the first one's: the second can have ten, itself included.
    herd.ok(&["start", "two"]);
    assert_eq!(herd.wait_log("two", "EAGAIN"), "out 9 EAGAIN");
    assert!(herd.ok(&["plan", "two"]).contains("apps.slice: "));
    herd.ok(&["stop", "one"]);
    assert!(group.parent().unwrap().exists());
    herd.ok(&["stop", "two"]);
    assert_eq!(groups_of(&herd), before);
}

#[test]
fn what_a_killed_herd_left_of_a_slice_is_cleared_in_every_hierarchy() {
    if !needs::root() || !needs::cgroups() || !needs::controller("memory") {
        return;
    }
    let tables = "[limits]\nslice = 'foo'\nmemory = '64M'\ntasks = 20";
    let mut herd = Herd::builder()
        .available("web", &shell("echo up; exec sleep 1000", tables))
        .start();
    herd.ok(&["start", "web"]);
    herd.wait_log("web", "up");
    let group = v2_group(herd.main_pid("web"));
    assert!(group.ends_with("foo.slice/web"), "{}", group.display());
    let base = group.ancestors().nth(2).unwrap().file_name().unwrap();
    let left = || {
        let is_ours = |path: &PathBuf| path.components().any(|part| part.as_os_str() == base);
        let mut groups = all_groups();
        groups.retain(|path| is_ours(path) && path.ends_with("foo.slice/web"));
        groups
    };
    let before = left();
    assert!(!before.is_empty());
    herd.signal(nix::sys::signal::Signal::SIGKILL);
    herd.wait_end();
    assert_eq!(left(), before);
    herd.start_again(std::process::Command::new(env!("CARGO_BIN_EXE_herd")));
    assert_eq!(left(), BTreeSet::new());
}

#[test]
fn a_service_in_a_slice_may_say_that_it_is_ready() {
    if !needs::root() || !needs::cgroups() {
        return;
    }
    // The word of a child is known for the service's by the path of its group.
    let unit = format!(
        "command = '@SERVICE@ child notify:READY=1 sleep'\nready = 'notify'\n{}\
         [limits]\nslice = 'apps-web'\n",
        machine()
    );
    let herd = Herd::builder().unit("web", &unit).start();
    herd.wait_state("web", "active");
}

#[test]
fn as_many_groups_are_left_by_failed_starts_as_there_were() {
    if !needs::root() || !needs::cgroups() {
        return;
    }
    let limited = "tasks = 10\nslice = 'apps'\n";
    let broken = [
        (
            "no-program",
            format!("command = '/nonexistent'\n[limits]\n{limited}"),
        ),
        (
            "no-user-dir",
            format!("command = 'true'\nworking_directory = '/nonexistent'\n[limits]\n{limited}"),
        ),
        (
            "boxed-no-program",
            format!("command = '/nonexistent'\nboxed = true\n[limits]\n{limited}"),
        ),
        (
            "boxed-bad-mount",
            format!(
                "command = 'true'\nboxed = true\n[box]\nbind_paths = ['/nonexistent']\n[limits]\n{limited}"
            ),
        ),
        (
            "bad-cpus",
            "command = 'true'\n[limits]\ncpus = '4000'\nslice = 'apps-deep'\n".to_owned(),
        ),
        (
            "bad-disk",
            format!("command = 'true'\n[limits]\nio_read = {{ '/proc' = '1M' }}\n{limited}"),
        ),
        (
            "bad-device",
            format!("command = 'true'\n[limits]\ndevices = ['/dev/herd-none']\n{limited}"),
        ),
        (
            "bad-pages",
            format!("command = 'true'\n[limits]\nhuge_pages = {{ '8M' = 0 }}\n{limited}"),
        ),
        (
            "bad-pre",
            format!("command = 'true'\ncommand_pre = 'false'\n[limits]\n{limited}"),
        ),
        (
            "dies",
            format!("command = 'false'\n[limits]\ndelegate = true\n{limited}"),
        ),
    ];
    let mut builder = Herd::builder().unit("anchor", &shell("exec sleep 1000", ""));
    for (name, unit) in &broken {
        builder = builder.available(name, &format!("restart = 'no'\n{unit}"));
    }
    let herd = builder.start();
    herd.wait_state("anchor", "active");
    let before = groups_of(&herd);
    for _ in 0..2 {
        for (name, _) in &broken {
            herd.ctl(&["start", name]);
            herd.wait_state(name, "failed");
        }
    }
    assert_eq!(groups_of(&herd), before);
}

#[test]
fn pressure_stands_in_the_status_where_the_kernel_counts_it() {
    if !needs::root() || !needs::cgroups() {
        return;
    }
    let herd = Herd::builder()
        .unit("web", &shell("exec sleep 1000", ""))
        .start();
    herd.wait_state("web", "active");
    let pressure = herd.status("web")["pressure"].clone();
    let counts = fs::read_to_string("/proc/pressure/memory").is_ok();
    assert_eq!(
        pressure["memory"]["some_usec"].is_i64(),
        counts,
        "{pressure}"
    );
    assert_eq!(pressure["cpu"]["some_avg10"].is_f64(), counts, "{pressure}");
}

#[test]
fn a_machine_of_v1_alone_freezes_stops_and_counts_too() {
    let host = sandbox::Host::detect().unwrap();
    if !needs::root() || !needs::unshare(&["--mount"]) || !needs::controller("freezer") {
        return;
    }
    let Some(v2) = host
        .cgroups
        .v2
        .filter(|_| host.cgroups.v1.contains_key("freezer"))
    else {
        return;
    };
    let hide = format!("umount {} && exec \"$@\"", v2.mount.display());
    let unit = shell(
        &format!(
            "(setsid sh -c \"{}; exec sleep 1000\" &) ; {LISTENER}",
            "trap : TERM"
        ),
        "[limits]\ntasks = 20",
    );
    let herd = Herd::builder()
        .wrap(&[
            "unshare",
            "--mount",
            "--propagation",
            "private",
            "sh",
            "-c",
            &hide,
            "sh",
        ])
        .unit("web", &unit)
        .start();
    herd.wait_log("web", "up");
    let pid = herd.main_pid("web");
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    assert!(groups.contains("0::/\n"), "{groups}");
    assert!(herd.status("web")["tasks"].as_i64().unwrap() >= 2);
    herd.ok(&["freeze", "web"]);
    wait_word(&herd, "web", "frozen");
    herd.ok(&["thaw", "web"]);
    herd.ok(&["kill", "-s", "USR1", "--whom", "main", "web"]);
    herd.wait_log("web", "heard");
    herd.ok(&["freeze", "web"]);
    herd.ok(&["stop", "web"]);
    assert_eq!(
        crate::box_probe::children_named("sleep", herd.pid()),
        Vec::<i32>::new()
    );
}
