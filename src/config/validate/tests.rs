//! pflag's habits, the flags as a whole, and the problems of a command line; each topic's own tests are beside it.

use std::path::PathBuf;

use clap::{Args, Command};
use proptest::prelude::*;

use super::testing::*;
use super::*;

#[test]
fn the_clap_definition_is_sound() {
    AgentArgs::augment_args(Command::new("agent")).debug_assert();
}

#[test]
fn every_flag_of_kube2iam_is_there_with_its_default() {
    let command = AgentArgs::augment_args(Command::new("agent"));
    for (flag, default) in [
        ("kubeconfig", None),
        ("api-server", None),
        ("api-token", None),
        ("insecure", Some("false")),
        ("app-port", Some("8181")),
        ("metrics-port", None),
        ("base-role-arn", None),
        ("auto-discover-base-arn", Some("false")),
        ("auto-discover-default-role", Some("false")),
        ("default-role", None),
        ("iam-role-key", Some("iam.amazonaws.com/role")),
        ("iam-external-id", Some("iam.amazonaws.com/external-id")),
        ("iam-role-session-ttl", None),
        ("iam-role-error-ttl", Some("0")),
        ("metadata-addr", Some("169.254.169.254")),
        ("iptables", Some("false")),
        ("host-interface", None),
        ("host-ip", None),
        ("node", None),
        ("namespace-restrictions", Some("false")),
        ("namespace-restriction-format", Some("glob")),
        ("namespace-key", Some("iam.amazonaws.com/allowed-roles")),
        ("cache-resync-period", Some("30m")),
        ("resolve-duplicate-cache-ips", Some("false")),
        ("backoff-max-interval", Some("1s")),
        ("backoff-max-elapsed-time", Some("2s")),
        ("log-format", Some("text")),
        ("log-level", Some("info")),
        ("verbose", Some("false")),
        ("debug", Some("false")),
        ("use-regional-sts-endpoint", Some("false")),
        ("version", Some("false")),
    ] {
        let arg = command
            .get_arguments()
            .find(|arg| arg.get_long() == Some(flag));
        let arg = arg.unwrap_or_else(|| panic!("--{flag} is missing"));
        let found = arg
            .get_default_values()
            .first()
            .map(|value| value.to_str().unwrap());
        assert_eq!(found, default, "--{flag}");
        assert_eq!(arg.get_help_heading(), Some("kube2iam's flags"), "--{flag}");
    }
}

#[test]
fn every_flag_but_version_has_its_environment_variable_and_its_help() {
    let command = AgentArgs::augment_args(Command::new("agent"));
    for arg in command.get_arguments().filter(|arg| !arg.is_positional()) {
        let flag = arg.get_long().unwrap();
        let variable = arg.get_env().map(|name| name.to_str().unwrap().to_owned());
        let expected = (flag != "version").then(|| check::environment_variable(flag));
        assert_eq!(variable, expected, "--{flag}");
        assert!(
            arg.is_hide_env_values_set(),
            "--{flag} would show its environment variable's value"
        );
        assert!(arg.get_help().is_some(), "--{flag} has no help");
    }
}

#[test]
fn a_switch_is_true_alone_and_takes_its_value_only_after_an_equals_sign() {
    assert!(!config(&[]).listen.debug_store);
    assert!(config(&["--debug"]).listen.debug_store);
    for text in ["1", "t", "T", "TRUE", "true", "True"] {
        assert!(
            config(&[&format!("--debug={text}")]).listen.debug_store,
            "{text}"
        );
    }
    for text in ["0", "f", "F", "FALSE", "false", "False"] {
        assert!(
            !config(&[&format!("--debug={text}")]).listen.debug_store,
            "{text}"
        );
    }
    for text in ["", "yes", "off", "tRUE", "$(DEBUG)"] {
        assert_one_problem(
            &[&format!("--debug={text}")],
            &format!("--debug={text:?}: "),
            "neither true nor false",
        );
    }
    // The flag after a switch is a flag, and a word after it is not its value.
    let both = config(&["--debug", "--node", "n1"]);
    assert!(both.listen.debug_store);
    assert_eq!(both.node.name.as_deref(), Some("n1"));
    assert_one_problem(&["--debug", "false"], "\"false\": ", "--debug=false");
}

#[test]
fn as_kube2iam_a_word_after_a_switch_is_ignored_with_a_notice() {
    let config = judge_as(Program::Kube2iam, &["--debug", "false"]).unwrap();
    assert!(config.listen.debug_store);
    assert!(has_notice(&config, "\"false\" is ignored"));
}

