//! `herd goal`: what the machine is to come to, and what it has come to; and `runlevel`, which is older.
#![forbid(unsafe_code)]

use std::path::Path;
use std::process::ExitCode;

use super::failure::{FAILED, Failure, name};
use super::job;
use super::now::now;
use super::phrases::relative;
use super::places::Places;
use super::screen::Screen;
use super::table::{Cell, lines};
use crate::control::client::ANSWER_TIMEOUT;
use crate::control::protocol::{Call, Info};
use crate::pid1::login_records::run_level;

type Outcome = Result<ExitCode, Failure>;

pub(super) fn aim(places: &Places, screen: &mut Screen, unit: &str, wait: bool) -> Outcome {
    let unit = name(unit)?;
    job::run(places, screen, &Call::Goal { unit, wait }, !wait)
}

pub(super) fn show(places: &Places, screen: &mut Screen) -> Outcome {
    let info: Info = places.connect()?.call(&Call::Info, Some(ANSWER_TIMEOUT))?;
    if info.goals.is_empty() {
        let message = "herd did not boot this machine, which has no goal of its own";
        return Err(Failure::failed(message).hint("`herd list` shows what runs"));
    }
    if screen.json {
        screen.document(&info.goals)?;
        return Ok(ExitCode::SUCCESS);
    }
    let now = now().0;
    let rows: Vec<Vec<Cell>> = info
        .goals
        .iter()
        .map(|goal| {
            let reached = goal.reached.map(|at| relative(at, now));
            vec![
                Cell::plain(&goal.name),
                Cell::plain(relative(goal.since, now)),
                Cell::plain(reached.unwrap_or_else(|| "no".to_owned())),
            ]
        })
        .collect();
    for line in lines(screen, &["GOAL", "SINCE", "REACHED"], &rows) {
        screen.line(line)?;
    }
    for waits in info
        .goals
        .iter()
        .filter_map(|goal| goal.waits_for.as_deref())
    {
        screen.line(format!("waiting for: {}", screen.foreign(waits)))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// `N 3`: the level before and the present one, as runlevel(8) of sysvinit prints them.
pub(super) fn run_level(screen: &mut Screen, file: Option<&Path>, is_quiet: bool) -> Outcome {
    // A file that cannot be read knows of none.
    let level = run_level::read(file).unwrap_or_default();
    if !is_quiet {
        screen.line(level.map_or_else(|| "unknown".to_owned(), |level| level.to_string()))?;
    }
    Ok(match level {
        Some(_) => ExitCode::SUCCESS,
        None => ExitCode::from(FAILED),
    })
}
