//! The only place where actions are carried out. Nothing is decided here.
#![forbid(unsafe_code)]

use std::os::fd::AsFd;

use mio::Interest;
use rustix::process::{Pid as KernelPid, PidfdFlags, Signal as KernelSignal};
use sandbox::cgroup;
use units::unit::{DirectoryKind, Preserve, Ready};

use super::launches::NotStarted;
use super::runtime::{Expected, Process, Runtime, Stage, Task};
use super::sources::Source;
use super::{Daemon, checks, clock, group, reason};
use crate::plain_file;
use crate::prepare;
use crate::supervisor::action::{Action, Role, Whom};
use crate::supervisor::{Event, Input, Pid, RunId, ServiceId};

/// Looks for an announced out-of-memory kill, 2 ms and then twice as long apart: an eighth of a
/// second in all.
const MEMORY_LOOKS: u32 = 6;

/// A number and a newline, with room for what else some daemons write.
const PID_FILE_LONGEST: u64 = 4096;

impl Daemon {
    pub(super) fn perform(&mut self, action: Action) {
        match action {
            Action::Check { id } => self.check(id),
            Action::Spawn { id, run, role } => self.spawn(id, run, role),
            Action::Signal { id, whom, signal } => {
                self.wake(id);
                self.signal(id, whom, signal);
            }
            Action::KillAll { id, signal } => {
                self.wake(id);
                self.kill_all(id, signal);
            }
            Action::AwaitEmpty { id } => self.await_empty(id),
            Action::FindMain { id } => self.find_main(id),
            Action::Probe { id, run, purpose } => self.start_probe(id, run, purpose),
            Action::CancelProbe { id, run } => self.cancel_probe(id, run),
            Action::Release { id, again } => self.release(id, again),
            Action::Changed { id, state, news } => self.announce(id, &state, news),
            Action::Forget { id } => self.forget(id),
            Action::Answer { ticket, answer } => self.answer(ticket, answer),
            Action::Ending { because_of } => self.note_ending(because_of),
            Action::Power { id, power, haste } => self.power_action(id, power, haste),
            Action::Exit { code } => self.exit = Some(code),
        }
    }

    fn check(&mut self, id: ServiceId) {
        let Some(service) = self.supervisor.service(id) else {
            return;
        };
        let facts = checks::Facts {
            host: &self.host,
            users: &self.users,
            environment: &self.surface.environment,
        };
        let result = checks::evaluate(service.unit(), facts);
        self.tell(id, Input::Checked(result));
    }

    pub(super) fn signal(&mut self, id: ServiceId, whom: Whom, signal: units::Signal) {
        self.call_off_launches(id, signal, whom);
        let Some(runtime) = self.runtimes.get(&id) else {
            return;
        };
        match whom {
            Whom::Main => {
                let Some(process) = runtime.main.and_then(|run| self.processes.get(run)) else {
                    return;
                };
                let fd = match &process.inner {
                    Some(inner) => inner.pidfd.as_ref(),
                    None => Some(&process.pidfd),
                };
                if let Some(fd) = fd {
                    send(fd, signal);
                    wake(fd, signal);
                }
            }
            Whom::Run(run) => {
                if let Some(process) = self.processes.get(run) {
                    send(&process.pidfd, signal);
                    wake(&process.pidfd, signal);
                }
            }
            Whom::All => self.signal_all(id, runtime, signal),
        }
    }

    /// What is being started for a service that stops, or is killed, is not awaited.
    fn call_off_launches(&mut self, id: ServiceId, signal: units::Signal, whom: Whom) {
        let service = self.supervisor.service(id);
        let is_stopping = service.is_some_and(|service| service.state().is_stopping());
        if signal != units::Signal::KILL && !is_stopping {
            return;
        }
        let is_meant = |(run, expected): &(RunId, Expected)| match whom {
            Whom::All => true,
            Whom::Run(only) => *run == only,
            Whom::Main => expected.task == Task::Role(Role::Main),
        };
        let meant: Vec<_> = self.processes.expected_of(id).filter(is_meant).collect();
        for (run, _) in meant {
            self.call_off_run(run);
        }
    }

