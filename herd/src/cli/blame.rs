//! `herd blame`: which units took how long to come up.

use std::cmp::Reverse;
use std::process::ExitCode;

use super::failure::Failure;
use super::phrases::span;
use super::places::Places;
use super::screen::Screen;
use super::status::{both_words, colour_of};
use super::table::{Cell, lines};
use crate::control::client::ANSWER_TIMEOUT;
use crate::control::protocol::{BootReply, BootUnit, Call};

pub(super) fn blame(places: &Places, screen: &mut Screen) -> Result<ExitCode, Failure> {
    let mut boot = ask(places)?;
    // Those still on their way have taken longer than anybody knows.
    boot.units.sort_by_key(|unit| {
        let took = unit.took_usec.unwrap_or(i64::MAX);
        (Reverse(took), unit.begun_usec)
    });
    if screen.json {
        screen.document(&boot)?;
        return Ok(ExitCode::SUCCESS);
    }
    screen.line(summary(&boot))?;
    let rows: Vec<Vec<Cell>> = boot
        .units
        .iter()
        .map(|unit| {
            vec![
                Cell::plain(&unit.name),
                Cell::plain(unit.took_usec.map_or_else(|| "-".to_owned(), span)),
                Cell::plain(span(unit.begun_usec)),
                Cell::coloured(
                    colour_of(unit.state),
                    both_words(unit.state, &unit.substate),
                ),
            ]
        })
        .collect();
    for line in lines(screen, &["NAME", "TOOK", "FROM", "STATE"], &rows) {
        screen.line(line)?;
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn ask(places: &Places) -> Result<BootReply, Failure> {
    let mut client = places.connect()?;
    Ok(client.call(&Call::Boot, Some(ANSWER_TIMEOUT))?)
}

/// `3 units in 1.204s, after 340.1ms of kernel; 1 came later; still on its way: db`
pub(super) fn summary(boot: &BootReply) -> String {
    let in_boot = boot.units.iter().filter(|unit| is_of_boot(boot, unit));
    let count = in_boot.filter(|unit| unit.took_usec.is_some()).count();
    let s = if count == 1 { "" } else { "s" };
    let mut text = match boot.finished_usec {
        Some(finished) => format!("{count} unit{s} in {}", span(finished)),
        None => "no unit has come up".to_owned(),
    };
    if let Some(kernel) = boot.kernel_usec {
        text = format!("{text}, after {} of kernel", span(kernel));
    }
    let is_over = |unit: &&BootUnit| unit.took_usec.is_some();
    let later = boot.units.iter().filter(is_over).count() - count;
    if later > 0 {
        text = format!("{text}; {later} came later");
    }
    let on_their_way: Vec<&str> = boot
        .units
        .iter()
        .filter(|unit| unit.took_usec.is_none())
        .map(|unit| unit.name.as_str())
        .collect();
    if !on_their_way.is_empty() {
        text = format!("{text}; still on the way: {}", on_their_way.join(", "));
    }
    text
}

/// Claims that the unit began before all were up.
pub(super) fn is_of_boot(boot: &BootReply, unit: &BootUnit) -> bool {
    boot.finished_usec
        .is_none_or(|finished| unit.begun_usec <= finished)
}
