//! Letting go of what lies between file systems and disks, at the end of a machine: swap, loop devices,
//! arrays, mappings.
#![allow(unsafe_code, reason = "swapoff and ioctls that nobody wraps")]

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::done;

/// `LOOP_CLR_FD` of `linux/loop.h`.
const LOOP_CLR_FD: libc::c_ulong = 0x4C01;
/// `STOP_ARRAY` of `linux/raid/md_u.h`: `_IO(9, 0x32)`.
const STOP_ARRAY: libc::c_ulong = 0x0932;
/// `DM_DEV_REMOVE` of `linux/dm-ioctl.h`: `_IOWR(0xfd, 4, struct dm_ioctl)`.
const DM_DEV_REMOVE: libc::c_ulong =
    (3 << 30) | ((size_of::<Mapping>() as libc::c_ulong) << 16) | (0xfd << 8) | 4;

/// `struct dm_ioctl`.
#[repr(C)]
struct Mapping {
    version: [u32; 3],
    data_size: u32,
    data_start: u32,
    target_count: u32,
    open_count: i32,
    flags: u32,
    event_nr: u32,
    padding: u32,
    dev: u64,
    name: [u8; 128],
    uuid: [u8; 129],
    data: [u8; 7],
}

const _: () = assert!(size_of::<Mapping>() == 312);

/// Takes what was swapped out to the file or device back into memory, and lets it go.
///
/// # Errors
/// As `swapoff(2)`: `ENOMEM` when memory does not hold it, `EPERM` without CAP_SYS_ADMIN.
pub fn swap_off(path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: the path is a live string that ends with NUL; the kernel reads it and keeps nothing.
    let answer = unsafe { libc::swapoff(path.as_ptr()) };
    if answer == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Takes the file away from a loop device; when the last one who uses it lets go of it, if it is used.
///
/// # Errors
/// `ENXIO` without a file, and what the ioctl says (loop(4)).
pub fn detach_loop(device: impl AsFd) -> io::Result<()> {
    let device = device.as_fd().as_raw_fd();
    // SAFETY: the descriptor is open for as long as the call lasts, and this ioctl reads no argument.
    let answer = unsafe { libc::syscall(libc::SYS_ioctl, device, LOOP_CLR_FD, 0) };
    done(answer).map_err(Into::into)
}

/// Stops an array of md(4).
///
/// # Errors
/// `EBUSY` while it is used, and what the ioctl says.
pub fn stop_array(device: impl AsFd) -> io::Result<()> {
    let device = device.as_fd().as_raw_fd();
    // SAFETY: the descriptor is open for as long as the call lasts, and this ioctl reads no argument.
    let answer = unsafe { libc::syscall(libc::SYS_ioctl, device, STOP_ARRAY, 0) };
    done(answer).map_err(Into::into)
}

/// Takes away a mapping of the device mapper, by its name. `control` is `/dev/mapper/control`.
///
/// # Errors
/// `EBUSY` while it is used, `ENXIO` when there is none, `EINVAL` for a name of more than 127 bytes.
pub fn remove_mapping(control: impl AsFd, name: &str) -> io::Result<()> {
    let mut mapping = Mapping {
        // The oldest interface of version 4 suffices.
        version: [4, 0, 0],
        data_size: u32::try_from(size_of::<Mapping>()).unwrap_or(0),
        data_start: 0,
        target_count: 0,
        open_count: 0,
        flags: 0,
        event_nr: 0,
        padding: 0,
        dev: 0,
        name: [0; 128],
        uuid: [0; 129],
        data: [0; 7],
    };
    let room = mapping.name.len() - 1;
    if name.is_empty() || name.len() > room {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (to, from) in mapping.name.iter_mut().zip(name.bytes()) {
        *to = from;
    }
    let control = control.as_fd().as_raw_fd();
    // SAFETY: the struct is live, has the kernel's layout and size (asserted above), its name ends with NUL,
    // and `data_size` says that nothing beyond it may be read or written.
    let answer =
        unsafe { libc::syscall(libc::SYS_ioctl, control, DM_DEV_REMOVE, &raw mut mapping) };
    done(answer).map_err(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_such_device_is_refused_by_the_kernel_and_not_taken_for_done() {
        let null = std::fs::File::open("/dev/null").unwrap();
        assert!(detach_loop(&null).is_err());
        assert!(stop_array(&null).is_err());
        assert!(remove_mapping(&null, "root").is_err());
        assert!(swap_off(Path::new("/nonexistent/swap")).is_err());
    }

    #[test]
    fn a_name_that_the_kernel_has_no_room_for_is_not_cut() {
        let null = std::fs::File::open("/dev/null").unwrap();
        for name in [String::new(), "x".repeat(128)] {
            let error = remove_mapping(&null, &name).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        }
    }
}
