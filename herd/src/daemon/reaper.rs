//! The ends of processes: our own by their pidfd, everybody else's by a bounded sweep.
#![forbid(unsafe_code)]

use std::os::fd::AsFd;
use std::sync::Arc;

use rustix::process::{WaitId, WaitIdOptions, WaitIdStatus, waitid};

use super::probes::Progress;
use super::runtime::{ProbeKind, Process, Stage, Task, exit_status};
use super::{Daemon, clock};
use crate::supervisor::action::Role;
use crate::supervisor::ending::NOT_STARTED;
use crate::supervisor::event::ExitStatus;
use crate::supervisor::{Input, RunId, ServiceId};

/// Of 64 KiB each (`/proc/sys/fs/pipe-max-size` is 1 MiB).
const READINGS_AT_THE_END: usize = 16;
/// Orphans reaped in one go before the loop looks at everything else again.
const SWEEP_AT_MOST: usize = 4096;

impl Daemon {
    /// The pidfd of this run became readable.
    pub(super) fn reap(&mut self, run: RunId) {
        let Some(process) = self.processes.get(run) else {
            return;
        };
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        let status = match waitid(WaitId::PidFd(process.pidfd.as_fd()), options) {
            Ok(Some(status)) => words(&status),
            Ok(None) => return,
            // Not our child (a main process that the service named): the kernel keeps its status
            // for its own parent.
            Err(_) => ExitStatus::Unknown,
        };
        self.ended(run, status);
    }

    /// Reaps whoever is left: orphans that came to us as init or subreaper, and launchers whose work
    /// is done. One of ours that is met here is treated as if its pidfd had spoken.
    ///
    /// While a launch goes on, a child that nobody knows may be the box's first process, which has
    /// ended before we were told of it: it is left until the launch is concluded, or its end would
    /// be lost.
    pub(super) fn sweep(&mut self) {
        use nix::errno::Errno;
        use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
        let options = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG;
        for _ in 0..SWEEP_AT_MOST {
            let mut next = Id::All;
            if self.processes.any_is_launching() || self.processes.any_is_expected() {
                match waitid(Id::All, options | WaitPidFlag::WNOWAIT).map(|status| status.pid()) {
                    Ok(Some(pid)) if self.may_be_of_launch(pid.as_raw()) => {
                        self.has_left_child = true;
                        return self.recheck_without_groups();
                    }
                    Ok(Some(pid)) => next = Id::Pid(pid),
                    // Who ends from now on is told of by a signal of its own.
                    Ok(None) | Err(Errno::ECHILD) => return self.recheck_without_groups(),
                    Err(_) => {}
                }
            }
            let (pid, status) = match waitid(next, options) {
                Ok(WaitStatus::Exited(pid, code)) => (pid, exit_status(code, false, false)),
                Ok(WaitStatus::Signaled(pid, signal, core)) => {
                    (pid, exit_status(signal as i32, true, core))
                }
                Ok(_) | Err(Errno::ECHILD) => return self.recheck_without_groups(),
                // EINVAL: one that a real-time signal ended has been reaped, and has no name here.
                Err(Errno::EINTR | Errno::EINVAL) => continue,
                Err(errno) => return self.note(&format!("cannot reap: {errno}")),
            };
            if let Some(run) = self.processes.run_of(pid.as_raw()) {
                self.ended(run, status);
            }
        }
        self.sweep_at = Some(clock::now());
    }

    fn may_be_of_launch(&self, pid: i32) -> bool {
        self.processes.run_of(pid).is_none()
            && (self.processes.any_is_launching() || self.launches.may_be_launching(pid))
    }

    /// The executor of this run has told all.
    pub(super) fn conclude(&mut self, run: RunId) {
        if self.processes.conclude(run) {
            self.sweep_for_launch();
        }
    }

    /// A launch is over: what was left for its sake may be swept.
    pub(super) fn sweep_for_launch(&mut self) {
        if std::mem::take(&mut self.has_left_child) {
            self.sweep_at = Some(clock::now());
        }
    }

