//! A launcher that is a program of its own, as a shell would run it.

use std::io::Read;
use std::process::{Command, Stdio};

use crate::Result;
use crate::sample::{Sample, cpu, now, stamp};

pub(crate) fn launch(words: &[String]) -> Result<Sample> {
    let (program, arguments) = words.split_first().ok_or("an empty command")?;
    let (mut out, theirs) = std::io::pipe()?;
    let cpu_before = cpu()?;
    let started = now();
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(theirs)
        .spawn()?;
    let blocked = now() - started;
    let status = child.wait()?;
    let wall = now() - started;
    let used = cpu()? - cpu_before;
    if !status.success() {
        return Err(status.to_string().into());
    }
    let mut bytes = Vec::new();
    out.read_to_end(&mut bytes)?;
    Ok(Sample {
        blocked: Some(blocked),
        executed: stamp(&bytes).map(|stamp| stamp.saturating_sub(started)),
        wall,
        cpu: used,
    })
}
