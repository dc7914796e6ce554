//! Which mounts make the file system of a box, in which order.
//!
//! Order and reasons:
//! 1. Private propagation first, so that nothing done here is seen outside.
//! 2. What has to stay as it is (writable directories, sources of binds) is held by descriptor
//!    before anything covers it or makes it read-only: what is of the host before the new root is
//!    there.
//! 3. The whole tree becomes read-only at once; mounts made later choose for themselves.
//! 4. What the walls imply and the unit names goes from the root down: what is nearer to a path
//!    decides about it.
//! 5. The ordered actions follow, in their order.
//! 6. Mounts that had to be filled are sealed, programs are let run where they may, and the root is
//!    changed.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::order::{self, Ordered, Surroundings};
use super::root;
use super::step::{Hide, MountStep, Tmpfs};
use super::walls::{homes, kernel, named, protect_system};
use crate::capability::{CAP_MKNOD, CAP_SYS_ADMIN};
use crate::compile::CompileError;
use crate::config::{
    BoxPath, Config, EnterRoot, Propagation, ProtectSystem, Root, RootOverlay, Walls,
};
use crate::host::{Host, KernelVersion};
use crate::paths::{absolute, c_path};

/// `mount_setattr(2)`.
const WHOLE_TREES: KernelVersion = KernelVersion {
    major: 5,
    minor: 12,
};

/// The mount steps of a box that has a mount namespace.
pub(crate) fn plan(
    config: &Config,
    walls: &Walls,
    host: &Host,
    in_user_namespace: bool,
) -> Result<Vec<MountStep>, CompileError> {
    // The group is joined already, and what its devices may be used for is no right to make one.
    let limited = config.limits.cgroup.devices.is_some();
    let can_make = !in_user_namespace && !limited && host.has_capability(CAP_MKNOD);
    let launch = Surroundings {
        makes_nodes: can_make && !may_make_nodes(walls),
        in_user_namespace,
        by_user_0: host.uid == 0,
        is_root: host.is_root,
        unified_cgroups: host.cgroups.v2.is_some(),
        kernel: host.kernel,
    };
    let mut tree = Tree {
        ordered: order::plan(walls, launch)?,
        whole_trees: host.kernel >= WHOLE_TREES,
        ..Tree::default()
    };
    root::enterable(walls)?;
    if walls.root_overlay != RootOverlay::None {
        tree.root_slot = Some(root::overlay(walls, launch, &mut tree.ordered)?);
    }
    if let Root::Directory(root) = &walls.root {
        absolute("box_root", root)?;
    }
    protect_system(walls, &mut tree);
    kernel(walls, &mut tree);
    homes(walls, &mut tree);
    if walls.private_devices || is_directory(walls) {
        tree.devices = Some(Devices {
            made: can_make,
            terminals_have_group: !in_user_namespace,
            message_queues: walls.namespaces.ipc,
        });
    }
    if walls.private_tmp || is_directory(walls) {
        for path in ["/tmp", "/var/tmp"] {
            let optional = path != "/tmp" || walls.root.is_host();
            tree.put(
                path,
                Change::Tmpfs {
                    mode: 0o1777,
                    size: None,
                    read_only: false,
                    optional,
                },
            );
        }
    }
    named(config, walls, &mut tree)?;
    tree.finish(walls)
}

/// A box in a directory gets `/proc`, `/dev` and `/tmp` unasked; an empty root is empty.
pub(super) fn is_directory(walls: &Walls) -> bool {
    matches!(walls.root, Root::Directory(_))
}

/// Claims that a process of the box could fill a file system that lets device nodes be opened, and
/// that this is more than it may do anyway.
fn may_make_nodes(walls: &Walls) -> bool {
    let keeps = |capability| walls.capability_bounding_set.contains(&capability);
    keeps(CAP_MKNOD) && !keeps(CAP_SYS_ADMIN)
}

