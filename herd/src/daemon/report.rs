//! A service as clients see it, and the words about its changes in the log.
#![forbid(unsafe_code)]

use sandbox::cgroup::{self, Standstill, Usage};
use std::path::Path;
use units::UnitName;
use units::diagnostic::render_all;
use units::load;
use units::unit::Kind;

use super::networks::Boxes;
use super::{Daemon, clock, group};
use crate::control::protocol::{
    LastExit, ListEntry, Pressure, Stalls, State as WireState, StateChange, UnitKind, UnitStatus,
    WallGivenUp, Watchdog,
};
use crate::supervisor::action::News;
use crate::supervisor::event::ExitStatus;
use crate::supervisor::state::{Ending, Failure, HealthCheck, Rest, Stage, Then, Waiting};
use crate::supervisor::{Service, ServiceId, State};

impl Daemon {
    pub(super) fn wire_state(&self, id: ServiceId) -> WireState {
        self.supervisor
            .service(id)
            .map_or(WireState::Inactive, |service| state_of(service.state()))
    }

    pub(super) fn unit_status(&self, id: ServiceId, boxes: &Boxes) -> Option<UnitStatus> {
        let service = self.supervisor.service(id)?;
        let unit = service.unit();
        let runtime = self.runtimes.get(&id);
        let usage = self.usage(id, true);
        let (addresses, ports) = self.place_on_networks(id, boxes);
        let state = service.state();
        let active = match state {
            State::Active(active) | State::Reloading { active, .. } => Some(active),
            _ => None,
        };
        let watchdog = active
            .and_then(|active| active.watchdog)
            .map(|watchdog| Watchdog {
                interval_usec: i64::try_from(watchdog.every.as_micros()).unwrap_or(i64::MAX),
                last_ping: runtime.and_then(|runtime| runtime.last_ping),
            });
        let health = active
            .and_then(|active| active.health)
            .map(|health| match health.failures {
                0 if matches!(health.next, HealthCheck::Running { .. }) => {
                    "being checked".to_owned()
                }
                0 => "healthy".to_owned(),
                1 => "failed its last check".to_owned(),
                count => format!("failed its last {count} checks"),
            });
        Some(UnitStatus {
            name: unit.name.to_string(),
            kind: kind_of(unit.kind),
            state: state_of(state),
            substate: self.substate(id, state),
            since: clock::to_wall(service.since()),
            restarts: i64::from(service.restarts()),
            boxed: unit.walls.is_some(),
            enabled: self.supervisor.is_enabled(id),
            changed: service.is_changed(),
            source: unit.source.path.display().to_string(),
            drop_ins: unit
                .source
                .drop_ins
                .iter()
                .map(|path| path.display().to_string())
                .collect(),
            walls_given_up: runtime.map_or_else(Vec::new, |runtime| {
                let walls = runtime.given_up.iter().cloned();
                walls
                    .map(|(wall, reason)| WallGivenUp { wall, reason })
                    .collect()
            }),
            addresses,
            ports,
            log_lost: i64::try_from(self.sink.lost(&unit.name)).unwrap_or(i64::MAX),
            description: unit.description.as_deref().map(str::to_owned),
            main_pid: state.main().map(|main| main.pid.0),
            last_exit: service
                .last_exit()
                .map(|(status, at)| last_exit(status, clock::to_wall(at))),
            status_text: service.status_text().map(str::to_owned),
            memory: usage
                .memory_current
                .and_then(|bytes| i64::try_from(bytes).ok()),
            memory_peak: usage
                .memory_peak
                .and_then(|bytes| i64::try_from(bytes).ok()),
            cpu_usec: usage.cpu_usec.and_then(|micros| i64::try_from(micros).ok()),
            tasks: usage.tasks.and_then(|tasks| i64::try_from(tasks).ok()),
            swap: usage
                .swap_current
                .and_then(|bytes| i64::try_from(bytes).ok()),
            io_read: usage.io_read.and_then(|bytes| i64::try_from(bytes).ok()),
            io_written: usage.io_written.and_then(|bytes| i64::try_from(bytes).ok()),
            oom_kills: usage.oom_kills.and_then(|kills| i64::try_from(kills).ok()),
            pressure: self.pressure(id),
            broken: self.units.broken_text(&unit.name),
            next_try: match state {
                State::Backoff { until, .. } => Some(clock::to_wall(*until)),
                _ => None,
            },
            failure: failure_of(state).map(ToString::to_string),
            because_of: state.because_of().map(ToString::to_string),
            watchdog,
            health,
        })
    }

