//! What a machine is to come to: whether it can be had, and what is done when not (a machine without it would have
//! neither a login nor a shell, and nobody could say why); and when it was reached.
#![forbid(unsafe_code)]

use std::collections::VecDeque;

use units::UnitName;
use units::load::{self, Loaded, Obstacle};

use super::{Daemon, clock};
use crate::control::protocol::Goal;
use crate::pid1::login_records::run_level;
use crate::supervisor::State;

/// Where a boot goes whose goal cannot be had.
const EMERGENCY: &str = "emergency";
/// Goals that are told of.
const REMEMBERED: usize = 8;

/// All goals of the machine, the present one first; none on what herd did not boot. Times are those of the wall.
#[derive(Debug, Default)]
pub(super) struct Goals(VecDeque<Aim>);

#[derive(Debug)]
struct Aim {
    name: UnitName,
    since: i64,
    reached: Option<i64>,
}

impl Goals {
    /// The console is theirs who log in there.
    pub(super) fn have_arrived(&self) -> bool {
        self.0.front().is_some_and(|aim| aim.reached.is_some())
    }

    fn aim(&mut self, name: UnitName, now: i64) {
        self.0.push_front(Aim {
            name,
            since: now,
            reached: None,
        });
        self.0.truncate(REMEMBERED);
    }

    /// Whether that is news.
    fn arrive(&mut self, now: i64) -> bool {
        match self.0.front_mut() {
            Some(aim) if aim.reached.is_none() => {
                aim.reached = Some(now);
                true
            }
            Some(_) | None => false,
        }
    }

    /// For clients; `waits_for` is what keeps the machine from the present one.
    pub(super) fn told(&self, mut waits_for: Option<String>) -> Vec<Goal> {
        let told = |aim: &Aim| Goal {
            name: aim.name.to_string(),
            since: aim.since,
            reached: aim.reached,
            waits_for: waits_for.take(),
        };
        self.0.iter().map(told).collect()
    }
}

impl Daemon {
    /// What the first reading of a boot found, or what there is for the emergency shell where the goal cannot be had.
    pub(super) fn towards_a_goal(&mut self, loaded: Loaded) -> Loaded {
        let loaded = self.or_emergency(loaded);
        if let Some(boot) = &self.options.search.boot {
            self.goals.aim(boot.goal.clone(), clock::wall().0);
            self.words.progress(clock::now());
        }
        loaded
    }

    /// The goal is another one now; it may be there already.
    pub(super) fn has_new_goal(&mut self, goal: &UnitName) {
        self.goals.aim(goal.clone(), clock::wall().0);
        self.words.progress(clock::now());
        if self.is_up(goal.as_str()) {
            self.arrive();
        }
    }

    /// The goal is active.
    pub(super) fn arrive(&mut self) {
        let now = clock::wall().0;
        if !self.goals.arrive(now) {
            return;
        }
        let level = run_level::OF_UNITS
            .iter()
            .find(|(unit, _)| self.is_up(unit));
        if let Some((_, level)) = level {
            self.record_run_level(*level, now);
        }
    }

    pub(super) fn record_run_level(&self, level: u8, now: i64) {
        if let Err(error) = run_level::write(level, now) {
            self.note(&format!("cannot write the runlevel to utmp: {error}"));
        }
    }

    fn is_up(&self, unit: &str) -> bool {
        let id = UnitName::new(unit)
            .ok()
            .and_then(|name| self.supervisor.id(&name));
        let service = id.and_then(|id| self.supervisor.service(id));
        service.is_some_and(|service| matches!(service.state(), State::Active(_)))
    }

    fn or_emergency(&mut self, loaded: Loaded) -> Loaded {
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
