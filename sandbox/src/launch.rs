//! From a plan to a process: the caller's side.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{Mode, OFlags};
use rustix::process::{WaitId, WaitIdOptions};

use crate::berth::{Berth, Lent};
use crate::cgroup;
use crate::config::Inherit;
use crate::executor::{self, Part};
use crate::failure::StepFailure;
use crate::fork;
use crate::main_process::{Descriptors, NOT_EXECUTED, Prepared, Walk};
use crate::plan::{Carrier, Plan};
use crate::spare::{Spare, Spares};
use crate::step::Step;
use crate::sys::clone::{Child, Manner, Stack};
use crate::sys::signals::{self, Blocked};
use crate::sys::{Errno, descriptors, process};

/// Starts processes. Made once, early: it holds on to our own executable and to some low
/// descriptor numbers. Threads may launch at the same time.
#[derive(Debug)]
pub struct Launcher {
    image: OwnedFd,
    /// Those that nobody launches from: as many in all as there were launches at the same time.
    berths: Mutex<Vec<Berth>>,
    dumpable: Mutex<Dumpable>,
    ignored: signals::Set,
    spares: Mutex<Option<Spares>>,
    spares_wanted: usize,
}

/// A child that changes its user makes the memory that it shares with us undumpable, for all who launch then.
#[derive(Debug, Default)]
struct Dumpable {
    launching: usize,
    /// What it was when the first of them began.
    before: bool,
}

/// A launch as other threads see it: [`Launcher::launch`] comes back once the program has been executed, and the
/// file system on which it lies may take its time for that.
#[derive(Debug, Default)]
pub struct InFlight {
    /// Stored by the kernel, before the child runs; 0 when there is none.
    pid: AtomicI32,
    /// The child is to end rather than begin.
    is_called_off: AtomicBool,
    /// Held by who uses the number, so that it is nobody else's meanwhile.
    in_use: Mutex<()>,
}

impl InFlight {
    /// The process that is to execute the program, while the launch waits for it (kernels 5.5 and later).
    pub fn pid(&self) -> Option<i32> {
        Some(self.pid.load(Ordering::SeqCst)).filter(|pid| *pid > 0)
    }

    /// Ends that process, or has it end when it comes: the launch comes back then. One that ends before its `execve`
    /// is a failed launch.
    pub fn call_off(&self) {
        let _in_use = self.in_use.lock().unwrap_or_else(PoisonError::into_inner);
        // First of all: whose pid is not there yet will look.
        self.is_called_off.store(true, Ordering::SeqCst);
        if let Some(pid) = self.pid().and_then(rustix::process::Pid::from_raw) {
            // One that has ended meanwhile needs no signal.
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).ok();
        }
    }

    /// The child is the launch's alone again.
    fn land(&self) {
        let _in_use = self.in_use.lock().unwrap_or_else(PoisonError::into_inner);
        self.pid.store(0, Ordering::Release);
    }
}

/// What the child of a launch begins with.
struct TakeOff<'a> {
    walk: Walk<'a>,
    flight: &'a InFlight,
}

impl TakeOff<'_> {
    extern "C" fn run(take_off: &Self) -> ! {
        if take_off.flight.is_called_off.load(Ordering::SeqCst) {
            process::exit_now(NOT_EXECUTED);
        }
        Walk::run(&take_off.walk)
    }
}

/// The descriptors of the new process.
#[derive(Debug, Clone, Copy)]
pub struct Files<'a> {
    pub stdin: BorrowedFd<'a>,
    pub stdout: BorrowedFd<'a>,
    pub stderr: BorrowedFd<'a>,
    /// `(number in the new process, descriptor)`; numbers from 3 on, each once.
    pub passed: &'a [(u32, BorrowedFd<'a>)],
    /// What the config refers to as [`Held`](crate::config::Held), by index: used by the launch, and
    /// not passed to the program.
    pub held: &'a [BorrowedFd<'a>],
    /// What the caller keeps for itself though it is open to be inherited: where a copy of the caller carries
    /// the plan ([`Carrier::Fork`]), the copy closes these at once.
    pub own: &'a [BorrowedFd<'a>],
}

/// A process that has been started, by `pid` until the status channel says that it
/// [moved](crate::status::Message::Moved).
#[derive(Debug)]
pub struct Launched {
    pub pid: i32,
    pub pidfd: OwnedFd,
    /// With [`Carrier::Executor`] and [`Carrier::Fork`]: what becomes of the launch, read by
    /// [`status::receive`](crate::status::receive).
    pub status: Option<OwnedFd>,
}

