//! `examples/stack`: nginx, redis and PostgreSQL as Debian has them, each spoken to by its own client.

mod box_root;
mod faults;
mod life;
mod limits;

use std::fs;

use crate::fixture::{Builder, Herd, Inside};
use crate::needs;

/// From the one in front to the ones behind; the two oneshots run nothing for long.
const SERVICES: [&str; 4] = ["nginx", "app", "redis", "postgres"];
const PAGE: &str = "http://127.0.0.1:8081/";

fn lacks_something() -> bool {
    !(needs::root()
        && needs::unshare(&["--mount", "--net"])
        && needs::program("ip")
        && needs::program("curl")
        && needs::program("nginx")
        && needs::program("redis-server")
        && needs::program("redis-cli")
        && needs::path("/usr/lib/postgresql"))
}

/// The stack, running, with a way in.
struct Stack {
    herd: Herd,
    inside: Inside,
}

impl Stack {
    /// `None` where it cannot run; that has been told.
    fn start() -> Option<Self> {
        Self::start_with(Builder::apart)
    }

    fn start_with(places: impl FnOnce(Builder) -> Builder) -> Option<Self> {
        if lacks_something() {
            return None;
        }
        let herd = places(Herd::builder()).example("stack").start();
        let inside = herd.inside();
        let stack = Self { herd, inside };
        stack.herd.wait_state("nginx", "active");
        Some(stack)
    }

    fn visit(&self) -> String {
        self.inside.get(PAGE)
    }

    fn redis(&self, words: &[&str]) -> String {
        let client = ["redis-cli", "-s", "/run/herd-stack/redis/redis.sock"];
        self.inside.ok(&[&client, words].concat()).trim().to_owned()
    }

    fn psql(&self, query: &str) -> String {
        let script = "for d in /usr/lib/postgresql/*/bin; do :; done; \
            exec setpriv --reuid postgres --regid postgres --init-groups -- \
            \"$d/psql\" -XAtq -v ON_ERROR_STOP=1 -h /run/herd-stack/postgres -d postgres -c \"$1\"";
        self.inside
            .ok(&["sh", "-c", script, "sh", query])
            .trim()
            .to_owned()
    }

    /// The processes that do the work, in the order of [`SERVICES`].
    fn pids(&self) -> [i32; 4] {
        SERVICES.map(|name| self.herd.main_pid(name))
    }

    /// Every part answers its own client.
    #[track_caller]
    fn assert_answers(&self) {
        assert_eq!(self.redis(&["PING"]), "PONG");
        assert_eq!(self.psql("SELECT count(*) FROM greetings"), "3");
        let page = self.visit();
        assert!(page.contains(", visitor "), "{page}");
        assert!(
            self.inside
                .get(&format!("{PAGE}static/index.html"))
                .contains('<')
        );
    }
}
