//! The steps of the main process, up to its `execve`.
//!
//! They are walked in two places: by the child of [`crate::launch`], which shares its parent's
//! memory, and by the main process of a box. For the first they must not allocate, lock or panic:
//! all they need is laid out beforehand in [`Prepared`].

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};

use rustix::fs::{Mode, OFlags, ResolveFlags};

use crate::config::{CpuPolicy, IoClass, Resource, Rlimit, SecureBit};
use crate::landlock::{self, Ruleset};
use crate::plan::Plan;
use crate::step::{OwnedDirectory, Program, Step};
use crate::sys::exec::{StringArray, execve};
use crate::sys::signals::{self, Disposition};
use crate::sys::{Errno, capabilities, descriptors, files, process};

/// What the main process needs besides its steps.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) arguments: StringArray,
    /// With a choice of `PWD` where there is one of directories to start in.
    environment: Option<StringArray>,
    /// The directory it starts in, of [`Step::FirstDirectory`].
    directory: AtomicUsize,
    /// The shell's arguments, for each candidate that may be a script.
    scripts: Vec<StringArray>,
    pub(crate) descriptors: Descriptors,
    /// Signals the caller ignores, which the program is not to inherit.
    pub(crate) ignored: signals::Set,
    pub(crate) landlock: Ruleset,
    /// Signals the caller has blocked.
    blocked: signals::Set,
    /// The limits on open files that the set-up has raised for itself.
    open_files: Option<Rlimit>,
}

impl Prepared {
    pub(crate) fn new(plan: &Plan, descriptors: Descriptors, ignored: signals::Set) -> Self {
        let nothing = || StringArray::new(Vec::new());
        let program = plan.steps.iter().find_map(Step::as_exec);
        let directories = plan.steps.iter().find_map(Step::as_first_directory);
        let environment = program.map(|program| match directories {
            Some(directories) => environment_by_directory(program, directories),
            None => environment(program, program.environment.clone()),
        });
        let script = |program: &Program, candidate: &CString| {
            let rest = program.arguments.iter().skip(1).cloned();
            let shell = [SHELL.to_owned(), candidate.clone()];
            StringArray::new(shell.into_iter().chain(rest).collect())
        };
        let scripts = program.filter(|program| program.may_be_script);
        let scripts = scripts.map(|program| {
            let candidates = program.candidates.iter();
            candidates.map(|one| script(program, one)).collect()
        });
        Self {
            arguments: program.map_or_else(nothing, |program| {
                StringArray::new(program.arguments.clone())
            }),
            environment,
            directory: AtomicUsize::new(0),
            scripts: scripts.unwrap_or_default(),
            descriptors,
            ignored,
            landlock: Ruleset::none(),
            blocked: 0,
            open_files: None,
        }
    }

    /// Limits that the program gets back.
    pub(crate) fn limiting(mut self, open_files: Option<Rlimit>) -> Self {
        self.open_files = open_files;
        self
    }

    /// The caller's own mask, for a program that is to get it.
    pub(crate) fn blocking(mut self, blocked: signals::Set) -> Self {
        self.blocked = blocked;
        self
    }
}

const SHELL: &CStr = c"/bin/sh";

fn environment(program: &Program, variables: Vec<CString>) -> StringArray {
    StringArray::with_pid_variables(variables, &program.pid_variables)
}

/// `PWD`, in its place if it has one, is that of the directory.
fn environment_by_directory(program: &Program, directories: &[CString]) -> StringArray {
    let pairs = directories.iter().map(|directory| {
        let pair = [b"PWD=", directory.to_bytes()].concat();
        // There was no NUL in the directory.
        CString::new(pair).unwrap_or_default()
    });
    let mut variables = program.environment.clone();
    let mut known = variables.iter();
    let index = match known.position(|variable| variable.to_bytes().starts_with(b"PWD=")) {
        Some(index) => index,
        None => {
            variables.push(c"PWD=/".to_owned());
            variables.len() - 1
        }
    };
    environment(program, variables).with_choice(index, pairs.collect())
}

/// Walks the steps from `first` on, in a process whose memory the parent reads afterwards.
#[derive(Debug)]
pub(crate) struct Walk<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) prepared: &'a Prepared,
    first: usize,
    /// The step that was begun last.
    at: AtomicUsize,
    failure: Failure,
}

