//! What is alive while launches are timed.

use crate::Result;
use crate::crate_launch::{Engine, Kept, wait};
use crate::options::Options;

pub(crate) struct Population(Vec<Kept>);

impl Population {
    pub(crate) fn start(engine: &Engine, options: &Options) -> Result<Self> {
        let mut population = Self(Vec::with_capacity(options.alive));
        for _ in 0..options.alive {
            population.0.push(engine.keep(&options.alive_kind)?);
        }
        Ok(population)
    }

    pub(crate) fn end(self) -> Result<()> {
        self.0.iter().try_for_each(Kept::kill)?;
        self.0.iter().try_for_each(|kept| wait(&kept.pidfd))
    }
}

/// So much memory, written to.
pub(crate) fn occupy(mib: usize) -> Vec<u8> {
    let mut memory = vec![0; mib << 20];
    memory.iter_mut().step_by(4096).for_each(|byte| *byte = 1);
    memory
}
