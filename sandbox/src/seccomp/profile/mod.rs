//! OCI seccomp profiles: read ([`parse()`]), chosen from by circumstances, compiled.
//!
//! What the specification leaves open is done as libseccomp and runc do it, so that a profile means
//! the same here: names that no architecture knows are passed over; a rule without conditions stands
//! over those with conditions; conditions of one rule that are about the same argument are
//! alternatives. Beyond that: of several rules that hold, the strictest decides; a number that
//! herd has no name for gets ENOSYS where the default action is an errno, so that C libraries fall
//! back; an architecture that the profile does not name gets the default action if that is an
//! errno, and is killed otherwise.
#![forbid(unsafe_code)]

mod compare;
mod parse;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use super::answer::{ENOSYS, KILL_PROCESS, errno, lets_through, of_action};
use super::bpf::{Node, Tree};
use super::compile::Filter;
use super::describe;
use super::multiplexed::{self, DOORS};
use super::numbers::{Numbers, decide};
use crate::config::{
    Abi, ArgumentCondition, Circumstances, ProfileAction, ProfileArchitectures, ProfileRule,
    SeccompProfile, Walls,
};
use crate::host::{Architecture, Host};

pub use parse::{ProfileError, parse};

/// The profile as a filter for this machine and box.
pub(super) fn compile(profile: &SeccompProfile, walls: &Walls, host: &Host) -> Filter {
    let rules: Vec<&ProfileRule> = profile
        .rules
        .iter()
        .filter(|rule| counts(rule, walls, host))
        .collect();
    let abis = profile.architectures.of(host.architecture);
    let default = of_action(profile.default_action);
    let is_errno = matches!(profile.default_action, ProfileAction::Errno(_));
    let unknown = if is_errno { errno(ENOSYS) } else { default };
    let foreign = if is_errno { default } else { KILL_PROCESS };
    let mut tree = Tree::default();
    let mut all = Vec::new();
    for abi in &abis {
        all.push(Numbers {
            abi: *abi,
            known: known(&mut tree, *abi, &rules, default),
            unknown: Node::Return(unknown),
        });
    }
    let root = decide(&mut tree, host.architecture, all, foreign);
    let program = tree.assemble(root);
    let words = words(profile, &rules, &abis, program.len());
    Filter {
        program,
        flags: profile.flags,
        words,
    }
}

impl ProfileArchitectures {
    /// The ABIs of this machine that the profile is for, the native one first.
    fn of(&self, architecture: Architecture) -> Vec<Abi> {
        let native = Abi::native(architecture);
        let named = match self {
            Self::Listed(named) => named.as_slice(),
            Self::Companions(map) => map
                .iter()
                .find(|(of, _)| *of == native)
                .map_or(&[][..], |(_, companions)| companions),
        };
        let all = Abi::all_of(architecture).iter().copied();
        all.filter(|abi| *abi == native || named.contains(abi))
            .collect()
    }
}

/// Claims that the rule is meant for this box on this machine.
fn counts(rule: &ProfileRule, walls: &Walls, host: &Host) -> bool {
    let has = |capability: &u8| walls.capability_bounding_set.contains(capability);
    let is_here = |abi: &Abi| *abi == Abi::native(host.architecture);
    let all_of = |wanted: &Circumstances| {
        wanted.capabilities.iter().all(has)
            && (!wanted.names_architectures || wanted.architectures.iter().any(is_here))
            && wanted
                .minimum_kernel
                .is_none_or(|least| host.kernel >= least)
    };
    let any_of = |unwanted: &Circumstances| {
        unwanted.capabilities.iter().any(has)
            || unwanted.architectures.iter().any(is_here)
            || unwanted
                .minimum_kernel
                .is_some_and(|least| host.kernel >= least)
    };
    all_of(&rule.includes) && !any_of(&rule.excludes)
}

/// All that the rules say about one call, for one ABI.
#[derive(Debug, Default)]
struct Said {
    always: Option<ProfileAction>,
    /// All conditions of one have to hold.
    sometimes: Vec<(ProfileAction, Vec<ArgumentCondition>)>,
}

