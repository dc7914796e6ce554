//! Runs a program made here as the kernel would: for tests, and to know what a filter does to the
//! installation of the next one.
#![forbid(unsafe_code)]

use super::answer::KILL_PROCESS;
use super::bpf::{AND, JUMP, JUMP_ANY_OF, JUMP_AT_LEAST, JUMP_EQUAL, LOAD_WORD, RETURN};
use super::program::Program;

/// A system call as a filter sees it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call {
    pub(super) architecture: u32,
    pub(super) number: u32,
    pub(super) arguments: [u64; 6],
}

impl Program {
    /// The returned action and how many instructions it took. An instruction that the assembler
    /// does not make kills.
    pub(super) fn decide(&self, call: &Call) -> (u32, usize) {
        let code: Vec<_> = self.instructions().collect();
        let (mut accumulator, mut at, mut steps) = (0_u32, 0_usize, 0_usize);
        while let Some(instruction) = code.get(at) {
            steps += 1;
            at += 1;
            let k = instruction.operand;
            let branch = |taken: bool| {
                usize::from(if taken {
                    instruction.if_true
                } else {
                    instruction.if_false
                })
            };
            match instruction.code {
                LOAD_WORD => accumulator = call.load(k),
                AND => accumulator &= k,
                JUMP => at = at.saturating_add(usize::try_from(k).unwrap_or(usize::MAX)),
                JUMP_EQUAL => at += branch(accumulator == k),
                JUMP_AT_LEAST => at += branch(accumulator >= k),
                JUMP_ANY_OF => at += branch(accumulator & k != 0),
                RETURN => return (k, steps),
                _ => break,
            }
        }
        (KILL_PROCESS, steps)
    }
}

impl Call {
    /// The word at this offset of `struct seccomp_data`; the instruction pointer is 0.
    fn load(&self, offset: u32) -> u32 {
        match offset {
            0 => self.number,
            4 => self.architecture,
            _ => {
                let index = usize::try_from(offset.saturating_sub(16) / 8).unwrap_or(usize::MAX);
                let value = self.arguments.get(index).copied().unwrap_or(0);
                let [a, b, c, d, e, f, g, h] = value.to_le_bytes();
                if offset.is_multiple_of(8) {
                    u32::from_le_bytes([a, b, c, d])
                } else {
                    u32::from_le_bytes([e, f, g, h])
                }
            }
        }
    }
}