/// What happens to one path.
#[derive(Debug, Clone)]
pub(super) enum Change {
    ReadOnly {
        optional: bool,
        inert: bool,
    },
    Proc {
        hide: Hide,
        only_processes: bool,
    },
    Tmpfs {
        mode: u32,
        size: Option<u64>,
        read_only: bool,
        optional: bool,
    },
    Hide {
        optional: bool,
    },
    /// Held before, put back; the slot is known when all are.
    Keep {
        source: Source,
        read_only: bool,
    },
}

#[derive(Debug, Clone)]
pub(super) struct Source {
    pub(super) path: PathBuf,
    pub(super) of_host: bool,
    pub(super) recursive: bool,
    pub(super) optional: bool,
}

/// How a private `/dev` is made.
#[derive(Debug, Clone)]
struct Devices {
    /// Nodes of its own; else the host's are bound.
    made: bool,
    terminals_have_group: bool,
    message_queues: bool,
}

#[derive(Debug, Default)]
pub(super) struct Tree {
    steps: Vec<MountStep>,
    ordered: Ordered,
    whole_trees: bool,
    /// How many are held.
    slots: usize,
    /// What is held for the root.
    root_slot: Option<usize>,
    changes: BTreeMap<PathBuf, Change>,
    devices: Option<Devices>,
}

impl Tree {
    /// The last word about a path counts: callers go from what a wall implies to what a unit names.
    pub(super) fn put(&mut self, path: impl AsRef<Path>, change: Change) {
        self.changes.insert(path.as_ref().to_owned(), change);
    }

    pub(super) fn hide(&mut self, paths: &[&str]) {
        paths
            .iter()
            .for_each(|path| self.put(path, Change::Hide { optional: true }));
    }

    fn finish(mut self, walls: &Walls) -> Result<Vec<MountStep>, CompileError> {
        let places = self.hold(walls)?;
        let mut seals = Vec::new();
        let mut devices = self.devices.clone();
        for (path, change) in &self.changes {
            if path.as_path() > Path::new("/dev") {
                self.steps.extend(device_steps(&mut devices));
            }
            let target = c_path(path)?;
            // Where something is to be put below, the cover has to be one that can hold it.
            let holds = places
                .keys()
                .any(|place| place != path && place.starts_with(path));
            let step = match change {
                Change::ReadOnly { optional, inert } => MountStep::ReadOnly {
                    path: target,
                    optional: *optional,
                    inert: *inert,
                },
                Change::Proc {
                    hide,
                    only_processes,
                } => MountStep::Proc {
                    hide: *hide,
                    only_processes: *only_processes,
                },
                Change::Hide { optional } if holds => {
                    seals.push(MountStep::Seal(target.clone()));
                    MountStep::Tmpfs(Tmpfs {
                        path: target,
                        mode: 0o755,
                        size: Some(1 << 16),
                        read_only: false,
                        executable: false,
                        optional: *optional,
                    })
                }
                Change::Hide { optional } => MountStep::Hide {
                    path: target,
                    optional: *optional,
                },
                Change::Tmpfs {
                    mode,
                    size,
                    read_only,
                    optional,
                } => {
                    if holds && *read_only {
                        seals.push(MountStep::Seal(target.clone()));
                    }
                    MountStep::Tmpfs(Tmpfs {
                        path: target,
                        mode: *mode,
                        size: *size,
                        read_only: *read_only && !holds,
                        executable: true,
                        optional: *optional,
                    })
                }
                Change::Keep { read_only, .. } => {
                    let slot = places.get(path).copied().unwrap_or_default();
                    MountStep::Place {
                        slot,
                        target,
                        read_only: *read_only,
                    }
                }
            };
            self.steps.push(step);
        }
        self.steps.extend(device_steps(&mut devices));
        self.steps.append(&mut self.ordered.actions);
        self.steps.extend(seals);
        if self.devices.is_some() {
            self.steps.push(MountStep::Seal(c"/dev".to_owned()));
        }
        if walls.root == Root::Empty && is_read_only(walls) {
            self.steps.push(MountStep::Seal(c"/".to_owned()));
        }
        self.programs(walls)?;
        if !walls.root.is_host() {
            self.steps.push(match walls.enter_root {
                EnterRoot::Pivot => MountStep::Pivot,
                EnterRoot::Chroot => MountStep::ChangeRoot,
            });
        }
        Ok(self.steps)
    }

