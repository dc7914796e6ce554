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
use sandbox::config::{
    Amount, CgroupLimits, CgroupName, Delegation, DeviceMatch, DevicePolicy, DeviceRule, Devices,
    HugePages,
};
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
    // User-mode Linux counts one victim twice.
    let kills = usage.oom_kills.unwrap();
    assert!((1..=2).contains(&kills), "{kills}");
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

/// Rules for root, kept on v2 or by v1's controller.
fn only(policy: DevicePolicy, allow: &[(DeviceMatch, &str)]) -> CgroupLimits {
    let rule = |(device, access): &(DeviceMatch, &str)| DeviceRule {
        device: device.clone(),
        read: access.contains('r'),
        write: access.contains('w'),
        make: access.contains('m'),
        optional: access.contains('-'),
    };
    CgroupLimits {
        devices: Some(Devices {
            policy,
            allow: allow.iter().map(rule).collect(),
        }),
        ..CgroupLimits::default()
    }
}

/// Each way this machine can keep devices: BPF on v2, and v1's controller.
fn device_hosts() -> Vec<Host> {
    let host = Host::detect().unwrap();
    let mut hosts = Vec::new();
    if !host.is_root {
        eprintln!("skipped: only root may say which devices are open");
        return hosts;
    }
    if host.cgroups.device_programs && !lacks_v2() {
        hosts.push(host.clone());
    }
    if host.cgroups.v1.get("devices").is_some_and(|v1| v1.writable) {
        let mut host = host;
        host.cgroups.device_programs = false;
        hosts.push(host);
    }
    if hosts.is_empty() {
        eprintln!("skipped: nobody keeps devices here");
    }
    hosts
}

/// Which of these the shell can read and write: `null:rw` and the like.
fn opens(group: &Group) -> String {
    let script = "for d in null zero random kmsg; do \
                  r=; (: </dev/$d) 2>/dev/null && r=r; (: >>/dev/$d) 2>/dev/null && r=${r}w; \
                  printf '%s:%s ' $d $r; done";
    String::from_utf8(group.run(script).stdout).unwrap()
}

#[test]
fn only_the_devices_named_are_open() {
    for host in device_hosts() {
        let kmsg = DeviceMatch::Path("/dev/kmsg".into());
        let closed = only(DevicePolicy::Closed, &[]);
        let group = Group::on(host.clone(), "devices", &closed);
        assert_eq!(opens(&group), "null:rw zero:rw random:rw kmsg: ");
        // The next command of a service comes with the rules of its time, and nothing piles up.
        let with_kmsg = only(DevicePolicy::Closed, &[(kmsg.clone(), "r")]);
        let next = cgroup::plan(&group.plan.name, &with_kmsg, &host).unwrap();
        for _ in 0..70 {
            cgroup::create(&next).unwrap();
        }
        assert_eq!(opens(&group), "null:rw zero:rw random:rw kmsg:r ");
        let mem = DeviceMatch::Class {
            block: false,
            driver: "mem".to_owned(),
        };
        let rules = [(mem, "rw")];
        let strict = cgroup::plan(&group.plan.name, &only(DevicePolicy::Strict, &rules), &host);
        cgroup::create(&strict.unwrap()).unwrap();
        assert_eq!(opens(&group), "null:rw zero:rw random:rw kmsg:rw ");
        let none = cgroup::plan(&group.plan.name, &only(DevicePolicy::Strict, &[]), &host);
        cgroup::create(&none.unwrap()).unwrap();
        let output = group.run("(: </dev/null) 2>/dev/null && echo null || echo none");
        assert_eq!(output.stdout, b"none\n");
        group.finish();
    }
}

#[test]
fn a_device_node_that_root_makes_is_as_shut_as_the_one_in_dev() {
    for host in device_hosts() {
        let rule = (DeviceMatch::Path("/dev/kmsg".into()), "m");
        let group = Group::on(host, "mknod", &only(DevicePolicy::Closed, &[rule]));
        // Somewhere nodes count: the guest's temporary directory forbids them all.
        let above = match std::env::var_os("HERD_VM") {
            Some(_) => PathBuf::from("/dev"),
            None => std::env::temp_dir(),
        };
        let place = above.join(format!("herd-mknod-{}", std::process::id()));
        let place = place.display();
        let script = format!(
            "mkdir {place}; cd {place}; mknod a c 1 11 && echo made; cat a 2>&1 >/dev/null | \
             grep -o 'not permitted'; mknod b b 8 0 2>&1 | grep -o 'not permitted'; rm -r {place}"
        );
        let output = String::from_utf8(group.run(&script).stdout).unwrap();
        assert_eq!(output, "made\nnot permitted\nnot permitted\n");
        group.finish();
    }
}

