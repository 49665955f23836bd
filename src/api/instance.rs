//! The names of instances in requests.

use super::ApiError;

/// The longest name, in bytes of UTF-8.
const MOST_BYTES: usize = 512;

/// A name that may be used: not empty, and not endless. It may hold any characters.
pub(super) fn checked(name: String) -> Result<String, ApiError> {
    match name.len() {
        0 => Err(ApiError::bad_request("the instance's name is empty")),
        1..=MOST_BYTES => Ok(name),
        bytes => {
            let message = format!("the instance's name has {bytes} bytes; at most {MOST_BYTES} are allowed");
            Err(ApiError::bad_request(message))
        }
    }
}

/// A name as it is quoted in a message: its start, without control characters.
pub(super) fn shown(name: &str) -> String {
    const CHARS: usize = 80;
    match name.char_indices().nth(CHARS) {
        Some((end, _)) => format!("{}…", name[..end].escape_debug()),
        None => name.escape_debug().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_name_of_a_bounded_length_may_be_used() {
        for name in ["a", "a/b", "número 1", "\u{0}\n", &"x".repeat(512)] {
            assert_eq!(checked(name.to_owned()).unwrap(), name);
        }
        for name in [String::new(), "x".repeat(513), "ü".repeat(257)] {
            assert!(checked(name).is_err());
        }
        assert_eq!(shown(&"\n".repeat(81)), "\\n".repeat(80) + "…");
    }
}
