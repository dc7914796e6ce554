//! The walk of a box's steps, in the executor and then in the box's first process.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};

use crate::cgroup::{self, CgroupError};
use crate::executor::Place;
use crate::failure::StepFailure;
use crate::filesystem::{MountFailure, MountTrouble, Mounts};
use crate::identity::apply as identity;
use crate::identity::maps::Maps;
use crate::init;
use crate::main_process::{NOT_EXECUTED, Prepared, Walk, perform};
use crate::plan::Plan;
use crate::status::{self, Wire};
use crate::step::{NamespaceSet, Step};
use crate::sys::clone::{Child, Side, fork_sibling};
use crate::sys::{Errno, network, process};

/// Why a step was not done.
#[derive(Debug)]
struct Trouble {
    errno: Errno,
    /// What the step's own sentence does not say.
    detail: Option<String>,
    mount: Option<Box<MountFailure>>,
}

impl From<Errno> for Trouble {
    fn from(errno: Errno) -> Self {
        Self {
            errno,
            detail: None,
            mount: None,
        }
    }
}

impl From<MountTrouble> for Trouble {
    fn from(trouble: MountTrouble) -> Self {
        Self {
            errno: trouble.errno,
            detail: trouble.about.as_ref().and_then(|about| about.detail()),
            mount: trouble.about,
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
        }
    }
}

/// Walks the plan to its `execve`, and in a box with a reaper beyond: never comes back.
#[allow(
    clippy::wildcard_enum_match_arm,
    reason = "every other step is done without leaving this process"
)]
pub(crate) fn walk(plan: Plan, prepared: Prepared, channel: OwnedFd, place: Place) -> ! {
    let mut mounts = Mounts::default();
    let mut report = None;
    for (index, step) in plan.steps.iter().enumerate() {
        let answer = if plan.fail_at == Some(index) {
            Err(Errno(libc::ECANCELED).into())
        } else {
            match step {
                Step::Namespaces(set) if place == Place::First && set.has_pid() => {
                    enter_the_rest(*set, &channel)
                }
                Step::Namespaces(set) if set.takes_a_process() => {
                    match enter(*set, prepared.descriptors.above()) {
                        // The caller may have died before we asked to die with it.
                        Ok(_) if status::is_closed(channel.as_fd()) => {
                            process::exit_now(NOT_EXECUTED)
                        }
                        Ok(ours) => {
                            report = Some(ours);
                            Ok(())
                        }
                        Err(Entering::Refused(errno)) => Err(errno.into()),
                        Err(Entering::Outside { init, told }) => {
                            stay_outside(&plan, index, &channel, &init, &told)
                        }
                    }
                }
                Step::Maps(maps) => become_mapped(maps, report.as_ref(), &channel),
                Step::StartMain => {
                    // Descriptors of the old tree must not outlive the set-up.
                    drop(mounts);
                    init::run(plan, prepared, index + 1, channel, report)
                }
                Step::Descriptors => {
                    mounts = Mounts::default();
                    become_main(&plan, &prepared, step)
                }
                step => perform_in_box(step, &mut mounts, &prepared),
            }
        };
        if let Err(trouble) = answer {
            let failure = told(&plan, index, trouble);
            tell_failure(failure, &channel, report.as_ref());
        }
    }
    process::exit_now(NOT_EXECUTED)
}

/// From here on this process is the service's own: it does not end with the caller unless that
/// was asked for, which is a later step.
fn become_main(plan: &Plan, prepared: &Prepared, step: &Step) -> Result<(), Trouble> {
    if plan.outlives_parent() {
        process::outlive_parent()?;
    }
    Ok(perform(step, prepared)?)
}

/// The failure of one step as the caller will read it.
fn told(plan: &Plan, index: usize, trouble: Trouble) -> StepFailure {
    let mut failure = StepFailure::new(plan, index, trouble.errno);
    if let Some(detail) = trouble.detail {
        failure.sentence = format!("{}: {detail}", failure.sentence);
    }
    failure.mount = trouble.mount;
    failure
}

/// Says it to the executor, which sees us end and passes it on; or, being the executor, to the
/// caller. Nobody is left to hear of a send that fails.
pub(crate) fn tell_failure(failure: StepFailure, channel: &OwnedFd, report: Option<&OwnedFd>) -> ! {
    let to = report.unwrap_or(channel);
    match status::send(to.as_fd(), &Wire::Failed(failure), &[]) {
        Ok(()) | Err(_) => process::exit_now(NOT_EXECUTED),
    }
}

#[allow(
    clippy::wildcard_enum_match_arm,
    reason = "every other step is one of the main process"
)]
fn perform_in_box(step: &Step, mounts: &mut Mounts, prepared: &Prepared) -> Result<(), Trouble> {
    match step {
        Step::CreateCgroup(group) => Ok(cgroup::create(group)?),
        Step::JoinCgroup(group) => Ok(cgroup::join(group)?),
        Step::UserNamespace(map) => {
            identity::enter_alone(map)?;
            // The maps of a process that is not dumpable belong to root; from here on we are not.
            Ok(process::set_dumpable(false)?)
        }
        Step::LimitUserNamespaces(most) => Ok(identity::limit_further(*most)?),
        Step::Untraceable => Ok(process::set_dumpable(false)?),
        Step::SecondUserNamespace(map) => {
            process::set_dumpable(true)?;
            identity::enter_alone(map)?;
            Ok(process::set_dumpable(false)?)
        }
        Step::AssertNoUserNamespaces if identity::is_further_refused() => Ok(()),
        Step::AssertNoUserNamespaces => Err(Trouble {
            errno: Errno::EEXIST,
            detail: Some("creation of new user namespaces was not disabled as requested".into()),
            mount: None,
        }),
        Step::Namespaces(set) => Ok(process::unshare(set.0)?),
        Step::Hostname(name) => Ok(process::set_hostname(name)?),
        Step::Loopback => Ok(network::loopback_up()?),
        Step::Mount(step) => Ok(mounts.perform(step)?),
        step => Ok(perform(step, prepared)?),
    }
}

