//! The walk of a box's steps, in the executor and then in the box's first process.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::RecvFlags;

use crate::cgroup::{self, CgroupError};
use crate::failure::{About, DIED, StepFailure};
use crate::filesystem::{MountFailure, MountTrouble, Mounts};
use crate::held::HeldDescriptors;
use crate::identity::apply as identity;
use crate::identity::hand_over::hand_over;
use crate::identity::join::{self, JoinStep};
use crate::identity::maps::Maps;
use crate::init;
use crate::main_process::{NOT_EXECUTED, Prepared, give_directory, open_directory, perform};
use crate::namespaces::NamespaceIds;
use crate::network::{Keeper, NetworkError, Taken};
use crate::plan::{Carrier, Plan};
use crate::status::{self, Wire};
use crate::step::{NamespaceSet, Step};
use crate::sys::clone::{Child, Parent, Side, fork};
use crate::sys::lend::Lent;
use crate::sys::network::loopback_up;
use crate::sys::{Errno, files, process};

/// Why a step was not done.
#[derive(Debug)]
pub(crate) struct Trouble {
    errno: Errno,
    /// What the step's own sentence does not say.
    detail: Option<String>,
    mount: Option<Box<MountFailure>>,
    /// Where the step does not say it.
    about: Option<About>,
}

impl From<Errno> for Trouble {
    fn from(errno: Errno) -> Self {
        Self {
            errno,
            detail: None,
            mount: None,
            about: None,
        }
    }
}

impl From<MountTrouble> for Trouble {
    fn from(trouble: MountTrouble) -> Self {
        Self {
            errno: trouble.errno,
            detail: trouble.about.as_ref().and_then(|about| about.detail()),
            mount: trouble.about,
            about: None,
        }
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Errno(error.raw_os_error().unwrap_or(libc::EIO)).into()
    }
}

impl From<identity::Refused> for Trouble {
    fn from(refused: identity::Refused) -> Self {
        Self {
            errno: refused.errno,
            detail: refused.detail,
            mount: None,
            about: None,
        }
    }
}

impl From<NetworkError> for Trouble {
    fn from(error: NetworkError) -> Self {
        Self {
            detail: Some(error.to_string()),
            ..error.errno().into()
        }
    }
}

impl From<CgroupError> for Trouble {
    fn from(error: CgroupError) -> Self {
        let mut source: Option<&(dyn std::error::Error + 'static)> = Some(&error);
        let mut errno = Errno(libc::EIO);
        while let Some(cause) = source {
            if let Some(code) = cause
                .downcast_ref::<io::Error>()
                .and_then(io::Error::raw_os_error)
            {
                errno = Errno(code);
            }
            source = cause.source();
        }
        Self {
            errno,
            detail: Some(error.to_string()),
            mount: None,
            about: None,
        }
    }
}

/// The process that walks: the executor, or a copy of the caller; from [`Step::Namespaces`] on the
/// box's first process, if it has one of its own.
pub(crate) struct Walker<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) prepared: &'a Prepared,
    /// To the caller.
    pub(crate) channel: OwnedFd,
    /// To the executor, in a first process that it has made.
    pub(crate) report: Option<OwnedFd>,
    pub(crate) held: HeldDescriptors,
    /// What the box's first process holds for as long as it lives.
    pub(crate) kept: Vec<OwnedFd>,
    /// The memory we work in, where it is the caller's.
    pub(crate) lent: Option<Lent>,
    /// Whether this process is a copy of the caller made in the box's namespaces.
    is_born_inside: bool,
    /// Those of the box that this process was in from the start; with a PID namespace it is the first one
    /// of that.
    namespaces: NamespaceSet,
    /// The host's `/proc`, where a step behind the mounts needs it.
    host_proc: Option<OwnedFd>,
    /// The user namespace that is joined last: its path is one of the caller's tree.
    second_user: Option<OwnedFd>,
    /// The box's place on networks, until it is connected.
    network: Option<Taken>,
    /// Who has a program lead it outside.
    keeper: Option<Keeper>,
    mounts: Mounts,
}

impl<'a> Walker<'a> {
    pub(crate) fn new(
        plan: &'a Plan,
        prepared: &'a Prepared,
        channel: OwnedFd,
        held: HeldDescriptors,
    ) -> Self {
        Self {
            plan,
            prepared,
            channel,
            report: None,
            held,
            kept: Vec::new(),
            lent: None,
            is_born_inside: false,
            namespaces: NamespaceSet::default(),
            host_proc: None,
            second_user: None,
            network: None,
            keeper: None,
            mounts: Mounts::default(),
        }
    }