/// Nothing was started, and nothing is left.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    #[error("cannot open our own executable")]
    Image(#[source] io::Error),
    #[error("cannot prepare the launch: {action}")]
    Prepare {
        action: &'static str,
        source: io::Error,
    },
    #[error("cannot write the plan down")]
    Encode(#[from] postcard::Error),
    #[error("descriptor {0} cannot be passed: numbers start at 3 and each is given once")]
    Target(u32),
    #[error("cannot create the cgroup")]
    Cgroup(#[source] cgroup::CgroupError),
    #[error("only a process with one thread can start a box by a copy of itself")]
    Threads,
    #[error("cannot start a process{}", at_limit(.0))]
    Clone(#[source] io::Error),
    #[error(transparent)]
    Step(#[from] StepFailure),
}

/// What `EAGAIN` of clone(2) means.
fn at_limit(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EAGAIN) => {
            " (there are as many as RLIMIT_NPROC, the pids.max of a group or kernel.pid_max allow)"
        }
        _ => "",
    }
}

impl Launcher {
    /// # Errors
    /// When `/proc/self/exe` cannot be opened or there is no room for a stack.
    pub fn new() -> Result<Self, LaunchError> {
        let image = rustix::fs::open(
            c"/proc/self/exe",
            OFlags::PATH | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .map_err(|errno| LaunchError::Image(errno.into()))?;
        Self::with_executor(image)
    }

    /// Boxes are built by the program behind `image` instead of our own executable: one that calls
    /// [`herd_exec_main`](crate::herd_exec_main) under the name `herd-exec`, built from the same
    /// source as the caller.
    ///
    /// # Errors
    /// When there is no room for a stack, or no descriptor left.
    pub fn with_executor(image: OwnedFd) -> Result<Self, LaunchError> {
        let berth = Berth::new(&image)?;
        Ok(Self {
            image,
            berths: Mutex::new(vec![berth]),
            dumpable: Mutex::default(),
            ignored: signals::ignored(),
            spares: Mutex::new(None),
            spares_wanted: 0,
        })
    }

    /// From the first boxed launch on keeps up to `count` executors ready, and one process that
    /// makes them: a launch is then the sending of one message. They end with the launcher. What
    /// they inherit (priority, limits, namespaces) is what the caller had at that first launch.
    #[must_use]
    pub fn keep_spares(mut self, count: usize) -> Self {
        self.spares_wanted = count;
        self
    }

    /// Makes the spares of [`Self::keep_spares`] now, and waits for the first: the first boxed
    /// launch finds it.
    ///
    /// # Errors
    /// When a process cannot be started.
    pub fn warm_up(&self) -> Result<(), LaunchError> {
        let mut spares = self.spares.lock().unwrap_or_else(PoisonError::into_inner);
        let current = match spares.take() {
            Some(current) => current,
            None => self.start_zygote()?,
        };
        let current = spares.insert(current);
        current
            .fill_up(self.spares_wanted)
            .and_then(|()| current.wait())
            .map_err(preparing("make a spare executor"))
    }

    /// Ends the spares and who makes them, and reaps them. The next boxed launch begins anew with them.
    pub fn end_spares(&self) {
        drop(
            self.spares
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
        );
    }

    /// Asks for spares in the place of those used, without waiting for them. Launches do it too, but
    /// only where none is left: the making is in the way of the box that is being built.
    pub fn make_spares(&self) {
        self.fill_up(&mut self.spares.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Starts the plan's process.
    ///
    /// With [`Carrier::Vfork`] the program is running when this returns, and a failure is the
    /// returned error. With [`Carrier::Executor`] the executor is running, and everything else is
    /// told on [`Launched::status`]. [`Carrier::Fork`] is the same, but for the launched process:
    /// it is the box's first process itself unless the channel says that it
    /// [moved](crate::status::Message::Moved).
    ///
    /// # Errors
    /// [`LaunchError::Step`] names the step that failed; the others are failures of our own.
    pub fn launch(&self, plan: &Plan, files: Files<'_>) -> Result<Launched, LaunchError> {
        self.launch_in_sight(plan, files, &InFlight::default())
    }

    /// [`Self::launch`], which other threads follow by `flight`.
    ///
    /// # Errors
    /// As there.
    pub fn launch_in_sight(
        &self,
        plan: &Plan,
        files: Files<'_>,
        flight: &InFlight,
    ) -> Result<Launched, LaunchError> {
        check_targets(files.passed)?;
        match plan.carrier() {
            Carrier::Vfork => self.launch_here(plan, files, flight),
            Carrier::Executor => self.launch_executor(plan, files),
            Carrier::Fork => fork::launch(plan, files, self.ignored, 0),
        }
    }

    fn launch_here(
        &self,
        plan: &Plan,
        files: Files<'_>,
        flight: &InFlight,
    ) -> Result<Launched, LaunchError> {
        let cgroup = self.enter_cgroup(plan)?;
        let also = also_inherited(plan, &files)?;
        let sources = files.sources().map(|source| source.as_raw_fd());
        let first = plan
            .steps
            .iter()
            .take_while(|step| matches!(step, Step::CreateCgroup(_) | Step::JoinCgroup(_)))
            .count();
        self.at_a_berth(|Berth { slots, stack }| {
            let lent = Lent::new(slots, &self.image, sources.chain(also.iter().copied()))?;
            let targets = files.targets().chain(also.iter().copied());
            let moves = lent.numbers.iter().copied().zip(targets);
            let descriptors = Descriptors::new(Some(lent.above(&[])), moves);
            let prepared = Prepared::new(plan, descriptors, self.ignored);
            let walk = Walk::new(plan, &prepared, first);
            let manner = Manner {
                cgroup: cgroup.as_ref().map(AsFd::as_fd),
                shared_descriptors: true,
                announce: Some(&flight.pid),
            };
            let take_off = TakeOff { walk, flight };
            let child = self.spawn(stack, manner, TakeOff::run, &take_off);
            flight.land();
            let (child, walk) = (child?, take_off.walk);
            if let Some((step, errno)) = walk.failure() {
                reap(&child)?;
                return Err(StepFailure::new(plan, step, errno).into());
            }
            if let Some(step) = walk.cut_short() {
                let end = reap(&child)?;
                return Err(StepFailure::died(plan, step, end).into());
            }
            Ok(Launched {
                pid: child.pid,
                pidfd: child.pidfd,
                status: None,
            })
        })
    }

    /// Launches from a berth that nobody else uses meanwhile.
    fn at_a_berth<T>(
        &self,
        launch: impl FnOnce(&mut Berth) -> Result<T, LaunchError>,
    ) -> Result<T, LaunchError> {
        let berths = || self.berths.lock().unwrap_or_else(PoisonError::into_inner);
        let free = berths().pop();
        let mut berth = free.map_or_else(|| Berth::new(&self.image), Ok)?;
        let launched = launch(&mut berth);
        berths().push(berth);
        launched
    }

    /// Does the cgroup steps at the head of a bare plan; the child is then born in the leaf.
    #[allow(
        clippy::wildcard_enum_match_arm,
        reason = "every other step is the child's"
    )]
    fn enter_cgroup(&self, plan: &Plan) -> Result<Option<OwnedFd>, LaunchError> {
        let mut entered = None;
        for (index, step) in plan.steps.iter().enumerate() {
            let failed = |errno| StepFailure::new(plan, index, errno);
            if plan.fail_at == Some(index)
                && matches!(step, Step::CreateCgroup(_) | Step::JoinCgroup(_))
            {
                return Err(failed(Errno(libc::ECANCELED)).into());
            }
            match step {
                Step::CreateCgroup(group) => cgroup::create(group).map_err(LaunchError::Cgroup)?,
                Step::JoinCgroup(group) => {
                    if let Some(leaf) = &group.v2 {
                        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
                        let opened = rustix::fs::open(&leaf.entry, flags, Mode::empty());
                        entered = Some(opened.map_err(|errno| failed(errno.into()))?);
                    }
                }
                _ => break,
            }
        }
        Ok(entered)
    }

    fn launch_executor(&self, plan: &Plan, files: Files<'_>) -> Result<Launched, LaunchError> {
        let also = also_inherited(plan, &files)?;
        let numbers = also.iter().map(|number| number.unsigned_abs());
        let passed = files.passed.iter().map(|(number, _)| *number);
        let handed = executor::write_down(plan, passed.chain(numbers).collect(), files.held.len())?;
        if self.spares_wanted > 0
            && also.is_empty()
            && let Some(spare) = self.launch_by_spare(plan, &handed, files)
        {
            return Ok(Launched {
                pid: spare.child.pid,
                pidfd: spare.child.pidfd,
                status: Some(spare.channel),
            });
        }
        let handed = executor::seal(&handed)?;
        let (ours, theirs) = executor::status_channel().map_err(preparing("make a socket pair"))?;
        let raw = |descriptor: &BorrowedFd<'_>| descriptor.as_raw_fd();
        let standard = [files.stdin, files.stdout, files.stderr];
        let sources = standard
            .iter()
            .map(raw)
            .chain([handed.as_raw_fd(), theirs.as_raw_fd()])
            .chain(files.passed.iter().map(|(_, passed)| passed.as_raw_fd()))
            .chain(also)
            .chain(files.held.iter().map(raw));
        let child = self.execute_ourselves(Part::Executor, sources)?;
        Ok(Launched {
            pid: child.pid,
            pidfd: child.pidfd,
            status: Some(ours),
        })
    }

    /// Starts our own executable, with `sources` from number 0 on.
    fn execute_ourselves(
        &self,
        part: Part,
        sources: impl Iterator<Item = RawFd>,
    ) -> Result<Child, LaunchError> {
        self.at_a_berth(|Berth { slots, stack }| {
            let lent = Lent::new(slots, &self.image, sources)?;
            let image = self.image.as_raw_fd();
            let descriptors = Descriptors::new(
                Some(lent.above(&[image])),
                lent.numbers.iter().copied().zip(0..),
            );
            let start = executor::Start::new(descriptors, image, self.ignored, part);
            let manner = Manner {
                shared_descriptors: true,
                ..Manner::default()
            };
            let child = self.spawn(stack, manner, executor::Start::run, &start)?;
            if let Some((_, errno)) = start.failure.get() {
                reap(&child)?;
                return Err(LaunchError::Clone(errno.into()));
            }
            Ok(child)
        })
    }

    /// Without a spare, for whatever reason, an executor is started for the launch.
    fn launch_by_spare(&self, plan: &Plan, handed: &[u8], files: Files<'_>) -> Option<Spare> {
        let mut spares = self.spares.lock().unwrap_or_else(PoisonError::into_inner);
        let all: Vec<BorrowedFd<'_>> = files.sources().chain(files.held.iter().copied()).collect();
        let spare = match spares
            .as_mut()
            .map(|spares| spares.hand(plan, handed, &all))
        {
            Some(Ok(spare)) => spare,
            Some(Err(_)) | None => {
                // A new zygote, for the launches after this one.
                *spares = None;
                *spares = self.start_zygote().ok();
                if let Some(spares) = spares.as_mut() {
                    spares.expect(plan);
                }
                None
            }
        };
        if spares.as_ref().is_some_and(|spares| !spares.has_any()) {
            self.fill_up(&mut spares);
        }
        spare
    }

    fn fill_up(&self, spares: &mut Option<Spares>) {
        let filled = spares
            .as_mut()
            .map(|spares| spares.fill_up(self.spares_wanted));
        if let Some(Err(_)) = filled {
            // The next launch starts another zygote.
            *spares = None;
        }
    }

    fn start_zygote(&self) -> Result<Spares, LaunchError> {
        let (ours, theirs) = executor::status_channel().map_err(preparing("make a socket pair"))?;
        let null = rustix::fs::open(c"/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
            .map_err(|errno| preparing("open /dev/null")(errno.into()))?;
        let null = null.as_raw_fd();
        let sources = [null, null, null, theirs.as_raw_fd()];
        let zygote = self.execute_ourselves(Part::Zygote, sources.into_iter())?;
        Ok(Spares::new(zygote, ours))
    }

    fn spawn<T: Sync>(
        &self,
        stack: &mut Stack,
        manner: Manner<'_>,
        run: extern "C" fn(&T) -> !,
        argument: &T,
    ) -> Result<Child, LaunchError> {
        let refused = |errno: Errno| LaunchError::Clone(errno.into());
        let blocked = Blocked::new().map_err(refused)?;
        self.note_dumpable().map_err(refused)?;
        let child = stack.spawn(&blocked, manner, run, argument);
        self.restore_dumpable().map_err(refused)?;
        drop(blocked);
        child.map_err(refused)
    }

    fn note_dumpable(&self) -> Result<(), Errno> {
        let mut dumpable = self.dumpable.lock().unwrap_or_else(PoisonError::into_inner);
        if dumpable.launching == 0 {
            dumpable.before = process::is_dumpable()?;
        }
        dumpable.launching += 1;
        Ok(())
    }

    fn restore_dumpable(&self) -> Result<(), Errno> {
        let mut dumpable = self.dumpable.lock().unwrap_or_else(PoisonError::into_inner);
        dumpable.launching -= 1;
        match dumpable.before {
            true => process::set_dumpable(true),
            false => Ok(()),
        }
    }
}

impl Files<'static> {
    /// The caller's own descriptors 0 to 2, and nothing else.
    pub fn of_caller() -> Self {
        Self {
            stdin: rustix::stdio::stdin(),
            stdout: rustix::stdio::stdout(),
            stderr: rustix::stdio::stderr(),
            passed: &[],
            held: &[],
            own: &[],
        }
    }
}

impl<'a> Files<'a> {
    pub(crate) fn sources(&self) -> impl Iterator<Item = BorrowedFd<'a>> {
        let passed = self.passed.iter().map(|(_, descriptor)| *descriptor);
        [self.stdin, self.stdout, self.stderr]
            .into_iter()
            .chain(passed)
    }

    pub(crate) fn targets(&self) -> impl Iterator<Item = RawFd> {
        let passed = self
            .passed
            .iter()
            .map(|(number, _)| RawFd::try_from(*number).unwrap_or(RawFd::MAX));
        [0, 1, 2].into_iter().chain(passed)
    }
}

/// Above this a passed descriptor is a mistake: the table would grow to its number.
const HIGHEST_TARGET: u32 = 1 << 16;

pub(crate) fn check_targets(passed: &[(u32, BorrowedFd<'_>)]) -> Result<(), LaunchError> {
    for (index, (number, _)) in passed.iter().enumerate() {
        let again = passed[..index].iter().any(|(earlier, _)| earlier == number);
        if again || !(3..HIGHEST_TARGET).contains(number) {
            return Err(LaunchError::Target(*number));
        }
    }
    Ok(())
}

/// What else the program inherits under its own number.
fn also_inherited(plan: &Plan, files: &Files<'_>) -> Result<Vec<RawFd>, LaunchError> {
    if plan.inherit() == Inherit::Passed {
        return Ok(Vec::new());
    }
    let mut numbers = descriptors::inheritable()
        .map_err(|errno| preparing("list our descriptors")(errno.into()))?;
    numbers.retain(|number| {
        let held = files.held.iter().any(|held| held.as_raw_fd() == *number);
        !held && !files.targets().any(|target| target == *number)
    });
    Ok(numbers)
}

/// Takes the status of a child that did not become the program.
pub(crate) fn reap(child: &Child) -> Result<ExitStatus, LaunchError> {
    wait_for_end(child.pidfd.as_fd()).map_err(preparing("reap a failed child"))
}

/// Waits for the end of a child and reaps it.
pub(crate) fn wait_for_end(child: BorrowedFd<'_>) -> io::Result<ExitStatus> {
    loop {
        match rustix::process::waitid(WaitId::PidFd(child), WaitIdOptions::EXITED) {
            Ok(Some(status)) => {
                let raw = match (status.exit_status(), status.terminating_signal()) {
                    (Some(code), _) => code << 8,
                    (None, Some(signal)) if status.dumped() => signal | 0x80,
                    (None, signal) => signal.unwrap_or(libc::SIGKILL),
                };
                return Ok(ExitStatus::from_raw(raw));
            }
            Ok(None) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

pub(crate) fn preparing(action: &'static str) -> impl Fn(io::Error) -> LaunchError {
    move |source| LaunchError::Prepare { action, source }
}

/// The executor's name, as `ps` and its own `main` see it.
pub(crate) fn executor_name() -> CString {
    c"herd-exec".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_of_processes_is_named_where_one_is_reached() {
        let told = |errno| LaunchError::Clone(io::Error::from_raw_os_error(errno)).to_string();
        assert_eq!(told(libc::ENOMEM), "cannot start a process");
        assert_eq!(
            told(libc::EAGAIN),
            "cannot start a process (there are as many as RLIMIT_NPROC, the pids.max of a group or \
             kernel.pid_max allow)"
        );
    }
}
