//! What the type of a file system says about it.
#![forbid(unsafe_code)]

/// File systems of other machines.
const OF_NETWORK: [&str; 19] = [
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "smbfs",
    "ncpfs",
    "ncp",
    "9p",
    "afs",
    "ceph",
    "glusterfs",
    "gfs",
    "gfs2",
    "ocfs2",
    "lustre",
    "davfs",
    "sshfs",
    "pvfs2",
    "orangefs",
];
/// Without a check before they are mounted: their own business, or nothing lies below.
const UNCHECKED: [&str; 4] = ["btrfs", "xfs", "tmpfs", "overlay"];

/// Another machine may have to answer before it does.
pub(in crate::pid1) fn is_of_network(kind: &str) -> bool {
    let kind = kind.strip_prefix("fuse.").unwrap_or(kind);
    OF_NETWORK.contains(&kind)
}

pub(super) fn has_check(kind: &str) -> bool {
    !UNCHECKED.contains(&kind)
}

/// A program of the unit that mounted it answers for it, and ends with the unit.
pub(super) fn has_program(kind: &str) -> bool {
    const NAMES: [&str; 4] = ["ntfs", "ntfs-3g", "lowntfs-3g", "exfat-fuse"];
    kind.starts_with("fuse") || NAMES.contains(&kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_one_whoever_mounts_it() {
        for kind in ["nfs", "nfs4", "sshfs", "fuse.sshfs", "9p"] {
            assert!(is_of_network(kind), "{kind}");
        }
        for kind in ["ext4", "fuse.encfs", "fuse", "tmpfs"] {
            assert!(!is_of_network(kind), "{kind}");
        }
    }

    #[test]
    fn what_a_program_answers_for_is_known() {
        assert!(has_program("fuse.encfs") && has_program("ntfs-3g"));
        assert!(!has_program("ntfs3") && !has_program("ext4"));
    }
}
