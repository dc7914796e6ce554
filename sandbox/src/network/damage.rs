//! What is done where nobody can read any more what boxes had.
#![forbid(unsafe_code)]

use super::NetworkError;
use super::address_pool as pool;
use super::apply::{remove_interface, remove_rules};
use super::netlink::Netlink;
use super::registry::Registry;
use super::state::host_device;

/// More interfaces than a box of ours has.
const MOST_INTERFACES: usize = 16;

/// Takes away what boxes have had that are no more, by the names that is known by, and begins anew. What settings of
/// the kernel were before is lost: they stay as they are.
pub(super) fn heal(registry: &mut Registry, host: &mut Netlink) -> Result<(), NetworkError> {
    if !registry.is_damaged {
        return Ok(());
    }
    let mut ids = registry.ids();
    // Nobody's but that of who has come to build one.
    ids.retain(|id| !registry.is_live(id));
    for id in &ids {
        for index in 0..MOST_INTERFACES {
            remove_interface(host, &host_device(id, index))?;
        }
    }
    for network in registry.named_networks() {
        remove_interface(host, &pool::device(&network))?;
    }
    remove_rules()?;
    for id in &ids {
        registry.forget(id);
    }
    registry.is_damaged = false;
    registry.write()
}
