//! `herd poweroff`, `reboot`, `halt`, `kexec`, `soft-reboot`: the end of a machine, now or later.
#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::time::Duration;

use clap::{ArgAction, Args};
use jiff::{SignedDuration, ToSpan, Zoned};
use units::Power;

use super::failure::{Failure, USAGE};
use super::now::now;
use super::phrases::{moment, relative};
use super::places::Places;
use super::screen::Screen;
use crate::control::client::{ANSWER_TIMEOUT, ClientError};
use crate::control::protocol::{Call, Empty, Schedule, ShutdownReply, Way};
use crate::pid1::place::{Facts, Place};
use crate::pid1::{login_records, power};

type Outcome = Result<ExitCode, Failure>;

#[derive(Debug, Clone, Default, Args)]
pub struct Wish {
    /// Do not stop units first; twice, or where herd does not answer: end the machine and nothing else.
    #[arg(short, long, action = ArgAction::Count)]
    force: u8,
    /// `now`, minutes as `+5`, or a time of day as `23:00`.
    #[arg(long, value_name = "WHEN", default_value = "now")]
    when: String,
    /// Tell nobody who is logged in.
    #[arg(long)]
    no_wall: bool,
    /// Tell everybody, let nobody log in, and do nothing else.
    #[arg(short = 'k', long)]
    warn_only: bool,
    /// Write the end to wtmp, and do nothing else.
    #[arg(short, long, conflicts_with_all = ["force", "when", "warn_only"])]
    wtmp_only: bool,
    /// Do not wait for the end.
    #[arg(long)]
    no_wait: bool,
    /// Words for those who are logged in.
    message: Vec<String>,
}