    /// Nobody waits for this run any more. Its end is told as that of any launch.
    fn call_off_run(&mut self, run: RunId) {
        if let Some(at) = self.postponed.iter().position(|other| *other == run) {
            self.postponed.remove(at);
            self.not_started(run, NotStarted::called_off());
        } else {
            self.launches.call_off(run);
        }
    }

    fn signal_all(&self, id: ServiceId, runtime: &Runtime, signal: units::Signal) {
        if runtime.is_empty {
            return;
        }
        // A box's first process hands signals on to the main one, which would hear them twice.
        let mut spared = match signal {
            units::Signal::KILL => Vec::new(),
            _ => group::reapers(id, &self.processes),
        };
        let mut strangers = Vec::new();
        for pid in group::members(id, runtime, &self.processes) {
            let own = self
                .processes
                .run_of(pid)
                .and_then(|run| self.processes.get(run));
            match own.filter(|process| process.service == id) {
                _ if spared.contains(&pid) => {}
                // Ours and not reaped: its descriptor cannot mean anybody else.
                Some(process) => {
                    send(&process.pidfd, signal);
                    wake(&process.pidfd, signal);
                    spared.push(pid);
                }
                None => strangers.push(pid),
            }
        }
        if strangers.is_empty() {
            return;
        }
        let Some(plan) = group::tracked(runtime) else {
            for fd in strangers.into_iter().filter_map(pin) {
                send(&fd, signal);
                wake(&fd, signal);
            }
            return;
        };
        let cont = needs_wake(signal).then_some(units::Signal::CONT);
        let numbers: Vec<i32> = std::iter::once(signal)
            .chain(cont)
            .map(units::Signal::as_number)
            .collect();
        if let Err(error) = cgroup::signal(plan, &numbers, &spared) {
            self.note(&format!("{}: {}", runtime.name, reason(&error)));
        }
    }

    pub(super) fn kill_all(&mut self, id: ServiceId, signal: units::Signal) {
        if signal != units::Signal::KILL {
            return self.signal(id, Whom::All, signal);
        }
        if let Some(runtime) = self.runtimes.get_mut(&id) {
            runtime.group_killed = true;
        }
        self.call_off_launches(id, signal, Whom::All);
        let Some(runtime) = self.runtimes.get(&id) else {
            return;
        };
        let reapers = group::reapers(id, &self.processes);
        let members = group::members(id, runtime, &self.processes);
        if members.iter().any(|pid| !reapers.contains(pid)) {
            self.say(&runtime.name, "killing what is left of it");
        }
        if let Some(plan) = group::tracked(runtime) {
            if let Err(error) = cgroup::kill(plan) {
                self.note(&format!("{}: {}", runtime.name, reason(&error)));
            }
            return;
        }
        // Without a group a fork can be faster than one pass; a pass that finds nobody new ends it.
        let mut before = Vec::new();
        for _ in 0..KILL_PASSES {
            let found = group::members(id, runtime, &self.processes);
            if found.iter().all(|pid| before.contains(pid)) {
                return;
            }
            for pid in &found {
                if let Some(fd) = pin(*pid) {
                    send(&fd, units::Signal::KILL);
                }
            }
            before = found;
        }
    }

    /// Takes away a group that no process can be born in, and the next launch makes it anew:
    ///
    /// * one that was once ended by `cgroup.kill`: kernels up to at least 6.18 compare its count of
    ///   kills with that of the parent's own group when a child comes by `CLONE_INTO_CGROUP`, and
    ///   kill it;
    /// * a delegated one in which the last run handed controllers out: such a group can have no
    ///   process itself.
    pub(super) fn replace_used_group(&mut self, id: ServiceId, run: RunId) {
        let others = |(other, _): (RunId, Expected)| other != run;
        if self.processes.expected_of(id).any(others) {
            // One that is being started has it open already.
            return;
        }
        let Some(runtime) = self.runtimes.get(&id) else {
            return;
        };
        let is_left_over = group::tracked(runtime).is_some_and(|plan| {
            // While somebody lives in it, what is below it is none of our business.
            plan.is_delegated() && cgroup::is_populated(plan).is_ok_and(|populated| !populated)
        });
        if !runtime.group_killed && !is_left_over {
            return;
        }
        self.forget_memory_watch(id);
        let Some(runtime) = self.runtimes.get_mut(&id) else {
            return;
        };
        if let Some((file, token)) = runtime.group_watch.take() {
            self.sources.remove(self.poll.registry(), &file, token);
        }
        let Some(plan) = runtime.group.as_ref().filter(|_| runtime.group_exists) else {
            return;
        };
        match cgroup::remove(plan) {
            Ok(cgroup::Removal::Removed) => {
                runtime.group_killed = false;
                runtime.group_exists = false;
            }
            Ok(cgroup::Removal::Busy(_)) => {}
            Err(error) => {
                let text = format!("{}: {}", runtime.name, reason(&error));
                self.note(&text);
            }
        }
    }

