//! Boxes of a herd that writes down elsewhere what it has made.
#![forbid(unsafe_code)]

use std::fs;

use super::address_pool as pool;
use super::state::State;

/// The end of a box that is not written down with us, in our network namespace: who made it has tables of the same
/// names as ours, and one of us would take the other's walls away. A bridge without boxes has no walls to lose.
pub(super) fn box_of_another_herd(state: &State) -> Option<String> {
    // As our namespace sees it, wherever `/sys` is from: proc_pid_net(5).
    let table = fs::read_to_string("/proc/self/net/dev").unwrap_or_default();
    among(&table, state)
}

fn among(table: &str, state: &State) -> Option<String> {
    let names = || {
        let lines = table.lines();
        lines.filter_map(|line| Some(line.split_once(':')?.0.trim()))
    };
    let is_ours = |name: &str| {
        let mut links = state.leases.values().flat_map(|lease| &lease.links);
        links.any(|link| link.device == name)
    };
    let any_bridge = names().any(|name| name.starts_with(pool::DEVICE_PREFIX));
    let mut ends = names().filter(|name| is_end_of_a_box(name) && !is_ours(name));
    ends.next().filter(|_| any_bridge).map(str::to_owned)
}

/// As `state::host_device` writes it.
pub(super) fn is_end_of_a_box(name: &str) -> bool {
    let parts = name
        .strip_prefix("hv")
        .and_then(|rest| rest.split_once('.'));
    parts.is_some_and(|(id, index)| {
        (1..=10).contains(&id.len())
            && id.bytes().all(|byte| byte.is_ascii_alphanumeric())
            && index.parse::<u8>().is_ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_box_beside_a_bridge_is_anothers() {
        let table = |names: &[&str]| {
            let lines = names.iter().map(|name| format!("{name:>6}: 0 0\n"));
            format!(
                "Inter-|   Receive\n face |bytes\n{}",
                lines.collect::<String>()
            )
        };
        let none = State::default();
        let both = table(&["lo", "herd-default", "hv1f2e3d4c.0"]);
        assert_eq!(among(&both, &none).unwrap(), "hv1f2e3d4c.0");
        for nobodys in [
            &["lo", "herd-default"][..],
            &["hv1f2e3d4c.0"],
            &["herd-lan", "hv0.", "hvx", "veth0", "hv1f2e3d4c5b6.0"],
        ] {
            assert_eq!(among(&table(nobodys), &none), None, "{nobodys:?}");
        }
    }
}
