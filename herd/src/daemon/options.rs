//! What `herd run` and `herd daemon` start the daemon with.
#![forbid(unsafe_code)]

use std::path::PathBuf;

use units::Power;
use units::load::SearchPath;

use crate::logs::Format;
pub use crate::prepare::HandedOn;
use crate::supervisor::{EndPolicy, Time};

#[derive(Debug, Clone)]
pub struct Options {
    pub mode: Mode,
    /// Control socket, notify socket, lock.
    pub runtime_dir: PathBuf,
    /// Where log files go; without one none are kept.
    pub log_dir: Option<PathBuf>,
    pub search: SearchPath,
    /// Show the services' lines on stdout (`herd run`), in this form.
    pub echo: Option<Format>,
    /// What of herd's own environment every service gets.
    pub handed_on: HandedOn,
    /// What ends herd, beside being told to.
    pub ending: EndPolicy,
    /// What had to be chosen otherwise than is usual; the first words in herd's log.
    pub notes: Vec<String>,
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
    /// What every service has in its environment, unless it says otherwise.
    pub environment: Vec<(String, String)>,
    /// The console hears of failures only.
    pub is_quiet: bool,
    /// When the boot was herd's.
    pub began: Time,
    /// How fstab is read, for when it is read again.
    pub fstab: crate::pid1::fstab::Machine,
}

impl Mode {
    pub fn is_machine(&self) -> bool {
        matches!(self, Self::Machine(_))
    }

    /// Claims that the console is to hear of failures only.
    pub fn is_quiet(&self) -> bool {
        matches!(self, Self::Machine(machine) if machine.is_quiet)
    }
}

/// How herd ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    pub code: u8,
    /// What the machine is to do now.
    pub power: Power,
}
