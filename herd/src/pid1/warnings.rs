//! What is said before a machine ends, and when.
#![forbid(unsafe_code)]

use std::time::Duration;

use units::Power;

/// Nobody logs in any more this long before the end.
pub const NO_LOGIN: Duration = Duration::from_secs(5 * 60);

/// So long before the end everybody is told.
const MARKS: [Duration; 12] = [
    hours(24),
    hours(12),
    hours(6),
    hours(3),
    hours(1),
    minutes(30),
    minutes(15),
    minutes(10),
    NO_LOGIN,
    minutes(3),
    minutes(2),
    minutes(1),
];

const fn minutes(count: u64) -> Duration {
    Duration::from_secs(count * 60)
}

const fn hours(count: u64) -> Duration {
    minutes(count * 60)
}

/// How long before the end the next word is due, when so much time is left. None when the end is next.
pub fn next(left: Duration) -> Option<Duration> {
    MARKS.into_iter().find(|mark| *mark < left)
}

/// `The machine is powering off in 5 minutes.`, and what the one who asked for it has to say.
pub fn text(power: Power, left: Duration, message: Option<&str>) -> String {
    let seconds = left.as_secs();
    let when = match seconds {
        0 => "now".to_owned(),
        1..120 => format!("in {seconds} seconds"),
        120..7_200 => format!("in {} minutes", (seconds + 30) / 60),
        _ => format!("in {} hours", (seconds + 1_800) / 3_600),
    };
    let said = message.map_or_else(String::new, |message| format!("\n{message}"));
    format!("The machine is {power} {when}.{said}")
}

/// What is called off.
pub fn called_off(power: Power, message: Option<&str>) -> String {
    let said = message.map_or_else(String::new, |message| format!("\n{message}"));
    format!("The machine is not {power} after all.{said}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_come_closer_as_the_end_does() {
        let mut left = minutes(125);
        let mut told = Vec::new();
        while let Some(next) = next(left) {
            told.push(next.as_secs() / 60);
            left = next;
        }
        assert_eq!(told, [60, 30, 15, 10, 5, 3, 2, 1]);
        assert_eq!(next(minutes(1)), None);
        assert_eq!(next(Duration::ZERO), None);
        assert_eq!(next(hours(500)), Some(hours(24)));
    }

    #[test]
    fn the_words_say_what_when_and_why() {
        let say = |seconds| {
            text(
                Power::Reboot,
                Duration::from_secs(seconds),
                Some("new kernel"),
            )
        };
        assert_eq!(say(0), "The machine is rebooting now.\nnew kernel");
        assert_eq!(
            say(60),
            "The machine is rebooting in 60 seconds.\nnew kernel"
        );
        assert_eq!(
            say(299),
            "The machine is rebooting in 5 minutes.\nnew kernel"
        );
        assert_eq!(
            say(7_200),
            "The machine is rebooting in 2 hours.\nnew kernel"
        );
        assert_eq!(
            called_off(Power::PowerOff, None),
            "The machine is not powering off after all."
        );
    }
}