    /// A unit whose file was never sound while herd ran.
    pub(super) fn broken_status(&self, name: &UnitName) -> Option<UnitStatus> {
        if self.supervisor.knows(name) {
            return None;
        }
        let diagnostics = self.units.broken.get(name)?;
        let path = diagnostics
            .first()
            .map(|d| d.source.path.display().to_string());
        Some(UnitStatus {
            name: name.to_string(),
            state: WireState::Failed,
            substate: "broken".to_owned(),
            since: self.started_at,
            enabled: true,
            source: path.unwrap_or_default(),
            broken: self.units.broken_text(name),
            failure: Some("its unit file is in error".to_owned()),
            ..UnitStatus::default()
        })
    }

    /// Units that exist in the directories and that nobody has asked for yet.
    pub(super) fn at_rest_on_disk(&self) -> Vec<UnitStatus> {
        let names = load::names(&self.options.search, &self.units.facts);
        let unknown = names
            .into_iter()
            .filter(|name| !self.supervisor.knows(name) && !self.units.broken.contains_key(name));
        unknown
            .map(|name| {
                let parsed = load::load_one(&self.options.search, &name, &self.units.facts);
                let status = UnitStatus {
                    name: name.to_string(),
                    ..UnitStatus::default()
                };
                match parsed.unit {
                    Some(unit) => UnitStatus {
                        kind: kind_of(unit.kind),
                        substate: "dead".to_owned(),
                        boxed: unit.walls.is_some(),
                        source: unit.source.path.display().to_string(),
                        description: unit.description.as_deref().map(str::to_owned),
                        ..status
                    },
                    None => UnitStatus {
                        substate: "broken".to_owned(),
                        broken: Some(render_all(&parsed.diagnostics, false)),
                        ..status
                    },
                }
            })
            .collect()
    }

    pub(super) fn list(&self, all: bool, usage: bool) -> Vec<ListEntry> {
        let mut entries: Vec<ListEntry> = self
            .supervisor
            .services()
            .map(|service| {
                let id = service.id();
                let unit = service.unit();
                let state = service.state();
                let used = if usage {
                    self.usage(id, false)
                } else {
                    Usage::default()
                };
                ListEntry {
                    name: unit.name.to_string(),
                    kind: kind_of(unit.kind),
                    state: state_of(state),
                    substate: self.substate(id, state),
                    since: clock::to_wall(service.since()),
                    restarts: i64::from(service.restarts()),
                    enabled: self.supervisor.is_enabled(id),
                    boot: self.is_of_boot(&unit.source.path),
                    changed: service.is_changed(),
                    broken: self.supervisor.is_broken(id),
                    stopped: self.supervisor.is_stopped_by_hand(id),
                    main_pid: state.main().map(|main| main.pid.0),
                    memory: used
                        .memory_current
                        .and_then(|bytes| i64::try_from(bytes).ok()),
                    cpu_usec: used.cpu_usec.and_then(|micros| i64::try_from(micros).ok()),
                    next_try: match state {
                        State::Backoff { until, .. } => Some(clock::to_wall(*until)),
                        _ => None,
                    },
                    description: unit.description.as_deref().map(str::to_owned),
                }
            })
            .collect();
        let broken = self
            .units
            .broken
            .keys()
            .filter_map(|name| self.broken_status(name));
        let others = if all {
            self.at_rest_on_disk()
        } else {
            Vec::new()
        };
        entries.extend(broken.chain(others).map(|unit| ListEntry {
            name: unit.name,
            kind: unit.kind,
            state: unit.state,
            substate: unit.substate,
            since: unit.since,
            enabled: unit.enabled,
            boot: self.is_of_boot(Path::new(&unit.source)),
            broken: unit.broken.is_some(),
            description: unit.failure.or(unit.description),
            ..ListEntry::default()
        }));
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        entries
    }

