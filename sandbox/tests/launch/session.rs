//! The public way in: sessions, their events, their ends.
#![allow(
    clippy::disallowed_methods,
    reason = "a case runs this program once more"
)]

use std::cell::RefCell;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write, pipe};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use rustix::process::{Pid, Signal, WaitOptions, kill_process};
use sandbox::config::{Amount, IdMaps, Root, UserNamespace, Walls};
use sandbox::session::{
    AbortLaunch, Carriage, EndReason, Event, Forwarder, Options, Sandbox, ShellConfig, SpawnError,
    Told, launch, launch_shell, spawn,
};
use sandbox::{Config, Files, NamespaceIds, Profile, with_profile};

use crate::fixture::{Case, is_forked};

pub(crate) fn options<'a>() -> Options<'a> {
    Options::new().carriage(match is_forked() {
        true => Carriage::Fork,
        false => Carriage::Executor,
    })
}

fn sh(script: &str) -> Config {
    Config::boxed("web", ["/bin/sh", "-c", script])
}

pub(crate) fn files<'a>(null: &'a File, out: BorrowedFd<'a>) -> Files<'a> {
    Files {
        stdin: null.as_fd(),
        stdout: out,
        stderr: null.as_fd(),
        passed: &[],
        held: &[],
        own: &[],
    }
}

pub(crate) fn null() -> File {
    File::options()
        .read(true)
        .write(true)
        .open("/dev/null")
        .unwrap()
}

fn no_child_is_left() {
    let left = rustix::process::wait(WaitOptions::NOHANG);
    assert_eq!(left.err(), Some(rustix::io::Errno::CHILD));
}

fn count(directory: &str) -> usize {
    fs::read_dir(directory).map_or(0, |entries| entries.count())
}

fn groups() -> usize {
    let text = fs::read_to_string("/proc/self/cgroup").unwrap();
    let own = text
        .lines()
        .find_map(|line| line.strip_prefix("0::/"))
        .unwrap_or_default();
    ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"]
        .iter()
        .map(|mount| count(&format!("{mount}/{own}/sandbox")))
        .sum()
}

fn kinds(told: &[Told]) -> Vec<&'static str> {
    told.iter()
        .map(|told| match &told.event {
            Event::RuntimeInitWarnings { .. } => "runtime_init_warnings",
            Event::Spawned { .. } => "spawned",
            Event::SetupFinished { .. } => "setup_finished",
            Event::Failed { .. } => "failed",
            Event::Exited { .. } => "exited",
            _ => "?",
        })
        .collect()
}

/// Runs a box and gives everything that was told of it.
fn all_told(config: &Config) -> Vec<Told> {
    let told = RefCell::new(Vec::new());
    let null = null();
    let files = files(&null, null.as_fd());
    let options = options().on_event(|one| {
        told.borrow_mut().push(one.clone());
        Ok(())
    });
    match launch(config, files, options) {
        Ok(_) | Err(_) => {}
    }
    told.into_inner()
}

