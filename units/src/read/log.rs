//! `[log]`.
#![forbid(unsafe_code)]

use std::time::Duration;

use toml::de::DeValue;

use super::Draft;
use crate::reader::{Item, Reader};
use crate::unit::LogTarget;
use crate::value::duration::parse_duration;
use crate::value::size::parse_size;

const TARGETS: [(&str, LogTarget); 5] = [
    ("file", LogTarget::File),
    ("kmsg", LogTarget::Kmsg),
    ("console", LogTarget::Console),
    ("inherit", LogTarget::Inherit),
    ("null", LogTarget::Null),
];

pub(super) fn read(draft: &mut Draft, reader: &mut Reader<'_>, name: &str, item: Item<'_>) -> bool {
    let log = draft.unit.log.get_or_insert_default();
    match name {
        "target" => log.target = read_target(reader, item).unwrap_or_default(),
        "max_size" => {
            if let Some(size) = read_size(reader, item) {
                log.max_size = size;
            }
        }
        "max_files" => log.max_files = reader.number(item, 0..=1_000).unwrap_or(4),
        "max_age" => {
            log.max_age = match reader.duration(item) {
                Some(Some(Duration::ZERO)) => {
                    reader.error(item, "this duration must be above 0");
                    None
                }
                other => other.flatten(),
            }
        }
        "rate_limit" => log.rate_limit = read_rate(reader, item),
        _ => return false,
    }
    true
}

fn read_target(reader: &mut Reader<'_>, item: Item<'_>) -> Option<LogTarget> {
    if let DeValue::String(text) = item.value()
        && matches!(&**text, "journal" | "syslog")
    {
        let message = format!("the target {text:?} is not supported yet");
        reader.error_with_hint(item, message, "it comes with logs");
        return None;
    }
    reader.choice(item, &TARGETS)
}

fn read_size(reader: &mut Reader<'_>, item: Item<'_>) -> Option<u64> {
    const SMALLEST: u64 = 4_096;
    let size = match item.value() {
        DeValue::Integer(_) => reader.number(item, 0..=i64::MAX)?,
        _ => {
            let text = reader.raw_text(item)?;
            match parse_size(text) {
                Ok(size) => size,
                Err(problem) => {
                    reader.error_with_hint(item, problem.to_string(), "sizes are written \"16M\"");
                    return None;
                }
            }
        }
    };
    if size < SMALLEST {
        reader.error(item, "a log file holds at least 4096 bytes");
        return None;
    }
    Some(size)
}

fn read_rate(reader: &mut Reader<'_>, item: Item<'_>) -> Option<(u32, Duration)> {
    let text = reader.raw_text(item)?;
    let rate = text.split_once('/').and_then(|(lines, time)| {
        let lines = lines
            .trim()
            .parse::<u32>()
            .ok()
            .filter(|lines| *lines > 0)?;
        let time = parse_duration(time).ok().flatten()?;
        (!time.is_zero()).then_some((lines, time))
    });
    if rate.is_none() {
        let hint = "so many lines in so long: \"1000/30s\"";
        reader.error_with_hint(item, format!("{text:?} is no rate"), hint);
    }
    rate
}
