//! The executor: this binary, executed again to build one box and become its first process.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{MemfdFlags, SealFlags};
use serde::{Deserialize, Serialize};

use crate::failure::StepFailure;
use crate::held::HeldDescriptors;
use crate::launch::{LaunchError, executor_name};
use crate::main_process::{Descriptors, Failure, NOT_EXECUTED, Prepared, reset_signals};
use crate::plan::Plan;
use crate::status::{self, Wire};
use crate::step::NamespaceSet;
use crate::sys::exec::{StringArray, execveat};
use crate::sys::signals;
use crate::sys::{Errno, descriptors, process};
use crate::walk::Walker;
use crate::zygote;

/// Where the executor finds the plan.
const PLAN: RawFd = 3;
/// Where the executor finds its end of the status channel.
const STATUS: RawFd = 4;
/// The first of the descriptors passed to the service; those held for the launch follow.
const FIRST_PASSED: RawFd = 5;

/// What the executor is given besides descriptors.
#[derive(Debug, Deserialize)]
struct Handed {
    plan: Plan,
    /// The numbers of the passed descriptors in the main process.
    passed: Vec<u32>,
    /// How many held ones follow.
    held: usize,
}

/// [`Handed`] as it is written: the same fields in the same order.
#[derive(Debug, Serialize)]
struct Handing<'a> {
    plan: &'a Plan,
    passed: Vec<u32>,
    held: usize,
}

/// What the executor reads.
pub(crate) fn write_down(
    plan: &Plan,
    passed: Vec<u32>,
    held: usize,
) -> Result<Vec<u8>, LaunchError> {
    Ok(postcard::to_stdvec(&Handing { plan, passed, held })?)
}

/// The same in memory that nobody can change any more.
pub(crate) fn seal(bytes: &[u8]) -> Result<OwnedFd, LaunchError> {
    use std::io::{Seek, Write};
    let write = |bytes: &[u8]| -> io::Result<OwnedFd> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        // Kernels before 6.3 do not know NOEXEC_SEAL, and make every such file executable.
        let memory = match rustix::fs::memfd_create(c"herd-plan", flags | MemfdFlags::NOEXEC_SEAL) {
            Err(rustix::io::Errno::INVAL) => rustix::fs::memfd_create(c"herd-plan", flags)?,
            made => made?,
        };
        let mut file = File::from(memory);
        file.write_all(bytes)?;
        file.rewind()?;
        rustix::fs::fcntl_add_seals(
            &file,
            SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE,
        )?;
        Ok(file.into())
    };
    write(bytes).map_err(|source| LaunchError::Prepare {
        action: "write the plan down",
        source,
    })
}

/// Our end, which never blocks, and the executor's.
pub(crate) fn status_channel() -> io::Result<(OwnedFd, OwnedFd)> {
    let (ours, theirs) = status::pair()?;
    rustix::io::ioctl_fionbio(ours.as_fd(), true)?;
    Ok((ours, theirs))
}

/// What the started program is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Executor,
    Zygote,
}

/// What the child between `clone3` and the executor's `execveat` needs.
#[derive(Debug)]
pub(crate) struct Start {
    descriptors: Descriptors,
    image: RawFd,
    ignored: signals::Set,
    caller: i32,
    arguments: StringArray,
    environment: StringArray,
    pub(crate) failure: Failure,
}

impl Start {
    pub(crate) fn new(
        descriptors: Descriptors,
        image: RawFd,
        ignored: signals::Set,
        part: Part,
    ) -> Self {
        let mut arguments = vec![executor_name()];
        match part {
            Part::Executor => {}
            Part::Zygote => arguments.push(c"spare".to_owned()),
        }
        Self {
            descriptors,
            image,
            ignored,
            caller: process::own_pid(),
            arguments: StringArray::new(arguments),
            environment: StringArray::new(settings()),
            failure: Failure::none(),
        }
    }

    /// For [`crate::sys::clone::Stack::spawn`].
    pub(crate) extern "C" fn run(start: &Self) -> ! {
        let errno = start.execute().err().unwrap_or(Errno(libc::EIO));
        start.failure.set(0, errno);
        process::exit_now(NOT_EXECUTED)
    }

    fn execute(&self) -> Result<(), Errno> {
        // A caller that dies while a box is being built takes us with it.
        process::die_with_parent()?;
        if process::parent_pid() != self.caller {
            return Err(Errno(libc::ESRCH));
        }
        self.descriptors.unshare()?;
        let image = descriptors::duplicate_from(self.image, self.descriptors.above())?;
        self.descriptors.fill()?;
        reset_signals(self.ignored, false)?;
        Err(execveat(image, &self.arguments, &self.environment))
    }
}

/// All that the executor is told of our environment: how the C library is to run on this machine.
fn settings() -> Vec<CString> {
    let name = "GLIBC_TUNABLES";
    let value = std::env::var_os(name);
    let both = value.map(|value| [name.as_bytes(), b"=", value.as_bytes()].concat());
    both.and_then(|both| CString::new(both).ok())
        .into_iter()
        .collect()
}

