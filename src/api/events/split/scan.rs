//! Where a JSON value ends.

/// White space of JSON (RFC 8259, 2).
pub(super) fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

/// Looks for the end of one value, of which bytes come in any parts.
///
/// It trusts that the value is JSON. Of what is not, it finds some end or none: whoever parses the value finds out.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Scan {
    has_begun: bool,
    in_string: bool,
    is_escaped: bool,
    depth: usize,
}

impl Scan {
    /// How many of the bytes belong to the value, and whether it ends with them.
    pub(super) fn run(&mut self, bytes: &[u8]) -> (usize, bool) {
        let mut at = 0;
        while at < bytes.len() {
            if self.in_string {
                at += self.string(&bytes[at..]);
                if !self.in_string && self.depth == 0 {
                    return (at, true);
                }
                continue;
            }
            match bytes[at] {
                b'"' => self.in_string = true,
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' if self.depth > 1 => self.depth -= 1,
                b'}' | b']' if self.depth == 1 => return (at + 1, true),
                // A number, or a word, ends where something else begins.
                b',' | b'}' | b']' if self.depth == 0 => return (at, self.has_begun),
                byte if self.depth == 0 && is_space(byte) => return (at, self.has_begun),
                _ => {}
            }
            self.has_begun = true;
            at += 1;
        }
        (at, false)
    }

    /// How many of the bytes belong to the string it is in.
    fn string(&mut self, bytes: &[u8]) -> usize {
        for (at, byte) in bytes.iter().enumerate() {
            match byte {
                _ if self.is_escaped => self.is_escaped = false,
                b'\\' => self.is_escaped = true,
                b'"' => {
                    self.in_string = false;
                    return at + 1;
                }
                _ => {}
            }
        }
        bytes.len()
    }
}
