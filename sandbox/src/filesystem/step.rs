//! One mount, as data.
#![forbid(unsafe_code)]

use std::fmt;

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum MountStep {
    /// Nothing mounted from here on is seen outside, and nothing mounted outside is seen here.
    Private,
}

impl fmt::Display for MountStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Private => f.write_str("make all mounts private"),
        }
    }
}
