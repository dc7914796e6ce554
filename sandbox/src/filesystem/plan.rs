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
//! 6. Mounts that had to be filled are sealed, then the root is changed.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::order::{self, Ordered, Surroundings};
use super::step::{Hide, MountStep, Tmpfs};
use crate::compile::CompileError;
use crate::config::{BoxPath, Config, ProtectHome, ProtectProc, ProtectSystem, Root, Wall, Walls};
use crate::host::Host;
use crate::paths::{absolute, c_path};

const CAP_SYS_ADMIN: u8 = 21;
const CAP_MKNOD: u8 = 27;

/// The mount steps of a box that has a mount namespace.
pub(crate) fn plan(
    config: &Config,
    walls: &Walls,
    host: &Host,
    in_user_namespace: bool,
) -> Result<Vec<MountStep>, CompileError> {
    let can_make = !in_user_namespace && host.has_capability(CAP_MKNOD);
    let launch = Surroundings {
        makes_nodes: can_make && !may_make_nodes(walls),
        in_user_namespace,
    };
    let mut tree = Tree {
        ordered: order::plan(walls, launch)?,
        ..Tree::default()
    };
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
fn is_directory(walls: &Walls) -> bool {
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
enum Change {
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
struct Source {
    path: PathBuf,
    of_host: bool,
    recursive: bool,
    optional: bool,
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
struct Tree {
    steps: Vec<MountStep>,
    ordered: Ordered,
    changes: BTreeMap<PathBuf, Change>,
    devices: Option<Devices>,
}

impl Tree {
    /// The last word about a path counts: callers go from what a wall implies to what a unit names.
    fn put(&mut self, path: impl AsRef<Path>, change: Change) {
        self.changes.insert(path.as_ref().to_owned(), change);
    }

    fn hide(&mut self, paths: &[&str]) {
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
        if !walls.root.is_host() {
            self.steps.push(MountStep::Pivot);
        }
        Ok(self.steps)
    }

    /// Private propagation, what is held, and the root: what is of the host first, as long as
    /// nothing covers it. Gives the slots of what is to be put back.
    fn hold(&mut self, walls: &Walls) -> Result<BTreeMap<PathBuf, usize>, CompileError> {
        self.steps.push(MountStep::Private);
        self.steps.append(&mut self.ordered.holds);
        let mut slot = self.steps.len() - 1;
        let in_scratch = |step: &MountStep| matches!(step, MountStep::Data { .. });
        if walls.root.is_host() && self.steps.iter().any(in_scratch) {
            self.steps.push(MountStep::Release);
        }
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
                    });
                }
            }
            match &walls.root {
                Root::Directory(root) if of_host => {
                    self.steps.push(MountStep::Root(c_path(root)?));
                }
                Root::Empty if of_host => self.steps.push(MountStep::EmptyRoot),
                Root::Host | Root::Directory(_) | Root::Empty => {}
            }
        }
        Ok(places)
    }
}

