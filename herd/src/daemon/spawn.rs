//! `Action::Spawn` and command probes: a unit's command becomes a process.
#![forbid(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use mio::Interest;
use rustix::fs::OFlags;
use sandbox::Plan;
use sandbox::cgroup::{self, CgroupPlan};
use sandbox::config::{CgroupLimits, CgroupName, Resource, Rlimit};
use units::Unit;
use units::unit::{Input as Stdin, LogTarget, Output, Surroundings};

use super::launches::{Job, NotStarted};
use super::runtime::{Expected, ProbeKind, RunningProbe, Task, result_of};
use super::sources::Source;
use super::{Daemon, paths, reason};
use crate::advice::advice;
use crate::logs::{Capture, capture};
use crate::prepare::{self, Occasion, Prepared};
use crate::supervisor::action::{Purpose, Role};
use crate::supervisor::{Input, RunId, ServiceId, ending};

impl Daemon {
    pub(super) fn spawn(&mut self, id: ServiceId, run: RunId, role: Role) {
        self.start_run(id, run, Task::Role(role));
    }

    /// Starts a process as soon as there is room for its launch.
    fn start_run(&mut self, service: ServiceId, run: RunId, task: Task) {
        self.processes.expect(run, Expected { service, task });
        self.postponed.push_back(run);
        self.start_postponed();
    }

    /// What a launch needs is prepared when it is about to begin: a thousand plans at once are megabytes.
    pub(super) fn start_postponed(&mut self) {
        while self.launches.has_room()
            && let Some(run) = self.postponed.pop_front()
        {
            let Some(Expected { service, task }) = self.processes.expected(run) else {
                continue;
            };
            if let Err(why) = self.try_spawn(service, run, task) {
                let code = ending::NOT_STARTED;
                self.not_started(run, NotStarted { why, code });
            }
        }
    }

    pub(super) fn start_probe(&mut self, id: ServiceId, run: RunId, purpose: Purpose) {
        use super::probes::Connection;
        use units::unit::{Probe, Ready};
        let Some(unit) = self.unit(id) else { return };
        let probe = match (purpose, &unit.ready, &unit.health) {
            (Purpose::Readiness, Ready::Probe(probe), _) => probe.probe.clone(),
            (Purpose::Health, _, Some(health)) => health.check.probe.clone(),
            _ => return,
        };
        let result = match &probe {
            Probe::Command(_) => {
                let probe = RunningProbe {
                    service: id,
                    kind: ProbeKind::Process,
                };
                self.probes.insert(run, probe);
                return self.start_run(id, run, Task::Probe(purpose));
            }
            _ => match self.probe_network(&unit).and_then(|network| {
                let network = network.as_ref().map(AsFd::as_fd);
                Connection::open(&probe, network)
            }) {
                Ok(None) => Ok(()),
                Ok(Some(connection)) => {
                    let interest = Interest::READABLE | Interest::WRITABLE;
                    let registry = self.poll.registry();
                    match self
                        .sources
                        .add(registry, &connection, Source::Probe(run), interest)
                    {
                        Ok(token) => {
                            let kind = ProbeKind::Connection(connection, token);
                            self.probes.insert(run, RunningProbe { service: id, kind });
                            return self.continue_probe(run);
                        }
                        Err(error) => Err(reason(&error)),
                    }
                }
                Err(why) => Err(why),
            },
        };
        self.tell(id, Input::Probed { run, result });
    }

    pub(super) fn unit(&self, id: ServiceId) -> Option<Arc<Unit>> {
        self.supervisor
            .service(id)
            .map(|service| Arc::clone(service.unit()))
    }