    fn await_empty(&mut self, id: ServiceId) {
        let Some(runtime) = self.runtimes.get_mut(&id) else {
            return self.tell(id, Input::Emptied);
        };
        // The end of a process of our own is told by itself, and asks again then.
        if self.processes.has_any(id) {
            runtime.awaits_empty = true;
            return self.tell(id, Input::Remaining);
        }
        if !group::is_populated(id, runtime, &self.processes) {
            runtime.awaits_empty = false;
            runtime.is_empty = true;
            if self.is_releasing(id) {
                self.tell(id, Input::Remaining);
            }
            return self.emptied(id);
        }
        runtime.awaits_empty = true;
        self.watch_group(id);
        self.tell(id, Input::Remaining);
        // It may have emptied before the watch stood.
        self.recheck_empty(id);
    }

    pub(super) fn watch_group(&mut self, id: ServiceId) {
        let Some(runtime) = self.runtimes.get_mut(&id) else {
            return;
        };
        if runtime.group_watch.is_some() {
            return;
        }
        let Some(plan) = group::tracked(runtime) else {
            return;
        };
        let opened = cgroup::open_events(plan);
        let added = match opened {
            Ok(Some(file)) => {
                let registry = self.poll.registry();
                let source = Source::Group(id);
                self.sources
                    .add(registry, &file, source, Interest::PRIORITY)
                    .map(|token| (file, token))
                    .map_err(|error| reason(&error))
            }
            Ok(None) => return,
            Err(error) => Err(reason(&error)),
        };
        match added {
            Ok(watch) => {
                // The kernel tells of changes since the last reading.
                let mut byte = [0_u8; 1];
                if rustix::io::pread(&watch.0, &mut byte, 0).is_ok() {
                    runtime.group_watch = Some(watch);
                }
            }
            Err(why) => {
                let name = runtime.name.clone();
                self.note(&format!("{name}: cannot watch its group: {why}"));
            }
        }
    }

    pub(super) fn recheck_empty(&mut self, id: ServiceId) {
        let Some(runtime) = self.runtimes.get_mut(&id) else {
            return;
        };
        if let Some((file, _)) = &runtime.group_watch {
            let mut bytes = [0_u8; 256];
            // Re-arms the notification; what it says is asked for below.
            rustix::io::pread(file, &mut bytes, 0).ok();
        }
        if !runtime.awaits_empty {
            return self.give_back_at_rest(id);
        }
        // While a process of our own is left, its end is what is waited for.
        if self.processes.has_any(id) {
            return;
        }
        if group::is_populated(id, runtime, &self.processes) {
            if runtime.group_watch.is_some() || group::tracked(runtime).is_none() {
                return;
            }
            self.watch_group(id);
            let Some(runtime) = self.runtimes.get(&id) else {
                return;
            };
            // It may have emptied before the watch stood.
            if group::is_populated(id, runtime, &self.processes) {
                return;
            }
        }
        let Some(runtime) = self.runtimes.get_mut(&id) else {
            return;
        };
        runtime.awaits_empty = false;
        runtime.is_empty = true;
        self.forget_group_watch(id);
        self.emptied(id);
    }

    pub(super) fn forget_group_watch(&mut self, id: ServiceId) {
        let runtime = self.runtimes.get_mut(&id);
        if let Some((file, token)) = runtime.and_then(|runtime| runtime.group_watch.take()) {
            self.sources.remove(self.poll.registry(), &file, token);
        }
    }

