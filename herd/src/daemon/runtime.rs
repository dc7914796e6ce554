//! What the daemon holds for each service and each process: descriptors and bookkeeping, no
//! decisions.
#![forbid(unsafe_code)]

use std::collections::{HashMap, HashSet};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use mio::Token;
use sandbox::cgroup::CgroupPlan;
use units::UnitName;

use super::leases::Lease;
use super::probes::Connection;
use crate::allot::Allotted;
use crate::logs::Capture;
use crate::supervisor::action::{Purpose, Role};
use crate::supervisor::event::ExitStatus;
use crate::supervisor::state::{Failure, State, Then};
use crate::supervisor::{RunId, Service, ServiceId};

/// One service's belongings, from its first start until it is forgotten.
#[derive(Debug)]
pub(super) struct Runtime {
    pub name: UnitName,
    /// Where its processes live; `None` until the first launch, or where there are no cgroups.
    pub group: Option<CgroupPlan>,
    pub group_exists: bool,
    /// `cgroup.kill` was used on it.
    pub group_killed: bool,
    /// herd froze it.
    pub is_frozen: bool,
    /// `cgroup.events`, while somebody waits for the group to be empty.
    pub group_watch: Option<(std::fs::File, Token)>,
    pub memory_watch: Option<(sandbox::cgroup::OomWatch, Token)>,
    pub oom_kills: u64,
    /// Its last process has ended, and no launch has begun since.
    pub is_empty: bool,
    /// The supervisor waits for the last process to go.
    pub awaits_empty: bool,
    /// Output pipes; more than one while an older one still has a writer.
    pub outputs: Vec<(Capture, Token)>,
    pub ready_fd: Option<(OwnedFd, Token)>,
    /// The process whose end is the service's.
    pub main: Option<RunId>,
    /// Sessions opened for it, for machines without cgroups.
    pub sessions: Vec<i32>,
    pub invocation: String,
    pub stored: Vec<StoredFd>,
    pub given_up: Vec<(String, String)>,
    /// What helps against the last refusal of its box, until it is told.
    pub advice: Option<String>,
    pub advice_told: Option<String>,
    /// The refusal that it was last looked for.
    pub advised_on: Option<Arc<str>>,
    /// Runtime directories to be removed at rest.
    pub owns_runtime_directories: bool,
    /// The user that its processes have, in numbers of the host.
    pub uid: Option<u32>,
    /// What was allotted for the run.
    pub dynamic_user: Option<Allotted>,
    pub range: Option<Allotted>,
    /// Networks that are to be given back.
    pub leases: Vec<Lease>,
    /// Those on their way.
    pub releasing: Vec<String>,
    /// The supervisor hears that the service is empty once they have been given back.
    pub awaits_release: bool,
    /// The lease whose names the main process's box sees.
    pub names_of_network: Option<String>,
    pub last_ping: Option<i64>,
}

/// A descriptor kept for the service (`FDSTORE=1`).
#[derive(Debug)]
pub(super) struct StoredFd {
    pub name: String,
    pub fd: Arc<OwnedFd>,
}

impl Runtime {
    /// One of its own is leased, or on its way back.
    pub(super) fn has_network(&self) -> bool {
        !self.leases.is_empty() || !self.releasing.is_empty()
    }

    pub(super) fn new(name: UnitName) -> Self {
        Self {
            name,
            group: None,
            group_exists: false,
            group_killed: false,
            is_frozen: false,
            group_watch: None,
            memory_watch: None,
            oom_kills: 0,
            is_empty: false,
            awaits_empty: false,
            outputs: Vec::new(),
            ready_fd: None,
            main: None,
            sessions: Vec::new(),
            invocation: String::new(),
            stored: Vec::new(),
            given_up: Vec::new(),
            advice: None,
            advice_told: None,
            advised_on: None,
            owns_runtime_directories: false,
            uid: None,
            dynamic_user: None,
            range: None,
            leases: Vec::new(),
            releasing: Vec::new(),
            awaits_release: false,
            names_of_network: None,
            last_ping: None,
        }
    }
}

/// All belongings. Boxed: a table has up to twice as many places as entries.
#[derive(Debug, Default)]
pub(super) struct Runtimes(HashMap<ServiceId, Box<Runtime>>);

impl Runtimes {
    pub(super) fn get(&self, id: &ServiceId) -> Option<&Runtime> {
        self.0.get(id).map(Box::as_ref)
    }

    pub(super) fn get_mut(&mut self, id: &ServiceId) -> Option<&mut Runtime> {
        self.0.get_mut(id).map(Box::as_mut)
    }

    pub(super) fn contains_key(&self, id: &ServiceId) -> bool {
        self.0.contains_key(id)
    }

