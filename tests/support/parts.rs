//! Where the parts that `cargo xtask test` built are. The catalog is xtask's own file, so that both always mean the same
//! version.

use std::path::PathBuf;

#[path = "../../xtask/src/parts/catalog.rs"]
mod catalog;

pub(crate) use catalog::Part;

/// The program of a part; panics with its name where it is missing.
pub fn program(part: Part) -> PathBuf {
    let cache = catalog::cache().expect("neither XDG_CACHE_HOME nor HOME says where the parts are");
    let program = part.program(&cache);
    assert!(
        program.exists(),
        "missing: {} {} (looked for {}); run `cargo xtask test` or `cargo xtask parts`",
        part.name(),
        part.version(),
        program.display()
    );
    program
}
