//! Limits, held by whatever cgroups the machine has: v1 controllers beside v2, or v2 alone
//! (`tests/dev vm-suite limits`).

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::box_probe::{default_box, machine, probe};
use crate::fixture::Herd;
use crate::needs;

/// An unboxed service of the probe with these limits.
fn bare(words: &str, limits: &str) -> String {
    format!(
        "command = '{} {words}'\nrestart = 'no'\n{}[limits]\n{limits}\n",
        probe().display(),
        machine()
    )
}

fn boxed(words: &str, limits: &str) -> String {
    default_box()
        .tables(&format!("[limits]\n{limits}"))
        .service(words)
}

fn is_pure_v2() -> bool {
    sandbox::Host::detect().unwrap().cgroups.v1.is_empty()
}

/// The file of a controller in the group of a process.
fn group_file(pid: i32, controller: &str, v1: &str, v2: &str) -> PathBuf {
    let host = sandbox::Host::detect().unwrap();
    let lines = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let path_of = |wanted: &str| {
        let of = |line: &str| {
            let mut parts = line.splitn(3, ':').skip(1);
            let (names, path) = (parts.next()?, parts.next()?);
            let found = names.split(',').any(|name| name == wanted);
            found.then(|| path.trim_start_matches('/').to_owned())
        };
        lines.lines().find_map(of).unwrap()
    };
    let v2_has = host
        .cgroups
        .v2
        .as_ref()
        .filter(|v2| v2.controllers.iter().any(|c| c == controller));
    match v2_has {
        Some(group) => group.mount.join(path_of("")).join(v2),
        None => {
            let name = if controller == "io" {
                "blkio"
            } else {
                controller
            };
            host.cgroups.v1[name].mount.join(path_of(name)).join(v1)
        }
    }
}

fn value(pid: i32, controller: &str, v1: &str, v2: &str) -> String {
    let file = group_file(pid, controller, v1, v2);
    fs::read_to_string(&file)
        .unwrap_or_else(|error| panic!("{}: {error}", file.display()))
        .trim()
        .to_owned()
}

#[test]
fn memory_beyond_the_limit_is_the_end_and_the_reason_is_told() {
    if !needs::root() || !needs::controller("memory") {
        return;
    }
    for unit in [
        bare("eat-memory 200", "memory = '24M'"),
        boxed("eat-memory 200", "memory = '24M'"),
    ] {
        let herd = Herd::builder().unit("web", &unit).start();
        herd.wait_state("web", "failed");
        let status = herd.status("web");
        assert_eq!(status["last_exit"]["signal"], 9);
        let reason = status["failure"].as_str().unwrap();
        assert!(reason.contains("out of memory"), "{reason}");
        assert!(herd.ok(&["status", "web"]).contains("out of memory"));
        assert!(
            herd.out("web").contains(&"8".to_owned()),
            "{:?}",
            herd.log("web")
        );
        assert!(
            !herd.out("web").contains(&"32".to_owned()),
            "{:?}",
            herd.log("web")
        );
    }
}

#[test]
fn a_service_within_its_memory_shows_what_it_uses() {
    if !needs::root() || !needs::controller("memory") {
        return;
    }
    let herd = Herd::builder()
        .unit("web", &boxed("eat-memory 16", "memory = '100M'"))
        .start();
    herd.wait_log("web", "ok");
    let memory = herd.status("web")["memory"].as_i64().unwrap();
    assert!((16 << 20..100 << 20).contains(&memory), "{memory}");
    let pid = herd.main_pid("web");
    assert_eq!(
        value(pid, "memory", "memory.limit_in_bytes", "memory.max"),
        "104857600"
    );
}

