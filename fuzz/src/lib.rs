//! Second implementations, slow and plain, that the fuzz targets hold the real ones against.

/// Whether a glob (`*` only, anchored) matches, by the textbook's table: row by row over the pattern, `reached[i]` says
/// whether the pattern so far matches the first `i` bytes.
pub fn glob_matches(pattern: &str, text: &str) -> bool {
    let text = text.as_bytes();
    let mut reached = vec![false; text.len() + 1];
    reached[0] = true;
    for &byte in pattern.as_bytes() {
        if byte == b'*' {
            for end in 1..=text.len() {
                reached[end] |= reached[end - 1];
            }
        } else {
            for end in (1..=text.len()).rev() {
                reached[end] = reached[end - 1] && text[end - 1] == byte;
            }
            reached[0] = false;
        }
    }
    reached[text.len()]
}
