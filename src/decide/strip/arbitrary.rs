//! Arbitrary events for the property tests of stripping.

use proptest::prelude::*;

/// JSON text as a tree, so that what has to be removed is known without reading JSON.
#[derive(Clone, Debug)]
pub(super) enum Tree {
    /// A scalar as it is written.
    Leaf(String),
    Array(Vec<Tree>),
    /// Keys as they are written, without the quotes.
    Object(Vec<(String, Tree)>),
}

impl Tree {
    /// As text, with white space from `blanks` (in turn) wherever JSON allows it.
    pub(super) fn write(&self, out: &mut String, blanks: &mut impl Iterator<Item = String>) {
        let blank = |out: &mut String, blanks: &mut dyn Iterator<Item = String>| {
            out.push_str(&blanks.next().unwrap_or_default());
        };
        match self {
            Self::Leaf(text) => out.push_str(text),
            Self::Array(elements) => {
                out.push('[');
                for (i, element) in elements.iter().enumerate() {
                    out.push_str(if i == 0 { "" } else { "," });
                    blank(out, blanks);
                    element.write(out, blanks);
                    blank(out, blanks);
                }
                out.push(']');
            }
            Self::Object(members) => {
                out.push('{');
                for (i, (key, value)) in members.iter().enumerate() {
                    out.push_str(if i == 0 { "" } else { "," });
                    blank(out, blanks);
                    out.push_str(&format!("\"{key}\""));
                    blank(out, blanks);
                    out.push(':');
                    blank(out, blanks);
                    value.write(out, blanks);
                    blank(out, blanks);
                }
                out.push('}');
            }
        }
    }

    pub(super) fn minified(&self) -> String {
        let mut out = String::new();
        self.write(&mut out, &mut std::iter::empty());
        out
    }

    /// `data` as it has to come out, by the rule's definition.
    pub(super) fn stripped(mut self) -> Self {
        match &mut self {
            Self::Array(elements) => elements.iter_mut().for_each(Self::strip_message),
            data => data.strip_message(),
        }
        self
    }

    fn strip_message(&mut self) {
        let Self::Object(members) = self else { return };
        for (key, value) in members {
            if let (true, Self::Object(members)) = (unescaped(key) == "message", value) {
                members.retain(|(key, _)| unescaped(key) != "base64");
            }
        }
    }
}

fn unescaped(key: &str) -> String {
    serde_json::from_str(&format!("\"{key}\"")).unwrap()
}

pub(super) fn any_tree() -> impl Strategy<Value = Tree> {
    let leaf = prop_oneof![
        "null|true|false|0|-1\\.0|1e3|1E-7|[1-9][0-9]{20,40}|1e99999".prop_map(Tree::Leaf),
        r#""([a-z ,:{}\[\]é💥]|\\"|\\\\|\\n|\\/|\\u00e9|\\ud83d\\ude00){0,8}""#.prop_map(Tree::Leaf),
        Just(Tree::Leaf(r#""base64""#.to_owned())),
        Just(Tree::Leaf(r#""\"base64\":1,""#.to_owned())),
    ];
    let key = prop_oneof![
        4 => Just("message".to_owned()),
        6 => Just("base64".to_owned()),
        1 => Just(r"b\u0061se64".to_owned()),
        1 => Just(r"\u006dessage".to_owned()),
        1 => Just(r#"\"base64"#.to_owned()),
        3 => "[a-c,}]{0,2}",
    ];
    leaf.prop_recursive(5, 60, 6, move |tree| {
        prop_oneof![
            1 => proptest::collection::vec(tree.clone(), 0..5).prop_map(Tree::Array),
            4 => proptest::collection::vec((key.clone(), tree), 0..6).prop_map(Tree::Object),
        ]
    })
}
