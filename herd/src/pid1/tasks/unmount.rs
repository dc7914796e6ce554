//! A file system that nothing waited for at the boot (`nofail`, `noauto`): nothing orders its end after that of
//! services either. At the end of the machine it is left to what herd does once all of them have stopped. Where a program
//! of its unit answers for it, or another machine, that would be too late: it goes once no service is stopping any more.
//! (What has not stopped by then waits for the network or for this unit itself.)
#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::path::Path;
use std::time::Duration;

use units::Power;

use super::{TaskError, become_program, herd_of_the_machine, tell};
use crate::control::client::{ANSWER_TIMEOUT, ClientError};
use crate::control::protocol::{Call, Info, ListEntry, ListReply, State, StateChange, Way};
use crate::pid1::power::now;

/// What a service has by itself to stop in, and a little more.
const OF_SERVICES: Duration = Duration::from_secs(100);

pub(super) fn run(target: &Path, is_answered: bool) -> Result<(), TaskError> {
    // Who gets no answer lets go of it now, as at any other time.
    let ending = ending().unwrap_or(None);
    if is_answered && ending.is_some() {
        tell("waits until the services have stopped");
        if let Err(error) = await_services() {
            tell(&crate::prepare::chain(&error));
        }
    } else if ending.is_some_and(|way| way != Way::Power(Power::SoftReboot)) {
        tell(&format!(
            "{} stays mounted until every service has stopped",
            target.display()
        ));
        return Ok(());
    }
    let words = [OsStr::new("--"), target.as_os_str()];
    Err(become_program(OsStr::new("umount"), &words))
}

fn await_services() -> Result<(), ClientError> {
    let deadline = now() + OF_SERVICES;
    // What changes after the list is heard of.
    let mut news = herd_of_the_machine()?;
    news.send(&Call::Watch { units: Vec::new() })?;
    let mut herd = herd_of_the_machine()?;
    loop {
        let list = Call::List {
            all: true,
            usage: false,
        };
        let reply: ListReply = herd.call(&list, Some(ANSWER_TIMEOUT))?;
        let left = deadline.saturating_duration_since(now());
        if left.is_zero() || !reply.units.iter().any(is_waited_for) {
            return Ok(());
        }
        news.next_answer_within::<StateChange>(left)?;
    }
}

fn is_waited_for(unit: &ListEntry) -> bool {
    let is_mount = unit.boot && unit.name.starts_with("mount-");
    unit.state == State::Deactivating && !is_mount
}

/// How the machine ends, once that has begun.
fn ending() -> Result<Option<Way>, ClientError> {
    let mut client = herd_of_the_machine()?;
    let info: Info = client.call(&Call::Info, Some(ANSWER_TIMEOUT))?;
    let begun = info.ending.filter(|ending| ending.begun);
    Ok(begun.map(|ending| ending.power))
}
