//! Frames: JSON ended by a NUL byte, as varlink has it. No sockets here.
#![forbid(unsafe_code)]

use serde::Serialize;

use super::call::Envelope;
use super::protocol::Refusal;

/// The longest call a client may send, its NUL not counted; also all that is kept of what it has
/// sent ahead.
pub const MAX_CALL: usize = 64 * 1024;

/// Bytes of one peer on their way to becoming frames.
#[derive(Debug, Default)]
pub struct Decoder {
    bytes: Vec<u8>,
    /// Bytes before this hold no NUL.
    scanned: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("a call of more than {MAX_CALL} bytes")]
    TooLong,
    #[error("a frame that is not a call: {0}")]
    NotACall(String),
}

impl Decoder {
    /// How many bytes may be fed now; 0 only while a whole frame lies ready or the call is too long.
    pub fn room(&self) -> usize {
        (MAX_CALL + 1).saturating_sub(self.bytes.len())
    }

    /// Takes in what arrived, at most [`room`](Self::room) bytes; returns how many it took.
    pub fn feed(&mut self, bytes: &[u8]) -> usize {
        let taken = bytes.len().min(self.room());
        self.bytes.extend(bytes.iter().take(taken));
        taken
    }

    /// The next whole frame, without its NUL.
    ///
    /// # Errors
    /// [`FrameError::TooLong`] when the buffer is full and holds no end of frame.
    pub fn next_frame(&mut self) -> Result<Option<Vec<u8>>, FrameError> {
        let unread = self.bytes.iter().skip(self.scanned);
        match unread.into_iter().position(|byte| *byte == 0) {
            Some(offset) => {
                let end = self.scanned + offset;
                let rest = self.bytes.split_off(end + 1);
                let mut frame = std::mem::replace(&mut self.bytes, rest);
                frame.truncate(end);
                self.scanned = 0;
                Ok(Some(frame))
            }
            None if self.room() == 0 => Err(FrameError::TooLong),
            None => {
                self.scanned = self.bytes.len();
                Ok(None)
            }
        }
    }

    /// Claims that a frame was begun and not ended.
    pub fn is_inside_frame(&self) -> bool {
        !self.bytes.is_empty()
    }
}

/// # Errors
/// [`FrameError::NotACall`] when the bytes are no JSON object with a `method`.
pub fn parse_call(frame: &[u8]) -> Result<Envelope, FrameError> {
    serde_json::from_slice(frame).map_err(|error| FrameError::NotACall(error.to_string()))
}

#[derive(Serialize)]
struct Success<'a, T> {
    parameters: &'a T,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    continues: bool,
}

/// The frame of one answer, NUL included. `continues` says that more will follow.
pub fn success<T: Serialize>(parameters: &T, continues: bool) -> Vec<u8> {
    ended(serde_json::to_vec(&Success {
        parameters,
        continues,
    }))
}

pub fn refusal(refusal: &Refusal) -> Vec<u8> {
    ended(serde_json::to_vec(refusal))
}

