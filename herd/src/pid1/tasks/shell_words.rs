//! What somebody is told who finds a shell where a login was expected: what failed, why, and what to type.
#![forbid(unsafe_code)]

use std::io::{self, Write};

use clap::ValueEnum;

use super::herd_of_the_machine;
use crate::control::client::{ANSWER_TIMEOUT, ClientError};
use crate::control::protocol::{Call, State, StatusReply, UnitStatus};
use crate::logs::escape::sanitised;

/// As many failures are named.
const NAMED: usize = 5;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    Emergency,
    Rescue,
}

/// Says it on stdout. Where herd does not answer, the shell comes all the same.
pub(super) fn say(shell: Shell) {
    let units = failed().unwrap_or_default();
    // Who has no console reads nothing.
    io::stdout().write_all(words(shell, &units).as_bytes()).ok();
}

/// What failed by itself, the first to fail first.
fn failed() -> Result<Vec<UnitStatus>, ClientError> {
    let call = Call::Status {
        units: Vec::new(),
        all: false,
    };
    let reply: StatusReply = herd_of_the_machine()?.call(&call, Some(ANSWER_TIMEOUT))?;
    let mut units = reply.units;
    units.retain(|unit| unit.state == State::Failed && unit.because_of.is_none());
    units.sort_by(|a, b| (a.since, &a.name).cmp(&(b.since, &b.name)));
    Ok(units)
}

fn words(shell: Shell, failed: &[UnitStatus]) -> String {
    let (what, then) = match shell {
        Shell::Emergency => (
            "Emergency: a shell and nothing else",
            "tries the boot again",
        ),
        Shell::Rescue => ("Rescue: only file systems are up", "goes on with the boot"),
    };
    let Some(first) = failed.first() else {
        return format!("{what}, as was asked for. ctrl-D or exit {then}.\n");
    };
    let mut text = format!("{what}. What has failed:\n");
    for unit in failed.iter().take(NAMED) {
        let reason = [&unit.failure, &unit.status_text];
        let reason = reason.into_iter().flatten().map(|text| sanitised(text));
        let reason = reason.collect::<Vec<_>>().join(": ");
        text.push_str(&format!("  {}: {reason}\n", unit.name));
    }
    if let more @ 1.. = failed.len().saturating_sub(NAMED) {
        text.push_str(&format!("  and {more} more: herd list --failed\n"));
    }
    let name = &first.name;
    text.push_str(&format!(
        "herd status {name} and herd logs {name} say more. ctrl-D or exit {then}.\n"
    ));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(name: &str, failure: &str, status: Option<&str>) -> UnitStatus {
        UnitStatus {
            name: name.to_owned(),
            failure: Some(failure.to_owned()),
            status_text: status.map(str::to_owned),
            ..UnitStatus::default()
        }
    }

    #[test]
    fn who_finds_a_shell_is_told_what_failed_and_what_to_type() {
        let disk = unit("mount-srv", "exit 1", Some("line 2: it\x1bhas not come"));
        assert_eq!(
            words(Shell::Emergency, &[disk, unit("web", "exit 3", None)]),
            "Emergency: a shell and nothing else. What has failed:\n  \
             mount-srv: exit 1: line 2: it\\x1bhas not come\n  \
             web: exit 3\n\
             herd status mount-srv and herd logs mount-srv say more. ctrl-D or exit tries the boot again.\n"
        );
        assert_eq!(
            words(Shell::Rescue, &[]),
            "Rescue: only file systems are up, as was asked for. ctrl-D or exit goes on with the boot.\n"
        );
        let many: Vec<UnitStatus> = (0..9)
            .map(|n| unit(&format!("u{n}"), "exit 1", None))
            .collect();
        let text = words(Shell::Rescue, &many);
        assert!(
            text.contains("  u4: exit 1\n  and 4 more: herd list --failed\nherd status u0 "),
            "{text}"
        );
    }
}