#[test]
fn a_flags_value_may_follow_an_equals_sign_or_be_the_next_word_whatever_it_looks_like() {
    assert_eq!(config(&["--node=n1"]).node.name.as_deref(), Some("n1"));
    assert_eq!(config(&["--node", "n1"]).node.name.as_deref(), Some("n1"));
    assert_eq!(
        config(&["--default-role=arn:aws:iam::123456789012:role/a=b"])
            .roles
            .default_role,
        Discoverable::Given("arn:aws:iam::123456789012:role/a=b".to_owned())
    );
    assert_one_problem(
        &["--node", "--debug"],
        "--node=\"--debug\"",
        "not the name of a node",
    );
    assert_one_problem(
        &["--cache-resync-period", "-5m"],
        "--cache-resync-period=\"-5m\"",
        "0 or more",
    );
    assert!(parse(&["--node"]).is_err());
}

#[test]
fn the_last_of_a_repeated_flag_wins() {
    assert_eq!(
        config(&["--node=n1", "--app-port=1", "--node", "n2"])
            .node
            .name
            .as_deref(),
        Some("n2")
    );
    assert!(!config(&["--debug", "--debug=false"]).listen.debug_store);
    assert!(config(&["--debug=nonsense", "--debug"]).listen.debug_store);
    assert_eq!(
        config(&[
            "--metadata-allow=meta-data/a",
            "--metadata-allow",
            "meta-data/b,dynamic/c"
        ])
        .metadata
        .allow,
        ["meta-data/a", "meta-data/b", "dynamic/c"]
    );
}

#[test]
fn an_unknown_flag_or_shorthand_is_claps_to_refuse() {
    for words in [
        &["--nope"][..],
        &["-x"],
        &["--app_port=1"],
        &["--App-Port=1"],
        &["--app=1"],
    ] {
        assert_eq!(
            parse(words).err().map(|error| error.kind()),
            Some(clap::error::ErrorKind::UnknownArgument),
            "{words:?}"
        );
    }
}

#[test]
fn a_variable_that_kubernetes_left_alone_is_left_alone_and_explained_where_it_cannot_be() {
    assert_one_problem(
        &["--host-ip=$(HOST_IP)"],
        "--host-ip=\"$(HOST_IP)\": ",
        "no environment variable NAME",
    );
    assert_one_problem(
        &["--node", "$(NODE_NAME)"],
        "--node=\"$(NODE_NAME)\": ",
        "no environment variable NAME",
    );
    let PodSource::Files(path) = config(&["--workloads=/srv/$(NAME)"]).pods else {
        panic!("not files")
    };
    assert_eq!(path, PathBuf::from("/srv/$(NAME)"));
}

#[test]
fn an_empty_text_flag_is_an_absent_one() {
    let words = [
        "--kubeconfig=",
        "--api-server=",
        "--api-token=",
        "--metrics-port=",
        "--base-role-arn=",
        "--default-role=",
        "--host-interface=",
        "--host-ip=",
        "--node=",
        "--workloads=",
        "--intercept=",
        "--session=",
        "--aws-region=",
        "--state-dir=",
        "--iam-role-session-ttl=",
    ];
    assert_eq!(
        format!("{:?}", config(&words)),
        format!("{:?}", config(&[]))
    );
}

#[test]
fn all_problems_are_reported_together_each_with_flag_value_and_what_is_right() {
    let found = problems(&[
        "--app-port=http",
        "--cache-resync-period=5",
        "--log-level=loud",
        "--base-role-arn=role/x",
        "--insecure=maybe",
        "--api-server=https://k",
        "--metadata-allow=user-data",
        "--session=ns",
        "--iam-role-key=",
        "left over",
    ]);
    let expected = [
        ("\"left over\"", "belongs to no flag"),
        ("--cache-resync-period=\"5\"", "units are"),
        ("--insecure=\"maybe\"", "true"),
        ("--api-server=\"https://k\"", "--api-token"),
        ("--app-port=\"http\"", "0 to 65535"),
        (
            "--base-role-arn=\"role/x\"",
            "arn:aws:iam::123456789012:role/",
        ),
        ("--session=\"ns\"", "write pod, workload or role"),
        ("--iam-role-key=\"\"", "iam.amazonaws.com/role"),
        ("--metadata-allow=\"user-data\"", "--allow-user-data"),
        ("--log-level=\"loud\"", "warning"),
    ];
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (problem, (start, right)) in found.iter().zip(expected) {
        assert!(
            problem.starts_with(start) && problem.contains(right),
            "{problem}"
        );
    }
    let text = judge(&["--app-port=a", "--data-workers=0"])
        .unwrap_err()
        .to_string();
    assert_eq!(text.lines().count(), 3, "{text}");
    assert!(text.starts_with("2 problems"), "{text}");
}