#[test]
fn a_fork_bomb_is_held_and_herd_answers_meanwhile() {
    if !needs::root() || !needs::controller("pids") {
        return;
    }
    for unit in [
        bare("fork-bomb 500", "tasks = 20"),
        boxed("fork-bomb 500", "tasks = 20"),
    ] {
        let herd = Herd::builder().unit("web", &unit).start();
        let line = herd.wait_log("web", "EAGAIN");
        let made: u32 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        assert!((10..20).contains(&made), "{line}");
        let begin = Instant::now();
        let status = herd.status("web");
        assert!(begin.elapsed() < Duration::from_secs(2));
        let tasks = status["tasks"].as_i64().unwrap();
        assert!((18..=20).contains(&tasks), "{tasks}");
        let pid = herd.main_pid("web");
        assert_eq!(value(pid, "pids", "pids.max", "pids.max"), "20");
        herd.ok(&["stop", "web"]);
        assert_eq!(
            crate::box_probe::children_named("probe", herd.pid()),
            Vec::<i32>::new()
        );
    }
}

#[test]
fn cpu_time_is_held_to_its_quota() {
    if !needs::root() || !needs::controller("cpu") {
        return;
    }
    let herd = Herd::builder()
        .unit(
            "web",
            &boxed("burn 1500", "cpu = '20%'\ncpu_weight = 200")
                .replace("restart = 'no'", "oneshot = true\nrestart = 'no'"),
        )
        .start();
    herd.wait_substate("web", "running");
    let pid = herd.main_pid("web");
    if is_pure_v2() {
        assert_eq!(value(pid, "cpu", "", "cpu.max"), "20000 100000");
        assert_eq!(value(pid, "cpu", "", "cpu.weight"), "200");
    } else {
        assert_eq!(value(pid, "cpu", "cpu.cfs_quota_us", ""), "20000");
        assert_eq!(value(pid, "cpu", "cpu.shares", ""), "2048");
    }
    let line = herd.wait_log("web", "burnt");
    let used: u32 = line.split_whitespace().nth(2).unwrap().parse().unwrap();
    // A fifth, and one period more at each end; without a limit it is all or, beside other tests, half.
    assert!(used < 600, "{line}");
}

#[test]
fn cpus_are_those_of_the_list() {
    if !needs::root() || !needs::controller("cpuset") {
        return;
    }
    let herd = Herd::builder()
        .unit("web", &boxed("stay", "cpus = '0'"))
        .start();
    herd.wait_state("web", "active");
    let pid = herd.main_pid("web");
    assert_eq!(value(pid, "cpuset", "cpuset.cpus", "cpuset.cpus"), "0");
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    assert!(status.contains("Cpus_allowed_list:\t0\n"), "{status}");
}

#[test]
fn writing_to_a_disk_is_held_to_its_rate() {
    if !needs::root() || !needs::controller(if is_pure_v2() { "io" } else { "blkio" }) {
        return;
    }
    let herd = Herd::builder()
        .available(
            "web",
            &boxed(
                "stay",
                "io_write = { '/var/lib' = '1M' }\nio_read = { '/var/lib' = '3M' }",
            ),
        )
        .start();
    let output = herd.ctl(&["start", "web"]);
    if output.code != 0 && output.stderr.contains("is on no block device") {
        eprintln!("SKIPPED: needs a disk below /var/lib");
        return;
    }
    assert_eq!(output.code, 0, "{}", output.stderr);
    let pid = herd.main_pid("web");
    let text = value(pid, "io", "blkio.throttle.write_bps_device", "io.max");
    assert!(
        text.ends_with(" 1048576") || text.contains("wbps=1048576"),
        "{text}"
    );
    let text = value(pid, "io", "blkio.throttle.read_bps_device", "io.max");
    assert!(
        text.ends_with(" 3145728") || text.contains("rbps=3145728"),
        "{text}"
    );
}