#[test]
fn a_device_that_is_none_is_told_by_its_path() {
    for host in device_hosts() {
        let name = CgroupName(format!("herd-test-{}-nodevice", std::process::id()));
        let driver = |driver: &str| DeviceMatch::Class {
            block: true,
            driver: driver.to_owned(),
        };
        for (device, access, message) in [
            (
                DeviceMatch::Path("/etc/passwd".into()),
                "r",
                Some("limits.devices: /etc/passwd is no device"),
            ),
            (
                DeviceMatch::Path("/dev/herd-none".into()),
                "r",
                Some("limits.devices: cannot look at /dev/herd-none"),
            ),
            (DeviceMatch::Path("/dev/herd-none".into()), "r-", None),
            (
                driver("herd-none"),
                "r",
                Some("limits.devices: this kernel has no block driver \"herd-none\""),
            ),
            (driver("herd-none"), "r-", None),
            (driver("*"), "r", None),
        ] {
            let limits = only(DevicePolicy::Closed, &[(device, access)]);
            let plan = cgroup::plan(&name, &limits, &host).unwrap();
            let told = cgroup::create(&plan).err().map(|error| error.to_string());
            assert_eq!(told.as_deref(), message);
            assert_eq!(cgroup::remove(&plan).unwrap(), Removal::Removed);
        }
    }
}

#[test]
fn huge_pages_beyond_the_limit_are_not_to_be_had() {
    if lacks("hugetlb") {
        return;
    }
    let limits = CgroupLimits {
        huge_pages: vec![HugePages {
            size: 2 << 20,
            amount: Amount::Exactly(4 << 20),
        }],
        ..CgroupLimits::default()
    };
    let group = Group::new("huge", &limits);
    let path = group.paths()[0].clone();
    let v1 = !path.join("hugetlb.2MB.max").exists();
    for file in ["hugetlb.2MB", "hugetlb.2MB.rsvd"] {
        let file = format!("{file}.{}", if v1 { "limit_in_bytes" } else { "max" });
        let text = fs::read_to_string(path.join(file)).unwrap();
        assert_eq!(text.trim(), "4194304");
    }
    group.finish();
}

#[test]
fn a_page_size_that_the_machine_lacks_names_the_key() {
    if lacks("hugetlb") {
        return;
    }
    let limits = CgroupLimits {
        huge_pages: vec![HugePages {
            size: 8 << 20,
            amount: Amount::Exactly(0),
        }],
        ..CgroupLimits::default()
    };
    let host = Host::detect().unwrap();
    let name = CgroupName(format!("herd-test-{}-pages", std::process::id()));
    let plan = cgroup::plan(&name, &limits, &host).unwrap();
    let error = cgroup::create(&plan).unwrap_err().to_string();
    assert!(
        error.starts_with("limits.huge_pages: cgroup /sys/"),
        "{error}"
    );
    assert!(error.contains("has none of hugetlb.8MB."), "{error}");
    assert_eq!(cgroup::remove(&plan).unwrap(), Removal::Removed);
}

#[test]
fn what_is_below_a_delegated_group_is_its_user_s() {
    use std::os::unix::fs::MetadataExt;
    if lacks_v2() || !Host::detect().unwrap().is_root {
        return;
    }
    let limits = CgroupLimits {
        delegation: Some(Delegation::default()),
        ..CgroupLimits::default()
    };
    let host = Host::detect().unwrap();
    let name = format!("herd-test-{}-delegate/unit", std::process::id());
    let config = sandbox::Config {
        identity: sandbox::config::Identity {
            uid: Some(65534),
            gid: Some(65534),
            groups: None,
        },
        cgroup: Some(CgroupName(name)),
        limits: sandbox::config::Limits {
            cgroup: limits,
            slices: Vec::new(),
            rlimits: Vec::new(),
        },
        name: "unit".to_owned(),
        process: sandbox::config::Process {
            argv: vec!["/bin/true".into()],
            ..sandbox::config::Process::default()
        },
        directories: Vec::new(),
        walls: None,
        lifecycle: sandbox::config::Lifecycle::default(),
    };
    let plan = sandbox::compile(&config, &host).unwrap();
    let plan = plan.cgroup().unwrap().clone();
    cgroup::create(&plan).unwrap();
    let group = Group { plan, host };
    let path = group.paths()[0].clone();
    let owner = |file: &str| fs::metadata(path.join(file)).unwrap().uid();
    for file in [
        "",
        "cgroup.procs",
        "cgroup.threads",
        "cgroup.subtree_control",
    ] {
        assert_eq!(owner(file), 65534, "{file}");
    }
    for file in ["cgroup.freeze", "cgroup.kill", "cgroup.max.depth"] {
        assert_eq!(owner(file), 0, "{file}");
    }
    let script = format!(
        "exec setpriv --reuid 65534 --regid 65534 --clear-groups sh -c \
         'mkdir {0}/own && echo $$ >{0}/own/cgroup.procs && exec sleep 1000'",
        path.display()
    );
    let shell = group.start(&script);
    let pid = i32::try_from(shell.id()).unwrap();
    let events = cgroup::open_events(&group.plan).unwrap().unwrap();
    let own = path.join("own/cgroup.procs");
    while !fs::read_to_string(&own).is_ok_and(|text| text.contains(&pid.to_string())) {
        std::thread::yield_now();
    }
    drop(events);
    assert_eq!(cgroup::pids(&group.plan).unwrap(), [pid]);
    let mut shell = shell;
    cgroup::kill(&group.plan).unwrap();
    assert_eq!(shell.wait().unwrap().signal(), Some(9));
    group.finish();
}

