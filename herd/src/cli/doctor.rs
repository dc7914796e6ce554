//! `herd doctor`: what this machine can and cannot do for a box.

use std::process::ExitCode;

use sandbox::Host;
use sandbox::host::doctor::{State, examine};

use super::failure::Failure;
use super::screen::{Colour, Screen};

/// A wall that cannot be built is a finding, not a failure of the verb.
pub(super) fn doctor(screen: &mut Screen) -> Result<ExitCode, Failure> {
    let host = Host::detect().map_err(|error| Failure::failed(error.to_string()))?;
    let findings = examine(&host);
    if screen.json {
        screen.document(&findings)?;
        return Ok(ExitCode::SUCCESS);
    }
    let width = findings.iter().map(|one| one.name.len()).max().unwrap_or(0);
    for finding in &findings {
        let (colour, word) = match finding.state {
            State::Ok => (Colour::Green, "ok"),
            State::Missing => (Colour::Yellow, "missing"),
            State::Refused => (Colour::Red, "refused"),
        };
        let word = screen.paint(colour, format_args!("{word:<7}"));
        screen.line(format!(
            "{:<width$}  {word}  {}",
            finding.name, finding.detail
        ))?;
        if !finding.advice.is_empty() {
            screen.line(format!("{:width$}  hint: {}", "", finding.advice))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
