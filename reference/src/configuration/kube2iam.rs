//! kube2iam's own flags and defaults, to say beside podiam's what is the same.

use clap::Arg;

use crate::markdown::code;

/// Every flag of kube2iam with its default; an empty one is written as `""`.
/// <https://github.com/jtblin/kube2iam/blob/master/cmd/main.go>, read in May 2026.
pub(crate) const FLAGS: [(&str, &str); 30] = [
    ("kubeconfig", ""),
    ("api-server", ""),
    ("api-token", ""),
    ("insecure", "false"),
    ("app-port", "8181"),
    ("metrics-port", "8181"),
    ("base-role-arn", ""),
    ("auto-discover-base-arn", "false"),
    ("auto-discover-default-role", "false"),
    ("default-role", ""),
    ("iam-role-key", "iam.amazonaws.com/role"),
    ("iam-external-id", "iam.amazonaws.com/external-id"),
    ("iam-role-session-ttl", "15m"),
    ("iam-role-error-ttl", "0"),
    ("metadata-addr", "169.254.169.254"),
    ("iptables", "false"),
    ("host-interface", "docker0"),
    ("host-ip", ""),
    ("node", ""),
    ("namespace-restrictions", "false"),
    ("namespace-restriction-format", "glob"),
    ("namespace-key", "iam.amazonaws.com/allowed-roles"),
    ("cache-resync-period", "30m"),
    ("resolve-duplicate-cache-ips", "false"),
    ("backoff-max-interval", "1s"),
    ("backoff-max-elapsed-time", "2s"),
    ("log-format", "text"),
    ("log-level", "info"),
    ("verbose", "false"),
    ("debug", "false"),
];
/// Two more, of which nothing depends on a default.
pub(crate) const SWITCHES: [&str; 2] = ["use-regional-sts-endpoint", "version"];

/// What the table says of a flag.
pub(super) fn relation(arg: &Arg) -> String {
    let Some(flag) = arg.get_long() else {
        return String::new();
    };
    if SWITCHES.contains(&flag) {
        return "same".to_owned();
    }
    let Some((_, theirs)) = FLAGS.iter().find(|(name, _)| *name == flag) else {
        return "own".to_owned();
    };
    let ours = arg
        .get_default_values()
        .first()
        .map(|it| it.to_string_lossy());
    if ours.unwrap_or_default() == *theirs {
        "same".to_owned()
    } else {
        format!("default there {}", code(theirs))
    }
}
