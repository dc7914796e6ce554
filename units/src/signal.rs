//! Signals by name.
#![forbid(unsafe_code)]

use std::fmt;

/// A signal of this machine, 1 to 64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Signal(u8);

/// Numbers of x86-64, aarch64 and riscv64 (`signal(7)`), which agree.
const NAMES: [(&str, u8); 31] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("PWR", 30),
    ("SYS", 31),
];

impl Signal {
    pub const HUP: Self = Self(1);
    pub const INT: Self = Self(2);
    pub const ABRT: Self = Self(6);
    pub const KILL: Self = Self(9);
    pub const TERM: Self = Self(15);
    pub const PIPE: Self = Self(13);
    pub const CONT: Self = Self(18);

    /// `TERM`, `SIGTERM`, `term`, `15`, `RTMIN+3`.
    pub fn from_name(text: &str) -> Option<Self> {
        if let Ok(number) = text.parse::<u8>() {
            return Self::from_number(i32::from(number));
        }
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        if let Some(offset) = name.strip_prefix("RTMIN") {
            let offset = if offset.is_empty() {
                0
            } else {
                offset.strip_prefix('+')?.parse::<u8>().ok()?
            };
            return (offset <= 30).then_some(Self(34 + offset));
        }
        NAMES
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, number)| Self(*number))
    }

    /// The name that is written most like the text, without `SIG`.
    pub(crate) fn nearest(text: &str) -> Option<&'static str> {
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        crate::keys::nearest(name, NAMES.iter().map(|(known, _)| *known))
    }

    pub fn from_number(number: i32) -> Option<Self> {
        u8::try_from(number)
            .ok()
            .filter(|n| (1..=64).contains(n))
            .map(Self)
    }

    pub fn as_number(self) -> i32 {
        i32::from(self.0)
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.iter().find(|(_, number)| *number == self.0) {
            Some((name, _)) => write!(f, "SIG{name}"),
            None if self.0 >= 34 => write!(f, "SIGRTMIN+{}", self.0 - 34),
            None => write!(f, "signal {}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn signals_are_known_by_name_and_number() {
        for text in ["TERM", "SIGTERM", "term", "15"] {
            assert_eq!(Signal::from_name(text), Some(Signal::TERM));
        }
        let real_time = Signal::from_name("RTMIN+3").unwrap();
        assert_eq!(
            (real_time.as_number(), real_time.to_string().as_str()),
            (37, "SIGRTMIN+3")
        );
        for text in ["0", "65", "SIG", "RTMIN+31", "RTMIN-1", "", "SIGSIGTERM"] {
            assert_eq!(Signal::from_name(text), None, "{text}");
        }
        assert_eq!(Signal::nearest("SIGTREM"), Some("TERM"));
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back(number in (1..=64i32).prop_filter("kept by libc", |n| !(32..34).contains(n))) {
            let signal = Signal::from_number(number).unwrap();
            prop_assert_eq!(Signal::from_name(&signal.to_string()), Some(signal));
        }

        #[test]
        fn no_text_makes_it_panic(text in ".*") {
            Signal::from_name(&text);
            Signal::nearest(&text);
        }
    }
}
