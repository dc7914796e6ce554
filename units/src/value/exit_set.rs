//! Exit codes and signals as `success_exit_status` lists them.
#![forbid(unsafe_code)]

use crate::signal::Signal;
use crate::unit::ExitSet;

/// The names of systemd.exec(5), *Process exit codes* (C library, LSB and sysexits).
const NAMES: [(&str, u8); 23] = [
    ("SUCCESS", 0),
    ("FAILURE", 1),
    ("INVALIDARGUMENT", 2),
    ("NOTIMPLEMENTED", 3),
    ("NOPERMISSION", 4),
    ("NOTINSTALLED", 5),
    ("NOTCONFIGURED", 6),
    ("NOTRUNNING", 7),
    ("USAGE", 64),
    ("DATAERR", 65),
    ("NOINPUT", 66),
    ("NOUSER", 67),
    ("NOHOST", 68),
    ("UNAVAILABLE", 69),
    ("SOFTWARE", 70),
    ("OSERR", 71),
    ("OSFILE", 72),
    ("CANTCREAT", 73),
    ("IOERR", 74),
    ("TEMPFAIL", 75),
    ("PROTOCOL", 76),
    ("NOPERM", 77),
    ("CONFIG", 78),
];

impl ExitSet {
    /// Takes in one entry: a code's name or number, or a signal's name. Says whether it was one.
    pub fn add(&mut self, text: &str) -> bool {
        if let Ok(code) = text.parse::<u8>() {
            self.add_code(code);
        } else if let Some((_, code)) = NAMES.iter().find(|(name, _)| *name == text) {
            self.add_code(*code);
        } else if let Some(signal) = Signal::from_name(text) {
            if !self.signals.contains(&signal) {
                self.signals.push(signal);
            }
        } else {
            return false;
        }
        true
    }

    pub fn add_code(&mut self, code: u8) {
        if !self.codes.contains(&code) {
            self.codes.push(code);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn codes_names_and_signals_mix() {
        let mut set = ExitSet::default();
        for entry in ["1", "TEMPFAIL", "SIGTERM", "75", "KILL"] {
            assert!(set.add(entry), "{entry}");
        }
        assert_eq!(set.codes, [1, 75]);
        assert_eq!(set.signals, [Signal::TERM, Signal::KILL]);
        for entry in ["256", "-1", "NOPE", ""] {
            assert!(!set.add(entry), "{entry}");
        }
    }

    proptest! {
        #[test]
        fn every_code_and_signal_is_an_entry(code in any::<u8>(), number in 1..=31) {
            let mut set = ExitSet::default();
            prop_assert!(set.add(&code.to_string()));
            let signal = Signal::from_number(number).unwrap();
            prop_assert!(set.add(&signal.to_string()));
            prop_assert_eq!((set.codes, set.signals), (vec![code], vec![signal]));
        }

        #[test]
        fn no_text_makes_it_panic(text in ".*") {
            ExitSet::default().add(&text);
        }
    }
}