#[test]
fn a_rate_for_what_is_on_no_disk_is_refused_by_name() {
    if !needs::root() || !needs::controller(if is_pure_v2() { "io" } else { "blkio" }) {
        return;
    }
    let unit = boxed("stay", "io_write = { '/proc' = '1M' }");
    let herd = Herd::builder().available("web", &unit).start();
    let output = herd.ctl(&["start", "web"]);
    assert_eq!(output.code, 1);
    assert!(
        output.stderr.contains("io_write") && output.stderr.contains("/proc"),
        "{}",
        output.stderr
    );
}

#[test]
fn a_process_is_held_to_its_own_limits() {
    if !needs::root() {
        return;
    }
    let herd = Herd::builder()
        .unit("files", &boxed("open-many", "open_files = 100"))
        .unit("size", &boxed("write-file /tmp/big 4", "file_size = '1M'"))
        .unit("memory", &bare("eat-memory 100", "address_space = '48M'"))
        .unit("time", &bare("burn 20000", "cpu_time = '1s'"))
        .start();
    // 0 to 2 are in use.
    assert_eq!(
        herd.wait_log("files", "opened"),
        "out opened 97 Too many open files (os error 24)"
    );
    herd.wait_state("size", "failed");
    assert!(
        herd.status("size")["last_exit"]["reason"]
            .as_str()
            .unwrap()
            .contains("SIGXFSZ")
    );
    herd.wait_state("memory", "failed");
    herd.wait_state("time", "failed");
    assert_eq!(herd.status("time")["last_exit"]["signal"], 9);
}

#[test]
fn what_only_v2_can_do_is_refused_by_name_on_v1() {
    if !needs::root() || !needs::controller("memory") {
        return;
    }
    for (key, limit) in [
        ("memory_high", "20M"),
        ("memory_low", "10M"),
        ("memory_min", "10M"),
    ] {
        let unit = boxed("stay", &format!("{key} = '{limit}'"));
        let herd = Herd::builder().available("web", &unit).start();
        let output = herd.ctl(&["start", "web"]);
        if is_pure_v2() {
            assert_eq!(output.code, 0, "{}", output.stderr);
            let pid = herd.main_pid("web");
            let file = key.replace('_', ".");
            let bytes = limit.trim_end_matches('M').parse::<u64>().unwrap() << 20;
            assert_eq!(value(pid, "memory", "", &file), bytes.to_string());
        } else {
            assert_eq!(output.code, 1);
            assert!(output.stderr.contains(key), "{}", output.stderr);
            assert!(output.stderr.contains("v1"), "{}", output.stderr);
        }
    }
}

#[test]
fn a_limit_that_may_be_missing_is_reported_as_given_up() {
    if !needs::root() || !needs::controller("memory") || is_pure_v2() {
        return;
    }
    let unit = default_box()
        .keys("best_effort = ['limits']")
        .tables("[limits]\nmemory_high = '20M'")
        .service("stay");
    let herd = Herd::builder().unit("web", &unit).start();
    herd.wait_state("web", "active");
    let given_up = herd.status("web")["walls_given_up"].clone();
    assert_eq!(given_up[0]["wall"], "limits");
    assert!(
        given_up[0]["reason"]
            .as_str()
            .unwrap()
            .contains("memory_high"),
        "{given_up}"
    );
    assert!(herd.ok(&["status", "web"]).contains("memory_high"));
}

#[test]
fn the_whole_group_goes_where_the_unit_says_so() {
    if !needs::root() || !needs::controller("memory") {
        return;
    }
    // The shell would live on: one of its children is what the kernel picks.
    let unit = format!(
        "command = [\"sh\", \"-c\", \"{} eat-memory 200; echo survived; exec sleep 1000\"]\n\
         restart = 'no'\n{}[limits]\nmemory = '24M'\noom_group = true",
        probe().display(),
        machine()
    );
    let herd = Herd::builder().unit("web", &unit).start();
    herd.wait_state("web", "failed");
    assert!(herd.ok(&["status", "web"]).contains("out of memory"));
}

