//! As whom, where, with what: users, environment, streams, directories, scheduling.
#![forbid(unsafe_code)]

use std::path::{Component, Path, PathBuf};

use sandbox::config::{CpuPolicy, IoClass};
use toml::de::DeValue;

use super::{Draft, limits};
use crate::reader::{Item, Reader};
use crate::unit::{
    DirectoryKind, EnvironmentFile, Input, Output, OwnedDirectory, Preserve, Surroundings,
    WorkingDirectory,
};
use crate::value::environment::{is_variable_name, parse_assignment};

pub(super) fn read(draft: &mut Draft, reader: &mut Reader<'_>, name: &str, item: Item<'_>) -> bool {
    let around = draft.unit.surroundings.get_or_insert_default();
    match name {
        "user" => around.user = reader.text_or_number(item),
        "group" => around.group = reader.text_or_number(item),
        "supplementary_groups" => {
            let items = reader.list(item);
            around.supplementary_groups = items
                .into_iter()
                .filter_map(|item| reader.text_or_number(item))
                .collect();
        }
        "dynamic_user" => around.dynamic_user = reader.boolean(item).unwrap_or_default(),
        "working_directory" => around.working_directory = read_working_directory(reader, item),
        "umask" => {
            around.umask = reader.mode(item).filter(|mask| {
                let small = *mask <= 0o777;
                if !small {
                    reader.error(item, "a umask is at most 0777");
                }
                small
            })
        }
        "environment" => around.environment = read_environment(reader, item),
        "env" => around.environment.extend(read_environment(reader, item)),
        "environment_file" => {
            let items = reader.list(item);
            around.environment_files = items
                .into_iter()
                .filter_map(|item| reader.optional_path(item))
                .map(|(path, optional)| EnvironmentFile { path, optional })
                .collect();
        }
        "pass_environment" => around.pass_environment = read_variable_names(reader, item),
        "unset_environment" => around.unset_environment = read_variable_names(reader, item),
        "stdin" => around.stdin = read_input(reader, item).unwrap_or_default(),
        "stdout" => around.stdout = read_output(reader, item).unwrap_or_default(),
        "stderr" => around.stderr = read_output(reader, item).unwrap_or_default(),
        "tty" => around.tty = reader.path(item),
        _ => return false,
    }
    true
}

/// Standard error follows standard output.
pub(super) fn assemble(around: &mut Surroundings, stderr_given: bool) {
    if !stderr_given {
        // Truncating the same file a second time would tear what the first writes.
        around.stderr = match &around.stdout {
            Output::Truncate(path) | Output::File(path) => Output::Append(path.clone()),
            other => other.clone(),
        };
    }
}

pub(super) fn read_directories(
    draft: &mut Draft,
    reader: &mut Reader<'_>,
    name: &str,
    item: Item<'_>,
) -> bool {
    let around = draft.unit.surroundings.get_or_insert_default();
    if name == "runtime_directory_preserve" {
        around.runtime_directory_preserve = match item.value() {
            DeValue::Boolean(true) => Preserve::Yes,
            DeValue::Boolean(false) => Preserve::No,
            _ => reader
                .choice(item, &[("restart", Preserve::Restart)])
                .unwrap_or_default(),
        };
        return true;
    }
    let kinds = [
        ("runtime_directory", DirectoryKind::Runtime),
        ("state_directory", DirectoryKind::State),
        ("cache_directory", DirectoryKind::Cache),
        ("logs_directory", DirectoryKind::Logs),
        ("configuration_directory", DirectoryKind::Configuration),
    ];
    let of = |name: &str| kinds.iter().find(|(known, _)| *known == name);
    if let Some((_, kind)) = name.strip_suffix("_mode").and_then(of) {
        let mode = reader.mode(item).unwrap_or(0o755);
        let mut own = around
            .directories
            .iter_mut()
            .filter(|d| d.kind == *kind)
            .peekable();
        if own.peek().is_none() {
            let message = format!(
                "there is no {} to give a mode",
                name.trim_end_matches("_mode")
            );
            reader.error(item, message);
        }
        own.for_each(|directory| directory.mode = mode);
        return true;
    }
    let Some((_, kind)) = of(name) else {
        return false;
    };
    for text in reader.texts(item) {
        let path = Path::new(&text);
        let inside = path
            .components()
            .all(|part| matches!(part, Component::Normal(_)));
        if text.is_empty() || !inside {
            let hint = "a name such as \"web\" or \"web/cache\", without a slash in front";
            reader.error_with_hint(item, format!("{text:?} is no name of a directory"), hint);
            continue;
        }
        around.directories.push(OwnedDirectory {
            kind: *kind,
            name: path.components().collect(),
            mode: 0o755,
        });
    }
    true
}

