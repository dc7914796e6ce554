//! The walls between boxes on networks are rules of the firewall, which other programs may clear (`nft flush ruleset`, as a
//! reload of `nftables.service` does it), and boxes are on bridges, which anybody may remove. The kernel says so to who
//! listens; herd does as long as a service of its own has a network, and has all of it looked at and put back.
#![forbid(unsafe_code)]

use std::io;
use std::os::fd::AsFd;

use mio::{Interest, Token};
use sandbox::network::{LinkWatch, Watch};

use super::Daemon;
use super::sources::Source;

/// What is listened to.
#[derive(Debug, Default)]
pub(super) struct Watches {
    firewall: Option<(Watch, Token)>,
    links: Option<(LinkWatch, Token)>,
    /// There is more of them to hear, and nothing will say so.
    firewall_unheard: bool,
    links_unheard: bool,
    /// Both were begun, whatever became of it.
    is_begun: bool,
}

impl Watches {
    pub(super) fn is_unheard(&self) -> bool {
        self.firewall_unheard || self.links_unheard
    }
}

impl Daemon {
    /// Before the first box has rules.
    pub(super) fn watch_networks(&mut self) {
        if std::mem::replace(&mut self.watches.is_begun, true) {
            return;
        }
        self.releaser.ask_others();
        match Watch::new().and_then(|watch| self.listen(watch, Source::Firewall)) {
            Ok(watched) => self.watches.firewall = Some(watched),
            // Without netfilter there will be no box either, and that is told by name.
            Err(error) if error.raw_os_error() == Some(libc::EPROTONOSUPPORT) => {}
            Err(error) => self.note(&format!(
                "cannot listen to changes of the firewall: {error}; walls that somebody clears come back with the next box"
            )),
        }
        match LinkWatch::new().and_then(|watch| self.listen(watch, Source::Links)) {
            Ok(watched) => self.watches.links = Some(watched),
            Err(error) => self.note(&format!(
                "cannot listen to changes of interfaces: {error}; a bridge that somebody removes comes back with the next box"
            )),
        }
    }

    fn listen<W: AsFd>(&mut self, watch: W, source: Source) -> io::Result<(W, Token)> {
        let registry = self.poll.registry();
        let readable = Interest::READABLE;
        let token = self.sources.add(registry, &watch, source, readable)?;
        Ok((watch, token))
    }

    /// Told once, not at each turn of a crash loop.
    pub(super) fn tell_refusals(&mut self, refusals: Vec<String>) {
        for chain in refusals
            .iter()
            .filter(|chain| !self.refusals_told.contains(chain))
        {
            self.note(&format!(
                "{chain} drops what is forwarded, unless a rule of its own lets it through: boxes reach nobody outside, nor are \
                 their ports reached, before it lets herd's bridges pass (\"The way of a packet\" in herd.unit(5))"
            ));
        }
        self.refusals_told = refusals;
    }

    /// When the last box has gone.
    pub(super) fn leave_networks(&mut self) {
        let registry = self.poll.registry();
        let watches = std::mem::take(&mut self.watches);
        if let Some((watch, token)) = watches.firewall {
            self.sources.remove(registry, &watch, token);
        }
        if let Some((watch, token)) = watches.links {
            self.sources.remove(registry, &watch, token);
        }
    }

    pub(super) fn hear_firewall(&mut self) {
        let Some((watch, _)) = &mut self.watches.firewall else {
            return;
        };
        let heard = watch.hear();
        self.watches.firewall_unheard = heard.is_more;
        if let Some(by) = heard.by {
            self.releaser.look_at_tables(by);
        }
    }

    pub(super) fn hear_links(&mut self) {
        let Some((watch, _)) = &mut self.watches.links else {
            return;
        };
        let heard = watch.hear();
        self.watches.links_unheard = heard.is_more;
        if heard.is_touched {
            self.releaser.look_at_links(heard.gone);
        }
    }

    /// What was too much the last time.
    pub(super) fn hear_the_rest(&mut self) {
        if std::mem::take(&mut self.watches.firewall_unheard) {
            self.hear_firewall();
        }
        if std::mem::take(&mut self.watches.links_unheard) {
            self.hear_links();
        }
    }
}
