//! In which user namespace a process stands, as whom, and with which capabilities. Pure.
#![forbid(unsafe_code)]

use super::join::joins;
use super::maps::{Alone, Ids, Maps, check, inside_of, outside_of};
use crate::capability::{
    CAP_CHECKPOINT_RESTORE, CAP_NET_ADMIN, CAP_SETGID, CAP_SETUID, CAP_SYS_ADMIN, CAP_SYS_RESOURCE,
};
use crate::compile::CompileError;
use crate::config::{
    CAPABILITIES, Capabilities, Config, IdMaps, IdRange, Identity, NamespaceKind, UserNamespace,
    Wall, Walls,
};
use crate::host::Host;
use crate::process::{identity, same_groups};
use crate::step::{NamespaceSet, Step};

/// The user namespace of a box.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Users {
    /// That of the caller.
    Same,
    /// One of its own with nobody but the caller in it.
    Alone {
        map: Alone,
        /// A second one below it, in which the box then runs.
        second: Option<Alone>,
        limit: Option<u8>,
    },
    /// One of its own, mapped from outside.
    Mapped { maps: Maps, limit: Option<u8> },
    /// One of its own, mapped by whoever holds the box at its gate.
    ByCaller,
    /// One that is there already.
    Joined,
}

impl Users {
    pub(crate) fn is_other(&self) -> bool {
        *self != Self::Same
    }

    /// Claims that the namespace comes with the other ones in one `clone3`.
    pub(crate) fn is_mapped_from_outside(&self) -> bool {
        matches!(self, Self::Mapped { .. } | Self::ByCaller)
    }

    /// How many user namespaces may be made below.
    pub(crate) fn limit(&self) -> Option<u8> {
        match self {
            Self::Alone { limit, .. } | Self::Mapped { limit, .. } => *limit,
            Self::Same | Self::ByCaller | Self::Joined => None,
        }
    }

    /// Who the process is, in numbers of the caller's namespace: the owner of its directories.
    pub(crate) fn outside(&self, wanted: &Identity, host: &Host) -> Result<Identity, CompileError> {
        let same = wanted.clone();
        Ok(match self {
            Self::Alone { map, .. } => Identity {
                uid: wanted.uid.map(|_| map.outside_uid),
                gid: wanted.gid.map(|_| map.outside_gid),
                groups: None,
            },
            Self::Mapped { maps, .. } => Identity {
                uid: owner(Ids::Users, &maps.uids, wanted.uid, host.uid)?,
                gid: owner(Ids::Groups, &maps.gids, wanted.gid, host.gid)?,
                groups: None,
            },
            Self::Same | Self::ByCaller | Self::Joined => same,
        })
    }
}

/// `None` is the caller, to whom everything belongs that nobody is given.
fn owner(
    ids: Ids,
    ranges: &[IdRange],
    wanted: Option<u32>,
    caller: u32,
) -> Result<Option<u32>, CompileError> {
    let inside = wanted.or_else(|| inside_of(ranges, caller)).unwrap_or(0);
    let outside = outside_of(ids, ranges, inside)?;
    Ok((wanted.is_some() || outside != caller).then_some(outside))
}

fn refuse(wall: Wall, reason: impl Into<String>) -> CompileError {
    CompileError::Wall {
        wall,
        reason: reason.into(),
    }
}