    pub(super) fn is_brought_along(&self, id: ServiceId) -> bool {
        let service = self.supervisor.service(id);
        service.is_some_and(|service| self.is_of_boot(&service.unit().source.path))
    }

    fn is_of_boot(&self, file: &Path) -> bool {
        let boot = self.options.search.boot.as_ref();
        boot.is_some_and(|boot| file.starts_with(&boot.directory))
    }

    /// From the group where controllers count, else from the processes themselves; without `all` only
    /// what a list shows.
    fn usage(&self, id: ServiceId, all: bool) -> Usage {
        let Some(runtime) = self.runtimes.get(&id) else {
            return Usage::default();
        };
        let mut usage = match group::tracked(runtime) {
            Some(plan) if all => cgroup::usage(plan).unwrap_or_default(),
            Some(plan) => cgroup::memory_and_cpu(plan).unwrap_or_default(),
            None => Usage::default(),
        };
        let lacks_tasks = all && usage.tasks.is_none();
        if usage.memory_current.is_none() || usage.cpu_usec.is_none() || lacks_tasks {
            let (memory, cpu, tasks) = add_up(&group::members(id, runtime, &self.processes));
            usage.memory_current = usage.memory_current.or(memory);
            usage.cpu_usec = usage.cpu_usec.or(cpu);
            usage.tasks = usage.tasks.or(tasks);
        }
        usage
    }

    fn pressure(&self, id: ServiceId) -> Option<Pressure> {
        let plan = self.runtimes.get(&id).and_then(group::tracked)?;
        let read = cgroup::pressure(plan).ok()?;
        let stalls = |stalls: cgroup::Stalls| Stalls {
            some_avg10: stalls.some_avg10,
            some_usec: i64::try_from(stalls.some_usec).unwrap_or(i64::MAX),
            full_avg10: stalls.full_avg10,
            full_usec: i64::try_from(stalls.full_usec).unwrap_or(i64::MAX),
        };
        read.memory.map(|_| Pressure {
            cpu: read.cpu.map(stalls),
            memory: read.memory.map(stalls),
            io: read.io.map(stalls),
        })
    }

    pub(super) fn substate(&self, id: ServiceId, state: &State) -> String {
        let waits = self.supervisor.is_waiting(id);
        if waits && (state.is_at_rest() || matches!(state, State::Backoff { .. })) {
            return "waiting".to_owned();
        }
        let word = match self.standstill(id) {
            Standstill::None => substate_of(state),
            Standstill::Begun => "freezing",
            Standstill::Complete => "frozen",
        };
        word.to_owned()
    }

    /// What helps against the refusal just told: once, not at each turn of a crash loop.
    fn tell_advice(&mut self, id: ServiceId, name: &UnitName) {
        let Some(runtime) = self.runtimes.get_mut(&id) else {
            return;
        };
        let Some(advice) = runtime.advice.take() else {
            return;
        };
        if runtime.advice_told.as_ref() != Some(&advice) {
            self.sink
                .say(name, clock::wall(), &format!("hint: {advice}"));
            runtime.advice_told = Some(advice);
        }
    }

    /// A state changed: the log, and whoever watches.
    pub(super) fn announce(&mut self, id: ServiceId, state: &State, news: News) {
        let Some(service) = self.supervisor.service(id) else {
            return;
        };
        let name = service.unit().name.clone();
        match news {
            News::State => self.record(service, &name, state),
            News::Reloaded(Ok(())) => self.note(&format!("{name}: reloaded")),
            News::Reloaded(Err(why)) => self.say(&name, &format!("not reloaded: {why}")),
            News::Unhealthy(why) => self.say(&name, &Failure::Unhealthy(why).to_string()),
            News::Health => {}
        }
        if matches!(state, State::Backoff { .. } | State::Failed(_)) {
            self.tell_advice(id, &name);
        }
        let is_goal = || {
            let boot = self.options.search.boot.as_ref();
            boot.and_then(|boot| self.supervisor.id(&boot.goal)) == Some(id)
        };
        if matches!(state, State::Active(_)) && is_goal() {
            self.arrive();
        }
        self.note_progress(id);
        if matches!(state, State::Active(_) | State::Failed(_)) && name.as_str() == LOCAL_FS {
            self.begin_logs(matches!(state, State::Active(_)));
        }
        if matches!(state, State::Active(_)) && SHELLS.contains(&name.as_str()) {
            self.begin_logs(false);
        }
        if self.has_watchers() {
            let change = StateChange {
                unit: name.to_string(),
                state: state_of(state),
                substate: self.substate(id, state),
                at: clock::wall().0,
                main_pid: state.main().map(|main| main.pid.0),
                failure: failure_of(state).map(ToString::to_string),
            };
            self.broadcast(&name, &change);
        }
    }