    pub(super) fn insert(&mut self, id: ServiceId, runtime: Runtime) {
        self.0.insert(id, Box::new(runtime));
    }

    pub(super) fn remove(&mut self, id: &ServiceId) -> Option<Runtime> {
        self.0.remove(id).map(|runtime| *runtime)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&ServiceId, &Runtime)> {
        self.0.iter().map(|(id, runtime)| (id, runtime.as_ref()))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (&ServiceId, &mut Runtime)> {
        self.0
            .iter_mut()
            .map(|(id, runtime)| (id, runtime.as_mut()))
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &ServiceId> {
        self.0.keys()
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &Runtime> {
        self.0.values().map(Box::as_ref)
    }
}

/// What a process was started for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Task {
    Role(Role),
    Probe(Purpose),
    /// Adopted: a daemon's process found by its pid file or named by `MAINPID=`.
    Adopted,
}

/// One process that we started or adopted, until it has been reaped.
#[derive(Debug)]
pub(super) struct Process {
    pub service: ServiceId,
    pub task: Task,
    pub pid: i32,
    pub pidfd: OwnedFd,
    pub token: Token,
    /// The launch's status channel.
    pub status: Option<(OwnedFd, Token)>,
    pub stage: Stage,
    /// In a box with its own first process: the main process, as seen from here.
    pub inner: Option<Inner>,
    /// How the main process ended, as the box's first process reports it.
    pub report: Option<ExitStatus>,
}

/// How far a launch has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Building,
    /// `execve` is next: the end of the status channel says that it succeeded.
    Executing,
    /// The program runs, or has run.
    Executed,
    /// The supervisor has been told.
    Failed,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub pid: i32,
    pub pidfd: Option<OwnedFd>,
}

impl Process {
    /// The pid that users know. A main process that was reaped before we heard of it has none any
    /// more: its box's first process, which ends with it, stands for it.
    pub(super) fn main_pid(&self) -> i32 {
        let inner = self.inner.as_ref().map(|inner| inner.pid);
        inner.filter(|pid| *pid > 0).unwrap_or(self.pid)
    }
}

/// A launch that was asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Expected {
    pub service: ServiceId,
    pub task: Task,
}

/// All processes, by run and by pid.
#[derive(Debug, Default)]
pub(super) struct Processes {
    /// Boxed, as [`Runtimes`] are.
    by_run: HashMap<RunId, Box<Process>>,
    by_pid: HashMap<i32, RunId>,
    /// Those that are expected, too.
    by_service: HashMap<ServiceId, Vec<RunId>>,
    /// Runs whose process we have not been told of.
    expected: HashMap<RunId, Expected>,
    /// Runs whose executor has not said yet which process carries them on.
    launching: HashSet<RunId>,
}

impl Processes {
    pub(super) fn expect(&mut self, run: RunId, expected: Expected) {
        self.by_service
            .entry(expected.service)
            .or_default()
            .push(run);
        self.expected.insert(run, expected);
    }

    /// The launch of this run is over; a process may be [inserted](Self::insert) for it.
    pub(super) fn take_expected(&mut self, run: RunId) -> Option<Expected> {
        let expected = self.expected.remove(&run)?;
        self.forget_run(expected.service, run);
        Some(expected)
    }

    pub(super) fn expected(&self, run: RunId) -> Option<Expected> {
        self.expected.get(&run).copied()
    }

    /// Runs of the service whose process we have not been told of.
    pub(super) fn expected_of(
        &self,
        service: ServiceId,
    ) -> impl Iterator<Item = (RunId, Expected)> {
        let runs = self.by_service.get(&service).into_iter().flatten();
        runs.filter_map(|run| self.expected.get(run).map(|expected| (*run, *expected)))
    }

    /// Whether there may be a child of ours in whose place nothing is known.
    pub(super) fn any_is_expected(&self) -> bool {
        !self.expected.is_empty()
    }

    pub(super) fn insert(&mut self, run: RunId, process: Process) {
        if process.status.is_some() {
            self.launching.insert(run);
        }
        self.by_pid.insert(process.pid, run);
        self.by_service
            .entry(process.service)
            .or_default()
            .push(run);
        self.by_run.insert(run, Box::new(process));
    }

    /// Whether an executor may have made a child of ours that it has not told of.
    pub(super) fn any_is_launching(&self) -> bool {
        !self.launching.is_empty()
    }

    /// The executor of this run has told all; `false` when that was known.
    pub(super) fn conclude(&mut self, run: RunId) -> bool {
        self.launching.remove(&run)
    }

