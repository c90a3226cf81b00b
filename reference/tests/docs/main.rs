//! The documentation beside the code: the generated pages are today's, links lead somewhere, and flags, tests, reasons and
//! log fields that a page names exist.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot have what it needs fails right there"
)]

mod flags;
mod generated;
mod links;
mod logs;
mod markdown;
mod named_tests;
mod reasons;
