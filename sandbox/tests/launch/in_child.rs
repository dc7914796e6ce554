//! Callers that execute by themselves. The process that such a caller forks is here this program, started
//! once more as an inner case.
#![allow(
    clippy::disallowed_methods,
    reason = "the case executes as its caller would"
)]

use std::fs;
use std::io::{PipeReader, PipeWriter, Read, Write, pipe};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use sandbox::config::{NamespaceKind, Walls};
use sandbox::session::{Options, Session, spawn};
use sandbox::{
    Config, Files, UserNamespaceSync, apply_isolation_in_child, apply_isolation_in_child_sync,
};

use crate::fixture::Case;
use crate::session::null;

fn caller(case: &str) -> Config {
    let own = std::env::current_exe().unwrap();
    let words = [own.into_os_string(), case.into(), "--exact".into()];
    let mut config = Config::bare("caller", words);
    // As a copy of a caller is: whoever leads a session cannot begin another.
    config.process.new_session = false;
    config
}

/// Runs an inner case; gives what it printed and its exit code.
fn run(case: &str) -> (String, i32) {
    let (mut out, end) = pipe().unwrap();
    let null = null();
    let files = Files {
        stdin: null.as_fd(),
        stdout: end.as_fd(),
        stderr: end.as_fd(),
        passed: &[],
        held: &[],
        own: &[],
    };
    let session = spawn(&caller(case), files, Options::new()).unwrap();
    drop(end);
    let mut text = String::new();
    out.read_to_string(&mut text).unwrap();
    (text, session.wait().unwrap().exit_code())
}

fn execute(script: &str) -> ! {
    let error = Command::new("/bin/sh").args(["-c", script]).exec();
    panic!("{error}")
}

fn isolated(config: &Config, script: &str) -> ! {
    apply_isolation_in_child(config).unwrap();
    execute(script)
}

/// Starts a child that says that it waits for its maps, and waits to be told that they are there; and what it writes.
fn mapped_by_us(ready: PipeWriter, done: PipeReader) -> (Session<'static>, PipeReader) {
    let (out, end) = pipe().unwrap();
    let null = null();
    let files = Files {
        stdin: null.as_fd(),
        stdout: end.as_fd(),
        stderr: end.as_fd(),
        passed: &[(3, ready.as_fd()), (4, done.as_fd())],
        held: &[],
        own: &[],
    };
    let config = caller("inner::maps_by_the_parent");
    (spawn(&config, files, Options::new()).unwrap(), out)
}

pub(crate) const CASES: &[Case] = &[
    (
        "a_caller_that_executes_by_itself_is_in_the_box_then",
        || {
            let (text, code) = run("inner::a_default_box_in_place");
            assert_eq!(text, "/proc/1 /proc/2\n2\nNoNewPrivs:\t1\nno\n");
            assert_eq!(code, 7);
        },
    ),
    ("without_a_pid_namespace_the_same_process_goes_on", || {
        let (text, code) = run("inner::a_box_in_the_same_process");
        let (before, after) = text.trim().split_once('\n').unwrap();
        assert_eq!(before, after);
        assert_eq!(code, 0);
    }),
    ("a_caller_can_be_process_1_of_its_namespace", || {
        assert_eq!(run("inner::process_1_in_place"), ("1\n".to_owned(), 137));
    }),
    ("isolation_that_fails_names_its_step_in_the_child", || {
        let (text, code) = run("inner::a_root_that_is_missing");
        assert!(text.contains("/no/such/root"), "{text}");
        assert!(text.contains("no such file or directory"), "{text}");
        assert_eq!(code, 3);
    }),
    ("the_parent_writes_the_maps_of_its_child", || {
        let (mut ready, ready_end) = pipe().unwrap();
        let (done_end, mut done) = pipe().unwrap();
        let (session, mut out) = mapped_by_us(ready_end, done_end);
        ready.read_exact(&mut [0; 1]).unwrap();
        let pid = session.pid();
        for map in ["uid_map", "gid_map"] {
            fs::write(format!("/proc/{pid}/{map}"), "0 0 1\n1 200001 10").unwrap();
        }
        done.write_all(&[1]).unwrap();
        let mut text = String::new();
        out.read_to_string(&mut text).unwrap();
        assert_eq!(session.wait().unwrap().exit_code(), 0, "{text}");
        let words: Vec<&str> = text.split_whitespace().collect();
        assert_eq!(words, ["0", "0", "1", "1", "200001", "10"]);
    }),
    ("a_parent_that_writes_no_maps_is_told", || {
        let (ready, ready_end) = pipe().unwrap();
        let (done_end, done) = pipe().unwrap();
        drop(done);
        let (session, mut out) = mapped_by_us(ready_end, done_end);
        let mut text = String::new();
        out.read_to_string(&mut text).unwrap();
        drop(ready);
        assert!(text.contains("Sync"), "{text}");
        assert_ne!(session.wait().unwrap().exit_code(), 0);
    }),
];

pub(crate) const INNER: &[Case] = &[
    ("inner::a_default_box_in_place", || {
        isolated(
            &Config::boxed("web", ["unused"]),
            "echo /proc/[0-9]*; echo $$; \
             grep NoNewPrivs /proc/self/status; touch /usr/x 2>/dev/null || echo no; exit 7",
        )
    }),
    ("inner::a_box_in_the_same_process", || {
        let mut config = Config::boxed("web", ["unused"]);
        let walls = config.walls.insert(Walls::bare());
        walls.namespaces.mount = true;
        walls.namespaces.uts = true;
        println!("{}", std::process::id());
        isolated(&config, "echo $$")
    }),
    ("inner::process_1_in_place", || {
        let mut config = Config::boxed("web", ["unused"]);
        config.walls.as_mut().unwrap().as_pid_1 = true;
        isolated(&config, "echo $$; exit 137")
    }),
    ("inner::a_root_that_is_missing", || {
        let mut config = Config::boxed("web", ["unused"]);
        config.walls.as_mut().unwrap().root =
            sandbox::config::Root::Directory("/no/such/root".into());
        let error = apply_isolation_in_child(&config).unwrap_err();
        println!("{error}");
        std::process::exit(3);
    }),
    ("inner::maps_by_the_parent", || {
        let take = |number| -> OwnedFd { sandbox::take_descriptor(number).unwrap() };
        let (ready, done) = (take(3), take(4));
        let mut config = Config::boxed("web", ["unused"]);
        assert!(
            config
                .walls
                .as_ref()
                .unwrap()
                .join
                .iter()
                .all(|join| join.kind != NamespaceKind::User)
        );
        config.identity.uid = Some(0);
        let sync = UserNamespaceSync {
            ready: ready.as_fd(),
            done: done.as_fd(),
        };
        apply_isolation_in_child_sync(&config, sync).unwrap();
        execute("cat /proc/self/uid_map")
    }),
];
