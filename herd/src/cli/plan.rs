//! `herd plan`.

use std::process::ExitCode;

use units::UnitName;
use units::diagnostic::{Diagnostic, render_all};

use super::failure::{FAILED, Failure, NO_SUCH_UNIT, name};
use super::places::Places;
use super::screen::Screen;
use crate::control::client::ANSWER_TIMEOUT;
use crate::control::protocol::{Call, PlanReply};
use crate::daemon::{self, HandedOn, Mode, NoPlan, Options};
use crate::supervisor::EndPolicy;

pub(super) fn plan(places: &Places, screen: &mut Screen, unit: &str) -> Result<ExitCode, Failure> {
    let unit = name(unit)?;
    // A running herd answers from what it holds; without one the files are read here.
    let reply: PlanReply = match places.connect() {
        Ok(mut client) => client.call(&Call::Plan { unit }, Some(ANSWER_TIMEOUT))?,
        Err(_) => PlanReply {
            plan: offline(places, screen, &unit)?,
        },
    };
    if screen.json {
        screen.document(&reply)?;
    } else {
        let plan = screen.foreign_lines(&reply.plan);
        screen.line(plan)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn offline(places: &Places, screen: &Screen, unit: &UnitName) -> Result<String, Failure> {
    daemon::plan(&offline_options(places), unit)
        .map_err(|error| refusal(screen, unit, "planned", error))
}

/// What a herd of these places would be started with.
pub(super) fn offline_options(places: &Places) -> Options {
    Options {
        mode: if places.is_user {
            Mode::User
        } else {
            Mode::System
        },
        runtime_dir: places.runtime_dir.clone(),
        log_dir: Some(places.log_dir.clone()),
        search: places.search.clone(),
        echo: None,
        handed_on: if places.is_user {
            HandedOn::Session
        } else {
            HandedOn::None
        },
        ending: EndPolicy::default(),
        notes: Vec::new(),
    }
}

/// Why a unit could not be planned, or whatever else was to be done with its plan.
pub(super) fn refusal(screen: &Screen, unit: &UnitName, done: &str, error: NoPlan) -> Failure {
    let of_files = |code, diagnostics: &[Diagnostic]| {
        let text = render_all(diagnostics, screen.has_colour());
        Failure::new(code, format!("{unit} cannot be {done}:\n{text}"))
    };
    match error {
        NoPlan::Nothing => Failure::failed(format!("{unit}: a target runs nothing")),
        NoPlan::Missing(diagnostics) => of_files(NO_SUCH_UNIT, &diagnostics),
        NoPlan::Unit(diagnostics) => of_files(FAILED, &diagnostics),
        NoPlan::Refused { why, hint } => Failure::failed(format!("{unit}: {why}")).hint_of(hint),
    }
}
