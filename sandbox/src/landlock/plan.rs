//! From what is wanted to steps, for one ABI. Pure.
#![forbid(unsafe_code)]

use std::path::PathBuf;

use super::rights::{self, ABSTRACT_UNIX_SOCKETS, SCOPES_SINCE, SIGNALS, ScopeSet, TCP_SINCE};
use super::step::LandlockStep;
use crate::config::{Landlock, Ports, Scope};
use crate::paths::c_string;

/// A rule that makes no sense, on any kernel.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LandlockError {
    #[error("the landlock path {path} is not absolute", path = .0.display())]
    Relative(PathBuf),
    #[error("the landlock path {path} holds a NUL byte", path = .0.display())]
    Nul(PathBuf),
    #[error("port 0 stands for any free port, which landlock cannot grant by itself")]
    PortZero,
}

/// What the plan around it has come to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Circumstances {
    /// The kernel's ABI.
    pub(crate) abi: u32,
    /// The box is in its caller's network namespace, and so among the abstract sockets there.
    pub(crate) shared_network: bool,
    /// No new privileges will be set whether there is landlock or not.
    pub(crate) no_new_privileges: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Planned {
    pub(crate) steps: Vec<LandlockStep>,
    /// Wanted, and not to be had from this ABI: why.
    pub(crate) missing: Option<String>,
    /// Wanted only where offered, and not offered: why.
    pub(crate) not_offered: Option<String>,
}

/// The steps, with all that the ABI offers of what is wanted.
pub(crate) fn plan(wanted: &Landlock, around: Circumstances) -> Result<Planned, LandlockError> {
    let abi = around.abi;
    let denies = wanted.denies();
    let tcp_wanted = wanted
        .ports
        .iter()
        .filter(|rule| rule.ports == Ports::Any)
        .fold(rights::BIND_TCP | rights::CONNECT_TCP, |left, rule| {
            left & !rule.access.rights()
        });
    let (scopes, not_offered) = scopes(wanted, around);
    let (files, tcp) = if denies {
        (rights::of_files(abi), rights::of_tcp(abi) & tcp_wanted)
    } else {
        (0, 0)
    };
    let offered = scopes & rights::of_scopes(abi);
    let mut steps = Vec::new();
    let rules = rules(wanted, files, tcp)?;
    if files | tcp | offered != 0 {
        steps.push(LandlockStep::Ruleset {
            files,
            tcp,
            scopes: offered,
            abi,
        });
        steps.extend(rules);
        steps.push(LandlockStep::Enforce {
            files,
            tcp,
            scopes: offered,
        });
    }
    Ok(Planned {
        steps,
        missing: missing(abi, denies, tcp_wanted, scopes),
        not_offered,
    })
}

/// The scopes wanted, and why one that is wanted where offered is not among them.
fn scopes(wanted: &Landlock, around: Circumstances) -> (ScopeSet, Option<String>) {
    let mut set = 0;
    let mut reason = None;
    let both = [
        (
            wanted.scopes.abstract_unix_sockets,
            ABSTRACT_UNIX_SOCKETS,
            "abstract unix sockets",
            around.shared_network,
        ),
        (wanted.scopes.signals, SIGNALS, "signals to processes", true),
    ];
    for (scope, bit, what, matters) in both {
        match scope {
            Scope::Open => {}
            Scope::Shut => set |= bit,
            Scope::WhereOffered if !matters => {}
            Scope::WhereOffered if around.abi < SCOPES_SINCE => {
                let kernel = told(around.abi);
                reason = Some(format!(
                    "{what} outside stay within reach: {kernel}, scopes came with ABI {SCOPES_SINCE} (Linux 6.12)"
                ));
            }
            Scope::WhereOffered if !around.no_new_privileges && !wanted.is_required() => {
                reason = Some(format!(
                    "{what} outside stay within reach: shutting them takes no_new_privileges"
                ));
            }
            Scope::WhereOffered => set |= bit,
        }
    }
    (set, reason)
}

fn rules(wanted: &Landlock, files: u64, tcp: u64) -> Result<Vec<LandlockStep>, LandlockError> {
    let mut steps = Vec::new();
    for rule in &wanted.paths {
        if !rule.path.is_absolute() {
            return Err(LandlockError::Relative(rule.path.clone()));
        }
        let rights = rule.access.rights() & files;
        let path = c_string(rule.path.as_os_str());
        if rights != 0 {
            steps.push(LandlockStep::Path {
                path: path.map_err(|_| LandlockError::Nul(rule.path.clone()))?,
                access: rule.access,
                rights,
                optional: rule.optional,
            });
        }
    }
    for rule in &wanted.ports {
        match rule.ports {
            Ports::Any => {}
            Ports::One(0) => return Err(LandlockError::PortZero),
            Ports::One(port) => {
                let rights = rule.access.rights() & tcp;
                if rights != 0 {
                    steps.push(LandlockStep::Port { port, rights });
                }
            }
        }
    }
    Ok(steps)
}

/// What is wanted and not available, in words.
fn missing(abi: u32, denies: bool, tcp: u64, scopes: ScopeSet) -> Option<String> {
    if abi == 0 && (denies || scopes != 0) {
        return Some(told(abi));
    }
    let mut all: Vec<(u32, &str)> = Vec::new();
    if denies {
        let needed = rights::LATER.iter().filter(|(.., is_needed)| *is_needed);
        all.extend(needed.map(|(since, _, what, _)| (*since, *what)));
        if tcp != 0 {
            all.push((TCP_SINCE, "TCP"));
        }
    }
    if scopes & ABSTRACT_UNIX_SOCKETS != 0 {
        all.push((SCOPES_SINCE, "abstract unix sockets"));
    }
    if scopes & SIGNALS != 0 {
        all.push((SCOPES_SINCE, "signals"));
    }
    all.sort_unstable();
    let lacking: Vec<String> = all
        .iter()
        .filter(|(since, _)| abi < *since)
        .map(|(since, what)| format!("{what} (ABI {since})"))
        .collect();
    if lacking.is_empty() {
        return None;
    }
    Some(format!(
        "{}, which cannot deny {}",
        told(abi),
        lacking.join(", ")
    ))
}

fn told(abi: u32) -> String {
    if abi == 0 {
        "this kernel has no landlock, or has it switched off".to_owned()
    } else {
        format!("this kernel's landlock is ABI {abi}")
    }
}
