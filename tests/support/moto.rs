//! moto's server: another's implementation of the STS API, that keeps who assumed what.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::sync::{Arc, Weak};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http_body_util::Full;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::sync::Mutex;

use super::free_address;
use super::parts::{Part, program};
use super::process::Process;

/// A running server. Its requests are recorded from the start.
pub struct Moto {
    _process: Process,
    address: SocketAddr,
    folder: TempDir,
}

impl Moto {
    /// The server that all tests of this binary share; it ends with the last that holds it. Tests keep apart by the names
    /// of their roles.
    pub async fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<Moto>> = Mutex::const_new(Weak::new());
        let mut shared = SHARED.lock().await;
        if let Some(moto) = shared.upgrade() {
            return moto;
        }
        let moto = Arc::new(Self::start().await);
        *shared = Arc::downgrade(&moto);
        moto
    }

    /// A server of its own, for a test that looks at everything in it.
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let address = free_address(Ipv4Addr::LOCALHOST);
        let mut command = Command::new(program(Part::Python));
        command
            .args([
                "-m",
                "moto.server",
                "-H",
                &address.ip().to_string(),
                "-p",
                &address.port().to_string(),
            ])
            .env("MOTO_ENABLE_RECORDING", "true")
            .env("MOTO_RECORDER_FILEPATH", folder.path().join("recording"));
        let process = Process::spawn("moto", &command);
        process.logs("Running on").await;
        Self {
            _process: process,
            address,
            folder,
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What `AWS_ENDPOINT_URL_STS` is set to.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From here on, checks signatures and policies: of identities only, without `NotResource`, and of few services their
    /// resources. For a server of the test's own.
    pub async fn enforce(&self) {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .unwrap();
        tokio::spawn(connection);
        let request = hyper::Request::post("/moto-api/reset-auth")
            .header("Host", self.address.to_string())
            .body(Full::new(Bytes::from_static(b"0")))
            .unwrap();
        let reply = sender.send_request(request).await.unwrap();
        assert_eq!(reply.status(), 200);
    }

    /// The bodies of all `AssumeRole` requests for the role `name`, as they came: `Action=AssumeRole&...`.
    pub fn assumptions(&self, name: &str) -> Vec<String> {
        let recording =
            std::fs::read_to_string(self.folder.path().join("recording")).unwrap_or_default();
        let bodies = recording.lines().filter_map(|line| {
            let request: Value =
                serde_json::from_str(line).expect("moto records one JSON object a line");
            let body = request["body"].as_str()?;
            if request["body_encoded"] != true {
                return Some(body.to_owned());
            }
            let decoded = STANDARD
                .decode(body)
                .expect("moto encodes bodies in base64");
            String::from_utf8(decoded).ok()
        });
        let role = format!("%3Arole%2F{name}&");
        bodies
            .filter(|body| {
                body.contains("Action=AssumeRole&") && format!("{body}&").contains(&role)
            })
            .collect()
    }
}
