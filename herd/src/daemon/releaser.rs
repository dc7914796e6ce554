//! The thread that gives networks back, puts their walls and bridges back where somebody has taken them away, and asks who
//! else has a firewall: it takes milliseconds and may wait for other supervisors of the machine.
//!
//! What is to be given back is a list of ids, which grows by what ends while the thread is at work and
//! is then taken as a whole: it is never longer than the runs that had a network.
#![forbid(unsafe_code)]

use std::cell::Cell;
use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{JoinHandle, Thread};
use std::time::Duration;

use rustix::event::{EventfdFlags, eventfd};
use sandbox::network::{CutOff, Damage, Mending, NetworkError, Repaired, Stranger};

use super::{panic_words, reason};

/// The thread, from the first network on.
#[derive(Debug)]
pub(super) struct Releaser {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    hands: Hands,
    queue: Mutex<Queue>,
    more: Condvar,
    /// An eventfd that the loop listens to: something is done.
    done: OwnedFd,
}

#[derive(Debug, Default)]
struct Queue {
    wanted: Vec<String>,
    /// What nobody gives back any more is to be looked for.
    collects: bool,
    /// Who has touched the tables of the firewall, which are to be looked at.
    touched: Option<Stranger>,
    /// The same, but they could not be put back the last time.
    broken: Option<Stranger>,
    /// Bridges are to be looked at, and whose these interfaces were that have gone.
    links: Option<BTreeSet<String>>,
    /// It is to be asked which firewalls of others forward nothing.
    asks_others: bool,
    done: Vec<Done>,
    is_closed: bool,
}

/// What the thread does.
#[derive(Debug, Clone, Copy)]
struct Hands {
    release: fn(&[&str]) -> Result<(), NetworkError>,
    collect: fn() -> Result<usize, NetworkError>,
    is_any_left: fn() -> bool,
    repair: fn() -> Result<Option<Repaired>, NetworkError>,
    mend: fn(&BTreeSet<String>) -> Result<Mending, NetworkError>,
    others: fn() -> Vec<String>,
    /// Who keeps us from networks at this moment.
    held_by: fn() -> Option<String>,
    /// How often we look again before something is said of them, [`FIRST_WAIT`] apart.
    patience: u32,
}

impl Hands {
    const REAL: Self = Self {
        release: sandbox::network::release,
        collect: sandbox::network::collect,
        is_any_left: || sandbox::network::networks().is_ok_and(|all| !all.is_empty()),
        repair: sandbox::network::repair,
        mend: sandbox::network::mend,
        others: sandbox::network::refusals_to_forward,
        held_by: sandbox::network::held_by,
        patience: 200,
    };
}

/// Given back, or tried.
#[derive(Debug, Default)]
pub(super) struct Done {
    pub(super) ids: Vec<String>,
    pub(super) trouble: Option<Arc<str>>,
    /// What became of the tables of the firewall and of bridges, if they were not as they should be.
    pub(super) put_right: Vec<String>,
    /// Boxes that have lost an interface.
    pub(super) cut_off: Vec<CutOff>,
    /// The chains of others that forward nothing, if they were asked for.
    pub(super) refusals: Option<Vec<String>>,
}

impl Done {
    fn is_nothing(&self) -> bool {
        self.ids.is_empty()
            && self.trouble.is_none()
            && self.put_right.is_empty()
            && self.cut_off.is_empty()
            && self.refusals.is_none()
    }
}

/// What is to be done at once.
#[derive(Debug, Default)]
struct Work {
    ids: Vec<String>,
    touched: Option<Stranger>,
    links: Option<BTreeSet<String>>,
    asks_others: bool,
}

impl Queue {
    fn take_work(&mut self) -> Work {
        Work {
            ids: std::mem::take(&mut self.wanted),
            touched: self.touched.take(),
            links: self.links.take(),
            asks_others: std::mem::take(&mut self.asks_others),
        }
    }

    fn has_work(&self) -> bool {
        !self.wanted.is_empty()
            || self.touched.is_some()
            || self.links.is_some()
            || self.asks_others
    }
}

