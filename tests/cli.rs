//! The real binary from the outside: exit codes, what is printed where, the environment, and the name it is started by.
//! Nothing here starts an agent; the values of flags are tested beside the code in src/config.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a helper that panics fails the test that calls it"
)]

use std::os::unix::process::CommandExt;
use std::process::{Command, Output, Stdio};

const PODIAM: &str = env!("CARGO_BIN_EXE_podiam");

/// A command with an empty environment, so that nothing of the developer's own leaks in.
fn podiam(words: &[&str]) -> Command {
    let mut command = Command::new(PODIAM);
    command.args(words).env_clear().stdin(Stdio::null());
    command
}

fn kube2iam(words: &[&str]) -> Command {
    let mut command = podiam(words);
    command.arg0("/usr/bin/kube2iam");
    command
}

/// Exit code, stdout and stderr.
fn run(mut command: Command) -> (i32, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().expect("the binary runs");
    let code = status.code().expect("the process ends by itself");
    (
        code,
        String::from_utf8(stdout).unwrap(),
        String::from_utf8(stderr).unwrap(),
    )
}

#[test]
fn help_goes_to_stdout_and_exits_0() {
    for command in [
        podiam(&["--help"]),
        podiam(&["agent", "--help"]),
        podiam(&["agent", "-h"]),
        podiam(&["help", "agent"]),
        kube2iam(&["--help"]),
    ] {
        let name = format!("{command:?}");
        let (code, stdout, stderr) = run(command);
        assert_eq!((code, stderr.as_str()), (0, ""), "{name}");
        assert!(stdout.contains("Usage: "), "{name}: {stdout}");
    }
}

#[test]
fn the_agents_help_has_kube2iams_flags_and_podiams_with_defaults_and_variables() {
    let (_, help, _) = run(podiam(&["agent", "--help"]));
    let (theirs, ours) = help.split_once("podiam's own flags:").expect("two groups");
    assert!(
        theirs.contains("kube2iam's flags:") && theirs.contains("--app-port <PORT>"),
        "{theirs}"
    );
    assert!(
        theirs.contains("[env: PODIAM_APP_PORT] [default: 8181]"),
        "{theirs}"
    );
    assert!(
        ours.contains("--imdsv2 <MODE>") && ours.contains("[default: optional]"),
        "{ours}"
    );
}

#[test]
fn help_never_shows_the_value_of_an_environment_variable() {
    let mut command = podiam(&["agent", "--help"]);
    command.env("PODIAM_API_TOKEN", "canary-token");
    let (code, stdout, stderr) = run(command);
    assert_eq!(code, 0);
    assert!(!format!("{stdout}{stderr}").contains("canary-token"));
}

#[test]
fn the_version_is_told_by_both_programs_and_wins_over_problems() {
    let version = concat!("podiam ", env!("CARGO_PKG_VERSION"), "\n");
    for command in [
        podiam(&["--version"]),
        podiam(&["-V"]),
        podiam(&["agent", "--version"]),
        kube2iam(&["--version"]),
        kube2iam(&["--app-port=nonsense", "--version=T"]),
    ] {
        let name = format!("{command:?}");
        assert_eq!(
            run(command),
            (0, version.to_owned(), String::new()),
            "{name}"
        );
    }
}

#[test]
fn an_unknown_flag_or_command_prints_usage_and_exits_2() {
    for command in [
        podiam(&["agent", "--no-such-flag"]),
        podiam(&["agent", "--node"]),
        podiam(&["no-such-command"]),
        podiam(&["intercept"]),
        podiam(&["completions", "no-such-shell"]),
        podiam(&[]),
        kube2iam(&["--no-such-flag=1"]),
    ] {
        let name = format!("{command:?}");
        let (code, stdout, stderr) = run(command);
        assert_eq!((code, stdout.as_str()), (2, ""), "{name}");
        assert!(
            stderr.contains("--help") || stderr.contains("Usage: "),
            "{name}: {stderr}"
        );
    }
    let (_, _, stderr) = run(kube2iam(&["--no-such-flag"]));
    assert!(stderr.contains("Usage: kube2iam"), "{stderr}");
}

#[test]
fn every_problem_of_a_command_line_is_told_at_once_and_the_exit_code_is_2() {
    let (code, stdout, stderr) = run(podiam(&[
        "agent",
        "--app-port=http",
        "--iam-role-session-ttl",
        "soon",
        "--auto-discover-base-arn",
        "--base-role-arn=arn:aws:iam::123456789012:role/",
        "--api-server=https://10.96.0.1",
        "--iptables",
        "--metadata-allow=meta-data/iam/info",
    ]));
    assert_eq!((code, stdout.as_str()), (2, ""));
    assert!(
        stderr.starts_with("podiam: 6 problems with the configuration:\n"),
        "{stderr}"
    );
    for (start, right) in [
        ("  --app-port=\"http\": ", "0 to 65535"),
        ("  --iam-role-session-ttl=\"soon\": ", "15m"),
        ("  --auto-discover-base-arn=\"true\": ", "--base-role-arn"),
        ("  --api-server=\"https://10.96.0.1\": ", "--api-token"),
        ("  --host-ip: ", "needed to intercept"),
        ("  --metadata-allow=\"meta-data/iam/info\": ", "credentials"),
    ] {
        assert!(
            stderr
                .lines()
                .any(|line| line.starts_with(start) && line.contains(right)),
            "{start}: {stderr}"
        );
    }
}

