//! Pieces of CEL, as strings: literals, look-ups and matches. Kubernetes evaluates them; its `matches` is RE2 and finds
//! anywhere, so every regular expression is anchored here.

use std::fmt::Write as _;

/// A string literal.
pub(super) fn text(text: &str) -> String {
    let mut literal = String::from("'");
    for c in text.chars() {
        match c {
            '\\' | '\'' => literal.extend(['\\', c]),
            ' '..='~' => literal.push(c),
            _ => {
                // Writing to a string cannot fail.
                let _ = write!(literal, "\\U{:08x}", u32::from(c));
            }
        }
    }
    literal.push('\'');
    literal
}

/// The annotation `key` of an object; empty where there is none.
pub(super) fn annotation(object: &str, key: &str) -> String {
    let key = text(key);
    format!(
        "({} ? {object}.metadata.annotations[{key}] : '')",
        has_annotation(object, &key)
    )
}

/// Whether an object has the annotation whose key is this literal.
pub(super) fn has_annotation(object: &str, key: &str) -> String {
    format!("has({object}.metadata.annotations) && {key} in {object}.metadata.annotations")
}

/// Whether all of `subject` matches one of these regular expressions; none matches nothing.
pub(super) fn matches_any(subject: &str, regexps: &[String]) -> String {
    if regexps.is_empty() {
        return "false".to_owned();
    }
    let anchored = text(&format!("^(?:{})$", regexps.join("|")));
    format!("{subject}.matches({anchored})")
}

/// A text quoted for people, and cut where it is long.
pub(super) fn quoted(subject: &str) -> String {
    format!(
        "strings.quote({subject}.size() > 100 ? {subject}.substring(0, 100) + '...' : {subject})"
    )
}

/// `condition ? then : otherwise`, on lines of its own.
pub(super) fn choose(condition: &str, then: &str, otherwise: &str) -> String {
    format!("{condition} ?\n  {then} :\n{otherwise}")
}