/// The kernel takes interfaces away some time after their namespace's last process, so what a killed
/// herd has left is looked for a few times: 10 ms after the first, and then twice as long each.
const COLLECTIONS: u32 = 8;
const FIRST_WAIT: Duration = Duration::from_millis(5);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Nothing in there is half done when a thread panics.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// To the end. Who panics on the way is told of, and what it was about is counted as tried: nobody waits for it for
    /// ever, and it is looked for again.
    fn run(&self) {
        let mut collections = 0;
        while let Some(work) = self.take(&mut collections) {
            let mut done = Done::default();
            let step = Cell::new("ask for the firewalls of others");
            let turn = AssertUnwindSafe(|| {
                done.refusals = work.asks_others.then(|| (self.hands.others)());
                step.set("put the walls back");
                done.put_right
                    .extend(self.look_at_tables(work.touched, &mut collections));
                step.set("give back");
                done.trouble = self.turn(&work.ids, &mut collections, &step);
                step.set("put bridges right");
                self.look_at_links(work.links, &mut done);
            });
            if let Err(panic) = catch_unwind(turn) {
                if !work.ids.is_empty() {
                    collections = COLLECTIONS;
                }
                let told = format!(
                    "the step \"{}\" panicked: {}",
                    step.get(),
                    panic_words(&*panic)
                );
                done.trouble = Some(told.into());
            }
            done.ids = work.ids;
            if !done.is_nothing() {
                self.tell(done);
            }
        }
    }

    fn turn(
        &self,
        ids: &[String],
        collections: &mut u32,
        step: &Cell<&'static str>,
    ) -> Option<Arc<str>> {
        let mut trouble = self.give_back(ids);
        if trouble.is_some() {
            // What could not be given back is tried again, as what a killed herd left is.
            *collections = COLLECTIONS;
        }
        if *collections > 0 {
            *collections -= 1;
            step.set("collect");
            match (self.hands.collect)() {
                // Others' are no reason to go on looking, but they are not told apart.
                Ok(_) if !(self.hands.is_any_left)() => *collections = 0,
                Ok(_) => {}
                Err(error) => trouble = trouble.or(Some(reason(&error))),
            }
        }
        trouble
    }

    /// Puts the tables of the firewall back if they are not as they should be; what to say of it. If that fails it is
    /// tried again, as often as what is left is looked for.
    fn look_at_tables(&self, by: Option<Stranger>, collections: &mut u32) -> Option<String> {
        let by = by?;
        match (self.hands.repair)() {
            Ok(repaired) => repaired.map(|repaired| told(&by, repaired)),
            Err(error) => {
                let reason = reason(&error);
                let told = format!(
                    "{by} has changed the tables herd of the firewall, and they cannot be put back: {reason}"
                );
                if *collections == 0 {
                    *collections = COLLECTIONS;
                }
                if *collections > 1 {
                    self.lock().broken = Some(by);
                }
                Some(told)
            }
        }
    }

    /// Puts bridges right that are not as they should be.
    fn look_at_links(&self, gone: Option<BTreeSet<String>>, done: &mut Done) {
        let Some(gone) = gone else {
            return;
        };
        match (self.hands.mend)(&gone) {
            Ok(Mending { mended, cut_off }) => {
                done.put_right
                    .extend(mended.iter().map(ToString::to_string));
                done.cut_off = cut_off;
            }
            Err(error) => done.put_right.push(format!(
                "somebody has changed a bridge of a network, and it cannot be put right: {}",
                reason(&error)
            )),
        }
    }

    /// All at once; where one of them cannot be given back, the others still are.
    fn give_back(&self, ids: &[String]) -> Option<Arc<str>> {
        if ids.is_empty() {
            return None;
        }
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        let release = || (self.hands.release)(&ids).err().map(|error| reason(&error));
        if (self.hands.held_by)().is_none() {
            return release();
        }
        // The kernel gives the lock to those who wait for it, in turn: so we wait too, and somebody looks on.
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let looks = scope.spawn(|| self.tell_who_holds(&is_over));
            let over = Over {
                is_over: &is_over,
                looks: looks.thread(),
            };
            let trouble = release();
            drop(over);
            trouble
        })
    }

    /// Until it is over: says who has the networks, if it is the same one for long.
    fn tell_who_holds(&self, is_over: &AtomicBool) {
        let mut before = None;
        let mut left = self.hands.patience;
        while !is_over.load(Ordering::Acquire) {
            let holder = (self.hands.held_by)();
            left = match holder == before {
                true => left.saturating_sub(1),
                false => self.hands.patience,
            };
            if left == 0 {
                if let Some(holder) = holder {
                    self.tell(Done {
                        trouble: Some(held(&holder)),
                        ..Done::default()
                    });
                }
                return;
            }
            before = holder;
            std::thread::park_timeout(FIRST_WAIT);
        }
    }

    fn tell(&self, done: Done) {
        self.lock().done.push(done);
        // It counts to 2^64; a write that fails would have said nothing new.
        rustix::io::write(&self.done, &1_u64.to_ne_bytes()).ok();
    }

    /// What is to be done next: nothing to give back is a time to collect. `None` at the end.
    fn take(&self, collections: &mut u32) -> Option<Work> {
        let mut queue = self.lock();
        loop {
            if std::mem::take(&mut queue.collects) {
                *collections = COLLECTIONS;
                return Some(queue.take_work());
            }
            if queue.has_work() {
                return Some(queue.take_work());
            }
            if queue.is_closed {
                return None;
            }
            if *collections == 0 {
                let woken = self.more.wait(queue);
                queue = woken.unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let wait = FIRST_WAIT * (1 << (COLLECTIONS - *collections));
            let woken = self.more.wait_timeout(queue, wait);
            let (again, timeout) = woken.unwrap_or_else(PoisonError::into_inner);
            queue = again;
            if timeout.timed_out() {
                queue.touched = queue.broken.take();
                return Some(queue.take_work());
            }
        }
    }
}

