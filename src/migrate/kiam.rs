//! From kiam's flags or chart values to podiam's. kiam is two programs: agents on the nodes and servers that alone may
//! assume roles; podiam is one, and its flags have kube2iam's names. Facts are those of kiam's source (v4: `cmd/kiam`,
//! `pkg/server/policy.go`, `pkg/aws/sts/arn_resolver.go`) and of its chart (`helm/kiam`).

use serde_json::{Value, json};

use super::draft::{Draft, as_text, flags, says_something};
use super::inventory::{Installation, Running, What};
use super::report::Change;

/// kingpin's booleans among its flags.
const SWITCHES: [&str; 8] = [
    "json-log",
    "allow-ip-query",
    "iptables",
    "iptables-remove",
    "no-iptables-remove",
    "role-base-arn-autodetect",
    "grpc-keepalive-permit-without-stream",
    "help",
];

/// The agent's port where neither chart nor flag says it.
const PORT: u16 = 3100;

/// The annotation by which a pod names its session.
pub(super) const SESSION_NAME: &str = "iam.amazonaws.com/session-name";

/// The new values for agents and servers together, whatever of them was found.
pub(super) fn draft(installations: &[&Installation], names_sessions: bool) -> Draft {
    let mut draft = Draft::new("docker0");
    draft.old.port = PORT;
    let mut metrics = None;
    for installation in installations {
        match &installation.what {
            What::Values(values) => of_values(&mut draft, values, &mut metrics),
            What::Object(running) => of_object(&mut draft, running, &mut metrics),
        }
        draft.removal(&installation.what, "kiam");
    }
    differences(&mut draft, names_sessions);
    draft.look_into_bridges();
    draft.place_beside(metrics);
    draft
}

fn of_values(draft: &mut Draft, values: &Value, metrics: &mut Option<u16>) {
    let (agent, server) = (&values["agent"], &values["server"]);
    for (name, value) in [agent, server]
        .into_iter()
        .flat_map(|part| part["extraArgs"].as_object().into_iter().flatten())
    {
        flag(draft, name, &as_text(value), metrics);
    }
    let host = &agent["host"];
    // The chart always says the port; its default is not the program's.
    draft.old.port = port(&host["port"]).unwrap_or(8181);
    draft.old.iptables |= host["iptables"] == true;
    flag(
        draft,
        "host-interface",
        host["interface"].as_str().unwrap_or("cali+"),
        metrics,
    );
    if host["iptables"] == true && host["iptablesRemoveOnShutdown"] == true {
        removes_rule(draft);
    }
    *metrics = port(&agent["prometheus"]["port"])
        .or(*metrics)
        .or(Some(9620));
    for (path, name) in [
        ("/server/roleBaseArn", "role-base-arn"),
        ("/server/assumeRoleArn", "assume-role-arn"),
        ("/server/sessionDuration", "session-duration"),
        ("/agent/whiteListRouteRegexp", "whitelist-route-regexp"),
        ("/agent/log/level", "level"),
    ] {
        if let Some(text) = values
            .pointer(path)
            .map(as_text)
            .filter(|text| !text.is_empty())
        {
            flag(draft, name, &text, metrics);
        }
    }
    if !says_something(&server["roleBaseArn"]) && says_something(server) {
        flag(draft, "role-base-arn-autodetect", "", metrics);
    }
    if agent["log"]["jsonOutput"] == true {
        flag(draft, "json-log", "", metrics);
    }
    draft.take_pod(agent);
    draft.take_pull_secrets(&values["imagePullSecrets"]);
    draft.take_env(&agent["extraEnv"], &["HOST_IP"]);
    let monitor = &agent["prometheus"]["servicemonitor"];
    if monitor["enabled"] == true {
        let mut kept = json!({"enabled": true});
        for key in ["interval", "labels"] {
            if says_something(&monitor[key]) {
                kept[key] = monitor[key].clone();
            }
        }
        draft
            .values
            .insert("prometheus".to_owned(), json!({ "serviceMonitor": kept }));
    }
}

fn of_object(draft: &mut Draft, running: &Running, metrics: &mut Option<u16>) {
    let found = flags(&running.words, |name| SWITCHES.contains(&name));
    let named = |flag: &str| found.iter().any(|(name, _)| name == flag);
    let is_agent =
        named("host-interface") || named("iptables") || named("port") || says_agent(&running.words);
    for (name, value) in &found {
        flag(draft, name, value.as_deref().unwrap_or_default(), metrics);
    }
    if is_agent {
        if named("iptables")
            && !named("no-iptables-remove")
            && !found.contains(&("iptables-remove".to_owned(), Some("false".to_owned())))
        {
            removes_rule(draft);
        }
        draft.take_pod(&running.pod);
        draft.take_pod(&json!({ "resources": running.container["resources"] }));
        draft.take_pull_secrets(&running.pod["imagePullSecrets"]);
        draft.take_env(&running.container["env"], &["HOST_IP"]);
    }
}

fn says_agent(words: &[String]) -> bool {
    words
        .iter()
        .any(|word| word == "agent" || word.ends_with("/agent"))
}

