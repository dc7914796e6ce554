//! What clients see of the networks of boxes.
#![forbid(unsafe_code)]

use std::collections::HashMap;

use sandbox::network::{BoxView, NetworkView};

use super::{Daemon, reason};
use crate::control::protocol::{
    Network, NetworkAddress, NetworkBox, NetworksReply, Refusal, Reply,
};
use crate::supervisor::ServiceId;

/// Boxes that have a lease, by its id.
pub(super) type Boxes = HashMap<String, BoxView>;

impl Daemon {
    pub(super) fn networks(&self) -> Result<Reply, Refusal> {
        let views = sandbox::network::networks().map_err(|error| Refusal::Refused {
            reason: reason(&error).to_string(),
        })?;
        let networks = views.iter().map(|view| self.network(view)).collect();
        Ok(Reply::Networks(NetworksReply { networks }))
    }

    fn network(&self, view: &NetworkView) -> Network {
        let search = &self.options.search;
        let file = units::load::network_definition(search, &view.name, &self.units.facts);
        Network {
            // A file in error has no words.
            description: file.ok().flatten().and_then(|file| file.description),
            ..network(view)
        }
    }

    /// The boxes of all services, read once, when one of these has a network.
    pub(super) fn boxes_on_networks(&self, ids: &[ServiceId]) -> Boxes {
        let has_lease = |id: &ServiceId| {
            let runtime = self.runtimes.get(id);
            runtime.is_some_and(|runtime| {
                !runtime.leases.is_empty() || runtime.names_of_network.is_some()
            })
        };
        if !ids.iter().any(has_lease) {
            return Boxes::new();
        }
        // What cannot be read is not shown; herd network says why.
        let views = sandbox::network::networks().unwrap_or_default();
        let boxes = views.into_iter().flat_map(|view| view.boxes);
        boxes.map(|one| (one.id.clone(), one)).collect()
    }

    /// The addresses of a service, and its ports; of one that has joined another's network, the addresses that it
    /// shares.
    pub(super) fn place_on_networks(
        &self,
        id: ServiceId,
        boxes: &Boxes,
    ) -> (Vec<NetworkAddress>, Vec<String>) {
        let runtime = self.runtimes.get(&id);
        let leases = runtime.map_or(&[][..], |have| &have.leases);
        let main = leases.iter().rfind(|lease| lease.is_main);
        let joined = || {
            let running = runtime.filter(|have| have.main.is_some());
            running.and_then(|have| have.names_of_network.as_ref())
        };
        let lease = main.map(|lease| &lease.id).or_else(joined);
        let Some(own) = lease.and_then(|lease| boxes.get(lease)) else {
            return (Vec::new(), Vec::new());
        };
        let addresses = own.ends.iter().map(|end| NetworkAddress {
            network: end.network.clone(),
            address: end.address.to_string(),
            address6: end.address6.map(|six| six.to_string()),
        });
        let published = main.map_or(&[][..], |_| &own.ports);
        let ports = published.iter().map(ToString::to_string);
        (addresses.collect(), ports.collect())
    }
}

fn network(view: &NetworkView) -> Network {
    let boxes = view.boxes.iter().filter_map(|one| {
        let end = one.ends.iter().find(|end| end.network == view.name)?;
        Some(NetworkBox {
            name: one.name.clone(),
            address: end.address.to_string(),
            ports: one.ports.iter().map(ToString::to_string).collect(),
            address6: end.address6.map(|six| six.to_string()),
        })
    });
    let mut boxes: Vec<NetworkBox> = boxes.collect();
    boxes.sort_by(|one, two| one.name.cmp(&two.name));
    Network {
        name: view.name.clone(),
        device: view.device.clone(),
        subnet: view.subnet.to_string(),
        gateway: view.gateway.to_string(),
        internal: view.internal,
        boxes,
        description: None,
        subnet6: view.subnet6.map(|six| six.to_string()),
        gateway6: view.gateway6.map(|six| six.to_string()),
    }
}
