//! The names under which the binary is what people know from an init: `shutdown`, `reboot`, `poweroff`, `halt`,
//! `telinit`, `runlevel`, and `init` where that is not the first process. Their words become herd's.
//!
//! The options are those of sysvinit and systemd that mean something here; any other is refused.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::path::Path;

use units::Power;

type Words = Result<Vec<OsString>, String>;

/// What herd is asked for under another name; `None` when it was called by its own.
pub fn in_words_of_herd(words: &[OsString]) -> Option<Words> {
    let (called, rest) = words.split_first()?;
    let name = Path::new(called).file_name()?.to_str()?;
    let power = match name {
        "shutdown" => return Some(shutdown(rest)),
        "telinit" | "init" => return Some(telinit(name, rest)),
        "runlevel" => return Some(runlevel(rest)),
        "reboot" => Power::Reboot,
        "poweroff" => Power::PowerOff,
        "halt" => Power::Halt,
        _ => return None,
    };
    Some(end(name, power, rest))
}

fn herd(verb: &str) -> Vec<OsString> {
    ["herd", "--system", verb].map(OsString::from).into()
}

/// The letters of `-fp`, one each, and whole long options.
fn options(word: &str) -> Vec<String> {
    match word.strip_prefix('-') {
        Some(letters) if !letters.starts_with('-') && !letters.is_empty() => {
            letters.chars().map(|letter| format!("-{letter}")).collect()
        }
        _ => vec![word.to_owned()],
    }
}

fn unknown(name: &str, word: &str) -> String {
    format!("{name}: {word:?} is no option of it; herd(8) lists them")
}

fn end(name: &str, mut power: Power, rest: &[OsString]) -> Words {
    let mut given = Vec::new();
    for word in rest {
        let word = word.to_str().ok_or_else(|| unknown(name, "?"))?;
        for option in options(word) {
            match option.as_str() {
                "-f" | "--force" => given.push("--force"),
                "-p" | "--poweroff" => power = Power::PowerOff,
                "--reboot" => power = Power::Reboot,
                "--halt" => power = Power::Halt,
                "-w" | "--wtmp-only" => given.push("--wtmp-only"),
                "--no-wall" => given.push("--no-wall"),
                "-h" | "--help" => given.push("--help"),
                _ => return Err(unknown(name, word)),
            }
        }
    }
    let mut words = herd(power.as_str());
    words.push("--no-wait".into());
    words.extend(given.into_iter().map(OsString::from));
    Ok(words)
}

/// shutdown(8): what, when, and words for everybody. Without a time there is a minute to change one's mind.
fn shutdown(rest: &[OsString]) -> Words {
    const NAME: &str = "shutdown";
    let mut power = Power::PowerOff;
    let (mut cancels, mut given) = (false, Vec::new());
    let mut rest = rest.iter();
    let mut operands: Vec<OsString> = Vec::new();
    for word in rest.by_ref() {
        let text = word.to_str().unwrap_or_default();
        // Words follow a time, and may begin with anything.
        if !operands.is_empty() || !text.starts_with('-') || text == "-" {
            operands.push(word.clone());
            continue;
        }
        if text == "--" {
            break;
        }
        for option in options(text) {
            match option.as_str() {
                "-r" | "--reboot" => power = Power::Reboot,
                "-h" | "-P" | "--poweroff" => power = Power::PowerOff,
                "-H" | "--halt" => power = Power::Halt,
                "-k" => given.push("--warn-only"),
                "-c" => cancels = true,
                "--no-wall" => given.push("--no-wall"),
                "--help" => given.push("--help"),
                _ => return Err(unknown(NAME, text)),
            }
        }
    }
    operands.extend(rest.cloned());
    let mut operands = operands.into_iter();
    let mut words;
    if cancels {
        if given.contains(&"--warn-only") {
            return Err(format!("{NAME}: -c and -k are two different things"));
        }
        words = herd("shutdown");
        words.push("--cancel".into());
    } else {
        words = herd(power.as_str());
        let when = operands.next().unwrap_or_else(|| "+1".into());
        let mut option = OsString::from("--when=");
        option.push(when);
        words.extend([option, "--no-wait".into()]);
    }
    words.extend(given.into_iter().map(OsString::from));
    words.push("--".into());
    words.extend(operands);
    Ok(words)
}

