//! Starting a process, waiting for it, and reading what it wrote.

use std::io::{PipeReader, Read, pipe};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::process::{WaitId, WaitIdOptions};
use sandbox::config::{Identity, Limits, Process};
use sandbox::status::{Message, receive};
use sandbox::{Config, Files, Host, LaunchError, Launcher, Plan, StepFailure};

/// A sentence and the function that shows it.
pub(crate) type Case = (&'static str, fn());

/// Whether [`outcome_of`] launches by a copy of this process.
static BY_FORK: AtomicBool = AtomicBool::new(false);
/// Whether [`launcher`] has an executor ready.
static BY_SPARE: AtomicBool = AtomicBool::new(false);

/// What the names of cases begin with that are tried in these ways too.
const FORKED: &str = "forked::";
const SPARED: &str = "spared::";

pub(crate) fn launcher() -> Launcher {
    let launcher = Launcher::new().unwrap();
    if !BY_SPARE.load(Ordering::Relaxed) {
        return launcher;
    }
    let launcher = launcher.keep_spares(1);
    launcher.warm_up().unwrap();
    launcher
}

/// Speaks enough of libtest's language for `cargo test` and nextest. `inner` cases are not listed
/// and run only by their exact name.
pub(crate) fn run(cases: &[Case], forked: &[Case], inner: &[Case]) -> i32 {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
    if has("--list") {
        if !has("--ignored") {
            cases.iter().for_each(|(name, _)| println!("{name}: test"));
            for (name, _) in forked {
                println!("{FORKED}{name}: test\n{SPARED}{name}: test");
            }
        }
        return 0;
    }
    let exact = has("--exact");
    let wanted: Vec<&String> = arguments
        .iter()
        .filter(|word| !word.starts_with('-'))
        .collect();
    let mut failed = 0;
    let inner = inner
        .iter()
        .filter(|(name, _)| exact && wanted.iter().any(|word| *word == name));
    let cases = cases.iter().chain(inner).map(|case| ("", case));
    let forked = forked
        .iter()
        .flat_map(|case| [(FORKED, case), (SPARED, case)]);
    for (way, (name, case)) in cases.chain(forked) {
        let name = &format!("{way}{name}");
        let matches = |word: &&String| {
            if exact {
                name == *word
            } else {
                name.contains(word.as_str())
            }
        };
        if !wanted.is_empty() && !wanted.iter().any(matches) {
            continue;
        }
        BY_FORK.store(way == FORKED, Ordering::Relaxed);
        BY_SPARE.store(way == SPARED, Ordering::Relaxed);
        match std::panic::catch_unwind(case) {
            Ok(()) => println!("test {name} ... ok"),
            Err(_) => {
                println!("test {name} ... FAILED");
                failed += 1;
            }
        }
    }
    i32::from(failed > 0)
}

/// All three standard descriptors are this one, and there are no others.
pub(crate) fn files_of(descriptor: BorrowedFd<'_>) -> Files<'_> {
    Files {
        stdin: descriptor,
        stdout: descriptor,
        stderr: descriptor,
        passed: &[],
        held: &[],
        own: &[],
    }
}

pub(crate) fn config(argv: &[&str]) -> Config {
    Config {
        name: "web".to_owned(),
        process: Process {
            argv: argv.iter().map(Into::into).collect(),
            search_path: ["/usr/bin", "/bin"].map(Into::into).to_vec(),
            environment: vec![("PATH".into(), "/usr/bin:/bin".into())],
            new_session: true,
            ..Process::default()
        },
        identity: Identity::default(),
        directories: Vec::new(),
        limits: Limits::default(),
        cgroup: None,
        walls: None,
        lifecycle: sandbox::config::Lifecycle::default(),
    }
}

pub(crate) fn shell(script: &str) -> Config {
    config(&["/bin/sh", "-c", script])
}

pub(crate) fn plan(config: &Config) -> Plan {
    sandbox::compile(config, &Host::detect().unwrap()).unwrap()
}

/// Whether the carrier that is being tried is a copy of this process.
pub(crate) fn is_forked() -> bool {
    BY_FORK.load(Ordering::Relaxed)
}

/// The plan for the carrier that is being tried.
pub(crate) fn carried(plan: &Plan) -> Plan {
    match is_forked() {
        true => plan.clone().by_fork(),
        false => plan.clone(),
    }
}

/// How a launch ended, and what was written meanwhile.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) status: Option<ExitStatus>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) failure: Option<StepFailure>,
    /// Where it is told beside a first process that stays.
    pub(crate) main: Option<i32>,
}

pub(crate) fn outcome(config: &Config) -> Outcome {
    outcome_of(&plan(config), &[])
}

pub(crate) fn outcome_of(plan: &Plan, passed: &[(u32, BorrowedFd<'_>)]) -> Outcome {
    outcome_with(plan, passed, &[])
}

pub(crate) fn outcome_with(
    plan: &Plan,
    passed: &[(u32, BorrowedFd<'_>)],
    held: &[BorrowedFd<'_>],
) -> Outcome {
    let launcher = launcher();
    let (out, out_end) = pipe().unwrap();
    let (err, err_end) = pipe().unwrap();
    let null = std::fs::File::open("/dev/null").unwrap();
    let files = Files {
        stdin: null.as_fd(),
        stdout: out_end.as_fd(),
        stderr: err_end.as_fd(),
        passed,
        held,
        own: &[],
    };
    let launched = launcher.launch(&carried(plan), files);
    drop((out_end, err_end));
    let mut outcome = Outcome::default();
    match launched {
        Ok(launched) => {
            outcome.stdout = all_of(out);
            outcome.stderr = all_of(err);
            match launched.status {
                Some(status) => follow(&status, launched.pidfd, &mut outcome),
                None => outcome.status = Some(wait(&launched.pidfd)),
            }
        }
        Err(LaunchError::Step(failure)) => outcome.failure = Some(failure),
        Err(other) => panic!("{other:?}"),
    }
    outcome
}

/// Reads the status channel to its end, as the daemon does.
pub(crate) fn follow(status: &OwnedFd, mut pidfd: OwnedFd, outcome: &mut Outcome) {
    loop {
        match next(status) {
            Message::Failed(failure) => outcome.failure = Some(failure),
            Message::Executing | Message::Executed | Message::Stopped(_) => {}
            Message::Main { pid, .. } => outcome.main = Some(pid),
            Message::AtGate { .. } => sandbox::status::let_go(status.as_fd()).unwrap(),
            Message::Moved { pidfd: init, .. } => {
                assert_eq!(wait(&pidfd).code(), Some(0), "the executor leaves quietly");
                pidfd = init;
            }
            Message::Exited(status) => outcome.status = Some(status),
            Message::Closed => break,
        }
    }
    let carrier = wait(&pidfd);
    if outcome.failure.is_none() && outcome.status.is_none() {
        outcome.status = Some(carrier);
    }
}

/// The next message, waited for.
pub(crate) fn next(status: &OwnedFd) -> Message {
    loop {
        if let Some(message) = receive(status.as_fd()).unwrap() {
            return message;
        }
        let mut poll = [rustix::event::PollFd::new(
            status,
            rustix::event::PollFlags::IN,
        )];
        rustix::event::poll(&mut poll, None).unwrap();
    }
}

pub(crate) fn wait(pidfd: &OwnedFd) -> ExitStatus {
    let status = rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED)
        .unwrap()
        .unwrap();
    let raw = match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => code << 8,
        (None, signal) => signal.unwrap(),
    };
    ExitStatus::from_raw(raw)
}

fn all_of(mut pipe: PipeReader) -> String {
    let mut text = String::new();
    pipe.read_to_string(&mut text).unwrap();
    text
}
