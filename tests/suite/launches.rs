//! Programs on file systems that do not answer: who starts one waits in `execve(2)`, and nobody else does.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::Signal;

use crate::fixture::{Herd, children, gone};
use crate::needs;

/// A program that nobody can open (`F_SETLEASE` in fcntl(2)) as long as this lives: until then, or for the 45 s
/// of `/proc/sys/fs/lease-break-time`, each `execve` of it stands still.
struct Held(Child);

impl Held {
    fn new(herd: &Herd, name: &str) -> Self {
        let path = herd.path(name);
        fs::copy("/bin/sleep", &path).unwrap();
        Self::hold(&path)
    }

    fn hold(path: &Path) -> Self {
        let script = "$SIG{IO} = 'IGNORE'; open(F, '<', $ARGV[0]) or die; \
                      fcntl(F, 1024, 1) or die \"lease: $!\"; $| = 1; print \"held\\n\"; <STDIN>";
        let mut child = Command::new("perl")
            .args(["-e", script])
            .arg(path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let out = child.stdout.as_mut().unwrap();
        BufReader::new(out).read_line(&mut line).unwrap();
        assert_eq!(line, "held\n");
        Self(child)
    }

    fn let_go(mut self) {
        drop(self.0.stdin.take());
        self.0.wait().unwrap();
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // One that was let go has ended.
        self.0.kill().ok();
        self.0.wait().unwrap();
    }
}

fn unit(name: &str) -> String {
    format!("command = ['@D@/{name}', 'infinity']\n")
}

/// Waits until a child of herd's stands in its `execve`: it still has herd's own program.
fn standing(herd: &Herd) -> i32 {
    let own = fs::read_link(format!("/proc/{}/exe", herd.pid())).unwrap();
    let deadline = crate::fixture::Deadline::new();
    loop {
        for pid in children(herd.pid()) {
            let has_own = fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == own);
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            if has_own && name != "herd-exec\n" {
                return pid;
            }
        }
        assert!(!deadline.left().is_zero(), "nobody stands still");
    }
}

#[test]
fn a_program_that_cannot_be_read_holds_up_its_own_service_alone() {
    if !needs::program("perl") {
        return;
    }
    let herd = Herd::builder()
        .available("stuck", &unit("stuck"))
        .available("other", "command = 'sleep infinity'\n")
        .start();
    let held = Held::new(&herd, "stuck");
    herd.ok(&["start", "--no-wait", "stuck"]);
    standing(&herd);
    assert_eq!(herd.status("stuck")["state"], "activating");
    herd.ok(&["start", "other"]);
    let pid = herd.main_pid("other");
    herd.ok(&["restart", "other"]);
    assert_ne!(herd.main_pid("other"), pid);
    assert_eq!(herd.status("stuck")["state"], "activating");
    held.let_go();
    herd.wait_state("stuck", "active");
    assert!(herd.shutdown().success());
}

/// A herd that stood still from before the program was there until it `has_spoken`: it hears of both at once.
fn speaks_early(words: &str, more: &str, has_spoken: impl Fn(i32) -> bool) -> Option<Herd> {
    if !needs::program("perl") {
        return None;
    }
    let unit = format!("command = '@D@/early {words}'\nready = 'notify'\nrestart = 'no'\n{more}");
    let herd = Herd::builder()
        .file("program", "@SERVICE@")
        .available("early", &unit)
        .start();
    let path = herd.path("early");
    fs::copy(herd.read("program"), &path).unwrap();
    let held = Held::hold(&path);
    herd.ok(&["start", "--no-wait", "early"]);
    let pid = standing(&herd);
    herd.signal(Signal::SIGSTOP);
    held.let_go();
    let deadline = crate::fixture::Deadline::new();
    while !has_spoken(pid) {
        assert!(!deadline.left().is_zero(), "the program does not run");
    }
    herd.signal(Signal::SIGCONT);
    Some(herd)
}