fn is_read_only(walls: &Walls) -> bool {
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

fn protect_system(walls: &Walls, tree: &mut Tree) {
    let read_only = |optional| Change::ReadOnly {
        optional,
        inert: false,
    };
    if !walls.root.is_host() {
        // An empty root is filled before it is sealed.
        if is_directory(walls) && is_read_only(walls) {
            tree.put("/", read_only(false));
        }
        return;
    }
    let paths: &[&str] = match walls.protect_system {
        _ if walls.read_only_root => &["/"],
        ProtectSystem::No => &[],
        ProtectSystem::Yes => &["/usr", "/boot"],
        ProtectSystem::Full => &["/usr", "/boot", "/etc"],
        ProtectSystem::Strict => &["/"],
    };
    paths
        .iter()
        .for_each(|path| tree.put(path, read_only(*path != "/")));
    if paths == ["/"] {
        // The kernel's own trees have walls of their own.
        let keep = |path: &str| Change::Keep {
            source: Source {
                path: path.into(),
                of_host: false,
                recursive: true,
                optional: true,
            },
            read_only: false,
        };
        if !walls.private_devices {
            tree.put("/dev", keep("/dev"));
        }
        if !walls.namespaces.pid {
            tree.put("/proc", keep("/proc"));
        }
        if !walls.protect_kernel_tunables {
            tree.put("/sys", keep("/sys"));
        }
    }
}

/// `/proc` and `/sys`.
fn kernel(walls: &Walls, tree: &mut Tree) {
    let hide = match walls.protect_proc {
        ProtectProc::Default => Hide::Nothing,
        ProtectProc::NoAccess => Hide::NoAccess,
        ProtectProc::Invisible => Hide::Invisible,
        ProtectProc::Ptraceable => Hide::Ptraceable,
    };
    if is_directory(walls)
        || walls.root.is_host() && walls.namespaces.pid
        || hide != Hide::Nothing
        || walls.proc_subset_pid
    {
        tree.put(
            "/proc",
            Change::Proc {
                hide,
                only_processes: walls.proc_subset_pid,
            },
        );
    }
    if walls.protect_kernel_tunables {
        for path in ["/proc/sys", "/proc/irq", "/proc/bus", "/proc/fs"] {
            tree.put(
                path,
                Change::ReadOnly {
                    optional: true,
                    inert: true,
                },
            );
        }
        tree.hide(&[
            "/proc/acpi",
            "/proc/kcore",
            "/proc/keys",
            "/proc/latency_stats",
            "/proc/scsi",
            "/proc/sysrq-trigger",
            "/proc/timer_list",
        ]);
        if walls.root.is_host() {
            tree.put(
                "/sys",
                Change::ReadOnly {
                    optional: true,
                    inert: true,
                },
            );
            tree.hide(&["/sys/firmware", "/sys/kernel/debug", "/sys/kernel/tracing"]);
        }
    }
    if walls.protect_kernel_logs {
        tree.hide(&["/proc/kmsg"]);
        if !walls.private_devices && walls.root.is_host() {
            tree.hide(&["/dev/kmsg"]);
        }
    }
    if walls.protect_kernel_modules && walls.root.is_host() {
        tree.hide(&["/usr/lib/modules"]);
    }
    if walls.protect_control_groups && walls.root.is_host() {
        tree.put(
            "/sys/fs/cgroup",
            Change::ReadOnly {
                optional: true,
                inert: true,
            },
        );
    }
}

fn homes(walls: &Walls, tree: &mut Tree) {
    if !walls.root.is_host() {
        return;
    }
    for path in ["/home", "/root", "/run/user"] {
        match walls.protect_home {
            ProtectHome::No => {}
            ProtectHome::Yes => tree.hide(&[path]),
            ProtectHome::ReadOnly => {
                tree.put(
                    path,
                    Change::ReadOnly {
                        optional: true,
                        inert: false,
                    },
                );
            }
            ProtectHome::Tmpfs => tree.put(
                path,
                Change::Tmpfs {
                    mode: 0o755,
                    size: None,
                    read_only: true,
                    optional: true,
                },
            ),
        }
    }
}

/// The system herd's sockets and state; a user's herd has its own below `/run/user`.
const OWN_RUNTIME: &str = "/run/herd";

/// What the unit names itself, the most binding last.
fn named(config: &Config, walls: &Walls, tree: &mut Tree) -> Result<(), CompileError> {
    let boxed_root = !walls.root.is_host();
    if !boxed_root {
        tree.hide(&[OWN_RUNTIME]);
    }
    let source = |path: &Path, of_host, optional| Source {
        path: path.to_owned(),
        of_host,
        recursive: true,
        optional,
    };
    for wanted in &walls.temporary_file_systems {
        absolute("temporary_file_system", &wanted.path)?;
        let (mode, size, read_only) = (wanted.mode, wanted.size, wanted.read_only);
        tree.put(
            &wanted.path,
            Change::Tmpfs {
                mode,
                size,
                read_only,
                optional: false,
            },
        );
    }
    for bind in &walls.binds {
        absolute("bind source", &bind.source)?;
        absolute("bind target", &bind.target)?;
        let source = Source {
            recursive: bind.recursive,
            ..source(&bind.source, true, bind.optional)
        };
        tree.put(
            &bind.target,
            Change::Keep {
                source,
                read_only: bind.read_only,
            },
        );
    }
    for directory in &config.directories {
        if directory.writable || boxed_root {
            let source = source(&directory.path, true, false);
            tree.put(
                &directory.path,
                Change::Keep {
                    source,
                    read_only: !directory.writable,
                },
            );
        }
    }
    for BoxPath { path, optional } in &walls.read_write_paths {
        absolute("read_write_paths", path)?;
        let source = source(path, false, *optional);
        tree.put(
            path,
            Change::Keep {
                source,
                read_only: false,
            },
        );
    }
    for BoxPath { path, optional } in &walls.read_only_paths {
        absolute("read_only_paths", path)?;
        tree.put(
            path,
            Change::ReadOnly {
                optional: *optional,
                inert: false,
            },
        );
    }
    for BoxPath { path, optional } in &walls.inaccessible_paths {
        absolute("inaccessible_paths", path)?;
        if path == Path::new("/") {
            let reason = "the whole tree cannot be hidden".to_owned();
            return Err(CompileError::Wall {
                wall: Wall::ReadOnlyRoot,
                reason,
            });
        }
        tree.put(
            path,
            Change::Hide {
                optional: *optional,
            },
        );
    }
    Ok(())
}