#[test]
fn groups_are_gone_with_their_services() {
    if !needs::root() || !needs::controller("pids") {
        return;
    }
    let herd = Herd::builder()
        .unit("web", &boxed("stay", "tasks = 20"))
        .start();
    herd.wait_state("web", "active");
    let file = group_file(herd.main_pid("web"), "pids", "pids.max", "pids.max");
    assert!(file.exists());
    herd.ok(&["stop", "web"]);
    assert!(!file.parent().unwrap().exists(), "{}", file.display());
}

/// The shell lives on when the kernel takes one of its children.
fn parent_of_a_hog(policy: &str) -> String {
    format!(
        "command = ['sh', '-c', '{} eat-memory 200; echo lives; exec sleep 1000']\n\
         restart = 'no'\n{}[limits]\nmemory = '24M'\n{policy}\n",
        probe().display(),
        machine()
    )
}

#[test]
fn a_child_that_the_kernel_kills_for_its_memory_is_the_service_s_loss() {
    if !needs::root() || !needs::controller("memory") {
        return;
    }
    for boxed in ["", "boxed = true\n"] {
        let unit = format!("{boxed}{}", parent_of_a_hog(""));
        let unit = if boxed.is_empty() {
            unit
        } else {
            unit.replace(
                "[limits]",
                &format!(
                    "[box]\nbind_read_only_paths = ['{}']\n[limits]",
                    probe().display()
                ),
            )
        };
        let herd = Herd::builder().unit("web", &unit).start();
        herd.wait_state("web", "failed");
        let failure = herd.status("web")["failure"].as_str().unwrap().to_owned();
        assert!(failure.contains("out of memory"), "{failure}");
        let out_of_memory = "herd out of memory: the kernel killed a process at its limit";
        assert!(
            herd.log("web").contains(&out_of_memory.to_owned()),
            "{:?}",
            herd.log("web")
        );
    }
}

#[test]
fn a_service_may_go_on_without_the_child_and_the_loss_is_counted() {
    if !needs::root() || !needs::controller("memory") {
        return;
    }
    let unit = parent_of_a_hog("oom_policy = 'continue'");
    let herd = Herd::builder().unit("web", &unit).start();
    herd.wait_log("web", "lives");
    herd.wait_log("web", "out of memory");
    let status = herd.status("web");
    assert_eq!(status["state"], "active");
    assert!(status["oom_kills"].as_i64().unwrap() >= 1, "{status}");
    assert!(herd.ok(&["status", "web"]).contains("OOM kills: "));
}

#[test]
fn what_a_box_puts_into_its_tmp_counts_as_its_memory() {
    if !needs::root() || !needs::controller("memory") {
        return;
    }
    let herd = Herd::builder()
        .unit("web", &boxed("write-file /tmp/big 200", "memory = '24M'"))
        .start();
    herd.wait_state("web", "failed");
    let failure = herd.status("web")["failure"].as_str().unwrap().to_owned();
    assert!(failure.contains("out of memory"), "{failure}");
}

#[test]
fn huge_pages_beyond_the_limit_are_not_to_be_had() {
    if !needs::root() || !needs::controller("hugetlb") {
        return;
    }
    let pages = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_overcommit_hugepages";
    if !needs::path(pages) {
        return;
    }
    // Pages on demand: none is taken from the machine before a process asks for it.
    let before = fs::read_to_string(pages).unwrap();
    let count: u64 = before.trim().parse().unwrap();
    fs::write(pages, (count + 8).to_string()).unwrap();
    let herd = Herd::builder()
        .unit("some", &bare("huge-pages 4", "huge_pages = { 2M = '4M' }"))
        .unit("none", &boxed("huge-pages 4", "huge_pages = { 2M = 0 }"))
        .start();
    let some = herd.wait_log("some", "ENOMEM");
    let none = herd.wait_log("none", "ENOMEM");
    fs::write(pages, before).unwrap();
    assert_eq!(
        (some.as_str(), none.as_str()),
        ("out 2 ENOMEM", "out 0 ENOMEM")
    );
}
