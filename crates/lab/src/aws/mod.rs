//! An AWS of one process: a node's IMDS and a regional STS, each on a socket of its own.
//!
//! Tests start it in their own process with [`Aws::start`]; `podiam-lab aws` starts it for other programs, which read
//! the log and order faults over HTTP below `/lab` on the STS socket (`control`). It checks what a client can get
//! wrong (tokens, parameters, who owns a session) and no signature: it holds no secret worth one.

mod config;
mod control;
mod faults;
mod imds;
mod journal;
mod query;
mod server;
mod sts;
mod tls;
mod tree;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::task::JoinSet;

pub use config::{CANARY, Config, Now, TokenPolicy, Trust};
pub use faults::{Fault, Injection, Service};
pub use journal::{ImdsRequest, Issued, Record, StsCall};
pub use sts::End;
pub use tls::Tls;

use faults::Faults;
use journal::Journal;

/// A running AWS. Dropping it closes its sockets and every connection.
#[derive(Debug)]
pub struct Aws {
    /// Where IMDS listens.
    pub imds_addr: SocketAddr,
    /// Where STS listens (and `/lab`).
    pub sts_addr: SocketAddr,
    faults: Faults,
    journal: Journal,
    imds: Arc<imds::Imds>,
    sts: Arc<sts::Sts>,
    servers: JoinSet<()>,
}

impl Aws {
    /// Starts on two free ports of 127.0.0.1.
    pub async fn start(config: Config) -> io::Result<Self> {
        let imds = TcpListener::bind("127.0.0.1:0").await?;
        let sts = TcpListener::bind("127.0.0.1:0").await?;
        Self::serve(config, imds, sts)
    }

    /// Starts on sockets that listen already, in whatever network namespace they were made.
    pub fn serve(config: Config, imds: TcpListener, sts: TcpListener) -> io::Result<Self> {
        Self::serve_with(config, imds, sts, None)
    }

    /// The same, with STS by TLS if there is something to do it with.
    pub fn serve_with(
        config: Config,
        imds: TcpListener,
        sts: TcpListener,
        tls: Option<&Tls>,
    ) -> io::Result<Self> {
        let (imds_addr, sts_addr) = (imds.local_addr()?, sts.local_addr()?);
        let config = Arc::new(config);
        let (faults, journal) = (Faults::default(), Journal::default());
        let mut servers = JoinSet::new();
        let imds_face = Arc::new(imds::Imds::new(
            Arc::clone(&config),
            faults.clone(),
            journal.clone(),
        ));
        servers.spawn(server::serve(imds, None, Arc::clone(&imds_face)));
        let sts_face = Arc::new(sts::Sts::new(config, faults.clone(), journal.clone()));
        let acceptor = tls.map(|tls| tls.acceptor.clone());
        servers.spawn(server::serve(sts, acceptor, Arc::clone(&sts_face)));
        Ok(Self {
            imds_addr,
            sts_addr,
            faults,
            journal,
            imds: imds_face,
            sts: sts_face,
            servers,
        })
    }

    /// Answers as IMDS at one more socket: an instance has it at an IPv6 address too.
    pub fn serve_imds_at(&mut self, listener: TcpListener) {
        let face = Arc::clone(&self.imds);
        self.servers.spawn(server::serve(listener, None, face));
    }

    /// `http://` and the address of IMDS: a value for `AWS_EC2_METADATA_SERVICE_ENDPOINT`.
    pub fn imds_url(&self) -> String {
        format!("http://{}", self.imds_addr)
    }

    /// `http://` and the address of STS: a value for `AWS_ENDPOINT_URL_STS`.
    pub fn sts_url(&self) -> String {
        format!("http://{}", self.sts_addr)
    }

    /// Everything that was asked so far, oldest first. A request is in the log from its arrival on.
    pub fn log(&self) -> Vec<Record> {
        self.journal.snapshot()
    }

    /// The `AssumeRole` calls of the log.
    pub fn assume_role_calls(&self) -> Vec<StsCall> {
        let calls = self.log().into_iter().filter_map(Record::into_sts);
        calls.filter(|call| call.action == "AssumeRole").collect()
    }

    /// The IMDS requests of the log.
    pub fn imds_requests(&self) -> Vec<ImdsRequest> {
        self.log()
            .into_iter()
            .filter_map(Record::into_imds)
            .collect()
    }

    /// Waits until the log fulfils `condition`, which is asked again at each change.
    pub async fn log_until(&self, condition: impl FnMut(&[Record]) -> bool) -> Vec<Record> {
        self.journal.wait_until(condition).await
    }

    /// Replaces the credentials of the node's role: IMDS tells new ones, and STS refuses the old ones as `end` says.
    pub fn rotate_node_credentials(&self, end: End) {
        let (old, new) = self.imds.rotate_node_credentials();
        self.sts.replace_node_credentials(old, new, end);
    }

    /// Disturbs a service from now on. Of several injections the first that matches a request acts on it.
    pub fn inject(&self, service: Service, injection: Injection) {
        self.faults.inject(service, injection);
    }

    /// Ends every disturbance of a service; requests that hang are answered now.
    pub fn heal(&self, service: Service) {
        self.faults.heal(service);
    }
}
