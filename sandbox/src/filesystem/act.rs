//! Carries out the ordered actions. Every path is looked up from the root of the box, through all that
//! is mounted there, by `openat2(RESOLVE_IN_ROOT)`; what is made, is made below a descriptor.
#![forbid(unsafe_code)]

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Access, AtFlags, Mode, OFlags};
use rustix::mount::{MountAttrFlags, OpenTreeFlags, fsconfig_set_string, open_tree};

use super::action::{Action, Content, Put, mode_of_parents};
use super::apply::{Mounts, attach, clone_of, finish, inert, open_file_system, path_of};
use super::devices;
use super::resolve::{about, is_directory, make_below};
use super::trouble::{MountOperation, MountTrouble};
use crate::held::HeldDescriptors;
use crate::network::resolv_of_host;
use crate::sys::mount::{Attributes, forbid};
use crate::sys::{Errno, files};

impl Mounts {
    pub(super) fn act(
        &mut self,
        action: &Action,
        held: &HeldDescriptors,
    ) -> Result<(), MountTrouble> {
        match action {
            Action::Put(put) => self.put(put),
            Action::Proc { target, slot, sys } => self.put_proc(path_of(target), *slot, *sys),
            Action::Devices { target, made } => self.put_devices(path_of(target), *made),
            Action::Tmpfs { target, mode, size } => {
                let target = path_of(target);
                let mount = tmpfs(*mode, *size)
                    .map_err(|errno| about(errno, MountOperation::Tmpfs, target))?;
                let parents = mode_of_parents(*mode);
                self.mount_new(mount, target, parents, MountOperation::Tmpfs)
            }
            Action::MessageQueues { target } => {
                let target = path_of(target);
                let mount = open_file_system(c"mqueue")
                    .map_err(Errno::from)
                    .and_then(|file_system| finish(&file_system, inert()))
                    .map_err(|errno| self.place_or(errno, MountOperation::MessageQueues, target))?;
                self.mount_new(mount, target, 0o755, MountOperation::MessageQueues)
            }
            Action::ControlGroups { target, read_only } => {
                let target = path_of(target);
                let mut flags = inert();
                if *read_only {
                    flags |= MountAttrFlags::MOUNT_ATTR_RDONLY;
                }
                let mount = open_file_system(c"cgroup2")
                    .map_err(Errno::from)
                    .and_then(|file_system| finish(&file_system, flags))
                    .map_err(|errno| about(errno, MountOperation::ControlGroups, target))?;
                self.mount_new(mount, target, 0o755, MountOperation::ControlGroups)
            }
            Action::Directory { path, mode } => {
                let parents = mode_of_parents(*mode);
                self.make_directory(path_of(path), *mode, parents)
            }
            Action::File {
                path,
                mode,
                content,
            } => self.make_file(path_of(path), *mode, content, held),
            Action::Symlink { reads, path } => self.make_symlink(reads, path_of(path)),
            Action::Mode { path, mode } => {
                let path = path_of(path);
                let here = self.bases.find(path);
                here.and_then(|here| files::change_mode_of(here.as_fd(), *mode))
                    .map_err(|errno| about(errno, MountOperation::Mode(*mode), path))
            }
            Action::ReadOnly { path } => {
                let path = path_of(path);
                let here = self.bases.find(path);
                let attributes = Attributes::READ_ONLY | Attributes::NO_SUID;
                here.and_then(|here| self.forbid(here.as_fd(), attributes, false))
                    .map_err(|errno| about(errno, MountOperation::ReadOnly, path))
            }
        }
    }

    fn put(&mut self, put: &Put) -> Result<(), MountTrouble> {
        let Some(tree) = self.held(put.slot)? else {
            return Ok(());
        };
        let target = path_of(&put.target);
        self.mount_with(
            tree,
            Some(put.attributes()),
            target,
            put.parents,
            MountOperation::Bind,
        )
        .map_err(|mut trouble| {
            if let Some(about) = &mut trouble.about {
                about.source = Some(path_of(&put.source).as_os_str().to_owned());
            }
            trouble
        })
    }

    /// Attaches `mount` on `target`, which is made where it is missing.
    fn mount_new(
        &mut self,
        mount: OwnedFd,
        target: &Path,
        parents: u32,
        operation: MountOperation,
    ) -> Result<(), MountTrouble> {
        self.mount_with(mount, None, target, parents, operation)
    }

    /// Why there is no such file system; before that, why there is no directory for it.
    fn place_or(&self, errno: Errno, operation: MountOperation, target: &Path) -> MountTrouble {
        let place = self.bases.mount_point(target, 0o755, || Ok(true));
        match place.map(|here| is_directory(here.as_fd())) {
            Err(trouble) => trouble,
            Ok(Ok(false)) => about(Errno(libc::ENOTDIR), MountOperation::Directory, target),
            Ok(Ok(true) | Err(_)) => about(errno, operation, target),
        }
    }

