//! Starting a box, following it, and ending it.
#![forbid(unsafe_code)]

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, Signal, pidfd_send_signal};

use super::box_group::{self, BoxGroup};
use super::box_network::BoxNetwork;
use super::event::{Audience, Event};
use super::forward::Forwarder;
use super::instance::InstanceId;
use super::job::Job;
use super::lock::HostLock;
use super::options::{Carriage, Options};
use super::outcome::{EndReason, RunError, RunOutcome, SpawnError, WaitError};
use super::validate::validate;
use crate::compile::compile;
use crate::config::Config;
use crate::executor;
use crate::failure::StepFailure;
use crate::host::Host;
use crate::launch::{Files, LaunchError, Launched, Launcher, wait_for_end};
use crate::namespaces::NamespaceIds;
use crate::plan::{Carrier, GivenUp, Plan};
use crate::status::{self, Message};
use crate::sys::process;

/// What every launch needs: the machine, looked at once, and the calling program, held by descriptor
/// so that replacing it on disk changes nothing. For callers with more than one box.
#[derive(Debug)]
pub struct Sandbox {
    host: Host,
    launcher: Launcher,
}

impl Sandbox {
    /// # Errors
    /// When `/proc` does not tell what the machine is.
    pub fn new() -> Result<Self, SpawnError> {
        Ok(Self {
            host: Host::detect()?,
            launcher: Launcher::new()?,
        })
    }

    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Starts a box; comes back when its program runs.
    ///
    /// The thread that calls this has to outlive the launch: the kernel ends a box that is being built
    /// with the thread that started it (`PR_SET_PDEATHSIG`).
    ///
    /// # Errors
    /// [`SpawnError`]; nothing is left then.
    pub fn spawn<'a>(
        &self,
        config: &Config,
        files: Files<'_>,
        options: Options<'a>,
    ) -> Result<Session<'a>, SpawnError> {
        validate(config).map_err(SpawnError::Invalid)?;
        let lock = options.lock.as_deref().map(HostLock::take).transpose()?;
        let instance = InstanceId::random().map_err(following("make its id"))?;
        let mut audience = Audience {
            instance,
            observer: options.observer,
            lines: options.lines,
        };
        let mut config = config.clone();
        config.lifecycle.gate |= config.walls.is_some() && audience.listens();
        let job = match config.process.foreground {
            true => Job::of(files.stdin).map_err(following("look at its terminal"))?,
            false => None,
        };
        config.process.foreground = job.is_some();
        let names_group = config.cgroup.is_some();
        box_group::name(&mut config, &self.host, instance).map_err(SpawnError::Cgroup)?;
        let mut network = BoxNetwork::of(&mut config, instance);
        let plan = carried(compile(&config, &self.host)?, options.carriage)?.followed();
        let warnings = plan.warnings().to_vec();
        if !warnings.is_empty() {
            if options.fail_on_warnings {
                return Err(SpawnError::Warnings(warnings));
            }
            let event = Event::RuntimeInitWarnings {
                warnings: warnings.clone(),
            };
            audience.tell(event).map_err(SpawnError::Aborted)?;
        }
        let mut starting = Starting {
            plan: &plan,
            group: plan
                .cgroup()
                .map(|group| BoxGroup::new(group, !names_group)),
            audience,
        };
        // One that fails ends, and its network is given back behind it.
        let running = starting.start(&self.launcher, files)?;
        if config.lifecycle.linger {
            // Nobody is told of the end of a box that stays behind its program.
            network.forget();
        }
        Ok(Session {
            running: Some(running),
            instance,
            warnings,
            lingers: config.lifecycle.linger,
            has_session: plan.has_session(),
            group: starting.group,
            network,
            audience: starting.audience,
            job,
            _lock: lock,
        })
    }

    /// [`spawn`](Self::spawn) and [`Session::wait`].
    ///
    /// # Errors
    /// Of either.
    pub fn launch(
        &self,
        config: &Config,
        files: Files<'_>,
        options: Options<'_>,
    ) -> Result<RunOutcome, RunError> {
        Ok(self.spawn(config, files, options)?.wait()?)
    }
}

/// [`Sandbox::spawn`] for callers with one box.
///
/// # Errors
/// [`SpawnError`].
pub fn spawn<'a>(
    config: &Config,
    files: Files<'_>,
    options: Options<'a>,
) -> Result<Session<'a>, SpawnError> {
    Sandbox::new()?.spawn(config, files, options)
}