/// Ends the look-out, also where a panic ends what it was for.
struct Over<'a> {
    is_over: &'a AtomicBool,
    looks: &'a Thread,
}

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Release);
        self.looks.unpark();
    }
}

fn held(holder: &str) -> Arc<str> {
    format!(
        "{holder} keeps the lock of {}, for which networks wait",
        sandbox::network::BASE
    )
    .into()
}

/// What was done, in one line.
fn told(by: &Stranger, Repaired { damage, boxes }: Repaired) -> String {
    let damage = match damage {
        Damage::Missing => "taken the tables herd of the firewall away",
        Damage::Changed => "changed the tables herd of the firewall",
    };
    let boxes = match boxes {
        1 => "1 box".to_owned(),
        more => format!("{more} boxes"),
    };
    format!("{by} has {damage}: they are back, with the rules of {boxes}")
}

impl Releaser {
    /// Nothing runs before there is something to do.
    ///
    /// # Errors
    /// As `eventfd(2)`.
    pub(super) fn new() -> io::Result<Self> {
        Self::with(Hands::REAL)
    }

    fn with(hands: Hands) -> io::Result<Self> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let shared = Shared {
            hands,
            queue: Mutex::default(),
            more: Condvar::new(),
            done: eventfd(0, flags)?,
        };
        Ok(Self {
            shared: Arc::new(shared),
            thread: None,
        })
    }

    /// What a herd that was killed has left goes.
    pub(super) fn collect(&mut self) {
        self.shared.lock().collects = true;
        self.go_on();
    }

    pub(super) fn give_back(&mut self, ids: impl IntoIterator<Item = String>) {
        self.shared.lock().wanted.extend(ids);
        self.go_on();
    }

    /// Somebody has touched the tables of the firewall. However often, they are looked at once.
    pub(super) fn look_at_tables(&mut self, by: Stranger) {
        self.shared.lock().touched = Some(by);
        self.go_on();
    }

    /// Bridges may have been changed, and these ends of boxes have gone.
    pub(super) fn look_at_links(&mut self, gone: BTreeSet<String>) {
        self.shared
            .lock()
            .links
            .get_or_insert_default()
            .extend(gone);
        self.go_on();
    }

    /// Has it found out which firewalls of others forward nothing.
    pub(super) fn ask_others(&mut self) {
        self.shared.lock().asks_others = true;
        self.go_on();
    }

    fn go_on(&mut self) {
        // One that has ended without being told to has another after it.
        if self.thread.as_ref().is_none_or(JoinHandle::is_finished) {
            let shared = Arc::clone(&self.shared);
            let builder = std::thread::Builder::new().name("networks".to_owned());
            match builder.spawn(move || shared.run()) {
                Ok(thread) => self.thread = Some(thread),
                // The loop has to do it then, rather than nobody.
                Err(_) => {
                    let work = self.shared.lock().take_work();
                    let tables = self.shared.look_at_tables(work.touched, &mut 1);
                    let trouble = self.shared.give_back(&work.ids);
                    self.shared.tell(Done {
                        ids: work.ids,
                        trouble,
                        put_right: tables.into_iter().collect(),
                        ..Done::default()
                    });
                }
            }
        }
        self.shared.more.notify_one();
    }

    pub(super) fn take_done(&self) -> Vec<Done> {
        // The count says nothing; without one there is nothing to take.
        rustix::io::read(&self.shared.done, &mut [0_u8; 8]).ok();
        std::mem::take(&mut self.shared.lock().done)
    }

    /// Waits until everything has been given back, but no longer than ten times as long as nothing is said of who holds
    /// it up: the next herd finds what is left.
    pub(super) fn close(&mut self) -> Vec<Done> {
        self.shared.lock().is_closed = true;
        self.shared.more.notify_one();
        let mut late = None;
        if let Some(thread) = self.thread.take() {
            let mut left = 10 * self.shared.hands.patience;
            while !thread.is_finished() && late.is_none() {
                left = left.saturating_sub(1);
                if left == 0 {
                    late = (self.shared.hands.held_by)();
                }
                std::thread::park_timeout(FIRST_WAIT);
            }
            if late.is_none() {
                // A panic has been printed by the thread itself.
                thread.join().ok();
            }
        }
        let mut done = self.take_done();
        done.extend(late.map(|holder| Done {
            trouble: Some(held(&holder)),
            ..Done::default()
        }));
        done
    }
}