/// Which user namespace the box is to stand in.
pub(crate) fn decide(
    config: &Config,
    walls: &Walls,
    host: &Host,
    namespaces: NamespaceSet,
) -> Result<Users, CompileError> {
    let wanted = match &walls.user_namespace {
        _ if joins(walls, NamespaceKind::User) => return Ok(Users::Joined),
        Some(wanted) => wanted.clone(),
        None if walls.namespaces.user => UserNamespace::default(),
        None if host.is_root || namespaces.is_empty() => return Ok(Users::Same),
        None => {
            // Made because another wall takes it: it is no way to become somebody else.
            let wanted = &config.identity;
            let other = wanted.uid.is_some_and(|uid| uid != host.uid)
                || wanted.gid.is_some_and(|gid| gid != host.gid);
            if other {
                let reason = match host.uid {
                    0 => {
                        "as another user than root it takes CAP_SYS_ADMIN: without it a box stands in \
                         a user namespace that has herd's own user alone"
                    }
                    _ => "only root can start a service as another user",
                };
                return Err(refuse(Wall::UserNamespace, reason));
            }
            UserNamespace::default()
        }
    };
    match &wanted.maps {
        IdMaps::Caller => alone(config, walls, host, &wanted),
        IdMaps::Ranges { .. } | IdMaps::ByCaller if wanted.nested => Err(refuse(
            Wall::UserNamespace,
            "a second user namespace is made only for a caller who is alone in the first",
        )),
        IdMaps::Ranges { .. } if joins(walls, NamespaceKind::Mount) => Err(refuse(
            Wall::UserNamespace,
            "ranges cannot be mapped behind a mount namespace that is joined, whose /proc is another",
        )),
        IdMaps::Ranges { uids, gids } => {
            check(Ids::Users, uids)?;
            check(Ids::Groups, gids)?;
            let find = |ids, ranges: &[_], wanted: Option<u32>, caller| {
                let inside = wanted.or_else(|| inside_of(ranges, caller)).unwrap_or(0);
                outside_of(ids, ranges, inside)?;
                // Nobody but user 0 may make everything the set-up makes.
                let first = if outside_of(ids, ranges, 0).is_ok() {
                    0
                } else {
                    inside
                };
                Ok::<_, CompileError>(first)
            };
            let maps = Maps {
                uid: find(Ids::Users, uids, config.identity.uid, host.uid)?,
                gid: find(Ids::Groups, gids, config.identity.gid, host.gid)?,
                uids: uids.clone(),
                gids: gids.clone(),
                directly: maps_directly(host),
            };
            let limit = limit(&wanted, walls)?;
            Ok(Users::Mapped { maps, limit })
        }
        IdMaps::ByCaller if wanted.disable_further => Err(refuse(
            Wall::UserNamespace,
            "further user namespaces cannot be disabled where the caller writes the maps",
        )),
        IdMaps::ByCaller if !config.lifecycle.gate => Err(refuse(
            Wall::UserNamespace,
            "maps that the caller writes need a gate at which the box waits for them",
        )),
        IdMaps::ByCaller => Ok(Users::ByCaller),
    }
}

/// Claims that the kernel takes any range from us (`user_namespaces(7)`); else `newuidmap(1)` has the say.
fn maps_directly(host: &Host) -> bool {
    let holds = |number| host.has_capability(number);
    host.is_root || (host.uid == 0 && holds(CAP_SETUID) && holds(CAP_SETGID))
}

/// The caller under its new number, with a second namespace below the first where that is to be.
fn alone(
    config: &Config,
    walls: &Walls,
    host: &Host,
    wanted: &UserNamespace,
) -> Result<Users, CompileError> {
    let uid = config.identity.uid.unwrap_or(host.uid);
    let gid = config.identity.gid.unwrap_or(host.gid);
    if let Some(id) = [uid, gid].into_iter().find(|id| *id == u32::MAX) {
        let reason = format!("{id} is nobody's number");
        return Err(refuse(Wall::UserNamespace, reason));
    }
    let (outside_uid, outside_gid) = (host.uid, host.gid);
    let joins_second = joins(walls, NamespaceKind::SecondUser);
    // The counter could be raised again from the first one, and mounts made in it could be undone.
    let nested = wanted.nested || wanted.disable_further;
    // The second one is the one that there may be.
    let limit = wanted.disable_further.then_some(1);
    let own = Alone {
        uid,
        gid,
        outside_uid,
        outside_gid,
    };
    if !nested || joins_second {
        // Whoever joins the second one needs the first for its mounts only.
        let (uid, gid) = if nested { (0, 0) } else { (uid, gid) };
        return Ok(Users::Alone {
            map: Alone { uid, gid, ..own },
            second: None,
            limit,
        });
    }
    let first = if wanted.nested { (0, 0) } else { (uid, gid) };
    Ok(Users::Alone {
        map: Alone {
            uid: first.0,
            gid: first.1,
            ..own
        },
        second: Some(Alone {
            outside_uid: first.0,
            outside_gid: first.1,
            ..own
        }),
        limit,
    })
}

fn may_raise_limits(walls: &Walls) -> bool {
    walls.capability_bounding_set.contains(&CAP_SYS_RESOURCE)
}

