//! The carrier for a caller with one thread: a copy of the caller walks the plan.
//!
//! Where nothing has to be done before the namespaces, the copy is made in them at once and is the
//! box's first process: the caller, its child, and the command below are all there ever is. Else it
//! goes the executor's way.
#![forbid(unsafe_code)]

use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use rustix::process::{Resource, getrlimit, setrlimit};

use crate::config::{Inherit, Rlimit};
use crate::executor;
use crate::held::HeldDescriptors;
use crate::identity::maps::Maps;
use crate::launch::{Files, LaunchError, Launched, check_targets, preparing, reap};
use crate::main_process::{Descriptors, Prepared};
use crate::plan::Plan;
use crate::status;
use crate::step::{NamespaceSet, Step};
use crate::sys::clone::{Child, Parent, Side, fork};
use crate::sys::signals::{self, Blocked};
use crate::sys::{Errno, descriptors, process};
use crate::walk::{self, Walker};

/// Starts the plan's process by a copy of the caller, as
/// [`Launcher::launch`](crate::Launcher::launch) does for [`Carrier::Fork`](crate::Carrier::Fork), without a
/// launcher: for a program that starts one process and waits for it.
///
/// # Errors
/// As there.
pub fn launch_by_copy(plan: &Plan, files: Files<'_>) -> Result<Launched, LaunchError> {
    check_targets(files.passed)?;
    // For a program that is to get signals as we got them, nobody has to know which are ignored.
    let resets = |step: &Step| matches!(step, Step::Signals { .. });
    let ignored = if plan.steps.iter().any(resets) {
        signals::ignored()
    } else {
        0
    };
    launch(plan, files, ignored)
}

pub(crate) fn launch(
    plan: &Plan,
    files: Files<'_>,
    ignored: signals::Set,
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
            drop((blocked, theirs));
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
            carry(plan, &files, ignored, before, theirs, set)
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
) -> ! {
    match prepare(plan, files, ignored, &channel) {
        Ok((prepared, own, held)) => {
            drop(channel);
            let prepared = prepared.blocking(blocked);
            let walker = Walker::new(plan, &prepared, own, held);
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
    let moves = sources.iter().copied().zip(files.targets());
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