pub(super) fn read_scheduling(
    draft: &mut Draft,
    reader: &mut Reader<'_>,
    name: &str,
    item: Item<'_>,
) -> bool {
    let policies = [
        ("other", CpuPolicy::Other),
        ("batch", CpuPolicy::Batch),
        ("idle", CpuPolicy::Idle),
        ("fifo", CpuPolicy::Fifo),
        ("rr", CpuPolicy::RoundRobin),
    ];
    let classes = [
        ("none", IoClass::None),
        ("realtime", IoClass::Realtime),
        ("best-effort", IoClass::BestEffort),
        ("idle", IoClass::Idle),
    ];
    let scheduling = &mut draft.unit.surroundings.get_or_insert_default().scheduling;
    match name {
        "nice" => scheduling.nice = reader.number(item, -20..=19),
        "oom_score_adjust" => scheduling.oom_score_adjust = reader.number(item, -1_000..=1_000),
        "cpu_scheduling_policy" => scheduling.cpu_policy = reader.choice(item, &policies),
        "cpu_scheduling_priority" => scheduling.cpu_priority = reader.number(item, 1..=99),
        "cpu_affinity" => scheduling.cpu_affinity = limits::cpu_list(reader, item),
        "io_scheduling_class" => scheduling.io_class = reader.choice(item, &classes),
        "io_scheduling_priority" => scheduling.io_priority = reader.number(item, 0..=7),
        "timer_slack" => scheduling.timer_slack = reader.finite_duration(item),
        _ => return false,
    }
    true
}

fn read_working_directory(reader: &mut Reader<'_>, item: Item<'_>) -> Option<WorkingDirectory> {
    if matches!(item.value(), DeValue::String(text) if text == "~") {
        return Some(WorkingDirectory::Home);
    }
    let (path, optional) = reader.optional_path(item)?;
    Some(WorkingDirectory::Path { path, optional })
}

/// A table of variables, or a list of `NAME=value`.
fn read_environment(reader: &mut Reader<'_>, item: Item<'_>) -> Vec<(String, String)> {
    let mut variables = Vec::new();
    if let DeValue::Table(table) = item.value() {
        for (name, value) in table {
            let value = item.sibling(value);
            let name: &str = name.get_ref();
            if !is_variable_name(name) {
                reader.error(value, format!("{name:?} is no name of a variable"));
                continue;
            }
            let text = match value.value() {
                DeValue::Integer(number) if number.radix() == 10 => {
                    Some(number.as_str().to_owned())
                }
                DeValue::Boolean(truth) => Some(truth.to_string()),
                _ => reader.text(value),
            };
            variables.extend(text.map(|text| (name.to_owned(), text)));
        }
        return variables;
    }
    for item in reader.list(item) {
        let Some(text) = reader.text(item) else {
            continue;
        };
        match parse_assignment(&text) {
            Some((name, value)) => variables.push((name.to_owned(), value.to_owned())),
            None => {
                let hint = "variables are written \"NAME=value\", or { NAME = \"value\" }";
                reader.error_with_hint(item, format!("{text:?} assigns no variable"), hint);
            }
        }
    }
    variables
}

fn read_variable_names(reader: &mut Reader<'_>, item: Item<'_>) -> Vec<String> {
    let mut names = Vec::new();
    for item in reader.list(item) {
        match reader.text(item) {
            Some(name) if is_variable_name(&name) => names.push(name),
            Some(name) => reader.error(item, format!("{name:?} is no name of a variable")),
            None => {}
        }
    }
    names
}

fn read_input(reader: &mut Reader<'_>, item: Item<'_>) -> Option<Input> {
    let text = reader.text(item)?;
    if let Some(data) = text.strip_prefix("data:") {
        return Some(Input::Data(data.as_bytes().into()));
    }
    if let Some(path) = text.strip_prefix("file:") {
        return reader.absolute(item, path).map(Input::File);
    }
    match text.as_str() {
        "null" => Some(Input::Null),
        "tty" => Some(Input::Tty),
        other => {
            let hint = "known are \"null\", \"tty\", \"file:PATH\" and \"data:TEXT\"";
            reader.error_with_hint(item, format!("{other:?} is no input"), hint);
            None
        }
    }
}

fn read_output(reader: &mut Reader<'_>, item: Item<'_>) -> Option<Output> {
    type Made = fn(PathBuf) -> Output;
    let kinds: [(&str, Made); 3] = [
        ("file:", Output::File),
        ("append:", Output::Append),
        ("truncate:", Output::Truncate),
    ];
    let text = reader.text(item)?;
    for (prefix, output) in kinds {
        if let Some(path) = text.strip_prefix(prefix) {
            return reader.absolute(item, path).map(output);
        }
    }
    match text.as_str() {
        "log" => Some(Output::Log),
        "null" => Some(Output::Null),
        "tty" => Some(Output::Tty),
        "inherit" => Some(Output::Inherit),
        other => {
            let hint = "known are \"log\", \"null\", \"tty\", \"inherit\", \"file:PATH\", \
                        \"append:PATH\" and \"truncate:PATH\"; where \"log\" goes is [log] target";
            reader.error_with_hint(item, format!("{other:?} is no output"), hint);
            None
        }
    }
}
