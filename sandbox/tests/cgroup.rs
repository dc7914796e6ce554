//! Groups made for real. Every test works below `herd-test-PID-…` and leaves nothing there.
//!
//! A machine without a writable hierarchy for what a test needs is a visible skip.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "fixtures of tests, which clippy does not take for tests"
)]

use std::fs;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use sandbox::cgroup::{self, CgroupPlan, OomGroup, Removal};
use sandbox::config::{Amount, CgroupLimits, CgroupName};
use sandbox::host::Host;

const DEADLINE: Duration = Duration::from_secs(20);

/// A plan whose groups are gone when the test is over, whatever became of it.
struct Group {
    plan: CgroupPlan,
    host: Host,
}

impl Group {
    fn new(test: &str, limits: &CgroupLimits) -> Self {
        Self::on(Host::detect().unwrap(), test, limits)
    }

    fn on(host: Host, test: &str, limits: &CgroupLimits) -> Self {
        let name = CgroupName(format!("herd-test-{}-{test}/unit", std::process::id()));
        let plan = cgroup::plan(&name, limits, &host).unwrap();
        cgroup::create(&plan).unwrap();
        Self { plan, host }
    }

    /// Starts a shell in the group that runs `script` once it is in.
    fn start(&self, script: &str) -> Child {
        let mut shell = shell(&format!("read go; {script}"));
        cgroup::add(&self.plan, i32::try_from(shell.id()).unwrap()).unwrap();
        writeln!(shell.stdin.as_mut().unwrap(), "go").unwrap();
        shell
    }

    fn run(&self, script: &str) -> Output {
        self.start(script).wait_with_output().unwrap()
    }

    fn paths(&self) -> Vec<PathBuf> {
        let v2 = self.plan.v2.iter().map(|leaf| leaf.path.clone());
        v2.chain(self.plan.v1.iter().map(|leaf| leaf.path.clone()))
            .collect()
    }

    /// Waits for the group to be empty: by its own event on v2, by its processes' ends on v1.
    fn wait_until_empty(&self) {
        if let Some(events) = cgroup::open_events(&self.plan).unwrap() {
            while cgroup::is_populated(&self.plan).unwrap() {
                wait(&events, PollFlags::PRI);
            }
            return;
        }
        for pid in cgroup::pids(&self.plan).unwrap() {
            let pid = rustix::process::Pid::from_raw(pid).unwrap();
            let flags = rustix::process::PidfdFlags::empty();
            if let Ok(pidfd) = rustix::process::pidfd_open(pid, flags) {
                wait(&pidfd, PollFlags::IN);
            }
        }
    }

    /// Kills what is left, removes all, and proves that nothing stayed.
    fn finish(self) {
        cgroup::kill(&self.plan).unwrap();
        self.wait_until_empty();
        assert_eq!(cgroup::remove(&self.plan).unwrap(), Removal::Removed);
        for path in self.paths() {
            assert!(!path.exists(), "{} is left", path.display());
        }
        // A second removal finds nothing to do.
        assert_eq!(cgroup::remove(&self.plan).unwrap(), Removal::Removed);
        self.remove_base();
        for path in self.paths() {
            assert!(!path.parent().unwrap().exists());
        }
    }

