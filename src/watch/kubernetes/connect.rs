//! A client for the API server, with the limits that kube leaves open: a server that hangs must be noticed.

use std::time::Duration;

use kube::client::ClientBuilder;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use tower::timeout::TimeoutLayer;

use super::failure::{Failure, one_line};
use crate::config::{ApiAccess, ApiEndpoint};

/// Connection and TLS handshake.
const CONNECT_LIMIT: Duration = Duration::from_secs(3);
/// From a request to the head of its reply. A watch's reply begins at once, a page of a list in well under this.
pub(super) const REPLY_LIMIT: Duration = Duration::from_secs(10);
/// Silence on an open watch. The API server sends a bookmark about every minute; a connection that is silent for
/// longer is dropped and the watch resumed on a new one.
const SILENCE_LIMIT: Duration = Duration::from_secs(75);

/// A client and the name of what it speaks to.
#[derive(Clone)]
pub(super) struct Connection {
    pub(super) client: Client,
    /// Host and port, for messages.
    pub(super) server: String,
}

/// Reads addresses and credentials and makes a client of them. Nothing is sent yet.
pub(super) async fn connect(access: &ApiAccess) -> Result<Connection, Failure> {
    let mut config = config(&access.endpoint).await?;
    config.connect_timeout = Some(CONNECT_LIMIT);
    config.read_timeout = Some(SILENCE_LIMIT);
    config.reset_reader_on_write = true;
    // Retries are ours: kube's would hide an outage for as long as they last.
    config.default_retry = false;
    if access.insecure {
        config.accept_invalid_certs = true;
        // Not even loaded, so that a machine without root certificates will do.
        config.root_cert = Some(Vec::new());
        config.root_cert_file = None;
    }
    let server = config
        .cluster_url
        .authority()
        .map_or_else(String::new, |authority| {
            format!("{}:{}", authority.host(), port(&config))
        });
    let client = ClientBuilder::try_from(config)
        .map_err(|error| Failure::Access {
            detail: one_line(&error),
        })?
        .with_layer(&reply_limit())
        .build();
    Ok(Connection { client, server })
}

/// What makes a reply that does not begin in time an error.
pub(super) fn reply_limit() -> TimeoutLayer {
    TimeoutLayer::new(REPLY_LIMIT)
}

async fn config(endpoint: &ApiEndpoint) -> Result<Config, Failure> {
    match endpoint {
        ApiEndpoint::InCluster => Config::incluster().map_err(|error| Failure::NotInCluster {
            detail: one_line(&error),
        }),
        ApiEndpoint::Inferred => Config::infer().await.map_err(|error| Failure::Access {
            detail: one_line(&error),
        }),
        ApiEndpoint::Kubeconfig(path) => {
            let failure = |error| Failure::Kubeconfig {
                path: path.display().to_string(),
                detail: one_line(&error),
            };
            let kubeconfig = Kubeconfig::read_from(path).map_err(failure)?;
            Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
                .await
                .map_err(failure)
        }
        ApiEndpoint::Explicit { server, token } => {
            let url = server.parse().map_err(|error| Failure::Access {
                detail: format!("--api-server {server:?} is not a URL: {}", one_line(&error)),
            })?;
            let mut config = Config::new(url);
            config.auth_info.token = Some(token.expose().to_owned().into());
            Ok(config)
        }
    }
}

fn port(config: &Config) -> u16 {
    let plain = config.cluster_url.scheme_str() == Some("http");
    config
        .cluster_url
        .port_u16()
        .unwrap_or(if plain { 80 } else { 443 })
}
