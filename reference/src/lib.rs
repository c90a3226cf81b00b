//! What the documentation takes from the code: the pages that list every flag and every metric, the man pages and the
//! completions. `cargo xtask reference` writes the pages; the tests here compare them with the code, and hold the other
//! pages to what they name: links, flags, tests, log fields. Never linked into the agent.

pub mod configuration;
pub mod manual;
mod markdown;
pub mod metrics;

use anyhow::Result;

/// The generated pages: the file's name below docs/, and its text.
pub fn pages() -> Result<[(&'static str, String); 2]> {
    Ok([
        ("configuration.md", configuration::page()),
        ("metrics.md", metrics::page()?),
    ])
}
