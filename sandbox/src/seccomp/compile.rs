//! Puts the filter and the rules of the walls together into one program.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use super::bpf::{Branch, MAX_INSTRUCTIONS, Node, Program, Test, Word};
use super::filter::{FilterError, Listed, checked_errno};
use super::table;
use super::walls::{self, ENOSYS, Outcome, Rule};
use crate::config::{Refusal, Walls};
use crate::host::{Architecture, Host};

/// A filter that cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    #[error("system_call_filter")]
    Filter(#[source] FilterError),
    #[error("system_call_error_number")]
    Refusal(#[source] FilterError),
    #[error("this kernel takes no seccomp filters")]
    Unavailable,
    #[error(
        "calls of foreign architectures would get around the filter; \
         it needs system_call_architectures = [\"native\"]"
    )]
    ForeignArchitectures,
    #[error("the filter has {0} instructions, the kernel takes 4096")]
    TooLong(usize),
}

/// The programs to install, in order; none where no wall needs one.
///
/// * Allow-list: a known call that is not listed gets the refusal, a number that herd does not know
///   gets ENOSYS, so that libraries fall back from calls newer than herd.
/// * Foreign architectures get the refusal, x32 always ENOSYS.
/// * Rules about arguments refuse with an errno of their own (mostly EPERM) and never kill.
///
/// # Errors
/// [`CompileError`]; a wall that cannot be enforced is never left out.
pub fn compile(walls: &Walls, host: &Host) -> Result<Vec<Program>, CompileError> {
    if !filters(walls) {
        return Ok(Vec::new());
    }
    let mut rules = walls::rules(walls);
    let calls = &walls.system_calls;
    if !host.seccomp {
        return Err(CompileError::Unavailable);
    }
    if !calls.native_only {
        return Err(CompileError::ForeignArchitectures);
    }
    rules.push(walls::terminal_injection());
    let refusal = action(calls.refusal)?;
    let verdicts = Verdicts::new(walls, host.architecture, refusal)?;
    let tree = Node::Branch(Box::new(Branch {
        word: Word::Architecture,
        mask: u32::MAX,
        test: Test::Equal(table::audit(host.architecture)),
        yes: by_number(&verdicts, &rules, host.architecture),
        no: Node::Return(refusal),
    }));
    let program = Program::assemble(&tree);
    if program.0.len() > MAX_INSTRUCTIONS {
        return Err(CompileError::TooLong(program.0.len()));
    }
    Ok(vec![program])
}

/// Claims that a wall takes a filter, which in turn takes `no_new_privileges`.
pub fn filters(walls: &Walls) -> bool {
    let calls = &walls.system_calls;
    calls.filter.is_some() || calls.native_only || !walls::rules(walls).is_empty()
}

pub(super) const ALLOW: u32 = 0x7fff_0000;
pub(super) const KILL_PROCESS: u32 = 0x8000_0000;

pub(super) fn errno(number: u16) -> u32 {
    0x0005_0000 | u32::from(number)
}

fn action(refusal: Refusal) -> Result<u32, CompileError> {
    match refusal {
        Refusal::KillProcess => Ok(KILL_PROCESS),
        Refusal::Errno(number) => checked_errno("system_call_error_number", number)
            .map(errno)
            .map_err(CompileError::Refusal),
    }
}

/// What each number gets before its arguments are looked at.
struct Verdicts {
    known: BTreeMap<u32, u32>,
    unknown: u32,
}

impl Verdicts {
    fn new(walls: &Walls, architecture: Architecture, refusal: u32) -> Result<Self, CompileError> {
        let all = table::calls(architecture);
        let Some(filter) = &walls.system_calls.filter else {
            return Ok(Self {
                known: all.into_keys().map(|number| (number, ALLOW)).collect(),
                unknown: ALLOW,
            });
        };
        let listed = Listed::resolve(filter, architecture).map_err(CompileError::Filter)?;
        let verdict = |number: u32| match (listed.calls.get(&number), filter.allow) {
            (Some(Some(own)), _) => errno(*own),
            (Some(None), true) | (None, false) => ALLOW,
            (Some(None), false) | (None, true) => refusal,
        };
        Ok(Self {
            known: all.into_keys().map(|n| (n, verdict(n))).collect(),
            unknown: if filter.allow { errno(ENOSYS) } else { ALLOW },
        })
    }
}

/// A balanced tree over the ranges of numbers that are treated alike.
fn by_number(verdicts: &Verdicts, rules: &[Rule], architecture: Architecture) -> Node {
    let mut nodes: BTreeMap<u32, Node> = verdicts
        .known
        .iter()
        .map(|(number, verdict)| (*number, Node::Return(*verdict)))
        .collect();
    if architecture == Architecture::X86_64 {
        let absent = Node::Return(errno(ENOSYS));
        nodes.extend(table::X32_TABLE.map(|number| (number, absent.clone())));
    }
    // The last rule is wrapped first, so the first is asked first.
    for rule in rules.iter().rev() {
        let number = table::number(architecture, rule.call);
        if let Some(node) = number.and_then(|number| nodes.get_mut(&number)) {
            // A rule can only take away: a call that is refused stays refused.
            if *node != Node::Return(ALLOW) && matches!(node, Node::Return(_)) {
                continue;
            }
            *node = guarded(rule, node);
        }
    }
    let last = nodes.last_key_value().map_or(0, |(number, _)| *number);
    let unknown = Node::Return(verdicts.unknown);
    let mut ranges: Vec<(u32, Node)> = Vec::new();
    for number in 0..=last.saturating_add(1) {
        let node = nodes.get(&number).unwrap_or(&unknown);
        if ranges.last().is_none_or(|(_, before)| before != node) {
            ranges.push((number, node.clone()));
        }
    }
    if architecture == Architecture::X86_64 {
        ranges.push((table::X32, Node::Return(errno(ENOSYS))));
    }
    tree(&ranges, &unknown)
}

fn tree(ranges: &[(u32, Node)], unknown: &Node) -> Node {
    match ranges {
        [] => unknown.clone(),
        [(_, node)] => node.clone(),
        _ => {
            let (low, high) = ranges.split_at(ranges.len() / 2);
            let from = high.first().map_or(0, |(number, _)| *number);
            Node::Branch(Box::new(Branch {
                word: Word::Number,
                mask: u32::MAX,
                test: Test::AtLeast(from),
                yes: tree(high, unknown),
                no: tree(low, unknown),
            }))
        }
    }
}

/// `rule` in front of `next`, which is what the call gets when the rule has nothing against it.
fn guarded(rule: &Rule, next: &Node) -> Node {
    let mut node = next.clone();
    for check in rule.checks.iter().rev() {
        let outcome = match check.outcome {
            Outcome::Pass => next.clone(),
            Outcome::Errno(number) => Node::Return(errno(number)),
        };
        let otherwise = node;
        node = check
            .conditions
            .iter()
            .rev()
            .fold(outcome, |yes, condition| {
                Node::Branch(Box::new(Branch {
                    word: Word::ArgumentLow(condition.argument),
                    mask: condition.mask,
                    test: condition.test,
                    yes,
                    no: otherwise.clone(),
                }))
            });
    }
    node
}
