//! `execve(2)` on arrays laid out beforehand.
#![allow(
    unsafe_code,
    reason = "arrays of pointers into strings that the same value owns"
)]

use std::ffi::{CStr, CString, c_char};
use std::os::fd::RawFd;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU8, Ordering};

use super::{Errno, check};

/// Room for `=`, ten digits and the closing NUL.
const PID_ROOM: usize = 12;

/// A null-terminated array of strings, and the strings.
#[derive(Debug)]
pub(crate) struct StringArray {
    // Kept because `pointers` points into them.
    _strings: Vec<CString>,
    _pid_variables: Vec<Box<[AtomicU8]>>,
    pointers: Vec<AtomicPtr<c_char>>,
    /// What [`Self::choose`] puts in this place.
    choice: (usize, Vec<CString>),
    /// Where the digits of the pid go: `(variable, offset)`.
    pid_offsets: Vec<usize>,
}

impl StringArray {
    pub(crate) fn new(strings: Vec<CString>) -> Self {
        Self::with_pid_variables(strings, &[])
    }

    /// `pid_variables` are names of environment variables whose value [`Self::write_pid`] fills in.
    pub(crate) fn with_pid_variables(strings: Vec<CString>, pid_variables: &[CString]) -> Self {
        let buffers: Vec<Box<[AtomicU8]>> = pid_variables
            .iter()
            .map(|name| {
                let name = name.as_bytes();
                name.iter()
                    .copied()
                    .chain([b'='])
                    .chain(std::iter::repeat_n(0, PID_ROOM))
                    .map(AtomicU8::new)
                    .collect()
            })
            .collect();
        let pointers = strings
            .iter()
            .map(|string| string.as_ptr())
            .chain(buffers.iter().map(|buffer| buffer.as_ptr().cast()))
            .chain([ptr::null()])
            .map(|pointer| AtomicPtr::new(pointer.cast_mut()))
            .collect();
        Self {
            pointers,
            choice: (0, Vec::new()),
            pid_offsets: pid_variables
                .iter()
                .map(|name| name.as_bytes().len() + 1)
                .collect(),
            _strings: strings,
            _pid_variables: buffers,
        }
    }

    /// The same with strings of which [`Self::choose`] puts one in the place of that with this index.
    pub(crate) fn with_choice(mut self, index: usize, strings: Vec<CString>) -> Self {
        debug_assert!(index < self._strings.len(), "there is a string to replace");
        self.choice = (index, strings);
        self
    }

    /// Puts one of the choices, if there are any, in its place. Allocates nothing.
    pub(crate) fn choose(&self, number: usize) {
        let (index, strings) = &self.choice;
        if let (Some(place), Some(string)) = (self.pointers.get(*index), strings.get(number)) {
            place.store(string.as_ptr().cast_mut(), Ordering::Relaxed);
        }
    }

    /// Sets the pid variables. Allocates nothing.
    pub(crate) fn write_pid(&self, pid: i32) {
        for (buffer, offset) in self._pid_variables.iter().zip(&self.pid_offsets) {
            let mut digits = [0u8; PID_ROOM];
            let mut rest = pid.unsigned_abs();
            let mut count = 0;
            loop {
                digits[count] = b"0123456789"[(rest % 10) as usize];
                count += 1;
                rest /= 10;
                if rest == 0 {
                    break;
                }
            }
            for (place, digit) in buffer
                .iter()
                .skip(*offset)
                .zip(digits[..count].iter().rev())
            {
                place.store(*digit, Ordering::Relaxed);
            }
        }
    }
}

/// Becomes the program at `path`; comes back only with the reason why not.
pub(crate) fn execve(path: &CStr, arguments: &StringArray, environment: &StringArray) -> Errno {
    // SAFETY: `path` is NUL-terminated; both arrays are null-terminated and point at
    // NUL-terminated strings that their values keep alive.
    let answer = check(unsafe {
        libc::syscall(
            libc::SYS_execve,
            path.as_ptr(),
            arguments.pointers.as_ptr(),
            environment.pointers.as_ptr(),
        )
    });
    answer.err().unwrap_or(Errno(libc::EIO))
}

/// Becomes the program behind `image`; comes back only with the reason why not.
pub(crate) fn execveat(image: RawFd, arguments: &StringArray, environment: &StringArray) -> Errno {
    // SAFETY: the empty path is a constant; arrays as in `execve`; a plain number.
    let answer = check(unsafe {
        libc::syscall(
            libc::SYS_execveat,
            image,
            c"".as_ptr(),
            arguments.pointers.as_ptr(),
            environment.pointers.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    });
    answer.err().unwrap_or(Errno(libc::EIO))
}