fn limit(wanted: &UserNamespace, walls: &Walls) -> Result<Option<u8>, CompileError> {
    if wanted.disable_further && may_raise_limits(walls) {
        let reason = "further user namespaces are disabled for good only without \
                      CAP_SYS_RESOURCE in the bounding set";
        return Err(refuse(Wall::UserNamespace, reason));
    }
    Ok(wanted.disable_further.then_some(0))
}

/// What has to be done before the user namespace is made: groups that nobody inside could leave.
pub(crate) fn before(
    users: &Users,
    wanted: &Identity,
    host: &Host,
) -> Result<Vec<Step>, CompileError> {
    let Users::Alone { map, .. } = users else {
        return Ok(Vec::new());
    };
    let Some(groups) = &wanted.groups else {
        return Ok(Vec::new());
    };
    if same_groups(groups, host) {
        return Ok(Vec::new());
    }
    let reason = match (host.is_root, groups.is_empty()) {
        (true, true) => return Ok(vec![Step::Groups(Vec::new())]),
        (true, false) => format!(
            "supplementary groups {groups:?} have no place in a user namespace that holds group {} \
             alone",
            map.gid
        ),
        (false, _) => {
            "supplementary groups can be changed only by root, or with a range of groups \
                       (subgid(5)) as the map"
                .to_owned()
        }
    };
    Err(refuse(Wall::UserNamespace, reason))
}

/// Claims that the program may come to hold `CAP_SYS_ADMIN` where the mounts of the box are its own to
/// undo: a second user namespace does not own them.
pub(crate) fn reaches_mounts(config: &Config, walls: &Walls, host: &Host, users: &Users) -> bool {
    let second = matches!(
        users,
        Users::Alone {
            second: Some(_),
            ..
        }
    ) || joins(walls, NamespaceKind::SecondUser);
    let given = match &walls.capabilities {
        Capabilities::ByUser => {
            let uid = config.identity.uid.unwrap_or(host.uid);
            uid == 0 || walls.ambient_capabilities.contains(&CAP_SYS_ADMIN)
        }
        Capabilities::Caller => host.is_root,
        Capabilities::Exactly(given) => given.contains(&CAP_SYS_ADMIN),
    };
    let privileged = host.is_root || users.is_other();
    let in_reach = given || !walls.no_new_privileges;
    privileged && !second && in_reach && walls.capability_bounding_set.contains(&CAP_SYS_ADMIN)
}

/// Refuses a box that could rule the host's network from its own: where no user namespace is in between, who may
/// change one end of a link may change what is around the other end too (`IFLA_TARGET_NETNSID`, Linux 5.0).
pub(crate) fn network_ends_at_the_box(
    walls: &Walls,
    host: &Host,
    users: &Users,
) -> Result<(), CompileError> {
    let leads_out = walls.network.as_private().is_some() || walls.network_names.is_some();
    let may_change = walls.capability_bounding_set.contains(&CAP_NET_ADMIN);
    match host.is_root && *users == Users::Same && leads_out && may_change {
        true => Err(refuse(Wall::NetNamespace, RULES_THE_HOST)),
        false => Ok(()),
    }
}

const RULES_THE_HOST: &str = "CAP_NET_ADMIN reaches from such a network into the host's where the box has no user \
                              namespace: set `private_users = \"pick\"`, or leave the capability out";