    /// After a sweep: services whose last end no `cgroup.events` tells, for want of a group or of v2.
    pub(super) fn recheck_without_groups(&mut self) {
        let waiting: Vec<ServiceId> = self
            .runtimes
            .iter()
            .filter(|(_, runtime)| runtime.group_watch.is_none())
            .filter(|(_, runtime)| {
                let is_at_rest = runtime.main.is_none() && !runtime.leases.is_empty();
                runtime.awaits_empty || is_at_rest
            })
            .map(|(id, _)| *id)
            .collect();
        for id in waiting {
            self.recheck_empty(id);
        }
    }

    fn find_main(&mut self, id: ServiceId) {
        let Some(service) = self.supervisor.service(id) else {
            return;
        };
        let Ready::Forking { pid_file } = service.unit().ready.clone() else {
            return;
        };
        let Some(runtime) = self.runtimes.get(&id) else {
            return;
        };
        let members = group::members(id, runtime, &self.processes);
        let found = match &pid_file {
            Some(path) => match plain_file::read_text(path, PID_FILE_LONGEST) {
                Ok(text) => match text.trim().parse::<i32>() {
                    Ok(pid) if members.contains(&pid) => Ok(pid),
                    Ok(pid) => Err(format!(
                        "{} names process {pid}, which the service did not start",
                        path.display()
                    )),
                    Err(_) => Err(format!("{} holds no process number", path.display())),
                },
                Err(error) => Err(format!("cannot read {}: {error}", path.display())),
            },
            // Without a file: the only one, or the eldest.
            None => members
                .iter()
                .min()
                .copied()
                .ok_or_else(|| "no process is left".to_owned()),
        };
        match found {
            Ok(pid) => {
                if let Err(why) = self.adopt(id, pid) {
                    self.tell(id, Input::MainMissing { why: why.into() });
                }
            }
            Err(why) => self.tell(id, Input::MainMissing { why: why.into() }),
        }
    }

    /// Takes a process of the service as its main one. That it belongs to the service is checked
    /// once it is pinned, so no other can take its number in between.
    pub(super) fn adopt(&mut self, id: ServiceId, pid: i32) -> Result<(), String> {
        if let Some(run) = self.processes.run_of(pid) {
            if let Some(runtime) = self.runtimes.get_mut(&id) {
                runtime.main = Some(run);
            }
            self.tell(id, Input::MainMoved { run, pid: Pid(pid) });
            return Ok(());
        }
        let pidfd = pin(pid).ok_or_else(|| format!("process {pid} is gone"))?;
        let Some(runtime) = self.runtimes.get(&id) else {
            return Err("the unit is gone".into());
        };
        if !group::members(id, runtime, &self.processes).contains(&pid) {
            return Err(format!("process {pid} is not the service's own"));
        }
        let run = self.adopted_run();
        let token = self
            .sources
            .add(
                self.poll.registry(),
                &pidfd,
                Source::Process(run),
                Interest::READABLE,
            )
            .map_err(|error| error.to_string())?;
        let process = Process {
            service: id,
            task: Task::Adopted,
            pid,
            pidfd,
            token,
            status: None,
            stage: Stage::Executed,
            inner: None,
            report: None,
        };
        self.processes.insert(run, process);
        if let Some(runtime) = self.runtimes.get_mut(&id) {
            runtime.main = Some(run);
            runtime.is_empty = false;
        }
        self.tell(id, Input::MainMoved { run, pid: Pid(pid) });
        Ok(())
    }

    /// Numbers of adopted runs come from the other half than the supervisor's.
    fn adopted_run(&mut self) -> RunId {
        self.adopted += 1;
        RunId(1 << 63 | self.adopted)
    }

    fn cancel_probe(&mut self, id: ServiceId, run: RunId) {
        self.forget_probe(run);
        match self.processes.get(run) {
            Some(process) if process.service == id => send(&process.pidfd, units::Signal::KILL),
            Some(_) => {}
            None => self.call_off_run(run),
        }
    }