/// Written by the child, read by the parent once the child is gone from its memory.
#[derive(Debug)]
pub(crate) struct Failure {
    step: AtomicUsize,
    errno: AtomicI32,
}

impl Failure {
    pub(crate) fn none() -> Self {
        Self {
            step: AtomicUsize::new(usize::MAX),
            errno: AtomicI32::new(0),
        }
    }

    pub(crate) fn set(&self, step: usize, errno: Errno) {
        self.errno.store(errno.0, Ordering::Relaxed);
        self.step.store(step, Ordering::Release);
    }

    pub(crate) fn get(&self) -> Option<(usize, Errno)> {
        let step = self.step.load(Ordering::Acquire);
        (step != usize::MAX).then(|| (step, Errno(self.errno.load(Ordering::Relaxed))))
    }
}

/// The exit status of a process that never became the program.
pub(crate) const NOT_EXECUTED: i32 = 127;

impl<'a> Walk<'a> {
    pub(crate) fn new(plan: &'a Plan, prepared: &'a Prepared, first: usize) -> Self {
        Self {
            plan,
            prepared,
            first,
            at: AtomicUsize::new(first),
            failure: Failure::none(),
        }
    }

    /// The step that failed.
    pub(crate) fn failure(&self) -> Option<(usize, Errno)> {
        self.failure.get()
    }

    /// The step at which the walker was killed, if it never came to its `execve`.
    pub(crate) fn cut_short(&self) -> Option<usize> {
        let at = self.at.load(Ordering::Acquire);
        let is_last = |step: &Step| matches!(step, Step::Exec(_));
        (!self.plan.steps.get(at).is_some_and(is_last)).then_some(at)
    }

    /// For [`crate::sys::clone::Stack::spawn`].
    pub(crate) extern "C" fn run(walk: &Self) -> ! {
        walk.walk();
        process::exit_now(NOT_EXECUTED)
    }

    /// Comes back only when a step has failed, which is then in `failure`.
    pub(crate) fn walk(&self) {
        for (index, step) in self.plan.steps.iter().enumerate().skip(self.first) {
            self.at.store(index, Ordering::Release);
            let answer = if self.plan.fail_at == Some(index) {
                Err(Errno(libc::ECANCELED))
            } else {
                perform(step, self.prepared)
            };
            if let Err(errno) = answer {
                return self.failure.set(index, errno);
            }
        }
    }
}

