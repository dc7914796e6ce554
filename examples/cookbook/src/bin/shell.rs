//! A shell in a box: interactive on a terminal (`shell`), or for one command (`shell -c COMMAND`).
#![allow(clippy::print_stderr, reason = "examples talk to the terminal")]

use std::process::ExitCode;

use sandbox::config::Root;
use sandbox::session::{Options, ShellConfig, launch_shell};
use sandbox::{Files, Profile, with_profile};

fn main() -> ExitCode {
    sandbox::executor_entry();
    let mut shell = ShellConfig::new(Root::Host);
    shell.arguments = std::env::args_os().skip(1).collect();
    with_profile(&mut shell.config, Profile::Minimal);
    match launch_shell(&shell, Files::of_caller(), Options::new()) {
        Ok(outcome) => ExitCode::from(u8::try_from(outcome.exit_code()).unwrap_or(u8::MAX)),
        Err(error) => {
            eprintln!("shell: {error}");
            ExitCode::FAILURE
        }
    }
}
