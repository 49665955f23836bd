//! Values of RESP2, one after another, as their bytes arrive.

use std::io;

use bytes::{BufMut, Bytes};
use redis::{ErrorKind, RedisError, RedisResult, Value};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::Carrier;

/// How much is read at once. A value that is longer is read into its own memory right away.
const CHUNK_BYTES: usize = 64 * 1024;
/// With less room than this left, room is made before more is read.
const ROOM_BYTES: usize = CHUNK_BYTES / 4;
/// A buffer that had to grow beyond this is given back.
const KEPT_BYTES: usize = 1024 * 1024;
/// What is allocated at once for a value of which nothing is there yet; then twice as much each time.
const TRUSTED_BYTES: usize = 1024 * 1024;

/// What comes over a connection, and is sent.
pub(super) struct Values<C> {
    carrier: C,
    buffer: Vec<u8>,
    /// Up to where the buffer is used up.
    at: usize,
}

/// How a value begins.
enum Head {
    /// A string of this many bytes follows.
    String(usize),
    /// This many values follow.
    Array(usize),
    /// Nothing.
    Nil,
    /// All of it.
    Line(Value),
}

impl<C: Carrier> Values<C> {
    /// Those that come over `carrier`.
    pub(super) fn of(carrier: C) -> Self {
        Self { carrier, buffer: Vec::new(), at: 0 }
    }

    /// Gives back what one reply needed and the next hardly will.
    pub(super) fn shrink(&mut self) {
        if self.unread().is_empty() && self.buffer.capacity() > KEPT_BYTES {
            (self.buffer, self.at) = (Vec::new(), 0);
        }
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.buffer.capacity()
    }

    #[cfg(test)]
    pub(super) fn carrier(&self) -> &C {
        &self.carrier
    }

    /// Sends commands.
    pub(super) async fn send(&mut self, commands: &[u8]) -> RedisResult<()> {
        self.carrier.write_all(commands).await?;
        Ok(self.carrier.flush().await?)
    }

    /// The next value, as the client has it; of an array, that it is one.
    pub(super) async fn value(&mut self) -> RedisResult<Value> {
        Ok(match self.head().await? {
            Head::String(length) => Value::BulkString(self.bytes(length).await?.to_vec()),
            Head::Array(length) => {
                self.pass(length).await?;
                Value::Array(Vec::new())
            }
            Head::Nil => Value::Nil,
            Head::Line(value) => value,
        })
    }

    /// The length of the array that is next; another value is passed over.
    pub(super) async fn array(&mut self) -> RedisResult<Option<usize>> {
        match self.head().await? {
            Head::Array(length) => Ok(Some(length)),
            Head::String(length) => self.pass_bytes(length).await.map(|()| None),
            Head::Nil => Ok(None),
            Head::Line(value) => value.extract_error().map(|_| None),
        }
    }

    /// Whether an array of two is next; another value is passed over.
    pub(super) async fn pair(&mut self) -> RedisResult<bool> {
        let length = self.array().await?;
        if length != Some(2) {
            self.pass(length.unwrap_or(0)).await?;
        }
        Ok(length == Some(2))
    }

    /// The length of the string that is next; another value is passed over.
    pub(super) async fn string(&mut self) -> RedisResult<Option<usize>> {
        match self.head().await? {
            Head::String(length) => Ok(Some(length)),
            Head::Array(length) => self.pass(length).await.map(|()| None),
            Head::Nil => Ok(None),
            Head::Line(value) => value.extract_error().map(|_| None),
        }
    }

    /// Passes over so many values, with all that is in them.
    pub(super) async fn pass(&mut self, values: usize) -> RedisResult<()> {
        let mut left = values;
        while left > 0 {
            left -= 1;
            if let Some(length) = self.array().await? {
                left = left.checked_add(length).ok_or_else(|| broken("an array is too long"))?;
            }
        }
        Ok(())
    }

