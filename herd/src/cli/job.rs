//! Verbs that change something and wait until it is so: start, stop, restart, reload, kill,
//! freeze, thaw, reset-failed, rescan, shutdown.

use std::process::ExitCode;

use units::Signal;

use super::failure::{Failure, USAGE, name, names};
use super::places::Places;
use super::screen::{Colour, Screen};
use super::{JobArgs, WhomArg};
use crate::control::client::{ANSWER_TIMEOUT, ClientError};
use crate::control::protocol::{Call, Empty, Job, RescanReply, Schedule, Whom};

type Outcome = Result<ExitCode, Failure>;

pub(super) fn start(places: &Places, screen: &mut Screen, job: &JobArgs) -> Outcome {
    run(places, screen, &Call::Start(checked(job)?), job.no_wait)
}

pub(super) fn stop(places: &Places, screen: &mut Screen, job: &JobArgs) -> Outcome {
    run(places, screen, &Call::Stop(checked(job)?), job.no_wait)
}

pub(super) fn restart(places: &Places, screen: &mut Screen, job: &JobArgs) -> Outcome {
    run(places, screen, &Call::Restart(checked(job)?), job.no_wait)
}

pub(super) fn reload(places: &Places, screen: &mut Screen, job: &JobArgs) -> Outcome {
    run(places, screen, &Call::Reload(checked(job)?), job.no_wait)
}

pub(super) fn kill(
    places: &Places,
    screen: &mut Screen,
    units: &[String],
    signal: &str,
    whom: WhomArg,
) -> Outcome {
    let units = names(units)?;
    let Some(signal) = Signal::from_name(signal) else {
        return Err(Failure::new(USAGE, format!("{signal:?} is no signal")));
    };
    let whom = match whom {
        WhomArg::Main => Whom::Main,
        WhomArg::All => Whom::All,
    };
    let mut client = places.connect()?;
    for unit in units {
        let call = Call::Kill { unit, signal, whom };
        let Empty {} = client.call(&call, Some(ANSWER_TIMEOUT))?;
    }
    done(screen)
}

pub(super) fn freeze(places: &Places, screen: &mut Screen, units: &[String]) -> Outcome {
    let units = names(units)?;
    run(places, screen, &Call::Freeze { units }, true)
}

pub(super) fn thaw(places: &Places, screen: &mut Screen, units: &[String]) -> Outcome {
    let units = names(units)?;
    run(places, screen, &Call::Thaw { units }, true)
}

pub(super) fn reset_failed(places: &Places, screen: &mut Screen, units: &[String]) -> Outcome {
    let units = names(units)?;
    run(places, screen, &Call::ResetFailed { units }, true)
}

pub(super) fn shutdown(places: &Places, screen: &mut Screen, force: bool, wait: bool) -> Outcome {
    let mut client = places.connect()?;
    let timeout = (!wait).then_some(ANSWER_TIMEOUT);
    let call = Call::Shutdown {
        power: None,
        force,
        wait,
        schedule: Schedule::default(),
    };
    match client.call(&call, timeout) {
        // herd's end is the answer that was waited for.
        Ok(Empty {}) | Err(ClientError::Closed) => done(screen),
        Err(error) => Err(error.into()),
    }
}

pub(super) fn rescan(places: &Places, screen: &mut Screen) -> Outcome {
    let mut client = places.connect()?;
    let reply: RescanReply = client.call(&Call::Rescan, Some(ANSWER_TIMEOUT))?;
    if screen.json {
        screen.document(&reply)?;
    } else {
        for (word, units) in [
            ("added", &reply.added),
            ("changed", &reply.changed),
            ("removed", &reply.removed),
        ] {
            for unit in units {
                let line = format!("{} {unit}", screen.paint(Colour::Bold, word));
                screen.line(line)?;
            }
        }
        for report in &reply.diagnostics {
            let report = screen.foreign_lines(report);
            screen.line(report)?;
        }
    }
    Ok(if reply.diagnostics.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// A job may take as long as its units may, which have limits of their own.
pub(super) fn run(places: &Places, screen: &mut Screen, call: &Call, is_quick: bool) -> Outcome {
    let mut client = places.connect()?;
    let Empty {} = client.call(call, is_quick.then_some(ANSWER_TIMEOUT))?;
    done(screen)
}

fn done(screen: &mut Screen) -> Outcome {
    if screen.json {
        screen.document(&Empty {})?;
    }
    Ok(ExitCode::SUCCESS)
}

fn checked(job: &JobArgs) -> Result<Job, Failure> {
    // One unit goes through the same check as many; the daemon refuses all when one is unknown.
    let units = job.units.iter().map(|unit| name(unit));
    Ok(Job {
        units: units.collect::<Result<_, _>>()?,
        wait: !job.no_wait,
    })
}
