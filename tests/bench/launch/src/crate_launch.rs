//! Launches through the sandbox crate, as the daemon does them.

use std::cell::RefCell;
use std::fs::File;
use std::io::{PipeReader, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};
use sandbox::status::{self, Message};
use sandbox::{Config, Files, Host, Launched, Launcher, Plan, seccomp};

use crate::options::Options;
use crate::sample::{Sample, cpu, now, stamp};
use crate::{Result, kinds};

pub(crate) struct Engine {
    host: Host,
    launcher: Launcher,
    filters: RefCell<seccomp::Memory>,
    null: File,
    root: PathBuf,
    program: PathBuf,
}

pub(crate) struct Prepared {
    pub(crate) name: String,
    config: Config,
}

impl Engine {
    pub(crate) fn new(options: &Options) -> Result<Self> {
        let launcher = match &options.executor {
            Some(path) => Launcher::with_executor(File::open(path)?.into())?,
            None => Launcher::new()?,
        };
        Ok(Self {
            host: Host::detect()?,
            filters: RefCell::default(),
            launcher: launcher.keep_spares(options.spares),
            null: File::options().read(true).write(true).open("/dev/null")?,
            root: options.root.clone(),
            program: options.program.clone(),
        })
    }

    pub(crate) fn prepare(&self, kind: &str) -> Result<Prepared> {
        let config = kinds::config(kind, &self.host, &self.root, &self.program, &["stamp"])?;
        Ok(Prepared {
            name: format!("crate:{kind}"),
            config,
        })
    }

    /// One launch from a config: compiling it is part of what the caller is held up by.
    pub(crate) fn launch(&self, prepared: &Prepared) -> Result<Sample> {
        let (mut out, theirs) = std::io::pipe()?;
        let cpu_before = cpu()?;
        let started = now();
        let plan = self.compile(&prepared.config)?;
        let files = Files {
            stdin: self.null.as_fd(),
            stdout: theirs.as_fd(),
            stderr: self.null.as_fd(),
            passed: &[],
            held: &[],
            own: &[],
        };
        let launched = self.launcher.launch(&plan, files)?;
        let blocked = now() - started;
        drop(theirs);
        let (out_bytes, pidfd) = follow(&self.launcher, launched, &mut out)?;
        wait(&pidfd)?;
        let wall = now() - started;
        let used = cpu()? - cpu_before;
        Ok(Sample {
            blocked: Some(blocked),
            executed: stamp(&out_bytes).map(|stamp| stamp.saturating_sub(started)),
            wall,
            cpu: used,
        })
    }

    fn compile(&self, config: &Config) -> Result<Plan> {
        Ok(sandbox::compile_with(
            config,
            &self.host,
            &mut self.filters.borrow_mut(),
        )?)
    }

    /// A child that stays until it is killed; comes back when it runs.
    pub(crate) fn keep(&self, kind: &str) -> Result<Kept> {
        let config = kinds::config(kind, &self.host, &self.root, &self.program, &["pause"])?;
        let mut kept = self.begin(&config)?;
        kept.await_executed()?;
        Ok(kept)
    }

    /// A config whose program stays.
    pub(crate) fn config(&self, kind: &str) -> Result<Config> {
        kinds::config(kind, &self.host, &self.root, &self.program, &["pause"])
    }

    /// Launches, and waits for nothing.
    pub(crate) fn begin(&self, config: &Config) -> Result<Kept> {
        let plan = self.compile(config)?;
        let files = Files {
            stdin: self.null.as_fd(),
            stdout: self.null.as_fd(),
            stderr: self.null.as_fd(),
            passed: &[],
            held: &[],
            own: &[],
        };
        let launched = self.launcher.launch(&plan, files)?;
        Ok(Kept {
            pidfd: launched.pidfd,
            main: None,
            status: launched.status,
        })
    }

    pub(crate) fn make_spares(&self) {
        self.launcher.make_spares();
    }
}

/// A child that stays, with the descriptors that a supervisor holds of it.
pub(crate) struct Kept {
    pub(crate) pidfd: OwnedFd,
    pub(crate) main: Option<OwnedFd>,
    pub(crate) status: Option<OwnedFd>,
}

impl Kept {
    /// Until its program runs.
    pub(crate) fn await_executed(&mut self) -> Result<()> {
        let Some(channel) = self.status.take() else {
            return Ok(());
        };
        loop {
            match next(&channel)? {
                Message::Executed => break,
                Message::Moved {
                    pidfd, main_pidfd, ..
                } => {
                    wait(&std::mem::replace(&mut self.pidfd, pidfd))?;
                    self.main = main_pidfd;
                }
                Message::Executing => {}
                Message::Main { pidfd, .. } => self.main = Some(pidfd),
                Message::Closed => break,
                other @ (Message::Failed(_)
                | Message::Stopped(_)
                | Message::AtGate { .. }
                | Message::Exited(_)) => {
                    return Err(format!("{other:?}").into());
                }
            }
        }
        self.status = Some(channel);
        Ok(())
    }

    pub(crate) fn kill(&self) -> Result<()> {
        Ok(pidfd_send_signal(&self.pidfd, Signal::KILL)?)
    }
}

/// Reads all that the program and the launch have to say; gives what is left to be reaped.
fn follow(
    launcher: &Launcher,
    launched: Launched,
    out: &mut PipeReader,
) -> Result<(Vec<u8>, OwnedFd)> {
    let mut pidfd = launched.pidfd;
    let mut bytes = Vec::new();
    let Some(channel) = launched.status else {
        out.read_to_end(&mut bytes)?;
        return Ok((bytes, pidfd));
    };
    loop {
        match next(&channel)? {
            Message::Moved { pidfd: init, .. } => {
                // The executor has nothing left to do but to end.
                wait(&std::mem::replace(&mut pidfd, init))?;
            }
            Message::Executed => launcher.make_spares(),
            Message::Exited(_)
            | Message::Stopped(_)
            | Message::Executing
            | Message::Main { .. }
            | Message::AtGate { .. } => {}
            Message::Closed => break,
            Message::Failed(failure) => return Err(failure.into()),
        }
    }
    out.read_to_end(&mut bytes)?;
    Ok((bytes, pidfd))
}

fn next(channel: &OwnedFd) -> Result<Message> {
    loop {
        if let Some(message) = status::receive(channel.as_fd())? {
            return Ok(message);
        }
        poll(&mut [PollFd::new(channel, PollFlags::IN)], None)?;
    }
}

pub(crate) fn wait(pidfd: &OwnedFd) -> Result<()> {
    waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED)?;
    Ok(())
}
