//! What the tests of this module share: command lines through the real parser, and what becomes of them. The environment
//! is left out; tests/cli.rs sets it for a process of its own.

use clap::{Args, Command, FromArgMatches};

pub(super) use crate::config::*;

pub(super) fn parse(words: &[&str]) -> Result<AgentArgs, clap::Error> {
    let words = std::iter::once("agent").chain(words.iter().copied());
    let matches = AgentArgs::augment_args(Command::new("agent")).try_get_matches_from(words)?;
    AgentArgs::from_arg_matches(&matches)
}

pub(super) fn judge_as(program: Program, words: &[&str]) -> Result<Config, Problems> {
    match parse(words) {
        Ok(args) => args.validate(program),
        Err(error) => panic!("clap refuses {words:?}: {error}"),
    }
}

pub(super) fn judge(words: &[&str]) -> Result<Config, Problems> {
    judge_as(Program::Podiam, words)
}

pub(super) fn config(words: &[&str]) -> Config {
    judge(words).unwrap_or_else(|problems| panic!("{words:?}: {problems}"))
}

/// The problems of a command line, one line each.
pub(super) fn problems(words: &[&str]) -> Vec<String> {
    match judge(words) {
        Ok(_) => vec![],
        Err(problems) => problems.iter().map(ToString::to_string).collect(),
    }
}

/// Asserts that there is one problem, with this flag and value at its beginning and this in what is right.
pub(super) fn assert_one_problem(words: &[&str], start: &str, right: &str) {
    let problems = problems(words);
    let [problem] = problems.as_slice() else {
        panic!("{words:?} has {} problems: {problems:?}", problems.len())
    };
    assert!(
        problem.starts_with(start) && problem.contains(right),
        "{words:?}: {problem}"
    );
}

pub(super) fn has_notice(config: &Config, part: &str) -> bool {
    config.notices.iter().any(|notice| notice.contains(part))
}
