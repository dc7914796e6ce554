//! Mounts as a box makes them, in a mount namespace that goes with the child.

use std::ffi::CStr;
use std::io;
use std::os::fd::AsFd;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
use rustix::mount::{MountFlags, OpenTreeFlags, mount, open_tree};

use super::namespaces::{own_place, with_user};
use super::{Finding, Look, Need, Subject};
use crate::host::Host;
use crate::host::trial::{flags, settle};
use crate::sys::mount::{Attributes, forbid};
use crate::sys::probe_clone::{self, Prepared, in_new_namespaces};

type Body = fn(&Prepared) -> io::Result<()>;

pub(super) fn findings(host: &Host) -> Vec<Finding> {
    let own = own_place(host);
    let in_mounts =
        |body: Body| in_new_namespaces(with_user(host, &[libc::CLONE_NEWNS]), body, &own);
    let in_ipc = |body: Body| {
        let kinds = [libc::CLONE_NEWNS, libc::CLONE_NEWIPC];
        in_new_namespaces(with_user(host, &kinds), body, &own)
    };
    let look = |need, name| Look::new(Subject::FileSystems, need, name);
    let looks: [(Look, io::Result<()>, &str, &str); 8] = [
        (
            look(Need::Box, "tmpfs"),
            in_mounts(mount_tmpfs),
            "mounted",
            "the kernel needs CONFIG_TMPFS",
        ),
        (
            look(Need::Box, "devpts of its own"),
            in_mounts(mount_terminals),
            "mounted",
            "the kernel needs CONFIG_UNIX98_PTYS",
        ),
        (
            look(Need::Key, "message queues"),
            in_ipc(mount_queues),
            "mounted",
            "the kernel needs CONFIG_POSIX_MQUEUE",
        ),
        (
            look(Need::Box, "mount_setattr"),
            in_mounts(make_read_only),
            "a tree was made read-only as a whole",
            "it came with Linux 5.12",
        ),
        (
            look(Need::Box, "openat2"),
            resolve_in_root(),
            "paths of a box are looked up inside its root",
            "it came with Linux 5.6; a container's filter may be older",
        ),
        (
            look(Need::Key, "overlay"),
            in_mounts(mount_overlay),
            "mounted on a tmpfs",
            "load the module: modprobe overlay",
        ),
        (
            look(Need::Key, "overlay in a user namespace"),
            overlay_in_user_namespace(host),
            "mounted on a tmpfs",
            "it came with Linux 5.11",
        ),
        (
            look(Need::Key, "idmapped mounts"),
            idmapped(host),
            "a tmpfs was mounted with other owners",
            "they take root and Linux 5.12, on a tmpfs 6.3",
        ),
    ];
    looks
        .into_iter()
        .map(|(look, result, detail, advice)| look.tried(result, detail, advice))
        .collect()
}

const NONE: MountFlags = MountFlags::empty();

fn mount_tmpfs(own: &Prepared) -> io::Result<()> {
    settle(own)?;
    Ok(mount(c"herd-doctor", c"/tmp", c"tmpfs", NONE, None)?)
}

fn mount_terminals(own: &Prepared) -> io::Result<()> {
    mount_tmpfs(own)?;
    rustix::fs::mkdir(c"/tmp/pts", Mode::RWXU)?;
    let options = c"newinstance,ptmxmode=0666,mode=0620";
    Ok(mount(
        c"devpts",
        c"/tmp/pts",
        c"devpts",
        NONE,
        Some(options),
    )?)
}

fn mount_queues(own: &Prepared) -> io::Result<()> {
    mount_tmpfs(own)?;
    Ok(mount(c"mqueue", c"/tmp", c"mqueue", NONE, None)?)
}

fn tree(path: &CStr) -> io::Result<std::os::fd::OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    Ok(open_tree(CWD, path, flags)?)
}

fn make_read_only(own: &Prepared) -> io::Result<()> {
    mount_tmpfs(own)?;
    let tree = tree(c"/tmp")?;
    Ok(forbid(tree.as_fd(), Attributes::READ_ONLY, true)?)
}

fn resolve_in_root() -> io::Result<()> {
    let root = openat2(
        CWD,
        c"/",
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
    )?;
    drop(root);
    Ok(())
}

fn mount_overlay(own: &Prepared) -> io::Result<()> {
    mount_tmpfs(own)?;
    for directory in [c"/tmp/lower", c"/tmp/upper", c"/tmp/work", c"/tmp/merged"] {
        rustix::fs::mkdir(directory, Mode::RWXU)?;
    }
    let options = c"lowerdir=/tmp/lower,upperdir=/tmp/upper,workdir=/tmp/work";
    let merged = c"/tmp/merged";
    Ok(mount(
        c"herd-doctor",
        merged,
        c"overlay",
        NONE,
        Some(options),
    )?)
}

fn overlay_in_user_namespace(host: &Host) -> io::Result<()> {
    let kinds = flags(&[libc::CLONE_NEWUSER, libc::CLONE_NEWNS]);
    in_new_namespaces(kinds, mount_overlay, &crate::host::trial::own_maps(host))
}

fn idmapped(host: &Host) -> io::Result<()> {
    let held = probe_clone::user_namespace("0 1000 1")?;
    let own = Prepared {
        user_namespace: Some(held),
        ..own_place(host)
    };
    in_new_namespaces(with_user(host, &[libc::CLONE_NEWNS]), mount_idmapped, &own)
}

fn mount_idmapped(own: &Prepared) -> io::Result<()> {
    mount_tmpfs(own)?;
    let tree = tree(c"/tmp")?;
    match &own.user_namespace {
        Some(held) => probe_clone::idmap(tree.as_fd(), held.as_fd()),
        None => Err(io::ErrorKind::InvalidInput.into()),
    }
}