pub(super) fn end(places: &Places, screen: &mut Screen, power: Power, wish: &Wish) -> Outcome {
    if wish.wtmp_only {
        login_records::write_to_history(false, now().0)
            .map_err(|error| Failure::failed(format!("cannot write to wtmp: {error}")))?;
        return Ok(ExitCode::SUCCESS);
    }
    let delay = delay(&wish.when, &Zoned::now())
        .map_err(|problem| Failure::new(USAGE, format!("{:?}: {problem}", wish.when)))?;
    if wish.force > 1 {
        return end_directly(power);
    }
    let schedule = Schedule {
        delay,
        message: words(&wish.message),
        wall: !wish.no_wall,
        warn_only: wish.warn_only,
    };
    let is_now = schedule.is_now();
    let wait = !wish.no_wait;
    let call = Call::Shutdown {
        power: Some(Way::Power(power)),
        force: wish.force > 0,
        wait,
        schedule,
    };
    let mut client = match places.connect() {
        Ok(client) => client,
        Err(_) if wish.force > 0 && is_now => {
            rustix::fs::sync();
            return end_directly(power);
        }
        Err(failure) => {
            return Err(failure.hint("--force ends the machine without asking"));
        }
    };
    let timeout = (!wait || !is_now).then_some(ANSWER_TIMEOUT);
    let reply = match client.call(&call, timeout) {
        Ok(reply) => reply,
        // herd's end is the answer that was waited for.
        Err(ClientError::Closed) => ShutdownReply::default(),
        // A refusal is an answer; anything else is a herd that decides nothing any more.
        Err(error) if wish.force > 0 && is_now && !matches!(error, ClientError::Refused(_)) => {
            rustix::fs::sync();
            return end_directly(power);
        }
        Err(error) => return Err(error.into()),
    };
    if screen.json {
        screen.document(&reply)?;
    } else if !is_now {
        let now = now().0;
        let at = now.saturating_add(i64::try_from(delay.as_micros()).unwrap_or(i64::MAX));
        let (at, left) = (moment(at), relative(at, now));
        let line = match (reply.stays, wish.warn_only) {
            // What is scheduled is announced, and nothing beside it.
            (true, _) if wish.no_wall => "nobody was told".to_owned(),
            (true, _) => format!("{power} at {at} was announced this once"),
            (false, true) => format!("{power} is announced for {at}; nothing will be done"),
            (false, false) => {
                format!("{power} at {at} ({left}); `herd shutdown --cancel` calls it off")
            }
        };
        screen.line(line)?;
        if let Some(note) = reply.note {
            screen.line(note)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn cancel(
    places: &Places,
    screen: &mut Screen,
    message: &[String],
    wall: bool,
) -> Outcome {
    let call = Call::CancelShutdown {
        message: words(message),
        wall,
    };
    let Empty {} = places.connect()?.call(&call, Some(ANSWER_TIMEOUT))?;
    if screen.json {
        screen.document(&Empty {})?;
    }
    Ok(ExitCode::SUCCESS)
}

/// reboot(2) past everybody. A container has no machine to end.
fn end_directly(power: Power) -> Outcome {
    let place = Place::by_kernel(&Facts::read());
    if place.is_container() {
        let message = format!("this is {place}: the machine is not its to end");
        return Err(Failure::failed(message));
    }
    if power == Power::SoftReboot {
        let message = "only the first process can start user space anew, and it does not answer";
        return Err(Failure::failed(message.to_owned()));
    }
    let Err(error) = power::tell_kernel(power);
    Err(Failure::failed(format!("cannot end the machine: {error}")))
}

fn words(message: &[String]) -> Option<String> {
    (!message.is_empty()).then(|| message.join(" "))
}

/// How long it is until then.
fn delay(when: &str, now: &Zoned) -> Result<Duration, &'static str> {
    const GRAMMAR: &str = "takes now, +MINUTES or HH:MM";
    if when == "now" {
        return Ok(Duration::ZERO);
    }
    let digits = |text: &str| -> Option<u32> {
        let is_number = (1..=6).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
        is_number.then(|| text.parse().ok())?
    };
    if let Some(minutes) = when.strip_prefix('+') {
        let minutes = digits(minutes).ok_or(GRAMMAR)?;
        if minutes > 365 * 24 * 60 {
            return Err("is more than a year away");
        }
        return Ok(Duration::from_secs(u64::from(minutes) * 60));
    }
    let (hour, minute) = when.split_once(':').ok_or(GRAMMAR)?;
    let hour = digits(hour).filter(|hour| *hour < 24).ok_or(GRAMMAR)?;
    let is_two = minute.len() == 2;
    let minute = digits(minute)
        .filter(|minute| *minute < 60 && is_two)
        .ok_or(GRAMMAR)?;
    let part = |number: u32| i8::try_from(number).unwrap_or(0);
    let today = now
        .with()
        .hour(part(hour))
        .minute(part(minute))
        .second(0)
        .subsec_nanosecond(0)
        .build()
        .map_err(|_| "is no time of this day")?;
    let at = if today > *now {
        today
    } else {
        today
            .checked_add(1.day())
            .map_err(|_| "is no time of the next day")?
    };
    let left: SignedDuration = at.duration_since(now);
    Ok(left.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_of_day_is_the_next_one() {
        let now: Zoned = "2026-11-22T22:30:10[UTC]".parse().unwrap();
        let minutes = |when: &str| delay(when, &now).map(|delay| delay.as_secs_f64() / 60.0);
        assert_eq!(minutes("now"), Ok(0.0));
        assert_eq!(minutes("+0"), Ok(0.0));
        assert_eq!(minutes("+90"), Ok(90.0));
        assert_eq!(delay("23:00", &now), Ok(Duration::from_secs(1_790)));
        assert_eq!(delay("22:30", &now), Ok(Duration::from_secs(86_390)));
        assert_eq!(delay("7:05", &now).unwrap().as_secs(), 30_890);
    }

    #[test]
    fn what_is_no_time_is_told() {
        let now: Zoned = "2026-11-22T22:30:10[UTC]".parse().unwrap();
        for when in [
            "", "5", "+", "+-1", "+1s", "24:00", "12:60", "12:5", ":", "soon",
        ] {
            assert_eq!(
                delay(when, &now),
                Err("takes now, +MINUTES or HH:MM"),
                "{when}"
            );
        }
        assert_eq!(delay("+999999", &now), Err("is more than a year away"));
    }
}