impl AsFd for Releaser {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.shared.done.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hands() -> Hands {
        Hands {
            release: |_| Ok(()),
            collect: || Ok(0),
            is_any_left: || false,
            repair: || Ok(None),
            mend: |_| Ok(Mending::default()),
            others: Vec::new,
            held_by: || None,
            patience: 4,
        }
    }

    /// Waits for what the loop would be woken by.
    fn next(releaser: &Releaser) -> Vec<Done> {
        use rustix::event::{PollFd, PollFlags, poll};
        poll(&mut [PollFd::new(releaser, PollFlags::IN)], None).unwrap();
        releaser.take_done()
    }

    #[test]
    fn a_panic_on_the_way_is_told_by_its_step_and_the_next_is_given_back() {
        let release = |ids: &[&str]| match ids {
            ["bad"] => panic!("{} is\nbad", ids[0]),
            _ => Ok(()),
        };
        let mut releaser = Releaser::with(Hands { release, ..hands() }).unwrap();
        releaser.give_back(["bad".to_owned()]);
        let done = next(&releaser);
        assert_eq!(done[0].ids, ["bad"]);
        let told = "the step \"give back\" panicked: bad is bad";
        assert_eq!(done[0].trouble.as_deref(), Some(told));
        releaser.give_back(["good".to_owned()]);
        let done = next(&releaser);
        assert_eq!(
            (&done[0].ids[0], &done[0].trouble),
            (&"good".to_owned(), &None)
        );
        assert!(releaser.close().is_empty());
    }

