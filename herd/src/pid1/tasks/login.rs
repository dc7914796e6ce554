//! A login on a terminal, by agetty(8) or else busybox's getty.
#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::process::Stdio;

use super::{TaskError, become_program, tell_on_console};

const AGETTY: &str = "/sbin/agetty";
const BUSYBOX: [&str; 2] = ["/bin/busybox", "/usr/bin/busybox"];

/// Who offers the login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Getty {
    Agetty,
    /// At this path.
    Busybox(&'static str),
}

/// This process becomes the getty; returns only if it cannot.
pub(super) fn run(terminal: &str, is_serial: bool) -> TaskError {
    let Some(getty) = find() else {
        let error = TaskError::Login {
            terminal: terminal.to_owned(),
        };
        tell_on_console(&error);
        return error;
    };
    let words = words(getty, terminal, is_serial);
    let words: Vec<&OsStr> = words.iter().map(OsStr::new).collect();
    match words.split_first() {
        Some((program, words)) => become_program(program, words),
        None => become_program(OsStr::new(AGETTY), &[]),
    }
}

fn find() -> Option<Getty> {
    let may_run = |path: &str| rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok();
    if may_run(AGETTY) {
        return Some(Getty::Agetty);
    }
    let mut all = BUSYBOX.into_iter();
    all.find(|path| may_run(path) && has_getty(path))
        .map(Getty::Busybox)
}

/// Busybox is built with what its builder chose.
fn has_getty(busybox: &str) -> bool {
    #[expect(
        clippy::disallowed_methods,
        reason = "a process of its own below a unit, with nothing but its stdio"
    )]
    let output = std::process::Command::new(busybox)
        .arg("--list")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output();
    output.is_ok_and(|output| {
        output
            .stdout
            .split(|byte| *byte == b'\n')
            .any(|name| name == b"getty")
    })
}

/// Program and arguments.
fn words(getty: Getty, terminal: &str, is_serial: bool) -> Vec<&str> {
    // login(1) keeps the environment with -p: that of the machine, as its locale.
    const LOGIN: [&str; 3] = [AGETTY, "-o", "-p -- \\u"];
    match (getty, is_serial) {
        (Getty::Agetty, true) => {
            let line = ["--keep-baud", "115200,57600,38400,9600", terminal, "vt220"];
            [&LOGIN[..], &line].concat()
        }
        (Getty::Agetty, false) => [&LOGIN[..], &["--noclear", terminal, "linux"]].concat(),
        (Getty::Busybox(path), true) => vec![path, "getty", "-L", "0", terminal, "vt220"],
        (Getty::Busybox(path), false) => vec![path, "getty", "0", terminal, "linux"],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_keeps_its_speed_and_a_screen_what_is_on_it() {
        let said = |getty, terminal, is_serial| words(getty, terminal, is_serial).join("|");
        assert_eq!(
            said(Getty::Agetty, "ttyS0", true),
            "/sbin/agetty|-o|-p -- \\u|--keep-baud|115200,57600,38400,9600|ttyS0|vt220"
        );
        assert_eq!(
            said(Getty::Agetty, "tty1", false),
            "/sbin/agetty|-o|-p -- \\u|--noclear|tty1|linux"
        );
        let busybox = Getty::Busybox("/bin/busybox");
        assert_eq!(
            said(busybox, "ttyS0", true),
            "/bin/busybox|getty|-L|0|ttyS0|vt220"
        );
        assert_eq!(
            said(busybox, "tty1", false),
            "/bin/busybox|getty|0|tty1|linux"
        );
    }
}
