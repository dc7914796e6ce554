//! A shell in a box.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::path::PathBuf;

use super::options::Options;
use super::outcome::{RunError, RunOutcome};
use super::run::launch;
use crate::config::{Config, Root};
use crate::launch::Files;

/// A box around a shell that shares the caller's terminal and job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShellConfig {
    /// Everything but the command, which `shell` and `arguments` replace.
    pub config: Config,
    /// A path of the box.
    pub shell: PathBuf,
    pub arguments: Vec<OsString>,
}

impl ShellConfig {
    /// `/bin/sh` in the [minimal box](crate::config::Walls::minimal_box) whose `/` is `root`, with the
    /// caller's `TERM`. It is in the caller's session: an interactive shell does job control on the
    /// caller's terminal.
    pub fn new(root: Root) -> Self {
        let shell = PathBuf::from("/bin/sh");
        let mut config = Config::boxed("shell", [shell.as_os_str()]);
        let mut walls = crate::config::Walls::minimal_box();
        walls.root = root;
        config.walls = Some(walls);
        config.process.new_session = false;
        config.process.foreground = true;
        if let Some(terminal) = std::env::var_os("TERM") {
            config.process.environment.push(("TERM".into(), terminal));
        }
        Self {
            config,
            shell,
            arguments: Vec::new(),
        }
    }
}

/// [`launch`] for a shell.
///
/// # Errors
/// [`RunError`].
pub fn launch_shell(
    shell: &ShellConfig,
    files: Files<'_>,
    options: Options<'_>,
) -> Result<RunOutcome, RunError> {
    let mut config = shell.config.clone();
    let command = std::iter::once(shell.shell.clone().into_os_string());
    config.process.argv = command.chain(shell.arguments.iter().cloned()).collect();
    launch(&config, files, options)
}
