//! Connections by hand, for clients that do not behave.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::caller::Caller;

/// A connection to the API.
pub struct Wire {
    stream: TcpStream,
    got: Vec<u8>,
}

impl Wire {
    pub async fn connect(caller: &Caller) -> Self {
        let addr = caller.base.strip_prefix("http://").expect("the base is a URL");
        Self { stream: TcpStream::connect(addr).await.expect("the API listens"), got: Vec::new() }
    }

    /// Sends it; false when the other end has closed.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).await.is_ok()
    }

    /// As [`Self::send`], but gives up after a while; false when not all went.
    pub async fn send_within(&mut self, within: Duration, bytes: impl AsRef<[u8]>) -> bool {
        tokio::time::timeout(within, self.send(bytes)).await.unwrap_or(false)
    }

    /// Sends `chunk` until `total` bytes have gone, or the other end has closed; how many went.
    pub async fn flood(&mut self, chunk: &[u8], total: usize) -> usize {
        let mut sent = 0;
        while sent < total && self.send(chunk).await {
            sent += chunk.len();
        }
        sent
    }

    /// Says that nothing more comes.
    pub async fn close_writing(&mut self) {
        _ = self.stream.shutdown().await;
    }

    /// The status of the next answer, or none when the connection ends (or nothing comes within `within`) before.
    pub async fn status(&mut self, within: Duration) -> Option<u16> {
        let text = |got: &[u8]| {
            let head = String::from_utf8_lossy(got);
            head.starts_with("HTTP/1.").then(|| head.get(9..12)?.parse().ok()).flatten()
        };
        let read = async {
            while text(&self.got).is_none() {
                if self.stream.read_buf(&mut self.got).await.unwrap_or(0) == 0 {
                    break;
                }
            }
        };
        _ = tokio::time::timeout(within, read).await;
        text(&self.got)
    }

    /// Reads until the other end closes; what came, or none when it did not close within `within`.
    pub async fn until_closed(&mut self, within: Duration) -> Option<String> {
        let read = async { while self.stream.read_buf(&mut self.got).await.unwrap_or(0) > 0 {} };
        tokio::time::timeout(within, read).await.ok()?;
        Some(String::from_utf8_lossy(&self.got).into_owned())
    }
}
