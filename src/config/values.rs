//! Readers of single values, for [`super::validate`]. Each takes what was written and returns the value, or one line
//! that says what would be right; none looks at another flag.

mod addresses;
mod metadata_path;
mod names;

pub(super) use addresses::{host_ip, host_ip6, metadata_address, port, server_url};
pub(super) use metadata_path::metadata_path;
pub(super) use names::{annotation_key, cluster_name, node_name, region, taint_key};

/// A number of threads that serve pods.
pub(super) fn workers(text: &str) -> Result<usize, &'static str> {
    let workers = text
        .parse()
        .ok()
        .filter(|workers| (1..=64).contains(workers));
    workers.ok_or("write a number from 1 to 64")
}

/// Calls per second; 0 for no limit.
pub(super) fn rate(text: &str) -> Result<f64, &'static str> {
    let rate = text
        .parse()
        .ok()
        .filter(|rate| *rate == 0.0 || (0.01..=1000.0).contains(rate));
    rate.ok_or("write a number from 0.01 to 1000, or 0 for no limit")
}

/// Calls under way at once; 0 for no limit.
pub(super) fn calls(text: &str) -> Result<usize, &'static str> {
    let calls = text.parse().ok().filter(|calls| *calls <= 1000);
    calls.ok_or("write a number from 1 to 1000, or 0 for no limit")
}

/// What an `Authorization` header can hold: RFC 6750's token characters, checked as "visible ASCII".
pub(super) fn bearer_token(text: &str) -> Result<(), &'static str> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(())
    } else {
        Err(
            "not a bearer token: it is empty, or holds a space, a line end or another invisible character",
        )
    }
}

/// Asserts what a reader takes and what it refuses.
#[cfg(test)]
fn table<T, E>(reader: impl Fn(&str) -> Result<T, E>, taken: &[&str], refused: &[&str]) {
    for text in taken {
        assert!(reader(text).is_ok(), "{text:?} should be taken");
    }
    for text in refused {
        assert!(reader(text).is_err(), "{text:?} should be refused");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_are_1_to_64() {
        table(
            workers,
            &["1", "2", "64"],
            &["", "0", "65", "-1", "two", "1.5"],
        );
    }

    #[test]
    fn a_token_is_visible_ascii() {
        table(bearer_token, &["abc.DEF-_~+/="], &["", "a b", "a\n", "ä"]);
    }
}
