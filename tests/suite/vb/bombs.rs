//! Who tries to use up the machine, or to have the launcher's own file, from a box of `vb`; and many launches.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::box_probe::{probe, user_boxes};
use crate::fixture::{Deadline, Output, run};
use crate::needs;

/// A copy of the launcher where everybody can reach it.
struct Place {
    directory: tempfile::TempDir,
    program: PathBuf,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let program = directory.path().join("vb");
        fs::copy(env!("CARGO_BIN_EXE_herd"), &program).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        Self { directory, program }
    }

    fn vb(&self, as_user: bool, more: &[&str], words: &[&str]) -> Command {
        let mut line: Vec<&str> = Vec::new();
        if as_user {
            line.extend([
                "setpriv",
                "--reuid=1000",
                "--regid=1000",
                "--clear-groups",
                "--",
            ]);
        }
        line.push(self.program.to_str().unwrap());
        line.extend(super::attacks::USUAL);
        line.extend(more);
        line.extend(words);
        let mut command = Command::new(line[0]);
        command.args(&line[1..]).current_dir("/");
        command
    }
}

fn is_unchanged(program: &Path) -> bool {
    fs::read(program).unwrap() == fs::read(env!("CARGO_BIN_EXE_herd")).unwrap()
}

/// CVE-2019-5736.
#[test]
fn the_launchers_own_binary_cannot_be_had_by_way_of_proc() {
    if !user_boxes() {
        return;
    }
    let place = Place::new();
    let evil = place.directory.path().join("evil");
    // The interpreter is whoever executes it: the launcher, become the box's main process.
    fs::write(&evil, "#!/proc/self/exe\n").unwrap();
    fs::set_permissions(&evil, fs::Permissions::from_mode(0o755)).unwrap();
    let bind = ["--ro-bind", evil.to_str().unwrap(), "/tmp/evil"];
    let opens = "for round in 1 2 3 4 5 6 7 8 9 10; do for one in /proc/[0-9]* /proc/self; do \
                 (: >>$one/exe) 2>/dev/null && echo opened $one; \
                 (exec 8<$one/exe && : >>/proc/self/fd/8) 2>/dev/null && echo held $one; \
                 done; done; echo over";
    for as_user in [false, true] {
        for _ in 0..10 {
            let output = run(&mut place.vb(as_user, &bind, &["/tmp/evil"]));
            assert_ne!(output.code, 0, "{output:?}");
        }
        let output = run(&mut place.vb(as_user, &bind, &["sh", "-c", opens]));
        assert_eq!(output.stdout, "over\n", "as a user: {as_user}");
        assert!(is_unchanged(&place.program));
    }
}

/// Until it has written a line; gives that, and what is left to be read.
fn first_line(child: &mut Child) -> (String, BufReader<std::process::ChildStdout>) {
    let out = child.stdout.take().unwrap();
    assert!(Deadline::new().readable(&out));
    let mut out = BufReader::new(out);
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    (line, out)
}

#[test]
fn bombs_are_held_to_the_limits_of_a_box_and_nothing_of_them_is_left() {
    if !needs::root() || !needs::controller("pids") || !needs::controller("memory") {
        return;
    }
    let place = Place::new();
    let probe = probe().display().to_string();
    let flags = |more: &[&'static str]| {
        let mut flags = vec!["--ro-bind", &probe, &probe];
        flags.extend(more);
        flags.into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    // Processes.
    let limited = flags(&["--tasks", "20"]);
    let limited: Vec<&str> = limited.iter().map(String::as_str).collect();
    let mut child = place
        .vb(false, &limited, &[&probe, "fork-bomb", "500"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (line, mut rest) = first_line(&mut child);
    let made: u32 = line.split_whitespace().next().unwrap().parse().unwrap();
    assert!(line.contains("EAGAIN") && made < 20, "{line}");
    // The machine goes on meanwhile.
    let begin = Instant::now();
    assert_eq!(run(&mut Command::new("/bin/true")).code, 0);
    assert!(begin.elapsed() < Duration::from_secs(2));
    // Not by SIGKILL, after which nobody is left to take the group away.
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(143));
    // Each of its processes holds this pipe.
    rest.read_to_end(&mut Vec::new()).unwrap();
    let group = format!("vb-{}-", pid.as_raw_nonzero());
    let groups = run(Command::new("find").args(["/sys/fs/cgroup", "-name", &format!("{group}*")]));
    assert_eq!(groups.stdout, "");
    // Memory.
    let limited = flags(&["--memory", "24M"]);
    let limited: Vec<&str> = limited.iter().map(String::as_str).collect();
    let output = run(&mut place.vb(false, &limited, &[&probe, "eat-memory", "200"]));
    assert_eq!(output.code, 137, "{output:?}");
    assert!(!output.stdout.contains("32"), "{output:?}");
}

#[test]
fn descriptors_are_held_to_the_limit_of_the_caller() {
    if !user_boxes() || !needs::program("perl") {
        return;
    }
    let place = Place::new();
    let script = r#"while (open my $one, "<", "/dev/zero") { push @all, $one } print 0 + @all, " ", 0 + $!, "\n""#;
    for as_user in [false, true] {
        let bomb = place.vb(as_user, &[], &["perl", "-e", script]);
        let mut command = Command::new("sh");
        command.args(["-c", "ulimit -n 100; exec \"$@\"", "sh"]);
        command.arg(bomb.get_program()).args(bomb.get_args());
        let Output { stdout, .. } = run(command.current_dir("/"));
        let (count, errno) = stdout.trim().split_once(' ').unwrap();
        assert_eq!(errno, libc::EMFILE.to_string());
        assert!(
            (90..100).contains(&count.parse::<u32>().unwrap()),
            "{stdout}"
        );
    }
}

/// Item 41: `tests/dev true-long` runs 10,000.
#[test]
fn many_launches_of_true_end_well_and_none_hangs() {
    if !user_boxes() {
        return;
    }
    let count = std::env::var("HERD_TRUE_LAUNCHES").map_or(200, |count| count.parse().unwrap());
    let place = Place::new();
    for number in 0..count {
        let mut child = place
            .vb(number % 2 == 1, &[], &["/bin/true"])
            .spawn()
            .unwrap();
        let pid = rustix::process::Pid::from_child(&child);
        let pidfd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).unwrap();
        assert!(Deadline::new().readable(&pidfd), "launch {number} hangs");
        assert_eq!(child.wait().unwrap().code(), Some(0), "launch {number}");
    }
    assert!(is_unchanged(&place.program));
}
