//! etcd, kube-apiserver, kube-controller-manager and kube-scheduler, in the site's own network namespace.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use super::daemon::Daemon;
use super::kubectl::Kubectl;
use super::pki::Pki;
use super::site::{HOST, SERVICE};
use super::wait;
use crate::parts::{self, Part};

/// The running programs.
pub(super) struct ControlPlane {
    pub(super) pki: Pki,
    pub(super) kubectl: Kubectl,
    daemons: Vec<Daemon>,
}

/// What a node asks.
pub(super) fn url() -> String {
    format!("https://{HOST}")
}

impl ControlPlane {
    /// Starts it; returns when the API server says that it is ready.
    pub(super) fn start(stage: &Path, logs: &Path) -> Result<Self> {
        let cache = parts::cache()?;
        let pki = Pki::new(stage.join("pki"))?;
        let (host, service) = (HOST.to_string(), SERVICE.to_string());
        let names = ["kubernetes.default.svc", "localhost", "127.0.0.1"];
        pki.server("apiserver", &[&names[..], &[&host, &service]].concat())?;
        pki.client("kubelet-client", "kube-apiserver", "system:masters")?;
        let admin = pki.kubeconfig("admin", "admin", "system:masters", &url())?;
        let kubectl = Kubectl::new(Part::Kubernetes.tool(&cache, "kubectl"), admin);

        let mut etcd = Command::new(Part::Etcd.program(&cache));
        etcd.arg("--data-dir").arg(stage.join("etcd")).args([
            // Nothing here outlives the run, let alone a power failure.
            "--unsafe-no-fsync",
            "--log-level=warn",
        ]);
        let mut apiserver = Command::new(Part::KubeApiserver.program(&cache));
        apiserver.args(apiserver_flags(&pki, logs));
        let mut daemons = vec![
            Daemon::start("etcd", &mut etcd, logs)?,
            Daemon::start("kube-apiserver", &mut apiserver, logs)?,
        ];
        wait::until("a ready API server", Duration::from_mins(1), || {
            daemons.iter_mut().try_for_each(Daemon::check)?;
            kubectl.run(&["get", "--raw", "/readyz"])
        })?;

        let mut manager = Command::new(Part::Kubernetes.tool(&cache, "kube-controller-manager"));
        let user = "system:kube-controller-manager";
        let config = pki.kubeconfig("controller-manager", user, "", &url())?;
        manager.arg("--kubeconfig").arg(config).args([
            "--leader-elect=false".to_owned(),
            "--secure-port=0".to_owned(),
            "--use-service-account-credentials=true".to_owned(),
            format!(
                "--service-account-private-key-file={}",
                pki.file("accounts.key")
            ),
            format!("--root-ca-file={}", pki.file("ca.crt")),
            "--allocate-node-cidrs=false".to_owned(),
        ]);
        let mut scheduler = Command::new(Part::Kubernetes.tool(&cache, "kube-scheduler"));
        let config = pki.kubeconfig("scheduler", "system:kube-scheduler", "", &url())?;
        scheduler
            .arg("--kubeconfig")
            .arg(config)
            .args(["--leader-elect=false", "--secure-port=0"]);
        daemons.push(Daemon::start(
            "kube-controller-manager",
            &mut manager,
            logs,
        )?);
        daemons.push(Daemon::start("kube-scheduler", &mut scheduler, logs)?);
        Ok(Self {
            pki,
            kubectl,
            daemons,
        })
    }

    /// Fails if one of them has ended.
    pub(super) fn check(&mut self) -> Result<()> {
        self.daemons.iter_mut().try_for_each(Daemon::check)
    }
}

fn apiserver_flags(pki: &Pki, logs: &Path) -> Vec<String> {
    let audit = pki.file("audit.json");
    vec![
        "--etcd-servers=http://127.0.0.1:2379".into(),
        // The Service `kubernetes` is an address of this namespace: no proxy is needed to reach it.
        "--bind-address=0.0.0.0".into(),
        "--secure-port=443".into(),
        format!("--advertise-address={HOST}"),
        "--endpoint-reconciler-type=none".into(),
        format!("--tls-cert-file={}", pki.file("apiserver.crt")),
        format!("--tls-private-key-file={}", pki.file("apiserver.key")),
        format!("--client-ca-file={}", pki.file("ca.crt")),
        format!(
            "--kubelet-client-certificate={}",
            pki.file("kubelet-client.crt")
        ),
        format!("--kubelet-client-key={}", pki.file("kubelet-client.key")),
        "--kubelet-preferred-address-types=InternalIP".into(),
        "--authorization-mode=Node,RBAC".into(),
        "--service-account-issuer=https://kubernetes.default.svc".into(),
        format!("--service-account-key-file={}", pki.file("accounts.pub")),
        format!(
            "--service-account-signing-key-file={}",
            pki.file("accounts.key")
        ),
        "--service-cluster-ip-range=10.96.0.0/16".into(),
        format!("--audit-policy-file={audit}"),
        format!("--audit-log-path={}", logs.join("audit.log").display()),
        "--allow-privileged=true".into(),
        "--profiling=false".into(),
    ]
}

/// Writes down what service accounts ask for: the agent's requests.
pub(super) const AUDIT: &str = r#"{"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"],
    "rules": [{"level": "Metadata", "userGroups": ["system:serviceaccounts"]}, {"level": "None"}]}"#;
