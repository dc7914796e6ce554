//! One thing to do about landlock, and its sentence.
#![forbid(unsafe_code)]

use std::ffi::CString;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::rights::{
    ABSTRACT_UNIX_SOCKETS, BIND_TCP, CONNECT_TCP, FileRights, SIGNALS, ScopeSet, TcpRights,
};
use crate::config::PathAccess;
use crate::step::text;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum LandlockStep {
    /// What is denied from `Enforce` on.
    Ruleset {
        files: FileRights,
        tcp: TcpRights,
        scopes: ScopeSet,
        abi: u32,
    },
    Path {
        path: CString,
        access: PathAccess,
        /// Those of the access that the ruleset is about.
        rights: FileRights,
        optional: bool,
    },
    Port {
        port: u16,
        rights: TcpRights,
    },
    /// With what is then to be denied.
    Enforce {
        files: FileRights,
        tcp: TcpRights,
        scopes: ScopeSet,
    },
}

impl fmt::Display for LandlockStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ruleset {
                files,
                tcp,
                scopes,
                abi,
            } => {
                let mut parts = Vec::new();
                if *files != 0 {
                    parts.push(format!("{} rights to files", files.count_ones()));
                }
                if *tcp != 0 {
                    parts.push(format!("{} tcp", tcp_words(*tcp)));
                }
                let denied = parts.join(", ");
                let scopes = scope_words(*scopes);
                match (denied.is_empty(), scopes.is_empty()) {
                    (false, true) => write!(f, "landlock: deny {denied}, but for the rules")?,
                    (true, _) => write!(f, "landlock: keep {scopes} inside")?,
                    (false, false) => write!(
                        f,
                        "landlock: deny {denied}, but for the rules; keep {scopes} inside"
                    )?,
                }
                write!(f, " (ABI {abi})")
            }
            Self::Path {
                path,
                access,
                optional,
                ..
            } => {
                write!(f, "landlock: allow to {} {}", access.word(), text(path))?;
                if *optional {
                    f.write_str(" (unless it is missing)")
                } else {
                    Ok(())
                }
            }
            Self::Port { port, rights } => {
                write!(
                    f,
                    "landlock: allow to {} tcp port {port}",
                    tcp_words(*rights)
                )
            }
            Self::Enforce { .. } => f.write_str("landlock: enforce this from now on"),
        }
    }
}

fn tcp_words(rights: TcpRights) -> &'static str {
    if rights == BIND_TCP {
        "bind"
    } else if rights == CONNECT_TCP {
        "connect"
    } else {
        "bind and connect"
    }
}

fn scope_words(scopes: ScopeSet) -> String {
    let words = [
        (ABSTRACT_UNIX_SOCKETS, "abstract unix sockets"),
        (SIGNALS, "signals"),
    ];
    let words: Vec<&str> = words
        .iter()
        .filter(|(scope, _)| scopes & scope != 0)
        .map(|(_, word)| *word)
        .collect();
    words.join(" and ")
}
