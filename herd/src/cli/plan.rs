//! `herd plan`.

use std::process::ExitCode;

use super::failure::{Failure, name};
use super::places::Places;
use super::screen::Screen;
use crate::control::client::ANSWER_TIMEOUT;
use crate::control::protocol::{Call, PlanReply};

pub(super) fn plan(places: &Places, screen: &mut Screen, unit: &str) -> Result<ExitCode, Failure> {
    let unit = name(unit)?;
    let mut client = places.connect()?;
    let reply: PlanReply = client.call(&Call::Plan { unit }, Some(ANSWER_TIMEOUT))?;
    if screen.json {
        screen.document(&reply)?;
    } else {
        let plan = screen.foreign_lines(&reply.plan);
        screen.line(plan)?;
    }
    Ok(ExitCode::SUCCESS)
}
