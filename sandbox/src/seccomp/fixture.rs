//! What the tests of filters share.
#![forbid(unsafe_code)]

use super::interpreter::Call;
use super::{Program, compile};
use crate::config::{
    Abi, Architectures, Refusal, SystemCallEntry, SystemCallFilter, SystemCalls, Walls,
};
use crate::host::{Architecture, Host};

/// No wall that has to do with system calls, on the native architecture only.
pub(super) fn open_walls() -> Walls {
    Walls {
        no_new_privileges: true,
        capability_bounding_set: vec![],
        system_calls: SystemCalls {
            architectures: Architectures::NATIVE,
            ..SystemCalls::default()
        },
        ..Walls::bare()
    }
}

pub(super) fn filtered(allow: bool, entries: &[(&str, bool, Option<i32>)]) -> Walls {
    let mut walls = open_walls();
    walls.system_calls.filter = Some(SystemCallFilter {
        allow,
        entries: entries
            .iter()
            .map(|(name, remove, errno)| SystemCallEntry {
                name: (*name).to_owned(),
                remove: *remove,
                refusal: errno.map(Refusal::Errno),
            })
            .collect(),
    });
    walls
}

/// A compiled filter that can be asked.
#[derive(Debug)]
pub(super) struct Filter {
    pub(super) program: Program,
    architecture: Architecture,
}

impl Filter {
    pub(super) fn of(walls: &Walls) -> Self {
        Self::on(walls, Architecture::X86_64)
    }

    pub(super) fn on(walls: &Walls, architecture: Architecture) -> Self {
        Self::on_host(walls, &Host::of_tests(architecture))
    }

    /// The only filter of these walls.
    pub(super) fn on_host(walls: &Walls, host: &Host) -> Self {
        let mut filters = compile(walls, host).unwrap();
        assert_eq!(filters.len(), 1);
        let program = filters.remove(0).program;
        // What is made here is what the kernel takes.
        let bytes: Vec<u8> = program
            .words()
            .iter()
            .flat_map(|w| w.to_ne_bytes())
            .collect();
        assert_eq!(Program::from_bytes(&bytes).as_ref(), Ok(&program));
        Self {
            program,
            architecture: host.architecture,
        }
    }

    pub(super) fn ask(&self, name: &str, arguments: &[u64]) -> u32 {
        self.ask_as(Abi::native(self.architecture), name, arguments)
    }

    pub(super) fn ask_as(&self, abi: Abi, name: &str, arguments: &[u64]) -> u32 {
        self.decide(abi, abi.number(name).unwrap(), arguments)
    }

    /// By a number of the native ABI.
    pub(super) fn number(&self, number: u32, arguments: &[u64]) -> u32 {
        self.decide(Abi::native(self.architecture), number, arguments)
    }

    fn decide(&self, abi: Abi, number: u32, arguments: &[u64]) -> u32 {
        let mut all = [0; 6];
        all[..arguments.len()].copy_from_slice(arguments);
        let call = Call {
            architecture: abi.audit(),
            number,
            arguments: all,
        };
        self.program.decide(&call).0
    }
}
