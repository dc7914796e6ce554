//! The environment of the command, changed in the order of the options.
#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

/// Variables in the order in which the command sees them.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Environment(Vec<(OsString, OsString)>);

impl Environment {
    pub fn new(variables: Vec<(OsString, OsString)>) -> Self {
        Self(variables)
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// As `setenv(3)`: what is there keeps its place. `false` for a name that is none.
    pub fn set(&mut self, name: &OsStr, value: &OsStr) -> bool {
        if !is_name(name) {
            return false;
        }
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => *known = value.to_owned(),
            None => self.0.push((name.to_owned(), value.to_owned())),
        }
        true
    }

    /// As `unsetenv(3)`. `false` for a name that is none.
    pub fn unset(&mut self, name: &OsStr) -> bool {
        if !is_name(name) {
            return false;
        }
        self.0.retain(|(known, _)| known != name);
        true
    }

    pub fn of(&self, name: &str) -> Option<&OsStr> {
        let found = self.0.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_os_str())
    }

    pub fn into_variables(self) -> Vec<(OsString, OsString)> {
        self.0
    }
}

fn is_name(name: &OsStr) -> bool {
    !name.is_empty() && !name.as_bytes().contains(&b'=')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(environment: &mut Environment, name: &str, value: &str) -> bool {
        environment.set(OsStr::new(name), OsStr::new(value))
    }

    #[test]
    fn a_variable_that_is_set_again_keeps_its_place() {
        let mut environment = Environment::default();
        assert!(set(&mut environment, "A", "1"));
        assert!(set(&mut environment, "B", "2"));
        assert!(set(&mut environment, "A", "3"));
        let pair = |name: &str, value: &str| (name.into(), value.into());
        assert_eq!(
            environment.clone().into_variables(),
            [pair("A", "3"), pair("B", "2")]
        );
        assert!(environment.unset(OsStr::new("A")));
        assert_eq!(environment.of("A"), None);
        assert_eq!(environment.of("B"), Some(OsStr::new("2")));
    }

    #[test]
    fn names_that_are_none_are_refused() {
        let mut environment = Environment::default();
        assert!(!set(&mut environment, "", "1"));
        assert!(!set(&mut environment, "A=B", "1"));
        assert!(!environment.unset(OsStr::new("")));
        assert!(!environment.unset(OsStr::new("A=B")));
    }
}