#[test]
fn a_slice_comes_with_its_first_group_and_goes_with_its_last() {
    if lacks_v2() || lacks("pids") {
        return;
    }
    let host = Host::detect().unwrap();
    let base = format!("herd-test-{}-slice", std::process::id());
    let limits = CgroupLimits {
        tasks: Some(Amount::Exactly(5)),
        ..CgroupLimits::default()
    };
    let group = |name: &str| {
        let name = CgroupName(format!("{base}/a.slice/a-b.slice/{name}"));
        let plan = cgroup::plan(&name, &limits, &host).unwrap();
        cgroup::create(&plan).unwrap();
        plan
    };
    let (one, two) = (group("one"), group("two"));
    let slices = |plan: &CgroupPlan| -> Vec<PathBuf> {
        let v2 = plan.v2.iter().map(|leaf| leaf.path.clone());
        let all = v2.chain(plan.v1.iter().map(|leaf| leaf.path.clone()));
        all.map(|path| path.parent().unwrap().to_owned()).collect()
    };
    assert_eq!(cgroup::remove(&one).unwrap(), Removal::Removed);
    assert!(slices(&one).iter().all(|slice| slice.exists()));
    assert_eq!(cgroup::remove(&two).unwrap(), Removal::Removed);
    for slice in slices(&two) {
        assert!(!slice.exists() && !slice.parent().unwrap().exists());
        // v2's base hands controllers out; nobody needs v1's.
        let base = slice.parent().unwrap().parent().unwrap();
        let on_v2 = two
            .v2
            .as_ref()
            .is_some_and(|leaf| leaf.path.starts_with(base));
        assert_eq!(base.exists(), on_v2);
    }
    cgroup::remove_base(&host, &CgroupName(base)).unwrap();
}

#[test]
fn pressure_is_told_where_the_kernel_counts_it() {
    if lacks_v2() {
        return;
    }
    let group = Group::new("pressure", &CgroupLimits::default());
    let output = group.run("cat /proc/pressure/cpu 2>/dev/null");
    let pressure = cgroup::pressure(&group.plan).unwrap();
    assert_eq!(pressure.memory.is_some(), output.status.success());
    assert_eq!(pressure.cpu.is_some(), output.status.success());
    group.finish();
}

#[test]
fn a_scope_holds_one_launch_and_leaves_nothing() {
    if lacks("pids") {
        return;
    }
    let host = Host::detect().unwrap();
    let limits = CgroupLimits {
        tasks: Some(Amount::Exactly(3)),
        ..CgroupLimits::default()
    };
    let scope = cgroup::Scope::open(&host, "herd-test-scope", &limits).unwrap();
    let other = cgroup::Scope::open(&host, "herd-test-scope", &limits).unwrap();
    assert_ne!(scope.name(), other.name());
    cgroup::create(scope.plan()).unwrap();
    let mut group = shell("read go; sleep 1000 & sleep 1000 & sleep 1000 & wait");
    cgroup::add(scope.plan(), i32::try_from(group.id()).unwrap()).unwrap();
    writeln!(group.stdin.as_mut().unwrap(), "go").unwrap();
    let paths: Vec<PathBuf> = {
        let plan = scope.plan();
        let v2 = plan.v2.iter().map(|leaf| leaf.path.clone());
        v2.chain(plan.v1.iter().map(|leaf| leaf.path.clone()))
            .collect()
    };
    assert!(paths.iter().all(|path| path.exists()));
    // The third fork is refused, which ends the shell and leaves its children.
    assert_eq!(group.wait().unwrap().code(), Some(2));
    scope.close().unwrap();
    assert!(!paths.iter().any(|path| path.exists()));
    // Nothing was made for this one yet.
    drop(other);
}

#[test]
fn a_scope_that_nobody_delegated_says_what_is_missing() {
    if lacks_v2() {
        return;
    }
    let mut host = Host::detect().unwrap();
    let v2 = host.cgroups.v2.as_mut().unwrap();
    v2.writable = false;
    host.cgroups.v1.clear();
    let limits = CgroupLimits {
        memory: Some(Amount::Exactly(1 << 20)),
        ..CgroupLimits::default()
    };
    let told = cgroup::Scope::open(&host, "herd-test", &limits)
        .unwrap_err()
        .to_string();
    assert!(
        told.starts_with("limits.memory needs the cgroup controller memory: "),
        "{told}"
    );
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