/// telinit(8): runlevels as they are understood on a kernel's command line, and as signals.
fn telinit(name: &str, rest: &[OsString]) -> Words {
    let [level] = rest else {
        return Err(format!("{name}: takes one of 0 1 2 3 4 5 6 s S q Q"));
    };
    let verb: &[&str] = match level.to_str().unwrap_or_default() {
        "0" => &["poweroff", "--no-wait"],
        "6" => &["reboot", "--no-wait"],
        "1" | "s" | "S" => &["goal", "rescue", "--no-wait"],
        "2" | "3" | "4" => &["goal", "multi-user", "--no-wait"],
        "5" => &["goal", "graphical", "--no-wait"],
        "q" | "Q" => &["rescan"],
        "u" | "U" => {
            return Err(format!(
                "{name}: herd does not execute itself anew while services run; `herd soft-reboot` does after them"
            ));
        }
        other => {
            return Err(format!(
                "{name}: {other:?} is none of 0 1 2 3 4 5 6 s S q Q"
            ));
        }
    };
    let words = ["herd", "--system"].iter().chain(verb);
    Ok(words.map(OsString::from).collect())
}

/// runlevel(8): which was before and which is now; of another utmp if one is named.
fn runlevel(rest: &[OsString]) -> Words {
    const NAME: &str = "runlevel";
    let mut words = herd(NAME);
    let mut file = None;
    for word in rest {
        match word.to_str() {
            Some("-q" | "--quiet") => words.push("--quiet".into()),
            Some("-h" | "--help") => words.push("--help".into()),
            Some(text) if text.starts_with('-') => return Err(unknown(NAME, text)),
            _ if file.is_some() => return Err(format!("{NAME}: takes one file at most")),
            _ => file = Some(word.clone()),
        }
    }
    words.push("--".into());
    words.extend(file);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn said(line: &str) -> Result<String, String> {
        let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        let words = in_words_of_herd(&words).expect("a name of an init's tool")?;
        crate::cli::Cli::try_parse_from(&words).map_err(|error| error.to_string())?;
        let words: Vec<String> = words
            .into_iter()
            .map(|word| word.into_string().unwrap())
            .collect();
        Ok(words.join(" ").replace("herd --system ", ""))
    }

    #[test]
    fn what_people_type_is_understood() {
        let cases = [
            ("/sbin/reboot", "reboot --no-wait"),
            ("reboot -f", "reboot --no-wait --force"),
            ("reboot -ff", "reboot --no-wait --force --force"),
            ("halt -p", "poweroff --no-wait"),
            ("halt -fp", "poweroff --no-wait --force"),
            ("poweroff --no-wall", "poweroff --no-wait --no-wall"),
            ("halt -w", "halt --no-wait --wtmp-only"),
            ("shutdown", "poweroff --when=+1 --no-wait --"),
            ("shutdown -h now", "poweroff --when=now --no-wait --"),
            (
                "shutdown -r +5 a new kernel",
                "reboot --when=+5 --no-wait -- a new kernel",
            ),
            (
                "shutdown -k 23:00 -c is a word",
                "poweroff --when=23:00 --no-wait --warn-only -- -c is a word",
            ),
            ("shutdown -HP now", "poweroff --when=now --no-wait --"),
            ("shutdown -H now", "halt --when=now --no-wait --"),
            ("shutdown -c never mind", "shutdown --cancel -- never mind"),
            ("shutdown -c --no-wall", "shutdown --cancel --no-wall --"),
            ("telinit 0", "poweroff --no-wait"),
            ("/sbin/init 6", "reboot --no-wait"),
            ("telinit S", "goal rescue --no-wait"),
            ("telinit 3", "goal multi-user --no-wait"),
            ("telinit q", "rescan"),
            ("/sbin/runlevel", "runlevel --"),
            ("runlevel -q /run/utmp", "runlevel --quiet -- /run/utmp"),
        ];
        for (typed, expected) in cases {
            assert_eq!(said(typed).as_deref(), Ok(expected), "{typed}");
        }
    }

    #[test]
    fn what_means_nothing_here_is_refused() {
        let cases = [
            (
                "reboot -d",
                "reboot: \"-d\" is no option of it; herd(8) lists them",
            ),
            (
                "shutdown -rF now",
                "shutdown: \"-rF\" is no option of it; herd(8) lists them",
            ),
            (
                "shutdown -ck",
                "shutdown: -c and -k are two different things",
            ),
            (
                "runlevel -x",
                "runlevel: \"-x\" is no option of it; herd(8) lists them",
            ),
            ("runlevel a b", "runlevel: takes one file at most"),
            ("telinit", "telinit: takes one of 0 1 2 3 4 5 6 s S q Q"),
            ("init 7", "init: \"7\" is none of 0 1 2 3 4 5 6 s S q Q"),
            (
                "telinit u",
                "telinit: herd does not execute itself anew while services run; `herd soft-reboot` does after them",
            ),
        ];
        for (typed, complaint) in cases {
            assert_eq!(said(typed), Err(complaint.to_owned()), "{typed}");
        }
    }

    #[test]
    fn herd_by_its_own_name_is_herd() {
        for name in ["herd", "/usr/bin/herd", "vb", "systemctl"] {
            assert!(in_words_of_herd(&[name.into()]).is_none());
        }
    }
}
