//! Removing System V objects by number (`shmctl(2)`, `semctl(2)`, `msgctl(2)` with `IPC_RMID`).
#![allow(unsafe_code, reason = "system calls that take numbers and no pointer")]

use super::{Errno, done};

pub(crate) fn remove_shared_memory(id: i32) -> Result<(), Errno> {
    // SAFETY: with IPC_RMID the pointer is not looked at.
    done(unsafe { libc::syscall(libc::SYS_shmctl, id, libc::IPC_RMID, 0) })
}

pub(crate) fn remove_semaphores(id: i32) -> Result<(), Errno> {
    // SAFETY: with IPC_RMID neither the number of the semaphore nor the fourth argument is looked at.
    done(unsafe { libc::syscall(libc::SYS_semctl, id, 0, libc::IPC_RMID, 0) })
}

pub(crate) fn remove_messages(id: i32) -> Result<(), Errno> {
    // SAFETY: with IPC_RMID the pointer is not looked at.
    done(unsafe { libc::syscall(libc::SYS_msgctl, id, libc::IPC_RMID, 0) })
}