/// Starts a box and waits for its end.
///
/// # Errors
/// [`RunError`]. A program that ends with an error is none: see [`RunOutcome`].
pub fn launch(
    config: &Config,
    files: Files<'_>,
    options: Options<'_>,
) -> Result<RunOutcome, RunError> {
    Sandbox::new()?.launch(config, files, options)
}

fn carried(plan: Plan, carriage: Carriage) -> Result<Plan, SpawnError> {
    if plan.carrier() == Carrier::Vfork {
        return Ok(plan);
    }
    let single = || {
        process::is_single_threaded()
            .map_err(|errno| following("count our threads")(io::Error::from(errno)))
    };
    match carriage {
        Carriage::Executor if executor::is_ready() => Ok(plan),
        Carriage::Executor => Err(SpawnError::NoExecutor),
        Carriage::Auto if executor::is_ready() => Ok(plan),
        Carriage::Auto if single()? => Ok(plan.by_fork()),
        Carriage::Auto => Err(SpawnError::NoExecutor),
        Carriage::Fork => Ok(plan.by_fork()),
    }
}

/// A launch until the program runs.
struct Starting<'p, 'a> {
    plan: &'p Plan,
    group: Option<BoxGroup>,
    audience: Audience<'a>,
}

/// The processes of a session.
#[derive(Debug)]
struct Running {
    /// The box's first process, or the program itself where it has none: our child.
    pidfd: OwnedFd,
    main_pid: i32,
    main_pidfd: Option<OwnedFd>,
    channel: Option<OwnedFd>,
}

impl Starting<'_, '_> {
    fn start(&mut self, launcher: &Launcher, files: Files<'_>) -> Result<Running, SpawnError> {
        let launched = match launcher.launch(self.plan, files) {
            Ok(launched) => launched,
            Err(LaunchError::Step(failure)) => return Err(self.failed(failure, None)),
            Err(other) => {
                self.clean_up();
                return Err(other.into());
            }
        };
        let running = match launched.status {
            Some(_) => self.follow(launched)?,
            None => {
                let spawned = Event::Spawned {
                    pid: launched.pid,
                    namespaces: NamespaceIds::of_self(),
                };
                let running = Running {
                    pidfd: launched.pidfd,
                    main_pid: launched.pid,
                    main_pidfd: None,
                    channel: None,
                };
                if let Err(abort) = self.audience.tell(spawned) {
                    self.give_up(&running.pidfd);
                    return Err(SpawnError::Aborted(abort));
                }
                running
            }
        };
        let pid = running.main_pid;
        // The answer counts at the gate only.
        match self.audience.tell(Event::SetupFinished { pid }) {
            Ok(()) | Err(_) => Ok(running),
        }
    }

    fn follow(&mut self, launched: Launched) -> Result<Running, SpawnError> {
        let Launched { pid, pidfd, status } = launched;
        let mut running = Running {
            pidfd,
            main_pid: pid,
            main_pidfd: None,
            channel: status,
        };
        let mut executes = false;
        while let Some(channel) = &running.channel {
            let message = match next(channel.as_fd()) {
                Ok(message) => message,
                Err(error) => {
                    self.give_up(&running.pidfd);
                    return Err(following("hear of it")(error));
                }
            };
            match message {
                Message::AtGate {
                    pid, namespaces, ..
                } => {
                    let answer = self.audience.tell(Event::Spawned { pid, namespaces });
                    if let Err(abort) = answer {
                        running.channel = None;
                        self.give_up(&running.pidfd);
                        return Err(SpawnError::Aborted(abort));
                    }
                    heard(channel.as_fd());
                }
                Message::Failed(failure) => return Err(self.failed(failure, Some(running.pidfd))),
                Message::Moved {
                    pidfd,
                    main_pid,
                    main_pidfd,
                    ..
                } => {
                    let executor = std::mem::replace(&mut running.pidfd, pidfd);
                    reap(&executor).map_err(following("reap the executor"))?;
                    running.main_pid = main_pid;
                    if main_pidfd.is_some() {
                        heard(channel.as_fd());
                    }
                    running.main_pidfd = main_pidfd;
                }
                Message::Main { pid, pidfd } => {
                    running.main_pid = pid;
                    running.main_pidfd = Some(pidfd);
                    heard(channel.as_fd());
                }
                Message::Executing => executes = true,
                Message::Executed | Message::Exited(_) | Message::Stopped(_) => break,
                // By `execve`.
                Message::Closed if executes => running.channel = None,
                Message::Closed => {
                    let end = reap(&running.pidfd).map_err(following("see how it ended"))?;
                    let failure = StepFailure::died_somewhere(self.plan, end);
                    return Err(self.failed(failure, None));
                }
            }
        }
        Ok(running)
    }

