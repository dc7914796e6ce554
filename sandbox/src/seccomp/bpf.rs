//! A small assembler for seccomp's BPF (`Documentation/userspace-api/seccomp_filter.rst`).
//!
//! A filter is a decision tree: every inner node compares one word of `struct seccomp_data`, every
//! leaf returns. Equal subtrees exist once in a [`Tree`], so a chain of rules costs its length, and
//! comparing two subtrees is comparing two numbers.
#![forbid(unsafe_code)]

use std::collections::HashMap;

use super::program::Program;

/// A subtree: what is returned, or which comparison comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Node {
    Return(u32),
    /// An index into its [`Tree`].
    Branch(usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Branch {
    pub(super) word: Word,
    /// Applied to the word before the test; all ones changes nothing.
    pub(super) mask: u32,
    pub(super) test: Test,
    pub(super) yes: Node,
    pub(super) no: Node,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Test {
    Equal(u32),
    AtLeast(u32),
    /// At least one of these bits.
    AnyOf(u32),
}

/// A word of `struct seccomp_data`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Word {
    Number,
    Architecture,
    /// The low half of an argument: all that the kernel reads of an `int`.
    ArgumentLow(u8),
    ArgumentHigh(u8),
}

impl Word {
    fn offset(self) -> u32 {
        match self {
            Self::Number => 0,
            Self::Architecture => 4,
            // All architectures with a table here are little-endian.
            Self::ArgumentLow(index) => 16 + 8 * u32::from(index),
            Self::ArgumentHigh(index) => 20 + 8 * u32::from(index),
        }
    }
}

/// The branches of one program.
#[derive(Debug, Default)]
pub(super) struct Tree {
    branches: Vec<Branch>,
    known: HashMap<Branch, Node>,
}

impl Tree {
    /// A comparison; or its outcome, where both are the same.
    pub(super) fn branch(&mut self, branch: Branch) -> Node {
        if branch.yes == branch.no {
            return branch.yes;
        }
        let next = Node::Branch(self.branches.len());
        let node = *self.known.entry(branch).or_insert(next);
        if node == next {
            self.branches.push(branch);
        }
        node
    }

    /// A comparison of a whole word.
    pub(super) fn compare(&mut self, word: Word, test: Test, yes: Node, no: Node) -> Node {
        self.branch(Branch {
            word,
            mask: u32::MAX,
            test,
            yes,
            no,
        })
    }

    pub(super) fn assemble(&self, root: Node) -> Program {
        let mut assembler = Assembler {
            tree: self,
            code: Vec::new(),
            entries: HashMap::new(),
        };
        let entry = assembler.emit(root, None);
        // The root is made last, so it stands first; a memorised one would not.
        debug_assert_eq!(entry + 1, assembler.code.len());
        assembler.code.reverse();
        Program::assembled(assembler.code)
    }
}

pub(super) const LOAD_WORD: u16 = 0x20;
pub(super) const AND: u16 = 0x54;
pub(super) const JUMP: u16 = 0x05;
pub(super) const JUMP_EQUAL: u16 = 0x15;
pub(super) const JUMP_AT_LEAST: u16 = 0x35;
pub(super) const JUMP_ANY_OF: u16 = 0x45;
pub(super) const RETURN: u16 = 0x06;

/// The word and the mask that the accumulator holds.
type Held = Option<(Word, u32)>;

/// Makes the code backwards: jumps only lead forwards, so what is jumped to is there already.
struct Assembler<'a> {
    tree: &'a Tree,
    /// The last instruction first.
    code: Vec<u64>,
    /// Where the code of a subtree starts, as an index into `code`.
    entries: HashMap<(Node, Held), usize>,
}

/// A conditional jump reaches 255 instructions; a few of them are left for what comes in between.
const REACH: usize = 250;

impl Assembler<'_> {
    /// Where the subtree starts, within the reach of the next instruction.
    fn emit(&mut self, node: Node, held: Held) -> usize {
        let key = match node {
            Node::Return(_) => (node, None),
            Node::Branch(_) => (node, held),
        };
        if let Some(entry) = self.entries.get(&key) {
            let entry = *entry;
            // A return is as short as the jump to it.
            if self.is_near(entry) || matches!(node, Node::Branch(_)) {
                let near = self.near(entry);
                self.entries.insert(key, near);
                return near;
            }
        }
        match node {
            Node::Return(value) => self.push(instruction(RETURN, 0, 0, value)),
            Node::Branch(index) => self.emit_branch(index, held),
        };
        let entry = self.code.len() - 1;
        self.entries.insert(key, entry);
        entry
    }

    fn emit_branch(&mut self, index: usize, held: Held) {
        let Some(branch) = self.tree.branches.get(index).copied() else {
            return;
        };
        let holds = Some((branch.word, branch.mask));
        let yes = self.emit(branch.yes, holds);
        let no = self.emit(branch.no, holds);
        // The code of "no" may have pushed "yes" out of reach.
        let yes = self.near(yes);
        let no = self.near(no);
        let (jump, operand) = match branch.test {
            Test::Equal(value) => (JUMP_EQUAL, value),
            Test::AtLeast(value) => (JUMP_AT_LEAST, value),
            Test::AnyOf(bits) => (JUMP_ANY_OF, bits),
        };
        let (if_true, if_false) = (self.distance(yes), self.distance(no));
        self.push(instruction(jump, if_true, if_false, operand));
        if held != holds {
            if branch.mask != u32::MAX {
                self.push(instruction(AND, 0, 0, branch.mask));
            }
            self.push(instruction(LOAD_WORD, 0, 0, branch.word.offset()));
        }
    }

    /// The same place, or a jump to it that is near.
    fn near(&mut self, entry: usize) -> usize {
        if self.is_near(entry) {
            return entry;
        }
        let skipped = u32::try_from(self.code.len() - entry - 1).unwrap_or(u32::MAX);
        self.push(instruction(JUMP, 0, 0, skipped));
        self.code.len() - 1
    }

    fn is_near(&self, entry: usize) -> bool {
        self.code.len() - entry <= REACH
    }

    /// How many instructions the next one skips to get there.
    fn distance(&self, entry: usize) -> u8 {
        u8::try_from(self.code.len() - entry - 1).unwrap_or(u8::MAX)
    }

    fn push(&mut self, instruction: u64) {
        self.code.push(instruction);
    }
}

fn instruction(code: u16, if_true: u8, if_false: u8, operand: u32) -> u64 {
    let [c0, c1] = code.to_ne_bytes();
    let [k0, k1, k2, k3] = operand.to_ne_bytes();
    u64::from_ne_bytes([c0, c1, if_true, if_false, k0, k1, k2, k3])
}
