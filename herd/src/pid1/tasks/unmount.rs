//! A file system that nothing waited for at the boot (`nofail`, `noauto`): nothing orders its end after that of
//! services either, so at the end of the machine it is left to what herd does once all of them have stopped.
#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::path::Path;

use units::Power;

use super::{TaskError, become_program, herd_of_the_machine, tell};
use crate::control::client::{ANSWER_TIMEOUT, ClientError};
use crate::control::protocol::{Call, Info, Way};

pub(super) fn run(target: &Path) -> Result<(), TaskError> {
    // Who gets no answer lets go of it now, as at any other time.
    if is_end_of_machine().unwrap_or(false) {
        tell(&format!(
            "{} stays mounted until every service has stopped",
            target.display()
        ));
        return Ok(());
    }
    let words = [OsStr::new("--"), target.as_os_str()];
    Err(become_program(OsStr::new("umount"), &words))
}

/// After a soft reboot nothing is let go.
fn is_end_of_machine() -> Result<bool, ClientError> {
    let mut client = herd_of_the_machine()?;
    let info: Info = client.call(&Call::Info, Some(ANSWER_TIMEOUT))?;
    Ok(info
        .ending
        .is_some_and(|ending| ending.begun && ending.power != Way::Power(Power::SoftReboot)))
}