    fn release(&mut self, id: ServiceId, again: bool) {
        self.forget_ready_fd(id);
        self.give_back_at_rest(id);
        let preserve = self.supervisor.service(id).and_then(|service| {
            service
                .unit()
                .surroundings
                .as_ref()
                .map(|around| around.runtime_directory_preserve)
        });
        let keep_directories = match preserve.unwrap_or_default() {
            Preserve::Yes => true,
            Preserve::Restart => again,
            Preserve::No => again,
        };
        if !keep_directories {
            self.remove_runtime_directories(id);
        }
        if again {
            return;
        }
        self.forget_memory_watch(id);
        let Some(runtime) = self.runtimes.get_mut(&id) else {
            return;
        };
        runtime.stored.clear();
        runtime.sessions.clear();
        runtime.invocation.clear();
        runtime.awaits_empty = false;
        // What `kill_mode` left alive has its network until the last of it has gone.
        let keeps_network = !runtime.leases.is_empty();
        self.release_identity(id);
        if !keeps_network {
            self.forget_group_watch(id);
        }
        let Some(runtime) = self.runtimes.get_mut(&id) else {
            return;
        };
        let Some(plan) = runtime.group.as_ref().filter(|_| runtime.group_exists) else {
            return;
        };
        match cgroup::remove(plan) {
            Ok(cgroup::Removal::Removed) => {
                runtime.group_exists = false;
                runtime.group_killed = false;
            }
            // kill_mode left somebody alive: the group stays theirs.
            Ok(cgroup::Removal::Busy(_)) => {}
            Err(error) => {
                let text = format!("{}: {}", runtime.name, reason(&error));
                self.note(&text);
            }
        }
    }