    fn try_spawn(&mut self, id: ServiceId, run: RunId, task: Task) -> Result<(), Arc<str>> {
        let unit = self.unit(id).ok_or("the unit is gone")?;
        let is_main = task == Task::Role(Role::Main);
        let (mut prepared, namespaces) = self.prepare(id, &unit, task)?;
        if starts_frozen(&unit) && prepared.config.cgroup.is_none() {
            return Err(format!("limits.freeze: {}", super::freeze::NO_GROUP).into());
        }
        self.add_open_files(&mut prepared);
        if !self.host.is_root && wants_network(&prepared.config) {
            self.host.look_for_programs();
        }
        let plan = sandbox::compile_with(&prepared.config, &self.host, &mut self.filters).map_err(
            |error| {
                let why = reason(&error);
                // It costs several plans, and is told once: not at each turn of a crash loop.
                if let Some(runtime) = self.runtimes.get_mut(&id)
                    && runtime.advised_on.as_ref() != Some(&why)
                {
                    runtime.advice = advice(&error, &prepared.config, &self.host, &self.place);
                    runtime.advised_on = Some(Arc::clone(&why));
                }
                why
            },
        )?;
        if is_main {
            let given_up: Vec<(String, String)> = plan
                .warnings()
                .iter()
                .map(|wall| (wall.wall.to_string(), wall.reason.clone()))
                .collect();
            if let Some(runtime) = self.runtime(id) {
                // Told once, not at each turn of a crash loop.
                let is_new = runtime.given_up != given_up;
                runtime.given_up.clone_from(&given_up);
                if is_new && let Some(name) = self.name(id) {
                    for (wall, reason) in &given_up {
                        self.say(&name, &format!("goes without {wall}: {reason}"));
                    }
                }
            }
        }
        if let Some(runtime) = self.runtimes.get_mut(&id) {
            runtime.is_empty = false;
        }
        self.takes_network(id, run, task, &prepared.config);
        self.wake_for_launch(id)?;
        self.replace_used_group(id, run);
        self.step_aside(&plan)?;
        let none = Surroundings::default();
        let around = unit.surroundings.as_deref().unwrap_or(&none);
        let stdin = self
            .stdin(around)?
            .map_or_else(|| Arc::clone(&self.null), Arc::new);
        let (stdout, stderr) = self.outputs(id, &unit, around)?;
        let stdout = stdout.map_or_else(|| Arc::clone(&self.null), Arc::new);
        let stderr = stderr.map_or_else(|| Arc::clone(&stdout), Arc::new);
        let mut passed: Vec<(u32, Arc<OwnedFd>)> = Vec::new();
        if let Some(runtime) = self.runtimes.get(&id).filter(|_| is_main) {
            let stored = runtime.stored.iter().map(|stored| Arc::clone(&stored.fd));
            passed.extend((3..).zip(stored));
        }
        for number in &prepared.inherit_fds {
            let inherited = self
                .inherited
                .get(number)
                .ok_or_else(|| format!("herd was not started with a descriptor {number}"))?;
            passed.push((*number, Arc::clone(inherited)));
        }
        if let Some(number) = prepared.ready_fd {
            let (read, write) = capture::pipe().map_err(|e| reason(&e))?;
            passed.push((number, Arc::new(write)));
            self.watch_ready_fd(id, read)?;
        }
        let Some(runtime) = self.runtimes.get_mut(&id) else {
            return Err("the unit is gone".into());
        };
        if let Some(group) = plan.cgroup() {
            runtime.group = Some(group.clone());
            runtime.group_exists = true;
        }
        runtime.uid = prepared.config.identity.uid.or(runtime.uid);
        runtime.owns_runtime_directories |= !around.directories.is_empty();
        self.launches.ask(Job {
            run,
            plan,
            stdin,
            stdout,
            stderr,
            passed,
            held: namespaces,
        });
        Ok(())
    }

    fn prepare(
        &mut self,
        id: ServiceId,
        unit: &Unit,
        task: Task,
    ) -> Result<(Prepared, Vec<OwnedFd>), Arc<str>> {
        self.refresh_users();
        let is_main = task == Task::Role(Role::Main);
        let first = matches!(
            task,
            Task::Role(Role::Condition(0) | Role::Pre(0) | Role::Main)
        );
        let result = self.supervisor.service(id).map(result_of);
        let main_pid = self
            .supervisor
            .service(id)
            .and_then(|s| s.state().main())
            .map(|m| m.pid.0);
        let invocation = new_invocation(self.mark.as_deref());
        let slices = self.slice_limits(unit);
        let runtime = self.runtime(id).ok_or("the unit is gone")?;
        if first && (is_main || runtime.invocation.is_empty()) {
            runtime.invocation = invocation;
        }
        let ends = matches!(task, Task::Role(Role::Stop(_) | Role::StopPost(_)));
        self.allot(id, unit)?;
        let (network, namespaces) = self.network_occasion(id, unit, task)?;
        let runtime = self.runtime(id).ok_or("the unit is gone")?;
        let occasion = Occasion {
            main_pid: main_pid.filter(|_| !is_main),
            result: result.filter(|_| ends),
            listen_names: match is_main {
                true => runtime
                    .stored
                    .iter()
                    .map(|stored| stored.name.clone())
                    .collect(),
                false => Vec::new(),
            },
            invocation: runtime.invocation.clone(),
            dynamic_user: runtime.dynamic_user.as_ref().map(|of| of.number),
            range: runtime.range.as_ref().map(|of| of.number),
            slices,
            network,
        };
        let prepared = match task {
            Task::Role(role) => prepare::prepare(unit, role, &self.users, &self.surface, &occasion),
            Task::Probe(purpose) => {
                let command = probe_command(unit, purpose).ok_or("has no probe command")?;
                prepare::prepare_command(
                    unit,
                    false,
                    command,
                    &self.users,
                    &self.surface,
                    &occasion,
                )
            }
            Task::Adopted => return Err("an adopted process is not started".into()),
        };
        Ok((prepared.map_err(|error| reason(&error))?, namespaces))
    }

