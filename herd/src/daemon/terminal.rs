//! The terminal of a container (`podman run -t`): that of herd's own session, until a unit is to read from it.
//!
//! A terminal belongs to one session, and a service that reads from one leads its own (`ioctl_tty(2)`). So the first
//! process of a container lets go of it, once and for all, when it has a unit with `stdin = "tty"` on the same device.
#![forbid(unsafe_code)]

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use units::Unit;
use units::unit::Input;

use super::{Daemon, Mode};
use crate::pid1::is_first_process;

/// What `tty` of a unit is where it says nothing.
const CONSOLE: &str = "/dev/console";

impl Daemon {
    pub(super) fn leave_terminal_to<'a>(&self, units: impl Iterator<Item = &'a Unit>) {
        if self.options.mode != Mode::Foreground || !is_first_process() {
            return;
        }
        let Ok(own) = rustix::fs::fstat(rustix::stdio::stdin()) else {
            return;
        };
        let reads_it = |unit: &&Unit| {
            let terminal = unit
                .surroundings
                .as_ref()
                .filter(|around| around.stdin == Input::Tty)
                .map(|around| around.tty.as_deref().unwrap_or(Path::new(CONSOLE)));
            let device = terminal.and_then(|path| std::fs::metadata(path).ok());
            device.is_some_and(|device| device.rdev() == own.st_rdev)
        };
        if let Some(unit) = units.into_iter().find(reads_it)
            && sandbox::leave_terminal().is_ok()
        {
            self.note(&format!(
                "the terminal is left to {}: ctrl-c is its own there",
                unit.name
            ));
        }
    }
}
