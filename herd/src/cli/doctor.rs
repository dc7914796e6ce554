//! `herd doctor`: what this machine can and cannot do for a box.

use std::process::ExitCode;

use sandbox::Host;
use sandbox::host::doctor::{Finding, Report, State, Subject, examine};

use serde::Serialize;

use super::failure::Failure;
use super::screen::{Colour, Screen};
use crate::pid1::place::Place;

/// A wall that cannot be built is a finding, not a failure of the verb, unless it is asked to be.
pub(super) fn doctor(screen: &mut Screen, strict: bool) -> Result<ExitCode, Failure> {
    let host = Host::detect().map_err(|error| Failure::failed(error.to_string()))?;
    let report = examine(&host);
    let place = Place::here().to_string();
    if screen.json {
        let here = Here {
            place: &place,
            report: &report,
        };
        screen.document(&here)?;
    } else {
        screen.line(format!("in {place}"))?;
        show(screen, &report)?;
    }
    Ok(if strict && !report.strict_ready {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

#[derive(Serialize)]
struct Here<'a> {
    place: &'a str,
    #[serde(flatten)]
    report: &'a Report,
}

fn show(screen: &mut Screen, report: &Report) -> Result<(), Failure> {
    let mut subject = None;
    let names = report.findings.iter().map(|one| one.name.len());
    let width = names.max().unwrap_or(0);
    for finding in &report.findings {
        if subject.replace(finding.subject) != Some(finding.subject) {
            let title = screen.paint(Colour::Bold, title(finding.subject));
            screen.line(title)?;
        }
        line(screen, finding, width)?;
    }
    screen.line("")?;
    let yes = |is_ready| if is_ready { "yes" } else { "no" };
    screen.line(format!(
        "the default box: {}; every key of units: {}; {} of 100",
        yes(report.default_box_ready),
        yes(report.strict_ready),
        report.readiness_score
    ))?;
    Ok(())
}

fn line(screen: &mut Screen, finding: &Finding, width: usize) -> Result<(), Failure> {
    let colour = match finding.state {
        State::Ok => Colour::Green,
        State::Missing | State::Weak => Colour::Yellow,
        State::Refused => Colour::Red,
    };
    let word = screen.paint(colour, format_args!("{:<7}", finding.state.word()));
    screen.line(format!(
        "  {:<width$}  {word}  {}",
        finding.name, finding.detail
    ))?;
    if !finding.advice.is_empty() {
        screen.line(format!("  {:width$}  hint: {}", "", finding.advice))?;
    }
    Ok(())
}

fn title(subject: Subject) -> &'static str {
    match subject {
        Subject::Namespaces => "namespaces",
        Subject::FileSystems => "file systems",
        Subject::Kernel => "kernel",
        Subject::Cgroups => "cgroups",
        Subject::Networks => "networks",
        Subject::Tools => "tools",
        Subject::Weaknesses => "defences that this machine takes away, or has",
    }
}
