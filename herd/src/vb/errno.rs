//! The C library's words for error numbers, as bubblewrap prints them.
#![forbid(unsafe_code)]

use std::io;

/// As `strerror(3)`.
pub fn text(errno: i32) -> String {
    let text = io::Error::from_raw_os_error(errno).to_string();
    match text.rsplit_once(" (os error ") {
        Some((text, _)) => text.to_owned(),
        None => text,
    }
}

/// The same for a refused mount, where "No space left on device" would mislead.
pub fn mount_text(errno: i32) -> String {
    if errno == libc::ENOSPC {
        "Limit exceeded (ENOSPC). (Hint: Check that /proc/sys/fs/mount-max is sufficient, \
         typically 100000)"
            .to_owned()
    } else {
        text(errno)
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn words_are_those_of_the_c_library() {
        assert_eq!(super::text(libc::ENOENT), "No such file or directory");
        assert_eq!(super::text(libc::EBUSY), "Device or resource busy");
        assert!(super::mount_text(libc::ENOSPC).starts_with("Limit exceeded (ENOSPC)."));
    }
}
