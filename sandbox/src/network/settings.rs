//! Settings of the kernel that forwarding needs, and their return to what they were.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use super::state::{Setting, State};
use super::{NetworkError, firewall};
use crate::config::Port;

const FORWARD4: &str = "/proc/sys/net/ipv4/ip_forward";
const FORWARD6: &str = "/proc/sys/net/ipv6/conf/all/forwarding";
const REDIRECTS: &str = "/proc/sys/net/ipv4/conf/all/send_redirects";
const INTERFACES4: &str = "/proc/sys/net/ipv4/conf";
const INTERFACES6: &str = "/proc/sys/net/ipv6/conf";
/// What goes off when forwarding goes on, and back.
const BELIEVES: &str = "/proc/sys/net/ipv4/conf/all/accept_redirects";

/// The switch of each family, and the directory of the interfaces that it goes over to.
const SWITCHES: [(&str, &str); 2] = [(FORWARD4, INTERFACES4), (FORWARD6, INTERFACES6)];

/// Claims that the host speaks IPv6 at all.
pub(crate) fn has_ipv6() -> bool {
    read(Path::new("/proc/sys/net/ipv6/conf/default/disable_ipv6")).is_ok_and(|value| value == "0")
}

/// The lowest port that takes no capability.
pub(crate) fn first_port_of_all() -> u16 {
    let value = read(Path::new("/proc/sys/net/ipv4/ip_unprivileged_port_start"));
    value
        .ok()
        .and_then(|value| value.parse().ok())
        .unwrap_or(1024)
}

fn read(path: &Path) -> io::Result<String> {
    Ok(fs::read_to_string(path)?.trim().to_owned())
}

fn set(path: &Path, value: &str) -> Result<(), NetworkError> {
    fs::write(path, value).map_err(failed(path, value))
}

fn failed(path: &Path, value: &str) -> impl FnOnce(io::Error) -> NetworkError {
    move |source| NetworkError::Setting {
        path: path.to_owned(),
        value: value.to_owned(),
        source,
    }
}

/// One setting that is to be changed, and is written down as changed already.
#[derive(Debug)]
pub(crate) struct Change {
    path: PathBuf,
    ours: &'static str,
}

impl Change {
    /// Notes what is to be put back; `None` where nothing has to change.
    fn note(self, state: &mut State) -> Result<Option<Self>, NetworkError> {
        let before = read(&self.path).map_err(failed(&self.path, self.ours))?;
        if before == self.ours {
            return Ok(None);
        }
        let ours = self.ours.to_owned();
        let key = self.path.to_string_lossy().into_owned();
        state
            .settings
            .entry(key)
            .or_insert(Setting { before, ours });
        Ok(Some(self))
    }

    pub(crate) fn make(&self) -> Result<(), NetworkError> {
        set(&self.path, self.ours)
    }
}

/// What lets packets pass from one interface to another, as far as `state` needs it: noted there, to be
/// [made](Change::make) in this order once that is written down.
pub(crate) fn forwarding(state: &mut State) -> Result<Vec<Change>, NetworkError> {
    if state.networks.is_empty() {
        return Ok(Vec::new());
    }
    let change = |path: &str, ours| Change {
        path: PathBuf::from(path),
        ours,
    };
    // A bridge sends redirects as long as everybody does, and its own setting says no; who has another keeps it.
    let mut wanted = vec![change(FORWARD4, "1"), change(REDIRECTS, "0")];
    if state
        .networks
        .values()
        .any(|bridge| bridge.subnet6.is_some())
    {
        if read(Path::new(FORWARD6)).is_ok_and(|value| value != "1") {
            // A host that forwards believes no router, unless it is told to go on doing so: its own way
            // out may have come from one.
            let listening = interfaces_that_listen().into_iter();
            wanted.extend(listening.map(|path| Change { path, ours: "2" }));
        }
        wanted.push(change(FORWARD6, "1"));
    }
    let mut changes = Vec::new();
    let mut switches = false;
    for change in wanted {
        let Some(change) = change.note(state)? else {
            continue;
        };
        if SWITCHES
            .iter()
            .any(|(switch, _)| change.path == Path::new(switch))
        {
            note_followers(&change.path, state);
            switches = true;
        }
        changes.push(change);
    }
    state.others_translated |= switches && firewall::others_translate();
    Ok(changes)
}

/// Notes what changes by itself when this switch is turned on.
fn note_followers(switch: &Path, state: &mut State) {
    let mut followers = Vec::new();
    for (one, interfaces) in SWITCHES {
        if switch == Path::new(one) {
            let paths = forwarding_of_each(interfaces).into_iter();
            followers.extend(paths.map(|path| (path, "1")));
        }
    }
    if switch == Path::new(FORWARD4) {
        followers.push((PathBuf::from(BELIEVES), "0"));
    }
    for (path, ours) in followers {
        // An interface that goes at this moment.
        let Ok(before) = read(&path) else {
            continue;
        };
        let ours = ours.to_owned();
        let key = path.to_string_lossy().into_owned();
        state
            .settings
            .entry(key)
            .or_insert(Setting { before, ours });
    }
}

/// The `forwarding` of all interfaces, and of those to come.
fn forwarding_of_each(interfaces: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(interfaces).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_name() != "all")
        .map(|entry| entry.path().join("forwarding"))
        .collect()
}

/// The `accept_ra` of interfaces that take their routes from a router as long as they forward nothing.
fn interfaces_that_listen() -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(INTERFACES6) else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter(|entry| {
            let name = entry.file_name();
            name != "all" && name != "lo" && !name.to_string_lossy().starts_with("herd-")
        })
        .map(|entry| entry.path().join("accept_ra"))
        .filter(|path| read(path).is_ok_and(|value| value == "1"))
        .collect()
}