/// Does one step of the main process. Allocates nothing.
pub(crate) fn perform(step: &Step, prepared: &Prepared) -> Result<(), Errno> {
    match step {
        Step::Directory(directory) => make_directory(directory),
        Step::OomScore(score) => set_oom_score(*score),
        Step::Descriptors(_) => {
            prepared.descriptors.put_in_place()?;
            prepared.open_files.map_or(Ok(()), set_rlimit)
        }
        Step::Session {
            controlling_terminal,
        } => {
            process::new_session()?;
            if *controlling_terminal {
                process::take_terminal()
            } else {
                Ok(())
            }
        }
        Step::Foreground => process::take_foreground(),
        Step::Signals { ignore_sigpipe } => reset_signals(prepared.ignored, *ignore_sigpipe),
        Step::SignalsOfCaller => {
            if !signals::ignored_pipe_at_start() {
                signals::set_disposition(libc::SIGPIPE, Disposition::Default)?;
            }
            signals::set_mask(prepared.blocked).map(drop)
        }
        Step::Nice(nice) => process::set_nice(*nice),
        Step::Scheduler { policy, priority } => {
            process::set_scheduler(scheduler(*policy), i32::from(*priority))
        }
        Step::Affinity(affinity) => process::set_affinity(&affinity.mask),
        Step::IoPriority { class, priority } => {
            process::set_io_priority(io_class(*class) << 13 | u32::from(*priority))
        }
        Step::TimerSlack { nanoseconds } => process::set_timer_slack(*nanoseconds),
        Step::Rlimit(limit) => set_rlimit(*limit),
        Step::Umask(mask) => {
            process::set_umask(*mask);
            Ok(())
        }
        Step::BoundingSet { keep } => (0..64u8)
            .filter(|number| keep >> number & 1 == 0)
            .try_for_each(capabilities::drop_from_bounding_set),
        Step::Groups(groups) => process::set_groups(groups),
        Step::Gid(gid) => process::set_gid(*gid),
        Step::KeepCapabilities => capabilities::keep_over_user_change(),
        Step::Uid(uid) => process::set_uid(*uid),
        Step::Capabilities {
            permitted,
            inheritable,
        } => {
            capabilities::clear_ambient()?;
            capabilities::set(capabilities::permitted()? & permitted, *inheritable)
        }
        Step::Ambient(set) => set
            .iter()
            .copied()
            .try_for_each(capabilities::raise_ambient),
        Step::SecureBits(bits) => {
            // A change of user leaves them permitted and not effective.
            capabilities::set(capabilities::permitted()?, 0)?;
            let numbers = SecureBit::ALL
                .iter()
                .filter(|(_, bit, _)| bits.contains(bit));
            capabilities::set_secure_bits(numbers.fold(0, |set, (_, _, bit)| set | 1 << bit))
        }
        Step::DieWithParent => process::die_with_parent(),
        Step::WorkingDirectory { path, optional } => change_directory(path, *optional),
        Step::FirstDirectory(paths) => change_to_first(paths, &prepared.directory),
        Step::Keyring { with_user_keyring } => {
            process::join_new_keyring()?;
            if *with_user_keyring {
                process::link_user_keyring()
            } else {
                Ok(())
            }
        }
        Step::NoNewPrivileges => process::no_new_privileges(),
        Step::Landlock(step) => landlock::perform(step, &prepared.landlock),
        Step::Filter { program, flags, .. } => process::install_filter(program.words(), *flags),
        Step::Exec(program) => Err(execute(program, prepared)),
        // The walk of a box has done these before the main process exists.
        Step::CreateCgroup(_)
        | Step::JoinCgroup(_)
        | Step::Join(_)
        | Step::TimeNamespace { .. }
        | Step::UserNamespace(_)
        | Step::LimitUserNamespaces(_)
        | Step::Maps(_)
        | Step::Untraceable
        | Step::SecondUserNamespace(_)
        | Step::HoldSecondUser(_)
        | Step::JoinSecondUser
        | Step::AssertNoUserNamespaces
        | Step::Namespaces(_)
        | Step::FirstProcess(_)
        | Step::Hostname(_)
        | Step::Domainname(_)
        | Step::Loopback
        | Step::TakeNetwork(_)
        | Step::KeepNetwork(_)
        | Step::Connect
        | Step::Mount(_)
        | Step::Gate
        | Step::Block(_)
        | Step::KeepOpen(_)
        | Step::Lock(_)
        | Step::StartMain => Err(Errno(libc::ENOSYS)),
        // The reaper looks for it in the plan.
        Step::Linger => Ok(()),
    }
}

/// Where the descriptors of the main process come from.
#[derive(Debug)]
pub(crate) struct Descriptors {
    /// The table is shared with the parent: numbers from here on are neither needed nor copied.
    unshare_from: Option<RawFd>,
    /// In the order of their targets.
    moves: Vec<Move>,
    /// Whether others stay as they are.
    others_stay: bool,
}

#[derive(Debug)]
struct Move {
    from: RawFd,
    to: RawFd,
    /// Where it is while other targets are filled.
    meanwhile: AtomicI32,
}

impl Descriptors {
    /// `moves` are `(from, to)`; the targets differ from each other.
    pub(crate) fn new(
        unshare_from: Option<RawFd>,
        moves: impl IntoIterator<Item = (RawFd, RawFd)>,
    ) -> Self {
        let mut moves: Vec<Move> = moves
            .into_iter()
            .map(|(from, to)| Move {
                from,
                to,
                meanwhile: AtomicI32::new(-1),
            })
            .collect();
        moves.sort_by_key(|one| one.to);
        Self {
            unshare_from,
            moves,
            others_stay: false,
        }
    }

    /// What is no target stays as it is.
    pub(crate) fn beside_others(mut self) -> Self {
        self.others_stay = true;
        self
    }

    /// The first number above all targets.
    pub(crate) fn above(&self) -> RawFd {
        self.moves
            .last()
            .map_or(0, |last| last.to.saturating_add(1))
    }

    /// Where what goes to `target` comes from.
    pub(crate) fn source_of(&self, target: RawFd) -> Option<RawFd> {
        let mut moves = self.moves.iter();
        moves.find(|one| one.to == target).map(|one| one.from)
    }

