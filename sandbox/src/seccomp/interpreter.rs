//! A BPF interpreter for tests: what the kernel would answer.
#![forbid(unsafe_code)]

use super::bpf::{AND, JUMP, JUMP_ANY_OF, JUMP_AT_LEAST, JUMP_EQUAL, LOAD_WORD, Program, RETURN};

/// A system call as a filter sees it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call {
    pub(super) architecture: u32,
    pub(super) number: u32,
    pub(super) arguments: [u64; 6],
}

impl Program {
    /// The returned action and how many instructions it took. Panics on what the kernel refuses.
    pub(super) fn decide(&self, call: &Call) -> (u32, usize) {
        let code: Vec<_> = self.instructions().collect();
        let (mut accumulator, mut at, mut steps) = (0_u32, 0_usize, 0_usize);
        loop {
            steps += 1;
            let (operation, if_true, if_false, k) = code[at];
            at += 1;
            let branch = |taken: bool| usize::from(if taken { if_true } else { if_false });
            match operation {
                LOAD_WORD => accumulator = load(call, k),
                AND => accumulator &= k,
                JUMP => at += usize::try_from(k).unwrap(),
                JUMP_EQUAL => at += branch(accumulator == k),
                JUMP_AT_LEAST => at += branch(accumulator >= k),
                JUMP_ANY_OF => at += branch(accumulator & k != 0),
                RETURN => return (k, steps),
                other => panic!("unknown instruction {other:#x}"),
            }
        }
    }
}

fn load(call: &Call, offset: u32) -> u32 {
    let word = |value: u64, high: bool| {
        u32::try_from(if high {
            value >> 32
        } else {
            value & 0xffff_ffff
        })
        .unwrap()
    };
    match offset {
        0 => call.number,
        4 => call.architecture,
        16..64 if offset.is_multiple_of(4) => {
            let index = usize::try_from((offset - 16) / 8).unwrap();
            word(call.arguments[index], offset % 8 == 4)
        }
        other => panic!("load of offset {other}"),
    }
}
