//! A real browser without a head, on the node of a scene: what it makes of a page, as a tree and as a picture. Each run has
//! a profile of its own, and scripts are turned off.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::scene::Scene;

/// How the page is looked at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Eyes {
    pub(crate) dark: bool,
    pub(crate) width: u32,
    pub(crate) height: u32,
}

/// Where the pictures are kept.
pub(crate) fn pictures() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../status-page");
    std::fs::create_dir_all(&folder).unwrap();
    folder.canonicalize().unwrap()
}

/// The page's tree, as the browser has it when it is loaded.
pub(crate) fn tree(scene: &Scene, url: &str) -> String {
    let eyes = Eyes {
        dark: false,
        width: 1000,
        height: 900,
    };
    run(scene, eyes, &["--dump-dom", url])
}

/// A picture of the page, in [`pictures`].
pub(crate) fn picture(scene: &Scene, url: &str, name: &str, eyes: Eyes) -> PathBuf {
    let file = pictures().join(name);
    let _ = std::fs::remove_file(&file);
    let screenshot = format!("--screenshot={}", file.display());
    run(scene, eyes, &[&screenshot, url]);
    assert!(file.is_file(), "no picture {}", file.display());
    file
}

fn run(scene: &Scene, eyes: Eyes, words: &[&str]) -> String {
    let profile = tempfile::tempdir().unwrap();
    let Eyes {
        dark,
        width,
        height,
    } = eyes;
    let mut command: Command = scene.on_node("chromium");
    command
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--hide-scrollbars",
            "--force-device-scale-factor=1",
        ])
        // Scripts are off; 0 is dark and 1 is light.
        .arg(format!(
            "--blink-settings=scriptEnabled=false,preferredColorScheme={}",
            u8::from(!dark)
        ))
        .arg(format!("--window-size={width},{height}"))
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .args(words)
        .stdin(Stdio::null());
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "chromium (Debian's package chromium) ended with {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}
