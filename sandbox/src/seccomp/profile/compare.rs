//! Comparisons of whole arguments, out of comparisons of their halves.
#![forbid(unsafe_code)]

use crate::config::{ArgumentCondition, Comparison};
use crate::seccomp::bpf::{Branch, Node, Test, Tree, Word};

/// `yes` where the condition holds. On a 32-bit ABI (`is_narrow`) an argument has no upper half, and
/// the value's is not looked at, as libseccomp has it.
pub(super) fn node(
    tree: &mut Tree,
    condition: &ArgumentCondition,
    is_narrow: bool,
    yes: Node,
    no: Node,
) -> Node {
    let mut argument = Argument {
        tree,
        index: condition.index,
        is_narrow,
    };
    match condition.comparison {
        Comparison::Equal(value) => argument.equal(u64::MAX, value, yes, no),
        Comparison::NotEqual(value) => argument.equal(u64::MAX, value, no, yes),
        Comparison::MaskedEqual { mask, value } => argument.equal(mask, value, yes, no),
        Comparison::GreaterOrEqual(value) => argument.at_least(value, yes, no),
        Comparison::Less(value) => argument.at_least(value, no, yes),
        Comparison::Greater(value) => argument.above(value, yes, no),
        Comparison::LessOrEqual(value) => argument.above(value, no, yes),
    }
}

struct Argument<'a> {
    tree: &'a mut Tree,
    index: u8,
    is_narrow: bool,
}

impl Argument<'_> {
    fn equal(&mut self, mask: u64, value: u64, yes: Node, no: Node) -> Node {
        let value = value & mask;
        let low = self.half(
            Word::ArgumentLow(self.index),
            low(mask),
            low(value),
            yes,
            no,
        );
        if self.is_narrow {
            return low;
        }
        self.half(
            Word::ArgumentHigh(self.index),
            high(mask),
            high(value),
            low,
            no,
        )
    }

    fn half(&mut self, word: Word, mask: u32, value: u32, yes: Node, no: Node) -> Node {
        if mask == 0 {
            return yes;
        }
        self.tree.branch(Branch {
            word,
            mask,
            test: Test::Equal(value),
            yes,
            no,
        })
    }

    fn at_least(&mut self, value: u64, yes: Node, no: Node) -> Node {
        let word = Word::ArgumentLow(self.index);
        let low_half = self.tree.compare(word, Test::AtLeast(low(value)), yes, no);
        if self.is_narrow {
            return low_half;
        }
        let word = Word::ArgumentHigh(self.index);
        let same = Test::Equal(high(value));
        let at_most = self.tree.compare(word, same, low_half, no);
        match high(value).checked_add(1) {
            Some(above) => self.tree.compare(word, Test::AtLeast(above), yes, at_most),
            None => at_most,
        }
    }

    fn above(&mut self, value: u64, yes: Node, no: Node) -> Node {
        let last = if self.is_narrow {
            u64::from(low(value)) == u64::from(u32::MAX)
        } else {
            value == u64::MAX
        };
        if last {
            return no;
        }
        self.at_least(value.wrapping_add(1), yes, no)
    }
}

fn low(value: u64) -> u32 {
    let [a, b, c, d, ..] = value.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

fn high(value: u64) -> u32 {
    let [.., e, f, g, h] = value.to_le_bytes();
    u32::from_le_bytes([e, f, g, h])
}
