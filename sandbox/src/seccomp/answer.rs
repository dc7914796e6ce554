//! What a filter may answer (`SECCOMP_RET_*`, `seccomp(2)`).
#![forbid(unsafe_code)]

use crate::config::{ProfileAction, Refusal};

pub(super) const ALLOW: u32 = 0x7fff_0000;
pub(super) const LOG: u32 = 0x7ffc_0000;
const TRACE: u32 = 0x7ff0_0000;
const ERRNO: u32 = 0x0005_0000;
const TRAP: u32 = 0x0003_0000;
const KILL_THREAD: u32 = 0;
pub(super) const KILL_PROCESS: u32 = 0x8000_0000;

// The same numbers on every architecture that has a table here.
pub(super) const EPERM: u16 = 1;
pub(super) const ENOSYS: u16 = 38;
pub(super) const EAFNOSUPPORT: u16 = 97;

pub(super) fn errno(number: u16) -> u32 {
    ERRNO | u32::from(number)
}

/// Claims that a call with this answer is made.
pub(super) fn lets_through(answer: u32) -> bool {
    answer == ALLOW || answer == LOG
}

/// The errno has been looked at before.
pub(super) fn of_refusal(refusal: Refusal) -> u32 {
    match refusal {
        Refusal::KillProcess => KILL_PROCESS,
        Refusal::Errno(number) => errno(u16::try_from(number).unwrap_or(EPERM)),
    }
}

pub(super) fn of_action(action: ProfileAction) -> u32 {
    match action {
        ProfileAction::KillProcess => KILL_PROCESS,
        ProfileAction::KillThread => KILL_THREAD,
        ProfileAction::Trap => TRAP,
        ProfileAction::Errno(number) => errno(number),
        ProfileAction::Trace(number) => TRACE | u32::from(number),
        ProfileAction::Log => LOG,
        ProfileAction::Allow => ALLOW,
    }
}
