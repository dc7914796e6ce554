//! What landlock is to hold a box to (`landlock(7)`).
#![forbid(unsafe_code)]

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Rules that even root inside the box cannot undo: what no rule grants is denied.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Landlock {
    /// Files and TCP are denied but for `paths` and `ports`; without it neither is looked at.
    pub enabled: bool,
    pub paths: Vec<PathRule>,
    pub ports: Vec<PortRule>,
    pub scopes: Scopes,
}

impl Landlock {
    /// Claims that files and TCP are denied but for the rules.
    pub fn denies(&self) -> bool {
        self.enabled || !self.paths.is_empty() || !self.ports.is_empty()
    }

    /// Claims that something of it is a wall, not only wanted where the kernel offers it.
    pub fn is_required(&self) -> bool {
        let scopes = [self.scopes.abstract_unix_sockets, self.scopes.signals];
        self.denies() || scopes.contains(&Scope::Shut)
    }
}

/// Grants access to a file, or to a directory and all below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathRule {
    /// As the box sees it.
    pub path: PathBuf,
    pub access: PathAccess,
    /// Passed over when nothing is there.
    pub optional: bool,
}

/// What may be done. Two rules for one path add up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum PathAccess {
    /// Reading files and listing directories.
    Read,
    /// Writing, truncating, making, removing, linking and renaming, device ioctls, and connecting to
    /// sockets; not reading.
    Write,
    ReadWrite,
    /// Running programs, which takes reading them: `Read`, and executing.
    Execute,
}

/// Grants TCP. Denied, a `bind` or `connect` is EACCES.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortRule {
    pub ports: Ports,
    pub access: PortAccess,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ports {
    /// Every port: the access is not looked at.
    Any,
    /// Not 0, which stands for any free port.
    One(u16),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum PortAccess {
    Bind,
    Connect,
    Both,
}

/// What stays within the box, whatever namespaces it shares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Scopes {
    /// No connection to an abstract unix socket made outside.
    pub abstract_unix_sockets: Scope,
    /// No signal to a process outside.
    pub signals: Scope,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Scope {
    #[default]
    Open,
    /// Shut where it makes a difference and the kernel can (6.12); told where it cannot.
    WhereOffered,
    /// A wall like others.
    Shut,
}
