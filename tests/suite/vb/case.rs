//! One case for two subjects.

use std::fs;
use std::io::{Read, Seek};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::fixture::Deadline;

/// Who runs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Who {
    Anybody,
    Root,
    User,
}

/// A script and what comes of it.
///
/// In the script `$B` is the launcher, `$R` is `--ro-bind / /`, and `$D`, where it starts, is a
/// directory of the caller's own. In what is expected `D` stands for that directory's path.
#[derive(Debug)]
pub(super) struct Case {
    pub(super) who: Who,
    pub(super) script: &'static str,
    pub(super) code: i32,
    pub(super) out: &'static str,
    pub(super) err: &'static str,
}

pub(super) use Who::{Anybody, Root, User};

/// It succeeds and writes this.
pub(super) const fn gives(who: Who, script: &'static str, out: &'static str) -> Case {
    Case {
        who,
        script,
        code: 0,
        out,
        err: "",
    }
}

/// The launcher refuses, with this sentence after its name.
pub(super) const fn refuses(who: Who, script: &'static str, err: &'static str) -> Case {
    Case {
        who,
        script,
        code: 1,
        out: "",
        err,
    }
}

/// It ends with this code and writes this.
pub(super) const fn ends(who: Who, script: &'static str, code: i32, out: &'static str) -> Case {
    Case {
        who,
        script,
        code,
        out,
        err: "",
    }
}

impl Case {
    /// And this on stderr.
    pub(super) const fn saying(self, err: &'static str) -> Self {
        Self { err, ..self }
    }
}

const USER: u32 = 1000;
const REFERENCE: &str = "/usr/local/bin/bwrap-0.11";

pub(super) struct Subject {
    pub(super) name: &'static str,
    pub(super) program: PathBuf,
}

/// Ours under a name, in a place everybody can reach.
pub(super) fn ours(place: &Path, name: &str) -> Subject {
    let program = place.join(name);
    // A copy that is still open for writing in another thread's child cannot be executed.
    if fs::hard_link(env!("CARGO_BIN_EXE_herd"), &program).is_err() {
        fs::copy(env!("CARGO_BIN_EXE_herd"), &program).unwrap();
    }
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    Subject {
        name: "vb",
        program,
    }
}

/// Ours under the name `bwrap`; the reference if there is one.
pub(super) fn subjects(place: &Path) -> Vec<Subject> {
    let mut subjects = vec![ours(place, "bwrap")];
    if Path::new(REFERENCE).exists() {
        subjects.push(Subject {
            name: "bubblewrap",
            program: REFERENCE.into(),
        });
    }
    subjects
}

/// Runs all cases with all subjects; tells every difference.
#[track_caller]
pub(super) fn check(cases: &[Case]) {
    check_with(cases, subjects);
}

/// Runs them with ours alone, called `vb`.
#[track_caller]
pub(super) fn check_own(cases: &[Case]) {
    check_with(cases, |place| vec![ours(place, "vb")]);
}

#[track_caller]
fn check_with(cases: &[Case], subjects: impl Fn(&Path) -> Vec<Subject>) {
    let place = tempfile::tempdir().unwrap();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let is_root = rustix::process::geteuid().is_root();
    let mut wrong = Vec::new();
    // HERD_VB_SUBJECT=bubblewrap tries the expectations themselves.
    let only = std::env::var("HERD_VB_SUBJECT").ok();
    for subject in subjects(place.path()) {
        if only.as_ref().is_some_and(|only| only != subject.name) {
            continue;
        }
        for case in cases {
            for user in [0, USER] {
                let meant = match case.who {
                    Anybody => is_root || user != 0,
                    Root => is_root && user == 0,
                    User => user != 0,
                };
                if meant {
                    wrong.extend(difference(&subject, case, user, is_root));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

fn difference(subject: &Subject, case: &Case, user: u32, is_root: bool) -> Option<String> {
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", case.script])
        .env_clear()
        .env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin")
        .env("LC_ALL", "C")
        .env("B", &subject.program)
        .env("R", "--ro-bind / /")
        .env("D", directory.path())
        .env("HOME", directory.path())
        .current_dir(directory.path())
        .stdin(Stdio::null());
    if is_root && user != 0 {
        chown(directory.path(), Some(user), Some(user)).unwrap();
        command.uid(user).gid(user);
    }
    let (code, out, err) = run(&mut command);
    let plain = |text: String| {
        let name = subject.program.file_name().unwrap().to_str().unwrap();
        let name = if subject.name == "vb" { name } else { "bwrap" };
        text.replace(directory.path().to_str().unwrap(), "D")
            .replace(subject.program.to_str().unwrap(), name)
    };
    let (out, err) = (plain(out), plain(err));
    let err = err
        .lines()
        .map(|line| {
            let rest = line.strip_prefix("bwrap: ").or(line.strip_prefix("vb: "));
            rest.unwrap_or(line)
        })
        .collect::<Vec<_>>()
        .join("\n");
    let same = code == case.code && out.trim_end() == case.out && err.trim_end() == case.err;
    (!same).then(|| {
        format!(
            "{} as uid {user}: {}\n  wanted {} {:?} {:?}\n     got {code} {:?} {:?}",
            subject.name,
            case.script,
            case.code,
            case.out,
            case.err,
            out.trim_end(),
            err.trim_end(),
        )
    })
}

/// Runs it to its end; what hangs is killed. Files instead of pipes: the reference may leave processes
/// behind that hold them.
fn run(command: &mut Command) -> (i32, String, String) {
    let mut out = tempfile::tempfile().unwrap();
    let mut err = tempfile::tempfile().unwrap();
    let mut child = command
        .stdout(out.try_clone().unwrap())
        .stderr(err.try_clone().unwrap())
        .process_group(0)
        .spawn()
        .unwrap();
    let pid = rustix::process::Pid::from_child(&child);
    let pidfd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).unwrap();
    let ended = Deadline::new().readable(&pidfd);
    // Whatever is left of the script, too.
    match rustix::process::kill_process_group(pid, rustix::process::Signal::KILL) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => {}
        Err(errno) => panic!("{errno}"),
    }
    let status = child.wait().unwrap();
    let read = |file: &mut fs::File| {
        let mut bytes = Vec::new();
        file.rewind().unwrap();
        file.read_to_end(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let code = if ended { status.code() } else { None };
    (code.unwrap_or(-1), read(&mut out), read(&mut err))
}
