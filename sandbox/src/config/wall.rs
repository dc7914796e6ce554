//! The names of walls.
#![forbid(unsafe_code)]

use std::fmt;

use serde::{Deserialize, Serialize};

/// A wall by the name under which a config may relax it (`best_effort`) and status reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Wall {
    MountNamespace,
    PidNamespace,
    IpcNamespace,
    UtsNamespace,
    CgroupNamespace,
    UserNamespace,
    NetNamespace,
    TimeNamespace,
    /// `read_only_root` and `protect_system`.
    ReadOnlyRoot,
    PrivateTmp,
    PrivateDevices,
    ProtectHome,
    /// `protect_proc` and `proc_subset`.
    ProtectProc,
    ProtectKernelTunables,
    ProtectKernelModules,
    ProtectKernelLogs,
    ProtectControlGroups,
    /// `read_only_paths` and `inaccessible_paths`.
    Paths,
    Capabilities,
    SystemCalls,
    Landlock,
    Keyring,
    Limits,
}

impl Wall {
    /// Every wall with the name that units write.
    pub const NAMES: [(&'static str, Self); 23] = [
        ("mount_namespace", Self::MountNamespace),
        ("pid_namespace", Self::PidNamespace),
        ("ipc_namespace", Self::IpcNamespace),
        ("uts_namespace", Self::UtsNamespace),
        ("cgroup_namespace", Self::CgroupNamespace),
        ("user_namespace", Self::UserNamespace),
        ("net_namespace", Self::NetNamespace),
        ("time_namespace", Self::TimeNamespace),
        ("read_only_root", Self::ReadOnlyRoot),
        ("private_tmp", Self::PrivateTmp),
        ("private_devices", Self::PrivateDevices),
        ("protect_home", Self::ProtectHome),
        ("protect_proc", Self::ProtectProc),
        ("protect_kernel_tunables", Self::ProtectKernelTunables),
        ("protect_kernel_modules", Self::ProtectKernelModules),
        ("protect_kernel_logs", Self::ProtectKernelLogs),
        ("protect_control_groups", Self::ProtectControlGroups),
        ("paths", Self::Paths),
        ("capabilities", Self::Capabilities),
        ("system_calls", Self::SystemCalls),
        ("landlock", Self::Landlock),
        ("keyring", Self::Keyring),
        ("limits", Self::Limits),
    ];

    /// What a machine without user namespaces cannot build for anybody but root: the namespaces, and
    /// all that is made of mounts. Units write `namespaces` for the whole of it.
    pub const OF_NAMESPACES: [Self; 18] = [
        Self::MountNamespace,
        Self::PidNamespace,
        Self::IpcNamespace,
        Self::UtsNamespace,
        Self::CgroupNamespace,
        Self::UserNamespace,
        Self::NetNamespace,
        Self::TimeNamespace,
        Self::ReadOnlyRoot,
        Self::PrivateTmp,
        Self::PrivateDevices,
        Self::ProtectHome,
        Self::ProtectProc,
        Self::ProtectKernelTunables,
        Self::ProtectKernelModules,
        Self::ProtectKernelLogs,
        Self::ProtectControlGroups,
        Self::Paths,
    ];

    pub fn name(self) -> &'static str {
        let mut names = Self::NAMES.iter();
        names
            .find(|(_, wall)| *wall == self)
            .map_or("", |(name, _)| name)
    }
}

impl fmt::Display for Wall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_wall_has_one_name() {
        for (name, wall) in Wall::NAMES {
            assert_eq!((wall.name(), wall.to_string()), (name, name.to_owned()));
        }
        assert_eq!(Wall::Limits as usize + 1, Wall::NAMES.len());
    }
}
