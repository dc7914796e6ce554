//! herd: init, service supervisor and sandbox in one binary.
//!
//! `supervisor` decides (pure), `daemon` acts, `prepare` turns a unit into what the sandbox starts,
//! `control` is how others talk to a running herd, `logs` where the words of services go, `cli` what
//! a user types.

use std::ffi::OsString;

mod advice;
pub mod allot;
pub mod cli;
pub mod control;
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "what the daemon looks for in a state or an error is named; every other goes one way"
)]
pub mod daemon;
pub mod exposure;
pub mod identity;
pub mod logs;
mod mount_table;
pub mod network;
pub mod pid1;
pub mod plain_file;
pub mod prepare;
pub mod profile;
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "an input that does not concern a state leaves it as it is; tests/golden/transitions.txt \
              shows every cell"
)]
pub mod supervisor;
pub mod users;
pub mod vb;

/// Claims that the file is setuid or setgid, and the caller somebody else than its owner.
pub fn runs_as_its_files_owner() -> bool {
    use rustix::process::{getegid, geteuid, getgid, getuid};
    getuid() != geteuid() || getgid() != getegid()
}

/// Claims that the binary was started to build a box: as `herd-exec`, or with that as its verb.
fn is_executor<'a>(mut first_two: impl Iterator<Item = &'a OsString>) -> bool {
    first_two.any(|argument| argument == "herd-exec")
}

/// Called before `main`: the executor of boxes and the launcher are this binary under other names, and go
/// their own way, with one thread, before an option of herd's is looked at. For anybody else it does
/// nothing.
pub fn begin_at_once() {
    if runs_as_its_files_owner() {
        // `main` refuses.
        return;
    }
    let words: Vec<_> = std::env::args_os().collect();
    let is_executor = is_executor(words.iter().take(2));
    if !is_executor && (!vb::is_called(&words) || vb::as_doctor(&words).is_some()) {
        return;
    }
    if sandbox::start_bare().is_err() {
        sandbox::exit_now(1);
    }
    if is_executor {
        sandbox::herd_exec_main();
    }
    sandbox::exit_now(vb::main(words));
}
