//! Logs: set up once, by `main`'s commands. Text for people or one JSON object a line, to standard output, where
//! kube2iam's go. Also the one way in which an error is shown: its whole chain, joined once.

use std::error::Error;
use std::fmt;
use std::io::{self, IsTerminal};

use tracing::Level;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, filter};

/// Starts logging. Our own events are kept from `level` on, those of libraries from `warn` on (from `level` on when
/// that is `trace`). The audit log is always kept. kube's are never kept: where it cannot parse a reply it logs the body, a pod's environment
/// included, and `watch` tells its errors anyway. Does nothing if logging was started before, as in tests.
pub fn init(json: bool, level: Level) {
    let libraries = if level == Level::TRACE {
        level
    } else {
        level.min(Level::WARN)
    };
    let filter = filter::Targets::new()
        .with_default(LevelFilter::from_level(libraries))
        .with_target("podiam", level)
        .with_target("podiam::audit", level.max(Level::INFO))
        .with_target("kube_client", LevelFilter::OFF)
        .with_target("kube_runtime", LevelFilter::OFF);
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(io::stdout)
        .with_target(false);
    let layer = if json {
        // With the target, so that the audit log can be told from the rest.
        layer.json().flatten_event(true).with_target(true).boxed()
    } else {
        layer.with_ansi(io::stdout().is_terminal()).boxed()
    };
    // An error means that somebody else's subscriber is there already, which is fine.
    let _ = tracing_subscriber::registry()
        .with(layer.with_filter(filter))
        .try_init();
}

/// An error and all that caused it, in one line: `cannot list pods: connection refused`.
pub struct Chain<'a>(pub &'a (dyn Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut written = self.0.to_string();
        f.write_str(&written)?;
        let mut next = self.0.source();
        while let Some(error) = next {
            let text = error.to_string();
            // Some libraries repeat their source in their own text.
            if !written.ends_with(&text) {
                write!(f, ": {text}")?;
                written = text;
            }
            next = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot list pods")]
    struct Outer(#[source] Middle);

    #[derive(Debug, thiserror::Error)]
    #[error("client error: refused")]
    struct Middle(#[source] Inner);

    #[derive(Debug, thiserror::Error)]
    #[error("refused")]
    struct Inner;

    #[test]
    fn a_chain_is_one_line_and_says_nothing_twice() {
        assert_eq!(
            Chain(&Outer(Middle(Inner))).to_string(),
            "cannot list pods: client error: refused"
        );
    }
}