    fn remove_base(&self) {
        let base = self.plan.name.0.split('/').next().unwrap();
        cgroup::remove_base(&self.host, &CgroupName(base.to_owned())).unwrap();
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if std::thread::panicking() && cgroup::kill(&self.plan).is_ok() {
            self.wait_until_empty();
            self.remove_base();
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "these tests are about groups, and any process will do"
)]
fn shell(script: &str) -> Child {
    Command::new("/bin/sh")
        .args(["-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn wait(fd: &impl AsFd, flags: PollFlags) {
    let limit = Timespec {
        tv_sec: i64::try_from(DEADLINE.as_secs()).unwrap(),
        tv_nsec: 0,
    };
    let mut fds = [PollFd::new(fd, flags)];
    assert_eq!(poll(&mut fds, Some(&limit)).unwrap(), 1, "nothing happened");
}

/// The machine's own answer to "is there a controller for this", told when it is no.
fn lacks(controller: &str) -> bool {
    let host = Host::detect().unwrap();
    let v1 = if controller == "io" {
        "blkio"
    } else {
        controller
    };
    let on_v1 = host.cgroups.v1.get(v1).is_some_and(|v1| v1.writable);
    let on_v2 = host
        .cgroups
        .v2
        .is_some_and(|v2| v2.writable && v2.controllers.iter().any(|name| name == controller));
    if !on_v1 && !on_v2 {
        eprintln!("skipped: no controller {controller} for us here");
    }
    !on_v1 && !on_v2
}

fn lacks_v2() -> bool {
    let has = Host::detect()
        .unwrap()
        .cgroups
        .v2
        .is_some_and(|v2| v2.writable);
    if !has {
        eprintln!("skipped: no writable cgroup v2 here");
    }
    !has
}

#[test]
fn kill_takes_everything_that_a_service_started() {
    if lacks_v2() {
        return;
    }
    let group = Group::new("kill", &CgroupLimits::default());
    assert!(group.plan.v1.is_empty(), "no limit, so one mkdir");
    assert!(!cgroup::is_populated(&group.plan).unwrap());
    let below = group.paths()[0].join("below");
    // Two that left the session, one in a group of its own below, one that ignores signals.
    let script = format!(
        "setsid sleep 1000 & setsid sh -c 'trap \"\" TERM HUP; sleep 1000' & \
         mkdir {0}; sh -c 'echo $$ > {0}/cgroup.procs; exec sleep 1000' & echo up; wait",
        below.display()
    );
    let mut shell = group.start(&script);
    let mut word = [0; 2];
    std::io::Read::read_exact(shell.stdout.as_mut().unwrap(), &mut word).unwrap();
    assert!(cgroup::is_populated(&group.plan).unwrap());
    assert!(cgroup::pids(&group.plan).unwrap().len() >= 4);
    assert!(matches!(
        cgroup::remove(&group.plan).unwrap(),
        Removal::Busy(_)
    ));
    let events = cgroup::open_events(&group.plan).unwrap().unwrap();
    cgroup::kill(&group.plan).unwrap();
    assert_eq!(shell.wait().unwrap().signal(), Some(9));
    while cgroup::is_populated(&group.plan).unwrap() {
        wait(&events, PollFlags::PRI);
    }
    group.finish();
}

#[test]
fn a_frozen_service_is_killed_too() {
    if lacks_v2() {
        return;
    }
    let group = Group::new("freeze", &CgroupLimits::default());
    let mut shell = group.start("sleep 1000 & wait");
    let events = cgroup::open_events(&group.plan).unwrap().unwrap();
    cgroup::freeze(&group.plan).unwrap();
    let path = group.paths()[0].join("cgroup.events");
    while !cgroup::parse_events(&fs::read_to_string(&path).unwrap()).frozen {
        wait(&events, PollFlags::PRI);
    }
    cgroup::kill(&group.plan).unwrap();
    assert_eq!(shell.wait().unwrap().signal(), Some(9));
    group.finish();
}

#[test]
fn without_v2_a_freezer_and_signals_kill() {
    let mut host = Host::detect().unwrap();
    host.cgroups.v2 = None;
    if !host.cgroups.v1.get("freezer").is_some_and(|v1| v1.writable) {
        eprintln!("skipped: no v1 freezer here");
        return;
    }
    let group = Group::on(host, "v1-kill", &CgroupLimits::default());
    assert_eq!(group.plan.v1[0].controllers, ["freezer"]);
    let mut shell = group.start("while :; do setsid sleep 1000 & setsid sleep 1000 & wait; done");
    // A task that is killed while a v1 freezer holds it stays until it is thawed.
    cgroup::freeze(&group.plan).unwrap();
    cgroup::kill(&group.plan).unwrap();
    assert_eq!(shell.wait().unwrap().signal(), Some(9));
    group.finish();
}

#[test]
fn a_signal_reaches_every_process() {
    if lacks_v2() {
        return;
    }
    let group = Group::new("signal", &CgroupLimits::default());
    let mut shell = group.start("sleep 1000 & sleep 1000");
    cgroup::signal(&group.plan, &[15], &[]).unwrap();
    assert_eq!(shell.wait().unwrap().signal(), Some(15));
    // Whoever was forked in between is left to the kill.
    group.finish();
}

#[test]
fn a_limit_on_tasks_refuses_the_next_fork() {
    if lacks("pids") {
        return;
    }
    let limits = CgroupLimits {
        tasks: Some(Amount::Exactly(5)),
        ..CgroupLimits::default()
    };
    let group = Group::new("tasks", &limits);
    let mut shell = group.start("for i in 1 2 3 4 5 6 7 8; do sleep 1000 & done");
    let status = shell.wait().unwrap();
    assert_eq!(status.code(), Some(2), "dash gives up when it cannot fork");
    assert_eq!(cgroup::usage(&group.plan).unwrap().tasks, Some(4));
    group.finish();
}

#[test]
fn a_limit_on_memory_kills_the_hog_and_tells() {
    if lacks("memory") {
        return;
    }
    let host = Host::detect().unwrap();
    let v2 = host
        .cgroups
        .v2
        .is_some_and(|v2| v2.controllers.iter().any(|c| c == "memory"));
    let limits = CgroupLimits {
        memory: Some(Amount::Exactly(32 << 20)),
        swap: (v2 || host.cgroups.v1_swap).then_some(Amount::Exactly(0)),
        oom_group: true,
        ..CgroupLimits::default()
    };
    let group = Group::new("memory", &limits);
    let by = if v2 { OomGroup::Kernel } else { OomGroup::Herd };
    assert_eq!(group.plan.oom_group, by);
    let watch = cgroup::watch_oom(&group.plan).unwrap().unwrap();
    assert_eq!(cgroup::oom_kills(&group.plan).unwrap(), Some(0));
    // Keeps its last "line", which has no end.
    let mut hog = group.start("exec tail /dev/zero");
    wait(&watch, PollFlags::IN | PollFlags::PRI);
    assert_eq!(hog.wait().unwrap().signal(), Some(9));
    let usage = cgroup::usage(&group.plan).unwrap();
    assert_eq!(usage.oom_kills, Some(1));
    let peak = usage.memory_peak.unwrap();
    assert!((16 << 20..=32 << 20).contains(&peak), "{peak}");
    assert!(usage.memory_current.is_some());
    group.finish();
}

#[test]
fn cpu_limits_are_in_the_kernel_s_files() {
    if lacks("cpu") || lacks("cpuset") {
        return;
    }
    let limits = CgroupLimits {
        cpu_percent: Some(50),
        cpu_weight: Some(200),
        cpus: Some("0".to_owned()),
        ..CgroupLimits::default()
    };
    let group = Group::new("cpu", &limits);
    let inside = group.run("grep Cpus_allowed_list /proc/self/status");
    assert_eq!(
        String::from_utf8(inside.stdout).unwrap().trim(),
        "Cpus_allowed_list:\t0"
    );
    if let Some(leaf) = group
        .plan
        .v1
        .iter()
        .find(|leaf| leaf.controllers.contains(&"cpu".into()))
    {
        let read = |file: &str| fs::read_to_string(leaf.path.join(file)).unwrap();
        assert_eq!(read("cpu.cfs_quota_us").trim(), "50000");
        assert_eq!(read("cpu.cfs_period_us").trim(), "100000");
        assert_eq!(read("cpu.shares").trim(), "2048");
    } else {
        let path = &group.paths()[0];
        let read = |file: &str| fs::read_to_string(path.join(file)).unwrap();
        assert_eq!(read("cpu.max").trim(), "50000 100000");
        assert_eq!(read("cpu.weight").trim(), "200");
    }
    assert!(cgroup::usage(&group.plan).unwrap().cpu_usec.is_some());
    group.finish();
}

#[test]
fn io_limits_name_the_disk() {
    if lacks("io") {
        return;
    }
    let limits = CgroupLimits {
        io_read: vec![("/".into(), 10 << 20)],
        io_write: vec![("/".into(), 5 << 20)],
        ..CgroupLimits::default()
    };
    let host = Host::detect().unwrap();
    let name = CgroupName(format!("herd-test-{}-io", std::process::id()));
    let plan = cgroup::plan(&name, &limits, &host).unwrap();
    match cgroup::create(&plan) {
        Ok(()) => {
            let (path, file) = plan.v1.first().map_or_else(
                || (plan.v2.as_ref().unwrap().path.clone(), "io.max"),
                |leaf| (leaf.path.clone(), "blkio.throttle.read_bps_device"),
            );
            let text = fs::read_to_string(path.join(file)).unwrap();
            assert!(text.contains("10485760"), "{text}");
        }
        Err(cgroup::CgroupError::NoDevice { .. }) => {
            eprintln!("skipped: / is on no block device");
        }
        Err(other) => panic!("{other:?}"),
    }
    assert_eq!(cgroup::remove(&plan).unwrap(), Removal::Removed);
}

#[test]
fn what_the_kernel_refuses_names_path_value_and_errno() {
    if lacks("cpuset") {
        return;
    }
    let host = Host::detect().unwrap();
    let name = CgroupName(format!("herd-test-{}-refused", std::process::id()));
    let limits = CgroupLimits {
        cpus: Some("4000".to_owned()),
        ..CgroupLimits::default()
    };
    let plan = cgroup::plan(&name, &limits, &host).unwrap();
    let error = cgroup::create(&plan).unwrap_err();
    let text = error.to_string();
    assert!(
        text.starts_with("cannot write \"4000\" to /sys/fs/cgroup/"),
        "{text}"
    );
    assert!(text.ends_with("/cpuset.cpus"), "{text}");
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("os error"), "{source}");
    assert_eq!(cgroup::remove(&plan).unwrap(), Removal::Removed);
}

#[test]
fn our_own_group_can_hand_out_what_it_is_offered() {
    if lacks_v2() {
        return;
    }
    let host = Host::detect().unwrap();
    let base = CgroupName(format!("herd-test-{}-base", std::process::id()));
    let prepared = cgroup::prepare_root(&host, &base).unwrap();
    let v2 = host.cgroups.v2.as_ref().unwrap();
    if !v2.controllers.iter().any(|name| name == "memory") {
        // Hybrid: there is nothing to hand out, and nothing was touched.
        assert!(prepared.moved.is_none() && prepared.enabled.is_empty());
        assert!(!v2.own.join(&base.0).exists());
    } else {
        assert!(prepared.refused.is_empty(), "{prepared:?}");
        let offered = fs::read_to_string(v2.own.join(&base.0).join("cgroup.subtree_control"));
        assert!(offered.unwrap().contains("memory"));
    }
    cgroup::remove_base(&host, &base).unwrap();
}
