//! `herd logs`: reads the files itself, so it works without a running herd.

use std::io;
use std::os::fd::AsFd;
use std::process::ExitCode;

use clap::Args;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Span, Zoned};
use units::UnitName;

use super::failure::{Failure, NO_SUCH_UNIT, USAGE, names};
use super::now::now;
use super::places::Places;
use super::screen::{Colour, Screen};
use crate::control::client::ANSWER_TIMEOUT;
use crate::control::protocol::{Call, Info, WhyReply};
use crate::logs::escape::sanitise;
use crate::logs::follow::Follow;
use crate::logs::read::{self, Entry, Filter, Needle};
use crate::logs::{Kind, Timestamp};

#[derive(Debug, Args)]
pub struct LogsArgs {
    /// All units without any.
    pub units: Vec<String>,
    /// Go on as new lines come.
    #[arg(short, long)]
    pub follow: bool,
    /// Only the last N lines; with --follow 10 unless said otherwise.
    #[arg(short = 'n', long, value_name = "N")]
    pub lines: Option<usize>,
    /// Only lines from this time on: `10min ago`, `today`, `2026-11-22 03:31`, RFC 3339.
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Only lines up to this time.
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// Only lines that contain this text.
    #[arg(short, long, value_name = "TEXT")]
    pub grep: Option<String>,
    /// --grep takes capitals and small letters for the same.
    #[arg(short, long, requires = "grep")]
    pub ignore_case: bool,
    /// Print the text alone, without time and unit.
    #[arg(long)]
    pub no_prefix: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    Line,
    Text,
    Json,
}

