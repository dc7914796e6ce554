//! `herd status`: a table of all units, or everything about some.

use std::io;
use std::process::ExitCode;

use super::failure::{Failure, names};
use super::logs::{Look, print_entry};
use super::now::now;
use super::phrases::{duration, moment, relative, size};
use super::places::Places;
use super::screen::{Colour, Screen};
use super::table::{Cell, lines};
use crate::control::client::ANSWER_TIMEOUT;
use crate::control::protocol::{
    Call, Ending, Info, ListEntry, ListReply, Pressure, State, StatusReply, UnitStatus, Way,
};
use crate::logs::read::{Filter, last};

pub(super) fn status(
    places: &Places,
    screen: &mut Screen,
    units: &[String],
    all: bool,
    log_lines: usize,
) -> Result<ExitCode, Failure> {
    if units.is_empty() {
        return table(places, screen, all);
    }
    let units = names(units)?;
    let mut client = places.connect()?;
    let call = Call::Status { units, all };
    let reply: StatusReply = client.call(&call, Some(ANSWER_TIMEOUT))?;
    if screen.json {
        screen.document(&reply.units)?;
        return Ok(ExitCode::SUCCESS);
    }
    let now = now().0;
    for (index, unit) in reply.units.iter().enumerate() {
        if index > 0 {
            screen.line("")?;
        }
        show(screen, unit, now)?;
        show_log(places, screen, unit, log_lines)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The end of the machine, above everything else.
fn show_ending(screen: &mut Screen, ending: &Ending, now: i64) -> Result<(), Failure> {
    let Way::Power(power) = ending.power else {
        return Ok(());
    };
    let at = moment(ending.at);
    let when = relative(ending.at, now);
    let line = match (ending.begun, ending.warn_only) {
        (true, _) => format!("{power} since {at} ({when})"),
        (false, false) => {
            format!("{power} at {at} ({when}); `herd shutdown --cancel` calls it off")
        }
        (false, true) => format!("{power} is announced for {at} ({when}); nothing will be done"),
    };
    screen.line(screen.paint(Colour::Yellow, &line))?;
    let message = ending
        .message
        .iter()
        .map(|message| screen.foreign_lines(message));
    let waits_for = ending
        .waits_for
        .iter()
        .map(|line| screen.foreign_lines(line));
    let lines: Vec<String> = message.chain(waits_for).collect();
    for line in lines {
        screen.line(format!("  {line}"))?;
    }
    Ok(screen.line("")?)
}

fn table(places: &Places, screen: &mut Screen, all: bool) -> Result<ExitCode, Failure> {
    let mut client = places.connect()?;
    let call = Call::List { all, usage: true };
    let mut reply: ListReply = client.call(&call, Some(ANSWER_TIMEOUT))?;
    in_order(&mut reply.units);
    if screen.json {
        screen.document(&reply.units)?;
        return Ok(ExitCode::SUCCESS);
    }
    let info: Info = client.call(&Call::Info, Some(ANSWER_TIMEOUT))?;
    reply.units.retain(|unit| all || is_shown(unit));
    let now = now().0;
    if let Some(ending) = &info.ending {
        show_ending(screen, ending, now)?;
    }
    let dash = || "-".to_owned();
    let rows: Vec<Vec<Cell>> = reply
        .units
        .iter()
        .map(|unit| {
            let mut state = both_words(unit.state, &unit.substate);
            let flags = flags(unit);
            if !flags.is_empty() {
                state = format!("{state} {flags}");
            }
            let since = match unit.next_try {
                Some(at) => format!("next try {}", relative(at, now)),
                None if unit.since > 0 => relative(unit.since, now),
                None => dash(),
            };
            vec![
                Cell::plain(&unit.name),
                Cell::coloured(colour_of(unit.state), state),
                Cell::plain(since),
                Cell::plain(unit.main_pid.map_or_else(dash, |pid| pid.to_string())),
                Cell::plain(unit.restarts.to_string()),
                Cell::plain(unit.memory.map_or_else(dash, size)),
                Cell::plain(unit.cpu_usec.map_or_else(dash, duration)),
            ]
        })
        .collect();
    let header = ["NAME", "STATE", "SINCE", "PID", "RESTARTS", "MEM", "CPU"];
    for line in lines(screen, &header, &rows) {
        screen.line(line)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What the user put there first; then what the boot is made of.
pub(super) fn in_order(units: &mut [ListEntry]) {
    units.sort_by(|a, b| (a.boot, &a.name).cmp(&(b.boot, &b.name)));
}

/// What the boot is made of is of interest while it is on its way and when it fails.
pub(super) fn is_shown(unit: &ListEntry) -> bool {
    let is_on_the_way = matches!(unit.state, State::Activating | State::Deactivating);
    !unit.boot || unit.broken || is_on_the_way || unit.state == State::Failed
}

/// systemd's word for the state, and herd's finer one where it says more.
pub(super) fn both_words(state: State, substate: &str) -> String {
    match state.as_str() {
        word if word == substate => word.to_owned(),
        word => format!("{word} ({substate})"),
    }
}

/// What is to be known of a unit beside its state.
pub(super) fn flags(unit: &ListEntry) -> String {
    let flags = [
        (unit.changed, "changed"),
        (unit.broken && unit.substate != "broken", "broken"),
        (!unit.enabled && !unit.boot, "not enabled"),
    ];
    let set: Vec<&str> = flags
        .into_iter()
        .filter_map(|(is_set, word)| is_set.then_some(word))
        .collect();
    set.join(", ")
}

pub(super) fn colour_of(state: State) -> Colour {
    match state {
        State::Active => Colour::Green,
        State::Failed => Colour::Red,
        State::Activating | State::Reloading | State::Deactivating => Colour::Yellow,
        State::Inactive => Colour::Plain,
    }
}

fn show(screen: &mut Screen, unit: &UnitStatus, now: i64) -> io::Result<()> {
    let colour = colour_of(unit.state);
    let dot = match unit.state {
        State::Inactive => "○",
        State::Failed => "×",
        State::Active | State::Activating | State::Reloading | State::Deactivating => "●",
    };
    let mut title = format!("{} {}", screen.paint(colour, dot), unit.name);
    if let Some(description) = &unit.description {
        title = format!("{title} - {}", screen.foreign(description));
    }
    screen.line(title)?;
    for (label, text) in fields(screen, unit, now) {
        // Continued lines stand below the first.
        let text = text.replace('\n', "\n             ");
        screen.line(format!("{label:>11}: {text}"))?;
    }
    Ok(())
}

/// What processes waited for in the last ten seconds; nothing when for nothing.
fn pressure(pressure: &Pressure) -> Option<String> {
    let parts = [
        ("cpu", pressure.cpu),
        ("memory", pressure.memory),
        ("io", pressure.io),
    ];
    let waits = parts.into_iter().filter_map(|(name, stalls)| {
        let share = stalls?.some_avg10;
        (share >= 0.01).then(|| format!("{name} {share:.2}%"))
    });
    let waits: Vec<String> = waits.collect();
    (!waits.is_empty()).then(|| waits.join(", "))
}

fn fields(screen: &Screen, unit: &UnitStatus, now: i64) -> Vec<(&'static str, String)> {
    let mut fields = Vec::new();
    let enabled = if unit.enabled {
        "enabled"
    } else {
        "not enabled"
    };
    fields.push((
        "Loaded",
        format!("{} ({enabled})", screen.foreign(&unit.source)),
    ));
    if !unit.drop_ins.is_empty() {
        let drop_ins: Vec<String> = unit.drop_ins.iter().map(|p| screen.foreign(p)).collect();
        fields.push(("Drop-in", drop_ins.join("\n")));
    }
    let state = both_words(unit.state, &unit.substate);
    let mut active = screen.paint(colour_of(unit.state), state);
    if unit.since > 0 {
        let since = format!(
            " since {}; {}",
            moment(unit.since),
            relative(unit.since, now)
        );
        active.push_str(&since);
    }
    fields.push(("Active", active));
    let mut add = |label, text: Option<String>| fields.extend(text.map(|text| (label, text)));
    add(
        "Failure",
        unit.failure.as_ref().map(|text| screen.foreign(text)),
    );
    add("Next try", unit.next_try.map(|at| relative(at, now)));
    add("Main PID", unit.main_pid.map(|pid| pid.to_string()));
    add(
        "Restarts",
        (unit.restarts > 0).then(|| unit.restarts.to_string()),
    );
    add(
        "Last exit",
        unit.last_exit.as_ref().map(|exit| {
            let core = if exit.core { ", core dumped" } else { "" };
            format!(
                "{}{core}, {}",
                screen.foreign(&exit.reason),
                relative(exit.at, now)
            )
        }),
    );
    add(
        "Status",
        unit.status_text
            .as_ref()
            .map(|text| format!("\"{}\"", screen.foreign(text))),
    );
    add(
        "Health",
        unit.health.as_ref().map(|text| screen.foreign(text)),
    );
    add(
        "Watchdog",
        unit.watchdog.as_ref().map(|watchdog| {
            let every = format!("every {}", duration(watchdog.interval_usec));
            match watchdog.last_ping {
                Some(at) => format!("{every}, last ping {}", relative(at, now)),
                None => every,
            }
        }),
    );
    add("Tasks", unit.tasks.map(|tasks| tasks.to_string()));
    add(
        "Memory",
        unit.memory.map(|memory| match unit.memory_peak {
            Some(peak) => format!("{} (peak {})", size(memory), size(peak)),
            None => size(memory),
        }),
    );
    add("Swap", unit.swap.filter(|swap| *swap > 0).map(size));
    add("CPU", unit.cpu_usec.map(duration));
    add(
        "IO",
        unit.io_read
            .zip(unit.io_written)
            .map(|(read, written)| format!("{} read, {} written", size(read), size(written))),
    );
    add(
        "OOM kills",
        unit.oom_kills
            .filter(|kills| *kills > 0)
            .map(|kills| kills.to_string()),
    );
    add("Pressure", unit.pressure.as_ref().and_then(pressure));
    add("Boxed", unit.boxed.then(|| "yes".to_owned()));
    let addresses: Vec<String> = unit
        .addresses
        .iter()
        .map(|place| {
            let six = place.address6.as_ref();
            let six = six.map_or_else(String::new, |six| format!(", {six}"));
            format!("{}: {}{six}", place.network, place.address)
        })
        .collect();
    let networks = screen.foreign_lines(&addresses.join("\n"));
    add("Network", (!addresses.is_empty()).then_some(networks));
    add(
        "Ports",
        (!unit.ports.is_empty()).then(|| unit.ports.join(", ")),
    );
    let given_up: Vec<String> = unit
        .walls_given_up
        .iter()
        .map(|wall| format!("{}: {}", wall.wall, screen.foreign(&wall.reason)))
        .collect();
    let walls = screen.paint(Colour::Yellow, given_up.join("\n"));
    add("Given up", (!given_up.is_empty()).then_some(walls));
    let changed = "the file changed since the start; `herd restart` takes it up";
    add(
        "Changed",
        unit.changed.then(|| screen.paint(Colour::Yellow, changed)),
    );
    add(
        "Broken",
        unit.broken.as_ref().map(|report| {
            format!(
                "{}\n{}",
                screen.paint(
                    Colour::Red,
                    "the file is in error; its last good definition is in force"
                ),
                screen.foreign_lines(report)
            )
        }),
    );
    let lost = format!("{} lines lost", unit.log_lost);
    add("Log", (unit.log_lost > 0).then_some(lost));
    fields
}

fn show_log(
    places: &Places,
    screen: &mut Screen,
    unit: &UnitStatus,
    count: usize,
) -> Result<(), Failure> {
    let Ok(name) = units::UnitName::new(&unit.name) else {
        return Ok(());
    };
    if count == 0 {
        return Ok(());
    }
    match last(&places.log_dir, &[name], count, &Filter::default()) {
        Ok((entries, _)) => {
            if !entries.is_empty() {
                screen.line("")?;
            }
            for entry in entries {
                print_entry(screen, &entry, Look::Line)?;
            }
        }
        // Whoever may see the state need not be one who may read the log.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            screen.line("")?;
            screen.line(format!("(no right to read {})", places.log_dir.display()))?;
        }
        Err(error) => return Err(Failure::file("read", &places.log_dir, &error)),
    }
    Ok(())
}
