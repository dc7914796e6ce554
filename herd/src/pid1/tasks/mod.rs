//! What units of a boot run when no tool of the system does it: `herd machine TASK`.
//!
//! Each is a process of its own, told of by its unit's log, and may wait. None is for people to type; the verb is
//! hidden, and its words may change with the units that use it (`herd/boot`, `pid1/fstab`).
#![forbid(unsafe_code)]

mod address;
mod check;
mod conf_d;
mod device;
mod line;
mod linger;
mod login;
mod modules;
mod mount;
mod power_button;
mod random_seed;
mod said;
mod shell_words;
mod swap_off;
mod swap_on;
pub mod sysctl;
mod unmount;

use std::ffi::{CString, OsStr};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use clap::Subcommand;

use super::machine_id::{self, Kept};
use crate::control::SOCKET;
use crate::control::client::{Client, ClientError};

#[derive(Debug, Clone, Subcommand)]
pub enum Task {
    /// Wait until a device is there.
    AwaitDevice {
        /// `infinity`, or a duration.
        #[arg(long)]
        timeout: String,
        /// A path, or UUID=, LABEL=, PARTUUID=, PARTLABEL=, ID=.
        device: String,
    },
    /// Wait until an interface has an address that others reach.
    AwaitAddress { interface: String },
    /// Check a file system of fstab, and do what its end says.
    Check(check::Order),
    /// Swap to what a line of fstab says.
    SwapOn(swap_on::Order),
    /// Give up swap that memory has room for.
    SwapOff {
        /// A path, or a tag as fstab has it.
        device: String,
    },
    /// Mount what a line of fstab says.
    Mount(mount::Order),
    /// Let go of a file system that services may write to until they have stopped.
    Unmount {
        /// A program of this unit answers for it, or another machine does: it goes while they are there.
        #[arg(long)]
        answered: bool,
        target: PathBuf,
    },
    /// Write what sysctl.d(5) says.
    Sysctl,
    /// Load what modules-load.d(5) says.
    Modules,
    /// Give the kernel the seed of the last boot, or keep one for the next.
    RandomSeed {
        #[arg(value_enum)]
        what: random_seed::What,
    },
    /// Write the id down that this machine was given before its root could be written.
    MachineId,
    /// Start the herds of users who linger.
    Linger,
    /// Say what has failed, in front of a shell.
    ShellWords {
        #[arg(value_enum)]
        shell: shell_words::Shell,
    },
    /// Offer a login on a terminal: agetty or, without it, busybox's getty.
    Login {
        /// A line, whose speed the other end decides.
        #[arg(long)]
        serial: bool,
        /// Below /dev.
        terminal: String,
    },
    /// Wait for the power button, and run a program then.
    PowerButton {
        #[arg(required = true, trailing_var_arg = true)]
        command: Vec<std::ffi::OsString>,
    },
}

