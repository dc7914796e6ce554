//! `herd add`: a new unit in `available/`, whole or not at all.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::process::ExitCode;

use serde_json::json;
use units::diagnostic::render_all;
use units::{SourceText, UnitName, host_facts, parse_unit};

use super::Verb;
use super::failure::{Failure, USAGE, name};
use super::places::Places;
use super::screen::Screen;

pub(super) struct Template<'a> {
    pub(super) command: &'a [String],
    pub(super) boxed: bool,
    pub(super) description: Option<&'a str>,
}

pub(super) fn add(
    places: &Places,
    screen: &mut Screen,
    unit: &str,
    template: &Template<'_>,
) -> Result<ExitCode, Failure> {
    let unit = name(unit)?;
    let directory = places.available()?;
    make_directory(directory)?;
    let path = directory.join(format!("{unit}.toml"));
    let text = template.render(&unit);
    let source = SourceText::new(&path, text.as_str());
    let parsed = parse_unit(&unit, &[source], &host_facts());
    if parsed.unit.is_none() {
        let report = render_all(&parsed.diagnostics, false);
        return Err(Failure::failed(format!(
            "this would be no sound unit:\n{report}"
        )));
    }
    write_new(directory, &path, text.as_bytes())?;
    if screen.json {
        screen.document(&json!({ "path": path.to_string_lossy() }))?;
    } else {
        screen.line(format!("wrote {}", path.display()))?;
        screen.line(format!("`herd enable {unit}` lets it run"))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Whatever follows the command belongs to it, an option of `add` too. Who writes one there means
/// herd more often than the command, and is asked to say which; `--` says it.
pub(super) fn options_are_ours(verb: &Verb, arguments: &[OsString]) -> Result<(), Failure> {
    let Verb::Add { command, .. } = verb else {
        return Ok(());
    };
    let ours = |word: &&String| {
        *word == "--boxed" || *word == "--description" || word.starts_with("--description=")
    };
    match command.iter().find(ours) {
        Some(option) if !arguments.iter().any(|word| word == "--") => {
            let message = format!("{option} stands after the command, and would be a word of it");
            let hint = "put it before the unit's name; or write -- before the command, which then \
                        has all that follows";
            Err(Failure::new(USAGE, message).hint(hint))
        }
        _ => Ok(()),
    }
}

pub(super) fn make_directory(path: &Path) -> Result<(), Failure> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(path)
        .map_err(|error| Failure::file("make", path, &error))
}

impl Template<'_> {
    fn render(&self, unit: &UnitName) -> String {
        let standard = [format!("/bin/{}", unit.prefix())];
        let command = if self.command.is_empty() {
            &standard
        } else {
            self.command
        };
        let mut text = String::new();
        if let Some(description) = self.description {
            writeln!(
                text,
                "description = {}",
                quoted(&description.replace('%', "%%"))
            )
            .expect("a String takes all");
        }
        // The shell has put in place what was to be; herd is to take the rest as it stands.
        let plain = |word: &String| word.replace('%', "%%").replace('$', "$$");
        let words: Vec<String> = command.iter().map(|word| quoted(&plain(word))).collect();
        writeln!(text, "command = [{}]", words.join(", ")).expect("a String takes all");
        if self.boxed {
            text.push_str("boxed = true\n");
        }
        text.push_str("# restart = \"on-failure\"     # herd.unit(5) has every key\n");
        text
    }
}

/// A basic string of TOML.
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            control if control.is_control() => {
                write!(quoted, "\\u{:04X}", u32::from(control)).expect("a String takes all");
            }
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

/// The file appears under its name with all its text, and never in place of another: it is written
/// under a name of ours and then linked, which fails where there is one.
pub(super) fn write_new(directory: &Path, path: &Path, text: &[u8]) -> Result<(), Failure> {
    let cannot = |error: &io::Error| {
        if error.kind() == io::ErrorKind::AlreadyExists {
            Failure::failed(format!("{} exists", path.display()))
                .hint("it is left as it is; edit it, or remove it first")
        } else {
            Failure::file("write", path, error)
        }
    };
    let draft = directory.join(format!(".herd-{}.new", std::process::id()));
    let written = (|| {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o644)
            .open(&draft)?;
        file.write_all(text)?;
        file.sync_all()?;
        fs::hard_link(&draft, path)
    })();
    let removed = match fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    };
    written.and(removed).map_err(|error| cannot(&error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_is_a_unit_with_that_command(
            program in "/[a-z%$]{1,8}",
            arguments in proptest::collection::vec("[^\0]{1,12}", 0..4),
            description in proptest::option::of("[a-z%\"\\\\$ ]{1,20}"),
        ) {
            let words: Vec<String> = std::iter::once(program).chain(arguments).collect();
            let unit = UnitName::new("web").unwrap();
            let template = Template { command: &words, boxed: true, description: description.as_deref() };
            let source = SourceText::new("/etc/herd/available/web.toml", template.render(&unit));
            let parsed = parse_unit(&unit, &[source], &host_facts());
            let report = render_all(&parsed.diagnostics, false);
            prop_assert!(parsed.unit.is_some(), "{report}");
            let found = parsed.unit.unwrap().commands.main.unwrap().argv;
            let written: Vec<String> = words.iter().map(|word| word.replace('$', "$$")).collect();
            prop_assert_eq!(found, written);
        }
    }

    #[test]
    fn nothing_is_overwritten_and_no_draft_is_left() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("web.toml");
        write_new(directory.path(), &path, b"one").unwrap();
        let refused = write_new(directory.path(), &path, b"two").unwrap_err();
        assert_eq!(refused.message, format!("{} exists", path.display()));
        assert_eq!(fs::read(&path).unwrap(), b"one");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
