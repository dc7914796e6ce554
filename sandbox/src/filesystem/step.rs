//! One change of the mount tree, as data, and the sentence that names it.
#![forbid(unsafe_code)]

use std::ffi::CString;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::action::{Action, Content, Put};
use super::id_map::IdMap;
use crate::config::Held;
use crate::step::text;

/// Paths are the box's own; [`Take`](MountStep::Take) alone may name one of the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum MountStep {
    /// Nothing mounted from here on is seen outside; what is mounted outside is seen here only
    /// `from_host`.
    Private {
        from_host: bool,
        /// `mount_setattr(2)` is there: attributes are set on a tree as a whole.
        whole_trees: bool,
        /// The box has a tree of its own, and nothing is attached in the host's but on its `/`.
        host_stays: bool,
    },
    /// This directory, with all mounts below it, will be `/`.
    Root(CString),
    /// A new tmpfs will be `/`.
    EmptyRoot,
    /// What is held will be `/`.
    FirstPut(Put),
    /// Holds on to a part of the tree as it is now; [`Place`](MountStep::Place) counts these.
    Take {
        source: CString,
        of_host: bool,
        recursive: bool,
        optional: bool,
        id_map: Option<IdMap>,
    },
    /// Holds on to what a descriptor of the caller stands for.
    TakeHeld {
        held: Held,
        recursive: bool,
        id_map: Option<IdMap>,
    },
    /// Holds on to a new file in memory.
    Data {
        mode: u32,
        content: Content,
    },
    /// Holds on to a new overlay.
    Overlay(Overlay),
    /// What is held in `slot` will be `/`; it is made read-only later where it is `sealed`.
    HeldRoot {
        slot: usize,
        sealed: bool,
    },
    /// What [`Data`](MountStep::Data) and [`Overlay`](MountStep::Overlay) have made in memory is mounted, and
    /// held. The place it is in `stays` where it goes with the host's tree.
    MountMemory {
        stays: bool,
    },
    Action(Action),
    /// With every mount below, however deep.
    ReadOnly {
        path: CString,
        optional: bool,
        inert: bool,
    },
    Proc {
        hide: Hide,
        only_processes: bool,
    },
    Devices {
        made: bool,
    },
    Terminals {
        with_group: bool,
    },
    MessageQueues,
    Tmpfs(Tmpfs),
    /// Neither readable nor listable nor enterable.
    Hide {
        path: CString,
        optional: bool,
    },
    Place {
        slot: usize,
        target: CString,
        read_only: bool,
    },
    /// This one mount, filled by now, becomes read-only.
    Seal(CString),
    /// The root of [`Root`](MountStep::Root) becomes `/` and the host's tree goes.
    Pivot,
    /// The new root becomes `/`, and the host's tree stays mounted out of sight.
    ChangeRoot,
    /// No program can be run from here or below.
    NoPrograms {
        path: CString,
        optional: bool,
    },
}

impl MountStep {
    /// Claims that something is made in memory that is mounted later.
    pub(crate) fn is_in_memory(&self) -> bool {
        matches!(
            self,
            Self::Data { .. }
                | Self::Overlay(Overlay {
                    upper: OverlayUpper::Memory,
                    ..
                })
        )
    }
}

/// Layers of one directory. Paths are the host's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Overlay {
    /// From the bottom to the top.
    pub(crate) lower: Vec<CString>,
    pub(crate) upper: OverlayUpper,
    /// Where it will be, for what is said of a failure.
    pub(crate) target: CString,
    /// The marks of the overlay are `user.*` attributes.
    pub(crate) user_attributes: bool,
}

/// Where writes to an [`Overlay`] go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum OverlayUpper {
    None,
    Memory,
    Kept { upper: CString, work: CString },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tmpfs {
    pub(crate) path: CString,
    pub(crate) mode: u32,
    pub(crate) size: Option<u64>,
    pub(crate) read_only: bool,
    pub(crate) executable: bool,
    pub(crate) optional: bool,
}

/// `hidepid=` of procfs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Hide {
    Nothing,
    NoAccess,
    Invisible,
    Ptraceable,
}

impl Hide {
    /// The kernel's word, which is none for what is the default.
    pub(crate) fn option(self) -> Option<&'static str> {
        match self {
            Self::Nothing => None,
            Self::NoAccess => Some("noaccess"),
            Self::Invisible => Some("invisible"),
            Self::Ptraceable => Some("ptraceable"),
        }
    }
}