/// Waits for the maps, and becomes somebody who has a place in them.
fn become_mapped(maps: &Maps, report: Option<&OwnedFd>, channel: &OwnedFd) -> Result<(), Trouble> {
    let report = report.ok_or(Errno(libc::EBADF))?;
    match status::take(report.as_fd())? {
        Some(Wire::Mapped) => {}
        // The executor tells why.
        _ => process::exit_now(NOT_EXECUTED),
    }
    process::set_gid(maps.gid)?;
    process::set_uid(maps.uid)?;
    // The change of user has cleared it (see `enter`).
    process::die_with_parent()?;
    if status::is_closed(channel.as_fd()) {
        process::exit_now(NOT_EXECUTED);
    }
    Ok(())
}

/// In a process that is the first of its PID namespace since it was made.
fn enter_the_rest(mut set: NamespaceSet, channel: &OwnedFd) -> Result<(), Trouble> {
    if status::is_closed(channel.as_fd()) {
        process::exit_now(NOT_EXECUTED);
    }
    set.remove(libc::CLONE_NEWPID);
    Ok(process::unshare(set.0)?)
}

enum Entering {
    Refused(Errno),
    /// We are still the executor.
    Outside {
        init: Child,
        told: OwnedFd,
    },
}

/// In the new first process: where to report to, by a number from `lowest` on, out of the way of
/// the descriptors of the main process.
fn enter(set: NamespaceSet, lowest: RawFd) -> Result<OwnedFd, Entering> {
    let (outside, inside) = status::pair()
        .map_err(|error| Entering::Refused(Errno(error.raw_os_error().unwrap_or(libc::EIO))))?;
    match fork_sibling(set.0) {
        Err(errno) => Err(Entering::Refused(errno)),
        Ok(Side::Parent(init)) => {
            drop(inside);
            Err(Entering::Outside {
                init,
                told: outside,
            })
        }
        Ok(Side::Child) => {
            drop(outside);
            // Until the box stands: a caller that dies meanwhile leaves nothing.
            process::die_with_parent().map_err(Entering::Refused)?;
            rustix::io::fcntl_dupfd_cloexec(&inside, lowest)
                .map_err(|errno| Entering::Refused(errno.into()))
        }
    }
}

/// The executor's last duty: to tell what became of the box's first process, once that is sure.
fn stay_outside(plan: &Plan, index: usize, channel: &OwnedFd, init: &Child, told: &OwnedFd) -> ! {
    let code = match conclude(plan, index, channel, init, told) {
        Ok(true) => 0,
        Ok(false) | Err(_) => NOT_EXECUTED,
    };
    process::exit_now(code)
}

/// Gives whether the box stands.
fn conclude(
    plan: &Plan,
    index: usize,
    channel: &OwnedFd,
    init: &Child,
    told: &OwnedFd,
) -> io::Result<bool> {
    if let Some(Step::Maps(maps)) = plan.steps.get(index + 1)
        && plan.fail_at != Some(index + 1)
    {
        if let Err(refused) = identity::write_from_outside(init.pid, maps) {
            return give_up_mapping(plan, index + 1, channel, init, refused.into());
        }
        match status::send(told.as_fd(), &Wire::Mapped, &[]) {
            // One that has ended meanwhile is looked at below.
            Ok(()) | Err(_) => {}
        }
    }
    let failure = match status::take(told.as_fd())? {
        // The first process has told the caller everything itself.
        Some(Wire::Executed) => return Ok(true),
        Some(Wire::Failed(failure)) => failure,
        Some(Wire::Moved | Wire::Exited(_) | Wire::Mapped) => return Ok(false),
        // Closed by execve, or by death: the caller sees which by the pidfd.
        None if !plan.has_reaper() => {
            status::send(channel.as_fd(), &Wire::Moved, &[init.pidfd.as_fd()])?;
            status::send(channel.as_fd(), &Wire::Executed, &[])?;
            return Ok(true);
        }
        None => StepFailure::new(plan, index, Errno(libc::EOWNERDEAD)),
    };
    wait_for_end(init.pidfd.as_fd())?;
    status::send(
        channel.as_fd(),
        &Wire::Failed(failure),
        &[init.pidfd.as_fd()],
    )?;
    Ok(false)
}

/// The first process waits for maps that will not come.
fn give_up_mapping(
    plan: &Plan,
    step: usize,
    channel: &OwnedFd,
    init: &Child,
    trouble: Trouble,
) -> io::Result<bool> {
    rustix::process::pidfd_send_signal(&init.pidfd, rustix::process::Signal::KILL)?;
    wait_for_end(init.pidfd.as_fd())?;
    let failure = Wire::Failed(told(plan, step, trouble));
    status::send(channel.as_fd(), &failure, &[init.pidfd.as_fd()])?;
    Ok(false)
}

/// Until the process is a zombie: it is our sibling, so its parent reaps it.
fn wait_for_end(pidfd: BorrowedFd<'_>) -> io::Result<()> {
    use rustix::event::{PollFd, PollFlags, poll};
    loop {
        match poll(&mut [PollFd::from_borrowed_fd(pidfd, PollFlags::IN)], None) {
            Ok(_) => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// The main process of a box with a reaper, started by it.
pub(crate) fn start_main<'a>(plan: &'a Plan, prepared: &'a Prepared, first: usize) -> Walk<'a> {
    Walk {
        plan,
        prepared,
        first,
        failure: crate::main_process::Failure::none(),
    }
}
