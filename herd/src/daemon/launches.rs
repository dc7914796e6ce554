//! The threads that start processes. A launch comes back once the program has been executed, and the file system
//! on which it lies may take its time for that, or never answer: the loop waits for no launch.
//!
//! One thread does it, in the order asked. Where that stands still and others wait, another is started,
//! [`AT_MOST`] in all. None of them ends before herd does: the kernel tells children that die with their parent
//! (executors, while they build) of the end of the thread that made them.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::event::{EventfdFlags, eventfd};
use sandbox::{Files, InFlight, LaunchError, Launched, Launcher, Plan, StepFailure};

use super::{clock, panic_words, reason};
use crate::supervisor::{RunId, Time, ending};

/// Launches that stand still at the same time; those behind them wait.
const AT_MOST: usize = 8;
/// Launches that are prepared ahead, so that the threads find work.
const AT_HAND: usize = 16;
/// So long nothing is started before another thread is: a hundred launches of a busy machine.
const PATIENCE: Duration = Duration::from_millis(100);
/// Flat work; what is deep (plans, filters) is made by the loop.
const STACK: usize = 256 * 1024;

#[derive(Debug)]
pub(super) struct Launches {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    /// When another thread was last to be started, in vain perhaps.
    tried: Option<Time>,
}

#[derive(Debug)]
struct Shared {
    launcher: Launcher,
    queue: Mutex<Queue>,
    more: Condvar,
    /// An eventfd that the loop listens to: something is done.
    done: OwnedFd,
}

#[derive(Debug, Default)]
struct Queue {
    /// No longer than [`AT_HAND`].
    wanted: VecDeque<Job>,
    under_way: Vec<Arc<UnderWay>>,
    idle: usize,
    wants_spares: bool,
    done: Vec<Done>,
    is_closed: bool,
}

impl Queue {
    fn begin_next(&mut self) -> Option<(Job, Arc<UnderWay>)> {
        let job = self.wanted.pop_front()?;
        let under_way = Arc::new(UnderWay {
            run: job.run,
            since: clock::now(),
            flight: InFlight::default(),
        });
        self.under_way.push(Arc::clone(&under_way));
        Some((job, under_way))
    }
}

/// A launch that is asked for.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) run: RunId,
    pub(super) plan: Plan,
    pub(super) stdin: Arc<OwnedFd>,
    pub(super) stdout: Arc<OwnedFd>,
    pub(super) stderr: Arc<OwnedFd>,
    pub(super) passed: Vec<(u32, Arc<OwnedFd>)>,
    pub(super) held: Vec<OwnedFd>,
}

#[derive(Debug)]
struct UnderWay {
    run: RunId,
    since: Time,
    flight: InFlight,
}

/// A launch that is over.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) run: RunId,
    pub(super) result: Result<Launched, NotStarted>,
}

#[derive(Debug)]
pub(super) struct NotStarted {
    pub(super) why: Arc<str>,
    /// What it means as an exit code.
    pub(super) code: u8,
}

impl NotStarted {
    pub(super) fn called_off() -> Self {
        "stopped before it was started".to_owned().into()
    }
}

impl From<LaunchError> for NotStarted {
    fn from(error: LaunchError) -> Self {
        let code = match &error {
            LaunchError::Step(failure) => code_of(failure),
            _ => ending::NOT_STARTED,
        };
        let why = reason(&error);
        Self { why, code }
    }
}

impl From<String> for NotStarted {
    fn from(why: String) -> Self {
        let code = ending::NOT_STARTED;
        Self {
            why: why.into(),
            code,
        }
    }
}