#[test]
fn what_a_program_says_before_herd_knows_that_it_runs_counts() {
    // In read(2) it waits for herd to have heard it.
    let has_spoken = |pid| {
        let call = fs::read_to_string(format!("/proc/{pid}/syscall")).unwrap_or_default();
        call.starts_with("0 ")
    };
    let words = "notify:READY=1;WATCHDOG=trigger sleep";
    let Some(herd) = speaks_early(words, "watchdog = '1h'\n", has_spoken) else {
        return;
    };
    herd.wait_state("early", "failed");
    let failure = &herd.status("early")["failure"];
    assert_eq!(failure, "watchdog: no ping in time");
}

#[test]
fn what_a_program_said_is_heard_before_its_end_though_herd_hears_of_both_at_once() {
    let has_ended = |pid| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.contains(") Z ")
    };
    let Some(herd) = speaks_early("tell:READY=1;STATUS=done", "", has_ended) else {
        return;
    };
    herd.wait_substate("early", "exited");
    assert_eq!(herd.status("early")["status_text"], "done");
}

#[test]
fn a_launch_that_stands_still_is_called_off_by_a_stop() {
    if !needs::program("perl") {
        return;
    }
    let herd = Herd::builder()
        .available("stuck", &unit("stuck"))
        .available(
            "pre",
            &format!(
                "command_pre = ['@D@/stuck']\n{}",
                "command = 'sleep infinity'\n"
            ),
        )
        .start();
    let held = Held::new(&herd, "stuck");
    for name in ["stuck", "pre"] {
        herd.ok(&["start", "--no-wait", name]);
        let pid = standing(&herd);
        herd.ok(&["stop", name]);
        assert!(gone(pid));
        assert_eq!(herd.status(name)["state"], "inactive", "{name}");
    }
    held.let_go();
    herd.ok(&["start", "stuck"]);
    assert!(herd.shutdown().success());
}

#[test]
fn a_launch_that_stands_still_times_out_as_any_start() {
    if !needs::program("perl") {
        return;
    }
    let text = format!("timeout_start = '200ms'\nrestart = 'no'\n{}", unit("stuck"));
    let herd = Herd::builder().available("stuck", &text).start();
    let held = Held::new(&herd, "stuck");
    herd.ctl(&["start", "stuck"]);
    herd.wait_state("stuck", "failed");
    let failure = herd.status("stuck")["failure"].to_string();
    assert!(failure.contains("timeout"), "{failure}");
    held.let_go();
}

#[test]
fn herd_ends_while_more_launches_stand_still_than_threads_start_them() {
    if !needs::program("perl") {
        return;
    }
    let mut builder = Herd::builder().available("other", "command = 'sleep infinity'\n");
    let names: Vec<String> = (0..12).map(|number| format!("stuck-{number}")).collect();
    for name in &names {
        builder = builder.available(name, &unit("stuck"));
    }
    let mut herd = builder.start();
    let held = Held::new(&herd, "stuck");
    for name in &names[..7] {
        herd.ok(&["start", "--no-wait", name]);
    }
    herd.ok(&["start", "other"]);
    for name in &names[7..] {
        herd.ok(&["start", "--no-wait", name]);
    }
    let threads = fs::read_dir(format!("/proc/{}/task", herd.pid())).unwrap();
    let launches = threads.flatten().filter(|task| {
        fs::read_to_string(task.path().join("comm")).is_ok_and(|name| name == "launches\n")
    });
    assert!(launches.count() <= 8);
    // Behind them all: it is started when one of them is called off.
    herd.ok(&["stop", "stuck-3"]);
    assert_eq!(herd.status("stuck-11")["state"], "activating");
    herd.signal(Signal::SIGTERM);
    assert!(herd.wait_end().success());
    held.let_go();
}

#[test]
fn orphans_are_reaped_while_a_launch_stands_still() {
    if !needs::program("perl") {
        return;
    }
    let herd = Herd::builder()
        .available("stuck", &unit("stuck"))
        .available(
            "orphans",
            "command = ['sh', '-c', '(sleep 0.01 & echo $! >@D@/orphan); sleep infinity']\n",
        )
        .start();
    let held = Held::new(&herd, "stuck");
    herd.ok(&["start", "--no-wait", "stuck"]);
    standing(&herd);
    herd.ok(&["start", "orphans"]);
    let orphan: i32 = herd.wait_file("orphan", "\n").trim().parse().unwrap();
    herd.wait_gone(orphan);
    held.let_go();
}