/// One flag of either program.
fn flag(draft: &mut Draft, name: &str, text: &str, metrics: &mut Option<u16>) {
    let about = format!("--{name}");
    match name {
        "role-base-arn" => draft.flag("base-role-arn", text),
        "role-base-arn-autodetect" => {
            draft.flag("auto-discover-base-arn", "");
            draft.change(Change::note(about, "the base ARN is that of the node's instance profile, as the servers' was"));
        }
        "iptables" => draft.old.iptables |= text != "false",
        "port" => draft.old.port = text.parse().unwrap_or(draft.old.port),
        "prometheus-listen-addr" => *metrics = text.rsplit(':').next().and_then(|port| port.parse().ok()),
        "host-interface" => {
            text.clone_into(&mut draft.old.interface);
            draft.change(Change::note(
                format!("interface {text}"),
                "is left out: podiam intercepts every interface, and what it does not intercept it refuses",
            ));
        }
        "json-log" => draft.flag("log-format", "json"),
        "level" => draft.flag("log-level", text),
        "session-duration" => draft.flag("iam-session-duration", text),
        "session-refresh" => draft.change(Change::note(about, "is left out: a session is refreshed at half of its life")),
        "session" => draft.change(Change::note(
            format!("--session={text}"),
            "sessions that no annotation names are named after namespace and pod, where all of kiam's had one name",
        ).unless("look for trust policies and queries that know the old name (sts:RoleSessionName)")),
        "region" => draft.flag("aws-region", text),
        "assume-role-arn" => draft.change(Change::first(
            format!("--assume-role-arn={text}"),
            "the servers assumed this role and the pods' roles from there. podiam's agents assume the pods' roles with the \
             node's role",
            "make the pods' roles trust the nodes' role (step 1 of the plan), or give the agents this role's credentials in \
             another way (existingSecret, or a profile)",
        )),
        "role-alias" => draft.change(Change::first(
            format!("--role-alias={text}"),
            "has no counterpart",
            "write the role's name into the pods' annotations",
        )),
        "whitelist-route-regexp" if text != "^$" => draft.change(Change::first(
            format!("--whitelist-route-regexp={text}"),
            "podiam takes names of documents, not expressions, and never lets credentials or user-data through by them",
            "put extraArgs.metadata to minimal or safe, and what pods need beside into extraArgs.metadata-allow",
        )),
        "no-iptables-remove" | "iptables-remove" | "help" | "host" => {}
        // TLS between agents and servers, gRPC, caches, StatsD: nothing in podiam is like it.
        _ => draft.change(Change::note(about, "has no counterpart and is left out")),
    }
}

fn removes_rule(draft: &mut Draft) {
    draft.change(Change::note(
        "kiam's own iptables rule",
        "is removed by each agent that ends, which opens the node to its own role. While podiam's rules are in the kernel it \
         opens nothing",
    ));
}

/// What is different whatever was configured.
fn differences(draft: &mut Draft, names_sessions: bool) {
    draft.same("annotations of pods: `iam.amazonaws.com/role`, `iam.amazonaws.com/external-id`");
    draft.same(
        "pods on the host's network: no rule reaches them, and they have the node's own role",
    );
    draft.same("paths and replies of the credentials, for every AWS SDK");
    draft.flag("namespace-permitted", "enforce");
    if !draft.flags.contains_key("metadata") {
        draft.flag("metadata", "none");
    }
    draft.same("the annotation `iam.amazonaws.com/permitted` of namespaces, and that without it no pod has a role \
                (`namespace-permitted: enforce`)");
    if names_sessions {
        draft.flag("session-name-key", SESSION_NAME);
        draft.same("the annotation `iam.amazonaws.com/session-name` of pods (`session-name-key`)");
    }
    draft.same("paths other than the credentials' are refused (`metadata: none`); `minimal` lets SDKs read the region");
    draft.change(Change::first(
        "who assumes the roles",
        "kiam's servers did, on nodes of their own. podiam has no servers: every node's role assumes the roles of its own pods",
        "let the pods' roles trust the nodes' role before the migration, and give the nodes' role a policy that denies every \
         other role (step 1 of the plan; docs/iam.md tells why the Deny)",
    ));
    for (about, says, todo) in [
        (
            "iam.amazonaws.com/permitted",
            "kiam put ^ and $ around the expression, so that `a|b` meant `^a` or `b$`; podiam reads it as a whole. ^ and $ of its \
          own are an error of yours here: the expression is matched behind the base ARN",
            "write expressions without ^ and $; the workloads below are judged by the new reading",
        ),
        (
            "TLS between agents and servers",
            "there are no servers, so no certificates",
            "delete the Secrets at the end",
        ),
        (
            "metrics",
            "have other names (docs/alerts.md) and another port, 9181",
            "change dashboards and scrape configurations",
        ),
        ("IMDSv2 tokens", "podiam makes its own", ""),
        (
            "nodes of kiam's servers",
            "ran no agents, so that their pods had no roles; podiam runs on every node",
            "keep the nodeSelector if that is not wanted",
        ),
    ] {
        draft.change(Change::note(about, says).unless(todo));
    }
    if !draft.old.iptables {
        draft.change(Change::note(
            "host.iptables: false",
            "some rule of yours brings requests to kiam. podiam writes rules of its own ahead of it (nftables)",
        ).unless("take your rule out at the end; it does nothing while podiam's are there"));
    }
}

fn port(value: &Value) -> Option<u16> {
    value.as_u64().and_then(|port| port.try_into().ok())
}