    fn ended(&mut self, run: RunId, status: ExitStatus) {
        let pid = self.processes.get(run).map(|process| process.pid);
        // What the launch and the service said last comes first.
        self.hear_launch(run);
        if self.processes.get(run).map(|process| process.pid) != pid {
            // That was the executor, whose work is done: the run is another process now.
            return;
        }
        self.hear_unclaimed();
        self.forget_status(run);
        self.conclude(run);
        let Some(process) = self.processes.remove(run) else {
            return;
        };
        self.sources
            .remove(self.poll.registry(), &process.pidfd, process.token);
        let id = process.service;
        self.network_of_run_ends(id, run);
        if self.speaks_notify(id) {
            self.hear_notifications();
        }
        self.read_ready_fd(id);
        self.drain_outputs(id);
        let status = process.report.unwrap_or(status);
        if self
            .runtimes
            .get(&id)
            .is_some_and(|runtime| runtime.main == Some(run))
        {
            if let ExitStatus::Signal {
                signal: units::Signal::KILL,
                ..
            } = status
            {
                self.check_memory(id);
            }
            if let Some(runtime) = self.runtimes.get_mut(&id) {
                runtime.main = None;
            }
            // One that stays active without a process needs no network.
            self.give_back_at_rest(id);
        }
        self.report_end(run, &process, status);
        if self
            .runtimes
            .get(&id)
            .is_some_and(|runtime| runtime.awaits_empty)
        {
            self.recheck_empty(id);
        }
    }

    fn report_end(&mut self, run: RunId, process: &Process, status: ExitStatus) {
        let id = process.service;
        match process.task {
            Task::Probe(_) => {
                let result = match status {
                    ExitStatus::Code(0) => Ok(()),
                    other => Err(Arc::from(other.to_string())),
                };
                self.probe_over(run, result);
            }
            Task::Role(_) | Task::Adopted => match process.stage {
                Stage::Failed => {}
                Stage::Executed => {
                    self.note_end(id, process, status);
                    self.tell(id, Input::Exited { run, status });
                }
                Stage::Building | Stage::Executing => {
                    let why = format!("{status} before it executed its program").into();
                    let code = NOT_STARTED;
                    self.tell(id, Input::SpawnFailed { run, why, code });
                }
            },
        }
    }

    /// An end that nobody asked for is worth a line in the service's own log.
    fn note_end(&self, id: ServiceId, process: &Process, status: ExitStatus) {
        let Some(service) = self.supervisor.service(id) else {
            return;
        };
        let name = &service.unit().name;
        if status == ExitStatus::Code(0) {
            return;
        }
        if let Task::Role(role) = process.task
            && role != Role::Main
        {
            // A command beside the main one, whose failure may have no other consequence.
            return self.say(name, &format!("{}: {status}", key_of(role)));
        }
        if !service.state().is_stopping() {
            self.say(
                name,
                &format!("process {} ended: {status}", process.main_pid()),
            );
        }
    }

    fn drain_outputs(&mut self, id: ServiceId) {
        let Some(runtime) = self.runtimes.get(&id) else {
            return;
        };
        let tokens: Vec<_> = runtime.outputs.iter().map(|(_, token)| *token).collect();
        for token in tokens {
            // A pipe holds 1 MiB at most; whoever fills it faster than that is still alive, and
            // their lines may come after the word of this end.
            for _ in 0..READINGS_AT_THE_END {
                self.read_output(id, token);
                if self.unfinished.last() != Some(&(id, token)) {
                    break;
                }
                self.unfinished.pop();
            }
        }
    }

    pub(super) fn continue_probe(&mut self, run: RunId) {
        let Some(probe) = self.probes.get_mut(&run) else {
            return;
        };
        let ProbeKind::Connection(connection, _) = &mut probe.kind else {
            return;
        };
        if let Progress::Done(result) = connection.advance() {
            self.probe_over(run, result);
        }
    }

    pub(super) fn probe_over(&mut self, run: RunId, result: Result<(), Arc<str>>) {
        if let Some(id) = self.forget_probe(run) {
            self.tell(id, Input::Probed { run, result });
        }
    }

    pub(super) fn forget_probe(&mut self, run: RunId) -> Option<ServiceId> {
        let probe = self.probes.remove(&run)?;
        if let ProbeKind::Connection(connection, token) = &probe.kind {
            self.sources
                .remove(self.poll.registry(), connection, *token);
        }
        Some(probe.service)
    }
}

/// The key that gives the command of a role.
pub(super) fn key_of(role: Role) -> &'static str {
    match role {
        Role::Main => "command",
        Role::Condition(_) => "command_condition",
        Role::Pre(_) => "command_pre",
        Role::Post(_) => "command_post",
        Role::Reload(_) => "command_reload",
        Role::Stop(_) => "command_stop",
        Role::StopPost(_) => "command_stop_post",
    }
}

fn words(status: &WaitIdStatus) -> ExitStatus {
    if let Some(code) = status.exit_status() {
        return exit_status(code, false, false);
    }
    match status.terminating_signal() {
        Some(signal) => exit_status(signal, true, status.dumped()),
        None => ExitStatus::Unknown,
    }
}
