//! The pods of the scenes: a program with AWS's SDK for Go (`xtask/parts/workload`) that asks the metadata service all
//! the time, counts what it is told, and answers the story's questions.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result};
use podiam_lab::aws::{CANARY, Config};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{site, wait};

/// The image of all of them, and of the containers that hold their namespaces.
pub(super) const IMAGE: &str = "podiam-e2e/workload:1";
/// Where the role's name is, and below it its credentials.
pub(super) const CREDENTIALS: &str = "/latest/meta-data/iam/security-credentials/";
const PORT: u16 = 8080;

/// The template of pods whose container runs `workload COMMAND`, with an annotation where there is a role.
pub(super) fn template(role: Option<&str>, command: &str, environment: &[(&str, &str)]) -> Value {
    let usual = [
        ("EXPECTED_ROLE", role.unwrap_or_default().to_owned()),
        ("NODE_ROLE", Config::default().node_role),
        ("CANARY", CANARY.to_owned()),
        ("AWS_ENDPOINT_URL_STS", site::sts_url()),
        ("AWS_REGION", Config::default().region),
    ];
    let more = environment
        .iter()
        .map(|(name, value)| (*name, (*value).to_owned()));
    let environment: Vec<Value> = usual
        .into_iter()
        .chain(more)
        .map(|(name, value)| json!({"name": name, "value": value}))
        .collect();
    let annotations = role.map(|role| json!({"iam.amazonaws.com/role": role}));
    json!({
        "metadata": {"annotations": annotations.unwrap_or_else(|| json!({}))},
        "spec": {
            "terminationGracePeriodSeconds": 1,
            "automountServiceAccountToken": false,
            "dnsPolicy": "Default",
            "containers": [{
                "name": "workload", "image": IMAGE, "imagePullPolicy": "Never",
                "args": [command], "env": environment,
            }],
        },
    })
}

/// A pod that serves.
pub(super) fn pod(namespace: &str, name: &str, role: Option<&str>) -> Value {
    named(template(role, "serve", &[]), namespace, name)
}

/// A pod of a template.
pub(super) fn named(mut template: Value, namespace: &str, name: &str) -> Value {
    template["apiVersion"] = json!("v1");
    template["kind"] = json!("Pod");
    template["metadata"]["namespace"] = json!(namespace);
    template["metadata"]["name"] = json!(name);
    template
}

/// A pod that serves.
#[derive(Clone)]
pub(super) struct Pod {
    pub(super) name: String,
    pub(super) address: Ipv4Addr,
}

/// What its probers have counted.
#[derive(Debug, Deserialize)]
pub(super) struct Counts {
    pub(super) asked: u64,
    pub(super) right: u64,
    pub(super) leaks: u64,
    /// Answers that were neither, by their status or what went wrong.
    pub(super) others: BTreeMap<String, u64>,
    pub(super) first_other: Option<String>,
    pub(super) first_leak: Option<String>,
    pub(super) slowest_millis: u64,
    /// From the pod's start to its first right answer, unless it was reset.
    pub(super) first_millis: u64,
}

/// What AWS's SDK found out about itself.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Identity {
    pub(super) arn: String,
    pub(super) source: String,
    pub(super) error: String,
    pub(super) millis: u64,
    /// What a prober beside it saw, in a Job.
    pub(super) asked: u64,
    pub(super) leaks: u64,
}

/// An answer of the metadata service.
#[derive(Debug, Deserialize)]
pub(super) struct Told {
    pub(super) status: u16,
    pub(super) body: String,
    #[serde(default)]
    pub(super) error: String,
}

impl Pod {
    /// The one that the API server describes.
    pub(super) fn of(pod: &Value) -> Result<Self> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let name = text(&pod["metadata"]["name"]).context("a pod without a name")?;
        let address = text(&pod["status"]["podIP"])
            .with_context(|| format!("the pod {name} has no address"))?;
        Ok(Self {
            name,
            address: address.parse()?,
        })
    }

    pub(super) fn counts(&self) -> Result<Counts> {
        self.get("/counts")
    }

    /// The counts so far, and zero from now on.
    pub(super) fn reset(&self) -> Result<Counts> {
        self.get("/reset")
    }

    /// Who it is, by a new client of AWS's SDK.
    pub(super) fn identity(&self) -> Result<Identity> {
        self.get("/identity")
    }

    /// What the metadata service tells it, with IMDSv2.
    pub(super) fn ask(&self, path: &str) -> Result<Told> {
        self.get(&format!("/ask?path={path}"))
    }

    /// What somebody else (`address:port`) tells it.
    pub(super) fn reach(&self, address: &str) -> Result<Told> {
        self.get(&format!("/reach?address={address}"))
    }

    /// Waits until it has counted so many answers since the last reset.
    pub(super) fn asked(&self, times: u64) -> Result<Counts> {
        self.until("answers", |counts| counts.asked >= times)
    }

    /// Waits until its counts are so.
    pub(super) fn until(&self, what: &str, so: impl Fn(&Counts) -> bool) -> Result<Counts> {
        let what = format!("{what} of the pod {}", self.name);
        wait::until(&what, Duration::from_mins(1), || {
            let counts = self.counts()?;
            anyhow::ensure!(so(&counts), "{counts:?}");
            Ok(counts)
        })
    }

    fn get<T: DeserializeOwned>(&self, target: &str) -> Result<T> {
        let text = exchange((self.address, PORT).into(), target)
            .with_context(|| format!("the pod {} at {}: {target}", self.name, self.address))?;
        serde_json::from_str(&text).with_context(|| format!("{target} of {}: {text}", self.name))
    }
}

/// A GET of HTTP/1.0, whose answer ends with the connection.
pub(super) fn exchange(address: SocketAddr, target: &str) -> Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    write!(stream, "GET {target} HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (_, body) = answer.split_once("\r\n\r\n").context("no answer")?;
    Ok(body.to_owned())
}
