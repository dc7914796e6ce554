//! From what is wanted to what is done, for one machine. Pure.
#![forbid(unsafe_code)]

use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use crate::cgroup;
use crate::config::{Config, Directory, Identity, Process, Scheduling, Wall};
use crate::host::Host;
use crate::plan::{Carrier, Plan};
use crate::seccomp;
use crate::step::{Affinity, OwnedDirectory, Program, Step};

/// The config asks for what this machine cannot do, or for what makes no sense.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    #[error("the command is empty")]
    NoCommand,
    #[error("{0:?} holds a NUL byte")]
    Nul(String),
    #[error("{what} {path} is not absolute", path = path.display())]
    Relative { what: &'static str, path: PathBuf },
    #[error("{what} {path} goes up with `..`", path = path.display())]
    Upwards { what: &'static str, path: PathBuf },
    #[error("{wall:?}: {reason}")]
    Wall { wall: Wall, reason: String },
    #[error("limits")]
    Cgroup(#[from] cgroup::PlanError),
    #[error("system call filter")]
    Seccomp(#[from] seccomp::CompileError),
}

/// Makes the plan of `config` for `host`.
///
/// # Errors
/// [`CompileError`] names the wall that `host` cannot build, or what makes no sense.
pub fn compile(config: &Config, host: &Host) -> Result<Plan, CompileError> {
    let cgroup = config
        .cgroup
        .as_ref()
        .map(|name| cgroup::plan(name, &config.limits.cgroup, host))
        .transpose()?;
    let bare = config.walls.is_none()
        && !cgroup
            .as_ref()
            .is_some_and(cgroup::CgroupPlan::joins_in_child);
    let mut steps = Vec::new();
    if let Some(group) = &cgroup {
        steps.push(Step::CreateCgroup(group.clone()));
        steps.push(Step::JoinCgroup(group.clone()));
    }
    steps.push(Step::Descriptors);
    for directory in &config.directories {
        steps.push(Step::Directory(owned_directory(
            directory,
            &config.identity,
        )?));
    }
    session(&config.process, &mut steps);
    scheduling(&config.process.scheduling, &mut steps);
    steps.extend(config.limits.rlimits.iter().copied().map(Step::Rlimit));
    steps.extend(config.process.umask.map(Step::Umask));
    identity(&config.identity, &mut steps);
    if config.process.die_with_parent {
        // After the change of user, which would clear it.
        steps.push(Step::DieWithParent);
    }
    steps.push(working_directory(&config.process)?);
    steps.push(Step::Exec(program(&config.process)?));
    Ok(Plan {
        carrier: if bare {
            Carrier::Vfork
        } else {
            Carrier::Executor
        },
        steps,
        warnings: Vec::new(),
        cgroup,
        fail_at: None,
    })
}

fn session(process: &Process, steps: &mut Vec<Step>) {
    if process.new_session || process.controlling_terminal {
        steps.push(Step::Session {
            controlling_terminal: process.controlling_terminal,
        });
    }
    steps.push(Step::Signals {
        ignore_sigpipe: process.ignore_sigpipe,
    });
}

fn scheduling(wanted: &Scheduling, steps: &mut Vec<Step>) {
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

/// Groups first and the user last: each step needs what the next one gives up.
fn identity(wanted: &Identity, steps: &mut Vec<Step>) {
    match &wanted.groups {
        Some(groups) => steps.push(Step::Groups(groups.clone())),
        None if wanted.uid.is_some() || wanted.gid.is_some() => {
            steps.push(Step::Groups(Vec::new()))
        }
        None => {}
    }
    steps.extend(wanted.gid.map(Step::Gid));
    steps.extend(wanted.uid.map(Step::Uid));
}

fn working_directory(process: &Process) -> Result<Step, CompileError> {
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

fn owned_directory(wanted: &Directory, owner: &Identity) -> Result<OwnedDirectory, CompileError> {
    absolute("directory", &wanted.path)?;
    let names = wanted
        .path
        .components()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(c_string(name)),
            Component::Prefix(_)
            | Component::RootDir
            | Component::CurDir
            | Component::ParentDir => None,
        })
        .collect::<Result<_, _>>()?;
    Ok(OwnedDirectory {
        path: c_path(&wanted.path)?,
        names,
        mode: wanted.mode,
        uid: owner.uid,
        gid: owner.gid,
    })
}

fn program(process: &Process) -> Result<Program, CompileError> {
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
    })
}

/// A path from `/` on that says itself where it leads.
pub(crate) fn absolute(what: &'static str, path: &Path) -> Result<(), CompileError> {
    if !path.is_absolute() {
        return Err(CompileError::Relative {
            what,
            path: path.to_owned(),
        });
    }
    if path
        .components()
        .any(|component| component == Component::ParentDir)
    {
        return Err(CompileError::Upwards {
            what,
            path: path.to_owned(),
        });
    }
    Ok(())
}

pub(crate) fn c_path(path: &Path) -> Result<CString, CompileError> {
    c_string(path.as_os_str())
}

pub(crate) fn c_string(string: &OsStr) -> Result<CString, CompileError> {
    CString::new(string.as_bytes())
        .map_err(|_| CompileError::Nul(string.to_string_lossy().into_owned()))
}
