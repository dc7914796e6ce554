//! Whether the goal of a boot can be had, and what is done when not: a machine without it would have neither a
//! login nor a shell, and nobody could say why.
#![forbid(unsafe_code)]

use units::UnitName;
use units::load::{self, Loaded, Obstacle};

use super::Daemon;

/// Where a boot goes whose goal cannot be had.
const EMERGENCY: &str = "emergency";

impl Daemon {
    /// What the first reading of a boot found, or what there is for the emergency shell where the goal cannot be had.
    pub(super) fn towards_a_goal(&mut self, loaded: Loaded) -> Loaded {
        let Some(boot) = &mut self.options.search.boot else {
            return loaded;
        };
        let Some(obstacle) = loaded.obstacle(&boot.goal) else {
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
