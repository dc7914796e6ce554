//! The network that one launch has: what differs from start to start is filled into the walls. Pure.
#![forbid(unsafe_code)]

use sandbox::config::{
    BridgeNetwork, Held, Join, Link, NamespaceKind, NamespaceSource, Network, PrivateNetwork, Walls,
};
use units::unit::{Entry, Unit};

/// Which network the processes of one launch have.
#[derive(Debug, Clone, Default)]
pub struct NetworkOccasion {
    /// The id of the lease; empty where nothing is launched.
    pub lease: String,
    /// A command before or after the main process. It has the unit's networks, and neither its ports
    /// nor its addresses, which the main process may have still, or is about to have.
    pub is_aside: bool,
    /// A network namespace that is there, as held descriptor 0.
    pub joined: Option<Joined>,
    /// What files say of the networks that the unit names.
    pub definitions: Vec<BridgeNetwork>,
}

/// Another process's network.
#[derive(Debug, Clone, Default)]
pub struct Joined {
    /// The lease whose `/etc/hosts` and `/etc/resolv.conf` go with it.
    pub names: Option<String>,
    /// With the user namespace that it belongs to, as held descriptor 1.
    pub with_user: bool,
}

/// What is held for a service in another's network.
const NAMESPACE: Held = Held(0);
const USER_NAMESPACE: Held = Held(1);

/// What stands for the id in a plan that is only shown: as in the manual, each start has another.
const PLANNED: &str = "ID";

/// Makes the walls those of this launch.
pub fn place(walls: &mut Walls, entry: &Entry, occasion: &NetworkOccasion) {
    if entry.network_of.is_some() || occasion.joined.is_some() {
        walls.network = Network::Host;
        walls.namespaces.net = false;
        walls.join.retain(|join| join.kind != NamespaceKind::Net);
        walls.join.push(Join {
            kind: NamespaceKind::Net,
            from: NamespaceSource::Descriptor(NAMESPACE),
        });
        let joined = occasion.joined.as_ref();
        if joined.is_some_and(|joined| joined.with_user) {
            walls.namespaces.user = false;
            walls.join.push(Join {
                kind: NamespaceKind::User,
                from: NamespaceSource::Descriptor(USER_NAMESPACE),
            });
            // Without root a box's names are in its own memory.
            walls.network_names = None;
            return;
        }
        walls.network_names = joined.and_then(|joined| joined.names.clone());
        return;
    }
    let Network::Private(private) = &mut walls.network else {
        return;
    };
    private.id.clone_from(&occasion.lease);
    if private.id.is_empty() {
        PLANNED.clone_into(&mut private.id);
    }
    if occasion.is_aside {
        set_aside(private);
    }
    for interface in &mut private.interfaces {
        if let Link::Bridge(network) = &mut interface.link {
            let mut known = occasion.definitions.iter();
            if let Some(defined) = known.find(|defined| defined.name == network.name) {
                network.clone_from(defined);
            }
        }
    }
}

fn set_aside(private: &mut PrivateNetwork) {
    private.name.push_str(".aside");
    private.ports.clear();
    for interface in &mut private.interfaces {
        if matches!(interface.link, Link::Bridge(_)) {
            interface.address = None;
            interface.address6 = None;
            interface.mac = None;
        }
    }
}

/// The networks that the unit names.
pub fn named(unit: &Unit) -> impl Iterator<Item = &str> {
    let private = unit
        .walls
        .as_ref()
        .and_then(|walls| walls.network.as_private());
    let interfaces = private.map_or(&[][..], |private| &private.interfaces);
    interfaces
        .iter()
        .filter_map(|interface| match &interface.link {
            Link::Bridge(network) => Some(network.name.as_str()),
            Link::MacVlan(_) | Link::IpVlan(_) => None,
        })
}

/// What the files say of the networks that the unit names; those without a file are passed over.
///
/// # Errors
/// What is wrong with a file, in one text.
pub fn definitions(
    unit: &Unit,
    search: &units::SearchPath,
    facts: &units::Facts,
) -> Result<Vec<BridgeNetwork>, String> {
    let mut all = Vec::new();
    for name in named(unit) {
        match units::load::network_definition(search, name, facts) {
            Ok(found) => all.extend(found.map(|definition| definition.network)),
            Err(problems) => return Err(units::diagnostic::render_all(&problems, false)),
        }
    }
    Ok(all)
}
