//! The check of a file system before it is mounted, and what its end means (fsck(8)).
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::process::{ExitStatus, Stdio};

use clap::Args;
use units::Power;

use super::{TaskError, device, herd_of_the_machine};
use crate::control::client::{ANSWER_TIMEOUT, ClientError};
use crate::control::protocol::{Call, Empty, Schedule, Way};

/// Of what fsck(8) says: the first lines name what is wrong, the last why it gives up.
const FIRST: usize = 2;
const LAST: usize = 4;
const LONGEST: usize = 1 << 16;

/// The words of the unit that was made of a line of fstab.
#[derive(Debug, Clone, Args)]
pub struct Order {
    /// Of fstab, for what is said.
    #[arg(long)]
    line: usize,
    /// How long the device may take to come.
    #[arg(long)]
    timeout: String,
    /// It is mounted, and what the kernel knows of it may be wrong after a repair.
    #[arg(long)]
    root: bool,
    /// fsck(8) and its words, the device last.
    #[arg(required = true, last = true)]
    command: Vec<OsString>,
}

/// Why the file system is not to be mounted.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    #[error("line {line} of /etc/fstab")]
    Device {
        line: usize,
        source: device::DeviceError,
    },
    #[error("line {line} of /etc/fstab: cannot run fsck(8)")]
    Run { line: usize, source: io::Error },
    #[error("line {line} of /etc/fstab: fsck of {device}: {why}: {said}")]
    Refused {
        line: usize,
        device: String,
        why: String,
        said: String,
    },
    #[error(
        "line {line} of /etc/fstab: the root was repaired, and the reboot that it needs cannot be had"
    )]
    Reboot { line: usize, source: ClientError },
}

/// What a check comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Verdict {
    Sound,
    /// The machine has to be rebooted.
    Reboot,
    Broken(String),
}

/// fsck(8) adds numbers up; what it is ended by has none.
fn verdict(code: Option<i32>, is_root: bool) -> Verdict {
    let Some(code) = code else {
        return Verdict::Broken("it was killed".to_owned());
    };
    let words = [
        (2, "the machine should be rebooted"),
        (4, "errors are left that it does not repair by itself"),
        (8, "it could not work"),
        (16, "it was called in a wrong way"),
        (32, "it was cancelled"),
        (128, "a library is missing"),
    ];
    match code {
        // Nothing to do, or all repaired.
        0 | 1 => Verdict::Sound,
        2 | 3 if is_root => Verdict::Reboot,
        other => {
            let found = words.iter().filter(|(bit, _)| other & bit != 0);
            let mut found: Vec<&str> = found.map(|(_, word)| *word).collect();
            if found.is_empty() {
                found.push("it failed");
            }
            Verdict::Broken(format!("{} (exit {other})", found.join(", ")))
        }
    }
}

pub(super) fn run(order: &Order) -> Result<(), TaskError> {
    let line = order.line;
    let device = order.command.last().map(|word| word.to_string_lossy());
    let device = device.unwrap_or_default();
    let own = match order.root {
        true => device::of_root(),
        false => None,
    };
    let device = match own {
        Some(own) => own.to_string_lossy().into_owned(),
        None => {
            device::timeout(&order.timeout)
                .and_then(|timeout| device::wait_and_tell(&device, timeout))
                .map_err(|source| CheckError::Device { line, source })?;
            device.into_owned()
        }
    };
    let (status, said) =
        listen(order, &device).map_err(|source| CheckError::Run { line, source })?;
    match verdict(status.code(), order.root) {
        Verdict::Sound => Ok(()),
        Verdict::Reboot => {
            crate::pid1::power::say("the root was repaired while it was mounted: rebooting");
            reboot().map_err(|source| CheckError::Reboot { line, source })?;
            // The boot is not to go on meanwhile.
            loop {
                nix::unistd::pause();
            }
        }
        Verdict::Broken(why) => Err(CheckError::Refused {
            line,
            device,
            why,
            said,
        }
        .into()),
    }
}

/// Runs it; its end and its last words, which go to the log as they come.
fn listen(order: &Order, device: &str) -> io::Result<(ExitStatus, String)> {
    let (mut output, input) = io::pipe()?;
    let [program, words @ .., _] = &order.command[..] else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    #[expect(
        clippy::disallowed_methods,
        reason = "a process of its own below a unit, with nothing but its stdio"
    )]
    let mut child = std::process::Command::new(program)
        .args(words)
        .arg(device)
        .stdin(Stdio::null())
        .stdout(input.try_clone()?)
        .stderr(input)
        .spawn()?;
    let mut last = Vec::new();
    let mut bytes = [0; 1024];
    while let size @ 1.. = output.read(&mut bytes)? {
        let bytes = bytes.get(..size).unwrap_or_default();
        // Who reads no log has no use for an error of writing it.
        io::stderr().write_all(bytes).ok();
        last.extend_from_slice(bytes);
        last.drain(..last.len().saturating_sub(LONGEST));
    }
    Ok((child.wait()?, in_short(&last)))
}

/// On one line.
fn in_short(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let mut lines: Vec<&str> = lines.collect();
    let end = lines.len().saturating_sub(LAST);
    if end > FIRST {
        lines.splice(FIRST..end, ["…"]);
    }
    lines.join(" ")
}

fn reboot() -> Result<(), ClientError> {
    let call = Call::Shutdown {
        power: Some(Way::Power(Power::Reboot)),
        force: false,
        wait: false,
        schedule: Schedule::default(),
    };
    let mut client = herd_of_the_machine()?;
    let Empty {} = client.call(&call, Some(ANSWER_TIMEOUT))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_repaired_is_sound_and_what_is_left_is_not() {
        for code in [0, 1] {
            assert_eq!(verdict(Some(code), false), Verdict::Sound);
            assert_eq!(verdict(Some(code), true), Verdict::Sound);
        }
        for code in [2, 3] {
            assert_eq!(verdict(Some(code), true), Verdict::Reboot);
        }
        let why = |code, is_root| match verdict(code, is_root) {
            Verdict::Broken(why) => why,
            Verdict::Sound | Verdict::Reboot => panic!("{code:?} is not broken"),
        };
        assert_eq!(
            why(Some(3), false),
            "the machine should be rebooted (exit 3)"
        );
        assert_eq!(
            why(Some(4), true),
            "errors are left that it does not repair by itself (exit 4)"
        );
        // A reboot would find the same again.
        assert_eq!(
            why(Some(6), true),
            "the machine should be rebooted, errors are left that it does not repair by itself (exit 6)"
        );
        assert_eq!(why(Some(8), false), "it could not work (exit 8)");
        assert_eq!(why(None, true), "it was killed");
    }

    #[test]
    fn the_first_and_the_last_words_are_kept_on_one_line() {
        assert_eq!(in_short(b"/dev/x: one\n\n  two.  \n"), "/dev/x: one two.");
        let six: String = (1..=6).map(|number| format!("{number}\n")).collect();
        assert_eq!(in_short(six.as_bytes()), "1 2 3 4 5 6");
        assert_eq!(in_short(format!("{six}7\n8\n").as_bytes()), "1 2 … 5 6 7 8");
        assert_eq!(in_short(b""), "");
    }
}
