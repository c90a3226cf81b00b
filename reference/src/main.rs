//! `podiam-reference`: writes what the documentation and a release take from the code. `cargo xtask reference` and
//! `cargo xtask release` run it.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;

/// Writes what the documentation and a release take from the code.
#[derive(Parser)]
enum Command {
    /// The generated pages, into docs/ or another folder
    Docs {
        /// The folder
        folder: PathBuf,
    },
    /// Man pages and completions, into folders man and completions of a folder
    Manual {
        /// The folder
        folder: PathBuf,
    },
}

fn main() -> Result<ExitCode> {
    match Command::parse() {
        Command::Docs { folder } => {
            for (name, text) in podiam_reference::pages()? {
                let path = folder.join(name);
                std::fs::write(&path, text)
                    .with_context(|| format!("cannot write {}", path.display()))?;
            }
        }
        Command::Manual { folder } => {
            podiam_reference::manual::man_pages(&folder.join("man"))?;
            podiam_reference::manual::completions(&folder.join("completions"))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
