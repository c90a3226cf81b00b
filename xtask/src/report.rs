//! What the demo and the end-to-end run print, and the count of what was not as promised.

use std::fmt::Arguments;
use std::io::{Stdout, Write, stdout};
use std::process::ExitCode;

use crate::progress::Style;

/// The report: sections, facts, and expectations that hold or do not.
pub(crate) struct Report {
    pub(crate) style: Style,
    sections: usize,
    held: usize,
    failed: usize,
    out: Stdout,
}

impl Report {
    pub(crate) fn new(style: Style) -> Self {
        Self {
            style,
            sections: 0,
            held: 0,
            failed: 0,
            out: stdout(),
        }
    }

    /// Prints a line. A reader that went away (`| head`) ends the reading, not the story and its clean-up.
    fn say(&self, line: Arguments<'_>) {
        let _ = writeln!(&self.out, "{line}");
    }

    /// Begins a numbered section.
    pub(crate) fn section(&mut self, title: &str) {
        self.sections += 1;
        let gap = if self.sections > 1 { "\n" } else { "" };
        self.say(format_args!(
            "{gap}{}",
            self.style.bold(&format!("{}. {title}", self.sections))
        ));
    }

    /// Begins what concerns one pod.
    pub(crate) fn subject(&self, who: &str, what: &str) {
        self.say(format_args!(
            "  {} {}",
            self.style.bold(who),
            self.style.dim(what)
        ));
    }

    /// A command that a person could type.
    pub(crate) fn command(&self, line: &str) {
        self.say(format_args!("    {}", self.style.dim(&format!("$ {line}"))));
    }

    /// A line as it is: what was asked, what was answered.
    pub(crate) fn line(&self, text: &str) {
        self.say(format_args!("      {text}"));
    }

    /// A fact without a judgement.
    pub(crate) fn fact(&self, name: &str, value: &str) {
        self.say(format_args!(
            "    {}",
            format!("  {name:<13} {value}").trim_end()
        ));
    }

    /// A fact that must be so: `holds` says whether it is.
    pub(crate) fn expect(&mut self, holds: bool, name: &str, value: &str) {
        let mark = if holds {
            self.style.green("✓")
        } else {
            self.style.red("✗")
        };
        if holds {
            self.held += 1;
        } else {
            self.failed += 1;
        }
        self.say(format_args!(
            "    {}",
            format!("{mark} {name:<13} {value}").trim_end()
        ));
    }

    /// How many expectations did not hold so far.
    pub(crate) fn failed(&self) -> usize {
        self.failed
    }

    /// Counts and tells what could not even be tried.
    pub(crate) fn broken(&mut self, error: &anyhow::Error) {
        self.failed += 1;
        self.say(format_args!(
            "    {} {error:#}",
            self.style.red("✗ broken off:")
        ));
    }

    /// The last line, and the exit code.
    pub(crate) fn conclude(&self) -> ExitCode {
        let Self {
            style,
            held,
            failed,
            ..
        } = self;
        if *failed == 0 {
            self.say(format_args!(
                "\n{}",
                style.green(&format!("All {held} expectations hold."))
            ));
            ExitCode::SUCCESS
        } else {
            self.say(format_args!(
                "\n{}",
                style.red(&format!(
                    "{failed} of {} expectations do not hold.",
                    held + failed
                ))
            ));
            ExitCode::FAILURE
        }
    }
}

/// The start of a body, on one line.
pub(crate) fn gist(body: &str) -> String {
    let line: Vec<&str> = body.split_whitespace().collect();
    let line = line.join(" ");
    match line.char_indices().nth(100) {
        Some((end, _)) => format!("{} …", &line[..end]),
        None => line,
    }
}
