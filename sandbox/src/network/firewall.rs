//! The tables `herd` in the kernel: brought to what is written down, and put back when somebody else has taken them away.
#![forbid(unsafe_code)]

use std::fs;
use std::io;

use super::netlink::{Frame, Netlink};
use super::picture::{self, Picture};
use super::registry::Registry;
use super::state::State;
use super::{NetworkError, connections, nft, rules};

/// Without `NETLINK_NETFILTER`, without nf_tables behind it, without a family, or without a kind of chain or expression.
const MISSING: [i32; 4] = [
    libc::EPROTONOSUPPORT,
    libc::EOPNOTSUPP,
    libc::EAFNOSUPPORT,
    libc::ENOENT,
];

/// What it means that tables cannot be made.
fn understood(error: io::Error) -> NetworkError {
    match error.raw_os_error() {
        Some(errno) if MISSING.contains(&errno) => NetworkError::NoFirewall,
        _ => NetworkError::Rules(error),
    }
}

fn open() -> Result<Netlink, NetworkError> {
    Netlink::netfilter().map_err(understood)
}

/// Brings the kernel's tables to what `after` says.
pub(super) fn commit(before: &State, unsure: bool, after: &State) -> Result<(), NetworkError> {
    let has_rules = |state: &State| !state.networks.is_empty();
    if !has_rules(after) && !has_rules(before) && !unsure {
        return Ok(());
    }
    let mut firewall = open()?;
    if !has_rules(after) {
        return firewall.batch(&nft::remove()).map_err(understood);
    }
    if unsure {
        let batch = nft::replace(&rules::tables(after));
        return firewall.batch(&batch).map_err(understood);
    }
    let (batch, unexpected) = if has_rules(before) {
        // Somebody has cleared the firewall, or a part of it: everybody's rules come back with this change.
        (rules::change(before, after), libc::ENOENT)
    } else {
        // Somebody has left them.
        (Some(nft::create(&rules::tables(after))), libc::EEXIST)
    };
    match batch.map_or(Ok(()), |batch| firewall.batch(&batch)) {
        Err(error) if error.raw_os_error() == Some(unexpected) => {
            let batch = nft::replace(&rules::tables(after));
            firewall.batch(&batch).map_err(understood)
        }
        answer => answer.map_err(understood),
    }
}

/// What [`repair`] has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damage {
    /// There was no table of herd's at all.
    Missing,
    /// It was not what herd had made.
    Changed,
}

/// What [`repair`] has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Repaired {
    pub damage: Damage,
    /// So many have their walls again.
    pub boxes: usize,
}

/// Compares herd's tables in the kernel with what is written down, and makes them anew if they are not the same: after
/// `nft flush ruleset` all that boxes had been denied is open, until the next lease is taken or this is called.
/// Connections of boxes with `isolate` or access lines are forgotten then, because they may have begun meanwhile; who may
/// go on goes on. `None` when everything is in place. Waits for others that change networks of the same machine.
///
/// [`Watch`](super::Watch) tells when to ask.
///
/// # Errors
/// When what is written down cannot be read, or the kernel does not take the tables.
pub fn repair() -> Result<Option<Repaired>, NetworkError> {
    let Some(registry) = Registry::open_existing()? else {
        return Ok(None);
    };
    let repaired = if registry.state.networks.is_empty() {
        Ok(None)
    } else {
        put_back(&registry.state)
    };
    registry.leave()?;
    repaired
}

fn put_back(state: &State) -> Result<Option<Repaired>, NetworkError> {
    let mut firewall = open()?;
    let batch = nft::replace(&rules::tables(state));
    let wanted = Picture::of(&batch.bytes);
    let found = look(&mut firewall, &wanted);
    if found.as_ref().is_some_and(|found| found.shows(&wanted)) {
        return Ok(None);
    }
    firewall.batch(&batch).map_err(understood)?;
    let walled = state.leases.values().filter(|lease| lease.is_walled());
    let addresses: Vec<_> = walled.flat_map(|lease| lease.addresses()).collect();
    connections::forget(&addresses).map_err(NetworkError::Rules)?;
    let is_missing = found.is_some_and(|found| found == Picture::default());
    Ok(Some(Repaired {
        damage: if is_missing {
            Damage::Missing
        } else {
            Damage::Changed
        },
        boxes: state.leases.len(),
    }))
}

/// The kernel's tables; `None` when they cannot be read, or go on changing.
fn look(firewall: &mut Netlink, wanted: &Picture) -> Option<Picture> {
    const TRIES: u32 = 3;
    for _ in 0..TRIES {
        let mut picture = Picture::default();
        let mut is_whole = true;
        for (kind, question) in wanted.questions() {
            match firewall.dump(kind, &question, |frame| picture.add(&frame)) {
                Ok(whole) => is_whole &= whole,
                // A set that has gone with its table.
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
                Err(_) => return None,
            }
        }
        if is_whole {
            return Some(picture);
        }
    }
    None
}

/// Claims that a program other than herd changes the addresses of what leaves this machine, as who forwards for containers
/// or virtual machines does: by a table of nftables, or by one of the older `iptables`.
pub(super) fn others_translate() -> bool {
    let is_nat = |path: &str| {
        let names = fs::read_to_string(path).unwrap_or_default();
        names.lines().any(|name| name == "nat")
    };
    if is_nat("/proc/net/ip_tables_names") || is_nat("/proc/net/ip6_tables_names") {
        return true;
    }
    let mut found = false;
    let listed = each_chain(|chain| found |= picture::is_anothers_nat(chain));
    // Where there is no nf_tables nobody uses it.
    listed.is_ok() && found
}

/// Shows all chains of everybody.
fn each_chain(mut look: impl FnMut(&Frame<'_>)) -> io::Result<()> {
    let (kind, question) = picture::all_chains();
    let mut firewall = Netlink::netfilter()?;
    firewall.dump(kind, &question, |frame| look(&frame))?;
    Ok(())
}

/// The chains of other programs that drop whatever is forwarded and that no rule of theirs names (`policy drop`): what boxes
/// send does not pass them, nor what is for their ports, unless somebody has let herd's bridges through there. Each is
/// written `chain FORWARD of table ip filter`. Those of the older `iptables` (legacy) are not seen. Empty where nf_tables
/// cannot be asked.
pub fn refusals_to_forward() -> Vec<String> {
    let mut found = Vec::new();
    let listed = each_chain(|chain| found.extend(picture::anothers_refusal(chain)));
    if listed.is_err() {
        found.clear();
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_without_a_part_of_nf_tables_is_told_as_such() {
        for errno in MISSING {
            let told = understood(io::Error::from_raw_os_error(errno)).to_string();
            assert_eq!(
                told,
                "this kernel has no nf_tables, which ports, NAT and rules between boxes need"
            );
        }
        let other = understood(io::Error::from_raw_os_error(libc::EPERM));
        assert!(matches!(other, NetworkError::Rules(_)), "{other}");
    }
}
