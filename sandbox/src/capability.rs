//! Capabilities by number (`capabilities(7)`), as many as are asked about here. The names of all of them are
//! [`CAPABILITIES`](crate::config::CAPABILITIES).
#![forbid(unsafe_code)]

pub const CAP_KILL: u8 = 5;
pub const CAP_SETGID: u8 = 6;
pub const CAP_SETUID: u8 = 7;
pub const CAP_SETPCAP: u8 = 8;
pub const CAP_NET_ADMIN: u8 = 12;
pub const CAP_SYS_PTRACE: u8 = 19;
pub const CAP_SYS_ADMIN: u8 = 21;
pub const CAP_SYS_RESOURCE: u8 = 24;
pub const CAP_MKNOD: u8 = 27;
pub const CAP_SETFCAP: u8 = 31;
/// The highest of Linux 6.18.
pub const CAP_CHECKPOINT_RESTORE: u8 = 40;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::CAPABILITIES;

    #[test]
    fn every_number_is_that_of_its_name() {
        let known = [
            (CAP_KILL, "kill"),
            (CAP_SETGID, "setgid"),
            (CAP_SETUID, "setuid"),
            (CAP_SETPCAP, "setpcap"),
            (CAP_NET_ADMIN, "net_admin"),
            (CAP_SYS_PTRACE, "sys_ptrace"),
            (CAP_SYS_ADMIN, "sys_admin"),
            (CAP_SYS_RESOURCE, "sys_resource"),
            (CAP_MKNOD, "mknod"),
            (CAP_SETFCAP, "setfcap"),
            (CAP_CHECKPOINT_RESTORE, "checkpoint_restore"),
        ];
        for (number, name) in known {
            assert_eq!(CAPABILITIES[usize::from(number)], name);
        }
        assert_eq!(usize::from(CAP_CHECKPOINT_RESTORE) + 1, CAPABILITIES.len());
    }
}