#[test]
fn a_problem_stays_one_line_whatever_the_value_is() {
    let [problem] = &problems(&["--node=a\r\nb\u{2028}c\u{1b}[31m"])[..] else {
        panic!("not one problem")
    };
    assert!(
        !problem.contains(['\r', '\n', '\u{2028}', '\u{1b}']),
        "{problem}"
    );
}

#[test]
fn flags_without_effect_say_so_only_where_they_are_given() {
    for word in [
        "--backoff-max-interval=1s",
        "--backoff-max-elapsed-time=2s",
        "--resolve-duplicate-cache-ips",
        "--use-regional-sts-endpoint=false",
    ] {
        let flag = word.split('=').next().unwrap();
        assert!(
            has_notice(&config(&[word]), &format!("{flag} has no effect")),
            "{word}"
        );
        assert!(!has_notice(&config(&[]), flag), "{word}");
    }
    assert!(!has_notice(
        &config(&["--use-regional-sts-endpoint"]),
        "--use-regional-sts-endpoint"
    ));
    assert_one_problem(
        &["--backoff-max-interval=soon"],
        "--backoff-max-interval=\"soon\"",
        "500ms",
    );
}

#[test]
fn a_format_that_kube2iam_lets_pass_is_a_problem_but_for_kube2iam() {
    let words = [
        "--namespace-restrictions",
        "--namespace-restriction-format=regex",
        "--log-format=logfmt",
    ];
    let found = problems(&words);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(
        found[0].contains("--namespace-restriction-format=\"regex\": write glob or regexp"),
        "{found:?}"
    );
    assert!(
        found[1].contains("--log-format=\"logfmt\": write text or json"),
        "{found:?}"
    );

    let kept = judge_as(Program::Kube2iam, &words).unwrap();
    assert_eq!(
        kept.roles.namespace_restrictions,
        Some(RestrictionFormat::Glob)
    );
    assert_eq!(kept.logs.format, LogFormat::Text);
    assert!(has_notice(
        &kept,
        "--namespace-restriction-format=\"regex\" is read as glob"
    ));
    assert!(has_notice(&kept, "--log-format=\"logfmt\" is read as text"));
}

#[test]
fn log_levels_are_logruss_and_verbose_wins() {
    for (text, expected) in [
        ("panic", Level::ERROR),
        ("fatal", Level::ERROR),
        ("error", Level::ERROR),
        ("warn", Level::WARN),
        ("warning", Level::WARN),
        ("INFO", Level::INFO),
        ("Debug", Level::DEBUG),
        ("trace", Level::TRACE),
    ] {
        assert_eq!(
            config(&["--log-level", text]).logs.level,
            expected,
            "{text}"
        );
        assert_eq!(
            config(&["--log-level", text, "--verbose"]).logs.level,
            Level::DEBUG,
            "{text}"
        );
    }
    assert_eq!(config(&["--log-format=JSON"]).logs.format, LogFormat::Json);
    assert_eq!(config(&[]).logs.access, AccessLog::Refused);
    assert_eq!(config(&["--access-log=all"]).logs.access, AccessLog::All);
}

#[test]
fn version_is_a_switch_like_others() {
    assert!(parse(&["--version"]).unwrap().wants_version());
    assert!(parse(&["--version=T"]).unwrap().wants_version());
    assert!(!parse(&["--version=false"]).unwrap().wants_version());
    assert!(!parse(&[]).unwrap().wants_version());
    assert_one_problem(&["--version=maybe"], "--version=\"maybe\": ", "true");
}

proptest! {
    #[test]
    fn no_value_of_any_flag_makes_the_judge_panic(at in 0..50_usize, value in "\\PC{0,20}") {
        let command = AgentArgs::augment_args(Command::new("agent"));
        let flags: Vec<_> = command.get_arguments().filter_map(clap::Arg::get_long).collect();
        let flag = flags[at % flags.len()];
        if let Ok(args) = parse(&[&format!("--{flag}={value}")]) {
            let _ = args.validate(Program::Podiam).map_err(|problems| problems.to_string());
        }
    }
}
