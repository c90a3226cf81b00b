//! Flags that pages name: those of podiam's own commands exist there, and every other is a flag of a program that is
//! listed here.

use std::collections::BTreeSet;

use clap::Command;
use regex::Regex;

use crate::markdown::pages;

/// Flags of other programs that stand between backticks alone, each with its program.
const OTHERS: [(&str, &str); 13] = [
    ("cargo xtask", "arch"),
    ("cargo xtask", "check"),
    ("cargo xtask", "keep"),
    ("cargo xtask", "twice"),
    ("cargo xtask", "svg"),
    ("cargo xtask", "seed"),
    ("cargo xtask", "dry-run"),
    ("cargo xtask", "unreleased"),
    ("kubelet", "node-ip"),
    ("helm", "set"),
    ("helm", "values"),
    ("kubectl", "previous"),
    ("docker", "platform"),
];

/// Every flag of a command and of those below it.
fn flags(command: &Command, found: &mut BTreeSet<String>) {
    found.extend(
        command
            .get_arguments()
            .filter_map(|arg| arg.get_long())
            .map(str::to_owned),
    );
    for below in command.get_subcommands() {
        flags(below, found);
    }
}

/// podiam's command line, complete.
fn podiam() -> Command {
    let mut command = podiam::commands::command();
    command.build();
    command
}

/// The command that a line of the console runs, and the flags that it gives.
fn of_line(root: &Command, line: &str) -> Option<Vec<String>> {
    // What comes before `|` and comments.
    let line = line.split(" | ").next()?.split("  #").next()?;
    let mut words = line.split_whitespace().peekable();
    if words.next()? != "podiam" {
        return None;
    }
    let mut command = root;
    while let Some(below) = words.peek().and_then(|word| command.find_subcommand(word)) {
        command = below;
        words.next();
    }
    let mut known = BTreeSet::new();
    flags(command, &mut known);
    known.extend(["help".to_owned(), "version".to_owned()]);
    let mut unknown = Vec::new();
    for word in words {
        // Behind it stand flags of the agent.
        if word == "--" {
            command = root.find_subcommand("agent")?;
            flags(command, &mut known);
        } else if let Some(flag) = word.strip_prefix("--") {
            let name = flag.split('=').next().unwrap_or_default();
            if !known.contains(name) {
                unknown.push(format!("{}: no flag --{name}", command.get_name()));
            }
        }
    }
    Some(unknown)
}

#[test]
fn every_flag_in_a_line_of_the_console_is_one_of_that_command() {
    let root = podiam();
    let (mut count, mut problems) = (0, Vec::new());
    for page in pages() {
        for line in page.commands() {
            if let Some(unknown) = of_line(&root, &line) {
                count += 1;
                problems.extend(
                    unknown
                        .iter()
                        .map(|it| format!("{}: {it}: {line}", page.path.display())),
                );
            }
        }
    }
    assert!(problems.is_empty(), "{problems:#?}");
    assert!(count > 20, "only {count} lines run podiam");
}

#[test]
fn every_flag_between_backticks_is_podiams_or_that_of_a_program_that_is_known() {
    let mut known = BTreeSet::new();
    flags(&podiam(), &mut known);
    known.extend(OTHERS.iter().map(|(_, flag)| (*flag).to_owned()));
    let flag = Regex::new(r"--([a-z][a-z0-9-]+)").unwrap();
    let (mut count, mut problems) = (0, Vec::new());
    for page in pages() {
        for code in &page.codes {
            // A whole command line of another program is that program's affair.
            let first = code.split_whitespace().next().unwrap_or_default();
            if !(first.starts_with("--") || first == "podiam") {
                continue;
            }
            for found in flag.captures_iter(code) {
                count += 1;
                if !known.contains(&found[1]) {
                    problems.push(format!("{}: `{code}`", page.path.display()));
                }
            }
        }
    }
    assert!(problems.is_empty(), "{problems:#?}");
    assert!(count > 100, "only {count} flags are found");
}

#[test]
fn a_flag_of_another_command_is_found_in_a_line() {
    let root = podiam();
    assert_eq!(of_line(&root, "kubectl get pods --no-such-flag"), None);
    assert_eq!(
        of_line(&root, "podiam intercept status --json")
            .unwrap()
            .len(),
        0
    );
    let behind = of_line(&root, "podiam explain web-0 -- --iam-role=x --node=x").unwrap();
    assert_eq!(behind, ["agent: no flag --iam-role"]);
    let unknown = of_line(&root, "podiam intercept status --node=x").unwrap();
    assert_eq!(unknown, ["status: no flag --node"]);
}