    /// The same for a tree of mounts that are to forbid this much.
    fn mount_with(
        &mut self,
        mount: OwnedFd,
        attributes: Option<Attributes>,
        target: &Path,
        parents: u32,
        operation: MountOperation,
    ) -> Result<(), MountTrouble> {
        let here = self
            .bases
            .mount_point(target, parents, || is_directory(mount.as_fd()))?;
        let attached = match attributes {
            Some(attributes) => self.attach_forbidding(mount.as_fd(), here.as_fd(), attributes),
            None => attach(mount.as_fd(), here.as_fd()),
        };
        if let Err(errno) = attached {
            // What is there may be of the other kind.
            let kinds = (is_directory(mount.as_fd())?, is_directory(here.as_fd())?);
            return Err(match kinds {
                (true, false) => about(Errno::ENOTDIR, MountOperation::Directory, target),
                (false, true) => about(Errno(libc::EISDIR), MountOperation::File, target),
                (true, true) | (false, false) => about(errno, operation, target),
            });
        }
        self.bases.cover(target, mount);
        Ok(())
    }

    fn put_proc(
        &mut self,
        target: &Path,
        slot: Option<usize>,
        sys: bool,
    ) -> Result<(), MountTrouble> {
        let (mount, attributes) = match slot {
            Some(slot) => {
                let host = self.held(slot)?;
                let attributes = Attributes::NO_SUID | Attributes::NO_DEVICES;
                (host.ok_or(Errno(libc::EBADF)), Some(attributes))
            }
            None => {
                let new = open_file_system(c"proc");
                let new = new.map_err(Errno::from);
                (new.and_then(|new| finish(&new, inert())), None)
            }
        };
        let mount = mount.map_err(|errno| about(errno, MountOperation::Proc, target))?;
        let filled = mount.try_clone().map_err(|_| Errno(libc::EMFILE))?;
        self.mount_with(mount, attributes, target, 0o755, MountOperation::Proc)?;
        self.protect_proc(filled.as_fd(), sys)
            .map_err(|(errno, name)| about(errno, MountOperation::Bind, &target.join(name)))
    }

    /// What writes to the machine itself becomes read-only, where the box could write to it at all.
    /// What `access(2)` says of `sys` is about its directories, not about the files in them.
    fn protect_proc(&self, proc: BorrowedFd<'_>, sys: bool) -> Result<(), (Errno, &'static str)> {
        let read_only = Attributes::READ_ONLY | Attributes::NO_SUID | Attributes::NO_DEVICES;
        for (name, text) in [
            (c"sys", "sys"),
            (c"sysrq-trigger", "sysrq-trigger"),
            (c"irq", "irq"),
            (c"bus", "bus"),
        ] {
            match rustix::fs::accessat(proc, name, Access::WRITE_OK, AtFlags::empty()) {
                Ok(()) => {}
                Err(rustix::io::Errno::ACCESS) if sys && text == "sys" => {}
                Err(
                    rustix::io::Errno::ACCESS | rustix::io::Errno::NOENT | rustix::io::Errno::ROFS,
                ) => {
                    continue;
                }
                Err(errno) => return Err((errno.into(), text)),
            }
            self.cover_with_itself(proc, name, read_only)
                .map_err(|errno| (errno, text))?;
        }
        Ok(())
    }

    /// The directory or file of this name becomes a mount that forbids this much.
    fn cover_with_itself(
        &self,
        directory: BorrowedFd<'_>,
        name: &CStr,
        attributes: Attributes,
    ) -> Result<(), Errno> {
        if self.whole_trees {
            let flags = OpenTreeFlags::OPEN_TREE_CLONE
                | OpenTreeFlags::OPEN_TREE_CLOEXEC
                | OpenTreeFlags::AT_SYMLINK_NOFOLLOW
                | OpenTreeFlags::AT_RECURSIVE;
            let tree = open_tree(directory, name, flags)?;
            forbid(tree.as_fd(), attributes, true)?;
            return devices::put(&tree, directory, name);
        }
        let here = files::open_at(directory, name, libc::O_PATH | libc::O_NOFOLLOW)?;
        let tree = clone_of(here.as_fd(), true)?;
        self.attach_forbidding(tree.as_fd(), here.as_fd(), attributes)
    }

