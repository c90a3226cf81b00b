//! Runs the commands that a Markdown file shows and compares what they print, to the byte. In a block of `console` (whose fence is longer
//! than those that it prints), a line
//! `$ COMMAND` is followed by `? CODE`, where the exit code is not 0, and by stdout and stderr as they come; blank lines at
//! the end do not count. `PODIAM_WRITE_DOCS=1` writes the file anew instead.

use std::path::Path;
use std::process::{Command, Stdio};

/// Panics with the first command that prints something else than the file shows.
pub(crate) fn check(file: &str) {
    let shown = std::fs::read_to_string(file).unwrap();
    let (real, commands) = run(&shown);
    assert!(commands > 0, "{file} shows no command");
    if std::env::var_os("PODIAM_WRITE_DOCS").is_some() {
        std::fs::write(file, real).unwrap();
        return;
    }
    let mut command = "";
    for (number, (shown, real)) in shown.lines().zip(real.lines()).enumerate() {
        if real.starts_with("$ ") {
            command = real;
        }
        assert_eq!(shown, real, "{file}:{}: {command}", number + 1);
    }
    assert_eq!(
        shown.lines().count(),
        real.lines().count(),
        "{file}: {command}"
    );
}

/// The file with what its commands really print, and how many commands there are.
fn run(text: &str) -> (String, usize) {
    let mut out = String::new();
    let mut commands = 0;
    // The backticks that end the block; what is printed may hold shorter fences of its own.
    let mut fence = String::new();
    let mut in_block = false;
    for line in text.lines() {
        let ticks = line.len() - line.trim_start_matches('`').len();
        let edge = if fence.is_empty() {
            ticks >= 3
        } else {
            line == fence
        };
        if edge {
            if in_block {
                // One blank line parts a command from the next; none stands at the end.
                out.truncate(out.trim_end().len() + 1);
            }
            in_block = fence.is_empty() && &line[ticks..] == "console";
            fence = if fence.is_empty() {
                line[..ticks].to_owned()
            } else {
                String::new()
            };
        }
        if !in_block || edge {
            out.push_str(line);
            out.push('\n');
        } else if let Some(command) = line.strip_prefix("$ ") {
            commands += 1;
            out.push_str(&session(command));
        }
    }
    (out, commands)
}

/// A command with what it prints.
fn session(command: &str) -> String {
    let program = Path::new(env!("CARGO_BIN_EXE_podiam"));
    let path = std::env::var("PATH").unwrap_or_default();
    let output = Command::new("sh")
        .args(["-c", &format!("exec 2>&1\n{command}")])
        .env_clear()
        .env(
            "PATH",
            format!("{}:{path}", program.parent().unwrap().display()),
        )
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    let code = match output.status.code().unwrap() {
        0 => String::new(),
        code => format!("? {code}\n"),
    };
    format!("$ {command}\n{code}{}\n\n", printed.trim_end())
}
