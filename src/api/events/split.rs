//! A body cut into its events while it comes: one object, an array of values, or one value a line.
//!
//! What is kept is the value that is not whole yet, and never more than an event may have. Nothing is decoded: a value
//! is the bytes between its first and its last, for `model::Envelope` to judge. So cutting needs only to know where
//! strings are, and how deep it is in brackets.

mod scan;
#[cfg(test)]
mod tests;

use bytes::{Buf, Bytes};

use self::scan::{Scan, is_space};

/// What may stand before the first value (RFC 8259, 8.1: a parser may ignore it).
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A part of a body that is meant to be an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// Its bytes, without white space around them.
    Whole(Bytes),
    /// It has so many bytes, which are more than it may have. They are not kept.
    TooLarge(u64),
}

/// A body that cannot be cut any further: where in it, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the body is not JSON: {what}, at byte {at}")]
pub(super) struct Malformed {
    what: &'static str,
    at: u64,
}

/// How a body is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// Nothing has come yet but white space.
    Unknown,
    /// `[`, values with commas between them, `]`.
    Array(Place),
    /// A value on each line that is not empty. What one line holds does not matter to the next.
    Lines,
    /// One object, or several that are not on a line each.
    Objects(After),
}

/// Where in an array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    First,
    Element,
    Within,
    Behind,
    End,
}

/// What came before, where objects are not known to be on a line each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    /// Within an object, of which so many lines have ended.
    Within,
    /// An object on one line, and that line has not ended.
    OneLine,
    /// An object on one line, and the end of that line.
    LineEnd,
    /// An object of several lines.
    SeveralLines,
}

/// Cuts one body.
#[derive(Debug)]
pub(super) struct Splitter {
    form: Form,
    /// Whether the sender says that it is one value a line.
    is_lines: bool,
    limit: usize,
    scan: Scan,
    value: Vec<u8>,
    /// The whole length of the value, of which no more is kept than it may have.
    length: u64,
    /// How many bytes of the body have been looked at.
    at: u64,
    /// How much of a byte order mark has come.
    mark: usize,
    /// The first object, until it is known whether it is the only one.
    first: Option<Piece>,
    pieces: u64,
    has_line_break: bool,
}

impl Splitter {
    /// For a body whose values may have `limit` bytes each. `is_lines`: the sender says that it is one value a line.
    pub(super) fn new(is_lines: bool, limit: usize) -> Self {
        Self {
            form: Form::Unknown,
            is_lines,
            limit,
            scan: Scan::default(),
            value: Vec::new(),
            length: 0,
            at: 0,
            mark: 0,
            first: None,
            pieces: 0,
            has_line_break: false,
        }
    }

    /// Whether the body is one object, as far as it has come, and not a list of any kind.
    pub(super) fn is_single(&self) -> bool {
        match self.form {
            Form::Objects(_) => self.pieces <= 1,
            Form::Unknown => !self.is_lines,
            Form::Array(_) | Form::Lines => false,
        }
    }

    /// Whether it is known to be one value a line.
    pub(super) fn is_lines(&self) -> bool {
        self.form == Form::Lines
    }

    /// How many bytes it keeps.
    pub(super) fn kept(&self) -> usize {
        let first = match &self.first {
            Some(Piece::Whole(bytes)) => bytes.len(),
            _ => 0,
        };
        self.value.len() + first
    }

    /// The next piece that is whole. What of `chunk` was looked at is taken from it; none when all of it was.
    pub(super) fn next(&mut self, chunk: &mut Bytes) -> Result<Option<Piece>, Malformed> {
        while !chunk.is_empty() {
            let (used, piece) = self.step(chunk)?;
            chunk.advance(used);
            self.at += used as u64;
            if piece.is_some() {
                return Ok(piece);
            }
        }
        Ok(None)
    }

    /// The last piece, once the whole body has been looked at.
    pub(super) fn end(&mut self) -> Result<Option<Piece>, Malformed> {
        match self.form {
            Form::Unknown if self.mark == 0 || self.mark == BYTE_ORDER_MARK.len() => match self.is_lines {
                true => Ok(None),
                false => self.malformed("it is empty"),
            },
            Form::Unknown => self.malformed("it begins with neither { nor ["),
            Form::Array(Place::End) => Ok(None),
            Form::Array(_) => self.malformed("the array has no end"),
            Form::Lines => Ok(self.line()),
            Form::Objects(After::Within) => self.malformed("the object has no end"),
            Form::Objects(_) => Ok(self.first.take()),
        }
    }

    /// Looks at some bytes: how many, and the piece that ends with them.
    fn step(&mut self, chunk: &[u8]) -> Result<(usize, Option<Piece>), Malformed> {
        let spaces = self.spaces(chunk);
        if spaces > 0 {
            return Ok((spaces, None));
        }
        match self.form {
            Form::Unknown => self.begin(chunk[0]).map(|used| (used, None)),
            Form::Lines => Ok(self.in_lines(chunk)),
            Form::Array(Place::Within) => {
                let (used, ended) = self.scan.run(chunk);
                self.keep(&chunk[..used]);
                if !ended {
                    return Ok((used, None));
                }
                self.form = Form::Array(Place::Behind);
                Ok((used, Some(self.take())))
            }
            Form::Array(place) => self.between_elements(place, chunk[0]).map(|used| (used, None)),
            Form::Objects(After::Within) => Ok(self.in_object(chunk)),
            Form::Objects(after) => self.between_objects(after, chunk[0]),
        }
    }

