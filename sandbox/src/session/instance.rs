//! A name for one launch that no other has.
#![forbid(unsafe_code)]

use std::fmt;
use std::io;

use rustix::rand::{GetRandomFlags, getrandom};

/// 128 random bits, written as 32 hexadecimal digits: part of every name that a session gives to
/// something of the host, so that two sessions never share one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct InstanceId(u128);

impl InstanceId {
    /// # Errors
    /// When the kernel has no random numbers yet (`getrandom(2)`).
    pub fn random() -> io::Result<Self> {
        let mut bytes = [0u8; 16];
        let mut filled = 0;
        while filled < bytes.len() {
            match getrandom(&mut bytes[filled..], GetRandomFlags::empty()) {
                Ok(count) => filled += count,
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(Self(u128::from_ne_bytes(bytes)))
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_instances_have_the_same_name() {
        let names: std::collections::BTreeSet<String> = (0..1000)
            .map(|_| InstanceId::random().unwrap().to_string())
            .collect();
        assert_eq!(names.len(), 1000);
        assert!(names.iter().all(|name| name.len() == 32));
    }
}
