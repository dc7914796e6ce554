//! Whether a unit can come up, as far as files say: a goal that cannot is worth another way.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;

use super::Loaded;
use crate::name::UnitName;

/// Why a goal cannot come up, as far as the files say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Obstacle {
    /// There is no such unit, or it is masked.
    Missing(UnitName),
    /// Its files are in error.
    Broken(UnitName),
}

impl Loaded {
    /// The first of the goal and what it requires that is not there or in error.
    pub fn obstacle(&self, goal: &UnitName) -> Option<Obstacle> {
        let mut seen = BTreeSet::new();
        let mut waiting = vec![goal];
        while let Some(name) = waiting.pop() {
            if !seen.insert(name) {
                continue;
            }
            if self.broken.contains_key(name) {
                return Some(Obstacle::Broken(name.clone()));
            }
            let name = self.aliases.get(name).unwrap_or(name);
            let Some(unit) = self.units.get(name) else {
                return Some(Obstacle::Missing(name.clone()));
            };
            let ties = &unit.dependencies;
            waiting.extend(
                ties.requires
                    .iter()
                    .chain(&ties.binds_to)
                    .chain(&ties.requisite),
            );
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::load::{Boot, SearchPath, host_facts, load};

    fn found(files: &[(&str, &str)], masked: &[&str]) -> Option<Obstacle> {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(directory.path().join(format!("{name}.toml")), text).unwrap();
        }
        let goal = UnitName::new("default").unwrap();
        let search = SearchPath {
            enabled: None,
            available: None,
            vendor: None,
            boot: Some(Boot {
                directory: directory.path().to_owned(),
                goal: goal.clone(),
                alone: true,
                masked: masked
                    .iter()
                    .map(|name| UnitName::new(name).unwrap())
                    .collect(),
            }),
            ..SearchPath::system()
        };
        load(&search, &host_facts()).obstacle(&goal)
    }

    #[test]
    fn a_goal_needs_all_that_it_requires_and_nothing_that_it_wants() {
        let default = (
            "default",
            "kind = 'target'\nrequires = ['basic']\nwants = ['web', 'nowhere']\n",
        );
        let basic = ("basic", "kind = 'target'\n");
        let web = ("web", "comand = 'x'\n");
        let name = |name: &str| UnitName::new(name).unwrap();
        assert_eq!(found(&[default, basic, web], &[]), None);
        assert_eq!(found(&[], &[]), Some(Obstacle::Missing(name("default"))));
        assert_eq!(
            found(&[default, basic], &["default"]),
            Some(Obstacle::Missing(name("default")))
        );
        assert_eq!(
            found(&[default, ("basic", "kind = 'target'\nkinds = 1\n")], &[]),
            Some(Obstacle::Broken(name("basic")))
        );
        // Who requires what is not there is in error itself.
        assert_eq!(
            found(&[default], &[]),
            Some(Obstacle::Broken(name("default")))
        );
    }
}
