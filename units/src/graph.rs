//! The order among units: `before` and `after`, and the cycles they may form.
//!
//! As in systemd, requirements alone order nothing. Names that are not in the set are passed over.
//! Everything here is near linear in units and edges.
#![forbid(unsafe_code)]

use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt;

use crate::name::UnitName;
use crate::unit::Unit;

/// Units in the order of their names, with edges between their positions.
#[derive(Debug, Clone, Default)]
pub struct Graph {
    names: Vec<UnitName>,
    positions: HashMap<UnitName, usize>,
    /// For each unit those that must be ready before it starts.
    after: Vec<Vec<usize>>,
    /// The same edges the other way round.
    before: Vec<Vec<usize>>,
    /// Sets of units that wait for one another, or single units, each behind all it waits for.
    components: Vec<Vec<usize>>,
}

/// Units that wait for one another: each is after the next, the last after the first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cycle(pub Vec<UnitName>);

/// `web after db after cache after web`
impl fmt::Display for Cycle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for name in &self.0 {
            write!(f, "{name} after ")?;
        }
        match self.0.first() {
            Some(first) => write!(f, "{first}"),
            None => Ok(()),
        }
    }
}

impl Graph {
    /// At most so many cycles are told of one knot of units.
    const TOLD: usize = 32;

    pub fn build<'u>(units: impl IntoIterator<Item = &'u Unit>) -> Self {
        let mut units: Vec<&Unit> = units.into_iter().collect();
        units.sort_by(|a, b| a.name.cmp(&b.name));
        units.dedup_by(|a, b| a.name == b.name);
        let names: Vec<UnitName> = units.iter().map(|unit| unit.name.clone()).collect();
        let positions: HashMap<UnitName, usize> = names
            .iter()
            .cloned()
            .enumerate()
            .map(|(i, n)| (n, i))
            .collect();
        let mut after = vec![Vec::new(); names.len()];
        for (position, unit) in units.iter().enumerate() {
            let known = |name: &UnitName| positions.get(name).copied();
            after[position].extend(unit.dependencies.after.iter().filter_map(known));
            for later in unit.dependencies.before.iter().filter_map(known) {
                after[later].push(position);
            }
        }
        let mut before = vec![Vec::new(); names.len()];
        for (position, earlier) in after.iter_mut().enumerate() {
            earlier.sort_unstable();
            earlier.dedup();
            for &other in &*earlier {
                before[other].push(position);
            }
        }
        let components = components(&after);
        Self {
            names,
            positions,
            after,
            before,
            components,
        }
    }

    /// Those that must be ready before `name` starts.
    pub fn after(&self, name: &UnitName) -> impl Iterator<Item = &UnitName> {
        self.named(&self.after, name)
    }

    /// Those that start only once `name` is ready.
    pub fn before(&self, name: &UnitName) -> impl Iterator<Item = &UnitName> {
        self.named(&self.before, name)
    }

    /// Every unit behind all it is after; units of a cycle stand together.
    pub fn start_order(&self) -> impl DoubleEndedIterator<Item = &UnitName> {
        self.components.iter().flatten().map(|at| &self.names[*at])
    }

    /// The start order backwards.
    pub fn stop_order(&self) -> impl DoubleEndedIterator<Item = &UnitName> {
        self.start_order().rev()
    }

    /// Every unit that can never start, in a shortest cycle through it; each cycle once.
    pub fn cycles(&self) -> Vec<Cycle> {
        let mut cycles = Vec::new();
        for component in &self.components {
            let waits_for_itself = |at: &usize| self.after[*at].contains(at);
            if component.len() == 1 && !component.iter().any(waits_for_itself) {
                continue;
            }
            let members: HashSet<usize> = component.iter().copied().collect();
            let mut sorted = component.clone();
            sorted.sort_unstable();
            let mut told: HashSet<usize> = HashSet::new();
            let mut count = 0;
            for start in sorted {
                if count == Self::TOLD {
                    break;
                }
                if !told.contains(&start) {
                    let path = self.shortest_cycle(start, &members);
                    told.extend(&path);
                    let names = path.iter().map(|at| self.names[*at].clone());
                    cycles.push(Cycle(names.collect()));
                    count += 1;
                }
            }
        }
        cycles.sort_by(|a, b| a.0.cmp(&b.0));
        cycles
    }

    fn named<'g>(
        &'g self,
        edges: &'g [Vec<usize>],
        name: &UnitName,
    ) -> impl Iterator<Item = &'g UnitName> {
        let list = self.positions.get(name).map(|at| edges[*at].as_slice());
        list.unwrap_or_default().iter().map(|at| &self.names[*at])
    }

    /// From `start` along `after` back to it, by breadth-first search inside its component.
    fn shortest_cycle(&self, start: usize, members: &HashSet<usize>) -> Vec<usize> {
        let mut came_from: HashMap<usize, usize> = HashMap::new();
        let mut queue = VecDeque::from([start]);
        while let Some(at) = queue.pop_front() {
            for &next in &self.after[at] {
                if next == start {
                    let mut path = vec![at];
                    let mut here = at;
                    while here != start {
                        here = came_from[&here];
                        path.push(here);
                    }
                    path.reverse();
                    return path;
                }
                if members.contains(&next) && !came_from.contains_key(&next) {
                    came_from.insert(next, at);
                    queue.push_back(next);
                }
            }
        }
        vec![start]
    }
}

/// Tarjan's strongly connected components, without recursion. A component comes out behind all
/// those its edges lead to, which is the start order.
fn components(edges: &[Vec<usize>]) -> Vec<Vec<usize>> {
    const UNSEEN: usize = usize::MAX;
    let mut index = vec![UNSEEN; edges.len()];
    let mut low = vec![0; edges.len()];
    let mut on_stack = vec![false; edges.len()];
    let mut stack = Vec::new();
    let mut found = Vec::new();
    let mut next_index = 0;
    // A unit under way, and the next of its edges to walk.
    let mut walk: Vec<(usize, usize)> = Vec::new();
    for root in 0..edges.len() {
        if index[root] != UNSEEN {
            continue;
        }
        walk.push((root, 0));
        while let Some(&(at, edge)) = walk.last() {
            if edge == 0 {
                index[at] = next_index;
                low[at] = next_index;
                next_index += 1;
                stack.push(at);
                on_stack[at] = true;
            }
            if let Some(&next) = edges[at].get(edge) {
                if let Some(top) = walk.last_mut() {
                    top.1 += 1;
                }
                if index[next] == UNSEEN {
                    walk.push((next, 0));
                } else if on_stack[next] {
                    low[at] = low[at].min(index[next]);
                }
                continue;
            }
            walk.pop();
            if let Some(&(parent, _)) = walk.last() {
                low[parent] = low[parent].min(low[at]);
            }
            if low[at] == index[at] {
                let mut component = Vec::new();
                while let Some(member) = stack.pop() {
                    on_stack[member] = false;
                    component.push(member);
                    if member == at {
                        break;
                    }
                }
                component.sort_unstable();
                found.push(component);
            }
        }
    }
    found
}
