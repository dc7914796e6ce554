//! A seccomp program as the kernel takes it, made here or given.
#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};

/// A filter: each word holds the bytes of one `struct sock_filter`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program(Vec<u64>);

/// Bytes that the kernel would not take for a seccomp program.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProgramError {
    #[error("a seccomp program of {0} bytes: the size has to be a multiple of 8")]
    Size(usize),
    #[error("the seccomp program is empty")]
    Empty,
    #[error("the seccomp program has {0} instructions, the kernel takes 4096")]
    TooLong(usize),
    #[error("instruction {at} of the seccomp program ({code:#06x}) is none that seccomp knows")]
    Unknown { at: usize, code: u16 },
    #[error("instruction {at} of the seccomp program loads from {offset}, where nothing is")]
    Load { at: usize, offset: u32 },
    #[error("instruction {at} of the seccomp program divides by zero or shifts by {by}")]
    Operand { at: usize, by: u32 },
    #[error("instruction {at} of the seccomp program jumps out of it")]
    Jump { at: usize },
    #[error("the seccomp program does not end with a return")]
    NoReturn,
}

/// The kernel's `BPF_MAXINSNS`.
pub(super) const MAX_INSTRUCTIONS: usize = 4096;

impl Program {
    /// Takes a program as `bwrap --seccomp` and `seccomp_export_bpf(3)` have it: an array of `struct
    /// sock_filter` in the machine's byte order. Checks each instruction as the kernel will; what
    /// remains for the kernel is whether scratch memory is written before it is read.
    ///
    /// # Errors
    /// [`ProgramError`]; instructions are counted from 0.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ProgramError> {
        let (words, rest) = bytes.as_chunks::<8>();
        if !rest.is_empty() {
            return Err(ProgramError::Size(bytes.len()));
        }
        if words.is_empty() {
            return Err(ProgramError::Empty);
        }
        if words.len() > MAX_INSTRUCTIONS {
            return Err(ProgramError::TooLong(words.len()));
        }
        let program = Self(words.iter().copied().map(u64::from_ne_bytes).collect());
        let last = words.len() - 1;
        for (at, instruction) in program.instructions().enumerate() {
            instruction.check(at, last)?;
        }
        match program.instructions().last() {
            Some(end) if RETURNS.contains(&end.code) => Ok(program),
            _ => Err(ProgramError::NoReturn),
        }
    }

    pub(super) fn assembled(code: Vec<u64>) -> Self {
        Self(code)
    }

    pub fn words(&self) -> &[u64] {
        &self.0
    }

    /// How many instructions it has.
    #[allow(
        clippy::len_without_is_empty,
        reason = "an empty program cannot be made"
    )]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn instructions(&self) -> impl Iterator<Item = Instruction> {
        self.0.iter().map(|item| {
            let [c0, c1, if_true, if_false, k0, k1, k2, k3] = item.to_ne_bytes();
            Instruction {
                code: u16::from_ne_bytes([c0, c1]),
                if_true,
                if_false,
                operand: u32::from_ne_bytes([k0, k1, k2, k3]),
            }
        })
    }
}

/// One `struct sock_filter`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Instruction {
    pub(super) code: u16,
    pub(super) if_true: u8,
    pub(super) if_false: u8,
    pub(super) operand: u32,
}

const LOAD_ABSOLUTE: u16 = 0x20;
/// The size of `struct seccomp_data`.
const DATA_SIZE: u32 = 64;
/// The words of scratch memory that a program has (`BPF_MEMWORDS`).
const MEMORY_WORDS: u32 = 16;
const RETURNS: [u16; 2] = [0x06, 0x16];
/// Of the constants a shift or division takes.
const SHIFTS: [u16; 2] = [0x64, 0x74];
const DIVIDE: u16 = 0x34;
/// `LD IMM`, `LD LEN`, `LDX IMM`, `LDX LEN`, `TAX`, `TXA`, `NEG`, and arithmetic with a constant or
/// with the index register: what seccomp takes (`seccomp_check_filter` in the kernel).
const PLAIN: [u16; 23] = [
    0x00, 0x80, 0x01, 0x81, 0x07, 0x87, 0x84, 0x04, 0x0c, 0x14, 0x1c, 0x24, 0x2c, 0x3c, 0x44, 0x4c,
    0x54, 0x5c, 0x6c, 0x7c, 0xa4, 0xac, 0x34,
];
/// `LD MEM`, `LDX MEM`, `ST`, `STX`.
const MEMORY: [u16; 4] = [0x60, 0x61, 0x02, 0x03];
const JUMP_ALWAYS: u16 = 0x05;
/// `JEQ`, `JGT`, `JGE`, `JSET` with a constant or with the index register.
const JUMPS: [u16; 8] = [0x15, 0x1d, 0x25, 0x2d, 0x35, 0x3d, 0x45, 0x4d];

impl Instruction {
    fn check(&self, at: usize, last: usize) -> Result<(), ProgramError> {
        let operand = self.operand;
        let reaches = |offset: usize| {
            if at + 1 + offset <= last {
                Ok(())
            } else {
                Err(ProgramError::Jump { at })
            }
        };
        match self.code {
            LOAD_ABSOLUTE if operand >= DATA_SIZE || !operand.is_multiple_of(4) => {
                Err(ProgramError::Load {
                    at,
                    offset: operand,
                })
            }
            code if MEMORY.contains(&code) && operand >= MEMORY_WORDS => Err(ProgramError::Load {
                at,
                offset: operand,
            }),
            DIVIDE if operand == 0 => Err(ProgramError::Operand { at, by: operand }),
            code if SHIFTS.contains(&code) && operand >= 32 => {
                Err(ProgramError::Operand { at, by: operand })
            }
            JUMP_ALWAYS => reaches(usize::try_from(operand).unwrap_or(usize::MAX - at - 1)),
            code if JUMPS.contains(&code) => {
                reaches(usize::from(self.if_true))?;
                reaches(usize::from(self.if_false))
            }
            LOAD_ABSOLUTE => Ok(()),
            code if MEMORY.contains(&code)
                || SHIFTS.contains(&code)
                || RETURNS.contains(&code)
                || PLAIN.contains(&code) =>
            {
                Ok(())
            }
            code => Err(ProgramError::Unknown { at, code }),
        }
    }
}
