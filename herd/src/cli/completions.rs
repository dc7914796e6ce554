//! `herd completions`.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Command, ValueEnum};
use clap_complete::shells;

use super::failure::Failure;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    Bash,
    Zsh,
    Fish,
}

pub(super) fn completions(command: &mut Command, shell: Shell) -> Result<ExitCode, Failure> {
    let mut script = Vec::new();
    match shell {
        Shell::Bash => clap_complete::generate(shells::Bash, command, "herd", &mut script),
        Shell::Zsh => clap_complete::generate(shells::Zsh, command, "herd", &mut script),
        Shell::Fish => clap_complete::generate(shells::Fish, command, "herd", &mut script),
    }
    io::stdout().write_all(&script)?;
    Ok(ExitCode::SUCCESS)
}