    fn forget_run(&mut self, service: ServiceId, run: RunId) {
        if let Some(runs) = self.by_service.get_mut(&service) {
            runs.retain(|known| *known != run);
            if runs.is_empty() {
                self.by_service.remove(&service);
            }
        }
    }

    pub(super) fn get(&self, run: RunId) -> Option<&Process> {
        self.by_run.get(&run).map(Box::as_ref)
    }

    pub(super) fn get_mut(&mut self, run: RunId) -> Option<&mut Process> {
        self.by_run.get_mut(&run).map(Box::as_mut)
    }

    pub(super) fn run_of(&self, pid: i32) -> Option<RunId> {
        self.by_pid.get(&pid).copied()
    }

    /// Another process carries the run on: the box's own first process.
    pub(super) fn move_to(
        &mut self,
        run: RunId,
        pid: i32,
        pidfd: OwnedFd,
        token: Token,
    ) -> Option<OwnedFd> {
        let process = self.by_run.get_mut(&run)?;
        self.by_pid.remove(&process.pid);
        process.pid = pid;
        process.token = token;
        let old = std::mem::replace(&mut process.pidfd, pidfd);
        self.by_pid.insert(pid, run);
        Some(old)
    }

    pub(super) fn remove(&mut self, run: RunId) -> Option<Process> {
        let process = self.by_run.remove(&run)?;
        if self.by_pid.get(&process.pid) == Some(&run) {
            self.by_pid.remove(&process.pid);
        }
        self.forget_run(process.service, run);
        Some(*process)
    }

    pub(super) fn of_service(&self, service: ServiceId) -> impl Iterator<Item = (RunId, &Process)> {
        let runs = self.by_service.get(&service).into_iter().flatten();
        runs.filter_map(|run| self.get(*run).map(|process| (*run, process)))
    }

    /// Whether a process that we started or adopted for the service has not been reaped, or is being started.
    pub(super) fn has_any(&self, service: ServiceId) -> bool {
        self.by_service.contains_key(&service)
    }

    pub(super) fn len(&self) -> usize {
        self.by_run.len()
    }
}

/// A probe under way: a connection here, or a process of this run.
#[derive(Debug)]
pub(super) struct RunningProbe {
    pub service: ServiceId,
    pub kind: ProbeKind,
}

#[derive(Debug)]
pub(super) enum ProbeKind {
    Connection(Connection, Token),
    Process,
}

/// The end of a process in the supervisor's words.
pub(super) fn exit_status(code: i32, signalled: bool, core: bool) -> ExitStatus {
    if signalled {
        return match units::Signal::from_number(code) {
            Some(signal) => ExitStatus::Signal { signal, core },
            None => ExitStatus::Unknown,
        };
    }
    u8::try_from(code & 0xff).map_or(ExitStatus::Unknown, ExitStatus::Code)
}

/// Words for `$SERVICE_RESULT`, `$EXIT_CODE`, `$EXIT_STATUS` (systemd.exec(5)) of a service that is
/// on its way down.
pub(super) fn result_of(service: &Service) -> (String, String, String) {
    let last = service.last_exit().map(|(status, _)| status);
    let (result, code, status) = match service.state().main() {
        // It still runs; what is known is the end of an earlier one.
        Some(_) => result_words(None),
        None => result_words(last),
    };
    let then = match service.state() {
        State::StopCommand { then, .. }
        | State::Stopping { then, .. }
        | State::StopPost { then, .. } => then,
        _ => return (result, code, status),
    };
    let result = match then {
        Then::Rest(_) => "success",
        Then::Retry(Failure::Timeout(_)) | Then::Fail(Failure::Timeout(_)) => "timeout",
        Then::Retry(Failure::Watchdog) | Then::Fail(Failure::Watchdog) => "watchdog",
        Then::Retry(Failure::OutOfMemory) | Then::Fail(Failure::OutOfMemory) => "oom-kill",
        Then::Retry(_) | Then::Fail(_) => result.as_str(),
    };
    (result.to_owned(), code, status)
}

fn result_words(last: Option<ExitStatus>) -> (String, String, String) {
    match last {
        None => ("success".into(), String::new(), String::new()),
        Some(ExitStatus::Code(0)) => ("success".into(), "exited".into(), "0".into()),
        Some(ExitStatus::Code(code)) => ("exit-code".into(), "exited".into(), code.to_string()),
        Some(ExitStatus::Signal { signal, core }) => {
            let name = signal.to_string();
            let name = name.strip_prefix("SIG").unwrap_or(&name).to_owned();
            let (result, code) = if core {
                ("core-dump", "dumped")
            } else {
                ("signal", "killed")
            };
            (result.into(), code.into(), name)
        }
        Some(ExitStatus::Unknown) => ("exit-code".into(), String::new(), String::new()),
    }
}
