//! The command line's end of the control socket: one call at a time, waiting for its answer.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::protocol::{Call, Refusal};

/// The longest answer taken; that of 100,000 units is shorter.
const MAX_ANSWER: usize = 256 << 20;
/// How long a question may take that herd answers out of its head.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
    /// Bytes after the frame last returned.
    ahead: Vec<u8>,
}

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("cannot reach herd at {socket}")]
    Unreachable {
        socket: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("herd did not answer within {} s", .0.as_secs())]
    TimedOut(Duration),
    #[error("herd closed the connection before it answered")]
    Closed,
    #[error("the connection to herd broke")]
    Io(#[source] io::Error),
    #[error("cannot read herd's answer; is it of another version?")]
    Garbled(#[source] serde_json::Error),
    #[error("herd's answer has more than {MAX_ANSWER} bytes")]
    TooLong,
}

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow, default)]
    parameters: Option<&'a RawValue>,
    #[serde(default)]
    error: Option<String>,
    #[serde(default)]
    continues: bool,
}

impl Client {
    /// # Errors
    /// [`ClientError::Unreachable`]: no socket, nobody behind it, or no right to connect.
    pub fn connect(socket: &Path) -> Result<Self, ClientError> {
        let stream = UnixStream::connect(socket).map_err(|source| ClientError::Unreachable {
            socket: socket.to_owned(),
            source,
        })?;
        Ok(Self {
            stream,
            ahead: Vec::new(),
        })
    }

    /// Sends the call and waits for its one answer; without `timeout` for as long as it takes.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with herd's own reason; else that the connection did not serve.
    pub fn call<T: DeserializeOwned>(
        &mut self,
        call: &Call,
        timeout: Option<Duration>,
    ) -> Result<T, ClientError> {
        self.send(call)?;
        let (reply, _) = self.answer(timeout)?;
        Ok(reply)
    }

    /// Sends a call whose answers are then taken one by one with [`next_answer`](Self::next_answer).
    ///
    /// # Errors
    /// When the connection breaks.
    pub fn send(&mut self, call: &Call) -> Result<(), ClientError> {
        let mut frame = call.to_json().to_string().into_bytes();
        frame.push(0);
        match self.stream.write_all(&frame) {
            // Refused at the door: the reason lies in the socket.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            outcome => outcome.map_err(ClientError::Io),
        }
    }

    /// The next answer of a stream.
    ///
    /// # Errors
    /// As [`call`](Self::call); [`ClientError::Closed`] when herd ends.
    pub fn next_answer<T: DeserializeOwned>(&mut self) -> Result<T, ClientError> {
        Ok(self.answer(None)?.0)
    }

    /// The same, for so long at most.
    ///
    /// # Errors
    /// Also when none has come.
    pub fn next_answer_within<T: DeserializeOwned>(
        &mut self,
        timeout: Duration,
    ) -> Result<T, ClientError> {
        Ok(self.answer(Some(timeout))?.0)
    }

    fn answer<T: DeserializeOwned>(
        &mut self,
        timeout: Option<Duration>,
    ) -> Result<(T, bool), ClientError> {
        self.stream
            .set_read_timeout(timeout)
            .map_err(ClientError::Io)?;
        let frame = self.frame(timeout)?;
        let answer: Answer<'_> = serde_json::from_slice(&frame).map_err(ClientError::Garbled)?;
        if answer.error.is_some() {
            let refusal = serde_json::from_slice(&frame).map_err(ClientError::Garbled)?;
            return Err(ClientError::Refused(refusal));
        }
        let parameters = answer.parameters.map_or("{}", RawValue::get);
        let reply = serde_json::from_str(parameters).map_err(ClientError::Garbled)?;
        Ok((reply, answer.continues))
    }

    fn frame(&mut self, timeout: Option<Duration>) -> Result<Vec<u8>, ClientError> {
        let mut bytes = std::mem::take(&mut self.ahead);
        let mut scanned = 0;
        let mut chunk = vec![0_u8; 64 * 1024];
        loop {
            let new = bytes.get(scanned..).unwrap_or_default();
            if let Some(offset) = new.iter().position(|byte| *byte == 0) {
                let end = scanned + offset;
                self.ahead = bytes.split_off(end + 1);
                bytes.truncate(end);
                return Ok(bytes);
            }
            scanned = bytes.len();
            if scanned > MAX_ANSWER {
                return Err(ClientError::TooLong);
            }
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(ClientError::Closed),
                Ok(length) => bytes.extend(chunk.iter().take(length)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                    return Err(ClientError::Closed);
                }
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                    ) =>
                {
                    return Err(ClientError::TimedOut(timeout.unwrap_or_default()));
                }
                Err(error) => return Err(ClientError::Io(error)),
            }
        }
    }
}
