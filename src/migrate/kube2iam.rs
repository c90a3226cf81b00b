//! From kube2iam's flags or chart values to podiam's. The flags keep their names and nearly all their meanings; what is
//! different is told. Its facts are those of kube2iam's source (0.13) and of its chart (3.x).

use serde_json::{Value, json};

use super::draft::{Draft, as_text, flags, says_something};
use super::inventory::{Installation, Running, What};
use super::report::Change;

/// pflag's booleans among its flags: they never take the next word.
const SWITCHES: [&str; 11] = [
    "insecure",
    "auto-discover-base-arn",
    "auto-discover-default-role",
    "iptables",
    "namespace-restrictions",
    "resolve-duplicate-cache-ips",
    "verbose",
    "debug",
    "use-regional-sts-endpoint",
    "version",
    "help",
];

/// Flags that the chart sets of itself.
const OF_THE_CHART: [&str; 2] = ["host-ip", "node"];

/// Flags that podiam takes and does nothing with.
const WITHOUT_EFFECT: [(&str, &str); 4] = [
    (
        "backoff-max-interval",
        "an unknown pod is waited for by its watch event, at most 400 ms a request",
    ),
    (
        "backoff-max-elapsed-time",
        "an unknown pod is waited for by its watch event, at most 400 ms a request",
    ),
    (
        "resolve-duplicate-cache-ips",
        "the API server is always asked where two pods claim one address",
    ),
    (
        "use-regional-sts-endpoint",
        "the endpoint is always the region's",
    ),
];

/// How a pod of the chart reaches the API server is the chart's business.
const ACCESS: [&str; 4] = ["kubeconfig", "api-server", "api-token", "insecure"];

/// The new values for an installation.
pub(super) fn draft(installation: &Installation) -> Draft {
    let mut draft = Draft::new("docker0");
    let mut metrics = None;
    match &installation.what {
        What::Values(values) => of_values(&mut draft, values, &mut metrics),
        What::Object(running) => of_object(&mut draft, running, &mut metrics),
    }
    draft.removal(&installation.what, "kube2iam");
    differences(&mut draft);
    draft.look_into_bridges();
    draft.place_beside(metrics);
    draft
}

fn of_values(draft: &mut Draft, values: &Value, metrics: &mut Option<u16>) {
    for (name, value) in values["extraArgs"].as_object().into_iter().flatten() {
        // The chart writes `--flag` for whatever Go's templates take for empty: false, too.
        let is_off = *value == false;
        if is_off {
            draft.change(
                Change::note(
                    format!("extraArgs.{name}: false"),
                    "kube2iam's chart turned the flag ON by this, and so do the new values",
                )
                .unless("write \"false\" in quotation marks to turn it off"),
            );
        }
        let text = if is_off {
            None
        } else {
            Some(as_text(value)).filter(|text| !text.is_empty())
        };
        flag(draft, name, text, metrics);
    }
    let host = &values["host"];
    if let Some(port) = port(&host["port"]) {
        draft.old.port = port;
    }
    let interface = host["interface"].as_str().unwrap_or_default();
    if !interface.is_empty() && !values["extraArgs"]["host-interface"].is_string() {
        interfaces(draft, interface);
    }
    draft.old.iptables |= host["iptables"] == true;
    if !host["ip"].is_null() && host["ip"] != "$(HOST_IP)" {
        draft.change(Change::first(
            "host.ip",
            "an address that holds for one node only",
            "leave it out",
        ));
    }
    if values["verbose"] == true {
        draft.values.insert("verbose".to_owned(), true.into());
    }
    draft.take_pod(values);
    draft.take_pull_secrets(&values["image"]["pullSecrets"]);
    for key in ["extraEnv", "existingSecret", "nameOverride", "global"] {
        if says_something(&values[key]) {
            draft.values.insert(key.to_owned(), values[key].clone());
        }
    }
    prometheus(draft, &values["prometheus"], metrics);
    aws(draft, &values["aws"]);
    chart(draft, values);
}