/// JSON escapes NUL within text, so the only one is the one added here.
fn ended(json: serde_json::Result<Vec<u8>>) -> Vec<u8> {
    let mut frame = json.expect("plain data with text keys always becomes JSON");
    frame.push(0);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::protocol::{Call, Job, Reply, Schedule, Way, Whom};
    use std::time::Duration;

    use proptest::prelude::*;
    use units::{Signal, UnitName};

    fn feed_all(decoder: &mut Decoder, mut bytes: &[u8]) -> (Vec<Vec<u8>>, Option<FrameError>) {
        let mut frames = Vec::new();
        loop {
            let taken = decoder.feed(bytes);
            bytes = &bytes[taken..];
            loop {
                match decoder.next_frame() {
                    Ok(Some(frame)) => frames.push(frame),
                    Ok(None) => break,
                    Err(error) => return (frames, Some(error)),
                }
            }
            if bytes.is_empty() {
                return (frames, None);
            }
        }
    }

    fn name() -> impl Strategy<Value = UnitName> {
        "[a-z0-9][a-zA-Z0-9_.:\\\\-]{0,20}(@[a-z]{0,4})?"
            .prop_map(|text| UnitName::new(&text).unwrap())
    }

    fn message() -> impl Strategy<Value = Option<String>> {
        proptest::option::of(".{0,20}")
    }

    fn shutdown() -> impl Strategy<Value = Call> {
        let way = proptest::option::of(proptest::sample::select(
            Way::ALL.map(|(_, way)| way).to_vec(),
        ));
        let flags = any::<[bool; 4]>();
        (way, flags, 0..100_000_000_000_u64, message()).prop_map(
            |(power, [force, wait, wall, warn_only], delay, message)| Call::Shutdown {
                power,
                force,
                wait,
                schedule: Schedule {
                    delay: Duration::from_micros(delay),
                    message,
                    wall,
                    warn_only,
                },
            },
        )
    }

    fn call() -> impl Strategy<Value = Call> {
        let names = || proptest::collection::vec(name(), 0..4);
        let job = || {
            (proptest::collection::vec(name(), 1..4), any::<bool>())
                .prop_map(|(units, wait)| Job { units, wait })
        };
        prop_oneof![
            (names(), any::<bool>()).prop_map(|(units, all)| Call::Status { units, all }),
            (any::<bool>(), any::<bool>()).prop_map(|(all, usage)| Call::List { all, usage }),
            job().prop_map(Call::Start),
            job().prop_map(Call::Stop),
            job().prop_map(Call::Restart),
            job().prop_map(Call::Reload),
            (name(), 1..=31_i32, any::<bool>()).prop_map(|(unit, number, main)| Call::Kill {
                unit,
                signal: Signal::from_number(number).unwrap(),
                whom: if main { Whom::Main } else { Whom::All },
            }),
            proptest::collection::vec(name(), 1..4).prop_map(|units| Call::Freeze { units }),
            proptest::collection::vec(name(), 1..4).prop_map(|units| Call::Thaw { units }),
            names().prop_map(|units| Call::ResetFailed { units }),
            name().prop_map(|unit| Call::Why { unit }),
            name().prop_map(|unit| Call::Plan { unit }),
            name().prop_map(|unit| Call::Cat { unit }),
            Just(Call::Rescan),
            shutdown(),
            (message(), any::<bool>())
                .prop_map(|(message, wall)| Call::CancelShutdown { message, wall }),
            names().prop_map(|units| Call::Watch { units }),
            Just(Call::Boot),
            Just(Call::Info),
        ]
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
            let mut decoder = Decoder::default();
            let (frames, _) = feed_all(&mut decoder, &bytes);
            for frame in frames {
                if let Ok(envelope) = parse_call(&frame) {
                    drop(envelope.into_request());
                }
            }
        }

        #[test]
        fn arbitrary_parameters_are_refused_or_read(
            method in "(Status|Kill|Start|Watch|Shutdown|Nope)",
            key in "(unit|units|signal|whom|wait|all|force|power|delay_usec|message|x)",
            value in "(null|true|-1|9|\"\"|\"web\"|\"\\.\\./x\"|\\[\\]|\\[\"web\"\\]|\\[1\\]|\\{\\})",
        ) {
            let text = format!(
                r#"{{"method":"org.herd.Manager.{method}","parameters":{{"{key}":{value}}},"more":true}}"#
            );
            let envelope = parse_call(text.as_bytes()).unwrap();
            if let Err(refused) = envelope.into_request() {
                let frame = refusal(&refused);
                let back: Refusal = serde_json::from_slice(&frame[..frame.len() - 1]).unwrap();
                prop_assert_eq!(back, refused);
            }
        }

        #[test]
        fn a_call_comes_back_as_it_was_sent(call in call(), cuts in proptest::collection::vec(1..40_usize, 1..30)) {
            let mut bytes = serde_json::to_vec(&call.to_json()).unwrap();
            bytes.push(0);
            let mut decoder = Decoder::default();
            let mut rest = bytes.as_slice();
            let mut frames = Vec::new();
            for cut in cuts.iter().cycle() {
                let (now, later) = rest.split_at((*cut).min(rest.len()));
                let (mut got, error) = feed_all(&mut decoder, now);
                prop_assert_eq!(error, None);
                frames.append(&mut got);
                rest = later;
                if rest.is_empty() { break; }
            }
            prop_assert_eq!(frames.len(), 1);
            let request = parse_call(&frames[0]).unwrap().into_request();
            prop_assert_eq!(request, Ok(crate::control::call::Request::Herd(call)));
            prop_assert!(!decoder.is_inside_frame());
        }
    }

    #[test]
    fn a_call_of_the_longest_length_is_read_and_one_more_is_not() {
        let mut decoder = Decoder::default();
        let mut bytes = vec![b' '; MAX_CALL];
        bytes.push(0);
        assert_eq!(feed_all(&mut decoder, &bytes).0.len(), 1);
        let bytes = vec![b' '; MAX_CALL + 1];
        assert_eq!(feed_all(&mut decoder, &bytes).1, Some(FrameError::TooLong));
    }

    #[test]
    fn an_answer_holds_one_nul_at_its_end() {
        let frame = success(&Reply::DONE, true);
        assert_eq!(frame, b"{\"parameters\":{},\"continues\":true}\0");
        let frame = refusal(&Refusal::NoSuchUnit {
            unit: "a\0b".into(),
        });
        assert_eq!(frame.iter().filter(|byte| **byte == 0).count(), 1);
        assert_eq!(frame.last(), Some(&0));
    }

    #[test]
    fn a_path_in_a_unit_name_is_refused_with_the_reason() {
        let text = br#"{"method":"org.herd.Manager.Start","parameters":{"units":["../x"]}}"#;
        let refused = parse_call(text).unwrap().into_request().unwrap_err();
        assert_eq!(
            refused.to_string(),
            "\"../x\" is no unit name: a unit name cannot hold '/'; letters, digits and _ - . : \\ @ are allowed"
        );
    }
}