    /// Unshares the table if it is shared.
    pub(crate) fn unshare(&self) -> Result<(), Errno> {
        self.unshare_from
            .map_or(Ok(()), descriptors::unshare_and_close_from)
    }

    fn put_in_place(&self) -> Result<(), Errno> {
        self.unshare()?;
        self.fill()
    }

    /// Fills the targets and closes, now or at `execve`, everything else.
    pub(crate) fn fill(&self) -> Result<(), Errno> {
        // In two phases: a target may be the number another one still comes from.
        let above = self.above();
        for one in &self.moves {
            let number = descriptors::duplicate_from(one.from, above)?;
            one.meanwhile.store(number, Ordering::Relaxed);
        }
        let mut next_free = 0;
        for one in &self.moves {
            descriptors::duplicate_onto(one.meanwhile.load(Ordering::Relaxed), one.to)?;
            if next_free < one.to && !self.others_stay {
                descriptors::close_between(next_free, one.to - 1)?;
            }
            next_free = one.to + 1;
        }
        if self.others_stay {
            return Ok(());
        }
        descriptors::close_on_exec_from(above)
    }
}

/// Nothing ignored, nothing blocked.
pub(crate) fn reset_signals(ignored: signals::Set, ignore_sigpipe: bool) -> Result<(), Errno> {
    for signal in 1..=signals::LAST_SIGNAL {
        if ignored >> (signal - 1) & 1 == 1 {
            signals::set_disposition(signal, Disposition::Default)?;
        }
    }
    if ignore_sigpipe {
        signals::set_disposition(libc::SIGPIPE, Disposition::Ignore)?;
    }
    signals::set_mask(0).map(drop)
}

/// Makes what is missing on the way and gives the last directory to its owner.
///
/// A symlink on the way is followed only if it belongs to root or to us: the owner of one
/// service's directory must not be able to send another service's elsewhere. Below a directory of the
/// service's own none is: a box of root could have planted it for its next start.
fn make_directory(wanted: &OwnedDirectory) -> Result<(), Errno> {
    let directory = open_directory(wanted)?;
    give_directory(directory.as_fd(), wanted)
}

/// The last directory as it is, or as it was made.
pub(crate) fn open_directory(wanted: &OwnedDirectory) -> Result<OwnedFd, Errno> {
    const STEP_INTO: i32 = libc::O_PATH | libc::O_DIRECTORY;
    let ourselves = rustix::process::geteuid().as_raw();
    let mut here: OwnedFd = files::open(c"/", STEP_INTO)?;
    for (position, name) in wanted.names.iter().enumerate() {
        let next = match files::open_at(here.as_fd(), name, libc::O_PATH | libc::O_NOFOLLOW) {
            Err(Errno::ENOENT) => {
                match files::make_directory_at(here.as_fd(), name, 0o755) {
                    Ok(()) | Err(Errno::EEXIST) => {}
                    Err(errno) => return Err(errno),
                }
                files::open_at(here.as_fd(), name, STEP_INTO | libc::O_NOFOLLOW)?
            }
            answer => answer?,
        };
        let kind = files::kind_of(next.as_fd())?;
        here = if kind.is_directory() {
            next
        } else if kind.is_symlink()
            && position < wanted.may_be_links
            && (kind.uid == 0 || kind.uid == ourselves)
        {
            files::open_at(here.as_fd(), name, STEP_INTO)?
        } else if kind.is_symlink() {
            return Err(Errno::ELOOP);
        } else {
            return Err(Errno::ENOTDIR);
        };
    }
    files::open_at(here.as_fd(), c".", libc::O_RDONLY | libc::O_DIRECTORY)
}

pub(crate) fn give_directory(
    directory: BorrowedFd<'_>,
    wanted: &OwnedDirectory,
) -> Result<(), Errno> {
    if wanted.uid.is_some() || wanted.gid.is_some() {
        files::change_owner(directory, wanted.uid, wanted.gid)?;
    }
    files::change_mode(directory, wanted.mode)
}

