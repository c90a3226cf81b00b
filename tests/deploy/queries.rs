//! Every query of the dashboard and of the alerts beside the metrics of a real agent on a node: each metric and each
//! label in them exists. promtool judges their grammar and lets every alert fire.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use podiam_lab::aws;
use podiam_lab::netns::{self, IMDS, Pod, Vpc};
use regex::Regex;
use serde_json::{Value, json};

use crate::chart;
use crate::support::agent::{Agent, Host, enter};
use crate::support::eventually;
use crate::support::http::{self, ROLES};
use crate::support::manifest::{Folder, pod};

/// Labels that Prometheus and the `ServiceMonitor` add.
const ADDED: [&str; 3] = ["instance", "job", "node"];
/// Words of `PromQL` that are neither functions nor metrics.
const WORDS: [&str; 6] = ["and", "bool", "offset", "on", "or", "unless"];

/// One query and the labels that the text beside it names (`{{ code }}`, `$labels.code`).
struct Query {
    place: String,
    expr: String,
    named: Vec<String>,
}

/// The metrics of an agent: name to label to values.
struct Metrics(BTreeMap<String, BTreeMap<String, BTreeSet<String>>>);

impl Metrics {
    fn parse(text: &str) -> Self {
        let series = Regex::new(r"^([a-z_0-9]+)(?:\{(.*)\})? ").unwrap();
        let label = Regex::new(r#"([a-z_]+)="([^"]*)""#).unwrap();
        let mut metrics: BTreeMap<String, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
        metrics.entry("up".to_owned()).or_default();
        for line in text.lines().filter_map(|line| series.captures(line)) {
            let labels = metrics.entry(line[1].to_owned()).or_default();
            for pair in label.captures_iter(line.get(2).map_or("", |labels| labels.as_str())) {
                labels
                    .entry(pair[1].to_owned())
                    .or_default()
                    .insert(pair[2].to_owned());
            }
        }
        Self(metrics)
    }

    /// What is wrong with a query.
    fn problems(&self, query: &Query) -> Vec<String> {
        let selector = Regex::new(r"([a-zA-Z_:][\w:]*)\s*\{([^}]*)\}").unwrap();
        let matcher = Regex::new(r#"(\w+)\s*(=~|!=|!~|=)\s*"([^"]*)""#).unwrap();
        let grouping = Regex::new(r"\b(?:by|without|on|ignoring)\s*\(([^)]*)\)").unwrap();
        let range = Regex::new(r"\{[^}]*\}|\[[^\]]*\]").unwrap();
        let word = Regex::new(r"\b([a-zA-Z_][\w:]*)\b(\s*\()?").unwrap();

        let mut problems = Vec::new();
        for found in selector.captures_iter(&query.expr) {
            let Some(labels) = self.0.get(&found[1]) else {
                continue;
            };
            for found in matcher.captures_iter(&found[2]) {
                let (label, operator, value) = (&found[1], &found[2], &found[3]);
                match labels.get(label) {
                    None if !ADDED.contains(&label) => problems.push(format!("no label {label}")),
                    Some(values) if operator == "=" && !values.contains(value) => {
                        problems.push(format!("{label} is never {value:?}"));
                    }
                    _ => {}
                }
            }
        }
        let rest = range.replace_all(&query.expr, "");
        let mut labels: BTreeSet<String> = query.named.iter().cloned().collect();
        for found in grouping.captures_iter(&rest) {
            labels.extend(found[1].split(',').map(|label| label.trim().to_owned()));
        }
        let rest = grouping.replace_all(&rest, "");
        let mut known = BTreeSet::from(ADDED.map(str::to_owned));
        let mut metrics = 0;
        for found in word.captures_iter(&rest) {
            if found.get(2).is_some() || WORDS.contains(&&found[1]) {
                continue;
            }
            metrics += 1;
            match self.0.get(&found[1]) {
                Some(labels) => known.extend(labels.keys().cloned()),
                None => problems.push(format!("no metric {}", &found[1])),
            }
        }
        if metrics == 0 {
            problems.push("it asks for no metric".to_owned());
        }
        problems.extend(
            labels
                .difference(&known)
                .map(|label| format!("no label {label}")),
        );
        problems
    }
}

fn file(name: &str) -> String {
    std::fs::read_to_string(chart::folder().join("files").join(name)).unwrap()
}

/// The queries of the dashboard's panels and of its variables.
fn dashboard() -> Vec<Query> {
    let dashboard: Value = serde_json::from_str(&file("dashboard.json")).unwrap();
    let legend = Regex::new(r"\{\{\s*(\w+)\s*\}\}").unwrap();
    let variable = Regex::new(r"label_values\((\w+), (\w+)\)").unwrap();
    let mut queries = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().unwrap() {
            let named = target["legendFormat"].as_str().unwrap();
            queries.push(Query {
                place: format!("panel {}", panel["title"]),
                expr: target["expr"].as_str().unwrap().to_owned(),
                named: legend
                    .captures_iter(named)
                    .map(|found| found[1].to_owned())
                    .collect(),
            });
        }
    }
    for query in dashboard["templating"]["list"].as_array().unwrap() {
        if let Some(found) = query["definition"]
            .as_str()
            .and_then(|text| variable.captures(text))
        {
            queries.push(Query {
                place: format!("variable {}", query["name"]),
                expr: found[1].to_owned(),
                named: vec![found[2].to_owned()],
            });
        }
    }
    queries
}

/// The alerts.
fn alerts() -> Vec<(Value, Query)> {
    let rules: Value = serde_saphyr::from_str(&file("rules.yaml")).unwrap();
    let label = Regex::new(r"\$labels\.(\w+)").unwrap();
    let groups = rules["groups"].as_array().unwrap().iter();
    groups
        .flat_map(|group| group["rules"].as_array().unwrap())
        .map(|rule| {
            let text = rule["annotations"].to_string();
            let query = Query {
                place: format!("alert {}", rule["alert"]),
                expr: rule["expr"].as_str().unwrap().to_owned(),
                named: label
                    .captures_iter(&text)
                    .map(|found| found[1].to_owned())
                    .collect(),
            };
            (rule.clone(), query)
        })
        .collect()
}

/// What an agent says of itself after it has given credentials, refused some, and tested its rules.
async fn metrics() -> Metrics {
    let vpc = Arc::new(Vpc::new().unwrap());
    let _aws = vpc.start_aws(aws::Config::default()).unwrap();
    let (good, bare) = (Ipv4Addr::new(10, 0, 100, 61), Ipv4Addr::new(10, 0, 100, 62));
    let manifests = Folder::new(&[
        pod("good", &good.to_string()).role("app-role"),
        pod("bare", &bare.to_string()),
    ]);
    let (good, bare) = (vpc.add_pod(good).unwrap(), vpc.add_pod(bare).unwrap());
    let flags = as_installed(&vpc, &manifests);
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let sts = format!("http://{}", netns::STS);
    let agent = Agent::start_at(Host::Node(Arc::clone(&vpc)), &sts, &flags);
    agent.ready().await;
    assert_eq!(ask(&good, &format!("{ROLES}app-role")).await, 200);
    assert_eq!(ask(&good, &format!("{ROLES}app-role")).await, 200);
    assert_eq!(ask(&bare, ROLES).await, 404);
    let text = eventually("a self-test in the metrics", || async {
        let text = agent.metrics().await;
        let tested = text.contains("podiam_interception{state=\"intercepted\"} 1");
        if tested { Ok(text) } else { Err(text) }
    })
    .await;
    Metrics::parse(&text)
}

/// Runs the chart's guard on the node, and returns the flags that the chart gives the agent, with a node's address and with
/// manifests for a cluster.
fn as_installed(vpc: &Vpc, manifests: &Folder) -> Vec<String> {
    let rendered = chart::render(&json!({"selfTest": {"enabled": true}, "stateDir": ""}));
    let guard = rendered.pod()["initContainers"][0]["args"]
        .as_array()
        .unwrap();
    let mut command = enter(vpc.node().namespace(), env!("CARGO_BIN_EXE_podiam"));
    command
        .args(guard.iter().map(|word| word.as_str().unwrap()))
        .env_clear();
    let output = command.output().unwrap();
    assert!(output.status.success(), "{guard:?}: {output:?}");

    let args = rendered.args();
    assert_eq!(args[0], "agent");
    let of_a_cluster = |flag: &&&str| flag.starts_with("--node=");
    let mut flags: Vec<String> = args[1..]
        .iter()
        .filter(|flag| !of_a_cluster(flag))
        .map(|flag| flag.replace("$(HOST_IP)", &netns::NODE.to_string()))
        .collect();
    flags.push(format!("--workloads={}", manifests.path().display()));
    flags.push("--self-test-interval=1s".to_owned());
    flags
}

async fn ask(pod: &Pod, path: &str) -> u16 {
    let stream = pod.namespace().connect((IMDS, 80).into()).await;
    http::get(stream, path).await.unwrap().status
}

#[tokio::test]
async fn every_metric_and_label_of_the_dashboard_and_the_alerts_is_one_of_the_agents() {
    let metrics = metrics().await;
    let queries: Vec<Query> = dashboard()
        .into_iter()
        .chain(alerts().into_iter().map(|(_, query)| query))
        .collect();
    assert!(queries.len() > 30, "{}", queries.len());
    let wrong: Vec<String> = queries
        .iter()
        .flat_map(|query| {
            let told = |problem| format!("{}: {problem}: {}", query.place, query.expr);
            metrics.problems(query).into_iter().map(told)
        })
        .collect();
    assert_eq!(wrong, [""; 0], "of {:?}", metrics.0);

    // What this test must find.
    for (expr, problem) in [
        ("sum(podiam_podz)", "no metric podiam_podz"),
        ("podiam_podz{instance=\"a\"}", "no metric podiam_podz"),
        ("sum by (rule) (podiam_pods)", "no label rule"),
        ("podiam_refusals_total{code=\"404\"}", "no label code"),
        (
            "podiam_interception{state=\"bypass\"}",
            "state is never \"bypass\"",
        ),
        ("vector(0)", "it asks for no metric"),
    ] {
        let query = Query {
            place: String::new(),
            expr: expr.to_owned(),
            named: Vec::new(),
        };
        assert_eq!(metrics.problems(&query), [problem], "{expr}");
    }
}

#[test]
fn every_alert_has_its_words_and_a_section_that_says_what_to_do() {
    let runbooks =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/alerts.md"))
            .unwrap();
    for (rule, _) in alerts() {
        let name = rule["alert"].as_str().unwrap();
        assert!(
            runbooks.contains(&format!("\n## {name}\n")),
            "docs/alerts.md has no section {name}"
        );
        let link = format!("docs/alerts.md#{}", name.to_lowercase());
        assert!(
            rule["annotations"]["runbook_url"]
                .as_str()
                .unwrap()
                .ends_with(&link),
            "{rule}"
        );
        for text in ["summary", "description"] {
            assert!(
                !rule["annotations"][text].as_str().unwrap().is_empty(),
                "{rule}"
            );
        }
        assert!(["warning", "critical"].contains(&rule["labels"]["severity"].as_str().unwrap()));
    }
}

/// Runs promtool, which Debian has in its package prometheus.
fn promtool(words: &[&str]) {
    let output = Command::new("promtool").args(words).output();
    let output = output.unwrap_or_else(|error| panic!("promtool (Debian: prometheus): {error}"));
    assert!(output.status.success(), "{words:?}: {output:?}");
}

#[test]
fn every_alert_fires_on_what_it_is_about_and_on_nothing_else() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/deploy/alerts.yaml");
    promtool(&["test", "rules", tests.to_str().unwrap()]);
    let tests = std::fs::read_to_string(tests).unwrap();
    for (rule, _) in alerts() {
        let name = rule["alert"].as_str().unwrap();
        assert!(
            tests.contains(&format!("alertname=\"{name}\"")),
            "{name} is never shown to fire"
        );
        assert!(
            tests.contains(&format!("alertname: {name},")),
            "{name} is never shown to be silent"
        );
    }
}

#[test]
fn the_dashboards_queries_are_promql() {
    let rules: Vec<Value> = dashboard()
        .iter()
        .enumerate()
        .map(|(number, query)| {
            // Grafana fills these in.
            let expr = query
                .expr
                .replace("$__rate_interval", "5m")
                .replace("$__range", "1h");
            json!({"record": format!("query:{number}"), "expr": expr})
        })
        .collect();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("queries.yaml");
    let rules = json!({"groups": [{"name": "dashboard", "rules": rules}]});
    std::fs::write(&file, rules.to_string()).unwrap();
    promtool(&["check", "rules", "--lint-fatal", file.to_str().unwrap()]);
}
