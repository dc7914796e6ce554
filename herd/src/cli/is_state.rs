//! `herd is-active` and `herd is-failed`, for scripts: 0 when one of the units is, 1 when none,
//! 3 when none exists.

use std::process::ExitCode;

use super::failure::{FAILED, Failure, NO_SUCH_UNIT, names};
use super::places::Places;
use super::screen::Screen;
use crate::control::client::{ANSWER_TIMEOUT, ClientError};
use crate::control::protocol::{Call, ListEntry, ListReply, Refusal, State, StatusReply};
use serde_json::json;

pub(super) fn is_active(
    places: &Places,
    screen: &mut Screen,
    units: &[String],
    quiet: bool,
) -> Result<ExitCode, Failure> {
    let holds = |state| matches!(state, State::Active | State::Reloading);
    is(places, screen, units, quiet, holds)
}

pub(super) fn is_failed(
    places: &Places,
    screen: &mut Screen,
    units: &[String],
    quiet: bool,
) -> Result<ExitCode, Failure> {
    is(places, screen, units, quiet, |state| state == State::Failed)
}

/// For health checks: 0 when everything that should be up is, else 1 and who is not.
pub(super) fn all_are_active(
    places: &Places,
    screen: &mut Screen,
    quiet: bool,
) -> Result<ExitCode, Failure> {
    let call = Call::List {
        all: false,
        usage: false,
    };
    let mut reply: ListReply = places.connect()?.call(&call, Some(ANSWER_TIMEOUT))?;
    reply.units.retain(|unit| !is_well(unit));
    if !quiet && screen.json {
        let entry = |unit: &ListEntry| json!({ "name": unit.name, "state": unit.state, "substate": unit.substate });
        let entries: Vec<_> = reply.units.iter().map(entry).collect();
        screen.document(&entries)?;
    } else if !quiet {
        for unit in &reply.units {
            let state = unit.state.as_str();
            screen.line(format!("{}: {state} ({})", unit.name, unit.substate))?;
        }
    }
    Ok(if reply.units.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(FAILED)
    })
}

/// A oneshot that has done its work and a unit whose conditions do not hold are as they should be; so is one that
/// nobody has asked for, and one that somebody has stopped.
fn is_well(unit: &ListEntry) -> bool {
    if unit.stopped {
        return true;
    }
    match unit.state {
        State::Active | State::Reloading => true,
        State::Inactive => {
            let is_done = matches!(unit.substate.as_str(), "completed" | "skipped");
            is_done || !(unit.enabled || unit.broken)
        }
        State::Activating | State::Deactivating | State::Failed => false,
    }
}

fn is(
    places: &Places,
    screen: &mut Screen,
    units: &[String],
    quiet: bool,
    holds: impl Fn(State) -> bool,
) -> Result<ExitCode, Failure> {
    let mut client = places.connect()?;
    let mut states = Vec::new();
    for unit in names(units)? {
        let call = Call::Status {
            units: vec![unit],
            all: true,
        };
        match client.call::<StatusReply>(&call, Some(ANSWER_TIMEOUT)) {
            Ok(reply) => states.push(reply.units.first().map(|unit| unit.state)),
            Err(ClientError::Refused(Refusal::NoSuchUnit { .. })) => states.push(None),
            Err(error) => return Err(error.into()),
        }
    }
    let words: Vec<&str> = states
        .iter()
        .map(|state| state.map_or("unknown", State::as_str))
        .collect();
    if !quiet && screen.json {
        screen.document(&words)?;
    } else if !quiet {
        for word in words {
            screen.line(word)?;
        }
    }
    let mut known = states.into_iter().flatten().peekable();
    let code = if known.peek().is_none() {
        NO_SUCH_UNIT
    } else if known.any(holds) {
        0
    } else {
        FAILED
    };
    Ok(ExitCode::from(code))
}