pub(crate) const CASES: &[Case] = &[
    ("a_session_tells_how_its_program_ended", || {
        for (script, code, reason) in [
            ("exit 0", 0, EndReason::Exited),
            ("exit 7", 7, EndReason::Exited),
            ("kill -9 $$", 137, EndReason::Signaled),
        ] {
            let outcome = launch(&sh(script), Files::of_caller(), options()).unwrap();
            assert_eq!((outcome.exit_code(), outcome.reason), (code, reason));
            no_child_is_left();
        }
    }),
    ("events_come_in_their_true_order_with_kernel_facts", || {
        let told = all_told(&sh("exit 3"));
        assert_eq!(kinds(&told), ["spawned", "setup_finished", "exited"]);
        assert!(
            told.windows(2)
                .all(|two| two[0].monotonic_ns <= two[1].monotonic_ns)
        );
        assert!(told.iter().all(|one| one.instance == told[0].instance));
        let Event::Spawned { namespaces, .. } = &told[0].event else {
            panic!("{told:?}")
        };
        let ours = NamespaceIds::of_self();
        assert_eq!(namespaces.net, ours.net);
        assert!(namespaces.mnt.is_some() && namespaces.mnt != ours.mnt);
        assert!(namespaces.pid.is_some() && namespaces.pid != ours.pid);
        let Event::Exited { code, signal, .. } = told[2].event else {
            panic!("{told:?}")
        };
        assert_eq!((code, signal), (Some(3), None));
    }),
    (
        "the_namespaces_of_a_program_that_ends_at_once_are_told_too",
        || {
            for _ in 0..20 {
                let told = all_told(&Config::boxed("web", ["/bin/true"]));
                let Event::Spawned { namespaces, .. } = &told[0].event else {
                    panic!("{told:?}")
                };
                assert!(namespaces.mnt.is_some() && namespaces.user.is_some());
            }
        },
    ),
    ("many_launches_of_true_end_well_and_none_hangs", || {
        // Item 41 of the attacks: `tests/dev true-long` runs 10,000.
        let count = std::env::var("HERD_TRUE_LAUNCHES").map_or(200, |count| count.parse().unwrap());
        let sandbox = Sandbox::new().unwrap();
        let null = null();
        for number in 0..count {
            let config = Config::boxed("web", ["/bin/true"]);
            let session = sandbox
                .spawn(&config, files(&null, null.as_fd()), options())
                .unwrap();
            let pidfd = session.pidfd().unwrap().try_clone_to_owned().unwrap();
            let patience = rustix::event::Timespec {
                tv_sec: 30,
                tv_nsec: 0,
            };
            let mut ends = [rustix::event::PollFd::new(
                &pidfd,
                rustix::event::PollFlags::IN,
            )];
            let ready = rustix::event::poll(&mut ends, Some(&patience)).unwrap();
            assert_eq!(ready, 1, "launch {number} hangs");
            assert_eq!(session.wait().unwrap().exit_code(), 0, "launch {number}");
        }
        no_child_is_left();
    }),
    ("a_failure_is_an_event_with_step_path_and_errno", || {
        let told = all_told(&Config::boxed("web", ["/usr/bin/nope"]));
        assert_eq!(kinds(&told), ["spawned", "failed"]);
        let Event::Failed {
            step,
            total,
            path,
            errno,
            what,
            signal: None,
        } = &told[1].event
        else {
            panic!("{told:?}")
        };
        assert_eq!(step, total);
        assert_eq!(path.as_deref(), Some("/usr/bin/nope".as_ref()));
        assert_eq!(*errno, 2);
        assert_eq!(what, "command /usr/bin/nope: no such file or directory");
        let mut config = sh("exit 0");
        config.walls.as_mut().unwrap().root = Root::Directory("/no/such/root".into());
        let told = all_told(&config);
        assert_eq!(kinds(&told).last(), Some(&"failed"));
        no_child_is_left();
    }),
    ("events_are_lines_of_json", || {
        let (read, write) = pipe().unwrap();
        let null = null();
        let files = files(&null, null.as_fd());
        let options = options().events_to(write);
        launch(&sh("kill -15 $$"), files, options).unwrap();
        let lines: Vec<serde_json::Value> = BufReader::new(read)
            .lines()
            .map(|line| serde_json::from_str(&line.unwrap()).unwrap())
            .collect();
        let events: Vec<&str> = lines
            .iter()
            .map(|line| line["event"].as_str().unwrap())
            .collect();
        assert_eq!(events, ["spawned", "setup_finished", "exited"]);
        let pid = lines[1]["pid"].as_i64().unwrap();
        assert!(pid > 1);
        assert!(lines[0]["ns"]["mnt"].as_u64().unwrap() > 0);
        assert_eq!(lines[2]["pid"].as_i64().unwrap(), pid);
        assert!(lines[2]["code"].is_null());
        assert_eq!(lines[2]["signal"], 15);
        assert_eq!(lines[2]["reason"], "signaled");
        assert_eq!(lines[0]["instance"].as_str().unwrap().len(), 32);
        assert!(lines[0]["monotonic_ns"].as_u64() <= lines[2]["monotonic_ns"].as_u64());
    }),
    ("an_observer_can_refuse_the_box_at_its_gate", || {
        let (mut out, end) = pipe().unwrap();
        let null = null();
        let files = files(&null, end.as_fd());
        let options = options().on_event(|_| Err(AbortLaunch("not today".to_owned())));
        let refused = spawn(&sh("echo ran"), files, options).unwrap_err();
        assert_eq!(refused.to_string(), "the observer does not want the box");
        let SpawnError::Aborted(why) = refused else {
            panic!("{refused:?}")
        };
        assert_eq!(why.to_string(), "not today");
        drop(end);
        let mut text = String::new();
        out.read_to_string(&mut text).unwrap();
        assert_eq!(text, "");
        while rustix::process::wait(WaitOptions::empty()).is_ok() {}
    }),
    (
        "a_box_that_is_killed_while_it_is_built_is_no_session",
        || {
            let mut without = sh("exit 0");
            without.walls.as_mut().unwrap().namespaces.pid = false;
            for config in [sh("exit 0"), without] {
                let null = null();
                let told = RefCell::new(Vec::new());
                let options = options().on_event(|told_now| {
                    if let Event::Spawned { pid, .. } = told_now.event {
                        kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
                    }
                    told.borrow_mut().push(told_now.clone());
                    Ok(())
                });
                let refused = spawn(&config, files(&null, null.as_fd()), options).unwrap_err();
                let SpawnError::Step(failure) = &refused else {
                    panic!("{refused:?}")
                };
                assert_eq!(failure.signal, Some(libc::SIGKILL), "{failure}");
                let text = refused.to_string();
                let said = ": killed by SIGKILL before it executed its program";
                assert!(text.ends_with(said), "{text}");
                assert_eq!(kinds(&told.borrow()), ["spawned", "failed"]);
                no_child_is_left();
            }
        },
    ),
    ("the_caller_can_write_the_maps_at_the_gate", || {
        let (mut out, end) = pipe().unwrap();
        let mut config = sh("cat /proc/self/uid_map; id -u");
        config.identity.uid = Some(7);
        config.identity.gid = Some(7);
        let walls = config.walls.as_mut().unwrap();
        walls.user_namespace = Some(UserNamespace {
            maps: IdMaps::ByCaller,
            ..UserNamespace::default()
        });
        config.lifecycle.gate = true;
        let null = null();
        let files = files(&null, end.as_fd());
        let options = options().on_event(|told| {
            if let Event::Spawned { pid, .. } = told.event {
                for map in ["uid_map", "gid_map"] {
                    fs::write(format!("/proc/{pid}/{map}"), "0 0 1\n1 200001 1000").unwrap();
                }
            }
            Ok(())
        });
        let outcome = launch(&config, files, options).unwrap();
        drop(end);
        let mut text = String::new();
        out.read_to_string(&mut text).unwrap();
        assert_eq!(outcome.exit_code(), 0);
        let words: Vec<&str> = text.split_whitespace().collect();
        assert_eq!(words, ["0", "0", "1", "1", "200001", "1000", "7"]);
    }),
    ("a_session_that_is_dropped_leaves_nothing", || {
        let fds = count("/proc/self/fd");
        let session = spawn(
            &sh("sleep 1000 & exec sleep 1000"),
            Files::of_caller(),
            options(),
        )
        .unwrap();
        let pid = session.pid();
        assert!(fs::exists(format!("/proc/{pid}")).unwrap());
        drop(session);
        assert!(!fs::exists(format!("/proc/{pid}")).unwrap());
        no_child_is_left();
        assert_eq!(count("/proc/self/fd"), fds);
    }),
    ("a_session_can_be_signalled_asked_and_killed", || {
        let (mut out, end) = pipe().unwrap();
        let null = null();
        let script = "trap 'echo usr1' USR1; echo up; while :; do sleep 0.01; done";
        let files = files(&null, end.as_fd());
        let options = options();
        let mut session = spawn(&sh(script), files, options).unwrap();
        drop(end);
        let mut line = [0; 3];
        out.read_exact(&mut line).unwrap();
        session.signal(10).unwrap();
        let mut line = [0; 5];
        out.read_exact(&mut line).unwrap();
        assert_eq!(&line, b"usr1\n");
        assert_eq!(session.signal(1000).unwrap_err().raw_os_error(), Some(22));
        assert_eq!(session.try_wait().unwrap(), None);
        session.kill().unwrap();
        let outcome = session.wait().unwrap();
        assert_eq!(outcome.status.signal(), Some(9));
        no_child_is_left();
    }),
    ("a_detached_box_goes_on_without_its_session", || {
        let (mut out, end) = pipe().unwrap();
        let (go, mut write) = pipe().unwrap();
        let null = null();
        let files = Files {
            stdin: go.as_fd(),
            ..files(&null, end.as_fd())
        };
        let session = spawn(&sh("read x; echo $x"), files, options()).unwrap();
        session.detach();
        drop((end, go));
        write.write_all(b"still here\n").unwrap();
        let mut text = String::new();
        out.read_to_string(&mut text).unwrap();
        assert_eq!(text, "still here\n");
        while rustix::process::wait(WaitOptions::empty()).is_ok() {}
    }),
    (
        "limits_give_a_box_a_group_of_its_own_which_goes_with_it",
        || {
            let before = groups();
            let mut config = sh("exit 0");
            config.limits.cgroup.tasks = Some(Amount::Exactly(20));
            let session = spawn(&sh("exit 0"), Files::of_caller(), options()).unwrap();
            assert_eq!(groups(), before, "a box without limits needs none");
            session.wait().unwrap();
            let mut held = config.clone();
            held.process.argv = ["/bin/sleep", "1000"].map(Into::into).to_vec();
            let session = spawn(&held, Files::of_caller(), options()).unwrap();
            let of = fs::read_to_string(format!("/proc/{}/cgroup", session.pid())).unwrap();
            assert!(
                of.contains(&format!("sandbox/web-{}", session.instance())),
                "{of}"
            );
            drop(session);
            assert_eq!(groups(), before);
            assert_eq!(
                launch(&config, Files::of_caller(), options())
                    .unwrap()
                    .exit_code(),
                0
            );
            config.process.argv = vec!["/nope".into()];
            launch(&config, Files::of_caller(), options()).unwrap_err();
            assert_eq!(groups(), before);
            no_child_is_left();
        },
    ),
    ("a_program_that_uses_up_its_memory_is_told_as_such", || {
        let mut config = sh("x=$(head -c 200M /dev/zero | tr '\\0' x)");
        config.limits.cgroup.memory = Some(Amount::Exactly(32 << 20));
        let outcome = launch(&config, Files::of_caller(), options()).unwrap();
        assert_eq!(outcome.reason, EndReason::OutOfMemory);
        assert_eq!(outcome.exit_code(), 137);
    }),
    ("one_session_at_a_time_holds_its_lock_file", || {
        let place = tempfile::tempdir().unwrap();
        let lock = place.path().join("web.lock");
        let first = spawn(
            &sh("exec sleep 1000"),
            Files::of_caller(),
            options().lock_file(&lock),
        )
        .unwrap();
        let refused = spawn(
            &sh("exit 0"),
            Files::of_caller(),
            options().lock_file(&lock),
        )
        .unwrap_err();
        assert_eq!(
            refused.to_string(),
            format!("{} is locked by pid {}", lock.display(), std::process::id())
        );
        drop(first);
        assert!(
            launch(
                &sh("exit 0"),
                Files::of_caller(),
                options().lock_file(&lock)
            )
            .is_ok()
        );
    }),
    (
        "a_config_without_sense_starts_nothing_and_names_every_problem",
        || {
            let mut config = sh("exit 0");
            config.name.clear();
            config.process.argv.clear();
            let refused = spawn(&config, Files::of_caller(), options()).unwrap_err();
            assert_eq!(
                refused.to_string(),
                "the config makes no sense: the name is empty, too long, or has a slash or a control \
             character in it; there is no command"
            );
            no_child_is_left();
        },
    ),
    ("a_shell_runs_in_a_box_with_its_own_root", || {
        let (mut out, end) = pipe().unwrap();
        let null = null();
        let mut shell = ShellConfig::new(Root::Host);
        shell.arguments = ["-c", "echo $0 $1; exit 4", "first", "second"]
            .map(Into::into)
            .to_vec();
        let files = files(&null, end.as_fd());
        let options = options();
        let outcome = launch_shell(&shell, files, options).unwrap();
        drop(end);
        let mut text = String::new();
        out.read_to_string(&mut text).unwrap();
        assert_eq!((text.as_str(), outcome.exit_code()), ("first second\n", 4));
    }),
    ("profiles_change_the_walls_and_not_where_the_box_is", || {
        let mut config = Config::bare("web", ["/bin/true"]);
        with_profile(&mut config, Profile::Strict);
        assert_eq!(config.walls, Some(Walls::strict_box()));
        config.walls.as_mut().unwrap().root = Root::Directory("/srv".into());
        with_profile(&mut config, Profile::None);
        let walls = config.walls.unwrap();
        assert_eq!(walls.root, Root::Directory("/srv".into()));
        assert!(!walls.namespaces.mount && !walls.no_new_privileges);
    }),
    ("a_signal_to_the_launcher_reaches_the_box", || {
        let forwarder = Forwarder::new().unwrap();
        let (mut out, end) = pipe().unwrap();
        let null = null();
        let script = "trap 'echo term; exit 9' TERM; echo up; while :; do sleep 0.01; done";
        let files = files(&null, end.as_fd());
        let options = options();
        let session = spawn(&sh(script), files, options).unwrap();
        drop(end);
        out.read_exact(&mut [0; 3]).unwrap();
        let own = Pid::from_raw(std::process::id().try_into().unwrap()).unwrap();
        kill_process(own, Signal::TERM).unwrap();
        let outcome = session.wait_forwarding(&forwarder).unwrap();
        assert_eq!(outcome.exit_code(), 9);
        let mut text = String::new();
        out.read_to_string(&mut text).unwrap();
        assert_eq!(text, "term\n");
        no_child_is_left();
    }),
    (
        "a_program_with_threads_that_is_no_executor_is_told_so",
        || {
            let said = Command::new(std::env::current_exe().unwrap())
                .args(["inner::a_program_without_executor", "--exact"])
                .env("WITHOUT_EXECUTOR", "1")
                .output()
                .unwrap();
            let text = String::from_utf8_lossy(&said.stdout);
            assert!(text.contains("without_executor ... ok"), "{text}");
        },
    ),
    ("boxes_with_any_set_of_namespaces_come_to_an_end", || {
        // One wall after the other, and all of them.
        let sandbox = Sandbox::new().unwrap();
        for bits in 0..64u32 {
            let mut config = Config::bare("web", ["/bin/sh", "-c", "exit 5"]);
            let mut walls = Walls::bare();
            let on = |bit: u32| bits >> bit & 1 == 1;
            walls.namespaces.mount = on(0);
            walls.namespaces.pid = on(1);
            walls.namespaces.ipc = on(2);
            walls.namespaces.uts = on(3);
            walls.namespaces.cgroup = on(4);
            walls.namespaces.user = on(5);
            config.walls = Some(walls);
            let outcome = sandbox
                .launch(&config, Files::of_caller(), options())
                .unwrap();
            assert_eq!(outcome.exit_code(), 5, "{bits:b}");
        }
        no_child_is_left();
    }),
];

pub(crate) const INNER: &[Case] = &[("inner::a_program_without_executor", || {
    // One thread: a copy of it will do.
    let launched = launch(
        &Config::boxed("web", ["/bin/true"]),
        Files::of_caller(),
        Options::new(),
    );
    assert_eq!(launched.unwrap().exit_code(), 0);
    let (read, end) = pipe().unwrap();
    let thread = std::thread::spawn(move || (&read).read(&mut [0; 1]).unwrap());
    for carriage in [Carriage::Auto, Carriage::Executor] {
        let options = Options::new().carriage(carriage);
        let refused = spawn(
            &Config::boxed("web", ["/bin/true"]),
            Files::of_caller(),
            options,
        )
        .unwrap_err();
        assert_eq!(
            refused.to_string(),
            "this program has several threads and did not call sandbox::executor_entry() first \
             thing in main, so nobody can build the box"
        );
    }
    // Without walls nobody has to build anything.
    let launched = launch(
        &Config::bare("web", ["/bin/true"]),
        Files::of_caller(),
        Options::new(),
    );
    assert_eq!(launched.unwrap().exit_code(), 0);
    drop(end);
    thread.join().unwrap();
})];
