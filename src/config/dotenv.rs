//! The `.env` file: read line by line, so that a mistake is named by its line and costs no other.
//!
//! The file may well be another program's (Evolution API's, say), with lines that `dotenvy` refuses. Those are of no
//! concern here, and a stray quote in one of them must not swallow the settings below it.

use std::io::ErrorKind;
use std::path::Path;

use super::Problem;
use super::variables::is_ours;

const ALLOWED: &str = "write NAME=value, with the value in single quotes if it holds spaces, quotes, # or $";

/// The variables of a `.env` file in order; a missing file has none.
pub(super) fn read(path: &Path, problems: &mut Vec<Problem>) -> Vec<(String, String)> {
    let shown = path.display().to_string();
    let text = match std::fs::read(path) {
        Ok(bytes) => String::from_utf8(bytes).map_err(|_| "write text in UTF-8".to_owned()),
        Err(error) if error.kind() == ErrorKind::NotFound => return Vec::new(),
        Err(error) => Err(format!("make it a readable file or remove it ({error})")),
    };
    match text {
        Ok(text) => parse(&text, &shown, problems),
        Err(allowed) => {
            problems.push(Problem { variable: "the .env file".to_owned(), value: shown, allowed });
            Vec::new()
        }
    }
}

fn parse(text: &str, path: &str, problems: &mut Vec<Problem>) -> Vec<(String, String)> {
    let lines: Vec<&str> = text.trim_start_matches('\u{feff}').lines().collect();
    let mut sound = String::new();
    let mut at = 0;
    while at < lines.len() {
        let count = value_lines(&lines[at..]);
        let entry = format!("{}\n", lines[at..at + count].join("\n"));
        if dotenvy::from_read_iter(entry.as_bytes()).all(|item| item.is_ok()) {
            sound.push_str(&entry);
        } else if concerns_us(lines[at]) {
            problems.push(Problem {
                variable: format!("line {} of {path}", at + 1),
                value: masked(lines[at]),
                allowed: ALLOWED.to_owned(),
            });
        }
        at += count;
    }
    // Once more and together, for `${NAME}` may name a variable of an earlier line.
    dotenvy::from_read_iter(sound.as_bytes()).filter_map(Result::ok).collect()
}

/// How many lines the first one's value takes: more than one only where it begins with a quote that a later line
/// closes, and none of our settings comes between.
fn value_lines(lines: &[&str]) -> usize {
    let value = lines[0].split_once('=').map_or("", |(_, value)| value.trim_start());
    let Some(quote) = value.chars().next().filter(|first| matches!(first, '"' | '\'')) else {
        return 1;
    };
    if lines[0].trim_start().starts_with('#') || value[1..].contains(quote) {
        return 1;
    }
    let mut further = lines[1..].iter().take_while(|line| !name(line).is_some_and(is_ours));
    further.position(|line| line.contains(quote)).map_or(1, |position| position + 2)
}

/// Whether a line that cannot be read is ours to complain about: it sets one of our variables, or none at all.
fn concerns_us(line: &str) -> bool {
    match name(line) {
        Some(name) => is_ours(name) || name.starts_with("WEBHOOK_"),
        None => true,
    }
}

/// What a broken line sets; its value may be a secret.
fn masked(line: &str) -> String {
    match name(line) {
        Some(name) => format!("{name}=***"),
        None => "***".to_owned(),
    }
}

fn name(line: &str) -> Option<&str> {
    let (name, _) = line.split_once('=')?;
    let name = name.trim();
    let name = name.strip_prefix("export ").unwrap_or(name).trim();
    let is_name = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b));
    (is_name && !name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> (Vec<(String, String)>, Vec<String>) {
        let mut problems = Vec::new();
        let pairs = parse(text, ".env", &mut problems);
        (pairs, problems.iter().map(Problem::to_string).collect())
    }

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    #[test]
    fn the_usual_forms_are_read() {
        let text = "\u{feff}# a comment\r\nSTREAM=a\r\n\r\nexport LOG_LEVEL = 'de$bug' # why\n\
                    WEBHOOK_GLOBAL_URL=''\nHOST=h\nREDIS_URL=\"redis://${HOST}:1\"\nLOG_FORMAT=json ";
        let (pairs, problems) = parsed(text);
        assert_eq!(problems, [""; 0]);
        assert_eq!(
            pairs,
            [
                pair("STREAM", "a"),
                pair("LOG_LEVEL", "de$bug"),
                pair("WEBHOOK_GLOBAL_URL", ""),
                pair("HOST", "h"),
                pair("REDIS_URL", "redis://h:1"),
                pair("LOG_FORMAT", "json"),
            ]
        );
    }

    #[test]
    fn other_programs_lines_neither_fail_nor_hide_ours() {
        let text = "PHONE_CLIENT=Evolution API\nNAME=Joe's\nSTREAM=a\nOTHER=it's\nKEY='-----BEGIN\nMII=\n-----END'\n\
                    PAIR='{\"a\":\n1}'\nLOG_LEVEL=warn\nLAST='open\nLOG_FORMAT='json'\n";
        let (pairs, problems) = parsed(text);
        assert_eq!(problems, [""; 0]);
        let ours: Vec<_> = pairs.into_iter().filter(|(name, _)| is_ours(name)).collect();
        assert_eq!(ours, [pair("STREAM", "a"), pair("LOG_LEVEL", "warn"), pair("LOG_FORMAT", "json")]);
    }

    #[test]
    fn our_broken_lines_are_named_without_their_value() {
        let text = "STREAM=a\n\nWEBHOOK_GLOBAL_SECRET=hunter2 hunter3\nLOG_LEVEL 'hunter2\nSTREAM='hunter2\n\
                    WEBHOOK_TYPO=a b\nLOG_FORMAT=json\n";
        let (pairs, problems) = parsed(text);
        assert_eq!(pairs, [pair("STREAM", "a"), pair("LOG_FORMAT", "json")]);
        assert_eq!(problems.len(), 4);
        for (problem, start) in problems.iter().zip([
            "line 3 of .env is 'WEBHOOK_GLOBAL_SECRET=***': write NAME=value",
            "line 4 of .env is '***': ",
            "line 5 of .env is 'STREAM=***': ",
            "line 6 of .env is 'WEBHOOK_TYPO=***': ",
        ]) {
            assert!(problem.starts_with(start), "{problem}");
            assert!(!problem.contains("hunter"), "{problem}");
        }
    }
}