fn of_object(draft: &mut Draft, running: &Running, metrics: &mut Option<u16>) {
    let is_switch = |name: &str| SWITCHES.contains(&name);
    for (name, value) in flags(&running.words, is_switch) {
        flag(draft, &name, value, metrics);
    }
    draft.take_pod(&running.pod);
    draft.take_pull_secrets(&running.pod["imagePullSecrets"]);
    let container = &running.container;
    draft.take_pod(&json!({ "resources": container["resources"] }));
    draft.take_env(&container["env"], &["HOST_IP", "NODE_NAME"]);
    lifecycle(draft, &container["lifecycle"]);
    if running.spec["updateStrategy"]["type"] == "OnDelete" {
        on_delete(draft);
    }
}

/// One flag; without a value it is a switch, or empty.
fn flag(draft: &mut Draft, name: &str, value: Option<String>, metrics: &mut Option<u16>) {
    let text = value.as_deref().unwrap_or_default();
    let is_on = !matches!(text, "0" | "f" | "F" | "false" | "FALSE" | "False");
    if let Some((_, why)) = WITHOUT_EFFECT.iter().find(|(flag, _)| *flag == name) {
        draft.change(Change::note(
            format!("--{name}"),
            format!("means nothing any more and is left out: {why}"),
        ));
        return;
    }
    match name {
        _ if OF_THE_CHART.contains(&name) => {}
        _ if ACCESS.contains(&name) => draft.change(Change::note(
            format!("--{name}"),
            "is left out: podiam's chart reaches the API server by its own ServiceAccount",
        )),
        "iptables" => draft.old.iptables |= is_on,
        "host-interface" => interfaces(draft, text),
        "app-port" => draft.old.port = text.parse().unwrap_or(draft.old.port),
        "metrics-port" => *metrics = text.parse().ok(),
        "verbose" => {
            draft.values.insert("verbose".to_owned(), is_on.into());
        }
        "iam-role-session-ttl" => {
            draft.flag(name, text);
            draft.change(Change::note(
                "--iam-role-session-ttl",
                "was the age of a cached session, and sessions lived twice as long; it is the age at which a session is \
                 refreshed in the background, and sessions live for --iam-session-duration (1 h)",
            ).unless("leave it out: half of the session's life is the default"));
        }
        "iam-role-error-ttl" | "cache-resync-period" => draft.flag(name, text),
        _ => draft.flag(name, value.unwrap_or_default()),
    }
}

fn interfaces(draft: &mut Draft, interface: &str) {
    interface.clone_into(&mut draft.old.interface);
    draft.change(Change::note(
        format!("host.interface: {interface}"),
        "is left out: podiam intercepts every interface, and what it does not intercept it refuses, so that a wrong name \
         cannot leak",
    ));
}

fn prometheus(draft: &mut Draft, prometheus: &Value, metrics: &mut Option<u16>) {
    if let Some(port) = port(&prometheus["metricsPort"]) {
        *metrics = Some(port);
    }
    let mut kept = serde_json::Map::new();
    for part in ["service", "serviceMonitor"] {
        if prometheus[part]["enabled"] == true {
            kept.insert(part.to_owned(), prometheus[part].clone());
        }
    }
    // Prometheus would look at the old port.
    if let Some(port) = kept
        .get_mut("service")
        .and_then(|service| service.pointer_mut("/annotations/prometheus.io~1port"))
    {
        *port = "9181".into();
    }
    if !kept.is_empty() {
        draft.values.insert("prometheus".to_owned(), kept.into());
    }
}

fn aws(draft: &mut Draft, aws: &Value) {
    if says_something(&aws["region"]) {
        draft
            .values
            .insert("aws".to_owned(), json!({ "region": aws["region"] }));
    }
    if says_something(&aws["secret_key"]) || says_something(&aws["access_key"]) {
        draft.change(Change::first(
            "aws.access_key, aws.secret_key",
            "are not repeated here, because they are secrets",
            "put them into a Secret (aws_access_key_id, aws_secret_access_key) that existingSecret names, or better: let \
             the agent use the nodes' instance profile",
        ));
    }
}

