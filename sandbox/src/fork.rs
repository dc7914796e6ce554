//! The carrier for a caller with one thread: a copy of the caller walks the plan.
//!
//! Where nothing has to be done before the namespaces, the copy is made in them at once and is the
//! box's first process: the caller, its child, and the command below are all there ever is. Else it
//! goes the executor's way. And where nobody has to do anything beside it, there is no copy: the child
//! works in the caller's own memory ([`crate::sys::lend`]).
#![forbid(unsafe_code)]

use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use rustix::process::{Resource, getrlimit, setrlimit};

use crate::capability::{CAP_SYS_ADMIN, CAP_SYS_PTRACE};
use crate::config::{Inherit, Rlimit};
use crate::executor;
use crate::held::HeldDescriptors;
use crate::identity::maps::Maps;
use crate::launch::{Files, LaunchError, Launched, check_targets, preparing, reap};
use crate::main_process::{Descriptors, NOT_EXECUTED, Prepared};
use crate::plan::Plan;
use crate::status;
use crate::step::{NamespaceSet, Step};
use crate::sys::capabilities::Set;
use crate::sys::clone::{Child, Parent, Side, fork};
use crate::sys::lend::{Lent, lend_memory};
use crate::sys::signals::{self, Blocked};
use crate::sys::{Errno, capabilities, descriptors, process};
use crate::walk::{self, Walker};

/// Starts the plan's process by a copy of the caller, as
/// [`Launcher::launch`](crate::Launcher::launch) does for [`Carrier::Fork`](crate::Carrier::Fork), without a
/// launcher: for a program that starts one process and waits for it.
///
/// The signals `held_back` (numbers of `signal(7)`) are blocked in the caller, and in nobody else, from
/// before the program runs: none of them is lost to a caller who takes them from then on.
///
/// # Errors
/// As there.
pub fn launch_by_copy(
    plan: &Plan,
    files: Files<'_>,
    held_back: &[i32],
) -> Result<Launched, LaunchError> {
    check_targets(files.passed)?;
    // For a program that is to get signals as we got them, nobody has to know which are ignored.
    let resets = |step: &Step| matches!(step, Step::Signals { .. });
    let ignored = if plan.steps.iter().any(resets) {
        signals::ignored()
    } else {
        0
    };
    let held_back = held_back
        .iter()
        .filter(|signal| (1..=signals::LAST_SIGNAL).contains(*signal))
        .fold(0, |set, signal| set | signals::bit(*signal));
    let cannot = |errno: Errno| LaunchError::Clone(errno.into());
    let capabilities = capabilities::permitted().map_err(cannot)?;
    match plan.may_be_built_in_our_memory(capabilities) {
        true => match launch_in_our_memory(plan, &files, ignored, held_back) {
            // A filter without clone3(2): see `clone_onto_stack`, which has no other call for such a child.
            Err(LaunchError::Clone(error)) if error.raw_os_error() == Some(libc::ENOSYS) => {
                launch(plan, files, ignored, held_back)
            }
            launched => launched,
        },
        false => launch(plan, files, ignored, held_back),
    }
}

/// The same without a copy: we wait in the kernel while the box is built in our own memory.
fn launch_in_our_memory(
    plan: &Plan,
    files: &Files<'_>,
    ignored: signals::Set,
    held_back: signals::Set,
) -> Result<Launched, LaunchError> {
    let (ours, theirs) = executor::status_channel().map_err(preparing("make a socket pair"))?;
    let set = plan.entered_at_birth();
    let begun = Begun {
        plan,
        files,
        ignored,
        set,
        ours: ours.as_raw_fd(),
        theirs: theirs.as_raw_fd(),
    };
    let go_on = |begun: &Begun<'_>, lent| begun.go_on(lent);
    let child = lend_memory(set.0, held_back, go_on, &begun)
        .map_err(|errno| LaunchError::Clone(errno.into()))?;
    Ok(Launched {
        pid: child.pid,
        pidfd: child.pidfd,
        status: Some(ours),
    })
}

/// What the child in our memory begins with. Its table of descriptors is a copy of ours.
struct Begun<'a> {
    plan: &'a Plan,
    files: &'a Files<'a>,
    ignored: signals::Set,
    set: NamespaceSet,
    ours: RawFd,
    theirs: RawFd,
}

impl Begun<'_> {
    fn go_on(&self, lent: Lent) -> ! {
        let blocked = lent.blocked();
        let channel = signals::set_mask(blocked)
            .and_then(|_| descriptors::close_between(self.ours, self.ours))
            .and_then(|()| descriptors::adopt(self.theirs));
        match channel {
            Ok(channel) => carry(
                self.plan,
                self.files,
                self.ignored,
                blocked,
                channel,
                self.set,
                Some(lent),
            ),
            Err(_) => process::exit_now(NOT_EXECUTED),
        }
    }
}

