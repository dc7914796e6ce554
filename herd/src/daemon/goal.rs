//! Whether the goal of a boot can be had, and what is done when not: a machine without it would have neither a
//! login nor a shell, and nobody could say why.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;

use units::UnitName;
use units::load::{self, Loaded};

use super::Daemon;

/// Where a boot goes whose goal cannot be had.
const EMERGENCY: &str = "emergency";

/// Why a goal cannot come up, as far as the files say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Obstacle {
    Missing(UnitName),
    Broken(UnitName),
}

/// The first of the goal and what it requires that is not there or in error.
pub(crate) fn obstacle(loaded: &Loaded, goal: &UnitName) -> Option<Obstacle> {
    let mut seen = BTreeSet::new();
    let mut waiting = vec![goal];
    while let Some(name) = waiting.pop() {
        if !seen.insert(name) {
            continue;
        }
        if loaded.broken.contains_key(name) {
            return Some(Obstacle::Broken(name.clone()));
        }
        let name = loaded.aliases.get(name).unwrap_or(name);
        let Some(unit) = loaded.units.get(name) else {
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

impl Daemon {
    /// What the first reading of a boot found, or what there is for the emergency shell where the goal cannot be had.
    pub(super) fn towards_a_goal(&mut self, loaded: Loaded) -> Loaded {
        let Some(boot) = &mut self.options.search.boot else {
            return loaded;
        };
        let Some(obstacle) = obstacle(&loaded, &boot.goal) else {
            return loaded;
        };
        let Ok(emergency) = UnitName::new(EMERGENCY) else {
            return loaded;
        };
        if boot.goal == emergency {
            return loaded;
        }
        let goal = std::mem::replace(&mut boot.goal, emergency);
        boot.alone = true;
        let masked = boot.masked.clone();
        let why = match &obstacle {
            Obstacle::Missing(name) if masked.contains(name) => format!("{name} is masked"),
            Obstacle::Missing(name) => format!("there is no unit {name}"),
            Obstacle::Broken(name) => format!("the unit {name} is in error"),
        };
        self.alarm(&format!(
            "the goal {goal} cannot be had: {why}; going to {EMERGENCY} instead"
        ));
        load::load(&self.options.search, &self.units.facts)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use units::load::{Boot, SearchPath, host_facts};

    use super::*;

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
        obstacle(&load::load(&search, &host_facts()), &goal)
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
