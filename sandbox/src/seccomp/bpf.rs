//! A small assembler for seccomp's BPF (`Documentation/userspace-api/seccomp_filter.rst`).
//!
//! A filter is a tree: every inner node compares one word of `struct seccomp_data`, every leaf
//! returns. Laid out depth first, with the "no" side right behind the comparison.
#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};

/// A filter as the kernel takes it: each item holds the bytes of one `struct sock_filter`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program(pub Vec<u64>);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Node {
    Return(u32),
    Branch(Box<Branch>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Branch {
    pub(super) word: Word,
    /// Applied to the word before an [`Test::Equal`]; all ones changes nothing.
    pub(super) mask: u32,
    pub(super) test: Test,
    pub(super) yes: Node,
    pub(super) no: Node,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Test {
    Equal(u32),
    AtLeast(u32),
    /// At least one of these bits.
    AnyOf(u32),
}

/// A word of `struct seccomp_data`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    Number,
    Architecture,
    /// The low half of an argument: all that the kernel reads of an `int`.
    ArgumentLow(u8),
}

impl Word {
    fn offset(self) -> u32 {
        match self {
            Self::Number => 0,
            Self::Architecture => 4,
            // All architectures with a table here are little-endian.
            Self::ArgumentLow(index) => 16 + 8 * u32::from(index),
        }
    }
}

/// The kernel's `BPF_MAXINSNS`.
pub(super) const MAX_INSTRUCTIONS: usize = 4096;

pub(super) const LOAD_WORD: u16 = 0x20;
pub(super) const AND: u16 = 0x54;
pub(super) const JUMP: u16 = 0x05;
pub(super) const JUMP_EQUAL: u16 = 0x15;
pub(super) const JUMP_AT_LEAST: u16 = 0x35;
pub(super) const JUMP_ANY_OF: u16 = 0x45;
pub(super) const RETURN: u16 = 0x06;

impl Program {
    pub(super) fn assemble(tree: &Node) -> Self {
        let mut code = emit(tree, None);
        code.reverse();
        Self(code)
    }

    /// Code, jump if true, jump if false, operand of each instruction.
    #[cfg(test)]
    pub(super) fn instructions(&self) -> impl Iterator<Item = (u16, u8, u8, u32)> {
        self.0.iter().map(|item| {
            let [c0, c1, jt, jf, k0, k1, k2, k3] = item.to_ne_bytes();
            (
                u16::from_ne_bytes([c0, c1]),
                jt,
                jf,
                u32::from_ne_bytes([k0, k1, k2, k3]),
            )
        })
    }
}

/// The code of a subtree, last instruction first (so that what goes in front is appended).
/// `held` is the word and mask that the accumulator holds when the subtree is entered.
fn emit(node: &Node, held: Option<(Word, u32)>) -> Vec<u64> {
    let branch = match node {
        Node::Return(value) => return vec![instruction(RETURN, 0, 0, *value)],
        Node::Branch(branch) => branch,
    };
    let holds = Some((branch.word, branch.mask));
    let no = emit(&branch.no, holds);
    let mut code = emit(&branch.yes, holds);
    let skipped = no.len();
    code.extend(no);
    let (jump, operand) = match branch.test {
        Test::Equal(value) => (JUMP_EQUAL, value),
        Test::AtLeast(value) => (JUMP_AT_LEAST, value),
        Test::AnyOf(bits) => (JUMP_ANY_OF, bits),
    };
    // A conditional jump reaches 255 instructions, the unconditional one any number.
    match u8::try_from(skipped) {
        Ok(skipped) => code.push(instruction(jump, skipped, 0, operand)),
        Err(_) => {
            let skipped = u32::try_from(skipped).unwrap_or(u32::MAX);
            code.push(instruction(JUMP, 0, 0, skipped));
            code.push(instruction(jump, 0, 1, operand));
        }
    }
    if held != holds {
        if branch.mask != u32::MAX {
            code.push(instruction(AND, 0, 0, branch.mask));
        }
        code.push(instruction(LOAD_WORD, 0, 0, branch.word.offset()));
    }
    code
}

fn instruction(code: u16, if_true: u8, if_false: u8, operand: u32) -> u64 {
    let [c0, c1] = code.to_ne_bytes();
    let [k0, k1, k2, k3] = operand.to_ne_bytes();
    u64::from_ne_bytes([c0, c1, if_true, if_false, k0, k1, k2, k3])
}
