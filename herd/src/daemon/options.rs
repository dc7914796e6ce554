//! What `herd run` and `herd daemon` start the daemon with.
#![forbid(unsafe_code)]

use std::path::PathBuf;

use units::load::SearchPath;

use crate::pid1::power::Power;

#[derive(Debug, Clone)]
pub struct Options {
    pub mode: Mode,
    /// Control socket, notify socket, lock.
    pub runtime_dir: PathBuf,
    pub log_dir: PathBuf,
    pub search: SearchPath,
    /// Show the services' lines on stdout (`herd run`).
    pub echo: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// `herd run DIR`.
    Foreground,
    /// `herd daemon` as root.
    System,
    /// `herd daemon --user`.
    User,
    /// The first process of a machine.
    Machine(Machine),
}

/// What a boot gave on the way.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Machine {
    /// Said as soon as there is a log.
    pub notes: Vec<String>,
    /// What every service has in its environment, unless it says otherwise.
    pub environment: Vec<(String, String)>,
    /// The console hears of failures only.
    pub is_quiet: bool,
}

impl Mode {
    pub fn is_machine(&self) -> bool {
        matches!(self, Self::Machine(_))
    }
}

/// How herd ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    pub code: u8,
    /// What the machine is to do now.
    pub power: Power,
}
