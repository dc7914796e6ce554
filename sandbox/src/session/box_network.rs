//! The place of a session's box on networks.
#![forbid(unsafe_code)]

use super::instance::InstanceId;
use crate::config::{Config, Network};
use crate::network::{self, NetworkError};

/// What is given back when the box has ended: its id, where it has interfaces of its own.
#[derive(Debug)]
pub(super) struct BoxNetwork(Option<String>);

/// An id has ten characters at most.
const LENGTH: usize = 10;

impl BoxNetwork {
    /// Gives a config that names none an id, and notes it.
    pub(super) fn of(config: &mut Config, instance: InstanceId) -> Self {
        let walls = config.walls.as_mut().map(|walls| &mut walls.network);
        let Some(Network::Private(private)) = walls else {
            return Self(None);
        };
        if private.id.is_empty() {
            private.id = instance.to_string().chars().take(LENGTH).collect();
        }
        if private.name.is_empty() {
            private.name.clone_from(&config.name);
        }
        Self(Some(private.id.clone()))
    }

    /// Leaves it to others: see [`network::collect`].
    pub(super) fn forget(&mut self) {
        self.0 = None;
    }

    /// Gives it back, once.
    pub(super) fn release(&mut self) -> Result<(), NetworkError> {
        match self.0.take() {
            Some(id) => network::release(&[&id]),
            None => Ok(()),
        }
    }
}

impl Drop for BoxNetwork {
    fn drop(&mut self) {
        match self.release() {
            // Nobody is left to be told, and the next lease takes it away.
            Ok(()) | Err(_) => {}
        }
    }
}
