//! A shell script of AWS CLI commands, in an order in which each finds what it needs.

use super::{RenderError, comment};
use crate::documents::{Bundle, Role};

pub(super) fn render(bundle: &Bundle) -> Result<String, RenderError> {
    let mut script = format!("#!/bin/sh\n{}set -eu\n", comment(bundle));
    for role in bundle.roles() {
        for words in commands(role)? {
            script.push('\n');
            script.push_str(&command(&words));
        }
    }
    Ok(script)
}

/// The commands for one role: words after `aws iam`.
fn commands(role: &Role) -> Result<Vec<Vec<String>>, RenderError> {
    let (path, name) = (role.arn.path(), role.arn.name());
    let mut commands: Vec<Vec<String>> = Vec::new();
    let mut push = |words: &[&str]| commands.push(words.iter().map(|&w| w.to_owned()).collect());
    if let Some(trust) = &role.trust {
        let document = trust.to_json()?;
        let mut words = vec!["create-role", "--path", path, "--role-name", name];
        if let Some(description) = &role.description {
            words.extend(["--description", description]);
        }
        words.extend(["--assume-role-policy-document", &document]);
        push(&words);
    }
    for policy in &role.inline {
        push(&[
            "put-role-policy",
            "--role-name",
            name,
            "--policy-name",
            &policy.name,
            "--policy-document",
            &policy.document.to_json()?,
        ]);
    }
    for policy in &role.managed {
        push(&[
            "create-policy",
            "--path",
            path,
            "--policy-name",
            &policy.name,
            "--policy-document",
            &policy.document.to_json()?,
        ]);
        let arn = format!(
            "arn:{}:iam::{}:policy{path}{}",
            role.arn.partition(),
            role.arn.account(),
            policy.name
        );
        push(&[
            "attach-role-policy",
            "--role-name",
            name,
            "--policy-arn",
            &arn,
        ]);
    }
    Ok(commands)
}

/// One command, an option a line.
fn command(words: &[String]) -> String {
    let mut text = "aws iam".to_owned();
    for word in words {
        text.push_str(if word.starts_with("--") {
            " \\\n  "
        } else {
            " "
        });
        text.push_str(&quoted(word));
    }
    text + "\n"
}

/// A word as a POSIX shell reads it back.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=/.,:+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_cannot_leave_its_quotes() {
        for (word, expected) in [
            ("--role-name", "--role-name"),
            ("a b", "'a b'"),
            ("", "''"),
            ("'; rm -rf /; '", r"''\''; rm -rf /; '\'''"),
            ("$(x)`y`", "'$(x)`y`'"),
        ] {
            assert_eq!(quoted(word), expected);
        }
    }
}
