//! The floor in its own small process: `floor serve FLAGS …`.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use crate::Result;
use crate::sample::Sample;

pub(crate) struct Server {
    child: Child,
    requests: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Server {
    pub(crate) fn start(words: &[String]) -> Result<Self> {
        let (program, arguments) = words.split_first().ok_or("an empty command")?;
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let requests = child.stdin.take();
        let answers = BufReader::new(child.stdout.take().ok_or("no answers")?);
        Ok(Self {
            child,
            requests,
            answers,
        })
    }

    pub(crate) fn launch(&mut self) -> Result<Sample> {
        let requests = self.requests.as_mut().ok_or("the floor is gone")?;
        requests.write_all(b".")?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer)?;
        let times: Vec<Duration> = answer
            .split_whitespace()
            .map(|word| word.parse().map(Duration::from_secs_f64))
            .collect::<std::result::Result<_, _>>()?;
        let [blocked, executed, wall, cpu] = times[..] else {
            return Err(format!("the floor answers {answer:?}").into());
        };
        Ok(Sample {
            blocked: Some(blocked),
            executed: Some(executed),
            wall,
            cpu,
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.requests.take());
        // It ends with its input; how, is of no interest any more.
        self.child.wait().ok();
    }
}
