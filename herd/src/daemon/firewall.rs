//! The walls between boxes on networks are rules of the firewall, which other programs may clear (`nft flush ruleset`, as a
//! reload of `nftables.service` does it). The kernel says so to who listens; herd does as long as a service of its own
//! has a network, and has the rules looked at and put back.
#![forbid(unsafe_code)]

use mio::Interest;
use sandbox::network::Watch;

use super::Daemon;
use super::sources::Source;

impl Daemon {
    /// Before the first box has rules.
    pub(super) fn watch_firewall(&mut self) {
        if self.firewall.is_some() {
            return;
        }
        let registry = self.poll.registry();
        let watched = Watch::new().and_then(|watch| {
            let (source, readable) = (Source::Firewall, Interest::READABLE);
            let token = self.sources.add(registry, &watch, source, readable)?;
            Ok((watch, token))
        });
        let refusals = sandbox::network::refusals_to_forward();
        // Told once, not at each turn of a crash loop.
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
        match watched {
            Ok(watched) => self.firewall = Some(watched),
            // Without netfilter there will be no box either, and that is told by name.
            Err(error) if error.raw_os_error() == Some(libc::EPROTONOSUPPORT) => {}
            Err(error) => self.note(&format!(
                "cannot listen to changes of the firewall: {error}; walls that somebody clears come back with the next box"
            )),
        }
    }

    /// When the last box has gone.
    pub(super) fn leave_firewall(&mut self) {
        if let Some((watch, token)) = self.firewall.take() {
            self.sources.remove(self.poll.registry(), &watch, token);
        }
        self.firewall_unheard = false;
    }

    pub(super) fn hear_firewall(&mut self) {
        let Some((watch, _)) = &mut self.firewall else {
            return;
        };
        let heard = watch.hear();
        self.firewall_unheard = heard.is_more;
        if let Some(by) = heard.by {
            self.releaser.look_at_tables(by);
        }
    }
}
