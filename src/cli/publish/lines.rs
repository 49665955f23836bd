//! Lines of any input, each no longer than it may be, in bounded memory.

use std::mem;

use tokio::io::{self, AsyncBufRead, AsyncBufReadExt};

/// Reads lines one by one.
#[derive(Debug)]
pub(super) struct Lines<R> {
    reader: R,
    limit: usize,
    number: u64,
    read: u64,
    line: Vec<u8>,
    /// The whole length of the line, of which [`Self::line`] keeps no more than it may.
    length: usize,
}

/// A line that is not empty.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// Its number, from 1.
    pub(super) number: u64,
    /// Its bytes without the line break; its length where it is too long.
    pub(super) text: Result<Vec<u8>, usize>,
}

impl<R: AsyncBufRead + Unpin> Lines<R> {
    /// Lines of up to `limit` bytes.
    pub(super) fn new(reader: R, limit: usize) -> Self {
        Self { reader, limit, number: 0, read: 0, line: Vec::new(), length: 0 }
    }

    /// How many bytes have been read.
    pub(super) fn read_bytes(&self) -> u64 {
        self.read
    }

    /// The next line with anything on it; none at the end. May be given up and called again: nothing is lost.
    pub(super) async fn next(&mut self) -> io::Result<Option<Line>> {
        loop {
            let chunk = self.reader.fill_buf().await?;
            let at_end = chunk.is_empty();
            let line_end = chunk.iter().position(|b| *b == b'\n');
            let part = &chunk[..line_end.unwrap_or(chunk.len())];
            let room = self.limit.saturating_add(2).saturating_sub(self.line.len());
            self.line.extend_from_slice(&part[..part.len().min(room)]);
            self.length += part.len();
            let used = part.len() + usize::from(line_end.is_some());
            self.read += used as u64;
            self.reader.consume(used);
            if line_end.is_some() || (at_end && self.length > 0) {
                if let Some(line) = self.finish() {
                    return Ok(Some(line));
                }
            } else if at_end {
                return Ok(None);
            }
        }
    }

    fn finish(&mut self) -> Option<Line> {
        self.number += 1;
        let (mut text, mut length) = (mem::take(&mut self.line), mem::take(&mut self.length));
        if text.len() == length && text.last() == Some(&b'\r') {
            text.pop();
            length -= 1;
        }
        if self.number == 1 && text.starts_with(b"\xef\xbb\xbf") {
            text.drain(..3);
            length -= 3;
        }
        if text.trim_ascii().is_empty() && text.len() == length {
            return None;
        }
        let text = if length > self.limit { Err(length) } else { Ok(text) };
        Some(Line { number: self.number, text })
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::BufReader;

    use super::*;

    async fn lines(text: &[u8], limit: usize, buffer: usize) -> Vec<(u64, Result<String, usize>)> {
        let mut lines = Lines::new(BufReader::with_capacity(buffer, text), limit);
        let mut found = Vec::new();
        while let Some(line) = lines.next().await.unwrap() {
            found.push((line.number, line.text.map(|text| String::from_utf8(text).unwrap())));
        }
        assert_eq!(lines.read_bytes(), text.len() as u64);
        found
    }

    #[tokio::test]
    async fn lines_have_numbers_and_empty_ones_are_passed_over() {
        let text = "\u{feff}one\r\n\n  \ntwo\nthree".as_bytes();
        for buffer in [1, 3, 64] {
            let expected = [(1, "one"), (4, "two"), (5, "three")].map(|(n, text)| (n, Ok(text.to_owned())));
            assert_eq!(lines(text, 5, buffer).await, expected);
        }
    }

    #[tokio::test]
    async fn a_line_that_is_too_long_costs_no_other() {
        for buffer in [1, 4, 64] {
            let found = lines(b"12345\r\n1234567890\n123456\n12345", 5, buffer).await;
            let expected =
                [(1, Ok("12345".to_owned())), (2, Err(10)), (3, Err(6)), (4, Ok("12345".to_owned()))];
            assert_eq!(found, expected);
        }
    }
}