impl fmt::Display for MountStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let if_there = |optional: &bool| if *optional { " if it is there" } else { "" };
        match self {
            Self::Private {
                from_host,
                whole_trees,
                host_stays: _,
            } => {
                f.write_str(if *from_host {
                    "let later mounts of the host in, and none out"
                } else {
                    "make all mounts private"
                })?;
                f.write_str(if *whole_trees { "" } else { ", one by one" })
            }
            Self::Overlay(overlay) => overlay.fmt(f),
            Self::HeldRoot { slot, .. } => {
                write!(f, "take what is held ({}) as the new root", slot + 1)
            }
            Self::ChangeRoot => {
                f.write_str("change to the new root; the old one stays mounted, out of sight")
            }
            Self::NoPrograms { path, optional } => {
                let path = text(path);
                write!(
                    f,
                    "let no program run from {path} or below{}",
                    if_there(optional)
                )
            }
            Self::Root(path) => write!(f, "take {} as the new root", text(path)),
            Self::TakeHeld {
                held: Held(number),
                recursive,
                id_map,
            } => {
                let below = if *recursive {
                    ""
                } else {
                    " without the mounts below"
                };
                write!(f, "hold what descriptor {} stands for{below}", number + 1)?;
                id_map.as_ref().map_or(Ok(()), |map| map.fmt(f))
            }
            Self::FirstPut(put) => {
                write!(f, "take {} as the new root", text(&put.source))?;
                f.write_str(if put.read_only { ", read-only" } else { "" })?;
                f.write_str(if put.devices { ", with devices" } else { "" })
            }
            Self::EmptyRoot => f.write_str("take a new tmpfs as the new root"),
            Self::Data { mode, content } => {
                write!(f, "hold a new file in memory (mode {mode:04o}, {content})")
            }
            Self::MountMemory { .. } => f.write_str("mount what is made in memory, out of sight"),
            Self::Action(action) => action.fmt(f),
            Self::Take {
                source,
                of_host,
                recursive,
                optional,
                id_map,
            } => {
                let place = if *of_host { " of the host" } else { "" };
                let below = if *recursive {
                    ""
                } else {
                    " without the mounts below"
                };
                write!(
                    f,
                    "hold {}{place}{below}{}",
                    text(source),
                    if_there(optional)
                )?;
                id_map.as_ref().map_or(Ok(()), |map| map.fmt(f))
            }
            Self::ReadOnly {
                path,
                optional,
                inert,
            } => {
                let more = if *inert {
                    ", nosuid, nodev, noexec"
                } else {
                    ""
                };
                let path = text(path);
                write!(
                    f,
                    "make {path} and all below read-only{more}{}",
                    if_there(optional)
                )
            }
            Self::Proc {
                hide,
                only_processes,
            } => {
                f.write_str("mount proc on /proc")?;
                if let Some(option) = hide.option() {
                    write!(f, ", hidepid={option}")?;
                }
                if *only_processes {
                    f.write_str(", subset=pid")
                } else {
                    Ok(())
                }
            }
            Self::Devices { made } => {
                let how = if *made { "" } else { " bound from the host" };
                write!(
                    f,
                    "mount a private /dev with null, zero, full, random, urandom, tty{how}"
                )
            }
            Self::Terminals { .. } => f.write_str("mount new terminals on /dev/pts"),
            Self::MessageQueues => f.write_str("mount mqueue on /dev/mqueue"),
            Self::Tmpfs(wanted) => {
                write!(
                    f,
                    "mount tmpfs on {} (mode {:04o}",
                    text(&wanted.path),
                    wanted.mode
                )?;
                if let Some(size) = wanted.size {
                    write!(f, ", {size} bytes")?;
                }
                if wanted.read_only {
                    f.write_str(", read-only")?;
                }
                write!(f, "){}", if_there(&wanted.optional))
            }
            Self::Hide { path, optional } => write!(f, "hide {}{}", text(path), if_there(optional)),
            Self::Place {
                slot,
                target,
                read_only,
            } => {
                let how = if *read_only { ", read-only" } else { "" };
                write!(
                    f,
                    "put what is held ({}) on {}{how}",
                    slot + 1,
                    text(target)
                )
            }
            Self::Seal(path) => write!(f, "make the mount on {} read-only", text(path)),
            Self::Pivot => f.write_str("pivot into the new root and drop the old one"),
        }
    }
}

impl fmt::Display for Overlay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lower: Vec<String> = self.lower.iter().rev().map(|path| text(path)).collect();
        write!(f, "hold an overlay of {}", lower.join(" over "))?;
        match &self.upper {
            OverlayUpper::None => f.write_str(", read-only"),
            OverlayUpper::Memory => f.write_str(", writes go to memory"),
            OverlayUpper::Kept { upper, .. } => write!(f, ", writes go to {}", text(upper)),
        }
    }
}