    /// Before controllers are handed out that no service has by itself.
    fn step_aside(&mut self, plan: &Plan) -> Result<(), Arc<str>> {
        if self.is_aside || !plan.cgroup().is_some_and(CgroupPlan::hands_out) {
            return Ok(());
        }
        cgroup::step_aside(&self.host).map_err(|error| reason(&error))?;
        self.is_aside = true;
        Ok(())
    }

    /// What targets that herd knows say of the slices above the unit.
    pub(super) fn slice_limits(&self, unit: &Unit) -> Vec<(CgroupName, CgroupLimits)> {
        prepare::slice_limits(unit, |slice| {
            let name = units::UnitName::new(slice).ok()?;
            let id = self.supervisor.id(&name)?;
            prepare::limits_of_target(self.supervisor.service(id)?.unit())
        })
    }

    /// herd raised its own soft limit; its services get the one it was started with.
    fn add_open_files(&self, prepared: &mut Prepared) {
        let rlimits = &mut prepared.config.limits.rlimits;
        if !rlimits
            .iter()
            .any(|limit| limit.resource == Resource::OpenFiles)
        {
            let (soft, hard) = self.open_files;
            let limit = Rlimit {
                resource: Resource::OpenFiles,
                soft: Some(soft),
                hard: Some(hard),
            };
            rlimits.push(limit);
        }
    }

    fn stdin(&self, around: &Surroundings) -> Result<Option<OwnedFd>, Arc<str>> {
        match &around.stdin {
            Stdin::Null => Ok(None),
            Stdin::File(path) => open(path, OFlags::RDONLY).map(Some),
            Stdin::Tty => {
                let path = around.tty.clone().unwrap_or_else(|| "/dev/console".into());
                open(&path, OFlags::RDWR).map(Some)
            }
            Stdin::Data(bytes) => {
                let flags = rustix::fs::MemfdFlags::CLOEXEC;
                let fd = rustix::fs::memfd_create("stdin", flags).map_err(|e| reason(&e))?;
                let mut file = std::fs::File::from(fd);
                io::Write::write_all(&mut file, bytes).map_err(|e| reason(&e))?;
                io::Seek::rewind(&mut file).map_err(|e| reason(&e))?;
                Ok(Some(file.into()))
            }
        }
    }

    /// Where stdout and stderr go; no stderr of its own follows stdout.
    fn outputs(
        &mut self,
        id: ServiceId,
        unit: &Unit,
        around: &Surroundings,
    ) -> Result<(Option<OwnedFd>, Option<OwnedFd>), Arc<str>> {
        let stdout = self.output(id, unit, around, &around.stdout)?;
        let stderr = match &around.stderr {
            same if *same == around.stdout => None,
            Output::Null => Some(self.null.try_clone().map_err(|e| reason(&e))?),
            Output::Log if around.stdout == Output::Log => None,
            other => self.output(id, unit, around, other)?,
        };
        Ok((stdout, stderr))
    }

    fn output(
        &mut self,
        id: ServiceId,
        unit: &Unit,
        around: &Surroundings,
        output: &Output,
    ) -> Result<Option<OwnedFd>, Arc<str>> {
        let target = unit.log.as_ref().map_or(LogTarget::File, |log| log.target);
        let inherit = || {
            rustix::stdio::stdout()
                .try_clone_to_owned()
                .map_err(|e| reason(&e))
        };
        match output {
            Output::Log if target == LogTarget::Inherit => inherit().map(Some),
            Output::Log if target == LogTarget::Null => Ok(None),
            Output::Log => self.capture(id).map(Some),
            Output::Null => Ok(None),
            Output::Inherit => inherit().map(Some),
            Output::Tty => {
                let path = around.tty.clone().unwrap_or_else(|| "/dev/console".into());
                open(&path, OFlags::RDWR).map(Some)
            }
            Output::File(path) => open(path, OFlags::WRONLY | OFlags::CREATE).map(Some),
            Output::Append(path) => {
                open(path, OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE).map(Some)
            }
            Output::Truncate(path) => {
                open(path, OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC).map(Some)
            }
        }
    }

