//! How a launch is held, synchronised and kept alive, with both carriers.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "each case waits for one message"
)]

use std::fs::File;
use std::io::{Read, Write, pipe};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use rustix::process::{Pid, Signal, kill_process};
use sandbox::config::{Bind, Held, Inherit, Lifecycle, SystemCalls, Walls};
use sandbox::seccomp::Program;
use sandbox::status::{Message, has_executed, let_go};
use sandbox::{Config, Files, LaunchError, Launched, NamespaceIds, StepFailure};

use crate::boxed::boxed;
use crate::fixture::{
    Case, carried, files_of, is_forked, launcher, next, outcome, plan, shell, wait,
};

fn start(config: &Config, held: &[BorrowedFd<'_>]) -> Launched {
    let null = File::open("/dev/null").unwrap();
    start_with(config, null.as_fd(), held)
}

/// The program writes to `out`.
fn start_with(config: &Config, out: BorrowedFd<'_>, held: &[BorrowedFd<'_>]) -> Launched {
    let null = File::open("/dev/null").unwrap();
    let files = Files {
        stdin: null.as_fd(),
        stdout: out,
        stderr: null.as_fd(),
        passed: &[],
        held,
        own: &[],
    };
    let plan = carried(&plan(config));
    launcher().launch(&plan, files).unwrap()
}

/// Follows a launch to its end.
fn end_of(launched: Launched) -> Result<ExitStatus, StepFailure> {
    let Launched { status, pidfd, .. } = launched;
    let (status, mut pidfd) = (status.unwrap(), pidfd);
    let mut result = None;
    loop {
        match next(&status) {
            Message::Failed(failure) => result = Some(Err(failure)),
            Message::Exited(status) => result = Some(Ok(status)),
            Message::Moved { pidfd: init, .. } => {
                wait(&pidfd);
                pidfd = init;
            }
            Message::Executing | Message::Executed | Message::Main { .. } | Message::Stopped(_) => {
            }
            Message::AtGate { .. } => let_go(status.as_fd()).unwrap(),
            Message::Closed => break,
        }
    }
    let carrier = wait(&pidfd);
    result.unwrap_or(Ok(carrier))
}

fn with_lifecycle(mut config: Config, lifecycle: Lifecycle) -> Config {
    config.lifecycle = lifecycle;
    config
}

/// Kills a launch with this signal at its gate; gives what is told of it then.
fn killed_at_its_gate(config: &Config) -> Option<StepFailure> {
    let gate = Lifecycle {
        gate: true,
        ..Lifecycle::default()
    };
    let launched = start(&with_lifecycle(config.clone(), gate), &[]);
    let status = launched.status.as_ref().unwrap();
    let Message::AtGate { pid, .. } = next(status) else {
        panic!("the gate comes first")
    };
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    let told = match next(status) {
        Message::Failed(failure) => Some(failure),
        // Nobody was there to tell.
        Message::Closed => {
            assert_eq!(pid, launched.pid);
            if is_forked() {
                assert!(!has_executed(pid).unwrap());
            }
            None
        }
        other => panic!("{other:?}"),
    };
    let end = wait(&launched.pidfd);
    match told {
        Some(_) => assert_eq!(end.code(), Some(127)),
        None => assert_eq!(end.signal(), Some(libc::SIGKILL)),
    }
    no_child_is_left();
    told
}

/// A filter that kills who makes another one.
fn filters_that_kill() -> Vec<Program> {
    let call = u32::try_from(libc::SYS_seccomp).unwrap();
    let instructions: [(u16, u8, u8, u32); 4] = [
        (0x20, 0, 0, 0),
        (0x15, 0, 1, call),
        (0x06, 0, 0, 0x8000_0000),
        (0x06, 0, 0, 0x7fff_0000),
    ];
    let bytes: Vec<u8> = instructions
        .iter()
        .flat_map(|(code, yes, no, operand)| {
            [
                &code.to_ne_bytes()[..],
                &[*yes, *no],
                &operand.to_ne_bytes(),
            ]
            .concat()
        })
        .collect();
    let program = || Program::from_bytes(&bytes).unwrap();
    vec![program(), program()]
}

