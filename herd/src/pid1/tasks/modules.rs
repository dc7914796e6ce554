//! modules-load.d(5): modules that nobody asks for by themselves, through modprobe(8).
#![forbid(unsafe_code)]

use std::ffi::OsStr;

use super::{TaskError, become_program, conf_d, tell};
use crate::pid1::command_line;

pub(super) fn run() -> Result<(), TaskError> {
    let mut names = Vec::new();
    for path in conf_d::files("modules-load.d") {
        let text = conf_d::text(&path).map_err(|source| TaskError::File {
            what: "read",
            path,
            source,
        })?;
        names.extend(of_file(&text));
    }
    let line = command_line::of_kernel();
    names.extend(of_command_line(&line));
    if names.is_empty() {
        tell("no module is asked for");
        return Ok(());
    }
    // All, and none that is blacklisted; what is there already is no error.
    let options = ["-a", "-b", "--"].map(OsStr::new);
    let words: Vec<&OsStr> = options
        .into_iter()
        .chain(names.iter().map(OsStr::new))
        .collect();
    Err(become_program(OsStr::new("modprobe"), &words))
}

/// A name a line.
fn of_file(text: &str) -> Vec<String> {
    let lines = text.lines().map(str::trim);
    let said = lines.filter(|line| !line.is_empty() && !line.starts_with(['#', ';']));
    said.map(str::to_owned).collect()
}

/// `modules_load=a,b`, with a dash as well.
fn of_command_line(line: &str) -> Vec<String> {
    let words = command_line::words(line);
    let values = words.iter().filter_map(|word| {
        let (key, value) = word.split_once('=')?;
        matches!(key, "modules_load" | "modules-load").then_some(value)
    });
    let names = values.flat_map(|value| value.split(','));
    names
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_named_in_files_and_on_the_command_line() {
        assert_eq!(of_file("# x\nloop\n\n; y\n dm_mod \n"), ["loop", "dm_mod"]);
        assert_eq!(
            of_command_line("ro modules_load=a,b modules-load=c,\n"),
            ["a", "b", "c"]
        );
    }
}
