//! `herd why`.

use std::process::ExitCode;

use super::failure::{Failure, name};
use super::places::Places;
use super::screen::{Colour, Screen};
use super::status::colour_of;
use crate::control::client::ANSWER_TIMEOUT;
use crate::control::protocol::{Call, WhyReply};

pub(super) fn why(places: &Places, screen: &mut Screen, unit: &str) -> Result<ExitCode, Failure> {
    let unit = name(unit)?;
    let mut client = places.connect()?;
    let reply: WhyReply = client.call(&Call::Why { unit }, Some(ANSWER_TIMEOUT))?;
    if screen.json {
        screen.document(&reply)?;
        return Ok(ExitCode::SUCCESS);
    }
    let head = format!(
        "{} is {}",
        screen.paint(Colour::Bold, &reply.unit),
        screen.paint(colour_of(reply.state), reply.state.as_str())
    );
    screen.line(head)?;
    for sentence in &reply.sentences {
        let sentence = screen.foreign(sentence);
        screen.line(format!("  {sentence}"))?;
    }
    Ok(ExitCode::SUCCESS)
}
