//! Words to everybody who has a terminal open, as wall(1).
//!
//! A terminal that is stopped, or whose reader does not read, is not waited for: it misses the words.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::login_records;

/// More than people have open; the loop writes to each.
const MOST: usize = 1000;
/// More nobody reads.
const LONGEST: usize = 2000;

/// Says it on every terminal on which somebody is logged in, and on every pseudo-terminal.
pub fn say_to_all(text: &str) {
    let mut names: BTreeSet<String> = login_records::terminals_in_use().into_iter().collect();
    let entries = fs::read_dir("/dev/pts").into_iter().flatten().flatten();
    names.extend(entries.filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        Some(format!("pts/{name}"))
    }));
    let host = rustix::system::uname();
    let host = host.nodename().to_string_lossy();
    let bytes = format(&host, text);
    for name in names.iter().filter(|name| is_terminal(name)).take(MOST) {
        let terminal = fs::OpenOptions::new()
            .write(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_NOFOLLOW)
            .open(Path::new("/dev").join(name));
        if let Ok(mut terminal) = terminal
            && rustix::termios::isatty(&terminal)
        {
            // Who does not read misses it.
            terminal.write_all(bytes.as_bytes()).ok();
        }
    }
}

/// Many may write `/run/utmp`; only a terminal is opened for what it says.
fn is_terminal(name: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match name.strip_prefix("pts/") {
        Some(number) => digits(number),
        None => {
            ["tty", "hvc", "xvc"]
                .iter()
                .any(|kind| name.starts_with(kind))
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric())
        }
    }
}

/// With a bell, and line ends that hold on a terminal in raw mode too.
fn format(host: &str, text: &str) -> String {
    let clean: String = text
        .chars()
        .filter(|character| *character == '\n' || !character.is_control())
        .take(LONGEST)
        .collect();
    let lines: Vec<&str> = clean.lines().collect();
    format!(
        "\r\n\x07Broadcast message from {host}:\r\n\r\n{}\r\n\r\n",
        lines.join("\r\n")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_terminals_is_opened() {
        for name in ["pts/0", "pts/12", "tty1", "ttyS0", "hvc0"] {
            assert!(is_terminal(name), "{name}");
        }
        for name in [
            "sda",
            "pts/ptmx",
            "pts/../sda",
            "../etc/x",
            "tty/../sda",
            "watchdog",
            "",
        ] {
            assert!(!is_terminal(name), "{name}");
        }
    }

    #[test]
    fn words_cannot_steer_a_terminal() {
        assert_eq!(
            format("web1", "down\nat\x1b[2J noon\r"),
            "\r\n\x07Broadcast message from web1:\r\n\r\ndown\r\nat[2J noon\r\n\r\n"
        );
    }
}