    #[test]
    fn looking_for_what_is_left_may_panic_as_often_as_it_is_tried() {
        let collect = || panic!("no");
        let mut releaser = Releaser::with(Hands { collect, ..hands() }).unwrap();
        releaser.collect();
        let mut told = Vec::new();
        while told.len() < COLLECTIONS as usize {
            told.extend(next(&releaser));
        }
        assert!(
            told.iter().all(|done| {
                done.trouble.as_deref() == Some("the step \"collect\" panicked: no")
            })
        );
        releaser.give_back(["good".to_owned()]);
        assert_eq!(next(&releaser)[0].trouble, None);
        assert!(releaser.close().is_empty());
    }

    #[test]
    fn tables_are_put_back_again_until_it_succeeds() {
        use std::sync::atomic::{AtomicU32, Ordering};
        static TRIES: AtomicU32 = AtomicU32::new(0);
        let repair = || match TRIES.fetch_add(1, Ordering::Relaxed) {
            0 => Err(NetworkError::NoFirewall),
            _ => Ok(Some(Repaired {
                damage: Damage::Missing,
                boxes: 1,
            })),
        };
        let is_any_left = || true;
        let hands = Hands {
            repair,
            is_any_left,
            ..hands()
        };
        let mut releaser = Releaser::with(hands).unwrap();
        releaser.look_at_tables(Stranger::default());
        let mut told = Vec::new();
        while told.len() < 2 {
            told.extend(next(&releaser).into_iter().flat_map(|done| done.put_right));
        }
        assert_eq!(
            told,
            [
                "somebody has changed the tables herd of the firewall, and they cannot be put back: this kernel has no nf_tables, which ports, NAT and rules between boxes need",
                "somebody has taken the tables herd of the firewall away: they are back, with the rules of 1 box",
            ]
        );
        assert!(releaser.close().is_empty());
    }

    #[test]
    fn who_keeps_networks_from_being_given_back_is_named_and_holds_up_no_end() {
        let release = |_: &[&str]| loop {
            std::thread::park();
        };
        let held_by = || Some("nft (process 7)".to_owned());
        let hands = Hands {
            release,
            held_by,
            ..hands()
        };
        let mut releaser = Releaser::with(hands).unwrap();
        releaser.give_back(["web".to_owned()]);
        let told = "nft (process 7) keeps the lock of /run/herd/network, for which networks wait";
        assert_eq!(next(&releaser)[0].trouble.as_deref(), Some(told));
        assert_eq!(releaser.close()[0].trouble.as_deref(), Some(told));
    }

    #[test]
    fn who_has_the_networks_for_a_moment_is_not_waited_for_nor_told_of() {
        use std::sync::atomic::AtomicU32;
        static LOOKS: AtomicU32 = AtomicU32::new(0);
        let held_by = || {
            let turn = LOOKS.fetch_add(1, Ordering::Relaxed);
            Some(format!("herd-exec (process {turn})"))
        };
        // Who waits is asked often, and each time it is somebody else who has them.
        let release = |_: &[&str]| {
            while LOOKS.load(Ordering::Relaxed) < 10 {
                std::thread::yield_now();
            }
            Ok(())
        };
        let hands = Hands {
            release,
            held_by,
            ..hands()
        };
        let mut releaser = Releaser::with(hands).unwrap();
        releaser.give_back(["web".to_owned()]);
        let done = next(&releaser);
        assert_eq!((done.len(), &done[0].ids[0]), (1, &"web".to_owned()));
        assert_eq!(done[0].trouble, None);
        assert!(releaser.close().is_empty());
    }

    #[test]
    fn a_thread_that_has_ended_has_another_after_it() {
        let mut releaser = Releaser::with(hands()).unwrap();
        let ended = std::thread::spawn(|| {});
        while !ended.is_finished() {
            std::thread::yield_now();
        }
        releaser.thread = Some(ended);
        releaser.give_back(["good".to_owned()]);
        assert_eq!(next(&releaser)[0].ids, ["good"]);
        assert!(releaser.close().is_empty());
    }
}
