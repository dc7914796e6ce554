//! Filters that have been made before: making one takes a hundred times longer than the rest of a
//! plan, and a supervisor starts the same few boxes again and again.
#![forbid(unsafe_code)]

use std::collections::VecDeque;

use super::compile::{CompileError, Filter, compile};
use crate::config::{EnterRoot, Landlock, Root, RootOverlay, Walls};
use crate::host::{Architecture, Host, KernelVersion};

/// Different boxes on one machine are few; what is pushed out is made again.
const MOST: usize = 32;

/// The filters made last, for [`compile_with`](crate::compile_with).
#[derive(Debug, Default)]
pub struct Memory(VecDeque<Known>);

#[derive(Debug)]
struct Known {
    walls: Walls,
    architecture: Architecture,
    /// Rules of profiles may depend on it.
    kernel: KernelVersion,
    takes_filters: bool,
    filters: Vec<Filter>,
}

impl Memory {
    /// As [`compile`], from memory where that is the same.
    pub(crate) fn compile(
        &mut self,
        walls: &Walls,
        host: &Host,
    ) -> Result<Vec<Filter>, CompileError> {
        let walls = essence(walls);
        let known = self.0.iter().find(|known| {
            known.architecture == host.architecture
                && known.kernel == host.kernel
                && known.takes_filters == host.seccomp
                && known.walls == walls
        });
        if let Some(known) = known {
            return Ok(known.filters.clone());
        }
        let filters = compile(&walls, host)?;
        if self.0.len() == MOST {
            self.0.pop_front();
        }
        self.0.push_back(Known {
            walls,
            architecture: host.architecture,
            kernel: host.kernel,
            takes_filters: host.seccomp,
            filters: filters.clone(),
        });
        Ok(filters)
    }
}

/// The walls without what no filter depends on and what differs from service to service. A wall that
/// is not named here counts.
fn essence(walls: &Walls) -> Walls {
    Walls {
        join: Vec::new(),
        user_namespace: None,
        root: Root::Host,
        root_overlay: RootOverlay::None,
        enter_root: EnterRoot::Pivot,
        hostname: None,
        domainname: None,
        read_only_paths: Vec::new(),
        read_write_paths: Vec::new(),
        inaccessible_paths: Vec::new(),
        no_exec_paths: Vec::new(),
        exec_paths: Vec::new(),
        temporary_file_systems: Vec::new(),
        binds: Vec::new(),
        mounts: Vec::new(),
        landlock: Landlock::default(),
        best_effort: Vec::new(),
        ..walls.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::config::BoxPath;

    #[test]
    fn a_filter_from_memory_is_the_one_that_would_be_made() {
        let host = Host::of_tests(Architecture::X86_64);
        let mut memory = Memory::default();
        let mut walls = Walls::default_box();
        let made = compile(&walls, &host).unwrap();
        for _ in 0..2 {
            assert_eq!(memory.compile(&walls, &host).unwrap(), made);
        }
        walls.read_write_paths.push(BoxPath {
            path: PathBuf::from("/srv"),
            optional: false,
        });
        assert_eq!(memory.compile(&walls, &host).unwrap(), made);
        assert_eq!(memory.0.len(), 1);
        walls.memory_deny_write_execute = true;
        assert_ne!(memory.compile(&walls, &host).unwrap(), made);
        assert_eq!(memory.0.len(), 2);
    }

    #[test]
    fn a_box_with_a_root_of_its_own_has_the_filter_of_one_without() {
        let host = Host::of_tests(Architecture::X86_64);
        let walls = Walls::strict_box();
        let rooted = Walls {
            root: Root::Directory("/srv/root".into()),
            hostname: Some("other".into()),
            ..walls.clone()
        };
        assert_eq!(
            compile(&rooted, &host).unwrap(),
            compile(&walls, &host).unwrap()
        );
    }

    #[test]
    fn what_a_machine_cannot_do_is_not_remembered_from_another() {
        let mut host = Host::of_tests(Architecture::X86_64);
        let mut memory = Memory::default();
        let walls = Walls::default_box();
        assert!(memory.compile(&walls, &host).is_ok());
        host.seccomp = false;
        assert!(memory.compile(&walls, &host).is_err());
    }

    #[test]
    fn memory_is_bounded() {
        let host = Host::of_tests(Architecture::X86_64);
        let mut memory = Memory::default();
        for number in 0..100u16 {
            let mut walls = Walls::bare();
            walls.restrict_realtime = true;
            walls.capability_bounding_set = number.to_ne_bytes().to_vec();
            memory.compile(&walls, &host).unwrap();
        }
        assert_eq!(memory.0.len(), MOST);
    }
}
