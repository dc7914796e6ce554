//! `herd watch`: changes of state as they happen.

use std::process::ExitCode;

use jiff::tz::TimeZone;

use super::failure::{Failure, names};
use super::places::Places;
use super::screen::{Colour, Screen};
use super::status::{both_words, colour_of};
use crate::control::client::ClientError;
use crate::control::protocol::{Call, StateChange};

/// Ends when herd does.
pub(super) fn watch(
    places: &Places,
    screen: &mut Screen,
    units: &[String],
) -> Result<ExitCode, Failure> {
    let units = names(units)?;
    let mut client = places.connect()?;
    client.send(&Call::Watch { units })?;
    loop {
        let change: StateChange = match client.next_answer() {
            Ok(change) => change,
            Err(ClientError::Closed) => return Ok(ExitCode::SUCCESS),
            Err(error) => return Err(error.into()),
        };
        if screen.json {
            screen.json_line(&change)?;
        } else {
            show(screen, &change)?;
        }
        screen.flush()?;
    }
}

fn show(screen: &mut Screen, change: &StateChange) -> Result<(), Failure> {
    let at = jiff::Timestamp::from_microsecond(change.at).unwrap_or_default();
    let at = at.to_zoned(TimeZone::system());
    let at = at.strftime("%H:%M:%S%.3f").to_string();
    let state = both_words(change.state, &change.substate);
    let mut line = format!(
        "{} {} {}",
        screen.paint(Colour::Dim, at),
        change.unit,
        screen.paint(colour_of(change.state), state)
    );
    if let Some(pid) = change.main_pid {
        line = format!("{line} pid {pid}");
    }
    if let Some(failure) = &change.failure {
        line = format!("{line}: {}", screen.foreign(failure));
    }
    Ok(screen.line(line)?)
}
