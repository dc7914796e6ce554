//! Where herd's files lie, by option, environment and user.

use std::path::{Component, Path, PathBuf};
use std::{env, fs, io};

use units::SearchPath;

use super::Global;
use super::failure::{Failure, USAGE};
use super::spare;
use crate::control::SOCKET;
use crate::control::client::{Client, ClientError};
use crate::daemon;

/// The directories of the herd that is meant.
#[derive(Debug, Clone)]
pub(super) struct Places {
    pub(super) is_user: bool,
    /// Nobody named the runtime directory.
    pub(super) is_usual: bool,
    pub(super) runtime_dir: PathBuf,
    pub(super) log_dir: PathBuf,
    pub(super) search: SearchPath,
}

/// What `herd run` starts with.
#[derive(Debug)]
pub(super) struct ToRun {
    pub(super) runtime_dir: PathBuf,
    pub(super) log_dir: Option<PathBuf>,
    pub(super) search: SearchPath,
    pub(super) notes: Vec<String>,
}

/// Whose herd a verb is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whose {
    System,
    User,
}

impl Places {
    /// Those of the herd to talk to: as `--user` and `--system` say; root means the machine's, and
    /// anyone else their own if it runs or the machine's does not.
    pub(super) fn find(global: &Global) -> Result<Self, Failure> {
        let whose = if global.user {
            Whose::User
        } else if global.system || rustix::process::geteuid().is_root() {
            Whose::System
        } else {
            let is_there = |whose| {
                let places = Self::of(global, whose);
                places.is_ok_and(|places| places.socket().exists())
            };
            if !is_there(Whose::User) && is_there(Whose::System) {
                Whose::System
            } else {
                Whose::User
            }
        };
        Self::of(global, whose)
    }

    /// Those of a herd about to start.
    pub(super) fn to_start(global: &Global) -> Result<Self, Failure> {
        let is_root = rustix::process::geteuid().is_root();
        if global.user || !(is_root || global.system) {
            Self::of(global, Whose::User)
        } else {
            Self::of(global, Whose::System)
        }
    }

    fn of(global: &Global, whose: Whose) -> Result<Self, Failure> {
        let chosen_dir = chosen(&global.runtime_dir, "HERD_RUNTIME_DIR");
        let is_usual = chosen_dir.is_none();
        let runtime_dir = match chosen_dir {
            Some(path) => path,
            None => match usual_runtime_dir(whose) {
                Ok(path) if path.join(SOCKET).exists() => path,
                usual => match spare::in_use() {
                    Some(path) => path,
                    None => usual.map_err(|failure| failure.hint_of(spare::of_another()))?,
                },
            },
        };
        Ok(Self {
            is_user: whose == Whose::User,
            is_usual,
            runtime_dir: absolute(&runtime_dir)?,
            log_dir: absolute(&match chosen(&global.log_dir, "HERD_LOG_DIR") {
                Some(path) => path,
                None => usual_log_dir(whose)?,
            })?,
            search: search_path(global, whose)?,
        })
    }

    /// Those of `herd run`, which makes do with what it finds: a root that cannot be written, a user without a
    /// home. What was chosen otherwise than is usual is said in `notes`.
    pub(super) fn to_run(global: &Global, directory: Option<&Path>) -> Result<ToRun, Failure> {
        let is_user = global.user || !(rustix::process::geteuid().is_root() || global.system);
        let whose = if is_user { Whose::User } else { Whose::System };
        let mut notes = Vec::new();
        let runtime_dir = match chosen(&global.runtime_dir, "HERD_RUNTIME_DIR") {
            Some(path) => path,
            None => spare::runtime_dir(usual_runtime_dir(whose), &mut notes)?,
        };
        let log_dir = match chosen(&global.log_dir, "HERD_LOG_DIR") {
            Some(path) => Some(path),
            None => spare::log_dir(usual_log_dir(whose), &mut notes),
        };
        let search = match directory {
            Some(directory) => SearchPath::directory(directory.to_owned()),
            None => search_path(global, whose)?,
        };
        Ok(ToRun {
            runtime_dir: absolute(&runtime_dir)?,
            log_dir: log_dir.as_deref().map(absolute).transpose()?,
            search,
            notes,
        })
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.runtime_dir.join(SOCKET)
    }