    fn capture(&mut self, id: ServiceId) -> Result<OwnedFd, Arc<str>> {
        let (read, write) = capture::pipe().map_err(|e| reason(&e))?;
        let name = self.name(id).ok_or("the unit is gone")?;
        let registry = self.poll.registry();
        let token = self
            .sources
            .add(registry, &read, Source::Output(id), Interest::READABLE)
            .map_err(|e| reason(&e))?;
        // Without it the service waits at its full pipe should this process crash, which is no reason not to start it.
        sandbox::read_on_after_crash(&read).ok();
        let runtime = self.runtime(id).ok_or("the unit is gone")?;
        runtime.outputs.push((Capture::new(read, name), token));
        Ok(write)
    }

    fn watch_ready_fd(&mut self, id: ServiceId, read: OwnedFd) -> Result<(), Arc<str>> {
        self.forget_ready_fd(id);
        let registry = self.poll.registry();
        let token = self
            .sources
            .add(registry, &read, Source::ReadyFd(id), Interest::READABLE)
            .map_err(|e| reason(&e))?;
        if let Some(runtime) = self.runtimes.get_mut(&id) {
            runtime.ready_fd = Some((read, token));
        }
        Ok(())
    }

    pub(super) fn forget_ready_fd(&mut self, id: ServiceId) {
        if let Some((fd, token)) = self.runtimes.get_mut(&id).and_then(|r| r.ready_fd.take()) {
            self.sources.remove(self.poll.registry(), &fd, token);
        }
    }

    /// The newline that says "ready"; the end of the pipe without one says nothing.
    pub(super) fn read_ready_fd(&mut self, id: ServiceId) {
        use crate::supervisor::event::Notice;
        let Some((fd, _)) = self.runtimes.get(&id).and_then(|r| r.ready_fd.as_ref()) else {
            return;
        };
        let mut bytes = [0_u8; 256];
        loop {
            match rustix::io::read(fd, &mut bytes) {
                Ok(0) => return self.forget_ready_fd(id),
                Ok(count) => {
                    if bytes.get(..count).is_some_and(|read| read.contains(&b'\n')) {
                        self.forget_ready_fd(id);
                        return self.tell(id, Input::Notified(Notice::Ready));
                    }
                }
                Err(rustix::io::Errno::AGAIN) => return,
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => return self.forget_ready_fd(id),
            }
        }
    }

    fn refresh_users(&mut self) {
        let stamp = std::fs::metadata("/etc/passwd").ok().map(|meta| {
            use std::os::unix::fs::MetadataExt;
            (meta.mtime(), meta.mtime_nsec(), meta.ino())
        });
        if stamp == self.users_stamp && stamp.is_some() {
            return;
        }
        match crate::users::Users::read() {
            Ok(users) => {
                self.users = users;
                self.users_stamp = stamp;
            }
            Err(error) => self.note(&format!("{}; the users known before stay", reason(&error))),
        }
    }
}

fn wants_network(config: &sandbox::Config) -> bool {
    let walls = config.walls.as_ref();
    walls.is_some_and(|walls| walls.network.as_private().is_some())
}

pub(super) fn starts_frozen(unit: &Unit) -> bool {
    unit.placement
        .as_ref()
        .is_some_and(|placement| placement.freeze)
}

fn probe_command(unit: &Unit, purpose: Purpose) -> Option<&units::unit::Command> {
    use units::unit::{Probe, Ready};
    let probe = match (purpose, &unit.ready, &unit.health) {
        (Purpose::Readiness, Ready::Probe(probe), _) => &probe.probe,
        (Purpose::Health, _, Some(health)) => &health.check.probe,
        _ => return None,
    };
    match probe {
        Probe::Command(command) => Some(command),
        Probe::Tcp(_) | Probe::Http(_) | Probe::Unix(_) | Probe::Path(_) => None,
    }
}

fn open(path: &std::path::Path, flags: OFlags) -> Result<OwnedFd, Arc<str>> {
    paths::open(path, flags)
        .map_err(|error| format!("cannot open {}: {error}", path.display()).into())
}

/// 128 random bits as `sd_id128_to_string(3)` writes them, or 64 and a mark.
pub(super) fn new_invocation(mark: Option<&str>) -> String {
    let mut bytes = [0_u8; 16];
    let mut id = match rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::NONBLOCK) {
        Ok(16) => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
        _ => format!("{:032x}", super::clock::now().as_micros()),
    };
    if let Some(mark) = mark {
        let half = id.len() - mark.len();
        // Of a clock the last digits differ.
        id = format!("{}{mark}", id.split_off(half));
    }
    id
}