pub(super) fn logs(
    places: &Places,
    screen: &mut Screen,
    wanted: &LogsArgs,
) -> Result<ExitCode, Failure> {
    let filter = filter(wanted)?;
    let look = match (screen.json, wanted.no_prefix) {
        (true, _) => Look::Json,
        (false, true) => Look::Text,
        (false, false) => Look::Line,
    };
    let directory = &places.log_dir;
    let cannot_read = |error: io::Error| {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Failure::from(error)
        } else {
            Failure::file("read", directory, &error)
        }
    };
    let asked = names(&wanted.units)?;
    let none_kept = || {
        let message = "this herd keeps no log files; its lines are on its own output";
        let hint = "ask the container's engine, or give herd a --log-dir";
        Failure::failed(message).hint(hint)
    };
    let is_missing = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    // Made before anything is read, so that nothing falls between.
    let follow_units = (!asked.is_empty()).then(|| asked.clone());
    let follow = wanted
        .follow
        .then(|| Follow::new(directory, follow_units))
        .transpose()
        .map_err(|error| match is_missing(&error) && keeps_none(places) {
            true => none_kept(),
            false => cannot_read(error),
        })?;
    let there = read::units(directory);
    if there.as_ref().map_or(true, Vec::is_empty) && keeps_none(places) {
        return Err(none_kept());
    }
    let there = there.map_err(cannot_read)?;
    if !wanted.follow
        && let Some(unknown) = asked
            .iter()
            .find(|unit| !there.contains(unit) && !exists(places, unit))
    {
        let message = format!("{unknown}: no log in {}", directory.display());
        return Err(Failure::new(NO_SUCH_UNIT, message));
    }
    let units = if asked.is_empty() { there } else { asked };
    match follow {
        None if wanted.lines.is_none() => {
            read::all(directory, &units, &filter, |entry| {
                print_entry(screen, &entry, look)
            })
            .map_err(cannot_read)?;
        }
        None => {
            let count = wanted.lines.unwrap_or(0);
            let found = read::last(directory, &units, count, &filter).map_err(cannot_read)?;
            for entry in found.0 {
                print_entry(screen, &entry, look)?;
            }
        }
        Some(mut follow) => {
            let count = wanted.lines.unwrap_or(10);
            let (entries, positions) =
                read::last(directory, &units, count, &filter).map_err(cannot_read)?;
            follow.go_on_from(positions);
            for entry in entries {
                print_entry(screen, &entry, look)?;
            }
            screen.flush()?;
            while let Some(entries) = follow.next(&filter, screen.as_fd()).map_err(cannot_read)? {
                for entry in entries {
                    print_entry(screen, &entry, look)?;
                }
                screen.flush()?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// One record in the look that was asked for. To a terminal no control character goes.
pub(super) fn print_entry(screen: &mut Screen, entry: &Entry, look: Look) -> io::Result<()> {
    if look == Look::Json {
        return screen.json_line(&crate::logs::json(
            entry.at,
            entry.unit.as_str(),
            entry.kind,
            &entry.text,
        ));
    }
    let mut line = Vec::new();
    if look == Look::Line {
        let at = jiff::Timestamp::from_microsecond(entry.at.0).unwrap_or_default();
        let at = at.to_zoned(TimeZone::system());
        let at = at.strftime("%Y-%m-%d %H:%M:%S%.3f").to_string();
        let (mark, colour) = match entry.kind {
            Kind::Out | Kind::Piece => ('|', Colour::Cyan),
            Kind::Herd => ('*', Colour::Yellow),
        };
        let who = screen.paint(colour, format_args!("{} {mark}", entry.unit));
        line.extend_from_slice(screen.paint(Colour::Dim, at).as_bytes());
        line.extend_from_slice(format!(" {who} ").as_bytes());
    }
    if screen.is_terminal {
        sanitise(&entry.text, &mut line);
    } else {
        line.extend_from_slice(&entry.text);
    }
    line.push(b'\n');
    screen.bytes(&line)
}

/// A herd in a container that has no place for them.
fn keeps_none(places: &Places) -> bool {
    let info = places
        .connect()
        .and_then(|mut client| Ok(client.call::<Info>(&Call::Info, Some(ANSWER_TIMEOUT))?));
    info.is_ok_and(|info| info.log_dir.is_empty())
}

fn filter(wanted: &LogsArgs) -> Result<Filter, Failure> {
    let now = now();
    let time = |text: &Option<String>| -> Result<Option<Timestamp>, Failure> {
        let Some(text) = text else {
            return Ok(None);
        };
        let time = parse_time(text.trim(), now).ok_or_else(|| {
            Failure::new(USAGE, format!("{text:?} is no time")).hint(
                "such as: 10min ago, today, yesterday, 12:30, 2026-11-22, \"2026-11-22 03:31\", 2026-11-22T03:31:46Z",
            )
        })?;
        Ok(Some(time))
    };
    Ok(Filter {
        since: time(&wanted.since)?,
        until: time(&wanted.until)?,
        contains: wanted
            .grep
            .as_ref()
            .map(|text| Needle::new(text, wanted.ignore_case)),
    })
}

/// A point in time as people write it, in the zone of the machine.
fn parse_time(text: &str, now: Timestamp) -> Option<Timestamp> {
    let zone = TimeZone::system();
    let now = jiff::Timestamp::from_microsecond(now.0)
        .ok()?
        .to_zoned(zone.clone());
    let found: Zoned = match text {
        "now" => now,
        "today" => now.start_of_day().ok()?,
        "yesterday" => now.yesterday().ok()?.start_of_day().ok()?,
        _ => {
            if let Some(seconds) = text.strip_prefix('@') {
                let seconds: i64 = seconds.parse().ok()?;
                jiff::Timestamp::from_second(seconds).ok()?.to_zoned(zone)
            } else if let Ok(time) = text.parse::<jiff::Timestamp>() {
                time.to_zoned(zone)
            } else if let Ok(time) = text.parse::<DateTime>() {
                time.to_zoned(zone).ok()?
            } else if let Some(time) = clock_time(text) {
                now.date().to_datetime(time).to_zoned(zone).ok()?
            } else {
                let span = text.strip_suffix("ago").unwrap_or(text).trim();
                let span: Span = span.trim_start_matches('-').parse().ok()?;
                let length = SignedDuration::try_from(span.abs()).ok();
                match length {
                    Some(length) => now.checked_sub(length).ok()?,
                    // Days, weeks, months: as long as the calendar makes them.
                    None => now.checked_sub(span.abs()).ok()?,
                }
            }
        }
    };
    Some(Timestamp(found.timestamp().as_microsecond()))
}

/// `12:30`; a bare number is not taken for an hour.
fn clock_time(text: &str) -> Option<jiff::civil::Time> {
    text.contains(':').then(|| text.parse().ok()).flatten()
}

/// A unit that has said nothing yet has no log, and is no mistake.
fn exists(places: &Places, unit: &UnitName) -> bool {
    let facts = units::load::host_facts();
    units::load::load_one(&places.search, unit, &facts)
        .unit
        .is_some()
        || places.connect().is_ok_and(|mut client| {
            let call = Call::Why { unit: unit.clone() };
            let answer: Result<WhyReply, _> = client.call(&call, Some(ANSWER_TIMEOUT));
            answer.is_ok()
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        let now = Timestamp::parse(b"2026-11-22T03:31:46.000000Z").unwrap();
        let read = |text: &str| parse_time(text, now).map(|time| time.to_string());
        let minutes_ago = Some("2026-11-22T03:21:46.000000Z".to_owned());
        assert_eq!(read("10min ago"), minutes_ago);
        assert_eq!(read("10m"), minutes_ago);
        assert_eq!(read("-10 minutes"), minutes_ago);
        assert_eq!(
            read("2026-11-20T00:00:01Z"),
            Some("2026-11-20T00:00:01.000000Z".to_owned())
        );
        assert_eq!(read("@60"), Some("1970-01-01T00:01:00.000000Z".to_owned()));
        assert_eq!(read("now"), Some(now.to_string()));
        for text in [
            "today",
            "yesterday",
            "12:30",
            "2026-11-22",
            "2026-11-22 03:31",
            "2 days ago",
        ] {
            assert!(read(text).is_some(), "{text}");
        }
        for text in ["", "soon", "10", "12:99", "@x", "2026-13-01"] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
