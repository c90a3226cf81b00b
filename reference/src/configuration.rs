//! docs/configuration.md: every flag of every command, as clap knows it.

mod kube2iam;

use clap::{Arg, ArgAction, Command};

use crate::markdown::{code, head, row, words};

/// What stands above the tables.
const HEADER: &str = "\
# Configuration

<!-- Written by `cargo xtask reference` out of the command line: change it there. -->

Every flag of the agent, and of `podiam intercept`, is an environment variable too: `PODIAM_` and its name in capitals. The command
line wins. An empty variable counts as absent, and so does one that Kubernetes makes of a Service (`tcp://…`). A boolean alone is true
(`--debug`), and takes a value only after `=` (`--debug=false`). A duration is a number with `ns`, `us`, `ms`, `s`, `m` or `h`, such as `1h30m`.
Lists are separated by commas. What is wrong is told for all flags at once, with what would be right, and exit code 2.

In the [chart](install.md#with-helm), a flag is a key of `extraArgs` without its dashes.

The column *kube2iam* says whether the flag is kube2iam's: `same` with the same default; else how its default differs. `own` is
podiam's alone. A program started as `kube2iam` takes the agent's flags.
";

/// The page.
pub fn page() -> String {
    let mut root = podiam::commands::command();
    root.build();
    let mut page = HEADER.to_owned();
    let mut commands = Vec::new();
    gather(&root, &mut commands);
    for command in commands {
        page += &section(command);
    }
    page
}

/// Commands that do something, in the order of the help.
fn gather<'a>(command: &'a Command, found: &mut Vec<&'a Command>) {
    for below in command.get_subcommands() {
        if below.get_name() == "help" {
            continue;
        }
        if below.has_subcommands() {
            gather(below, found);
        } else {
            found.push(below);
        }
    }
}

fn section(command: &Command) -> String {
    let name = command.get_bin_name().unwrap_or(command.get_name());
    let about = command.get_about().map(ToString::to_string);
    let mut text = format!("\n## {name}\n\n{}.\n", words(&about.unwrap_or_default()));
    if name == "podiam admission-policy" {
        // The same arguments, read by the same code.
        return text + "\nIts flags are the [agent's](#podiam-agent).\n";
    }
    let is_agent = name == "podiam agent";
    let flags: Vec<&Arg> = command
        .get_arguments()
        .filter(|arg| !arg.is_hide_set() && arg.get_id() != "help")
        .collect();
    if flags.is_empty() {
        return text;
    }
    let titles: &[&str] = if is_agent {
        &[
            "flag",
            "variable",
            "default",
            "kube2iam",
            "meaning, unit and range",
        ]
    } else {
        &["flag", "variable", "default", "meaning, unit and range"]
    };
    text += "\n";
    text += &head(titles);
    for arg in flags {
        let mut cells = vec![
            code(&spelling(arg)),
            code(
                &arg.get_env()
                    .map(|name| name.to_string_lossy())
                    .unwrap_or_default(),
            ),
            default(arg),
        ];
        if is_agent {
            cells.push(kube2iam::relation(arg));
        }
        cells.push(meaning(arg));
        text += &row(&cells);
    }
    text
}

/// `--flag <VALUE>`, or what a word without a flag stands for.
fn spelling(arg: &Arg) -> String {
    let values = arg.get_value_names().unwrap_or_default();
    let takes_value = matches!(arg.get_action(), ArgAction::Set | ArgAction::Append);
    let value = values
        .first()
        .map(ToString::to_string)
        .filter(|_| takes_value);
    match (arg.get_long(), value) {
        (Some(flag), Some(value)) => format!("--{flag} {value}"),
        (Some(flag), None) => format!("--{flag}"),
        (None, value) => value.unwrap_or_else(|| arg.get_id().to_string().to_uppercase()),
    }
}

/// What stands in the help as `[default: …]`, whether clap or the text says it.
fn default(arg: &Arg) -> String {
    let values: Vec<_> = arg
        .get_default_values()
        .iter()
        .map(|it| it.to_string_lossy())
        .collect();
    if !values.is_empty() && matches!(arg.get_action(), ArgAction::Set | ArgAction::Append) {
        return code(&values.join(","));
    }
    let help = help(arg);
    let said = help
        .split_once("[default: ")
        .and_then(|(_, rest)| rest.split_once(']'));
    said.map_or_else(String::new, |(said, _)| words(said))
}

/// The help without what has a column of its own, and with the values that it may have.
fn meaning(arg: &Arg) -> String {
    let help = help(arg);
    let mut text = help
        .split("[default: ")
        .next()
        .unwrap_or_default()
        .trim()
        .to_owned();
    let choices: Vec<String> = arg
        .get_possible_values()
        .iter()
        .filter(|_| matches!(arg.get_action(), ArgAction::Set | ArgAction::Append))
        .map(|value| code(value.get_name()))
        .collect();
    if !choices.is_empty() {
        text = format!("{text}: {}", choices.join(", "));
    }
    if arg.is_required_set() {
        text += " (required)";
    }
    words(&text)
}

fn help(arg: &Arg) -> String {
    arg.get_help().map(ToString::to_string).unwrap_or_default()
}
