//! A step that failed, as its caller tells it.
#![forbid(unsafe_code)]

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::filesystem::MountFailure;
use crate::plan::Plan;
use crate::step::Step;
use crate::sys::{Errno, text_of};

/// The step of a plan that could not be done, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepFailure {
    /// From 1.
    pub step: usize,
    pub total: usize,
    pub sentence: String,
    pub errno: i32,
    /// The command itself could not be run: the sentence says everything.
    pub is_command: bool,
    /// What a mount step was about.
    pub mount: Option<Box<MountFailure>>,
}

impl StepFailure {
    /// `step` counts from 0.
    pub(crate) fn new(plan: &Plan, step: usize, errno: Errno) -> Self {
        let (sentence, is_command) = match plan.steps.get(step) {
            Some(Step::Exec(program)) if plan.fail_at != Some(step) => {
                (program.failure(errno.0), true)
            }
            Some(other) => (other.to_string(), false),
            None => ("prepare the plan".to_owned(), false),
        };
        Self {
            step: step + 1,
            total: plan.steps.len(),
            sentence,
            errno: errno.0,
            is_command,
            mount: None,
        }
    }
}

impl fmt::Display for StepFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_command {
            return f.write_str(&self.sentence);
        }
        write!(
            f,
            "{} (step {} of {}): {}",
            self.sentence,
            self.step,
            self.total,
            text_of(self.errno)
        )
    }
}

impl std::error::Error for StepFailure {}