pub(crate) fn launch(
    plan: &Plan,
    files: Files<'_>,
    ignored: signals::Set,
    held_back: signals::Set,
) -> Result<Launched, LaunchError> {
    let cannot = |errno: Errno| LaunchError::Clone(errno.into());
    if !process::is_single_threaded().map_err(cannot)? {
        return Err(LaunchError::Threads);
    }
    let (ours, theirs) = executor::status_channel().map_err(preparing("make a socket pair"))?;
    let set = plan.entered_at_birth();
    let blocked = Blocked::new().map_err(cannot)?;
    match fork(Parent::Ourselves, set.0).map_err(cannot)? {
        Side::Parent(child) => {
            drop(theirs);
            blocked.except(held_back);
            if !set.is_empty() {
                write_maps(plan, &child, &ours)?;
            }
            Ok(Launched {
                pid: child.pid,
                pidfd: child.pidfd,
                status: Some(ours),
            })
        }
        Side::Child => {
            let before = blocked.before();
            drop((blocked, ours));
            carry(plan, &files, ignored, before, theirs, set, None)
        }
    }
}

/// The maps of a box that is our own child's are ours to write.
fn write_maps(plan: &Plan, child: &Child, channel: &OwnedFd) -> Result<(), LaunchError> {
    let Some((step, maps)) = plan.maps() else {
        return Ok(());
    };
    if plan.fail_at.is_some_and(|fails| fails <= step) {
        return Ok(());
    }
    let written = walk::write_maps(plan, (step, maps), child, channel.as_fd());
    match written.map_err(preparing("end the box"))? {
        None => Ok(()),
        Some(failure) => {
            reap(child)?;
            Err(failure.into())
        }
    }
}

/// The copy's own life.
fn carry(
    plan: &Plan,
    files: &Files<'_>,
    ignored: signals::Set,
    blocked: signals::Set,
    channel: OwnedFd,
    set: NamespaceSet,
    lent: Option<Lent>,
) -> ! {
    match prepare(plan, files, ignored, &channel) {
        Ok((prepared, channel, held)) => {
            let prepared = prepared.blocking(blocked);
            let walker = Walker::new(plan, &prepared, channel, held).in_lent_memory(lent);
            if set.is_empty() {
                walker.walk()
            } else {
                walker.born_inside().walk()
            }
        }
        Err(errno) => executor::not_prepared(plan, errno, channel.as_fd()),
    }
}

fn prepare(
    plan: &Plan,
    files: &Files<'_>,
    ignored: signals::Set,
    channel: &OwnedFd,
) -> Result<(Prepared, OwnedFd, HeldDescriptors), Errno> {
    // A caller that dies while the box is being built takes us with it.
    process::die_with_parent()?;
    if status::is_closed(channel.as_fd()) {
        return Err(Errno(libc::ESRCH));
    }
    for own in files.own {
        let number = own.as_raw_fd();
        descriptors::close_between(number, number)?;
    }
    process::set_umask(0);
    if !plan.makes_user_namespace() {
        process::set_dumpable(false)?;
    }
    let limits = raise_open_files(files.held.len())?;
    let sources: Vec<RawFd> = files.sources().map(|source| source.as_raw_fd()).collect();
    // What is closed for the program is open here, until it is executed.
    let moves = sources.iter().copied().zip(files.targets());
    let moves = moves.filter(|(from, to)| from != to || !descriptors::is_shut(*from));
    let descriptors = Descriptors::new(None, moves);
    // Above the targets, whose numbers the main process fills.
    let lowest = descriptors.above();
    let held = files
        .held
        .iter()
        .map(|held| descriptors::duplicate(held.as_raw_fd(), lowest))
        .collect::<Result<Vec<_>, Errno>>()?;
    let channel = descriptors::duplicate(channel.as_raw_fd(), lowest)?;
    let descriptors = match plan.inherit() {
        Inherit::All => {
            for held in files.held {
                let number = held.as_raw_fd();
                if !sources.contains(&number) {
                    descriptors::close_between(number, number)?;
                }
            }
            descriptors.beside_others()
        }
        Inherit::Passed => {
            let ours = held.iter().chain([&channel]).map(AsRawFd::as_raw_fd);
            let kept: Vec<RawFd> = sources.into_iter().chain(ours).collect();
            descriptors::close_all_but(&kept)?;
            descriptors
        }
    };
    rustix::process::chdir(c"/")?;
    let prepared = Prepared::new(plan, descriptors, ignored).limiting(limits);
    Ok((prepared, channel, HeldDescriptors::new(held)))
}

