//! What a change of the set means: which units came, went, or read otherwise than before.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::name::UnitName;
use crate::unit::Unit;

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Diff {
    pub added: Vec<UnitName>,
    pub removed: Vec<UnitName>,
    pub changed: Vec<Changed>,
}

/// A unit whose meaning changed; one whose file changed in comments alone is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    pub name: UnitName,
    /// The parts that differ, in the words of [`Unit`]'s fields.
    pub parts: Vec<&'static str>,
}

impl Diff {
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty()
    }
}

pub fn diff(old: &BTreeMap<UnitName, Arc<Unit>>, new: &BTreeMap<UnitName, Arc<Unit>>) -> Diff {
    let mut found = Diff::default();
    for (name, before) in old {
        match new.get(name) {
            None => found.removed.push(name.clone()),
            Some(now) => {
                let parts = changed_parts(before, now);
                if !parts.is_empty() {
                    let name = name.clone();
                    found.changed.push(Changed { name, parts });
                }
            }
        }
    }
    let fresh = new.keys().filter(|name| !old.contains_key(name));
    found.added.extend(fresh.cloned());
    found
}

/// Destructured, so that a new field of [`Unit`] cannot be forgotten here.
fn changed_parts(before: &Unit, now: &Unit) -> Vec<&'static str> {
    let Unit {
        name: _,
        kind,
        description,
        commands,
        dependencies,
        lifecycle,
        ready,
        surroundings,
        walls,
        entry,
        limits,
        oom_policy,
        placement,
        health,
        log,
        condition,
        assert,
        install,
        on_change,
        source: _,
    } = before;
    // Dependencies also change when another unit's `wanted_by` does, so texts alone do not tell.
    let parts = [
        ("kind", *kind != now.kind),
        ("description", *description != now.description),
        ("commands", *commands != now.commands),
        ("dependencies", *dependencies != now.dependencies),
        ("lifecycle", *lifecycle != now.lifecycle),
        ("ready", *ready != now.ready),
        ("surroundings", *surroundings != now.surroundings),
        ("box", *walls != now.walls || *entry != now.entry),
        (
            "limits",
            *limits != now.limits || *oom_policy != now.oom_policy || *placement != now.placement,
        ),
        ("health", *health != now.health),
        ("log", *log != now.log),
        ("condition", *condition != now.condition),
        ("assert", *assert != now.assert),
        ("install", *install != now.install),
        ("on_change", *on_change != now.on_change),
    ];
    let differs = parts.into_iter().filter(|(_, differs)| *differs);
    differs.map(|(part, _)| part).collect()
}