    pub(super) fn connect(&self) -> Result<Client, Failure> {
        Client::connect(&self.socket()).map_err(|error| {
            let may_be_anothers = self.is_usual
                && matches!(&error, ClientError::Unreachable { source, .. }
                    if source.kind() != io::ErrorKind::PermissionDenied);
            let hint = may_be_anothers.then(spare::of_another).flatten();
            Failure::from(error).hint_of(hint)
        })
    }

    pub(super) fn enabled(&self) -> Result<&Path, Failure> {
        let path = self.search.enabled.as_deref();
        path.ok_or_else(|| Failure::failed("there is no directory of enabled units"))
    }

    pub(super) fn available(&self) -> Result<&Path, Failure> {
        let path = self.search.available.as_deref();
        path.ok_or_else(|| Failure::failed("there is no directory of available units"))
    }
}

/// What an option or a variable says.
fn chosen(option: &Option<PathBuf>, variable: &str) -> Option<PathBuf> {
    let from_environment = || env::var_os(variable).map(PathBuf::from);
    option
        .clone()
        .or_else(|| from_environment().filter(|path| !path.as_os_str().is_empty()))
}

fn usual_runtime_dir(whose: Whose) -> Result<PathBuf, Failure> {
    match whose {
        Whose::System => Ok("/run/herd".into()),
        Whose::User => Ok(directory("XDG_RUNTIME_DIR", None, "--runtime-dir")?.join("herd")),
    }
}

fn usual_log_dir(whose: Whose) -> Result<PathBuf, Failure> {
    match whose {
        Whose::System => {
            let of_this_boot = PathBuf::from(daemon::LOGS_OF_THIS_BOOT);
            Ok(match of_this_boot.exists() {
                true => of_this_boot,
                false => "/var/log/herd".into(),
            })
        }
        Whose::User => {
            let state = directory("XDG_STATE_HOME", Some(".local/state"), "--log-dir")?;
            Ok(state.join("herd/log"))
        }
    }
}

fn search_path(global: &Global, whose: Whose) -> Result<SearchPath, Failure> {
    let mut search = match whose {
        Whose::System => SearchPath {
            boot: crate::pid1::boot_of_this_machine(),
            ..SearchPath::system()
        },
        Whose::User => SearchPath::user(&directory(
            "XDG_CONFIG_HOME",
            Some(".config"),
            "--enabled-dir",
        )?),
    };
    for (option, place) in [
        (&global.enabled_dir, &mut search.enabled),
        (&global.available_dir, &mut search.available),
        (&global.vendor_dir, &mut search.vendor),
    ] {
        if let Some(path) = option {
            *place = Some(absolute(path)?);
            search.explicit = true;
        }
    }
    // Beside the enabled units, as in the machine's own directories.
    if let (Some(_), Some(enabled)) = (&global.enabled_dir, &search.enabled) {
        search.networks = enabled.parent().map(|above| above.join("networks"));
    }
    Ok(search)
}

/// Absolute and without `..`, which the paths that units make of it (`%Y`) may not have.
pub(super) fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    let fail = |error| Failure::file("find", path, &error);
    let whole = std::path::absolute(path).map_err(fail)?;
    if !whole.components().any(|part| part == Component::ParentDir) {
        return Ok(whole);
    }
    // The last name may be a link, and is the unit's own.
    match (whole.parent(), whole.file_name()) {
        (Some(parent), Some(name)) => fs::canonicalize(parent).map(|parent| parent.join(name)),
        _ => fs::canonicalize(&whole),
    }
    .map_err(fail)
}

/// A directory of the XDG base directory specification; relative ones are to be ignored.
fn directory(variable: &str, below_home: Option<&str>, option: &str) -> Result<PathBuf, Failure> {
    let absolute = |name: &str| {
        let path = env::var_os(name).map(PathBuf::from);
        path.filter(|path| path.is_absolute())
    };
    let home = || below_home.and_then(|below| Some(absolute("HOME")?.join(below)));
    absolute(variable).or_else(home).ok_or_else(|| {
        Failure::new(USAGE, format!("{variable} is not set"))
            .hint(format!("set it, or give {option}"))
    })
}
