//! What a herd that was killed has left running, ended by the next one with the same runtime directory before it
//! starts anything: by the groups of its services, or where there are none by the mark in their environment.
#![forbid(unsafe_code)]

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use sandbox::Host;
use sandbox::cgroup;
use sandbox::config::CgroupName;

use super::perform::{pin, send};
use super::process_table::{has_variable, pids, stat};
use super::{clock, reason};

/// Ends what an earlier herd with this runtime directory left when it was killed: a second main
/// process beside a forgotten one would be worse than a restart.
pub(super) fn end_groups(base: &CgroupName, host: &Host, notes: &mut Vec<String>) {
    let v2 = host.cgroups.v2.iter().map(|v2| v2.own.join(&base.0));
    let v1 = host.cgroups.v1.values().map(|v1| v1.own.join(&base.0));
    let mut names = BTreeSet::new();
    for directory in v2.chain(v1) {
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        let groups = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        names.extend(groups.filter_map(|entry| entry.file_name().into_string().ok()));
    }
    for name in names {
        let group = CgroupName(format!("{}/{name}", base.0));
        let Ok(plan) = cgroup::left(&group, host) else {
            continue;
        };
        if cgroup::is_populated(&plan).unwrap_or(false) {
            notes.push(format!("{name}: ending what an earlier herd left running"));
            if let Err(error) =
                cgroup::kill(&plan).and_then(|()| cgroup::wait_until_empty(&plan, PATIENCE))
            {
                notes.push(format!("{name}: {}", reason(&error)));
            }
        }
        if let Err(error) = cgroup::remove(&plan) {
            notes.push(format!("{name}: {}", reason(&error)));
        }
    }
}

/// What does not end in this time after SIGKILL is unkillable, and its group says so when it is used.
const PATIENCE: Duration = Duration::from_secs(5);

/// Whoever has our mark as the second half of its `INVOCATION_ID`, as all have that a herd without groups starts, but for those that we come from ourselves. A process that has
/// thrown its environment away is not found.
pub(super) fn end_marked(mark: &str, notes: &mut Vec<String>) {
    let spared = ancestors();
    let until = clock::now() + PATIENCE;
    let mut told = BTreeSet::new();
    for _ in 0..PASSES {
        let left: Vec<(i32, OwnedFd)> = pids()
            .filter(|pid| !spared.contains(pid))
            .filter_map(|pid| Some((pid, pin_marked(pid, mark)?)))
            .collect();
        if left.is_empty() {
            return;
        }
        for (pid, process) in &left {
            if told.insert(*pid) {
                notes.push(format!(
                    "process {pid}: ending what an earlier herd left running"
                ));
            }
            send(process, units::Signal::KILL);
        }
        for (pid, process) in &left {
            let time = until.since(clock::now());
            let time = Timespec::try_from(time).unwrap_or_default();
            if poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&time)) != Ok(1) {
                notes.push(format!("process {pid} does not end"));
                return;
            }
        }
    }
}

/// A fork can be faster than one pass.
const PASSES: u32 = 100;

/// The process, if it has the mark and was no other's number before.
fn pin_marked(pid: i32, mark: &str) -> Option<OwnedFd> {
    let has_mark = || has_variable(pid, |entry| is_marked(entry, mark));
    if !has_mark() {
        return None;
    }
    pin(pid).filter(|_| has_mark())
}

fn is_marked(entry: &[u8], mark: &str) -> bool {
    let id = entry.strip_prefix(b"INVOCATION_ID=");
    id.is_some_and(|id| id.len() == 2 * mark.len() && id.ends_with(mark.as_bytes()))
}

/// Ourselves and those above us: somebody may start herd anew from a shell that was a service of the old one.
fn ancestors() -> HashSet<i32> {
    let mut found = HashSet::new();
    let mut next = i32::try_from(std::process::id()).ok();
    while let Some(pid) = next.filter(|pid| *pid > 0 && found.insert(*pid)) {
        let stat = stat(pid).unwrap_or_default();
        let parent = stat.split_whitespace().nth(1);
        next = parent.and_then(|pid| pid.parse().ok());
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_the_second_half_of_an_invocation() {
        let mark = "0000000000000abc";
        let of = |id: &str| is_marked(format!("INVOCATION_ID={id}").as_bytes(), mark);
        assert!(of("00112233445566770000000000000abc"));
        assert!(!of("0000000000000abc0011223344556677"));
        assert!(!of("0000000000000abc"));
        assert!(!of(""));
        assert!(!is_marked(b"", mark));
    }

    #[test]
    fn we_come_from_ourselves_and_our_parent() {
        let found = ancestors();
        let own = i32::try_from(std::process::id()).unwrap();
        let parent = i32::try_from(std::os::unix::process::parent_id()).unwrap();
        assert!(found.contains(&own) && found.contains(&parent));
    }
}
