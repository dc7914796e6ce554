//! What runs: `command` and its family.
#![forbid(unsafe_code)]

use toml::de::DeValue;

use super::Draft;
use crate::reader::{Item, Reader};
use crate::unit::Command;
use crate::value::words::split_words;

pub(super) fn read(draft: &mut Draft, reader: &mut Reader<'_>, name: &str, item: Item<'_>) -> bool {
    let commands = &mut draft.unit.commands;
    let family = match name {
        "command" => {
            commands.main = read_command(reader, item);
            return true;
        }
        "args" => {
            draft.args = read_args(reader, item);
            return true;
        }
        "oneshot" => {
            commands.oneshot = reader.boolean(item).unwrap_or_default();
            return true;
        }
        "remain_after_exit" => {
            commands.remain_after_exit = reader.boolean(item).unwrap_or_default();
            return true;
        }
        "command_condition" => &mut commands.condition,
        "command_pre" => &mut commands.pre,
        "command_post" => &mut commands.post,
        "command_reload" => &mut commands.reload,
        "command_stop" => &mut commands.stop,
        "command_stop_post" => &mut commands.stop_post,
        _ => return false,
    };
    let items = reader.list(item);
    *family = items
        .into_iter()
        .filter_map(|item| read_command(reader, item))
        .collect();
    true
}

/// `args` go after the words of `command`.
pub(super) fn assemble(draft: &mut Draft) {
    if let Some(main) = &mut draft.unit.commands.main {
        main.argv.append(&mut draft.args);
    }
}

/// A string split into words, a list of words, or a table around either.
pub(super) fn read_command(reader: &mut Reader<'_>, item: Item<'_>) -> Option<Command> {
    let DeValue::Table(table) = item.value() else {
        return read_words(reader, item).map(|argv| Command {
            argv,
            ignore_failure: false,
            unboxed: false,
        });
    };
    let mut command = Command {
        argv: Vec::new(),
        ignore_failure: false,
        unboxed: false,
    };
    let before = reader.diagnostics.len();
    for (key, value) in table {
        let value = item.sibling(value);
        match &**key.get_ref() {
            "run" => command.argv = read_words(reader, value).unwrap_or_default(),
            "ignore_failure" => {
                command.ignore_failure = reader.boolean(value).unwrap_or_default();
            }
            "unboxed" => command.unboxed = reader.boolean(value).unwrap_or_default(),
            other => {
                let message = format!("a command has no `{other}`");
                let hint = "a command's keys are run, ignore_failure and unboxed";
                reader.error_with_hint(value, message, hint);
            }
        }
    }
    if command.argv.is_empty() {
        if reader.diagnostics.len() == before {
            reader.error_with_hint(item, "this command runs nothing", "give it `run = \"…\"`");
        }
        return None;
    }
    Some(command)
}

fn read_words(reader: &mut Reader<'_>, item: Item<'_>) -> Option<Vec<String>> {
    let words = match item.value() {
        DeValue::String(_) => {
            let text = reader.raw_text(item)?;
            let Some(words) = split_words(text) else {
                let hint = "a command is split into words as a shell would, but no shell runs it";
                reader.error_with_hint(item, "a quote is left open in this command", hint);
                return None;
            };
            let expanded: Vec<String> = words
                .iter()
                .map_while(|word| reader.expand(item, word))
                .collect();
            (expanded.len() == words.len()).then_some(expanded)?
        }
        DeValue::Array(array) => {
            let expanded: Vec<String> = array
                .iter()
                .map_while(|word| reader.text(item.sibling(word)))
                .collect();
            (expanded.len() == array.len()).then_some(expanded)?
        }
        _ => return reader.wrong_type(item, "a command (a text, a list of texts, or a table)"),
    };
    check_program(reader, item, &words)?;
    Some(words)
}

fn read_args(reader: &mut Reader<'_>, item: Item<'_>) -> Vec<String> {
    match item.value() {
        DeValue::String(text) if text.trim().is_empty() => Vec::new(),
        DeValue::String(_) => {
            let Some(text) = reader.raw_text(item) else {
                return Vec::new();
            };
            let Some(words) = split_words(text) else {
                reader.error(item, "a quote is left open in these arguments");
                return Vec::new();
            };
            words
                .iter()
                .filter_map(|word| reader.expand(item, word))
                .collect()
        }
        _ => reader.texts(item),
    }
}

/// The first word must be something that can be run.
fn check_program(reader: &mut Reader<'_>, item: Item<'_>, words: &[String]) -> Option<()> {
    let program = words.first().map_or("", String::as_str);
    if program.is_empty() {
        reader.error(item, "a command cannot be empty");
        return None;
    }
    if let Some(first) = program.chars().next().filter(|c| "-+@!:|".contains(*c)) {
        let hint = match first {
            '-' => {
                "write { run = \"…\", ignore_failure = true }; a single command given as a \
                    list of words needs a list around it"
            }
            '+' => "write { run = \"…\", unboxed = true }",
            _ => "herd has no such prefix",
        };
        reader.error_with_hint(item, format!("a program cannot begin with {first:?}"), hint);
        return None;
    }
    if program.contains('/') && !program.starts_with('/') {
        let hint = "give the whole path, or a bare name to be found on PATH";
        reader.error_with_hint(item, format!("{program:?} is a relative path"), hint);
        return None;
    }
    Some(())
}