    /// This process is a copy of the caller made in the box's namespaces.
    pub(crate) fn born_inside(mut self) -> Self {
        self.is_born_inside = true;
        self
    }

    /// The memory of this process is the caller's, who waits for it.
    pub(crate) fn in_lent_memory(mut self, lent: Option<Lent>) -> Self {
        self.lent = lent;
        self
    }

    /// This process is in some of the box's namespaces already.
    pub(crate) fn in_namespaces(mut self, namespaces: NamespaceSet) -> Self {
        self.namespaces = namespaces;
        self
    }

    /// Walks the plan to its `execve`, and in a box with a reaper beyond: never comes back.
    pub(crate) fn walk(mut self) -> ! {
        let plan = self.plan;
        let last = plan.last_word();
        for (index, step) in plan.steps.iter().enumerate() {
            let answer = if plan.fail_at == Some(index) {
                Err(Errno(libc::ECANCELED).into())
            } else if *step == Step::StartMain {
                // Descriptors of the old tree must not outlive the set-up.
                self.mounts = Mounts::default();
                self.held = HeldDescriptors::default();
                init::run(self, index + 1)
            } else if last == Some(index) && self.is_awaited() {
                self.tell_executing()
                    .and_then(|()| self.perform(index, step))
            } else {
                self.perform(index, step)
            };
            if let Err(trouble) = answer {
                let failure = told(plan, index, trouble);
                self.tell_failure(failure);
            }
        }
        process::exit_now(NOT_EXECUTED)
    }