fn known(tree: &mut Tree, abi: Abi, rules: &[&ProfileRule], default: u32) -> BTreeMap<u32, Node> {
    let mut said: BTreeMap<&str, Said> = BTreeMap::new();
    for rule in rules {
        for name in &rule.names {
            said.entry(name).or_default().add(rule);
        }
    }
    let mut nodes: BTreeMap<u32, Node> = abi
        .calls()
        .iter()
        .map(|(name, number)| {
            let node = match said.get(name) {
                Some(said) => said.node(tree, abi, default),
                None => Node::Return(default),
            };
            (*number, node)
        })
        .collect();
    for (door, mask, behind) in DOORS {
        let place = abi.number(door).and_then(|number| nodes.get_mut(&number));
        if let Some(node) = place {
            *node = multiplexed::guarded(tree, *node, (mask, behind), |name| {
                said.get(name).map(|said| said.without_arguments(default))
            });
        }
    }
    nodes
}

impl Said {
    fn add(&mut self, rule: &ProfileRule) {
        if rule.conditions.is_empty() {
            self.always.get_or_insert(rule.action);
            return;
        }
        let is_repeated = |one: &ArgumentCondition| {
            let same = rule
                .conditions
                .iter()
                .filter(|other| other.index == one.index);
            same.count() > 1
        };
        if rule.conditions.iter().any(is_repeated) {
            let each = rule.conditions.iter().map(|one| (rule.action, vec![*one]));
            self.sometimes.extend(each);
        } else {
            self.sometimes.push((rule.action, rule.conditions.clone()));
        }
    }

    fn node(&self, tree: &mut Tree, abi: Abi, default: u32) -> Node {
        if let Some(action) = self.always {
            return Node::Return(of_action(action));
        }
        let mut rules: Vec<_> = self.sometimes.iter().collect();
        rules.sort_by_key(|(action, _)| *action);
        let mut node = Node::Return(default);
        // The last is wrapped first, so the strictest is asked first.
        for (action, conditions) in rules.into_iter().rev() {
            let otherwise = node;
            let outcome = Node::Return(of_action(*action));
            node = conditions.iter().rev().fold(outcome, |yes, condition| {
                compare::node(tree, condition, abi.is_narrow(), yes, otherwise)
            });
        }
        node
    }

    /// Where the arguments cannot be seen: refused if any arguments are refused.
    fn without_arguments(&self, default: u32) -> u32 {
        if let Some(action) = self.always {
            return of_action(action);
        }
        let strictest = self.sometimes.iter().map(|(action, _)| *action).min();
        match strictest.map(of_action) {
            Some(answer) if !lets_through(answer) => answer,
            Some(_) | None => default,
        }
    }
}

fn words(profile: &SeccompProfile, rules: &[&ProfileRule], abis: &[Abi], length: usize) -> String {
    let mut text = format!(
        "seccomp: profile {}: {} of {} rules, else {}",
        profile.name,
        rules.len(),
        profile.rules.len(),
        action(profile.default_action)
    );
    let foreign: Vec<&str> = abis
        .iter()
        .skip(1)
        .map(|abi| describe::name(*abi))
        .collect();
    if !foreign.is_empty() {
        text.push_str(&format!("; calls of {} too", foreign.join(" and ")));
    }
    text.push_str(&format!("; {length} instructions"));
    text
}

fn action(action: ProfileAction) -> String {
    match action {
        ProfileAction::KillProcess => "the process is killed".to_owned(),
        ProfileAction::KillThread => "the thread is killed".to_owned(),
        ProfileAction::Trap => "SIGSYS".to_owned(),
        ProfileAction::Errno(number) => describe::errno(i32::from(number)),
        ProfileAction::Trace(number) => format!("the tracer is asked ({number})"),
        ProfileAction::Log => "logged".to_owned(),
        ProfileAction::Allow => "allowed".to_owned(),
    }
}