    fn failed(&mut self, failure: StepFailure, process: Option<OwnedFd>) -> SpawnError {
        if let Some(process) = process {
            self.give_up(&process);
        } else {
            self.clean_up();
        }
        match self.audience.tell(Event::failed(&failure, self.plan)) {
            Ok(()) | Err(_) => failure.into(),
        }
    }

    fn give_up(&self, process: &OwnedFd) {
        end(process);
        self.clean_up();
    }

    fn clean_up(&self) {
        if let Some(group) = &self.group {
            match group.remove() {
                // The launch has failed for a reason of its own, which is told.
                Ok(()) | Err(_) => {}
            }
        }
    }
}

/// A box whose program runs, or has run. Dropped, it ends.
pub struct Session<'a> {
    running: Option<Running>,
    instance: InstanceId,
    warnings: Vec<GivenUp>,
    lingers: bool,
    has_session: bool,
    group: Option<BoxGroup>,
    network: BoxNetwork,
    audience: Audience<'a>,
    job: Option<Job>,
    _lock: Option<HostLock>,
}

impl Session<'_> {
    /// The program's process, as the caller's PID namespace numbers it; 0 once the end is known.
    pub fn pid(&self) -> i32 {
        self.running.as_ref().map_or(0, |running| running.main_pid)
    }

    /// Can be read (`poll(2)`) once the program has ended: then [`Self::try_wait`] tells how. `None` once
    /// that is known.
    pub fn pidfd(&self) -> Option<BorrowedFd<'_>> {
        self.running.as_ref().map(Running::main)
    }

    pub fn instance(&self) -> InstanceId {
        self.instance
    }

    /// The walls that this machine could not build, each with the reason.
    pub fn warnings(&self) -> &[GivenUp] {
        &self.warnings
    }

    /// Sends a signal to the program. `signal` is a number of `signal(7)`.
    ///
    /// # Errors
    /// `ESRCH` once it has ended, `EINVAL` for a number that is no signal.
    pub fn signal(&self, signal: i32) -> io::Result<()> {
        let signal = Signal::from_named_raw(signal)
            .ok_or_else(|| io::Error::from_raw_os_error(libc::EINVAL))?;
        let running = self
            .running
            .as_ref()
            .ok_or_else(|| io::Error::from_raw_os_error(libc::ESRCH))?;
        Ok(pidfd_send_signal(running.main(), signal)?)
    }

    /// Ends every process of the box with SIGKILL: by its PID namespace where it has one of its own,
    /// by its group where it has one. A box with neither is its main process.
    ///
    /// # Errors
    /// When the kernel refuses, which it does not to the caller's own children.
    pub fn kill(&self) -> io::Result<()> {
        let Some(running) = &self.running else {
            return Ok(());
        };
        if let Some(group) = &self.group {
            group.kill().map_err(io::Error::other)?;
        }
        for pidfd in [running.main(), running.pidfd.as_fd()] {
            match pidfd_send_signal(pidfd, Signal::KILL) {
                Ok(()) | Err(rustix::io::Errno::SRCH) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    /// Waits for the end of the program, and, unless the box
    /// [lingers](crate::config::Lifecycle::linger), for that of the whole box; takes its group away.
    ///
    /// # Errors
    /// [`WaitError`].
    pub fn wait(mut self) -> Result<RunOutcome, WaitError> {
        let status = self.await_end(None)?;
        self.conclude(status)
    }

    /// [`wait`](Self::wait), while the signals of `forwarder` go to the program: for a launcher that
    /// stands between its own caller and the box. Signals that a terminal sends to the whole group are
    /// left to it where the program is in that group.
    ///
    /// # Errors
    /// [`WaitError`].
    pub fn wait_forwarding(mut self, forwarder: &Forwarder) -> Result<RunOutcome, WaitError> {
        let status = self.await_end(Some(forwarder))?;
        self.conclude(status)
    }

    /// The outcome if the program has ended, without waiting for it.
    ///
    /// # Errors
    /// [`WaitError`].
    pub fn try_wait(&mut self) -> Result<Option<RunOutcome>, WaitError> {
        let Some(running) = &self.running else {
            return Ok(None);
        };
        if !is_ready(running.main())? {
            return Ok(None);
        }
        let status = self.await_end(None)?;
        self.conclude(status).map(Some)
    }

    /// Lets the box go on without a session; its group stays too. The box's first process is still a
    /// child of the caller, whose to reap it is.
    pub fn detach(mut self) {
        self.running = None;
        self.group = None;
        self.network.forget();
    }

    fn await_end(&mut self, forwarder: Option<&Forwarder>) -> io::Result<ExitStatus> {
        let running = self
            .running
            .as_mut()
            .ok_or_else(|| io::Error::from_raw_os_error(libc::ECHILD))?;
        let mut status = None;
        while status.is_none() {
            let Some(channel) = &running.channel else {
                break;
            };
            if let Some(forwarder) = forwarder {
                forwarder.forward_until(channel.as_fd(), running.main(), self.has_session)?;
            }
            match next(channel.as_fd())? {
                Message::Exited(ended) => status = Some(ended),
                Message::Stopped(signal) => {
                    let main = Pid::from_raw(running.main_pid);
                    if let (Some(job), Some(main)) = (&self.job, main) {
                        job.stopped(main, signal)?;
                    }
                }
                Message::Closed => running.channel = None,
                Message::Executing
                | Message::Executed
                | Message::Main { .. }
                | Message::Moved { .. }
                | Message::AtGate { .. }
                | Message::Failed(_) => {}
            }
        }
        match status {
            Some(status) if self.lingers => Ok(status),
            status => {
                if let Some(forwarder) = forwarder {
                    let pidfd = running.pidfd.as_fd();
                    forwarder.forward_until(pidfd, pidfd, self.has_session)?;
                }
                let first = reap(&running.pidfd)?;
                Ok(status.unwrap_or(first))
            }
        }
    }

    fn conclude(&mut self, status: ExitStatus) -> Result<RunOutcome, WaitError> {
        let pid = self.pid();
        self.running = None;
        self.job = None;
        let out_of_memory = self.group.as_ref().is_some_and(BoxGroup::ran_out_of_memory);
        let reason = match status.signal() {
            Some(libc::SIGKILL) if out_of_memory => EndReason::OutOfMemory,
            Some(_) => EndReason::Signaled,
            None => EndReason::Exited,
        };
        let exited = Event::Exited {
            pid,
            code: status.code(),
            signal: status.signal(),
            reason,
        };
        match self.audience.tell(exited) {
            // It is over, whatever the observer thinks of it.
            Ok(()) | Err(_) => {}
        }
        if let Some(group) = self.group.take().filter(|_| !self.lingers) {
            group.remove().map_err(WaitError::Cgroup)?;
        }
        self.network.release().map_err(WaitError::Network)?;
        Ok(RunOutcome {
            instance: self.instance,
            pid,
            status,
            reason,
        })
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            if let Some(group) = &self.group {
                match group.kill() {
                    // What else can be done follows.
                    Ok(()) | Err(_) => {}
                }
            }
            end(&running.pidfd);
        }
        if let Some(group) = self.group.take() {
            match group.remove() {
                // Nobody is left to be told.
                Ok(()) | Err(_) => {}
            }
        }
    }
}

impl fmt::Debug for Session<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("instance", &self.instance)
            .field("running", &self.running)
            .field("warnings", &self.warnings)
            .finish_non_exhaustive()
    }
}