fn set_oom_score(score: i16) -> Result<(), Errno> {
    let file = files::open_proc(c"/proc/self/oom_score_adj", libc::O_WRONLY)?;
    let mut digits = [0u8; 6];
    let mut start = digits.len();
    let mut rest = score.unsigned_abs();
    loop {
        start -= 1;
        digits[start] = b"0123456789"[usize::from(rest % 10)];
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if score < 0 {
        start -= 1;
        digits[start] = b'-';
    }
    files::write_all(file.as_fd(), &digits[start..])
}

fn change_directory(path: &CStr, optional: bool) -> Result<(), Errno> {
    // No magic links: `/proc/self/fd/N` as a working directory would lead out of the root.
    let open = |path: &CStr| {
        rustix::fs::openat2(
            rustix::fs::CWD,
            path,
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
            ResolveFlags::NO_MAGICLINKS,
        )
        .map_err(Errno::from)
    };
    let directory = match open(path) {
        Err(Errno::ENOENT) if optional => open(c"/")?,
        answer => answer?,
    };
    files::change_directory(directory.as_fd())
}

/// Remembers which it was.
fn change_to_first(paths: &[CString], chosen: &AtomicUsize) -> Result<(), Errno> {
    let mut reason = Errno::ENOENT;
    for (index, path) in paths.iter().enumerate() {
        match files::change_directory_to(path) {
            Ok(()) => {
                chosen.store(index, Ordering::Relaxed);
                return Ok(());
            }
            Err(errno) => reason = errno,
        }
    }
    Err(reason)
}

/// Becomes the program; comes back with the reason why not.
fn execute(program: &Program, prepared: &Prepared) -> Errno {
    let Some(environment) = &prepared.environment else {
        return Errno(libc::EINVAL);
    };
    environment.choose(prepared.directory.load(Ordering::Relaxed));
    environment.write_pid(process::own_pid());
    let is_path = program.command.to_bytes().contains(&b'/');
    let mut reason = Errno::ENOENT;
    for (index, candidate) in program.candidates.iter().enumerate() {
        let mut answer = execve(candidate, &prepared.arguments, environment);
        if answer == Errno(libc::ENOEXEC)
            && let Some(script) = prepared.scripts.get(index)
        {
            answer = execve(SHELL, script, environment);
        }
        match answer {
            errno if is_path => return errno,
            Errno::ENOENT | Errno::ENOTDIR => {}
            // Another directory of the path may have one that can be executed.
            Errno::EACCES => reason = Errno::EACCES,
            errno => return errno,
        }
    }
    reason
}

fn set_rlimit(limit: Rlimit) -> Result<(), Errno> {
    const INFINITY: u64 = libc::RLIM64_INFINITY;
    process::set_rlimit(
        resource(limit.resource),
        limit.soft.unwrap_or(INFINITY),
        limit.hard.unwrap_or(INFINITY),
    )
}

fn resource(resource: Resource) -> u32 {
    match resource {
        Resource::AddressSpace => libc::RLIMIT_AS,
        Resource::Core => libc::RLIMIT_CORE,
        Resource::CpuTime => libc::RLIMIT_CPU,
        Resource::Data => libc::RLIMIT_DATA,
        Resource::FileSize => libc::RLIMIT_FSIZE,
        Resource::FileLocks => libc::RLIMIT_LOCKS,
        Resource::LockedMemory => libc::RLIMIT_MEMLOCK,
        Resource::MessageQueue => libc::RLIMIT_MSGQUEUE,
        Resource::Nice => libc::RLIMIT_NICE,
        Resource::OpenFiles => libc::RLIMIT_NOFILE,
        Resource::Processes => libc::RLIMIT_NPROC,
        Resource::RealtimePriority => libc::RLIMIT_RTPRIO,
        Resource::RealtimeTime => libc::RLIMIT_RTTIME,
        Resource::PendingSignals => libc::RLIMIT_SIGPENDING,
        Resource::Stack => libc::RLIMIT_STACK,
    }
}

fn scheduler(policy: CpuPolicy) -> i32 {
    match policy {
        CpuPolicy::Other => libc::SCHED_OTHER,
        CpuPolicy::Batch => libc::SCHED_BATCH,
        CpuPolicy::Idle => libc::SCHED_IDLE,
        CpuPolicy::Fifo => libc::SCHED_FIFO,
        CpuPolicy::RoundRobin => libc::SCHED_RR,
    }
}

fn io_class(class: IoClass) -> u32 {
    match class {
        IoClass::None => 0,
        IoClass::Realtime => 1,
        IoClass::BestEffort => 2,
        IoClass::Idle => 3,
    }
}
