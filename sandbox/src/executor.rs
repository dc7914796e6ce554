//! The executor: this binary, executed again to build one box and become its first process.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read};
use std::num::TryFromIntError;
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{MemfdFlags, SealFlags};
use serde::{Deserialize, Serialize};

use crate::launch::{LaunchError, executor_name};
use crate::main_process::{Descriptors, Failure, NOT_EXECUTED, Prepared, reset_signals};
use crate::plan::Plan;
use crate::status;
use crate::sys::exec::{StringArray, execveat};
use crate::sys::signals;
use crate::sys::{Errno, descriptors, process};
use crate::walk;
use crate::zygote;

/// Where the executor finds the plan.
const PLAN: RawFd = 3;
/// Where the executor finds its end of the status channel.
const STATUS: RawFd = 4;
/// The first of the descriptors passed to the service.
const FIRST_PASSED: RawFd = 5;
/// More than anybody passes: the plan says how many there are.
const MOST_FILES: usize = 1 << 16;

/// What the executor is given besides descriptors.
#[derive(Debug, Deserialize)]
struct Handed {
    plan: Plan,
    /// The numbers of the passed descriptors in the main process.
    passed: Vec<u32>,
}

/// [`Handed`] as it is written: the same fields in the same order.
#[derive(Debug, Serialize)]
struct Handing<'a> {
    plan: &'a Plan,
    passed: Vec<u32>,
}

/// What the executor reads.
pub(crate) fn write_down(plan: &Plan, passed: Vec<u32>) -> Result<Vec<u8>, LaunchError> {
    Ok(postcard::to_stdvec(&Handing { plan, passed })?)
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
            Part::Zygote => arguments.push(c"zygote".to_owned()),
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

/// The executor's `main`: this binary with `argv[0]` = `herd-exec`. Descriptors are as
/// [`Launcher::launch`](crate::Launcher::launch) leaves them.
pub fn herd_exec_main() -> ! {
    let mut arguments = std::env::args_os();
    if arguments.next_back().is_some_and(|last| last == "zygote") {
        zygote::run();
    }
    match Work::left_by_caller() {
        Ok(work) => run(work),
        // Whoever runs this by hand has no channel to be told on.
        Err(_) => process::exit_now(NOT_EXECUTED),
    }
}

/// What an executor is given to do.
#[derive(Debug)]
pub(crate) struct Work {
    /// A written [`Handed`].
    pub(crate) handed: Vec<u8>,
    pub(crate) channel: OwnedFd,
    /// 0 to 2 of the main process, then the passed ones.
    pub(crate) files: Vec<RawFd>,
    pub(crate) ignored: signals::Set,
    pub(crate) place: Place,
}

/// Where the walk begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// In the caller's PID namespace.
    Outside,
    /// As the first process of a PID namespace that is to be the box's.
    First,
}

impl Work {
    /// Of a program that [`Start`] has executed.
    fn left_by_caller() -> io::Result<Self> {
        let mut handed = Vec::new();
        File::from(descriptors::adopt(PLAN)?).read_to_end(&mut handed)?;
        Ok(Self {
            handed,
            channel: descriptors::adopt(STATUS)?,
            files: (0..3).chain(FIRST_PASSED..).take(MOST_FILES).collect(),
            ignored: signals::ignored(),
            place: Place::Outside,
        })
    }
}

/// Builds the box.
pub(crate) fn run(work: Work) -> ! {
    let place = work.place;
    match prepare(work) {
        Ok((plan, prepared, channel)) => walk::walk(plan, prepared, channel, place),
        Err(_) => process::exit_now(NOT_EXECUTED),
    }
}

fn prepare(work: Work) -> io::Result<(Plan, Prepared, OwnedFd)> {
    process::set_umask(0);
    let Handed { plan, passed } = postcard::from_bytes(&work.handed)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    if !plan.makes_user_namespace() {
        // Nobody inside may look at us or through our descriptors. (See there for the other case.)
        process::set_dumpable(false)?;
    }
    let wanted = 3 + passed.len();
    let targets = (0..3u32).chain(passed).map(RawFd::try_from);
    let moves = work
        .files
        .into_iter()
        .zip(targets)
        .map(|(from, to)| Ok((from, to?)))
        .collect::<Result<Vec<_>, TryFromIntError>>()
        .map_err(|_| io::ErrorKind::InvalidData)?;
    if moves.len() != wanted {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let past_all = moves.iter().map(|(from, _)| from + 1).max().unwrap_or(0);
    let descriptors = Descriptors::new(None, moves);
    // Out of the way of those we are given, and of the numbers that the main process is to have.
    let lowest = descriptors.above().max(past_all);
    let channel = rustix::io::fcntl_dupfd_cloexec(&work.channel, lowest)?;
    drop(work.channel);
    rustix::process::chdir(c"/")?;
    let prepared = Prepared::new(&plan, descriptors, work.ignored);
    Ok((plan, prepared, channel))
}
