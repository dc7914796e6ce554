//! `[condition]` and `[assert]`.
#![forbid(unsafe_code)]

use std::path::PathBuf;

use toml::de::DeValue;

use super::Draft;
use crate::reader::{Item, Reader};
use crate::unit::{Check, Comparison, Test};
use crate::value::capability::parse_capability;
use crate::value::environment::is_variable_name;
use crate::value::size::parse_size;

pub(super) fn read(
    draft: &mut Draft,
    reader: &mut Reader<'_>,
    table: Option<&str>,
    name: &str,
    item: Item<'_>,
) -> bool {
    let Some(test) = kind(name) else {
        return false;
    };
    let conditions = match table {
        Some("assert") => &mut draft.unit.assert,
        _ => &mut draft.unit.condition,
    };
    let mut checks = Vec::new();
    for item in reader.list(item) {
        checks.extend(read_check(reader, item, test));
    }
    conditions.get_or_insert_default().checks.extend(checks);
    true
}

/// What a key tests, before it has its value.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Path(fn(PathBuf) -> Test),
    Text(fn(String) -> Test),
    Capability,
    Environment,
    Memory,
    Cpus,
    FirstBoot,
}

fn kind(name: &str) -> Option<Kind> {
    Some(match name {
        "path_exists" => Kind::Path(Test::PathExists),
        "path_is_directory" => Kind::Path(Test::PathIsDirectory),
        "directory_not_empty" => Kind::Path(Test::DirectoryNotEmpty),
        "file_not_empty" => Kind::Path(Test::FileNotEmpty),
        "file_is_executable" => Kind::Path(Test::FileIsExecutable),
        "path_is_read_write" => Kind::Path(Test::PathIsReadWrite),
        "user" => Kind::Text(Test::User),
        "group" => Kind::Text(Test::Group),
        "virtualization" => Kind::Text(Test::Virtualization),
        "kernel_command_line" => Kind::Text(Test::KernelCommandLine),
        "architecture" => Kind::Text(Test::Architecture),
        "capability" => Kind::Capability,
        "environment" => Kind::Environment,
        "memory" => Kind::Memory,
        "cpus" => Kind::Cpus,
        "first_boot" => Kind::FirstBoot,
        _ => return None,
    })
}

fn read_check(reader: &mut Reader<'_>, item: Item<'_>, kind: Kind) -> Option<Check> {
    if let (Kind::FirstBoot, DeValue::Boolean(expected)) = (kind, item.value()) {
        return Some(Check {
            test: Test::FirstBoot(*expected),
            negated: false,
        });
    }
    let whole = match item.value() {
        DeValue::Integer(_) => reader.text_or_number(item)?,
        DeValue::Boolean(value) if matches!(kind, Kind::Text(_)) => {
            (if *value { "yes" } else { "no" }).to_owned()
        }
        _ => reader.text(item)?,
    };
    let (negated, text) = match whole.strip_prefix('!') {
        Some(rest) => (true, rest.trim_start()),
        None => (false, whole.as_str()),
    };
    if text.is_empty() {
        reader.error(item, "there is nothing to test here");
        return None;
    }
    let test = match kind {
        Kind::Path(test) => test(reader.absolute(item, text)?),
        Kind::Text(test) => test(text.to_owned()),
        Kind::Capability => match parse_capability(text) {
            Some(number) => Test::Capability(number),
            None => {
                reader.error(item, format!("{text:?} is no capability"));
                return None;
            }
        },
        Kind::Environment => {
            let name = text.split_once('=').map_or(text, |(name, _)| name);
            if !is_variable_name(name) {
                reader.error(item, format!("{name:?} is no name of a variable"));
                return None;
            }
            Test::Environment(text.to_owned())
        }
        Kind::Memory => {
            let (comparison, text) = comparison(text);
            match parse_size(text) {
                Ok(bytes) => Test::Memory(comparison, bytes),
                Err(problem) => {
                    let hint = "memory is compared as in \">= 1G\"";
                    reader.error_with_hint(item, problem.to_string(), hint);
                    return None;
                }
            }
        }
        Kind::Cpus => {
            let (comparison, text) = comparison(text);
            let Ok(count) = text.parse() else {
                let hint = "CPUs are compared as in \">= 2\"";
                reader.error_with_hint(item, format!("{text:?} is no number"), hint);
                return None;
            };
            Test::Cpus(comparison, count)
        }
        Kind::FirstBoot => {
            let words = [
                ("yes", true),
                ("true", true),
                ("no", false),
                ("false", false),
            ];
            Test::FirstBoot(reader.word(item, text, &words)?)
        }
    };
    Some(Check { test, negated })
}

/// The operator in front and what follows it; at least is meant when there is none.
fn comparison(text: &str) -> (Comparison, &str) {
    let operators = [
        ("<=", Comparison::LessOrEqual),
        (">=", Comparison::GreaterOrEqual),
        ("!=", Comparison::NotEqual),
        ("<", Comparison::Less),
        (">", Comparison::Greater),
        ("=", Comparison::Equal),
    ];
    for (sign, operator) in operators {
        if let Some(rest) = text.strip_prefix(sign) {
            return (operator, rest.trim_start());
        }
    }
    (Comparison::GreaterOrEqual, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comparisons_read_their_operator() {
        assert_eq!(comparison(">= 1G"), (Comparison::GreaterOrEqual, "1G"));
        assert_eq!(comparison("<2"), (Comparison::Less, "2"));
        assert_eq!(comparison("!= 4"), (Comparison::NotEqual, "4"));
        assert_eq!(comparison("4"), (Comparison::GreaterOrEqual, "4"));
    }
}
