//! moto's server: a real implementation of the STS API, spoken to by real SDKs, that keeps who assumed what.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::sync::{Arc, Weak};

use tempfile::TempDir;
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
    /// The server that all tests of this binary share; tests keep apart by the names of their roles.
    pub async fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<Moto>> = Mutex::const_new(Weak::new());
        let mut shared = SHARED.lock().await;
        if let Some(moto) = shared.upgrade() {
            return moto;
        }
        let moto = Arc::new(Self::start_at(Ipv4Addr::LOCALHOST, Command::new).await);
        *shared = Arc::downgrade(&moto);
        moto
    }

    /// Starts one at `ip`; `command` makes the command out of the program, so that it can run elsewhere (in a network
    /// namespace).
    pub async fn start_at(
        ip: Ipv4Addr,
        command: impl FnOnce(std::path::PathBuf) -> Command,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let address = free_address(Ipv4Addr::LOCALHOST);
        let address = SocketAddr::new(ip.into(), address.port());
        let mut command = command(program(Part::Python));
        command
            .args([
                "-m",
                "moto.server",
                "-H",
                &ip.to_string(),
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

    /// What `AWS_ENDPOINT_URL_STS` is set to.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Every request since the start, one JSON object a line.
    pub fn recording(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("recording")).unwrap_or_default()
    }
}
