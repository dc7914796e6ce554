//! What the walls imply and a unit names, path by path.
#![forbid(unsafe_code)]

use std::path::Path;

use super::plan::{Change, Source, Tree, is_directory, is_read_only};
use super::step::Hide;
use crate::compile::CompileError;
use crate::config::{BoxPath, Config, ProtectHome, ProtectProc, ProtectSystem, Wall, Walls};
use crate::paths::absolute;

pub(super) fn protect_system(walls: &Walls, tree: &mut Tree) {
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
        if !walls.has_other_processes() {
            tree.put("/proc", keep("/proc"));
        }
        if !walls.protect_kernel_tunables {
            tree.put("/sys", keep("/sys"));
        }
    }
}

/// `/proc` and `/sys`.
pub(super) fn kernel(walls: &Walls, tree: &mut Tree) {
    let hide = match walls.protect_proc {
        ProtectProc::Default => Hide::Nothing,
        ProtectProc::NoAccess => Hide::NoAccess,
        ProtectProc::Invisible => Hide::Invisible,
        ProtectProc::Ptraceable => Hide::Ptraceable,
    };
    if is_directory(walls)
        || walls.root.is_host() && walls.has_other_processes()
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

pub(super) fn homes(walls: &Walls, tree: &mut Tree) {
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
pub(super) fn named(config: &Config, walls: &Walls, tree: &mut Tree) -> Result<(), CompileError> {
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