    #[allow(
        clippy::wildcard_enum_match_arm,
        reason = "every other step is one of the main process"
    )]
    pub(crate) fn perform(&mut self, index: usize, step: &Step) -> Result<(), Trouble> {
        match step {
            Step::Directory(wanted) if wanted.whole => {
                let directory = open_directory(wanted)?;
                let owner = files::kind_of(directory.as_fd())?.uid;
                // The directory itself last: a walk that was cut short is done again.
                if wanted.uid.is_some_and(|uid| uid != owner) {
                    hand_over(directory.as_fd(), wanted.uid, wanted.gid)?;
                }
                Ok(give_directory(directory.as_fd(), wanted)?)
            }
            Step::CreateCgroup(group) => Ok(cgroup::create(group)?),
            Step::JoinCgroup(group) => Ok(cgroup::join(group)?),
            Step::UserNamespace(map) => {
                if self.plan.makes_second_user_namespace() {
                    self.host_proc = Some(identity::host_proc()?);
                }
                if !self.is_born_inside {
                    identity::unshare()?;
                }
                identity::map_alone(map)?;
                // The maps of a process that is not dumpable belong to root; from here on we are not.
                Ok(process::set_dumpable(false)?)
            }
            Step::Join(all) => self.join(all),
            Step::HoldSecondUser(one) => {
                self.second_user = Some(join::open(one, &self.held)?);
                Ok(())
            }
            Step::JoinSecondUser => self.join_second_user(),
            Step::TimeNamespace {
                monotonic,
                boottime,
            } => Ok(identity::make_time_namespace(*monotonic, *boottime)?),
            Step::LimitUserNamespaces(most) => Ok(identity::limit_further(*most)?),
            Step::Maps(maps) => self.become_mapped(maps),
            Step::Untraceable => Ok(process::set_dumpable(false)?),
            Step::SecondUserNamespace(map) => {
                process::set_dumpable(true)?;
                identity::unshare()?;
                match &self.host_proc {
                    Some(proc) => identity::map_alone_by(proc.as_fd(), map)?,
                    None => identity::map_alone(map)?,
                }
                Ok(process::set_dumpable(false)?)
            }
            Step::AssertNoUserNamespaces if identity::is_further_refused() => Ok(()),
            Step::AssertNoUserNamespaces => Err(Trouble {
                errno: Errno::EEXIST,
                detail: Some(
                    "creation of new user namespaces was not disabled as requested".into(),
                ),
                mount: None,
                about: None,
            }),
            Step::Domainname(name) => Ok(process::set_domainname(name)?),
            Step::Namespaces(_) | Step::FirstProcess(_) if self.is_born_inside => Ok(()),
            Step::Namespaces(set) => Ok(process::unshare(set.0)?),
            Step::FirstProcess(set) if self.namespaces.has_pid() => self.enter_the_rest(*set),
            Step::FirstProcess(set) => self.start_first(index, *set),
            Step::Gate => Ok(self.wait_at_gate()?),
            Step::Hostname(name) => Ok(process::set_hostname(name)?),
            Step::Loopback => Ok(loopback_up()?),
            Step::TakeNetwork(lease) => {
                self.network = Some(Taken::take(lease)?);
                Ok(())
            }
            Step::KeepNetwork(wanted) => {
                let log = self.prepared.descriptors.source_of(libc::STDERR_FILENO);
                self.keeper = Some(Keeper::start(wanted, log)?);
                Ok(())
            }
            Step::Connect => {
                if let Some(keeper) = self.keeper.take() {
                    keeper.connect()?;
                    self.kept.push(keeper.into_channel());
                    return Ok(());
                }
                let mut taken = self.network.take().ok_or(Errno(libc::EBADF))?;
                taken.connect()?;
                self.kept.extend(taken.take_live());
                Ok(())
            }
            Step::Mount(step) => Ok(self.mounts.perform(step, &self.held)?),
            Step::Block(held) => Ok(block(self.held.borrow(*held)?)?),
            Step::KeepOpen(held) => {
                let kept = self.held.borrow(*held)?.try_clone_to_owned()?;
                self.kept.push(kept);
                Ok(())
            }
            Step::Lock(path) => {
                let file = self.open_lock(path)?;
                let lock = rustix::fs::FlockOperation::NonBlockingLockShared;
                rustix::fs::fcntl_lock(&file, lock).map_err(Errno::from)?;
                self.kept.push(file);
                Ok(())
            }
            Step::Descriptors(_) => {
                self.mounts = Mounts::default();
                self.host_proc = None;
                self.held = HeldDescriptors::default();
                // From here on this process is the service's own: it does not end with the
                // caller unless that was asked for, which is a later step.
                if self.plan.outlives_parent() {
                    process::outlive_parent()?;
                }
                Ok(perform(step, self.prepared)?)
            }
            step => Ok(perform(step, self.prepared)?),
        }
    }

    fn join(&self, all: &[JoinStep]) -> Result<(), Trouble> {
        join::join(all, &self.held).map_err(|(one, errno)| Trouble {
            detail: (all.len() > 1).then(|| one.to_string()),
            about: Some(About::Join(one.kind)),
            ..errno.into()
        })?;
        // Becoming somebody in a user namespace has cleared it (see `start_first`).
        process::die_with_parent()?;
        if status::is_closed(self.channel.as_fd()) {
            process::exit_now(NOT_EXECUTED);
        }
        Ok(())
    }

    /// The first process of its PID namespace becomes that of all the others.
    fn enter_the_rest(&self, set: NamespaceSet) -> Result<(), Trouble> {
        // The caller may have died before we asked to die with it.
        if status::is_closed(self.channel.as_fd()) {
            process::exit_now(NOT_EXECUTED)
        }
        Ok(process::unshare(set.without(self.namespaces).0)?)
    }

    fn start_first(&mut self, index: usize, set: NamespaceSet) -> Result<(), Trouble> {
        let (outside, inside) = status::pair()?;
        match fork(Parent::OurParent, set.0)? {
            Side::Parent(init) => {
                drop(inside);
                if let Some(report) = &self.report {
                    step_aside(report, &init, &outside)
                }
                self.stay_outside(index, &init, &outside)
            }
            Side::Child => {
                drop(outside);
                // Until the box stands: a caller that dies meanwhile leaves nothing.
                process::die_with_parent()?;
                // Out of the way of the descriptors of the main process.
                let lowest = self.prepared.descriptors.above();
                let report = rustix::io::fcntl_dupfd_cloexec(&inside, lowest);
                self.report = Some(report.map_err(Errno::from)?);
                // The caller may have died before we asked to die with it.
                if status::is_closed(self.channel.as_fd()) {
                    process::exit_now(NOT_EXECUTED)
                }
                Ok(())
            }
        }
    }

    /// A relative path starts where the program will.
    fn open_lock(&self, path: &CStr) -> Result<OwnedFd, Errno> {
        let flags = libc::O_RDONLY | libc::O_NONBLOCK;
        if path.to_bytes().starts_with(b"/") {
            return files::open(path, flags);
        }
        let steps = self.plan.steps.iter();
        let directories = steps.filter_map(Step::as_first_directory).flatten();
        let enter = libc::O_PATH | libc::O_DIRECTORY;
        let mut directories = directories.filter_map(|one| files::open(one, enter).ok());
        let start = directories.next().ok_or(Errno::ENOENT)?;
        files::open_at(start.as_fd(), path, flags)
    }

    fn join_second_user(&mut self) -> Result<(), Trouble> {
        let second = self.second_user.take().ok_or(Errno(libc::EBADF))?;
        process::join_namespace(second.as_fd(), libc::CLONE_NEWUSER)?;
        process::die_with_parent()?;
        Ok(process::set_dumpable(false)?)
    }

    /// Waits for the maps, and becomes somebody who has a place in them.
    fn become_mapped(&self, maps: &Maps) -> Result<(), Trouble> {
        let writer = self.report.as_ref().unwrap_or(&self.channel);
        match status::take(writer.as_fd())? {
            Some(Wire::Mapped) => {}
            // Whoever writes them tells why not.
            _ => process::exit_now(NOT_EXECUTED),
        }
        process::set_gid(maps.gid)?;
        process::set_uid(maps.uid)?;
        // The change of user has cleared it.
        process::die_with_parent()?;
        if status::is_closed(self.channel.as_fd()) {
            process::exit_now(NOT_EXECUTED);
        }
        Ok(())
    }

    /// Tells the caller which namespaces there are, and waits for its leave to go on.
    fn wait_at_gate(&self) -> io::Result<()> {
        let ourselves = process::own_pidfd()?;
        let held = Wire::AtGate(NamespaceIds::of_self());
        status::send(self.channel.as_fd(), &held, &[ourselves.as_fd()])?;
        match status::take(self.channel.as_fd())? {
            Some(Wire::Go) => Ok(()),
            Some(_) => Err(io::ErrorKind::InvalidData.into()),
            // The caller has died, or does not want the box any more.
            None => process::exit_now(NOT_EXECUTED),
        }
    }

    /// Claims that somebody has to tell our `execve` from our death when we close the channel. A copy of
    /// the caller need not say it: see [`status::has_executed`].
    fn is_awaited(&self) -> bool {
        self.report.is_some() || self.plan.carrier() != Carrier::Fork || self.plan.is_followed
    }

    fn tell_executing(&self) -> Result<(), Trouble> {
        let to = self.report.as_ref().unwrap_or(&self.channel);
        Ok(status::send(to.as_fd(), &Wire::Executing, &[])?)
    }

    /// Says it to the executor, which sees us end and passes it on; or to the caller itself. Nobody
    /// is left to hear of a send that fails.
    pub(crate) fn tell_failure(&self, failure: StepFailure) -> ! {
        let to = self.report.as_ref().unwrap_or(&self.channel);
        match status::send(to.as_fd(), &Wire::Failed(failure), &[]) {
            Ok(()) | Err(_) => process::exit_now(NOT_EXECUTED),
        }
    }

    /// The executor's last duty: to tell what became of the box's first process, once that is sure.
    fn stay_outside(&self, index: usize, init: &Child, told: &OwnedFd) -> ! {
        let code = match conclude(self.plan, index, &self.channel, init, told) {
            Ok(true) => 0,
            Ok(false) | Err(_) => NOT_EXECUTED,
        };
        process::exit_now(code)
    }
}

