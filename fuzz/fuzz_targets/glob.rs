//! Pattern, newline, text: the matcher agrees with the definition.
#![no_main]

use libfuzzer_sys::fuzz_target;
use podiam_fuzz::glob_matches;
use podiam_iam::Glob;

fuzz_target!(|input: &str| {
    let (pattern, text) = input.split_once('\n').unwrap_or((input, ""));
    assert_eq!(
        Glob::new(pattern).matches(text),
        glob_matches(pattern, text)
    );
});
