//! A real Prometheus with the chart's alerts scrapes a real agent whose pods get past it, and calls.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use podiam_lab::aws;
use podiam_lab::netns::{self, Vpc};
use serde_json::{Value, json};

use crate::chart;
use crate::support::agent::{Agent, Host, enter};
use crate::support::manifest::{Folder, pod};
use crate::support::process::Process;
use crate::support::{eventually, http};

/// No other test's: every agent sees the processes of all of them.
const POD: Ipv4Addr = Ipv4Addr::new(10, 0, 100, 63);

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_calls_when_a_pod_gets_past_the_agent() {
    let vpc = Arc::new(Vpc::new().unwrap());
    let _aws = vpc.start_aws(aws::Config::default()).unwrap();
    let app = vpc.add_pod(POD).unwrap();
    let mut program = enter(app.namespace(), "sleep");
    program.arg("infinity");
    let _program = Process::spawn("the pod's program", &program);
    let manifests = Folder::new(&[pod("app", &POD.to_string())]);
    let workloads = format!("--workloads={}", manifests.path().display());
    // Nobody writes rules here, so the real metadata service answers the pod.
    let flags = [&workloads, "--intercept=none", "--self-test-interval=1s"];
    let sts = format!("http://{}", netns::STS);
    let agent = Agent::start_at(Host::Node(Arc::clone(&vpc)), &sts, &flags);
    agent.not_ready(&["bypassed"]).await;

    let folder = tempfile::tempdir().unwrap();
    let config = json!({
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [chart::folder().join("files/rules.yaml")],
        "scrape_configs": [{"job_name": "podiam", "static_configs": [{"targets": [format!("{}:9181", netns::NODE)]}]}],
    });
    fs::write(folder.path().join("prometheus.yml"), config.to_string()).unwrap();
    let mut command = enter(vpc.node().namespace(), "prometheus");
    command
        .arg(format!(
            "--config.file={}",
            folder.path().join("prometheus.yml").display()
        ))
        .arg(format!(
            "--storage.tsdb.path={}",
            folder.path().join("data").display()
        ))
        .arg(format!("--web.listen-address={}:9090", netns::NODE));
    let prometheus = Process::spawn("prometheus", &command);

    let ask = async |path: &str| -> Result<Value, String> {
        prometheus.assert_running();
        let address = SocketAddr::from((netns::NODE, 9090));
        let reply = http::get(vpc.node().namespace().connect(address).await, path).await?;
        serde_json::from_str(&reply.body).map_err(|error| format!("{error}: {}", reply.body))
    };
    let alert = eventually("a firing alert", || async {
        let answer = ask("/api/v1/alerts").await?;
        let alerts = answer["data"]["alerts"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let firing = alerts.into_iter().find(|alert| alert["state"] == "firing");
        firing.ok_or_else(|| answer.to_string())
    })
    .await;
    assert_eq!(alert["labels"]["alertname"], "PodiamBypassed");
    assert_eq!(alert["labels"]["severity"], "critical");
    let summary = alert["annotations"]["summary"].as_str().unwrap();
    assert_eq!(
        summary,
        "Pods behind 10.0.0.10:9181 reach something other than podiam at 169.254.169.254."
    );
    let up = ask("/api/v1/query?query=up").await.unwrap();
    assert_eq!(up["data"]["result"][0]["value"][1], "1", "{up}");
}