/// What the caller holds is open twice meanwhile, and a third time as what becomes of it. Gives the
/// limits that the program is to have back.
fn raise_open_files(held: usize) -> Result<Option<Rlimit>, Errno> {
    const FEW: usize = 64;
    if held < FEW {
        return Ok(None);
    }
    let rustix::process::Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = rustix::process::Rlimit {
        current: maximum,
        maximum,
    };
    setrlimit(Resource::Nofile, raised)?;
    Ok(Some(Rlimit {
        resource: crate::config::Resource::OpenFiles,
        soft: current,
        hard: maximum,
    }))
}

impl Plan {
    /// Claims that the box can be built by a child in the caller's memory, which then belongs to the box's
    /// first process too: nothing is asked of the caller, who has these `capabilities`, before the program
    /// runs, the first process has nothing to do afterwards that takes memory, and nobody in the box can
    /// reach it.
    fn may_be_built_in_our_memory(&self, capabilities: Set) -> bool {
        let takes_turns = |step: &Step| {
            matches!(
                step,
                Step::Gate
                    | Step::Block(_)
                    | Step::Maps(_)
                    | Step::Foreground
                    | Step::SecondUserNamespace(_)
                    | Step::JoinSecondUser
            )
        };
        !self.entered_at_birth().is_empty()
            && !self.is_followed
            && !self.steps.iter().any(takes_turns)
            && !self.may_trace_its_init(capabilities)
    }

    /// Claims that the program can look into the box's first process, and would gain by it. That one is not
    /// dumpable: it takes CAP_SYS_PTRACE in the caller's user namespace, which nobody has behind another one.
    /// Who has CAP_SYS_ADMIN there beside it, and no filter, is held by no mount namespace anyway.
    fn may_trace_its_init(&self, capabilities: Set) -> bool {
        if self.makes_user_namespace() {
            return false;
        }
        let left = self.steps.iter().fold(capabilities, |left, step| {
            if let Step::Capabilities { permitted, .. } = step {
                left & permitted
            } else {
                left
            }
        });
        let is_held = |step: &Step| matches!(step, Step::Filter { .. } | Step::Landlock(_));
        let is_almighty = left >> CAP_SYS_ADMIN & 1 == 1 && !self.steps.iter().any(is_held);
        left >> CAP_SYS_PTRACE & 1 == 1 && !is_almighty
    }

    /// The namespaces that a copy of the caller can be made in: those of a plan that begins with them.
    #[allow(
        clippy::wildcard_enum_match_arm,
        reason = "every other step has to be done before"
    )]
    fn entered_at_birth(&self) -> NamespaceSet {
        let mut set = NamespaceSet::default();
        for step in &self.steps {
            match step {
                Step::UserNamespace(_) => set.add(libc::CLONE_NEWUSER),
                // Done inside.
                Step::LimitUserNamespaces(_) => {}
                // The programs that write maps are for a process that does nothing else.
                Step::FirstProcess(_) if self.maps().is_some_and(|(_, maps)| !maps.directly) => {
                    break;
                }
                Step::Namespaces(others) | Step::FirstProcess(others) => {
                    set.0 |= others.0;
                    return set;
                }
                _ => break,
            }
        }
        NamespaceSet::default()
    }

    /// The maps that somebody outside of the first process writes, with the number of their step.
    pub(crate) fn maps(&self) -> Option<(usize, &Maps)> {
        self.steps.iter().enumerate().find_map(|(index, step)| {
            if let Step::Maps(maps) = step {
                Some((index, maps))
            } else {
                None
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Namespaces, Walls};
    use crate::host::{Architecture, Host};

    const ALL: Set = u64::MAX;

    fn built_in_our_memory(capabilities: Set, change: impl FnOnce(&mut Plan)) -> bool {
        let mut config = Config::boxed("x", ["/bin/true"]);
        let mut walls = Walls::bare();
        walls.namespaces = Namespaces {
            mount: true,
            pid: true,
            ..Namespaces::default()
        };
        config.walls = Some(walls);
        let host = Host::of_tests(Architecture::X86_64);
        let mut plan = crate::compile(&config, &host).unwrap().by_fork();
        change(&mut plan);
        plan.may_be_built_in_our_memory(capabilities)
    }

    fn leave(plan: &mut Plan, permitted: Set) {
        let step = Step::Capabilities {
            permitted,
            inheritable: 0,
        };
        plan.steps.push(step);
    }

    #[test]
    fn a_box_whose_program_can_trace_its_init_and_no_more_is_built_by_a_copy() {
        assert!(built_in_our_memory(0, |_| {}));
        assert!(built_in_our_memory(ALL, |_| {}));
        assert!(built_in_our_memory(ALL, |plan| leave(plan, 0)));
        let tracer = 1 << CAP_SYS_PTRACE;
        assert!(!built_in_our_memory(ALL, |plan| leave(plan, tracer)));
        assert!(!built_in_our_memory(tracer, |_| {}));
    }
}