/// Why a task did not do its work. What it says on the way is on stderr.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    #[error(transparent)]
    Address(#[from] address::AddressError),
    #[error(transparent)]
    Device(#[from] device::DeviceError),
    #[error(transparent)]
    Line(#[from] line::LineError),
    #[error(transparent)]
    Check(#[from] check::CheckError),
    #[error("swap {device} stays in use: {why}")]
    Swap { device: String, why: String },
    #[error("cannot run {program}")]
    Exec { program: String, source: io::Error },
    #[error("{count} of the settings could not be made")]
    Settings { count: usize },
    #[error("cannot {what} {path}")]
    File {
        what: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("cannot listen to the power button")]
    PowerButton { source: io::Error },
    #[error("the id of this machine is not kept: the next boot will make another")]
    MachineId { source: io::Error },
    #[error(
        "no login is offered on {terminal}: neither agetty (package util-linux) nor a busybox with getty \
         (package busybox) is installed"
    )]
    Login { terminal: String },
    #[error("{count} of the users could not be served")]
    Users { count: usize },
}

impl TaskError {
    /// The exit code that says so: `EX_UNAVAILABLE` of sysexits.h where a unit that is tried again fares no better.
    pub fn code(&self) -> u8 {
        if matches!(self, Self::Login { .. }) {
            69
        } else {
            1
        }
    }
}

/// The herd that booted the machine.
fn herd_of_the_machine() -> Result<Client, ClientError> {
    Client::connect(&Path::new("/run/herd").join(SOCKET))
}

/// Does it; `Ok` is done.
///
/// # Errors
/// As each task has them.
pub fn run(task: &Task) -> Result<(), TaskError> {
    match task {
        Task::AwaitDevice { timeout, device } => {
            let found = device::wait_and_tell(device, device::timeout(timeout)?)?;
            tell(&format!("{device} is {}", found.display()));
            Ok(())
        }
        Task::AwaitAddress { interface } => {
            tell(&format!("{interface} has {}", address::wait(interface)?));
            Ok(())
        }
        Task::Mount(order) => mount::run(order).inspect_err(tell_on_console),
        Task::Check(order) => check::run(order).inspect_err(tell_on_console),
        Task::Unmount { answered, target } => unmount::run(target, *answered),
        Task::SwapOn(order) => swap_on::run(order).inspect_err(tell_on_console),
        Task::SwapOff { device } => Err(swap_off::run(device)),
        Task::Sysctl => sysctl::run(),
        Task::Modules => modules::run(),
        Task::RandomSeed { what } => random_seed::run(*what),
        Task::MachineId => match machine_id::keep() {
            Ok(kept) => {
                tell(match kept {
                    Kept::Written => "the id of this machine is written down",
                    Kept::OfItsOwn => "what is mounted on /etc has an id of its own",
                });
                Ok(())
            }
            Err(source) => Err(TaskError::MachineId { source }),
        },
        Task::Linger => linger::run(),
        Task::ShellWords { shell } => {
            shell_words::say(*shell);
            Ok(())
        }
        Task::Login { serial, terminal } => Err(login::run(terminal, *serial)),
        Task::PowerButton { command } => {
            power_button::wait().map_err(|source| TaskError::PowerButton { source })?;
            tell("the power button was pressed");
            let words: Vec<_> = command.iter().skip(1).map(OsStr::new).collect();
            let program = command.first().map_or(OsStr::new(""), OsStr::new);
            Err(become_program(program, &words))
        }
    }
}

/// Where somebody sits who wonders why the boot does not go on; and in the unit's status, for who asks later.
fn tell_on_console(error: &TaskError) {
    let text = crate::prepare::chain(error);
    super::power::say(&text);
    // Of a notification each line is a word of its own.
    tell_status(&text.replace('\n', "; "));
}

/// What the unit waits for, in its status; nothing when it goes on.
fn tell_status(text: &str) {
    let send = || -> io::Result<()> {
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        socket.send_to(format!("STATUS={text}").as_bytes(), "/run/herd/notify")?;
        Ok(())
    };
    // Where nobody listens nobody asks.
    send().ok();
}

/// A line in the unit's log.
fn tell(text: &str) {
    // Who reads no log has no use for an error of writing it.
    writeln!(io::stderr(), "{text}").ok();
}

/// This process becomes that program, found on the path; returns only if it cannot.
fn become_program(program: &OsStr, words: &[&OsStr]) -> TaskError {
    let words: Result<Vec<CString>, _> = std::iter::once(program)
        .chain(words.iter().copied())
        .map(|word| CString::new(word.as_bytes()))
        .collect();
    let source = match words {
        Err(error) => error.into(),
        Ok(words) => match words.split_first() {
            None => io::ErrorKind::InvalidInput.into(),
            Some((name, _)) => match nix::unistd::execvp(name, &words) {
                Ok(never) => match never {},
                Err(error) => error.into(),
            },
        },
    };
    TaskError::Exec {
        program: program.to_string_lossy().into_owned(),
        source,
    }
}
