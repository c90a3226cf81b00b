//! Collects what is wrong with a command line, so that an operator reads all of it at once, and what is right but
//! worth knowing. Used by [`super::validate`] only.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use thiserror::Error;

use super::Program;
use super::pflag::{self, GoDuration};

/// Everything that is wrong with a command line, at least one thing.
#[derive(Debug, PartialEq, Eq, Error)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// One by one, in the order in which the flags were judged.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.0.iter()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.len() {
            1 => f.write_str("1 problem with the configuration:")?,
            count => write!(f, "{count} problems with the configuration:")?,
        }
        self.0
            .iter()
            .try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

/// One thing that is wrong: the flag, its value, and what would be right. One line, whatever the value is.
#[derive(Debug, PartialEq, Eq, Error)]
pub struct Problem {
    flag: &'static str,
    /// `None` where nothing was given, or where it is a secret.
    value: Option<String>,
    from_environment: bool,
    message: String,
}

impl Problem {
    /// The flag's name without its dashes; `None` for a word that belongs to no flag.
    pub fn flag(&self) -> Option<&'static str> {
        (self.flag != STRAY).then_some(self.flag)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            flag,
            value,
            from_environment,
            message,
        } = self;
        if self.flag().is_some() {
            write!(f, "--{flag}")?;
        }
        match value {
            Some(value) if *flag == STRAY => write!(f, "{value:?}")?,
            Some(value) => write!(f, "={value:?}")?,
            None => {}
        }
        if *from_environment {
            write!(f, " (from {})", environment_variable(flag))?;
        }
        write!(f, ": {message}")?;
        if value.as_ref().is_some_and(|value| value.contains("$(")) {
            f.write_str(" (Kubernetes leaves $(NAME) as it is where the container has no environment variable NAME)")?;
        }
        Ok(())
    }
}

/// The pseudo-flag of words that belong to none.
const STRAY: &str = "stray";

/// The environment variable of a flag.
pub(super) fn environment_variable(flag: &str) -> String {
    format!("PODIAM_{}", flag.to_ascii_uppercase().replace('-', "_"))
}

/// Which flags were given, by name without dashes, and where. A flag that is in neither has its default.
#[derive(Debug, Default)]
pub(super) struct Origins {
    pub(super) command_line: BTreeSet<String>,
    pub(super) environment: BTreeSet<String>,
}

/// The collector. A method that finds a problem notes it and returns a stand-in, which never leaves: [`Check::finish`]
/// gives the value only where nothing was noted.
pub(super) struct Check {
    program: Program,
    origins: Origins,
    problems: Vec<Problem>,
    notices: Vec<String>,
}

impl Check {
    pub(super) fn new(program: Program, origins: Origins) -> Self {
        Self {
            program,
            origins,
            problems: Vec::new(),
            notices: Vec::new(),
        }
    }

    /// What the process was started as.
    pub(super) fn program(&self) -> Program {
        self.program
    }

    /// Whether the flag was given, on the command line or in the environment.
    fn is_given(&self, flag: &str) -> bool {
        self.origins.command_line.contains(flag) || self.origins.environment.contains(flag)
    }

    /// Whether a problem with the flag was noted already.
    pub(super) fn has_problem(&self, flag: &str) -> bool {
        self.problems.iter().any(|problem| problem.flag == flag)
    }

    /// Notes a problem with a flag's value. `None` for a value that is missing, or a secret.
    pub(super) fn problem(
        &mut self,
        flag: &'static str,
        value: Option<&str>,
        message: impl fmt::Display,
    ) {
        self.problems.push(Problem {
            flag,
            value: value.map(str::to_owned),
            from_environment: self.origins.environment.contains(flag),
            message: message.to_string(),
        });
    }

    /// Notes something legal that an operator should know.
    pub(super) fn notice(&mut self, notice: impl Into<String>) {
        self.notices.push(notice.into());
    }

    /// Notes that a flag was given which no longer does anything.
    pub(super) fn without_effect(&mut self, flag: &str, why: &str) {
        if self.is_given(flag) {
            self.notice(format!("--{flag} has no effect: {why}"));
        }
    }

    /// A value that kube2iam lets pass: a problem, or a notice for those who started `kube2iam` and rely on it.
    pub(super) fn tolerate(
        &mut self,
        flag: &'static str,
        value: &str,
        right: &str,
        as_kube2iam: &str,
    ) {
        match self.program {
            Program::Podiam => self.problem(flag, Some(value), right),
            Program::Kube2iam => self.notice(format!("--{flag}={value:?} {as_kube2iam}: {right}")),
        }
    }

    /// Words that belong to no flag.
    pub(super) fn stray_words(&mut self, words: &[String]) {
        for word in words {
            let right = "belongs to no flag; a switch takes its value after an equals sign, as in --debug=false";
            match self.program {
                Program::Podiam => self.problem(STRAY, Some(word), right),
                Program::Kube2iam => {
                    self.notice(format!("{word:?} is ignored, as kube2iam does: it {right}"));
                }
            }
        }
    }

    /// Reads a value by a parser whose error says what would be right.
    pub(super) fn parse<T, E: fmt::Display>(
        &mut self,
        flag: &'static str,
        value: &str,
        parser: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        parser(value)
            .map_err(|error| self.problem(flag, Some(value), error))
            .ok()
    }

    /// A pflag boolean.
    pub(super) fn switch(&mut self, flag: &'static str, value: &str) -> bool {
        pflag::parse_bool(value).unwrap_or_else(|| {
            self.problem(
                flag,
                Some(value),
                "neither true nor false; write true, t, 1, false, f or 0",
            );
            false
        })
    }

    /// A Go duration that is not negative.
    pub(super) fn duration(&mut self, flag: &'static str, value: &str) -> Option<Duration> {
        let duration = self.parse(flag, value, |value| {
            value
                .parse::<GoDuration>()
                .map_err(|error| format!("not a duration such as 15m, 1h30m or 500ms: {error}"))
        })?;
        let duration = duration.to_std();
        if duration.is_none() {
            self.problem(flag, Some(value), "a duration here is 0 or more");
        }
        duration
    }

    /// One of a few words, in any case.
    pub(super) fn choice<T: Copy>(
        &mut self,
        flag: &'static str,
        value: &str,
        choices: &[(&str, T)],
    ) -> Option<T> {
        let chosen = choice(value, choices);
        if chosen.is_none() {
            self.problem(flag, Some(value), one_of(choices));
        }
        chosen
    }

    /// What was noted, which is at least one problem, where there can be no value.
    pub(super) fn give_up(self) -> Problems {
        Problems(self.problems)
    }

    /// The value, made from the notices, where no problem was noted.
    pub(super) fn finish<T>(self, make: impl FnOnce(Vec<String>) -> T) -> Result<T, Problems> {
        if self.problems.is_empty() {
            Ok(make(self.notices))
        } else {
            Err(Problems(self.problems))
        }
    }
}

/// The choice that a word names, in any case.
pub(super) fn choice<T: Copy>(value: &str, choices: &[(&str, T)]) -> Option<T> {
    choices
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(value))
        .map(|&(_, choice)| choice)
}

/// `write a, b or c`.
pub(super) fn one_of<T>(choices: &[(&str, T)]) -> String {
    let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
    match names.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("write {} or {last}", rest.join(", ")),
        _ => format!("write {}", names.concat()),
    }
}