/// The failure of one step as the caller will read it.
pub(crate) fn told(plan: &Plan, index: usize, trouble: Trouble) -> StepFailure {
    let mut failure = StepFailure::new(plan, index, trouble.errno);
    if let Some(detail) = trouble.detail {
        failure.sentence = format!("{}: {detail}", failure.sentence);
    }
    failure.mount = trouble.mount;
    failure.about = trouble.about.unwrap_or(failure.about);
    failure
}

/// Until there is something to read, or never will be.
fn block(descriptor: BorrowedFd<'_>) -> io::Result<()> {
    loop {
        match rustix::io::read(descriptor, &mut [0u8; 1]) {
            Ok(_) => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => wait_for(descriptor)?,
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// The last word of a process that stands between the executor and the box's first process, in the
/// PID namespace below which that one's lies. If the executor does not hear it, it sees us end.
fn step_aside(report: &OwnedFd, init: &Child, told: &OwnedFd) -> ! {
    let both = [init.pidfd.as_fd(), told.as_fd()];
    match status::send(report.as_fd(), &Wire::Between, &both) {
        Ok(()) => process::exit_now(0),
        Err(_) => process::exit_now(NOT_EXECUTED),
    }
}

/// Gives whether the box stands.
fn conclude(
    plan: &Plan,
    index: usize,
    channel: &OwnedFd,
    init: &Child,
    told: &OwnedFd,
) -> io::Result<bool> {
    let later = |wanted: fn(&Step) -> bool| {
        let mut steps = plan.steps.iter().enumerate().skip(index + 1);
        steps.find(|(_, step)| wanted(step)).map(|(at, _)| at)
    };
    let next = later(|step| matches!(step, Step::FirstProcess(_)));
    let mapping = later(|step| matches!(step, Step::Maps(_))).filter(|_| next.is_none());
    if let Some(at) = mapping
        && let Some(Step::Maps(maps)) = plan.steps.get(at)
        && let Some(failure) = write_maps(plan, (at, maps), init, told.as_fd())?
    {
        return tell_of_dead(failure, channel, init);
    }
    let mut said = status::read(told.as_fd(), RecvFlags::empty())?;
    let executes = matches!(said, Some((Wire::Executing, _)));
    if executes {
        said = status::read(told.as_fd(), RecvFlags::empty())?;
    }
    let failure = match (said, next) {
        // The first process has told the caller everything itself.
        (Some((Wire::Executed, _)), _) => return Ok(true),
        (Some((Wire::Failed(failure), _)), _) => failure,
        (Some((Wire::Between, descriptors)), Some(next)) => {
            wait_for(init.pidfd.as_fd())?;
            status::send(channel.as_fd(), &Wire::Aside, &[init.pidfd.as_fd()])?;
            let [pidfd, told] =
                <[OwnedFd; 2]>::try_from(descriptors).map_err(|_| io::ErrorKind::InvalidData)?;
            // Asked of /proc, which is not the one we know behind a mount namespace that is joined.
            let pid = match later(|step| matches!(step, Step::Maps(_))) {
                Some(_) => status::pid_of(pidfd.as_fd())?,
                None => 0,
            };
            return conclude(plan, next, channel, &Child { pid, pidfd }, &told);
        }
        (Some(_), _) => return Ok(false),
        // Closed by execve.
        (None, None) if executes => {
            status::send(channel.as_fd(), &Wire::Moved, &[init.pidfd.as_fd()])?;
            status::send(channel.as_fd(), &Wire::Executed, &[])?;
            return Ok(true);
        }
        (None, _) => StepFailure::new(plan, index, DIED),
    };
    tell_of_dead(failure, channel, init)
}

/// Once the first process has ended: its failure, with its pidfd for the caller to reap it.
fn tell_of_dead(failure: StepFailure, channel: &OwnedFd, init: &Child) -> io::Result<bool> {
    wait_for(init.pidfd.as_fd())?;
    let failed = Wire::Failed(failure);
    status::send(channel.as_fd(), &failed, &[init.pidfd.as_fd()])?;
    Ok(false)
}

/// Writes the maps that a box's first process waits for, and tells it. Where they are refused, the
/// process, which waits for what will not come, is killed, and the failure of the step is given.
pub(crate) fn write_maps(
    plan: &Plan,
    (step, maps): (usize, &Maps),
    first: &Child,
    told_on: BorrowedFd<'_>,
) -> io::Result<Option<StepFailure>> {
    if let Err(refused) = identity::write_from_outside(first.pid, maps) {
        rustix::process::pidfd_send_signal(&first.pidfd, rustix::process::Signal::KILL)?;
        return Ok(Some(told(plan, step, refused.into())));
    }
    match status::send(told_on, &Wire::Mapped, &[]) {
        // One that has ended meanwhile is looked at by who waits for it.
        Ok(()) | Err(_) => Ok(None),
    }
}

impl Plan {
    /// The step before which a process that is to become the program says so: its `execve`, or the first
    /// filter, which may shut the calls that saying takes.
    fn last_word(&self) -> Option<usize> {
        self.steps
            .iter()
            .position(|step| matches!(step, Step::Filter { .. } | Step::Exec(_)))
    }
}

/// Until it can be read: a pidfd can when its process is a zombie, which its parent reaps.
fn wait_for(descriptor: BorrowedFd<'_>) -> io::Result<()> {
    use rustix::event::{PollFd, PollFlags, poll};
    loop {
        match poll(
            &mut [PollFd::from_borrowed_fd(descriptor, PollFlags::IN)],
            None,
        ) {
            Ok(_) => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}
