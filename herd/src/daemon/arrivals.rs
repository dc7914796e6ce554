//! What became of launches: the process is there, its box has moved, it runs its program, or it never came to that.
#![forbid(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use mio::{Interest, Token};
use sandbox::Launched;
use sandbox::status::{self, Message};

use super::launches::{Done, NotStarted, code_of};
use super::perform::send;
use super::runtime::{Expected, Inner, Process, Stage, Task, exit_status};
use super::sources::Source;
use super::spawn::starts_frozen;
use super::{Daemon, reason};
use crate::supervisor::action::Role;
use crate::supervisor::{Input, Pid, RunId, ServiceId};

impl Daemon {
    /// A launch that was asked for came to nothing.
    pub(super) fn not_started(&mut self, run: RunId, failure: NotStarted) {
        let Some(Expected { service: id, task }) = self.processes.take_expected(run) else {
            return;
        };
        let NotStarted { why, code } = failure;
        self.network_of_run_ends(id, run);
        match task {
            Task::Role(role) => {
                if role != Role::Main
                    && let Some(name) = self.name(id)
                {
                    self.say(&name, &format!("{}: {why}", super::reaper::key_of(role)));
                }
                self.tell(id, Input::SpawnFailed { run, why, code });
            }
            Task::Probe(_) | Task::Adopted => self.probe_over(run, Err(why)),
        }
        // It may have been what the supervisor waits for the end of.
        if self.runtimes.get(&id).is_some_and(|have| have.awaits_empty) {
            self.recheck_empty(id);
        }
    }

    /// Launches are over.
    pub(super) fn hear_launches(&mut self) {
        for Done { run, result } in self.launches.take_done() {
            let taken_up = result.and_then(|launched| self.take_up(run, launched));
            if let Err(failure) = taken_up {
                self.not_started(run, failure);
            }
            self.sweep_for_launch();
        }
        self.start_postponed();
        self.launches_told = true;
    }

    /// The process of this run is there: a bare one runs its program, of another the status channel will tell.
    fn take_up(&mut self, run: RunId, launched: Launched) -> Result<(), NotStarted> {
        let Launched { pid, pidfd, status } = launched;
        let Some(Expected { service: id, task }) = self.processes.expected(run) else {
            send(&pidfd, units::Signal::KILL);
            return Ok(());
        };
        let watched = self.watch_process(run, &pidfd, status);
        let (token, status) = watched.map_err(|error| {
            send(&pidfd, units::Signal::KILL);
            NotStarted::from(format!("cannot watch it: {error}"))
        })?;
        self.processes.take_expected(run);
        let executed = status.is_none();
        let process = Process {
            service: id,
            task,
            pid,
            pidfd,
            token,
            status,
            stage: if executed {
                Stage::Executed
            } else {
                Stage::Building
            },
            inner: None,
            report: None,
        };
        let is_main = task == Task::Role(Role::Main);
        if let Some(runtime) = self.runtimes.get_mut(&id) {
            runtime.sessions.push(pid);
            if is_main {
                runtime.main = Some(run);
            }
        }
        if matches!(task, Task::Probe(_)) && !self.probes.contains_key(&run) {
            // It was called off.
            send(&process.pidfd, units::Signal::KILL);
        }
        self.processes.insert(run, process);
        match executed {
            true => self.has_executed(id, run, task, pid),
            false => self.tell_frozen(id),
        }
        Ok(())
    }

    fn watch_process(
        &mut self,
        run: RunId,
        pidfd: &OwnedFd,
        status: Option<OwnedFd>,
    ) -> io::Result<(Token, Option<(OwnedFd, Token)>)> {
        let interest = Interest::READABLE;
        let registry = self.poll.registry();
        let source = Source::Process(run);
        let token = self.sources.add(registry, pidfd, source, interest)?;
        let Some(status) = status else {
            return Ok((token, None));
        };
        let source = Source::Status(run);
        match self.sources.add(registry, &status, source, interest) {
            Ok(of_status) => Ok((token, Some((status, of_status)))),
            Err(error) => {
                self.sources.remove(registry, pidfd, token);
                Err(error)
            }
        }
    }

    /// What a launch reports through its status channel. Reads all there is.
    pub(super) fn hear_launch(&mut self, run: RunId) {
        self.launches_told = true;
        loop {
            let Some(process) = self.processes.get(run) else {
                return;
            };
            let Some((fd, _)) = &process.status else {
                return;
            };
            let message = match status::receive(fd.as_fd()) {
                Ok(Some(message)) => message,
                Ok(None) => return,
                Err(error) => {
                    self.note(&format!("cannot read a launch's status: {error}"));
                    return self.forget_status(run);
                }
            };
            match message {
                Message::Failed(failure) => {
                    self.launch_failed(run, &reason(&failure), code_of(&failure));
                }
                Message::Executing => {
                    if let Some(process) = self.processes.get_mut(run) {
                        process.stage = Stage::Executing;
                    }
                }
                Message::Executed => self.launched(run),
                Message::Moved {
                    pid,
                    pidfd,
                    main_pid,
                    main_pidfd,
                } => {
                    self.moved(
                        run,
                        pid,
                        pidfd,
                        Inner {
                            pid: main_pid,
                            pidfd: main_pidfd,
                        },
                    );
                    // `Executed` follows, but the box may have ended before we look again.
                    self.launched(run);
                }
                Message::Main { pid, pidfd } => {
                    let pidfd = Some(pidfd);
                    if let Some(process) = self.processes.get_mut(run) {
                        process.inner = Some(Inner { pid, pidfd });
                    }
                }
                // No service has a terminal's foreground.
                Message::Stopped(_) => {}
                // No service is held at a gate: nobody here has to look at it first.
                Message::AtGate { .. } => {
                    if let Err(error) = status::let_go(fd.as_fd()) {
                        self.note(&format!("cannot let a box go: {error}"));
                    }
                }
                Message::Exited(status) => self.main_reported(run, status),
                Message::Closed => {
                    // An executor that becomes the service itself says nothing more. One that has
                    // not come so far has died: its end says how.
                    if process.stage == Stage::Executing {
                        self.launched(run);
                    }
                    return self.forget_status(run);
                }
            }
        }
    }

