//! What proc(5) says of processes, whoever they belong to.
#![forbid(unsafe_code)]

use std::fs;

/// The processes there are, in our PID namespace.
pub(super) fn pids() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// The fields of `proc_pid_stat(5)` behind the name: state, parent, group, session, …; `None` of one that is gone.
pub(super) fn stat(pid: i32) -> Option<String> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    // A process gives itself its name, of any bytes, brackets too.
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    let fields = stat.get(end + 1..)?;
    Some(String::from_utf8_lossy(fields).into_owned())
}

/// Claims that the process was started with a variable (`NAME=VALUE`) like that, as far as it can be read.
pub(super) fn has_variable(pid: i32, is_wanted: impl Fn(&[u8]) -> bool) -> bool {
    fs::read(format!("/proc/{pid}/environ"))
        .is_ok_and(|environ| environ.split(|byte| *byte == 0).any(is_wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn we_are_in_it_below_our_parent() {
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(pids().any(|pid| pid == own));
        let fields = stat(own).unwrap();
        let parent = std::os::unix::process::parent_id().to_string();
        assert_eq!(fields.split_whitespace().nth(1), Some(parent.as_str()));
        assert_eq!(stat(-1), None);
    }
}