fn no_child_is_left() {
    let left = rustix::process::wait(rustix::process::WaitOptions::NOHANG);
    assert_eq!(left.err(), Some(rustix::io::Errno::CHILD));
}

pub(crate) const CASES: &[Case] = &[
    ("a_box_waits_at_its_gate_and_tells_its_namespaces", || {
        let (mut out, end) = pipe().unwrap();
        let gate = Lifecycle {
            gate: true,
            ..Lifecycle::default()
        };
        let script = "readlink /proc/self/ns/mnt /proc/self/ns/ipc /proc/self/ns/user";
        let launched = start_with(&with_lifecycle(boxed(script), gate), end.as_fd(), &[]);
        drop(end);
        let status = launched.status.as_ref().unwrap();
        let Message::AtGate {
            pid, namespaces, ..
        } = next(status)
        else {
            panic!("the gate comes first")
        };
        let ours = NamespaceIds::of_self();
        assert_eq!(namespaces.user, ours.user);
        for (inside, outside) in [
            (namespaces.mnt, ours.mnt),
            (namespaces.pid, ours.pid),
            (namespaces.ipc, ours.ipc),
            (namespaces.uts, ours.uts),
            (namespaces.cgroup, ours.cgroup),
        ] {
            assert!(inside.is_some() && inside != outside);
        }
        // The process at the gate is the one that is in them.
        let link = std::fs::read_link(format!("/proc/{pid}/ns/mnt")).unwrap();
        assert_eq!(
            link.to_str().unwrap(),
            format!("mnt:[{}]", namespaces.mnt.unwrap())
        );
        let_go(status.as_fd()).unwrap();
        assert_eq!(end_of(launched).unwrap().code(), Some(0));
        let mut text = String::new();
        out.read_to_string(&mut text).unwrap();
        let wanted = [
            ("mnt", namespaces.mnt),
            ("ipc", namespaces.ipc),
            ("user", namespaces.user),
        ];
        let wanted = wanted.map(|(name, id)| format!("{name}:[{}]\n", id.unwrap()));
        assert_eq!(text, wanted.concat());
        no_child_is_left();
    }),
    ("a_box_that_is_killed_while_it_is_built_has_not_run", || {
        let change = |change: fn(&mut Walls)| {
            let mut config = boxed("exit 0");
            change(config.walls.as_mut().unwrap());
            config
        };
        let same = change(|_| ());
        let first = change(|walls| walls.as_pid_1 = true);
        let without = change(|walls| walls.namespaces.pid = false);
        for config in [same, first, without] {
            let Some(failure) = killed_at_its_gate(&config) else {
                continue;
            };
            assert_eq!(failure.signal, Some(libc::SIGKILL), "{failure}");
            let text = failure.to_string();
            let said = ": killed by SIGKILL before it executed its program";
            assert!(text.ends_with(said), "{text}");
        }
    }),
    (
        "a_main_process_that_is_killed_before_its_program_is_told_by_its_step",
        || {
            let mut config = boxed("exit 0");
            config.walls.as_mut().unwrap().system_calls = SystemCalls {
                programs: filters_that_kill(),
                ..SystemCalls::default()
            };
            let failure = outcome(&config).failure.unwrap();
            assert_eq!(failure.signal, Some(libc::SIGSYS), "{failure}");
            assert_eq!(failure.step, failure.total - 1);
            let text = failure.to_string();
            let said = ": killed by SIGSYS before it executed its program";
            assert!(text.ends_with(said), "{text}");
            no_child_is_left();
        },
    ),
    ("a_program_that_is_killed_at_once_has_run", || {
        let mut config = boxed("kill -9 $$");
        config.walls.as_mut().unwrap().namespaces.pid = false;
        let launched = start(&config, &[]);
        let status = launched.status.unwrap();
        let mut said = Vec::new();
        loop {
            match next(&status) {
                Message::Closed => break,
                message => said.push(message),
            }
        }
        if is_forked() {
            assert!(said.is_empty(), "{said:?}");
            assert!(has_executed(launched.pid).unwrap());
        } else {
            assert!(matches!(said[..], [Message::Executing]), "{said:?}");
        }
        assert_eq!(wait(&launched.pidfd).signal(), Some(libc::SIGKILL));
        no_child_is_left();
    }),
    ("a_box_at_its_gate_ends_with_the_channel", || {
        let gate = Lifecycle {
            gate: true,
            ..Lifecycle::default()
        };
        let launched = start(&with_lifecycle(boxed("exit 0"), gate), &[]);
        let status = launched.status.unwrap();
        let Message::AtGate { pidfd, .. } = next(&status) else {
            panic!("the gate comes first")
        };
        drop(status);
        assert_eq!(wait(&launched.pidfd).code(), Some(127));
        // The box's first process is the launched one, or a child of ours beside it.
        drop(pidfd);
        while rustix::process::wait(rustix::process::WaitOptions::empty()).is_ok() {}
    }),
    ("a_bare_process_can_be_held_too", || {
        let gate = Lifecycle {
            gate: true,
            ..Lifecycle::default()
        };
        let launched = start(&with_lifecycle(shell("exit 6"), gate), &[]);
        assert_eq!(end_of(launched).unwrap().code(), Some(6));
    }),
    ("a_box_waits_for_its_block_descriptor", || {
        let (mut out, end) = pipe().unwrap();
        let (block, mut go) = pipe().unwrap();
        let lifecycle = Lifecycle {
            block: Some(Held(0)),
            ..Lifecycle::default()
        };
        let config = with_lifecycle(boxed("echo on"), lifecycle);
        let launched = start_with(&config, end.as_fd(), &[block.as_fd()]);
        drop(end);
        let poll = |timeout| {
            let mut fds = [rustix::event::PollFd::new(
                &out,
                rustix::event::PollFlags::IN,
            )];
            rustix::event::poll(&mut fds, timeout).unwrap()
        };
        let moment = rustix::event::Timespec {
            tv_sec: 0,
            tv_nsec: 50_000_000,
        };
        assert_eq!(poll(Some(&moment)), 0, "it is not to go on yet");
        go.write_all(b"x").unwrap();
        let mut text = String::new();
        out.read_to_string(&mut text).unwrap();
        assert_eq!(text, "on\n");
        assert_eq!(end_of(launched).unwrap().code(), Some(0));
    }),
    ("the_end_of_its_block_descriptor_lets_a_box_go", || {
        let (block, go) = pipe().unwrap();
        let lifecycle = Lifecycle {
            block: Some(Held(0)),
            ..Lifecycle::default()
        };
        let launched = start(
            &with_lifecycle(boxed("exit 3"), lifecycle),
            &[block.as_fd()],
        );
        drop(go);
        assert_eq!(end_of(launched).unwrap().code(), Some(3));
    }),
    ("a_sync_descriptor_is_open_as_long_as_the_box", || {
        for pid_namespace in [true, false] {
            let (mut sync, end) = pipe().unwrap();
            let lifecycle = Lifecycle {
                sync: Some(Held(0)),
                ..Lifecycle::default()
            };
            let mut config = boxed("ls /proc/self/fd | wc -l; exec sleep 1000");
            config.walls.as_mut().unwrap().namespaces.pid = pid_namespace;
            let (mut out, out_end) = pipe().unwrap();
            let launched = start_with(
                &with_lifecycle(config, lifecycle),
                out_end.as_fd(),
                &[end.as_fd()],
            );
            drop((end, out_end));
            let mut line = [0; 2];
            out.read_exact(&mut line).unwrap();
            // 0 to 2 and the directory that ls reads.
            assert_eq!(&line, b"4\n");
            rustix::io::ioctl_fionbio(&sync, true).unwrap();
            let still = rustix::io::read(&sync, &mut [0; 1]);
            assert_eq!(still, Err(rustix::io::Errno::AGAIN));
            rustix::io::ioctl_fionbio(&sync, false).unwrap();
            let status = launched.status.as_ref().unwrap();
            let main = loop {
                match next(status) {
                    Message::Moved { main_pid, .. } => break main_pid,
                    Message::Main { pid, .. } => break pid,
                    Message::Executed => {}
                    other => panic!("{other:?}"),
                }
            };
            kill_process(Pid::from_raw(main).unwrap(), Signal::KILL).unwrap();
            assert_eq!(sync.read(&mut [0; 1]).unwrap(), 0);
            drop(launched);
            while rustix::process::wait(rustix::process::WaitOptions::empty()).is_ok() {}
        }
    }),
    ("a_lock_file_is_locked_while_the_box_lives", || {
        let file = tempfile::NamedTempFile::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let locked = || {
            let wanted = rustix::fs::FlockOperation::NonBlockingLockExclusive;
            rustix::fs::fcntl_lock(file.as_file(), wanted).is_err()
        };
        assert!(!locked());
        rustix::fs::fcntl_lock(file.as_file(), rustix::fs::FlockOperation::Unlock).unwrap();
        let lifecycle = Lifecycle {
            lock_files: vec![file.path().to_owned()],
            ..Lifecycle::default()
        };
        let (mut out, end) = pipe().unwrap();
        let (mut go, stdin) = {
            let (read, write) = pipe().unwrap();
            (write, read)
        };
        let mut config = with_lifecycle(boxed("echo up; read x; exit 2"), lifecycle);
        // The checkout may lie in a place that the box hides.
        config.walls.as_mut().unwrap().binds.push(Bind {
            source: file.path().to_owned(),
            target: file.path().to_owned(),
            read_only: true,
            optional: false,
            recursive: false,
        });
        let null = File::open("/dev/null").unwrap();
        let files = Files {
            stdin: stdin.as_fd(),
            stdout: end.as_fd(),
            stderr: null.as_fd(),
            passed: &[],
            held: &[],
            own: &[],
        };
        let plan = carried(&plan(&config));
        let launched = launcher().launch(&plan, files).unwrap();
        drop(end);
        out.read_exact(&mut [0; 3]).unwrap();
        assert!(locked());
        go.write_all(b"\n").unwrap();
        assert_eq!(end_of(launched).unwrap().code(), Some(2));
        assert!(!locked());
    }),
    ("a_lock_file_that_is_missing_is_named", || {
        let lifecycle = Lifecycle {
            lock_files: vec!["/no/such/file".into()],
            ..Lifecycle::default()
        };
        let failure = outcome(&with_lifecycle(boxed("exit 0"), lifecycle)).failure;
        let failure = failure.unwrap().to_string();
        assert!(
            failure.starts_with("lock /no/such/file for reading (step ")
                && failure.ends_with("): no such file or directory"),
            "{failure}"
        );
    }),
    ("a_held_descriptor_that_was_not_given_is_named", || {
        let lifecycle = Lifecycle {
            block: Some(Held(1)),
            ..Lifecycle::default()
        };
        let failure = outcome(&with_lifecycle(boxed("exit 0"), lifecycle)).failure;
        let failure = failure.unwrap().to_string();
        assert!(
            failure.starts_with("wait until held descriptor 1 can be read (step ")
                && failure.ends_with("): bad file descriptor"),
            "{failure}"
        );
    }),
    ("a_box_that_is_its_own_first_process_holds_nothing", || {
        let mut config = boxed("exit 0");
        config.walls.as_mut().unwrap().as_pid_1 = true;
        config.lifecycle.sync = Some(Held(0));
        let host = sandbox::Host::detect().unwrap();
        assert_eq!(
            sandbox::compile(&config, &host).unwrap_err().to_string(),
            "the command itself is the box's first process: nobody is left to hold what lasts as \
             long as the box"
        );
    }),
    ("a_lingering_box_lasts_until_its_last_process", || {
        let (mut out, end) = pipe().unwrap();
        let lifecycle = Lifecycle {
            linger: true,
            ..Lifecycle::default()
        };
        let script = "{ trap '' HUP; sleep 0.2; echo last; } & exit 5";
        let launched = start_with(&with_lifecycle(boxed(script), lifecycle), end.as_fd(), &[]);
        drop(end);
        let status = launched.status.as_ref().unwrap();
        loop {
            match next(status) {
                Message::Exited(status) => break assert_eq!(status.code(), Some(5)),
                Message::Failed(failure) => panic!("{failure}"),
                _ => {}
            }
        }
        let mut text = String::new();
        out.read_to_string(&mut text).unwrap();
        assert_eq!(text, "last\n");
        drop(launched);
        while rustix::process::wait(rustix::process::WaitOptions::empty()).is_ok() {}
    }),
    ("all_descriptors_but_those_held_can_be_inherited", || {
        let other = File::open("/proc/version").unwrap();
        let held = File::open("/proc/cmdline").unwrap();
        for file in [&other, &held] {
            rustix::io::fcntl_setfd(file, rustix::io::FdFlags::empty()).unwrap();
        }
        let closing = File::open("/proc/uptime").unwrap();
        for walls in [None, Some(Walls::bare()), Some(Walls::minimal_box())] {
            let (mut out, end) = pipe().unwrap();
            let mut config =
                shell("for n in 3 4 5 6 7 8 9 10 11 12; do readlink /proc/$$/fd/$n; done");
            config.walls = walls;
            config.process.inherit = Inherit::All;
            let launched = start_with(&config, end.as_fd(), &[held.as_fd()]);
            drop(end);
            let mut text = String::new();
            out.read_to_string(&mut text).unwrap();
            assert!(text.contains("/proc/version"), "{text}");
            assert!(
                !text.contains("cmdline") && !text.contains("uptime") && !text.contains("socket"),
                "{text}"
            );
            match launched.status {
                Some(_) => drop(end_of(launched)),
                None => drop(wait(&launched.pidfd)),
            }
        }
        drop(closing);
        assert!(other.as_raw_fd() < 13);
    }),
    ("a_process_with_threads_is_not_copied", || {
        let plan = plan(&boxed("exit 0")).by_fork();
        let (wait_for, end) = pipe().unwrap();
        let thread = std::thread::spawn(move || (&wait_for).read(&mut [0; 1]).unwrap());
        let null = File::open("/dev/null").unwrap();
        let files = files_of(null.as_fd());
        let refused = launcher().launch(&plan, files).unwrap_err();
        assert!(matches!(refused, LaunchError::Threads), "{refused:?}");
        assert_eq!(
            refused.to_string(),
            "only a process with one thread can start a box by a copy of itself"
        );
        drop(end);
        thread.join().unwrap();
        no_child_is_left();
    }),
    (
        "a_copy_is_the_first_process_and_the_only_one_beside_main",
        || {
            let (_keep, stdin) = pipe().unwrap();
            let launched = start(&boxed("exec sleep 1000"), &[]);
            drop(stdin);
            let status = launched.status.as_ref().unwrap();
            let (init, main) = loop {
                match next(status) {
                    Message::Moved { pid, main_pid, .. } => break (pid, main_pid),
                    Message::Main { pid, .. } => break (launched.pid, pid),
                    _ => {}
                }
            };
            let children =
                std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", std::process::id()))
                    .unwrap();
            if init == launched.pid {
                assert_eq!(children.trim(), init.to_string());
            }
            let below =
                std::fs::read_to_string(format!("/proc/{init}/task/{init}/children")).unwrap();
            assert_eq!(below.trim(), main.to_string());
            kill_process(Pid::from_raw(init).unwrap(), Signal::KILL).unwrap();
            while rustix::process::wait(rustix::process::WaitOptions::empty()).is_ok() {}
        },
    ),
    (
        "a_failure_at_any_step_of_a_lifecycle_leaves_nothing",
        || {
            let (block, go) = pipe().unwrap();
            drop(go);
            let lifecycle = Lifecycle {
                gate: true,
                block: Some(Held(0)),
                sync: Some(Held(0)),
                lock_files: vec!["/etc/passwd".into()],
                linger: true,
            };
            let plan = plan(&with_lifecycle(boxed("exit 0"), lifecycle));
            for n in 1..=plan.steps_len() {
                if plan
                    .to_string()
                    .lines()
                    .nth(n - 1)
                    .unwrap()
                    .ends_with("stay until every process of the box has ended")
                {
                    continue;
                }
                let null = File::open("/dev/null").unwrap();
                let files = Files {
                    held: &[block.as_fd()],
                    ..files_of(null.as_fd())
                };
                let plan = carried(&plan).fail_at(n);
                let launched = launcher().launch(&plan, files).unwrap();
                let failure = end_of(launched).unwrap_err();
                assert_eq!(failure.step, n);
                no_child_is_left();
            }
        },
    ),
];