    /// Private propagation, what is held, and the root: what is of the host first, as long as
    /// nothing covers it. Gives the slots of what is to be put back.
    fn hold(&mut self, walls: &Walls) -> Result<BTreeMap<PathBuf, usize>, CompileError> {
        self.steps.push(MountStep::Private {
            from_host: walls.propagation == Propagation::FromHost,
            whole_trees: self.whole_trees,
            host_stays: walls.root == Root::Empty,
        });
        self.steps.append(&mut self.ordered.holds);
        let mut slot = self.steps.len() - 1;
        let mut places = BTreeMap::new();
        for of_host in [true, false] {
            for (path, change) in &self.changes {
                if let Change::Keep { source, .. } = change
                    && source.of_host == of_host
                {
                    places.insert(path.clone(), slot);
                    slot += 1;
                    self.steps.push(MountStep::Take {
                        source: c_path(&source.path)?,
                        of_host,
                        recursive: source.recursive,
                        optional: source.optional,
                        id_map: None,
                    });
                }
            }
            if of_host {
                // A mount on top of `/` would be in the way of the paths before.
                if self.steps.iter().any(MountStep::is_in_memory) {
                    let stays = !walls.root.is_host();
                    self.steps.push(MountStep::MountMemory { stays });
                }
                let root = match self.first_is_root(walls) {
                    Some(root) => Some(root),
                    None => root::step(walls, self.root_slot)?,
                };
                self.steps.extend(root);
            }
        }
        self.slots = slot;
        Ok(places)
    }

    /// An empty root that something is put on first would never be seen.
    fn first_is_root(&mut self, walls: &Walls) -> Option<MountStep> {
        if walls.root != Root::Empty || !self.changes.is_empty() || self.devices.is_some() {
            return None;
        }
        // Held steps lie behind the one that makes propagation private.
        let held = |slot: usize| self.steps.get(slot + 1);
        let root = root::as_first(self.ordered.actions.first()?, held)?;
        self.ordered.actions.remove(0);
        Some(root)
    }

    /// Where programs can run from, last: what may run is held as it is, and put back over what may not.
    fn programs(&mut self, walls: &Walls) -> Result<(), CompileError> {
        if walls.no_exec_paths.is_empty() {
            return Ok(());
        }
        let mut steps = BTreeMap::new();
        for BoxPath { path, optional } in &walls.no_exec_paths {
            absolute("no_exec_paths", path)?;
            let path = c_path(path)?;
            let optional = *optional;
            steps.insert(path.clone(), MountStep::NoPrograms { path, optional });
        }
        for BoxPath { path, optional } in &walls.exec_paths {
            absolute("exec_paths", path)?;
            let target = c_path(path)?;
            self.steps.push(MountStep::Take {
                source: target.clone(),
                of_host: false,
                recursive: true,
                optional: *optional,
                id_map: None,
            });
            let place = MountStep::Place {
                slot: self.slots,
                target: target.clone(),
                read_only: false,
            };
            self.slots += 1;
            steps.insert(target, place);
        }
        self.steps.extend(steps.into_values());
        Ok(())
    }
}

pub(super) fn is_read_only(walls: &Walls) -> bool {
    walls.read_only_root || walls.protect_system == ProtectSystem::Strict
}

fn device_steps(devices: &mut Option<Devices>) -> Vec<MountStep> {
    let Some(devices) = devices.take() else {
        return Vec::new();
    };
    let mut steps = vec![
        MountStep::Devices { made: devices.made },
        MountStep::Terminals {
            with_group: devices.terminals_have_group,
        },
        MountStep::Tmpfs(Tmpfs {
            path: c"/dev/shm".to_owned(),
            mode: 0o1777,
            size: None,
            read_only: false,
            executable: false,
            optional: false,
        }),
    ];
    if devices.message_queues {
        steps.push(MountStep::MessageQueues);
    }
    steps
}
