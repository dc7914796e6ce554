//! From what each number gets to one balanced tree over all numbers, for each ABI.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use super::answer::{ENOSYS, errno};
use super::bpf::{Node, Test, Tree, Word};
use super::table::{X32, X32_TABLE};
use crate::config::Abi;
use crate::host::Architecture;

/// What the numbers of one ABI get.
#[derive(Debug)]
pub(super) struct Numbers {
    pub(super) abi: Abi,
    pub(super) known: BTreeMap<u32, Node>,
    /// A number that herd has no name for.
    pub(super) unknown: Node,
}

/// The whole decision: first whose call it is, then which. `foreign` is for ABIs that are not in
/// `all`; x32, which hides among the numbers of x86_64, gets ENOSYS where it is not.
pub(super) fn decide(
    tree: &mut Tree,
    architecture: Architecture,
    all: Vec<Numbers>,
    foreign: u32,
) -> Node {
    let (x32, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|one| one.abi == Abi::X32);
    let mut node = Node::Return(foreign);
    // The native ABI is the first in the list, and asked for first.
    for mut numbers in others.into_iter().rev() {
        let abi = numbers.abi;
        if abi == Abi::X86_64 {
            let absent = Node::Return(errno(ENOSYS));
            numbers
                .known
                .extend(X32_TABLE.map(|number| (number, absent)));
            numbers
                .known
                .extend(x32.iter().flat_map(|x32| x32.known.clone()));
        }
        let mine = by_number(tree, &numbers);
        let audit = Test::Equal(abi.audit());
        node = tree.compare(Word::Architecture, audit, mine, node);
    }
    debug_assert!(Abi::all_of(architecture).len() > 1);
    node
}

fn by_number(tree: &mut Tree, numbers: &Numbers) -> Node {
    let mut ranges: Vec<(u32, Node)> = Vec::new();
    let mut add = |from: u32, node: Node| {
        if ranges.last().is_none_or(|(_, before)| *before != node) {
            ranges.push((from, node));
        }
    };
    let absent = Node::Return(errno(ENOSYS));
    // From here on, what is not known is an x32 call that is not let through.
    let x32 = if numbers.abi == Abi::X86_64 {
        X32
    } else {
        u32::MAX
    };
    let mut next = 0;
    for (number, node) in &numbers.known {
        if next < x32 && next < *number {
            add(next, numbers.unknown);
        }
        if x32 < *number && next < *number {
            add(next.max(x32), absent);
        }
        add(*number, *node);
        next = number.saturating_add(1);
    }
    if next < x32 {
        add(next, numbers.unknown);
    }
    if x32 != u32::MAX {
        add(next.max(x32), absent);
    }
    halves(tree, &ranges, numbers.unknown)
}

fn halves(tree: &mut Tree, ranges: &[(u32, Node)], unknown: Node) -> Node {
    match ranges {
        [] => unknown,
        [(_, node)] => *node,
        _ => {
            let (low, high) = ranges.split_at(ranges.len() / 2);
            let from = high.first().map_or(0, |(number, _)| *number);
            let yes = halves(tree, high, unknown);
            let no = halves(tree, low, unknown);
            tree.compare(Word::Number, Test::AtLeast(from), yes, no)
        }
    }
}
