//! The keys of `[box]` about how the command enters its box.
#![forbid(unsafe_code)]

use super::Draft;
use crate::reader::{Item, Reader};

/// Above this a descriptor is a mistake: the table of each process would grow to its number.
const HIGHEST_DESCRIPTOR: i64 = 65_535;

pub(super) fn read_entry(
    draft: &mut Draft,
    reader: &mut Reader<'_>,
    path: &str,
    item: Item<'_>,
) -> bool {
    match path {
        "box.new_session" => {
            draft.entry().shares_session = reader.boolean(item) == Some(false);
        }
        "box.die_with_parent" => {
            draft.entry().die_with_parent = reader.boolean(item).unwrap_or_default();
        }
        "box.clear_environment" => {
            draft.entry().clear_environment = reader.boolean(item).unwrap_or_default();
        }
        "box.seccomp_profile" => draft.entry().seccomp_profile = reader.path(item),
        "box.argv0" => draft.entry().argv0 = read_argv0(reader, item),
        "box.inherit_fds" => draft.entry().inherit_fds = read_descriptors(reader, item),
        _ => return false,
    }
    true
}

fn read_argv0(reader: &mut Reader<'_>, item: Item<'_>) -> Option<String> {
    let name = reader.text(item)?;
    if name.is_empty() {
        // Linux 5.18 and later put an empty name in the place of none; programs trip over it.
        reader.error(item, "the name of a program cannot be empty");
        return None;
    }
    Some(name)
}

fn read_descriptors(reader: &mut Reader<'_>, item: Item<'_>) -> Vec<u32> {
    let mut numbers = Vec::new();
    for item in reader.list(item) {
        let Some(number) = reader.number::<u32>(item, 0..=HIGHEST_DESCRIPTOR) else {
            continue;
        };
        if number < 3 {
            let hint = "0 to 2 are `stdin`, `stdout` and `stderr`";
            reader.error_with_hint(
                item,
                format!("descriptor {number} has a key of its own"),
                hint,
            );
        } else if numbers.contains(&number) {
            reader.error(item, format!("descriptor {number} is listed twice"));
        } else {
            numbers.push(number);
        }
    }
    numbers.sort_unstable();
    numbers
}
