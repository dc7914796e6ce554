//! `herd list`.

use std::process::ExitCode;

use clap::builder::{PossibleValuesParser, TypedValueParser};

use super::failure::Failure;
use super::places::Places;
use super::screen::{Colour, Screen};
use super::status::{colour_of, flags, in_order, is_shown};
use super::table::{Cell, lines};
use crate::control::client::ANSWER_TIMEOUT;
use crate::control::protocol::{Call, ListReply, State};

/// Reads a state, and lets completions know all there are.
pub(super) fn states() -> impl TypedValueParser<Value = State> {
    PossibleValuesParser::new(State::ALL.map(State::as_str))
        .try_map(|word| State::from_name(&word).ok_or("there is no such state"))
}

/// Only units in one of these states, unless there is none.
pub(super) fn list(
    places: &Places,
    screen: &mut Screen,
    all: bool,
    states: &[State],
) -> Result<ExitCode, Failure> {
    let mut client = places.connect()?;
    let call = Call::List { all, usage: false };
    let mut reply: ListReply = client.call(&call, Some(ANSWER_TIMEOUT))?;
    in_order(&mut reply.units);
    reply
        .units
        .retain(|unit| states.is_empty() || states.contains(&unit.state));
    if screen.json {
        screen.document(&reply.units)?;
        return Ok(ExitCode::SUCCESS);
    }
    reply.units.retain(|unit| all || is_shown(unit));
    let rows: Vec<Vec<Cell>> = reply
        .units
        .iter()
        .map(|unit| {
            let mut description = unit.description.as_deref().unwrap_or_default().to_owned();
            let flags = flags(unit);
            if !flags.is_empty() {
                description = format!("[{flags}] {description}");
            }
            vec![
                Cell::plain(&unit.name),
                Cell::coloured(colour_of(unit.state), unit.state.as_str()),
                Cell::plain(&unit.substate),
                Cell::coloured(Colour::Dim, screen.foreign(&description)),
            ]
        })
        .collect();
    for line in lines(screen, &["NAME", "STATE", "SUBSTATE", "DESCRIPTION"], &rows) {
        screen.line(line)?;
    }
    Ok(ExitCode::SUCCESS)
}