/// Sets back what is still as we have set it, if nothing needs it any more. Forwarding stays if somebody else translates
/// addresses now who did not when it was switched on: who finds it on does not switch it on again, and would be cut
/// off.
pub(crate) fn put_back(state: &mut State) {
    if !state.networks.is_empty() {
        return;
    }
    let settings = std::mem::take(&mut state.settings);
    let others_translated = std::mem::take(&mut state.others_translated);
    let has_switched = SWITCHES
        .iter()
        .any(|(switch, _)| settings.contains_key(*switch));
    let is_needed = has_switched && !others_translated && firewall::others_translate();
    // What forwarding changes by itself goes with it; what was set beside it stays right only as long as it is on.
    let (forwarding, mut settings): (BTreeMap<_, _>, BTreeMap<_, _>) =
        settings.into_iter().partition(|(path, _)| {
            path == BELIEVES || path.ends_with("/forwarding") || path == FORWARD4
        });
    if is_needed {
        settings.retain(|path, _| path == REDIRECTS);
    } else {
        for (switch, interfaces) in SWITCHES {
            turn_back(&forwarding, switch, interfaces);
        }
    }
    for (path, setting) in settings {
        let path = Path::new(&path);
        if read(path).is_ok_and(|value| value == setting.ours) {
            // An interface that has gone has taken its settings with it.
            fs::write(path, &setting.before).ok();
        }
    }
}

/// Turns forwarding off again, which goes over to all interfaces, and gives each what it had, or what somebody else has set
/// meanwhile. One that came meanwhile gets what it would have come with.
fn turn_back(settings: &BTreeMap<String, Setting>, switch: &str, interfaces: &str) {
    let Some(setting) = settings.get(switch) else {
        return;
    };
    // Who has turned it off has settled the rest too.
    if read(Path::new(switch)).is_ok_and(|value| value != setting.ours) {
        return;
    }
    let default = settings.get(&format!("{interfaces}/default/forwarding"));
    let mut followers = forwarding_of_each(interfaces);
    if switch == FORWARD4 {
        followers.push(PathBuf::from(BELIEVES));
    }
    let wanted: Vec<(PathBuf, String)> = followers
        .into_iter()
        .filter_map(|path| {
            let now = read(&path).ok()?;
            let noted = settings.get(path.to_string_lossy().as_ref()).or(default);
            let value = match noted {
                Some(noted) if noted.ours == now => noted.before.clone(),
                _ => now,
            };
            Some((path, value))
        })
        .collect();
    fs::write(switch, &setting.before).ok();
    for (path, value) in wanted {
        if read(&path).is_ok_and(|now| now != value) {
            // As above: it has gone.
            fs::write(path, value).ok();
        }
    }
}

/// Tells no box of a shorter way to another: that would take the place of what the box is told when it is refused.
pub(crate) fn bridge(device: &str) -> Result<(), NetworkError> {
    for (family, key, value) in [("ipv4", "send_redirects", "0"), ("ipv6", "accept_ra", "0")] {
        let path = PathBuf::from(format!("/proc/sys/net/{family}/conf/{device}/{key}"));
        if family == "ipv6" && !path.exists() {
            continue;
        }
        set(&path, value)?;
    }
    Ok(())
}

/// Lets the host's own connections to its loopback addresses be led to a bridge as long as a box on it has a port there, and
/// no longer: the other way round only a rule keeps a box from what listens on the host's loopback.
pub(crate) fn loopback_ports(state: &State) -> Result<(), NetworkError> {
    let is_local = |port: &Port| match port.address {
        None => true,
        Some(IpAddr::V4(four)) => four.is_loopback() || four.is_unspecified(),
        Some(IpAddr::V6(_)) => false,
    };
    for (name, bridge) in &state.networks {
        let led = state.leases.values().any(|lease| {
            let led = state.link_of_ports(&lease.links);
            led.is_some_and(|link| link.network == *name) && lease.ports.iter().any(is_local)
        });
        let value = if led { "1" } else { "0" };
        let path = Path::new(INTERFACES4)
            .join(&bridge.device)
            .join("route_localnet");
        match read(&path) {
            Ok(now) if now == value => continue,
            // Somebody has removed the bridge.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            _ => {}
        }
        set(&path, value)?;
    }
    Ok(())
}

/// Before the bridge `device` is up, or with `default` any interface of ours where nobody else is on the wire: its link-local address is used at once. Without one the kernel asks for no neighbour, and what
/// is routed to a box is lost for the second or two in which it would look for others that have it (RFC 4862); a
/// bridge's hardware address is made from its subnet, which nobody else has.
pub(crate) fn address_at_once(device: &str) -> Result<(), NetworkError> {
    let path = PathBuf::from(format!("/proc/sys/net/ipv6/conf/{device}/accept_dad"));
    if !path.exists() {
        return Ok(());
    }
    set(&path, "0")
}

/// In the box's network namespace: any port may be bound and anybody be pinged there, which takes a capability
/// only where it could be held against others.
pub(crate) fn inside() -> Result<(), NetworkError> {
    for (path, value) in [
        ("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0"),
        ("/proc/sys/net/ipv4/ping_group_range", "0 2147483647"),
    ] {
        let written = set(Path::new(path), value);
        // Groups that the box's user namespace has no place for are refused as a whole.
        if path.ends_with("range") {
            continue;
        }
        written?;
    }
    Ok(())
}
