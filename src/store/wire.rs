//! The reader's connection, by hand.
//!
//! The client makes a tree of values of each reply, which for what the reader takes in costs a tenth of the worker's
//! CPU. Here the entries are made as their bytes arrive, each value in memory of its own: what waits long does not hold
//! what came with it. RESP2 only (<https://redis.io/docs/latest/develop/reference/protocol-spec/>); lines, errors among
//! them, are the client's to understand, so that they are what they are elsewhere.

mod greet;
mod values;

use std::io;
use std::time::Duration;

use redis::{ConnectionAddr, ConnectionInfo, Pipeline, RedisError, RedisResult};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use self::values::{Values, broken};
use super::Keys;
use super::events::{Fields, Read, Taken};
use crate::model::{EntryId, Source};

/// What it is carried by.
pub(super) trait Carrier: AsyncRead + AsyncWrite + Send + Sync + Unpin {}

impl<C: AsyncRead + AsyncWrite + Send + Sync + Unpin> Carrier for C {}

/// A connection on which one thing is asked at a time. After an error, or a question whose future was dropped, replies
/// may be on their way: it must not be used again.
pub(super) struct Wire<C = Box<dyn Carrier>> {
    values: Values<C>,
}

impl Wire {
    /// Connects and says who asks, all within `limit`; none where it takes TLS.
    pub(super) async fn connect(info: &ConnectionInfo, limit: Duration) -> Option<RedisResult<Self>> {
        if !matches!(info.addr(), ConnectionAddr::Tcp(..) | ConnectionAddr::Unix(_)) {
            return None;
        }
        let greeted = async {
            let mut wire = Self::over(greet::carrier(info).await?);
            greet::greet(&mut wire.values, info.redis_settings()).await?;
            Ok(wire)
        };
        Some(timeout(limit, greeted).await.unwrap_or_else(|_| Err(late())))
    }
}

impl<C: Carrier> Wire<C> {
    /// A connection that is made.
    fn over(carrier: C) -> Self {
        Self { values: Values::of(carrier) }
    }

    /// Sends XREADGROUP and GET, and reads what they are answered within `limit`.
    pub(super) async fn read(
        &mut self,
        commands: &Pipeline,
        keys: &Keys,
        limit: Duration,
    ) -> RedisResult<Read> {
        let answered = async {
            self.values.send(&commands.get_packed_pipeline()).await?;
            self.replies(keys).await
        };
        timeout(limit, answered).await.unwrap_or_else(|_| Err(late()))
    }

    async fn replies(&mut self, keys: &Keys) -> RedisResult<Read> {
        let entries = match self.entries(keys).await {
            // The second answer is waited for all the same: that the server goes without it is what is told.
            Err(refusal) if refusal.code().is_some() => Err(refusal),
            other => Ok(other?),
        };
        let version = self.values.value().await?;
        let (entries, version) = (entries?, version.extract_error()?);
        let version: Option<u64> = redis::from_redis_value(version)?;
        if !self.values.unread().is_empty() {
            return Err(broken("more was answered than asked"));
        }
        self.values.shrink();
        Ok(Read { entries, webhooks_version: version.unwrap_or(0) })
    }

    /// The entries of an XREADGROUP reply. What is not of the expected shape is passed over: it stays pending.
    async fn entries(&mut self, keys: &Keys) -> RedisResult<Vec<Taken>> {
        let mut taken = Vec::new();
        for _ in 0..self.values.array().await?.unwrap_or(0) {
            if !self.values.pair().await? {
                continue;
            }
            let Some(length) = self.values.string().await? else {
                self.values.pass(1).await?;
                continue;
            };
            let is_stream = self.values.short(length).await? == keys.stream().as_bytes();
            let source = if is_stream { Source::Stream } else { Source::Ready };
            for _ in 0..self.values.array().await?.unwrap_or(0) {
                taken.extend(self.entry(source).await?);
            }
        }
        Ok(taken)
    }

    async fn entry(&mut self, source: Source) -> RedisResult<Option<Taken>> {
        if !self.values.pair().await? {
            return Ok(None);
        }
        let Some(length) = self.values.string().await? else {
            self.values.pass(1).await?;
            return Ok(None);
        };
        let id = std::str::from_utf8(self.values.short(length).await?).ok().map(EntryId::new);
        let mut fields = Fields::of(source);
        let mut left = self.values.array().await?.unwrap_or(0);
        while left >= 2 {
            left -= 1;
            let Some(length) = self.values.string().await? else {
                break;
            };
            let place = fields.place(self.values.short(length).await?);
            left -= 1;
            let Some(length) = self.values.string().await? else {
                break;
            };
            match place {
                Some(place) => *place = Some(self.values.bytes(length).await?),
                None => self.values.pass_bytes(length).await?,
            }
        }
        self.values.pass(left).await?;
        Ok(id.map(|id| fields.entry(id)))
    }
}

impl<C> std::fmt::Debug for Wire<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wire").finish_non_exhaustive()
    }
}

fn late() -> RedisError {
    io::Error::from(io::ErrorKind::TimedOut).into()
}

#[cfg(test)]
mod tests;
