//! The steps of the process itself: what it runs, as whom, where, how urgently.
#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::capability::{CAP_SETGID, CAP_SETUID};
use crate::compile::CompileError;
use crate::config::{Directory, Identity, Process, Scheduling};
use crate::host::Host;
use crate::paths::{absolute, c_path, c_string, names};
use crate::step::{Affinity, OwnedDirectory, Program, Step};

pub(crate) fn working_directory(process: &Process) -> Result<Step, CompileError> {
    if !process.working_directories.is_empty() {
        let paths = process.working_directories.iter();
        let paths = paths.map(|path| c_path(path)).collect::<Result<_, _>>()?;
        return Ok(Step::FirstDirectory(paths));
    }
    let path = process
        .working_directory
        .as_deref()
        .unwrap_or(Path::new("/"));
    absolute("the working directory", path)?;
    Ok(Step::WorkingDirectory {
        path: c_path(path)?,
        optional: process.working_directory_optional,
    })
}

pub(crate) fn owned_directory(
    wanted: &Directory,
    all: &[Directory],
    owner: &Identity,
) -> Result<OwnedDirectory, CompileError> {
    absolute("directory", &wanted.path)?;
    let above = all.iter().filter(|other| {
        other.writable && other.path != wanted.path && wanted.path.starts_with(&other.path)
    });
    let may_be_links = above.map(|other| names(&other.path).count()).min();
    let names: Vec<_> = names(&wanted.path)
        .map(c_string)
        .collect::<Result<_, _>>()?;
    Ok(OwnedDirectory {
        path: c_path(&wanted.path)?,
        may_be_links: may_be_links.unwrap_or(names.len()),
        names,
        mode: wanted.mode,
        uid: owner.uid,
        gid: owner.gid,
        whole: wanted.whole,
    })
}

pub(crate) fn program(process: &Process) -> Result<Program, CompileError> {
    let command = process.argv.first().ok_or(CompileError::NoCommand)?;
    if command.is_empty() {
        return Err(CompileError::NoCommand);
    }
    let candidates = if command.as_bytes().contains(&b'/') {
        vec![c_string(command)?]
    } else {
        let places = process.search_path.iter();
        places
            .map(|directory| c_path(&directory.join(command)))
            .collect::<Result<_, _>>()?
    };
    let argv0 = process.argv0.as_ref().unwrap_or(command);
    let arguments = [argv0].into_iter().chain(process.argv.iter().skip(1));
    let mut environment = process
        .environment
        .iter()
        .map(|(name, value)| {
            let mut pair = name.clone();
            pair.push("=");
            pair.push(value);
            c_string(&pair)
        })
        .collect::<Result<Vec<_>, _>>()?;
    let mut pid_variables = process
        .pid_variables
        .iter()
        .map(|name| c_string(OsStr::new(name)))
        .collect::<Result<Vec<_>, _>>()?;
    if !process.listen_names.is_empty() {
        let count = process.listen_names.len();
        environment.push(c_string(OsStr::new(&format!("LISTEN_FDS={count}")))?);
        let names = process.listen_names.join(":");
        environment.push(c_string(OsStr::new(&format!("LISTEN_FDNAMES={names}")))?);
        pid_variables.push(c"LISTEN_PID".to_owned());
    }
    Ok(Program {
        command: c_string(command)?,
        candidates,
        arguments: arguments
            .map(|word| c_string(word))
            .collect::<Result<_, _>>()?,
        environment,
        pid_variables,
        may_be_script: process.as_if_executed,
    })
}

pub(crate) fn scheduling(wanted: &Scheduling, steps: &mut Vec<Step>) {
    steps.extend(wanted.oom_score_adjust.map(Step::OomScore));
    steps.extend(wanted.nice.map(Step::Nice));
    if let Some(policy) = wanted.cpu_policy {
        steps.push(Step::Scheduler {
            policy,
            priority: wanted.cpu_priority.unwrap_or(0),
        });
    }
    if let Some(cpus) = &wanted.cpu_affinity {
        let mut mask = Vec::new();
        for cpu in cpus {
            let word = (cpu / 64) as usize;
            if mask.len() <= word {
                mask.resize(word + 1, 0);
            }
            mask[word] |= 1u64 << (cpu % 64);
        }
        steps.push(Step::Affinity(Affinity {
            mask,
            cpus: cpus.clone(),
        }));
    }
    if let Some(class) = wanted.io_class {
        steps.push(Step::IoPriority {
            class,
            priority: wanted.io_priority.unwrap_or(0),
        });
    }
    if let Some(slack) = wanted.timer_slack {
        let nanoseconds = u64::try_from(slack.as_nanos()).unwrap_or(u64::MAX);
        steps.push(Step::TimerSlack { nanoseconds });
    }
}

/// Groups first and the user last: each step needs what the next one gives up. Whoever has no right
/// to change is not asked to become what it is.
///
/// Groups that are those of the caller are set all the same, so that a plan is not one of the caller's groups; but not
/// where the program is to be `as_it_is`: who has made its user namespace may have shut `setgroups(2)`.
pub(crate) fn identity(wanted: &Identity, host: &Host, as_it_is: bool, steps: &mut Vec<Step>) {
    let (may_groups, may_users) = (
        host.has_capability(CAP_SETGID),
        host.has_capability(CAP_SETUID),
    );
    let changes_group = wanted.gid.filter(|gid| may_groups || *gid != host.gid);
    let changes_user = wanted.uid.filter(|uid| may_users || *uid != host.uid);
    match &wanted.groups {
        Some(groups) if as_it_is && *groups == host.groups => {}
        Some(groups) if !may_groups && same_groups(groups, host) => {}
        Some(groups) => steps.push(Step::Groups(groups.clone())),
        None if changes_group.is_some() || changes_user.is_some() => {
            steps.push(Step::Groups(Vec::new()))
        }
        None => {}
    }
    steps.extend(changes_group.map(Step::Gid));
    steps.extend(changes_user.map(Step::Uid));
}

/// Claims that these, with the caller's own group, are what the caller has.
pub(crate) fn same_groups(groups: &[u32], host: &Host) -> bool {
    let normal = |groups: &[u32]| {
        let mut groups = groups.to_vec();
        groups.push(host.gid);
        groups.sort_unstable();
        groups.dedup();
        groups
    };
    normal(groups) == normal(&host.groups)
}
