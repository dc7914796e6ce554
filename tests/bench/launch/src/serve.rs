//! Boxes that stay, begun and ended as standard input says: one line, one answer, in seconds.
//!
//! * `+ N`: N more at once; answers how long it took until all of their programs ran.
//! * `- N`: ends the N latest: killed, reaped, and their networks given back in one call, as herd's
//!   daemon does it. Answers how long that took, and how long giving back took of it.

use std::io::BufRead;
use std::time::Duration;

use sandbox::Config;
use sandbox::config::Network;

use crate::Result;
use crate::crate_launch::{Engine, Kept, wait};
use crate::sample::now;

pub(crate) fn serve(engine: &Engine, kind: &str) -> Result<()> {
    let config = engine.config(kind)?;
    let mut server = Server {
        engine,
        config,
        begun: 0,
        boxes: Vec::new(),
    };
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let (what, count) = line.split_once(' ').ok_or("no number")?;
        let count: usize = count.parse()?;
        match what {
            "+" => println!("{:.9}", server.begin(count)?.as_secs_f64()),
            "-" => {
                let (all, network) = server.end(count)?;
                println!("{:.9} {:.9}", all.as_secs_f64(), network.as_secs_f64());
            }
            other => return Err(format!("neither + nor -: {other}").into()),
        }
        engine.make_spares();
    }
    let left = server.boxes.len();
    server.end(left).map(drop)
}

struct Server<'a> {
    engine: &'a Engine,
    config: Config,
    begun: usize,
    boxes: Vec<(String, Kept)>,
}

impl Server<'_> {
    fn begin(&mut self, count: usize) -> Result<Duration> {
        let first = self.boxes.len();
        let started = now();
        for _ in 0..count {
            let id = self.place();
            self.boxes.push((id, self.engine.begin(&self.config)?));
        }
        for (_, kept) in &mut self.boxes[first..] {
            kept.await_executed()?;
        }
        Ok(now() - started)
    }

    fn end(&mut self, count: usize) -> Result<(Duration, Duration)> {
        let gone = self.boxes.split_off(self.boxes.len().saturating_sub(count));
        let started = now();
        gone.iter().try_for_each(|(_, kept)| kept.kill())?;
        gone.iter().try_for_each(|(_, kept)| wait(&kept.pidfd))?;
        let reaped = now();
        if self.config_network().is_some() {
            let ids: Vec<&str> = gone.iter().map(|(id, _)| id.as_str()).collect();
            sandbox::network::release(&ids)?;
        }
        let ended = now();
        Ok((ended - started, ended - reaped))
    }

    fn config_network(&mut self) -> Option<&mut sandbox::config::PrivateNetwork> {
        match &mut self.config.walls.as_mut()?.network {
            Network::Private(private) => Some(private),
            Network::Host | Network::None | Network::Loopback => None,
        }
    }

    /// Gives the next box a name, an id and a port of its own.
    fn place(&mut self) -> String {
        self.begun += 1;
        let id = format!("b{}", self.begun);
        let number = u16::try_from(self.boxes.len()).unwrap_or(0);
        if let Some(network) = self.config_network() {
            network.id.clone_from(&id);
            network.name = format!("box{number}");
            for port in &mut network.ports {
                port.host = crate::kinds::FIRST_PORT + number;
            }
        }
        id
    }
}
