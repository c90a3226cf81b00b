//! Waiting for what somebody else does: asked often, for a bounded time, and the last reason why not is the error.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

const PAUSE: Duration = Duration::from_millis(100);

#[allow(
    clippy::disallowed_methods,
    reason = "it waits for other programs, whose events are not to be had"
)]
/// Asks until the answer is no error, and returns it.
pub(super) fn until<T>(
    what: &str,
    limit: Duration,
    mut ask: impl FnMut() -> Result<T>,
) -> Result<T> {
    let started = Instant::now();
    loop {
        let error = match ask() {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        if started.elapsed() > limit {
            return Err(error).with_context(|| format!("{what}: not within {limit:?}"));
        }
        #[allow(
            clippy::disallowed_methods,
            reason = "what another program does has no event to wait on"
        )]
        std::thread::sleep(PAUSE);
    }
}