/// What the chart itself did, and podiam's does otherwise.
fn chart(draft: &mut Draft, values: &Value) {
    lifecycle(draft, &values["lifecycle"]);
    if values["updateStrategy"] == "OnDelete" || values["updateStrategy"].is_null() {
        on_delete(draft);
    }
    if !values["maxUnavailable"].is_null() {
        draft.change(Change::note(
            "maxUnavailable",
            "is left out, so that each new agent starts beside the old one (maxSurge: 1) and no request is lost",
        ));
    }
    if values["rbac"]["create"] == false {
        draft.change(Change::note(
            "rbac.create: false",
            "is left out: podiam needs list and watch on pods and namespaces, and get on pods, which kube2iam's \
             ServiceAccount need not have",
        ));
    }
    if values["podSecurityPolicy"]["enabled"] == true {
        draft.change(Change::note(
            "podSecurityPolicy",
            "is left out: Kubernetes has none any more",
        ));
    }
}

fn lifecycle(draft: &mut Draft, lifecycle: &Value) {
    if lifecycle["preStop"].to_string().contains("iptables") {
        draft.change(Change::note(
            "the preStop hook",
            "opens a node to its own role whenever kube2iam is updated or removed. It is left out; and while podiam's rules \
             are in the kernel, the hook of the kube2iam that is removed opens nothing (it sees iptables' rules only)",
        ));
    }
}

fn on_delete(draft: &mut Draft) {
    draft.change(Change::note(
        "updateStrategy: OnDelete",
        "is left out: RollingUpdate with maxSurge: 1 updates podiam without a lost request",
    ));
}

/// What is different whatever was configured.
fn differences(draft: &mut Draft) {
    draft.same("annotations of pods: `iam.amazonaws.com/role`, `iam.amazonaws.com/external-id`, or the keys that flags name");
    draft.same("the annotation of namespaces: a JSON array of patterns, matched on the whole ARN");
    draft.same("paths and replies of the credentials, for every AWS SDK; `/healthz`; metrics called `kube2iam_*`");
    draft.same(
        "pods on the host's network: no rule reaches them, and they have the node's own role",
    );
    draft.same("the nodes' role: podiam assumes roles with the same credentials, and trust policies stay as they are");
    for (about, says, todo) in [
        (
            "other paths of the metadata service",
            "kube2iam passes everything through, user-data and the node's other credentials included; podiam what \
          --metadata=safe lists, and 404 for the rest",
            "look for pods that read user-data or tags, and add what they need: extraArgs.metadata-allow",
        ),
        (
            "IMDSv2 tokens",
            "kube2iam passed the real service's on; podiam makes its own. A token from before is refused with \
          401, and SDKs get a new one",
            "",
        ),
        (
            "refusals",
            "403 with one line that says why, in place of 404 and 500; a pod without a role gets 404 at once",
            "",
        ),
        (
            "metrics and /debug/store",
            "are on a port of their own, 9181, not on the pods' port",
            "change scrape configurations",
        ),
    ] {
        draft.change(Change::note(about, says).unless(todo));
    }
    if draft
        .flags
        .get("namespace-restriction-format")
        .map(as_text)
        .is_some_and(|text| text.eq_ignore_ascii_case("regexp"))
    {
        draft.change(Change::note(
            "--namespace-restriction-format=regexp",
            "expressions are anchored at both ends: `my-role` no longer allows `my-role-admin`, and `a|b` allows `a` and `b`",
        ).unless("the workloads below are judged by the new reading"));
    }
    if draft.flags.contains_key("default-role")
        || draft.flags.contains_key("auto-discover-default-role")
    {
        draft.same("the default role of pods that name none, which namespaces' restrictions do not concern");
    }
    if !draft.flags.contains_key("session") {
        draft.flag("session", "role");
        draft.change(Change::note(
            "extraArgs.session: role",
            "keeps session names in kube2iam's form, for trust policies and CloudTrail queries that know them; the address \
             in them is the node's",
        ).unless("leave it out later: then each pod has a session of its own, named after it"));
    }
    if !draft.old.iptables {
        draft.change(Change::note(
            "host.iptables: false",
            "some rule of yours brings requests to kube2iam. podiam writes rules of its own ahead of it (nftables)",
        ).unless("take your rule out at the end; it does nothing while podiam's are there"));
    }
}

/// A flag as the chart writes it.
pub(super) fn word(name: &str, value: &Value) -> String {
    match as_text(value).as_str() {
        "" => format!("--{name}"),
        text => format!("--{name}={text}"),
    }
}

fn port(value: &Value) -> Option<u16> {
    value.as_u64().and_then(|port| port.try_into().ok())
}