    /// A string of which not much is expected.
    pub(super) async fn short(&mut self, length: usize) -> RedisResult<&[u8]> {
        let with_end = length.checked_add(2).ok_or_else(|| broken("a string is too long"))?;
        while self.unread().len() < with_end {
            self.fill().await?;
        }
        let from = self.at;
        self.at += with_end;
        match self.buffer[from..self.at].strip_suffix(b"\r\n") {
            Some(string) => Ok(string),
            None => Err(broken("a string does not end where it should")),
        }
    }

    /// A string in memory of its own.
    pub(super) async fn bytes(&mut self, length: usize) -> RedisResult<Bytes> {
        if length < CHUNK_BYTES {
            return Ok(Bytes::copy_from_slice(self.short(length).await?));
        }
        let held = self.unread().len().min(length);
        let mut bytes = Vec::with_capacity(length.min(TRUSTED_BYTES.max(held)));
        bytes.extend_from_slice(&self.unread()[..held]);
        self.at += held;
        while bytes.len() < length {
            let left = length - bytes.len();
            if bytes.len() == bytes.capacity() {
                bytes.reserve_exact(left.min(bytes.len()));
            }
            let mut room = (&mut bytes).limit(left);
            if self.carrier.read_buf(&mut room).await? == 0 {
                return Err(ended());
            }
        }
        self.short(0).await?;
        Ok(bytes.into())
    }

    /// Passes over a string.
    pub(super) async fn pass_bytes(&mut self, length: usize) -> RedisResult<()> {
        let mut left = length;
        loop {
            let held = self.unread().len().min(left);
            self.at += held;
            left -= held;
            if left == 0 {
                break;
            }
            self.fill().await?;
        }
        self.short(0).await.map(|_| ())
    }

    async fn head(&mut self) -> RedisResult<Head> {
        let line = self.line().await?;
        Ok(match line.split_first() {
            Some((b'$', length)) => self::length(length)?.map_or(Head::Nil, Head::String),
            Some((b'*', length)) => self::length(length)?.map_or(Head::Nil, Head::Array),
            Some((b'+' | b'-' | b':', _)) => Head::Line(redis::parse_redis_value(line)?),
            _ => return Err(broken("a value of no known kind")),
        })
    }

    /// A line, with its end.
    async fn line(&mut self) -> RedisResult<&[u8]> {
        let mut seen = 0;
        let length = loop {
            if let Some(end) = self.unread()[seen..].windows(2).position(|pair| pair == b"\r\n") {
                break seen + end + 2;
            }
            // Of its end, half may be there.
            seen = self.unread().len().saturating_sub(1);
            if seen > CHUNK_BYTES {
                return Err(broken("a line is too long"));
            }
            self.fill().await?;
        };
        let from = self.at;
        self.at += length;
        Ok(&self.buffer[from..self.at])
    }

    /// What has come and was not used yet.
    pub(super) fn unread(&self) -> &[u8] {
        &self.buffer[self.at..]
    }

    /// Reads more.
    async fn fill(&mut self) -> RedisResult<()> {
        let has_room = |buffer: &Vec<u8>| buffer.capacity() - buffer.len() >= ROOM_BYTES;
        // Each value is moved once at most.
        if self.at == self.buffer.len() || !has_room(&self.buffer) {
            self.buffer.drain(..self.at);
            self.at = 0;
        }
        if !has_room(&self.buffer) {
            self.buffer.reserve(CHUNK_BYTES);
        }
        match self.carrier.read_buf(&mut self.buffer).await? {
            0 => Err(ended()),
            _ => Ok(()),
        }
    }
}

/// A length; none when it is negative.
fn length(digits: &[u8]) -> RedisResult<Option<usize>> {
    let length = std::str::from_utf8(digits).ok().and_then(|digits| digits.trim().parse::<i64>().ok());
    length.map(|length| usize::try_from(length).ok()).ok_or_else(|| broken("a length is not a number"))
}

/// The other end has closed; in the client's words.
fn ended() -> RedisError {
    io::Error::from(io::ErrorKind::BrokenPipe).into()
}

/// What was answered is not RESP2, or not an answer.
pub(super) fn broken(what: &'static str) -> RedisError {
    (ErrorKind::Parse, what).into()
}