    fn put_devices(&mut self, target: &Path, made: bool) -> Result<(), MountTrouble> {
        let mount =
            devices::tmpfs(made).map_err(|errno| about(errno, MountOperation::Tmpfs, target))?;
        let filled = mount.try_clone().map_err(|_| Errno(libc::EMFILE))?;
        self.mount_new(mount, target, 0o755, MountOperation::Tmpfs)?;
        devices::fill_as_asked(filled.as_fd(), made, self.whole_trees).map_err(|(errno, name)| {
            let operation = if name == "pts" {
                MountOperation::Terminals
            } else {
                MountOperation::Device
            };
            about(errno, operation, &target.join(name))
        })
    }

    fn make_directory(&self, path: &Path, mode: u32, parents: u32) -> Result<(), MountTrouble> {
        let failed = |errno| about(errno, MountOperation::Directory, path);
        match self.bases.find(path) {
            Err(Errno::ENOENT) => {}
            Ok(found) if is_directory(found.as_fd())? => return Ok(()),
            Ok(_) => return Err(failed(Errno::ENOTDIR)),
            Err(errno) => return Err(about(errno, MountOperation::Parents, path)),
        }
        let (directory, name) = self.bases.parent(path, parents)?;
        match rustix::fs::mkdirat(&directory, name, Mode::from_raw_mode(mode)) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => Ok(()),
            Err(errno) => Err(failed(errno.into())),
        }
    }

    fn make_file(
        &self,
        path: &Path,
        mode: u32,
        content: &Content,
        held: &HeldDescriptors,
    ) -> Result<(), MountTrouble> {
        let (directory, name) = self.bases.parent(path, mode_of_parents(mode))?;
        // A link that leads nowhere is followed to where it leads, inside the root.
        let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::TRUNC | OFlags::NONBLOCK;
        let root = self.bases.root().ok_or(Errno(libc::EBADF))?;
        let there = path.strip_prefix("/").unwrap_or(path);
        let new = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        let file = match rustix::fs::openat(&directory, name, new, Mode::from_raw_mode(mode)) {
            Err(rustix::io::Errno::EXIST) => make_below(root, there, flags, mode),
            answer => answer.map_err(Errno::from),
        };
        let file = file.map_err(|errno| about(errno, MountOperation::File, path))?;
        content
            .write_to(file.as_fd(), held)
            .map_err(|errno| about(errno, MountOperation::Content, path))
    }

    fn make_symlink(&self, reads: &CStr, path: &Path) -> Result<(), MountTrouble> {
        let (directory, name) = self.bases.parent(path, 0o755)?;
        let errno = match rustix::fs::symlinkat(reads, &directory, name) {
            Ok(()) => return Ok(()),
            Err(errno) => errno,
        };
        if errno != rustix::io::Errno::EXIST {
            return Err(about(errno.into(), MountOperation::Symlink, path));
        }
        let there = match rustix::fs::readlinkat(&directory, name, Vec::new()) {
            Ok(there) if there.as_c_str() == reads => return Ok(()),
            Ok(there) => MountOperation::SymlinkReads(path_of(&there).as_os_str().to_owned()),
            Err(rustix::io::Errno::INVAL) => MountOperation::SymlinkOccupied,
            Err(errno) => return Err(about(errno.into(), MountOperation::Symlink, path)),
        };
        Err(about(Errno::EEXIST, there, path))
    }
}

impl Put {
    pub(super) fn attributes(&self) -> Attributes {
        let mut attributes = Attributes::NO_SUID;
        if !self.devices {
            attributes = attributes | Attributes::NO_DEVICES;
        }
        if self.read_only {
            attributes = attributes | Attributes::READ_ONLY;
        }
        attributes
    }
}

impl Content {
    pub(super) fn write_to(
        &self,
        file: BorrowedFd<'_>,
        held: &HeldDescriptors,
    ) -> Result<(), Errno> {
        let from = match self {
            Self::Bytes(bytes) => return files::write_to_end(file, bytes),
            Self::Held(number) => held.borrow(*number)?,
            Self::NameServers(servers) => {
                let text = resolv_of_host(servers.as_deref());
                return files::write_to_end(file, text.as_bytes());
            }
        };
        let mut bytes = vec![0; 1 << 16];
        loop {
            match rustix::io::read(from, &mut bytes[..]) {
                Ok(0) => return Ok(()),
                Ok(read) => files::write_to_end(file, bytes.get(..read).unwrap_or_default())?,
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

fn tmpfs(mode: u32, size: Option<u64>) -> Result<OwnedFd, Errno> {
    let file_system = open_file_system(c"tmpfs")?;
    fsconfig_set_string(file_system.as_fd(), c"mode", format!("{mode:04o}"))?;
    if let Some(size) = size {
        fsconfig_set_string(file_system.as_fd(), c"size", size.to_string())?;
    }
    let flags = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    finish(&file_system, flags)
}