/// Lets the calling program be its own executor: called first thing in `main`, before any thread is
/// started and any argument looked at.
///
/// A program that was started as an executor ([`Carrier::Executor`](crate::Carrier::Executor)) builds
/// its box here and does not come back. Any other comes back at once, and may from now on start boxes
/// whatever threads it has. See [`session`](crate::session) for what happens without this call.
pub fn executor_entry() {
    if std::env::args_os()
        .next()
        .is_some_and(|name| name.as_bytes() == executor_name().as_bytes())
    {
        herd_exec_main();
    }
    IS_READY.store(true, Ordering::Relaxed);
}

static IS_READY: AtomicBool = AtomicBool::new(false);

/// Claims that [`executor_entry`] was called.
pub(crate) fn is_ready() -> bool {
    IS_READY.load(Ordering::Relaxed)
}

/// The executor's `main`: this binary with `argv[0]` = `herd-exec`. Descriptors are as
/// [`Launcher::launch`](crate::Launcher::launch) leaves them.
pub fn herd_exec_main() -> ! {
    let mut arguments = std::env::args_os();
    if arguments.next_back().is_some_and(|last| last == "spare") {
        zygote::run();
    }
    match Work::left_by_caller() {
        Ok(work) => run(&work),
        // Whoever runs this by hand has no plan, and no channel to be told on.
        Err(_) => process::exit_now(NOT_EXECUTED),
    }
}

/// What an executor is given to do.
#[derive(Debug)]
pub(crate) struct Work {
    /// A written [`Handed`].
    pub(crate) handed: Vec<u8>,
    pub(crate) channel: RawFd,
    pub(crate) files: Numbers,
    pub(crate) ignored: signals::Set,
    /// Those of the box that we are in already.
    pub(crate) namespaces: NamespaceSet,
}

/// Where the executor has 0 to 2 of the main process, then the passed ones, then the held ones.
#[derive(Debug)]
pub(crate) enum Numbers {
    /// As [`Start`] leaves them.
    Left,
    /// As they came by message.
    Received(Vec<RawFd>),
}

impl Numbers {
    fn first(&self, count: usize) -> Option<Vec<RawFd>> {
        match self {
            Self::Left => Some((0..3).chain(FIRST_PASSED..).take(count).collect()),
            Self::Received(numbers) => numbers.get(..count).map(<[RawFd]>::to_vec),
        }
    }
}

impl Work {
    fn left_by_caller() -> io::Result<Self> {
        let mut handed = Vec::new();
        File::from(descriptors::adopt(PLAN)?).read_to_end(&mut handed)?;
        Ok(Self {
            handed,
            channel: STATUS,
            files: Numbers::Left,
            ignored: signals::ignored(),
            namespaces: NamespaceSet::default(),
        })
    }
}

/// Builds the box.
pub(crate) fn run(work: &Work) -> ! {
    process::set_umask(0);
    let Ok(Handed { plan, passed, held }) = postcard::from_bytes(&work.handed) else {
        process::exit_now(NOT_EXECUTED)
    };
    let own = 3 + passed.len();
    let Some(numbers) = work.files.first(own + held) else {
        process::exit_now(NOT_EXECUTED)
    };
    let targets = passed
        .iter()
        .map(|to| RawFd::try_from(*to).unwrap_or(RawFd::MAX));
    let moves = numbers.iter().copied().zip((0..3).chain(targets));
    let descriptors = Descriptors::new(None, moves);
    // Out of the way of those we are given, and of the numbers that the main process is to have.
    let past_all = numbers.iter().max().map_or(0, |highest| highest + 1);
    let lowest = descriptors.above().max(past_all);
    let Ok(channel) = descriptors::take_over(work.channel, lowest) else {
        process::exit_now(NOT_EXECUTED)
    };
    let held = numbers
        .iter()
        .skip(own)
        .map(|number| descriptors::take_over(*number, lowest))
        .collect::<Result<Vec<_>, Errno>>();
    match held.and_then(|held| settle(&plan).map(|()| held)) {
        Ok(held) => {
            let prepared = Prepared::new(&plan, descriptors, work.ignored);
            let walker = Walker::new(&plan, &prepared, channel, HeldDescriptors::new(held));
            walker.in_namespaces(work.namespaces).walk()
        }
        Err(errno) => not_prepared(&plan, errno, channel.as_fd()),
    }
}

fn settle(plan: &Plan) -> Result<(), Errno> {
    // Executed by descriptor, it is called after a number.
    process::set_name(c"herd-exec")?;
    if !plan.makes_user_namespace() {
        // Nobody inside may look at us or through our descriptors. (See there for the other case.)
        process::set_dumpable(false)?;
    }
    Ok(rustix::process::chdir(c"/")?)
}

/// A walker that could not begin says so: a channel that closes in silence means success.
pub(crate) fn not_prepared(plan: &Plan, errno: Errno, channel: BorrowedFd<'_>) -> ! {
    let failure = StepFailure::new(plan, plan.steps.len(), errno);
    match status::send(channel, &Wire::Failed(failure), &[]) {
        // Nobody is left to hear of it.
        Ok(()) | Err(_) => process::exit_now(NOT_EXECUTED),
    }
}
