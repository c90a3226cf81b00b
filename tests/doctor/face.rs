//! Help, mistakes, and the documentation.

use std::fs;

use crate::podiam;

fn run(words: &[&str]) -> (i32, String, String) {
    let output = podiam().arg("doctor").args(words).output().unwrap();
    (
        output.status.code().unwrap(),
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

#[test]
fn help_names_every_flag() {
    let (code, help, stderr) = run(&["--help"]);
    assert_eq!((code, stderr.as_str()), (0, ""));
    for flag in [
        "--kubeconfig",
        "--context",
        "--namespace",
        "--selector",
        "--profile",
        "--aws-region",
        "--node-role",
        "--from",
        "--only",
        "--skip",
        "--json",
    ] {
        assert!(help.contains(flag), "{flag} is not in {help}");
    }
}

#[test]
fn a_mistake_is_told_with_its_flag_and_what_would_be_right() {
    for (words, told) in [
        (&["--only=sts"][..], "clock-skew"),
        (&["--skip=sts"], "--skip"),
        (&["--only=rbac", "--skip=cluster"], "leave no check"),
        (&["--node-role=nodes"], "--node-role"),
        (&["--from=here"], "elsewhere"),
        (
            &["--", "--iam-session-duration=1s"],
            "--iam-session-duration",
        ),
        (&["--", "--no-such-flag"], "--no-such-flag"),
    ] {
        let (code, stdout, stderr) = run(words);
        assert_eq!((code, stdout.as_str()), (2, ""), "{words:?}: {stderr}");
        assert!(stderr.contains(told), "{words:?}: {stderr}");
    }
}

#[test]
fn the_text_ends_with_a_sum() {
    let (code, text, _) = run(&["--only=node"]);
    assert_eq!(code, 5);
    assert!(
        text.starts_with("node\n  cannot tell  imds-tokens "),
        "{text}"
    );
    assert!(
        text.ends_with("4 checks: 0 ok, 4 cannot tell, 0 warning, 0 wrong\n"),
        "{text}"
    );
}

#[test]
fn the_documentation_has_a_row_for_every_check_and_no_other() {
    use podiam::doctor::Check;
    let text = fs::read_to_string("docs/doctor.md").unwrap();
    let rows: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("| `"))
        .collect();
    let expected: Vec<String> = Check::ALL
        .iter()
        .map(|check| format!("| `{check}` | {} | {} |", check.group(), check.right()))
        .collect();
    assert_eq!(rows, expected);
}