    fn remove_runtime_directories(&mut self, id: ServiceId) {
        let Some(runtime) = self.runtimes.get_mut(&id) else {
            return;
        };
        if !std::mem::take(&mut runtime.owns_runtime_directories) {
            return;
        }
        let Some(service) = self.supervisor.service(id) else {
            return;
        };
        let Some(around) = service.unit().surroundings.as_ref() else {
            return;
        };
        let own = around
            .directories
            .iter()
            .filter(|dir| dir.kind == DirectoryKind::Runtime);
        let paths: Vec<_> = own
            .map(|dir| prepare::directory_path(dir, &self.surface))
            .collect();
        for path in paths {
            match std::fs::remove_dir_all(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    self.note(&format!("cannot remove {}: {error}", path.display()));
                }
                _ => {}
            }
        }
    }

    fn forget(&mut self, id: ServiceId) {
        let Some(runtime) = self.runtimes.remove(&id) else {
            return;
        };
        self.announce_gone(&runtime.name);
        for (capture, token) in &runtime.outputs {
            self.sources.remove(self.poll.registry(), capture, *token);
        }
    }

    pub(super) fn watch_memory(&mut self, id: ServiceId) {
        let Some(runtime) = self.runtimes.get_mut(&id) else {
            return;
        };
        let Some(plan) = runtime.group.as_ref().filter(|_| runtime.group_exists) else {
            return;
        };
        if runtime.memory_watch.is_some() {
            return;
        }
        runtime.oom_kills = cgroup::oom_kills(plan).ok().flatten().unwrap_or(0);
        let Ok(Some(watch)) = cgroup::watch_oom(plan) else {
            return;
        };
        let interest = match &watch {
            cgroup::OomWatch::V2(_) => Interest::PRIORITY,
            cgroup::OomWatch::V1(_) => Interest::READABLE,
        };
        let added = self
            .sources
            .add(self.poll.registry(), &watch, Source::Memory(id), interest);
        if let Ok(token) = added {
            runtime.memory_watch = Some((watch, token));
        }
    }

    fn forget_memory_watch(&mut self, id: ServiceId) {
        if let Some((watch, token)) = self
            .runtimes
            .get_mut(&id)
            .and_then(|r| r.memory_watch.take())
        {
            self.sources.remove(self.poll.registry(), &watch, token);
        }
    }

    /// Tells the supervisor when the kernel has killed a process of the service for its memory.
    pub(super) fn check_memory(&mut self, id: ServiceId) {
        self.look_at_memory(id, MEMORY_LOOKS);
    }

    /// v1 announces a kill before it counts it, so one that is announced is looked for a few times.
    pub(super) fn look_at_memory(&mut self, id: ServiceId, left: u32) {
        let mut announced = left < MEMORY_LOOKS;
        let Some(runtime) = self.runtimes.get_mut(&id) else {
            return;
        };
        if let Some((watch, _)) = &runtime.memory_watch {
            let mut bytes = [0_u8; 256];
            // Takes the eventfd's count, or re-arms the file; either says nothing by itself.
            match watch {
                cgroup::OomWatch::V1(fd) => {
                    let read = rustix::io::read(fd, bytes.get_mut(..8).unwrap_or_default());
                    announced |= read.is_ok();
                }
                cgroup::OomWatch::V2(file) => drop(rustix::io::pread(file, &mut bytes, 0).ok()),
            }
        }
        let Some(plan) = runtime.group.clone() else {
            return self.look_at_own_memory(id, left);
        };
        let kills = cgroup::oom_kills(&plan).ok().flatten().unwrap_or(0);
        if kills > runtime.oom_kills {
            runtime.oom_kills = kills;
            let name = runtime.name.clone();
            let limits = self
                .supervisor
                .service(id)
                .and_then(|service| service.unit().limits.as_ref());
            let where_at = match limits.is_some_and(|limits| limits.cgroup.memory.is_some()) {
                true => "at its limit",
                // The group counts whatever the cause.
                false => "for want of it on the machine or in a group above",
            };
            let text = format!("out of memory: the kernel killed a process {where_at}");
            self.say(&name, &text);
            // v1 cannot take the whole group down by itself.
            if plan.oom_group == cgroup::OomGroup::Herd {
                self.kill_all(id, units::Signal::KILL);
            }
            self.tell(id, Input::OutOfMemory);
        } else if announced {
            self.look_at_memory_again(id, left);
        }
    }

    fn look_at_memory_again(&mut self, id: ServiceId, left: u32) {
        if left > 0 {
            let wait = std::time::Duration::from_millis(2) * (1 << (MEMORY_LOOKS - left));
            self.memory_again.push((clock::now() + wait, id, left - 1));
        }
    }

    /// For a service without a group of its own, whose main process was killed: whether that may have been for want of
    /// memory in the group of all, a container's as a rule. The kernel does not say, so it is a word in the log alone.
    fn look_at_own_memory(&mut self, id: ServiceId, left: u32) {
        let kills = cgroup::own_oom_kills(&self.host.cgroups).unwrap_or(0);
        if !self.own_kills.may_be_one(kills, clock::now()) {
            if self.host.cgroups.v1.contains_key("memory") {
                self.look_at_memory_again(id, left);
            }
            return;
        }
        let whose = match self.place.is_container() {
            true => "the container's",
            false => "the machine's or its group's",
        };
        if let Some(name) = self.name(id) {
            let text =
                format!("perhaps out of memory: the kernel killed a process at {whose} limit");
            self.say(&name, &text);
        }
    }

    pub(super) fn speaks_notify(&self, id: ServiceId) -> bool {
        self.supervisor
            .service(id)
            .is_some_and(|s| prepare::speaks_notify(s.unit()))
    }

    fn note_ending(&mut self, because_of: Option<ServiceId>) {
        let why = match because_of.and_then(|id| self.name(id)) {
            Some(name) => format!("{name} has ended"),
            None if self.supervisor.services().next().is_some() => {
                "nothing is left to run".to_owned()
            }
            None => match &self.options.search.enabled {
                Some(directory) => format!("{} has no unit to run", directory.display()),
                None => "there is no unit to run".to_owned(),
            },
        };
        self.note(&format!("{why}; stopping everything in order"));
        self.manager.stopping();
    }

    pub(super) fn shutdown_event(&mut self, force: bool) {
        self.manager.stopping();
        self.inbox.push_back(if force {
            Event::ShutdownNow
        } else {
            Event::Shutdown
        });
    }
}

const KILL_PASSES: u32 = 100;

pub(super) fn pin(pid: i32) -> Option<std::os::fd::OwnedFd> {
    let pid = KernelPid::from_raw(pid)?;
    rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok()
}

/// A process that has ended meanwhile needs no signal.
pub(super) fn send(pidfd: impl AsFd, signal: units::Signal) {
    if let Some(kernel) = KernelSignal::from_named_raw(signal.as_number()) {
        rustix::process::pidfd_send_signal(pidfd, kernel).ok();
    }
}

fn needs_wake(signal: units::Signal) -> bool {
    signal != units::Signal::KILL && signal != units::Signal::CONT
}

fn wake(pidfd: impl AsFd, signal: units::Signal) {
    if needs_wake(signal) {
        send(pidfd, units::Signal::CONT);
    }
}
