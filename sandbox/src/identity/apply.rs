//! Making a user namespace and writing its maps.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use super::join::CLONE_NEWTIME;
use super::maps::{Alone, Maps, text};
use crate::config::IdRange;
use crate::sys::{Errno, files, process};

/// Why maps were not written.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) errno: Errno,
    /// What a program said about it.
    pub(crate) detail: Option<String>,
}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Self {
        Self {
            errno: Errno(error.raw_os_error().unwrap_or(libc::EIO)),
            detail: None,
        }
    }
}

/// Moves this process into a new user namespace.
pub(crate) fn unshare() -> Result<(), Errno> {
    process::unshare(u64::from(libc::CLONE_NEWUSER.unsigned_abs()))
}

/// The host's `/proc`, for what is to be written when it is out of sight.
pub(crate) fn host_proc() -> Result<OwnedFd, io::Error> {
    Ok(files::open(c"/proc", libc::O_PATH | libc::O_DIRECTORY)?)
}

/// Makes ourselves the only one in the user namespace that we have just entered.
pub(crate) fn map_alone(map: &Alone) -> Result<(), io::Error> {
    map_alone_by(host_proc()?.as_fd(), map)
}

/// The same by a `/proc` that has been lost with the host's tree.
pub(crate) fn map_alone_by(proc: BorrowedFd<'_>, map: &Alone) -> Result<(), io::Error> {
    let write = |name: &CStr, text: &str| {
        let file = files::open_proc_at(proc, name, libc::O_WRONLY)?;
        files::write_all(file.as_fd(), text.as_bytes())
    };
    // Before gid_map: else a group that a file denies something to could be left.
    write(c"self/setgroups", "deny")?;
    let Alone {
        uid,
        gid,
        outside_uid,
        outside_gid,
    } = map;
    write(c"self/uid_map", &format!("{uid} {outside_uid} 1"))?;
    Ok(write(c"self/gid_map", &format!("{gid} {outside_gid} 1"))?)
}

/// A time namespace for the children of this process.
pub(crate) fn make_time_namespace(monotonic: i64, boottime: i64) -> Result<(), io::Error> {
    process::unshare(u64::from(CLONE_NEWTIME.unsigned_abs()))?;
    if (monotonic, boottime) == (0, 0) {
        return Ok(());
    }
    let offsets = format!("monotonic {monotonic} 0\nboottime {boottime} 0\n");
    // The files of a process that is not dumpable belong to root.
    let dumpable = process::is_dumpable()?;
    process::set_dumpable(true)?;
    files::write_proc(c"/proc/self/timens_offsets", &offsets)?;
    Ok(process::set_dumpable(dumpable)?)
}

/// How many user namespaces may be made below ours.
pub(crate) fn limit_further(most: u8) -> Result<(), io::Error> {
    let path = c"/proc/sys/user/max_user_namespaces";
    Ok(files::write_proc(path, &most.to_string())?)
}

/// Claims that no further user namespace can be made. If one can, this process is in it.
pub(crate) fn is_further_refused() -> bool {
    unshare().is_err()
}

/// Writes the maps of the child `pid`, which is in a new namespace directly below ours.
pub(crate) fn write_from_outside(pid: i32, maps: &Maps) -> Result<(), Refused> {
    if maps.directly {
        // Groups may be set inside: the map is root's, who could leave any group anyway.
        for (name, ranges) in [("uid_map", &maps.uids), ("gid_map", &maps.gids)] {
            let path = CString::new(format!("/proc/{pid}/{name}")).map_err(io::Error::from)?;
            files::write_proc(&path, &text(ranges)).map_err(io::Error::from)?;
        }
        return Ok(());
    }
    // Setuid programs: nothing of the service's goes into them.
    crate::sys::descriptors::close_on_exec_from(3).map_err(io::Error::from)?;
    run("newuidmap", pid, &maps.uids)?;
    run("newgidmap", pid, &maps.gids)
}

/// Where Debian and others have the programs; `PATH` is not asked about setuid programs.
const PLACES: [&str; 3] = ["/usr/bin", "/usr/sbin", "/run/wrappers/bin"];

#[expect(
    clippy::disallowed_methods,
    reason = "only a setuid program may write these maps: newuidmap(1)"
)]
fn run(name: &str, pid: i32, ranges: &[IdRange]) -> Result<(), Refused> {
    let program = PLACES
        .iter()
        .map(|place| Path::new(place).join(name))
        .find(|path| path.exists())
        .ok_or_else(|| Refused {
            errno: Errno::ENOENT,
            detail: Some(format!("{name} is not installed (Debian: uidmap)")),
        })?;
    let numbers = ranges
        .iter()
        .flat_map(|range| [range.inside, range.outside, range.count])
        .map(|number| number.to_string());
    let output = std::process::Command::new(program)
        .arg(pid.to_string())
        .args(numbers)
        .env_clear()
        .current_dir("/")
        .stdin(std::process::Stdio::null())
        .output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Refused {
        errno: Errno(libc::EPERM),
        detail: Some(said.trim().to_owned()),
    })
}