    fn main_reported(&mut self, run: RunId, status: std::process::ExitStatus) {
        use std::os::unix::process::ExitStatusExt;
        let status = match status.signal() {
            Some(signal) => exit_status(signal, true, status.core_dumped()),
            None => exit_status(status.code().unwrap_or(0), false, false),
        };
        if let Some(process) = self.processes.get_mut(run) {
            process.report = Some(status);
        }
    }

    fn launch_failed(&mut self, run: RunId, why: &Arc<str>, code: u8) {
        let Some(process) = self.processes.get_mut(run) else {
            return;
        };
        process.stage = Stage::Failed;
        let (id, task) = (process.service, process.task);
        self.conclude(run);
        match task {
            Task::Probe(_) => self.probe_over(run, Err(Arc::clone(why))),
            Task::Role(_) | Task::Adopted => {
                self.tell(
                    id,
                    Input::SpawnFailed {
                        run,
                        why: Arc::clone(why),
                        code,
                    },
                );
            }
        }
    }

    fn launched(&mut self, run: RunId) {
        let Some(process) = self.processes.get_mut(run) else {
            return;
        };
        if std::mem::replace(&mut process.stage, Stage::Executed) == Stage::Executed {
            return;
        }
        let (id, pid, task) = (process.service, process.main_pid(), process.task);
        // The box stands, and needs the processor no longer.
        self.launches.make_spares();
        self.conclude(run);
        self.has_executed(id, run, task, pid);
    }

    /// The program runs, in its group: an executor makes that itself, and before this there was none to watch.
    fn has_executed(&mut self, id: ServiceId, run: RunId, task: Task, pid: i32) {
        if task == Task::Role(Role::Main) {
            self.watch_memory(id);
            self.mark_group(id, pid);
            self.freeze_at_start(id);
        }
        if !matches!(task, Task::Probe(_)) {
            self.tell(id, Input::Spawned { run, pid: Pid(pid) });
        }
        self.tell_frozen(id);
    }

    /// A service that was frozen before it was active is told of again now that it may be.
    fn tell_frozen(&mut self, id: ServiceId) {
        if self.runtimes.get(&id).is_some_and(|r| r.is_frozen) {
            self.tell(id, Input::Frozen(true));
        }
    }

    /// Writes onto the service's group who its main process is, where a herd that comes back will
    /// look: it lives exactly as long as the group, and is one system call (`user.*` attributes of
    /// cgroup files, kernel 5.7).
    pub(super) fn mark_group(&self, id: ServiceId, main_pid: i32) {
        let Some(runtime) = self.runtimes.get(&id) else {
            return;
        };
        let Some(leaf) = runtime.group.as_ref().and_then(|plan| plan.v2_leaf()) else {
            return;
        };
        let value = format!("{main_pid} {}", runtime.invocation);
        // Nothing of today depends on it, and an older kernel has no such attributes.
        rustix::fs::setxattr(
            leaf,
            "user.herd.main",
            value.as_bytes(),
            rustix::fs::XattrFlags::empty(),
        )
        .ok();
    }

    fn freeze_at_start(&mut self, id: ServiceId) {
        if self.unit(id).is_some_and(|unit| starts_frozen(&unit))
            && let Err(why) = self.freeze(id)
            && let Some(name) = self.name(id)
        {
            // Rather not at all than running where it was to stand still.
            self.say(&name, &format!("limits.freeze: {why}"));
            self.kill_all(id, units::Signal::KILL);
        }
    }

    fn moved(&mut self, run: RunId, pid: i32, pidfd: OwnedFd, inner: Inner) {
        let source = Source::Process(run);
        let added = self
            .sources
            .add(self.poll.registry(), &pidfd, source, Interest::READABLE);
        let token = match added {
            Ok(token) => token,
            Err(error) => return self.note(&format!("cannot watch a box: {error}")),
        };
        let old_token = self.processes.get(run).map(|process| process.token);
        if let (Some(old), Some(old_token)) =
            (self.processes.move_to(run, pid, pidfd, token), old_token)
        {
            // The carrier has done its work; the sweep for orphans reaps it, unless it is the box's
            // first process itself.
            self.sources.remove(self.poll.registry(), &old, old_token);
        }
        let Some(process) = self.processes.get_mut(run) else {
            return;
        };
        process.inner = Some(inner);
        let id = process.service;
        if let Some(runtime) = self.runtimes.get_mut(&id) {
            runtime.sessions.push(pid);
        }
    }

    pub(super) fn forget_status(&mut self, run: RunId) {
        let status = self
            .processes
            .get_mut(run)
            .and_then(|process| process.status.take());
        if let Some((fd, token)) = status {
            self.sources.remove(self.poll.registry(), &fd, token);
        }
    }
}