/// Users, groups and capabilities, from what the set-up needed to what the program is to have.
pub(crate) fn privileges(
    wanted: &Identity,
    walls: &Walls,
    host: &Host,
    users: &Users,
    as_it_is: bool,
) -> Result<Vec<Step>, CompileError> {
    let second = joins(walls, NamespaceKind::SecondUser);
    let users = if second { &Users::Joined } else { users };
    let bounding = capability_set(&walls.capability_bounding_set);
    let given: &[u8] = match &walls.capabilities {
        Capabilities::ByUser => &walls.ambient_capabilities,
        Capabilities::Caller => &[],
        Capabilities::Exactly(given) => given,
    };
    let ambient = capability_set(given);
    if let Some(number) = given.iter().find(|number| bounding >> **number & 1 == 0) {
        let name = CAPABILITIES.get(usize::from(*number)).unwrap_or(&"?");
        let reason = format!("{name} is to be given and not in the bounding set");
        return Err(refuse(Wall::Capabilities, reason));
    }
    let mut steps = Vec::new();
    // Without privilege there is nothing to take away, nor a right to take it.
    let privileged = host.is_root || users.is_other();
    if privileged && bounding & ALL_CAPABILITIES != ALL_CAPABILITIES {
        steps.push(Step::BoundingSet { keep: bounding });
    }
    let keeps = ambient != 0 || !walls.secure_bits.is_empty();
    let becomes = change_user(wanted, host, users, (keeps, as_it_is), &mut steps)?;
    if !walls.secure_bits.is_empty() {
        if !privileged {
            let reason = "secure bits take a user namespace of the box's own or root";
            return Err(refuse(Wall::Capabilities, reason));
        }
        // As late as they can be: they take CAP_SETPCAP, and change what a change of user means.
        steps.push(Step::SecureBits(walls.secure_bits.clone()));
    }
    if walls.capabilities == Capabilities::Caller {
        return Ok(steps);
    }
    let by_user = walls.capabilities == Capabilities::ByUser;
    // Whoever is not user 0 loses at `execve` what is not ambient.
    let all = by_user && becomes.is_none_or(|uid| uid == 0);
    steps.push(Step::Capabilities {
        permitted: if all { bounding } else { ambient },
        inheritable: ambient,
    });
    if ambient != 0 {
        steps.push(Step::Ambient(given.to_vec()));
    }
    Ok(steps)
}

/// Gives the user that the process then is, where that is known.
fn change_user(
    wanted: &Identity,
    host: &Host,
    users: &Users,
    (keeps, as_it_is): (bool, bool),
    steps: &mut Vec<Step>,
) -> Result<Option<u32>, CompileError> {
    let mut change = Vec::new();
    let becomes = match users {
        Users::Same => {
            identity(wanted, host, as_it_is, &mut change);
            Some(wanted.uid.unwrap_or(host.uid))
        }
        Users::Alone { map, second, .. } => Some(second.as_ref().unwrap_or(map).uid),
        Users::Mapped { maps, .. } => {
            let uid = wanted.uid.or_else(|| inside_of(&maps.uids, host.uid));
            let gid = wanted.gid.or_else(|| inside_of(&maps.gids, host.gid));
            groups_of_ranges(wanted, maps, host, &mut change)?;
            change.extend(gid.filter(|gid| *gid != maps.gid).map(Step::Gid));
            change.extend(uid.filter(|uid| *uid != maps.uid).map(Step::Uid));
            Some(uid.unwrap_or(maps.uid))
        }
        Users::ByCaller | Users::Joined => {
            change.extend(wanted.groups.clone().map(Step::Groups));
            change.extend(wanted.gid.map(Step::Gid));
            change.extend(wanted.uid.map(Step::Uid));
            wanted.uid
        }
    };
    let changed = change.iter().position(|step| matches!(step, Step::Uid(_)));
    if let Some(place) = changed.filter(|_| keeps && becomes != Some(0)) {
        change.insert(place, Step::KeepCapabilities);
    }
    steps.extend(change);
    Ok(becomes)
}

/// Groups may be set where the kernel was told so: by root, or by `newgidmap` where the map has
/// more than the caller's own group in it.
fn groups_of_ranges(
    wanted: &Identity,
    maps: &Maps,
    host: &Host,
    change: &mut Vec<Step>,
) -> Result<(), CompileError> {
    let own_alone = |range: &IdRange| range.count == 1 && range.outside == host.gid;
    let allowed = host.is_root || !maps.gids.iter().all(own_alone);
    match &wanted.groups {
        Some(_) if !allowed => {
            let reason = "supplementary groups can be changed only by root, or with a range of \
                          groups (subgid(5)) as the map";
            Err(refuse(Wall::UserNamespace, reason))
        }
        Some(groups) => {
            for group in groups {
                outside_of(Ids::Groups, &maps.gids, *group)?;
            }
            change.push(Step::Groups(groups.clone()));
            Ok(())
        }
        None => {
            change.extend(allowed.then(|| Step::Groups(Vec::new())));
            Ok(())
        }
    }
}

/// A set with every one of them.
const ALL_CAPABILITIES: u64 = (1 << (CAP_CHECKPOINT_RESTORE + 1)) - 1;

fn capability_set(numbers: &[u8]) -> u64 {
    numbers
        .iter()
        .filter(|number| **number < 64)
        .fold(0, |set, number| set | 1u64 << number)
}