#[test]
fn a_flag_may_come_from_the_environment_and_the_command_line_wins() {
    let mut from_environment = podiam(&["agent", "--data-workers=0"]);
    from_environment
        .env("PODIAM_APP_PORT", "http")
        .env("PODIAM_DEBUG", "maybe")
        .env("PODIAM_DATA_WORKERS", "none");
    let (code, _, stderr) = run(from_environment);
    assert_eq!(code, 2);
    assert!(stderr.starts_with("podiam: 3 problems"), "{stderr}");
    assert!(
        stderr.contains("--app-port=\"http\" (from PODIAM_APP_PORT): "),
        "{stderr}"
    );
    assert!(
        stderr.contains("--debug=\"maybe\" (from PODIAM_DEBUG): "),
        "{stderr}"
    );
    assert!(stderr.contains("--data-workers=\"0\": "), "{stderr}");
}

#[test]
fn a_repeatable_flag_is_a_comma_list_in_the_environment() {
    let mut command = podiam(&["agent"]);
    command.env(
        "PODIAM_METADATA_ALLOW",
        "user-data,meta-data/ami-id,meta-data/iam",
    );
    let (code, _, stderr) = run(command);
    assert_eq!(code, 2);
    assert!(stderr.starts_with("podiam: 2 problems"), "{stderr}");
}

#[test]
fn an_empty_variable_and_a_service_link_of_kubernetes_count_as_unset() {
    let mut command = podiam(&["agent", "--node=Not_A_Node"]);
    command
        .env("PODIAM_DEBUG", "")
        .env("PODIAM_APP_PORT", "")
        .env("PODIAM_CACHE_RESYNC_PERIOD", "");
    command
        .env("PODIAM_METRICS_PORT", "tcp://10.96.0.9:9181")
        .env("PODIAM_VERSION", "1.2.3");
    let (code, _, stderr) = run(command);
    assert_eq!(code, 2);
    assert!(stderr.starts_with("podiam: 1 problem with"), "{stderr}");
}

#[test]
fn a_program_named_kube2iam_is_the_agent_and_skips_words_as_pflag_does() {
    let words = ["--debug", "false", "--node=Not_A_Node"];
    let folder = tempfile::tempdir().unwrap();
    let link = folder.path().join("kube2iam");
    std::os::unix::fs::symlink(PODIAM, &link).unwrap();
    let mut linked = Command::new(&link);
    linked.args(words).env_clear().stdin(Stdio::null());
    for command in [linked, kube2iam(&words)] {
        let (code, _, stderr) = run(command);
        assert_eq!(code, 2);
        assert!(stderr.starts_with("podiam: 1 problem with"), "{stderr}");
        assert!(stderr.contains("--node=\"Not_A_Node\""), "{stderr}");
    }
    let (code, _, stderr) = run(podiam(&[&["agent"], &words[..]].concat()));
    assert_eq!(code, 2);
    assert!(
        stderr.starts_with("podiam: 2 problems with")
            && stderr.contains("\"false\": belongs to no flag"),
        "{stderr}"
    );
}

#[test]
fn every_shell_gets_completions_that_know_the_flags() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let (code, stdout, stderr) = run(podiam(&["completions", shell]));
        assert_eq!((code, stderr.as_str()), (0, ""), "{shell}");
        assert!(
            stdout.contains("namespace-restrictions") && stdout.contains("intercept"),
            "{shell}"
        );
    }
}

#[test]
fn explain_tells_in_its_help_whom_it_asks_and_refuses_a_question_that_makes_no_sense() {
    let (code, help, _) = run(podiam(&["explain", "--help"]));
    assert_eq!(code, 0);
    for word in [
        "Usage: podiam explain [OPTIONS] <POD> [-- <AGENT FLAGS>...]",
        "--namespace <NAMESPACE>",
        "--json",
        "--agent <URL>",
        "--kubeconfig <PATH>",
    ] {
        assert!(help.contains(word), "{word}: {help}");
    }
    for (words, problem) in [
        (&[][..], "<POD>"),
        (&["web", "--agent=127.0.0.1:9181"], "give http://HOST:PORT"),
        (&["web", "--agent=http://h:1/x"], "give http://HOST:PORT"),
        (
            &["web", "--agent=http://h:1", "--kubeconfig=k"],
            "cannot be used with",
        ),
        (
            &["web", "--agent=http://h:1", "--", "--debug"],
            "cannot be used with",
        ),
        (&["web", "--base-role-arn=x"], "unexpected argument"),
        (&["a/b/c"], "\"b/c\" is no pod's name"),
        (&["web", "-n", "A"], "\"A\" is no namespace's name"),
        (&["web/0", "-n", "db"], "give one of them"),
    ] {
        let (code, stdout, stderr) = run(podiam(&[&["explain"], words].concat()));
        assert_eq!((code, stdout.as_str()), (2, ""), "{words:?}: {stderr}");
        assert!(stderr.contains(problem), "{words:?}: {stderr}");
    }
}
