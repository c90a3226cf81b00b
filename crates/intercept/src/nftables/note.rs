//! When the table was written: kept with it in the kernel, as a comment that nft shows.

use std::time::{SystemTime, UNIX_EPOCH};

/// `NFTNL_UDATA_TABLE_COMMENT` of libnftnl: the type of the one entry.
const COMMENT: u8 = 0;
const TEXT: &str = "podiam, written at Unix time ";

/// The note of now. An entry is its type, its length and a text that ends in NUL.
pub(super) fn encode() -> Vec<u8> {
    let text = format!("{TEXT}{}\0", now());
    let length = u8::try_from(text.len()).unwrap_or(u8::MAX);
    [&[COMMENT, length], text.as_bytes()].concat()
}

/// The Unix time in a note of ours.
pub(super) fn decode(data: &[u8]) -> Option<u64> {
    let [COMMENT, length, rest @ ..] = data else {
        return None;
    };
    let text = str::from_utf8(rest.get(..usize::from(*length))?).ok()?;
    let seconds = text.strip_prefix(TEXT)?.strip_suffix('\0')?;
    seconds.parse().ok()
}

/// Seconds since the Unix time `written`; none where the clock has been set back since.
pub(super) fn age(written: u64) -> Option<u64> {
    now().checked_sub(written)
}

#[allow(
    clippy::disallowed_methods,
    reason = "the kernel's table has no clock that a test could hold"
)]
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_reads_back_and_a_comment_of_others_does_not() {
        let written = decode(&encode()).unwrap();
        assert!(age(written).unwrap() < 60);
        assert_eq!(age(u64::MAX), None);
        for other in [
            &b""[..],
            b"\0",
            b"\0\x06hello\0",
            b"\0\xffpodiam, written",
            b"\x01\x02a\0",
        ] {
            assert_eq!(decode(other), None, "{other:?}");
        }
    }
}