impl Running {
    fn main(&self) -> BorrowedFd<'_> {
        self.main_pidfd.as_ref().unwrap_or(&self.pidfd).as_fd()
    }
}

/// Kills and reaps a child of ours; one that has ended already is only reaped.
fn end(process: &OwnedFd) {
    match pidfd_send_signal(process, Signal::KILL) {
        Ok(()) | Err(_) => {}
    }
    match reap(process) {
        // Somebody else's `wait` has been quicker.
        Ok(_) | Err(_) => {}
    }
}

fn reap(process: &OwnedFd) -> io::Result<ExitStatus> {
    wait_for_end(process.as_fd())
}

/// The box may go on.
fn heard(channel: BorrowedFd<'_>) {
    match status::let_go(channel) {
        // One that has died meanwhile closes the channel.
        Ok(()) | Err(_) => {}
    }
}

/// The next message, waited for.
fn next(channel: BorrowedFd<'_>) -> io::Result<Message> {
    loop {
        if let Some(message) = status::receive(channel)? {
            return Ok(message);
        }
        match poll(
            &mut [PollFd::from_borrowed_fd(channel, PollFlags::IN)],
            None,
        ) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

fn is_ready(descriptor: BorrowedFd<'_>) -> io::Result<bool> {
    let at_once = rustix::event::Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let mut fds = [PollFd::from_borrowed_fd(descriptor, PollFlags::IN)];
    match poll(&mut fds, Some(&at_once)) {
        Ok(ready) => Ok(ready > 0),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

fn following(action: &'static str) -> impl Fn(io::Error) -> SpawnError {
    move |source| SpawnError::Follow { action, source }
}