    /// The words about a new state.
    fn record(&self, service: &Service, name: &UnitName, state: &State) {
        match state {
            State::Active(active) => match active.main {
                Some(main) => self.note(&format!("{name}: active, process {}", main.pid.0)),
                None => self.note(&format!("{name}: active")),
            },
            State::Backoff { until, failure } => {
                // As it was decided; when it has begun already, at once.
                let wait = until.since(service.since());
                let when = if wait.is_zero() {
                    "now".to_owned()
                } else {
                    format!("in {}", crate::supervisor::explain::duration(wait))
                };
                self.say(name, &format!("{failure}; starting again {when}"));
            }
            State::Failed(failure) => {
                let most = service.unit().lifecycle.max_retries;
                let most = most.filter(|most| *most > 0 && service.restarts() >= *most);
                let limit = most.map_or_else(String::new, |most| {
                    format!("; no more tries: max_retries = {most}")
                });
                self.say(name, &format!("failed: {failure}{limit}"));
                self.tell_console(&format!("{name}: failed: {failure}"));
            }
            State::Inactive(Rest::Restarting) => {}
            // What is not installed: of interest to who asks, and of none at each boot.
            State::Inactive(rest @ Rest::Skipped(_))
                if self.is_of_boot(&service.unit().source.path) =>
            {
                self.say(&self.own_name, &format!("{name}: {rest}"));
            }
            State::Inactive(rest) => self.note(&format!("{name}: {rest}")),
            // herd's own decision, which no end of a process explains.
            State::Stopping {
                ending: Ending::Asked | Ending::Aborted,
                then:
                    Then::Retry(
                        failure @ (Failure::Unhealthy(_) | Failure::Timeout(_) | Failure::Watchdog),
                    ),
                ..
            } => self.say(name, &format!("{failure}; restarting it")),
            _ => {}
        }
    }
}

/// Where this is reached, `/var/log` is what it will be.
pub(super) const LOCAL_FS: &str = "local-fs";
/// Whoever sits at one of these may ask for logs before.
const SHELLS: [&str; 3] = ["debug-shell", "emergency-shell", "rescue-shell"];
/// Where logs go if `/var/log` is not to be had: `herd logs` looks here first.
pub(crate) const LOGS_OF_THIS_BOOT: &str = "/run/log/herd";

impl Daemon {
    /// On a machine that boots, logs are held back until their directory is there.
    pub(super) fn begin_logs(&mut self, has_file_systems: bool) {
        if !self.options.mode.is_machine() {
            return;
        }
        if has_file_systems && let Some(own) = self.options.log_dir.clone() {
            match self.sink.begin(&own) {
                Ok(()) => return self.record_begin(),
                Err(error) => self.note(&super::reason(&error)),
            }
        }
        // Where they have begun already they stay.
        if self.sink.is_held()
            && let Err(error) = self.sink.begin(Path::new(LOGS_OF_THIS_BOOT))
        {
            self.note(&super::reason(&error));
        }
    }

    /// A unit whose file is gone has come to rest, and is known no more.
    pub(super) fn announce_gone(&mut self, name: &UnitName) {
        self.note(&format!("{name}: stopped, and forgotten with its file"));
        let change = StateChange {
            unit: name.to_string(),
            state: WireState::Inactive,
            substate: "gone".to_owned(),
            at: clock::wall().0,
            main_pid: None,
            failure: None,
        };
        self.broadcast(name, &change);
    }
}

pub(super) fn kind_of(kind: Kind) -> UnitKind {
    match kind {
        Kind::Service => UnitKind::Service,
        Kind::Target => UnitKind::Target,
    }
}

