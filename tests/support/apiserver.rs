//! A real Kubernetes control plane on loopback: etcd and kube-apiserver, without a kubelet or controllers. Tests make the
//! objects that those would make ([`super::pods`]).

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Weak};

use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use kube::api::{DeleteParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use nix::sys::signal::Signal;
use serde_json::json;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::Mutex;

use super::parts::{Part, program};
use super::pki::{Authority, signing_key};
use super::process::Process;
use super::{PATIENCE, eventually, free_address, pods};

/// What the API server writes down: who asked for what, of the requests of `ServiceAccounts`.
const AUDIT: &str = r#"{"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"], "rules": [
    {"level": "Metadata", "userGroups": ["system:serviceaccounts"]}, {"level": "None"}]}"#;

/// Where ServiceAccount tokens are made: a namespace that every API server has.
const ACCOUNTS: &str = "default";

/// A control plane. Dropped: both programs end and the folder goes.
pub struct Cluster {
    // The order is the order of their end: the API server first, the folder last.
    apiserver: Mutex<Option<Process>>,
    _etcd: Process,
    etcd_url: String,
    address: SocketAddr,
    authority: Authority,
    folder: TempDir,
    flags: Vec<String>,
}

impl Cluster {
    /// The cluster that all tests of this binary share. It ends with the last test that holds it.
    pub async fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<Cluster>> = Mutex::const_new(Weak::new());
        let mut shared = SHARED.lock().await;
        if let Some(cluster) = shared.upgrade() {
            return cluster;
        }
        let cluster = Arc::new(Self::start().await);
        *shared = Arc::downgrade(&cluster);
        cluster
    }

    /// A cluster of the test's own, for those that break it. Ready when this returns.
    pub async fn start() -> Self {
        let cluster = Self::prepare();
        cluster.start_apiserver().await;
        cluster
    }

    /// A cluster whose API server has no streaming lists, as those before Kubernetes 1.32 had none unless told.
    pub async fn without_streaming_lists() -> Self {
        let mut cluster = Self::prepare();
        cluster.flags.push("--feature-gates=WatchList=false".into());
        cluster.start_apiserver().await;
        cluster
    }

    /// A cluster whose API server does not run yet.
    pub fn prepare() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new();
        fs::write(folder.path().join("ca.crt"), &authority.certificate).unwrap();
        authority
            .server(&["127.0.0.1", "localhost", "kubernetes.default.svc"])
            .write(folder.path(), "server");
        signing_key(folder.path(), "accounts");
        fs::write(folder.path().join("audit.json"), AUDIT).unwrap();
        let client = free_address(Ipv4Addr::LOCALHOST);
        let peer = free_address(Ipv4Addr::LOCALHOST);
        let etcd = Process::spawn("etcd", &etcd(folder.path(), client, peer));
        Self {
            apiserver: Mutex::new(None),
            _etcd: etcd,
            etcd_url: format!("http://{client}"),
            address: free_address(Ipv4Addr::LOCALHOST),
            authority,
            folder,
            flags: Vec::new(),
        }
    }

    /// Starts the API server, and returns when it says that it is ready.
    pub async fn start_apiserver(&self) {
        let process = Process::spawn("kube-apiserver", &self.apiserver_command());
        let client = self.client().await;
        eventually("a ready API server", || async {
            process.assert_running();
            let request = hyper::Request::get("/readyz")
                .body(Vec::new())
                .map_err(|error| error.to_string())?;
            client
                .request_text(request)
                .await
                .map_err(|error| error.to_string())
        })
        .await;
        *self.apiserver.lock().await = Some(process);
    }

    /// Ends the API server at once; what is in etcd stays.
    pub async fn stop_apiserver(&self) {
        if let Some(process) = self.apiserver.lock().await.take() {
            process.end(Signal::SIGKILL);
        }
    }

    /// Stands in for the API server that is away, and hangs up on so many who ask for it.
    pub async fn turn_away(&self, times: usize) {
        let door = TcpListener::bind(self.address).await.unwrap();
        let all = async {
            for _ in 0..times {
                drop(door.accept().await);
            }
        };
        tokio::time::timeout(PATIENCE, all)
            .await
            .expect("nobody asks for the API server any more");
    }

    /// Where the API server listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// The certificate of its authority, in PEM.
    pub fn authority(&self) -> &str {
        &self.authority.certificate
    }

    /// What `ServiceAccounts` have asked for so far: a JSON object (audit.k8s.io/v1, Event) a line.
    pub fn audit_log(&self) -> String {
        fs::read_to_string(self.folder.path().join("audit.log")).unwrap_or_default()
    }

    /// A client that may do everything. It belongs to the runtime of the test that asked for it.
    pub async fn client(&self) -> Client {
        let kubeconfig = Kubeconfig::read_from(self.admin_kubeconfig()).unwrap();
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
            .await
            .unwrap();
        Client::try_from(config).unwrap()
    }

    /// A kubeconfig that may do everything.
    pub fn admin_kubeconfig(&self) -> PathBuf {
        let path = self.folder.path().join("admin.kubeconfig");
        if !path.exists() {
            let admin = self.authority.client("admin", "system:masters");
            admin.write(self.folder.path(), "admin");
            self.write_kubeconfig(
                &path,
                &json!({"client-certificate": "admin.crt", "client-key": "admin.key"}),
            );
        }
        path
    }

    /// A kubeconfig with a bearer token.
    pub fn token_kubeconfig(&self, name: &str, token: &str) -> PathBuf {
        let path = self.folder.path().join(format!("{name}.kubeconfig"));
        self.write_kubeconfig(&path, &json!({"token": token}));
        path
    }

    fn write_kubeconfig(&self, path: &Path, user: &serde_json::Value) {
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "test", "cluster": {"server": self.url(), "certificate-authority": "ca.crt"}}],
            "users": [{"name": "test", "user": user}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        });
        fs::write(path, kubeconfig.to_string()).unwrap();
    }

    /// A new ServiceAccount `name` without any right, and a token of it.
    pub async fn service_account(&self, client: &Client, name: &str) -> String {
        let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), ACCOUNTS);
        pods::ensure_account(client, ACCOUNTS, name).await;
        let request = TokenRequest {
            spec: Some(TokenRequestSpec {
                expiration_seconds: Some(3600),
                ..TokenRequestSpec::default()
            }),
            ..TokenRequest::default()
        };
        let reply = accounts
            .create_token_request(name, &PostParams::default(), &request)
            .await
            .unwrap();
        let token = reply.status.and_then(|status| status.token);
        token.expect("a token request is answered with a token")
    }

    /// Lets the ServiceAccount `name` get, list and watch `resources` of the core API (or of Events) in the whole cluster, and
    /// nothing else.
    pub async fn allow(&self, client: &Client, name: &str, resources: &[&str]) {
        self.allow_verbs(client, name, resources, &["get", "list", "watch"])
            .await;
    }

    /// Lets it do these things with `resources` and nothing else.
    pub async fn allow_verbs(
        &self,
        client: &Client,
        name: &str,
        resources: &[&str],
        verbs: &[&str],
    ) {
        let role: ClusterRole = serde_json::from_value(json!({
            "metadata": {"name": name},
            "rules": [{"apiGroups": ["", "events.k8s.io"], "resources": resources, "verbs": verbs}],
        }))
        .unwrap();
        let binding: ClusterRoleBinding = serde_json::from_value(json!({
            "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": ACCOUNTS}],
        }))
        .unwrap();
        let roles: Api<ClusterRole> = Api::all(client.clone());
        // A role that exists from an earlier grant of the same test is replaced.
        let _ = roles.delete(name, &DeleteParams::default()).await;
        roles.create(&PostParams::default(), &role).await.unwrap();
        let bindings: Api<ClusterRoleBinding> = Api::all(client.clone());
        let _ = bindings.delete(name, &DeleteParams::default()).await;
        bindings
            .create(&PostParams::default(), &binding)
            .await
            .unwrap();
    }

    fn apiserver_command(&self) -> Command {
        let file = |name: &str| self.folder.path().join(name).display().to_string();
        let mut command = Command::new(program(Part::KubeApiserver));
        command.args([
            format!("--etcd-servers={}", self.etcd_url),
            format!("--bind-address={}", self.address.ip()),
            format!("--secure-port={}", self.address.port()),
            // Nobody reads the endpoints of the service `kubernetes` here, and they may not be on loopback.
            "--advertise-address=10.0.0.1".into(),
            "--endpoint-reconciler-type=none".into(),
            format!("--tls-cert-file={}", file("server.crt")),
            format!("--tls-private-key-file={}", file("server.key")),
            format!("--client-ca-file={}", file("ca.crt")),
            "--authorization-mode=Node,RBAC".into(),
            "--service-account-issuer=https://kubernetes.default.svc".into(),
            format!("--service-account-key-file={}", file("accounts.pub")),
            format!(
                "--service-account-signing-key-file={}",
                file("accounts.key")
            ),
            "--service-cluster-ip-range=10.96.0.0/16".into(),
            format!("--audit-policy-file={}", file("audit.json")),
            format!("--audit-log-path={}", file("audit.log")),
            "--profiling=false".into(),
        ]);
        command.args(&self.flags);
        command
    }
}

fn etcd(folder: &Path, client: SocketAddr, peer: SocketAddr) -> Command {
    let mut command = Command::new(program(Part::Etcd));
    command.arg("--data-dir").arg(folder.join("etcd")).args([
        "--name=test".into(),
        // Nothing here outlives the test, let alone a power failure.
        "--unsafe-no-fsync".into(),
        "--log-level=warn".into(),
        format!("--listen-client-urls=http://{client}"),
        format!("--advertise-client-urls=http://{client}"),
        format!("--listen-peer-urls=http://{peer}"),
        format!("--initial-advertise-peer-urls=http://{peer}"),
        format!("--initial-cluster=test=http://{peer}"),
    ]);
    command
}
