//! Who is tied to whom, by slot: the dependency keys of all units, and each of them seen from the
//! other end.
#![forbid(unsafe_code)]

use std::collections::HashMap;

use units::{Unit, UnitName};

use super::event::ServiceId;

/// The ties of one service. Lists are short; most services have none.
#[derive(Debug, Clone, Default)]
pub(super) struct Relations {
    /// `requires` and `binds_to`: pulled up, and needed.
    pub needs: Vec<ServiceId>,
    pub requisite: Vec<ServiceId>,
    /// `wants`, and `wanted_by` of others.
    pub wants: Vec<ServiceId>,
    pub upholds: Vec<ServiceId>,
    /// Ordered before this one, by either side's `after` or `before`.
    pub predecessors: Vec<ServiceId>,
    pub successors: Vec<ServiceId>,
    pub conflicts: Vec<ServiceId>,
    pub on_failure: Vec<ServiceId>,
    pub on_success: Vec<ServiceId>,
    /// The other ends.
    pub needed_by: Vec<ServiceId>,
    pub bound_by: Vec<ServiceId>,
    pub parts: Vec<ServiceId>,
    pub upheld_by: Vec<ServiceId>,
    pub wanted_by: Vec<ServiceId>,
    pub binds_to: Vec<ServiceId>,
    /// Needed, and there is no such unit.
    pub missing: Vec<UnitName>,
}

/// Works out the ties of all units. Linear in units and ties.
pub(super) fn relate<'a>(
    units: impl Iterator<Item = (ServiceId, &'a Unit)> + Clone,
    names: &HashMap<UnitName, ServiceId>,
) -> HashMap<ServiceId, Relations> {
    let mut all: HashMap<ServiceId, Relations> = HashMap::new();
    let find = |list: &[UnitName]| -> Vec<ServiceId> {
        list.iter()
            .filter_map(|name| names.get(name).copied())
            .collect()
    };
    for (id, unit) in units {
        let ties = &unit.dependencies;
        let requires = find(&ties.requires);
        let binds_to = find(&ties.binds_to);
        let requisite = find(&ties.requisite);
        let mut wants = find(&ties.wants);
        let empty = Vec::new();
        let (wanted_by, required_by) = match &unit.install {
            Some(install) => (&install.wanted_by, &install.required_by),
            None => (&empty, &empty),
        };
        let missing = ties
            .requires
            .iter()
            .chain(&ties.binds_to)
            .chain(&ties.requisite);
        let missing: Vec<UnitName> = missing
            .filter(|name| !names.contains_key(*name))
            .cloned()
            .collect();
        for other in find(wanted_by) {
            add(&mut all.entry(other).or_default().wants, id);
            add(&mut all.entry(id).or_default().wanted_by, other);
        }
        for other in find(required_by) {
            add(&mut all.entry(other).or_default().needs, id);
            add(&mut all.entry(id).or_default().needed_by, other);
        }
        for other in requires.iter().chain(&binds_to).chain(&requisite) {
            add(&mut all.entry(*other).or_default().needed_by, id);
        }
        for other in &binds_to {
            add(&mut all.entry(*other).or_default().bound_by, id);
        }
        for other in &wants {
            add(&mut all.entry(*other).or_default().wanted_by, id);
        }
        for other in find(&ties.part_of) {
            add(&mut all.entry(other).or_default().parts, id);
        }
        for other in find(&ties.upholds) {
            add(&mut all.entry(id).or_default().upholds, other);
            add(&mut all.entry(other).or_default().upheld_by, id);
        }
        for other in find(&ties.conflicts) {
            add(&mut all.entry(id).or_default().conflicts, other);
            add(&mut all.entry(other).or_default().conflicts, id);
        }
        for other in find(&ties.after) {
            add(&mut all.entry(id).or_default().predecessors, other);
            add(&mut all.entry(other).or_default().successors, id);
        }
        for other in find(&ties.before) {
            add(&mut all.entry(id).or_default().successors, other);
            add(&mut all.entry(other).or_default().predecessors, id);
        }
        let on_failure = find(&ties.on_failure);
        let on_success = find(&ties.on_success);
        let nothing = requires.is_empty()
            && binds_to.is_empty()
            && requisite.is_empty()
            && wants.is_empty()
            && missing.is_empty()
            && on_failure.is_empty()
            && on_success.is_empty();
        if nothing {
            continue;
        }
        let own = all.entry(id).or_default();
        for other in requires.into_iter().chain(binds_to.iter().copied()) {
            add(&mut own.needs, other);
        }
        own.binds_to = binds_to;
        own.requisite = requisite;
        wants.retain(|other| !own.wants.contains(other));
        own.wants.append(&mut wants);
        own.missing = missing;
        own.on_failure = on_failure;
        own.on_success = on_success;
    }
    for ties in all.values_mut() {
        ties.dedup();
    }
    all
}

impl Relations {
    fn dedup(&mut self) {
        let lists = [
            &mut self.needs,
            &mut self.wants,
            &mut self.predecessors,
            &mut self.successors,
            &mut self.conflicts,
            &mut self.needed_by,
            &mut self.wanted_by,
        ];
        for list in lists {
            list.sort_unstable();
            list.dedup();
            list.shrink_to_fit();
        }
    }
}

fn add(list: &mut Vec<ServiceId>, id: ServiceId) {
    list.push(id);
}
