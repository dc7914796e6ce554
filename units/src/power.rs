//! How a machine may end, and how fast: words that unit files, the control socket and the command line share.

use std::fmt;

/// What a machine does after everything has stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Power {
    #[default]
    PowerOff,
    Reboot,
    /// Everything stands still; the power stays on.
    Halt,
    /// Into the kernel that `kexec_load(2)` put there.
    Kexec,
    /// The kernel and the file systems stay; user space begins anew.
    SoftReboot,
}

impl Power {
    pub const ALL: [Self; 5] = [
        Self::PowerOff,
        Self::Reboot,
        Self::Halt,
        Self::Kexec,
        Self::SoftReboot,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::PowerOff => "poweroff",
            Self::Reboot => "reboot",
            Self::Halt => "halt",
            Self::Kexec => "kexec",
            Self::SoftReboot => "soft-reboot",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|power| power.as_str() == name)
    }
}

/// What is being done: `powering off`.
impl fmt::Display for Power {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PowerOff => "powering off",
            Self::Reboot => "rebooting",
            Self::Halt => "halting",
            Self::Kexec => "rebooting into the next kernel",
            Self::SoftReboot => "starting user space anew",
        })
    }
}

/// What is left out on the way to the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Haste {
    /// Every unit is stopped in its turn.
    InOrder,
    /// Units are not stopped: all processes are ended, file systems let go.
    AtOnce,
    /// `reboot(2)` and nothing else. What was not written is lost.
    Immediate,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_end_is_known_by_its_name() {
        for power in Power::ALL {
            assert_eq!(Power::from_name(power.as_str()), Some(power));
        }
        assert_eq!(Power::from_name("power-off"), None);
    }
}
