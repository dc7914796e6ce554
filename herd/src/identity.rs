//! As whom the processes of a unit run, and who else exists for them.
#![forbid(unsafe_code)]

use sandbox::config::{IdMaps, IdRange, Identity, UserNamespace, Walls};
use units::unit::{Entry, PrivateUsers, Surroundings};

use crate::allot::{self, RANGE};
use crate::prepare::{Occasion, PrepareError, Surface};
use crate::users::{User, Users};

/// The numbers a process runs as, and the line of its user, where it has one.
///
/// # Errors
/// When a user or group does not exist, or only root could be asked for one.
pub fn identity(
    name: &str,
    around: &Surroundings,
    users: &Users,
    surface: &Surface,
    occasion: &Occasion,
) -> Result<(Identity, Option<User>), PrepareError> {
    let groups = &around.supplementary_groups;
    if !around.dynamic_user {
        let (user, group) = (around.user.as_deref(), around.group.as_deref());
        return Ok(users.identity(user, group, groups)?);
    }
    if !surface.is_root {
        return Err(PrepareError::TakesRoot("dynamic_user"));
    }
    let number = occasion
        .dynamic_user
        .unwrap_or_else(|| allot::preferred_user(name));
    let (others, _) = users.identity(None, None, groups)?;
    let identity = Identity {
        uid: Some(number),
        gid: Some(number),
        groups: Some(others.groups.unwrap_or_default()),
    };
    let user = User {
        name: name.to_owned(),
        uid: number,
        gid: number,
        home: "/".to_owned(),
        shell: "/usr/sbin/nologin".to_owned(),
    };
    Ok((identity, Some(user)))
}

/// The user namespace of a box, if it is to have one that the engine does not make by itself.
///
/// # Errors
/// When only root could make it.
pub fn user_namespace(
    name: &str,
    entry: &Entry,
    walls: &Walls,
    identity: &Identity,
    surface: &Surface,
    occasion: &Occasion,
) -> Result<Option<UserNamespace>, PrepareError> {
    let named = walls.namespaces.user || entry.disable_userns;
    let wanted = match (&walls.user_namespace, entry.private_users) {
        (Some(given), _) => given.clone(),
        (None, PrivateUsers::No) if !named => return Ok(None),
        // A user's own herd has nobody but that user to show.
        (None, PrivateUsers::No | PrivateUsers::Own) if !surface.is_root => {
            UserNamespace::default()
        }
        (None, PrivateUsers::No | PrivateUsers::Own) => {
            let groups = identity.gid.into_iter();
            let groups = groups.chain(identity.groups.iter().flatten().copied());
            ranges(themselves(identity.uid), themselves(groups))
        }
        (None, PrivateUsers::Identity) if surface.is_root => shifted(0),
        (None, PrivateUsers::Pick) if surface.is_root => shifted(
            occasion
                .range
                .unwrap_or_else(|| allot::preferred_range(name)),
        ),
        (None, PrivateUsers::Identity) => {
            return Err(PrepareError::TakesRoot("private_users = \"identity\""));
        }
        (None, PrivateUsers::Pick) => {
            return Err(PrepareError::TakesRoot("private_users = \"pick\""));
        }
    };
    Ok(Some(UserNamespace {
        disable_further: entry.disable_userns,
        ..wanted
    }))
}

/// Root and these, each as itself.
fn themselves(others: impl IntoIterator<Item = u32>) -> Vec<IdRange> {
    let mut ids: Vec<u32> = others.into_iter().chain([0]).collect();
    ids.sort_unstable();
    ids.dedup();
    let one = |id| IdRange {
        inside: id,
        outside: id,
        count: 1,
    };
    ids.into_iter().map(one).collect()
}

fn shifted(outside: u32) -> UserNamespace {
    let range = IdRange {
        inside: 0,
        outside,
        count: RANGE,
    };
    ranges(vec![range], vec![range])
}

fn ranges(uids: Vec<IdRange>, gids: Vec<IdRange>) -> UserNamespace {
    UserNamespace {
        maps: IdMaps::Ranges { uids, gids },
        ..UserNamespace::default()
    }
}
