//! From the ordered actions of a config to steps.
//!
//! What comes from outside the box is held by descriptor before the root changes, so that a source is
//! always the host's, whatever the actions before it have covered.
#![forbid(unsafe_code)]

use std::ffi::CString;
use std::path::Path;

use super::action::{Action, Content, Put, mode_of_parents};
use super::id_map;
use super::overlay;
use super::step::MountStep;
use crate::compile::CompileError;
use crate::config::{BindMount, BindSource, Data, MountAction, Upper, Walls};
use crate::host::KernelVersion;
use crate::paths::{absolute, c_path};

/// Holding first, acting later.
#[derive(Debug, Default)]
pub(super) struct Ordered {
    /// Each fills one slot, counted from 0.
    pub(super) holds: Vec<MountStep>,
    pub(super) actions: Vec<MountStep>,
}

/// What the actions need to know of the launch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Surroundings {
    /// Device nodes can be made.
    pub(super) makes_nodes: bool,
    pub(super) in_user_namespace: bool,
    /// The caller is user 0, whom files of the kernel's obey in a user namespace too.
    pub(super) by_user_0: bool,
    pub(super) is_root: bool,
    pub(super) unified_cgroups: bool,
    pub(super) kernel: KernelVersion,
}

pub(super) fn plan(walls: &Walls, launch: Surroundings) -> Result<Ordered, CompileError> {
    let mut ordered = Ordered::default();
    for action in &walls.mounts {
        let action = ordered.one(action, walls, launch)?;
        ordered.actions.push(MountStep::Action(action));
    }
    Ok(ordered)
}

impl Ordered {
    /// Gives the slot.
    pub(super) fn hold(&mut self, step: MountStep) -> usize {
        self.holds.push(step);
        self.holds.len() - 1
    }

    fn one(
        &mut self,
        action: &MountAction,
        walls: &Walls,
        launch: Surroundings,
    ) -> Result<Action, CompileError> {
        Ok(match action {
            MountAction::Bind(bind) => self.bind(bind, walls, launch)?,
            MountAction::Proc { target } => {
                let slot = if walls.has_other_processes() {
                    None
                } else {
                    Some(self.hold(host_path(c"/proc".to_owned())))
                };
                Action::Proc {
                    target: mount_point(target, walls)?,
                    slot,
                    // In a user namespace the machine's settings are somebody else's.
                    sys: launch.by_user_0 || !launch.in_user_namespace,
                }
            }
            MountAction::Devices { target } => Action::Devices {
                target: mount_point(target, walls)?,
                made: launch.makes_nodes,
            },
            MountAction::Tmpfs { target, mode, size } => Action::Tmpfs {
                target: mount_point(target, walls)?,
                mode: *mode,
                size: *size,
            },
            MountAction::MessageQueues { target } => Action::MessageQueues {
                target: mount_point(target, walls)?,
            },
            MountAction::Directory { path, mode } => Action::Directory {
                path: in_box(path)?,
                mode: *mode,
            },
            MountAction::File { path, mode, data } => Action::File {
                path: in_box(path)?,
                mode: *mode,
                content: content(data),
            },
            MountAction::BindData {
                target,
                mode,
                data,
                read_only,
            } => {
                let slot = self.hold(MountStep::Data {
                    mode: *mode,
                    content: content(data),
                });
                Action::Put(Put {
                    slot,
                    source: c"a file in memory".to_owned(),
                    target: mount_point(target, walls)?,
                    read_only: *read_only,
                    devices: false,
                    parents: mode_of_parents(*mode),
                })
            }
            MountAction::Symlink { target, path } => Action::Symlink {
                reads: c_path(target)?,
                path: in_box(path)?,
            },
            MountAction::Chmod { path, mode } => Action::Mode {
                path: in_box(path)?,
                mode: *mode,
            },
            MountAction::RemountReadOnly { path } => Action::ReadOnly {
                path: in_box(path)?,
            },
            MountAction::ControlGroups { target, read_only } => {
                if !launch.unified_cgroups {
                    return Err(CompileError::Root(
                        "this machine has no unified cgroup hierarchy to mount",
                    ));
                }
                Action::ControlGroups {
                    target: mount_point(target, walls)?,
                    read_only: *read_only,
                }
            }
            MountAction::Overlay {
                lower,
                upper,
                target,
            } => {
                let target = mount_point(target, walls)?;
                let overlay = overlay::plan(lower, upper, target.clone(), launch)?;
                let source = overlay.lower.last().cloned().unwrap_or_default();
                Action::Put(Put {
                    slot: self.hold(MountStep::Overlay(overlay)),
                    source,
                    target,
                    read_only: *upper == Upper::ReadOnly,
                    devices: false,
                    parents: 0o755,
                })
            }
        })
    }

    fn bind(
        &mut self,
        bind: &BindMount,
        walls: &Walls,
        launch: Surroundings,
    ) -> Result<Action, CompileError> {
        let target = mount_point(&bind.target, walls)?;
        let id_map = match &bind.id_map {
            Some(wanted) => Some(id_map::plan(wanted, launch)?),
            None => None,
        };
        let (source, step) = match &bind.source {
            BindSource::Path(path) => {
                absolute("the source of a mount", path)?;
                let source = c_path(path)?;
                let step = MountStep::Take {
                    source: source.clone(),
                    of_host: true,
                    recursive: bind.recursive,
                    optional: bind.optional,
                    id_map,
                };
                (source, step)
            }
            BindSource::Descriptor(held) => {
                let step = MountStep::TakeHeld {
                    held: *held,
                    recursive: bind.recursive,
                    id_map,
                };
                (c"what a descriptor stands for".to_owned(), step)
            }
        };
        let slot = self.hold(step);
        Ok(Action::Put(Put {
            slot,
            source,
            target,
            read_only: bind.read_only,
            devices: bind.devices,
            parents: 0o755,
        }))
    }
}

fn host_path(source: CString) -> MountStep {
    MountStep::Take {
        source,
        of_host: true,
        recursive: true,
        optional: false,
        id_map: None,
    }
}

fn content(data: &Data) -> Content {
    match data {
        Data::Bytes(bytes) => Content::Bytes(bytes.clone()),
        Data::Descriptor(held) => Content::Held(*held),
        Data::NameServers(servers) => Content::NameServers(servers.clone()),
    }
}

fn in_box(path: &Path) -> Result<CString, CompileError> {
    absolute("the path of a mount action", path)?;
    c_path(path)
}

fn mount_point(path: &Path, walls: &Walls) -> Result<CString, CompileError> {
    let target = in_box(path)?;
    if walls.root.is_host() && path == Path::new("/") {
        return Err(CompileError::Root(
            "nothing can be mounted over the host's own `/`",
        ));
    }
    Ok(target)
}