    /// How much white space that means nothing there is at the start.
    fn spaces(&self, chunk: &[u8]) -> usize {
        let means_nothing = |byte: &&u8| match self.form {
            Form::Unknown => is_space(**byte) && (self.mark == 0 || self.mark == BYTE_ORDER_MARK.len()),
            Form::Array(Place::Within) | Form::Lines | Form::Objects(After::Within) => false,
            Form::Objects(After::OneLine) => is_space(**byte) && **byte != b'\n',
            Form::Array(_) | Form::Objects(_) => is_space(**byte),
        };
        chunk.iter().take_while(means_nothing).count()
    }

    fn begin(&mut self, byte: u8) -> Result<usize, Malformed> {
        let is_mark = self.at == self.mark as u64 && BYTE_ORDER_MARK.get(self.mark) == Some(&byte);
        if is_mark {
            self.mark += 1;
            return Ok(1);
        }
        if self.mark != 0 && self.mark != BYTE_ORDER_MARK.len() {
            return self.malformed("it begins with neither { nor [");
        }
        match byte {
            b'[' => {
                self.form = Form::Array(Place::First);
                return Ok(1);
            }
            _ if self.is_lines => self.form = Form::Lines,
            b'{' => self.form = Form::Objects(After::Within),
            _ => return self.malformed("it begins with neither { nor ["),
        }
        Ok(0)
    }

    fn between_elements(&mut self, place: Place, byte: u8) -> Result<usize, Malformed> {
        let next = match (place, byte) {
            (Place::End, _) => return self.malformed("something follows the array"),
            (Place::First | Place::Behind, b']') => Place::End,
            (Place::Behind, b',') => Place::Element,
            (Place::Behind, _) => return self.malformed("a comma or ] is missing"),
            (_, b',' | b']' | b'}' | b':') => return self.malformed("a value is missing"),
            _ => {
                self.form = Form::Array(Place::Within);
                return Ok(0);
            }
        };
        self.form = Form::Array(next);
        Ok(1)
    }

    fn in_lines(&mut self, chunk: &[u8]) -> (usize, Option<Piece>) {
        let line_end = chunk.iter().position(|byte| *byte == b'\n');
        let part = &chunk[..line_end.unwrap_or(chunk.len())];
        // White space before a value is not kept.
        let start = match self.length {
            0 => part.iter().position(|byte| !is_space(*byte)).unwrap_or(part.len()),
            _ => 0,
        };
        self.keep(&part[start..]);
        match line_end {
            Some(end) => (end + 1, self.line()),
            None => (part.len(), None),
        }
    }

    /// The line that has ended, where anything is on it.
    fn line(&mut self) -> Option<Piece> {
        // What is longer is not kept, so that the white space behind it cannot be told from it.
        while self.length == self.value.len() as u64 && self.value.last().is_some_and(|last| is_space(*last))
        {
            self.value.pop();
            self.length -= 1;
        }
        (self.length > 0).then(|| self.take())
    }

    fn in_object(&mut self, chunk: &[u8]) -> (usize, Option<Piece>) {
        let (used, ended) = self.scan.run(chunk);
        self.has_line_break |= chunk[..used].contains(&b'\n');
        self.keep(&chunk[..used]);
        if !ended {
            return (used, None);
        }
        let piece = self.take();
        if self.pieces > 1 {
            self.form = Form::Objects(After::SeveralLines);
            return (used, Some(piece));
        }
        self.form = Form::Objects(if self.has_line_break { After::SeveralLines } else { After::OneLine });
        self.first = Some(piece);
        (used, None)
    }

    fn between_objects(&mut self, after: After, byte: u8) -> Result<(usize, Option<Piece>), Malformed> {
        if byte == b'\n' && after == After::OneLine {
            self.form = Form::Objects(After::LineEnd);
            return Ok((1, None));
        }
        self.form = match (after, byte) {
            (After::LineEnd, _) => Form::Lines,
            (After::SeveralLines, b'{') => Form::Objects(After::Within),
            _ => return self.malformed("something follows the object"),
        };
        // Several in any case from here on, whether or not the next one is ever whole.
        self.pieces = self.pieces.max(2);
        Ok((0, self.first.take()))
    }

    fn keep(&mut self, part: &[u8]) {
        self.length += part.len() as u64;
        // One more, for the CR of a line.
        if self.length > self.limit as u64 + 1 {
            self.value = Vec::new();
            return;
        }
        let needed = self.value.len() + part.len();
        if needed > self.value.capacity() {
            // Doubling would keep up to twice of what may be kept.
            let wanted = (2 * needed).clamp(needed, self.limit.max(needed - 1) + 1);
            self.value.reserve_exact(wanted - self.value.len());
        }
        self.value.extend_from_slice(part);
    }

    fn take(&mut self) -> Piece {
        let (value, length) = (std::mem::take(&mut self.value), std::mem::take(&mut self.length));
        self.scan = Scan::default();
        self.pieces += 1;
        if length > self.limit as u64 { Piece::TooLarge(length) } else { Piece::Whole(value.into()) }
    }

    fn malformed<T>(&self, what: &'static str) -> Result<T, Malformed> {
        Err(Malformed { what, at: self.at })
    }
}
