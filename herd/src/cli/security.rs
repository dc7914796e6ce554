//! `herd security`: what stands between a service and the rest, from the files alone.

use std::process::ExitCode;

use serde_json::json;
use units::{UnitName, host_facts, load};

use super::failure::{Failure, name};
use super::places::Places;
use super::plan::{offline_options, refusal};
use super::screen::{Colour, Screen};
use super::table::{Cell, lines};
use crate::daemon::{self, NoPlan};
use crate::exposure::{Exposure, Row, Stance};

pub(super) fn security(
    places: &Places,
    screen: &mut Screen,
    units: &[String],
) -> Result<ExitCode, Failure> {
    let options = offline_options(places);
    if units.is_empty() {
        return all(places, screen);
    }
    let mut judged = Vec::new();
    for unit in units {
        let unit = name(unit)?;
        let exposure = daemon::exposure(&options, &unit)
            .map_err(|error| refusal(screen, &unit, "judged", error))?;
        judged.push((unit, exposure));
    }
    if screen.json {
        let documents: Vec<_> = judged
            .iter()
            .map(|(unit, one)| document(unit, one))
            .collect();
        screen.document(&documents)?;
        return Ok(ExitCode::SUCCESS);
    }
    for (position, (unit, exposure)) in judged.iter().enumerate() {
        if position > 0 {
            screen.line("")?;
        }
        show(screen, unit, exposure)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Every unit that runs something, the most exposed first.
fn all(places: &Places, screen: &mut Screen) -> Result<ExitCode, Failure> {
    let options = offline_options(places);
    let mut judged: Vec<(UnitName, Result<Exposure, String>)> = Vec::new();
    for unit in load::names(&places.search, &host_facts()) {
        match daemon::exposure(&options, &unit) {
            Ok(exposure) => judged.push((unit, Ok(exposure))),
            // A target runs nothing.
            Err(NoPlan::Nothing) => {}
            // Gone since it was listed.
            Err(NoPlan::Missing(_)) => {}
            Err(NoPlan::Unit(_)) => judged.push((unit, Err("its file is in error".to_owned()))),
            Err(NoPlan::Refused { why, .. }) => judged.push((unit, Err(why.to_string()))),
        }
    }
    let score = |one: &Result<Exposure, String>| one.as_ref().map_or(11.0, |one| one.score);
    judged
        .sort_by(|(a, one), (b, other)| score(other).total_cmp(&score(one)).then_with(|| a.cmp(b)));
    if screen.json {
        let documents: Vec<_> = judged
            .iter()
            .map(|(unit, one)| match one {
                Ok(exposure) => document(unit, exposure),
                Err(why) => json!({ "unit": unit.as_str(), "error": why }),
            })
            .collect();
        screen.document(&documents)?;
        return Ok(ExitCode::SUCCESS);
    }
    let rows: Vec<Vec<Cell>> = judged
        .iter()
        .map(|(unit, one)| match one {
            Ok(exposure) => {
                let colour = colour_of(exposure.word);
                let given_up = exposure.rows.iter();
                let given_up = given_up.filter(|row| row.stance == Stance::GivenUp).count();
                let note = match given_up {
                    0 => String::new(),
                    one_or_more => format!("{one_or_more} given up"),
                };
                vec![
                    Cell::plain(unit.as_str()),
                    Cell::coloured(colour, format!("{:.1}", exposure.score)),
                    Cell::coloured(colour, exposure.word),
                    Cell::coloured(Colour::Yellow, note),
                ]
            }
            Err(why) => vec![
                Cell::plain(unit.as_str()),
                Cell::coloured(Colour::Red, "-"),
                Cell::coloured(Colour::Red, "unknown"),
                Cell::plain(screen.foreign(why)),
            ],
        })
        .collect();
    for line in lines(screen, &["NAME", "EXPOSURE", "WORD", ""], &rows) {
        screen.line(line)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn document(unit: &UnitName, exposure: &Exposure) -> serde_json::Value {
    json!({
        "unit": unit.as_str(),
        "score": exposure.score,
        "word": exposure.word,
        "walls": exposure.rows,
    })
}

fn show(screen: &mut Screen, unit: &UnitName, exposure: &Exposure) -> Result<(), Failure> {
    let mut sorted: Vec<&Row> = exposure.rows.iter().collect();
    sorted.sort_by_key(|row| std::cmp::Reverse(row.weight * row.open));
    let rows: Vec<Vec<Cell>> = sorted
        .iter()
        .map(|row| {
            let colour = match row.stance {
                Stance::Stands => Colour::Green,
                Stance::Relaxed | Stance::GivenUp => Colour::Yellow,
                Stance::Open => Colour::Red,
            };
            vec![
                Cell::plain(row.key),
                Cell::coloured(colour, row.stance.word()),
                Cell::plain(format!("{} of {}", open_weight(row), row.weight)),
                Cell::plain(screen.foreign(&row.detail)),
            ]
        })
        .collect();
    for line in lines(screen, &["WALL", "STANCE", "OPEN", "MEANING"], &rows) {
        screen.line(line)?;
    }
    let summary = format!("{unit}: {:.1} of 10, {}", exposure.score, exposure.word);
    let summary = screen.paint(colour_of(exposure.word), summary);
    screen.line("")?;
    screen.line(summary)?;
    Ok(())
}

/// Rounded up to what is shown without a fraction.
fn open_weight(row: &Row) -> u16 {
    (row.weight * row.open).div_ceil(100)
}

fn colour_of(word: &str) -> Colour {
    match word {
        "safe" => Colour::Green,
        "ok" => Colour::Plain,
        "exposed" => Colour::Yellow,
        _ => Colour::Red,
    }
}
