//! The characters that IAM and STS allow in names: `[\w+=,.@-]`, ASCII only, with a few more in some places.

/// The first character of `text` that is neither `[\w+=,.@-]` nor one of `extra`.
pub(crate) fn first_illegal(text: &str, extra: &[char]) -> Option<char> {
    text.chars().find(|&c| !is_name(c) && !extra.contains(&c))
}

/// Whether `c` may stand in the name of a role or a session.
pub(crate) fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '+' | '=' | ',' | '.' | '@' | '-')
}
