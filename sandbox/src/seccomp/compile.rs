//! From walls to the filters to install.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};

use super::answer::{ALLOW, ENOSYS, LOG, errno, lets_through, of_refusal};
use super::bpf::{Branch, Node, Tree, Word};
use super::filter::{FilterError, Listed, checked_errno, logged};
use super::interpreter::Call;
use super::multiplexed::{self, DOORS};
use super::numbers::{Numbers, decide};
use super::program::{MAX_INSTRUCTIONS, Program};
use super::walls::{self, Outcome, Rule};
use super::{describe, profile};
use crate::config::{Abi, Architectures, Refusal, SystemCalls, Walls};
use crate::host::{Architecture, Host};

/// A filter that cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    #[error("system_call_filter")]
    Filter(#[source] FilterError),
    #[error("system_call_log")]
    Log(#[source] FilterError),
    #[error("system_call_error_number")]
    Refusal(#[source] FilterError),
    #[error("this kernel takes no seccomp filters")]
    Unavailable,
    #[error("the filter has {0} instructions, the kernel takes 4096")]
    TooLong(usize),
}

/// One filter, ready to be installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    pub program: Program,
    /// `SECCOMP_FILTER_FLAG_*`.
    pub flags: u32,
    /// What it does, on one line: the sentence of its step.
    pub words: String,
}

/// The filters to install, in order; none where nothing needs one. That of the lists and walls comes
/// first, the profile's second, unless one of them refuses `seccomp(2)` and so has to be the last
/// of the two; then programs as given, in their order.
///
/// * Allow-list: a known call that is not listed gets the refusal, a number that herd does not know
///   gets ENOSYS, so that libraries fall back from calls newer than herd.
/// * Architectures that are shut get the refusal, x32 always ENOSYS.
/// * Rules about arguments refuse with an errno of their own (mostly EPERM) and never kill.
///
/// # Errors
/// [`CompileError`]; a wall that cannot be enforced is never left out.
pub fn compile(walls: &Walls, host: &Host) -> Result<Vec<Filter>, CompileError> {
    let calls = &walls.system_calls;
    let mut filters = Vec::new();
    if of_lists(walls) {
        let program = of_walls(walls, host.architecture)?;
        let words = describe::describe(walls, host, &program);
        filters.push(Filter {
            program,
            flags: 0,
            words,
        });
    }
    if let Some(wanted) = &calls.profile {
        filters.push(profile::compile(wanted, walls, host));
    }
    for filter in &filters {
        if filter.program.len() > MAX_INSTRUCTIONS {
            return Err(CompileError::TooLong(filter.program.len()));
        }
    }
    filters.sort_by_key(|filter| !allows_another(&filter.program, host.architecture));
    let total = calls.programs.len();
    for (index, program) in calls.programs.iter().enumerate() {
        filters.push(Filter {
            program: program.clone(),
            flags: 0,
            words: format!(
                "seccomp: program {} of {total} as given; {} instructions",
                index + 1,
                program.len()
            ),
        });
    }
    if !filters.is_empty() && !host.seccomp {
        return Err(CompileError::Unavailable);
    }
    Ok(filters)
}

/// Claims that a filter is wanted, which in turn takes `no_new_privileges`.
pub fn filters(walls: &Walls) -> bool {
    let calls = &walls.system_calls;
    of_lists(walls) || calls.profile.is_some() || !calls.programs.is_empty()
}

/// Claims that a list or a wall wants one.
fn of_lists(walls: &Walls) -> bool {
    let SystemCalls {
        filter,
        log,
        architectures,
        ..
    } = &walls.system_calls;
    filter.is_some()
        || log.is_some()
        || *architectures != Architectures::All
        || walls::has_rules(walls)
}

/// Claims that a further filter can be installed behind this one.
fn allows_another(program: &Program, architecture: Architecture) -> bool {
    let native = Abi::native(architecture);
    native
        .number("seccomp")
        .is_some_and(|number| allows(program, native, number))
}

/// Claims that some call which changes mounts comes through all the filters: who has the capability
/// for it can take away what was mounted, or write to what was read-only.
pub(crate) fn allow_mounts(filters: &[Filter], architecture: Architecture) -> bool {
    // Looking for a number makes a table of all, which a launcher has no time for.
    if filters.is_empty() {
        return true;
    }
    let native = Abi::native(architecture);
    ["mount", "umount2", "mount_setattr", "move_mount"]
        .iter()
        .filter_map(|name| native.number(name))
        .any(|number| {
            filters
                .iter()
                .all(|filter| allows(&filter.program, native, number))
        })
}

fn allows(program: &Program, abi: Abi, number: u32) -> bool {
    let call = Call {
        architecture: abi.audit(),
        number,
        arguments: [0; 6],
    };
    lets_through(program.decide(&call).0)
}

/// The program of the lists and of all walls that are about system calls.
fn of_walls(walls: &Walls, architecture: Architecture) -> Result<Program, CompileError> {
    let calls = &walls.system_calls;
    if let Refusal::Errno(number) = calls.refusal {
        checked_errno("system_call_error_number", number).map_err(CompileError::Refusal)?;
    }
    let refusal = of_refusal(calls.refusal);
    let abis = Abi::let_through(architecture, &calls.architectures);
    let verdicts = Verdicts::new(calls, &abis)?;
    let mut tree = Tree::default();
    let mut all = Vec::new();
    for abi in abis {
        let rules = walls::rules(walls, abi);
        all.push(Numbers {
            abi,
            known: known(&mut tree, abi, &verdicts, &rules),
            unknown: Node::Return(verdicts.unknown),
        });
    }
    let root = decide(&mut tree, architecture, all, refusal);
    Ok(tree.assemble(root))
}

/// What each call gets before its arguments are looked at.
struct Verdicts {
    listed: Option<(Listed, bool)>,
    logged: Option<(BTreeSet<&'static str>, bool)>,
    refusal: u32,
    unknown: u32,
}

impl Verdicts {
    fn new(calls: &SystemCalls, abis: &[Abi]) -> Result<Self, CompileError> {
        let listed = match &calls.filter {
            Some(filter) => Some((
                Listed::resolve(filter, abis).map_err(CompileError::Filter)?,
                filter.allow,
            )),
            None => None,
        };
        let logged = match &calls.log {
            Some(log) => Some((logged(log, abis).map_err(CompileError::Log)?, log.all_but)),
            None => None,
        };
        let unknown = match (&listed, &logged) {
            (Some((_, true)), _) => errno(ENOSYS),
            (_, Some((_, true))) => LOG,
            (_, _) => ALLOW,
        };
        Ok(Self {
            listed,
            logged,
            refusal: of_refusal(calls.refusal),
            unknown,
        })
    }

    fn of(&self, name: &str) -> u32 {
        let let_through = match &self.logged {
            Some((names, all_but)) if names.contains(name) != *all_but => LOG,
            Some(_) | None => ALLOW,
        };
        let Some((listed, allow)) = &self.listed else {
            return let_through;
        };
        match (listed.calls.get(name), allow) {
            (Some(Some(own)), _) => of_refusal(*own),
            (Some(None), true) | (None, false) => let_through,
            (Some(None), false) | (None, true) => self.refusal,
        }
    }
}

fn known(tree: &mut Tree, abi: Abi, verdicts: &Verdicts, rules: &[Rule]) -> BTreeMap<u32, Node> {
    let mut nodes: BTreeMap<u32, Node> = abi
        .calls()
        .iter()
        .map(|(name, number)| (*number, Node::Return(verdicts.of(name))))
        .collect();
    for (door, mask, behind) in DOORS {
        let place = abi.number(door).and_then(|number| nodes.get_mut(&number));
        if let Some(node) = place {
            *node = multiplexed::guarded(tree, *node, (mask, behind), |name| {
                // The arguments are behind a pointer here.
                let is_ruled = rules.iter().any(|rule| rule.call == name);
                match verdicts.of(name) {
                    answer if lets_through(answer) && is_ruled => Some(errno(ENOSYS)),
                    answer => Some(answer),
                }
            });
        }
    }
    // The last rule is wrapped first, so the first is asked first.
    for rule in rules.iter().rev() {
        let place = abi.number(rule.call);
        if let Some(node) = place.and_then(|number| nodes.get_mut(&number)) {
            // A rule can only take away: a call that is refused stays refused.
            if !matches!(node, Node::Return(answer) if !lets_through(*answer)) {
                *node = guarded(tree, rule, *node);
            }
        }
    }
    nodes
}

/// `rule` in front of `next`, which is what the call gets when the rule has nothing against it.
fn guarded(tree: &mut Tree, rule: &Rule, next: Node) -> Node {
    let mut node = next;
    for check in rule.checks.iter().rev() {
        let outcome = match check.outcome {
            Outcome::Pass => next,
            Outcome::Errno(number) => Node::Return(errno(number)),
        };
        let otherwise = node;
        node = check
            .conditions
            .iter()
            .rev()
            .fold(outcome, |yes, condition| {
                tree.branch(Branch {
                    word: Word::ArgumentLow(condition.argument),
                    mask: condition.mask,
                    test: condition.test,
                    yes,
                    no: otherwise,
                })
            });
    }
    node
}