/// What a launch that failed means as an exit code, in the words of shells.
pub(super) fn code_of(failure: &StepFailure) -> u8 {
    match failure.errno {
        _ if !failure.is_command => ending::NOT_STARTED,
        libc::ENOENT | libc::ENOTDIR => ending::NO_SUCH_PROGRAM,
        _ => ending::CANNOT_EXECUTE,
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Nothing in there is half done when a thread panics.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        while let Some((job, under_way)) = self.next() {
            self.carry_out(&job, &under_way);
        }
    }

    /// The next launch; spares are made where there is none. `None` at the end.
    fn next(&self) -> Option<(Job, Arc<UnderWay>)> {
        let mut queue = self.lock();
        loop {
            if let Some(next) = queue.begin_next() {
                return Some(next);
            }
            if queue.is_closed {
                return None;
            }
            if std::mem::take(&mut queue.wants_spares) {
                drop(queue);
                self.launcher.make_spares();
                queue = self.lock();
                continue;
            }
            queue.idle += 1;
            queue = self
                .more
                .wait(queue)
                .unwrap_or_else(PoisonError::into_inner);
            queue.idle -= 1;
        }
    }

    fn carry_out(&self, job: &Job, under_way: &Arc<UnderWay>) {
        let launch = AssertUnwindSafe(|| self.launch(job, &under_way.flight));
        let result = catch_unwind(launch)
            .unwrap_or_else(|panic| Err(format!("bug in herd: {}", panic_words(&*panic)).into()));
        let mut queue = self.lock();
        queue
            .under_way
            .retain(|other| !Arc::ptr_eq(other, under_way));
        let run = job.run;
        self.tell(&mut queue, Done { run, result });
    }

    fn launch(&self, job: &Job, flight: &InFlight) -> Result<Launched, NotStarted> {
        let passed: Vec<(u32, BorrowedFd<'_>)> = job
            .passed
            .iter()
            .map(|(number, fd)| (*number, fd.as_fd()))
            .collect();
        let held: Vec<BorrowedFd<'_>> = job.held.iter().map(AsFd::as_fd).collect();
        let files = Files {
            stdin: job.stdin.as_fd(),
            stdout: job.stdout.as_fd(),
            stderr: job.stderr.as_fd(),
            passed: &passed,
            held: &held,
            own: &[],
        };
        Ok(self.launcher.launch_in_sight(&job.plan, files, flight)?)
    }

    fn tell(&self, queue: &mut Queue, done: Done) {
        queue.done.push(done);
        if queue.done.len() == 1 {
            // It counts to 2^64; a write that fails would have said nothing new.
            rustix::io::write(&self.done, &1_u64.to_ne_bytes()).ok();
        }
    }
}

impl Launches {
    /// No thread runs before there is something to start.
    ///
    /// # Errors
    /// As `eventfd(2)`.
    pub(super) fn new(launcher: Launcher) -> io::Result<Self> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let shared = Shared {
            launcher,
            queue: Mutex::default(),
            more: Condvar::new(),
            done: eventfd(0, flags)?,
        };
        Ok(Self {
            shared: Arc::new(shared),
            threads: Vec::new(),
            tried: None,
        })
    }

    /// Whether another launch can be asked for that would begin soon.
    pub(super) fn has_room(&self) -> bool {
        self.shared.lock().wanted.len() < AT_HAND
    }

    pub(super) fn ask(&mut self, job: Job) {
        let is_idle = {
            let mut queue = self.shared.lock();
            queue.wanted.push_back(job);
            queue.idle > 0
        };
        if is_idle {
            self.shared.more.notify_one();
        } else if self.threads.is_empty() && self.start_thread().is_err() {
            // The loop has to do it then, rather than nobody.
            let next = self.shared.lock().begin_next();
            if let Some((job, under_way)) = next {
                self.shared.carry_out(&job, &under_way);
            }
        }
    }

    fn start_thread(&mut self) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        let thread = std::thread::Builder::new()
            .name("launches".to_owned())
            .stack_size(STACK)
            .spawn(move || shared.run())?;
        self.threads.push(thread);
        Ok(())
    }

    /// When to [go on](Self::go_on): while launches wait behind others.
    pub(super) fn deadline(&self) -> Option<Time> {
        if self.threads.len() >= AT_MOST {
            return None;
        }
        let queue = self.shared.lock();
        if queue.wanted.is_empty() || queue.idle > 0 {
            return None;
        }
        let begun = queue.under_way.iter().map(|under_way| under_way.since);
        let latest = begun.chain(self.tried).max();
        latest.map(|since| since + PATIENCE)
    }

    /// Starts another thread where all stand still.
    pub(super) fn go_on(&mut self, now: Time) {
        if self.deadline().is_some_and(|at| at <= now) {
            self.tried = Some(now);
            // Without one, they wait on.
            self.start_thread().ok();
        }
    }

    pub(super) fn take_done(&self) -> Vec<Done> {
        // The count says nothing; without one there is nothing to take.
        rustix::io::read(&self.shared.done, &mut [0_u8; 8]).ok();
        std::mem::take(&mut self.shared.lock().done)
    }

    /// Nobody wants the process of this run any more: it is not started, or killed before it executes its program. Its
    /// end is told as that of any launch.
    pub(super) fn call_off(&self, run: RunId) {
        let mut queue = self.shared.lock();
        let waiting = queue.wanted.iter().position(|job| job.run == run);
        if let Some(job) = waiting.and_then(|at| queue.wanted.remove(at)) {
            let done = Done {
                run: job.run,
                result: Err(NotStarted::called_off()),
            };
            return self.shared.tell(&mut queue, done);
        }
        if let Some(under_way) = queue.under_way.iter().find(|launch| launch.run == run) {
            under_way.flight.call_off();
        }
    }

    /// Whether this may be the process of a launch under way.
    pub(super) fn may_be_launching(&self, pid: i32) -> bool {
        let queue = self.shared.lock();
        let mut flights = queue.under_way.iter().map(|launch| launch.flight.pid());
        !queue.done.is_empty() || flights.any(|flight| flight.is_none_or(|of| of == pid))
    }

    /// Asks for executors in reserve, once nothing is to be started.
    pub(super) fn make_spares(&self) {
        self.shared.lock().wants_spares = true;
        self.shared.more.notify_one();
    }

    pub(super) fn end_spares(&self) {
        self.shared.launcher.end_spares();
    }

    /// Before herd ends. A thread that stands still is left behind.
    pub(super) fn close(&mut self) {
        let is_at_work = {
            let mut queue = self.shared.lock();
            queue.is_closed = true;
            queue.wanted.clear();
            !queue.under_way.is_empty()
        };
        self.shared.more.notify_all();
        for thread in self.threads.drain(..).filter(|_| !is_at_work) {
            // Panics are caught where they matter.
            thread.join().ok();
        }
    }
}

impl AsFd for Launches {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.shared.done.as_fd()
    }
}
