//! The same through real sockets, where the errors come from hyper, rustls and the kernel.

use std::path::PathBuf;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;

use super::RESYNC;
use crate::config::{ApiAccess, ApiEndpoint, PodSource};
use crate::secret::Secret;
use crate::watch::harness::Watch;

async fn failure(endpoint: ApiEndpoint) -> String {
    let access = ApiAccess {
        endpoint,
        insecure: true,
        resync: RESYNC,
    };
    Watch::on(PodSource::Kubernetes(access)).failure().await
}

fn explicit(server: String) -> ApiEndpoint {
    ApiEndpoint::Explicit {
        server,
        token: Secret::new("t"),
    }
}

#[tokio::test]
async fn a_port_that_nobody_listens_on_is_told_as_a_refusal() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let error = failure(explicit(format!("http://{address}"))).await;
    let expected = format!("the API server {address} refuses connections: ");
    assert!(error.starts_with(&expected), "{error}");
}

#[tokio::test]
async fn a_server_without_tls_is_told_as_such() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            let _ = connection
                .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                .await;
        }
    });
    let error = failure(explicit(format!("https://{address}"))).await;
    assert!(
        error.starts_with(&format!("{address} does not speak TLS: ")),
        "{error}"
    );
}

#[tokio::test]
async fn a_kubeconfig_that_is_not_there_and_an_address_that_is_none_are_told() {
    let error = failure(ApiEndpoint::Kubeconfig(PathBuf::from(
        "/nowhere/kubeconfig",
    )))
    .await;
    assert!(
        error.starts_with("the kubeconfig \"/nowhere/kubeconfig\" cannot be used: "),
        "{error}"
    );
    let error = failure(explicit("not a url".into())).await;
    assert!(
        error.contains("--api-server \"not a url\" is not a URL: "),
        "{error}"
    );
}