/// systemd's words for herd's states.
pub(super) fn state_of(state: &State) -> WireState {
    match state {
        State::Inactive(_) => WireState::Inactive,
        State::Failed(_) => WireState::Failed,
        State::Active(_) => WireState::Active,
        State::Reloading { .. } => WireState::Reloading,
        State::StopCommand { .. } | State::Stopping { .. } | State::StopPost { .. } => {
            WireState::Deactivating
        }
        State::Delayed { .. }
        | State::Checking { .. }
        | State::Preparing { .. }
        | State::Idling { .. }
        | State::Launching { .. }
        | State::Starting { .. }
        | State::Posting { .. }
        | State::Backoff { .. } => WireState::Activating,
    }
}

fn substate_of(state: &State) -> &'static str {
    match state {
        State::Inactive(Rest::NeverStarted) => "dead",
        State::Inactive(Rest::Stopped) => "stopped",
        State::Inactive(Rest::Exited) => "exited",
        State::Inactive(Rest::Completed) => "completed",
        State::Inactive(Rest::Skipped(_)) => "skipped",
        State::Inactive(Rest::Bound(_)) => "bound",
        State::Inactive(Rest::Conflict(_)) => "conflict",
        State::Inactive(Rest::Unneeded) => "unneeded",
        State::Inactive(Rest::Undone) => "undone",
        State::Inactive(Rest::Killed) => "killed",
        State::Inactive(Rest::Restarting) => "restarting",
        State::Delayed { .. } => "delayed",
        State::Checking { .. }
        | State::Preparing {
            stage: Stage::Condition,
            ..
        } => "condition",
        State::Preparing {
            stage: Stage::Pre, ..
        } => "start-pre",
        State::Idling { .. } => "idle",
        State::Launching { .. } => "launching",
        State::Starting {
            waiting: Waiting::End,
            ..
        } => "running",
        State::Starting { .. } => "starting",
        State::Posting { .. } => "start-post",
        State::Active(active) if active.main.is_some() => "running",
        State::Active(_) => "active",
        State::Reloading { .. } => "reload",
        State::StopCommand { .. } => "stop",
        State::Stopping { .. } => "stopping",
        State::StopPost { .. } => "stop-post",
        State::Backoff { .. } => "backoff",
        State::Failed(_) => "failed",
    }
}

fn failure_of(state: &State) -> Option<&Failure> {
    match state {
        State::Failed(failure) | State::Backoff { failure, .. } => Some(failure),
        _ => None,
    }
}

fn last_exit(status: ExitStatus, at: i64) -> LastExit {
    let (code, signal, core) = match status {
        ExitStatus::Code(code) => (Some(i32::from(code)), None, false),
        ExitStatus::Signal { signal, core } => (None, Some(signal.as_number()), core),
        ExitStatus::Unknown => (None, None, false),
    };
    LastExit {
        at,
        reason: status.to_string(),
        core,
        code,
        signal,
    }
}

/// Resident memory, CPU time and tasks of processes, from `/proc` (`proc_pid_stat(5)`).
fn add_up(pids: &[i32]) -> (Option<u64>, Option<u64>, Option<u64>) {
    let page = u64::try_from(rustix::param::page_size()).unwrap_or(4096);
    let ticks = rustix::param::clock_ticks_per_second().max(1);
    let mut found = false;
    let (mut memory, mut cpu, mut tasks) = (0_u64, 0_u64, 0_u64);
    for pid in pids {
        let Some(stat) = super::process_table::stat(*pid) else {
            continue;
        };
        let fields: Vec<u64> = stat
            .split_whitespace()
            .map(|field| field.parse().unwrap_or(0))
            .collect();
        let field = |number: usize| fields.get(number - 3).copied().unwrap_or(0);
        found = true;
        cpu = cpu.saturating_add(field(14).saturating_add(field(15)) * 1_000_000 / ticks);
        tasks = tasks.saturating_add(field(20));
        memory = memory.saturating_add(field(24).saturating_mul(page));
    }
    if found {
        (Some(memory), Some(cpu), Some(tasks))
    } else {
        (None, None, None)
    }
}
