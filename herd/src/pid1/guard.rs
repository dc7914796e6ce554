//! Who ends the machine when its end hangs: a thread that is made while all is well, and waits.
//!
//! At the end it may be too late to make one: process numbers or memory can be what is short. Then what may hang is
//! done by the only other thread, which a signal does not reach while the kernel holds it (a timer's neither).
#![forbid(unsafe_code)]

use std::io;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::power::{Power, now, say, tell_kernel};

/// It does little.
const STACK: usize = 128 * 1024;

static GUARD: Mutex<Option<Sender<Order>>> = Mutex::new(None);

/// At that time the machine is to have ended.
#[derive(Debug, Clone, Copy)]
struct Order {
    power: Power,
    at: Instant,
}

/// Makes it, unless it is there. The thread hears of the signals that the caller does.
///
/// # Errors
/// When the kernel gives no thread.
pub fn stand_by() -> io::Result<()> {
    let mut guard = GUARD.lock().unwrap_or_else(PoisonError::into_inner);
    if guard.is_some() {
        return Ok(());
    }
    let (tell, told) = mpsc::channel();
    let wait = move || {
        if let Some(power) = wait(&told) {
            say(&format!("the end has not come in its time; {power} now"));
            let Err(error) = tell_kernel(power);
            say(&format!("the kernel does not do it: {error}"));
        }
    };
    thread::Builder::new()
        .name("herd-guard".to_owned())
        .stack_size(STACK)
        .spawn(wait)?;
    *guard = Some(tell);
    Ok(())
}

/// After that time the machine ends in that way without anything else being waited for. Of several times the first
/// counts, of several ways the last.
pub fn watch_over(power: Power, limit: Duration) {
    if let Err(error) = stand_by() {
        say(&format!("nothing watches over the end: {error}"));
    }
    let order = Order {
        power,
        at: now() + limit,
    };
    let guard = GUARD.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(guard) = &*guard {
        // It listens until the machine has ended.
        guard.send(order).ok();
    }
}

/// `None` when nobody will ever say anything.
fn wait(orders: &Receiver<Order>) -> Option<Power> {
    let mut order = orders.recv().ok()?;
    loop {
        let left = order.at.saturating_duration_since(now());
        match orders.recv_timeout(left) {
            Ok(later) => {
                order = Order {
                    power: later.power,
                    at: order.at.min(later.at),
                }
            }
            Err(RecvTimeoutError::Timeout) => return Some(order.power),
            // Who could give one is kept for as long as the process lives.
            Err(RecvTimeoutError::Disconnected) => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_time_and_the_last_way_count() {
        let (tell, told) = mpsc::channel();
        let order = |power, seconds| Order {
            power,
            at: now() + Duration::from_secs(seconds),
        };
        for order in [
            order(Power::PowerOff, 3_600),
            order(Power::Halt, 0),
            order(Power::Reboot, 3_600),
        ] {
            tell.send(order).unwrap();
        }
        assert_eq!(wait(&told), Some(Power::Reboot));
    }

    #[test]
    fn without_an_order_it_ends_with_who_could_give_one() {
        let (tell, told) = mpsc::channel();
        drop::<Sender<Order>>(tell);
        assert_eq!(wait(&told), None);
    }
}
