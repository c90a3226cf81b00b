//! The AWS SDK for Rust as an application uses it: credentials from a metadata service, calls to STS.

use std::time::Duration;

use aws_config::imds;
use aws_config::imds::credentials::ImdsCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::{BehaviorVersion, Region};
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_sts::Client;
use aws_sdk_sts::config::IdentityCache;

/// An STS client with the credentials of the metadata service at `endpoint`, which it fetches anew once less than
/// `buffer` of their life is left (10 s where nobody says so).
pub fn sts(endpoint: &str, sts: &str, buffer: Duration) -> Client {
    let config = aws_sdk_sts::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .region(Region::new("eu-central-1"))
        .endpoint_url(sts)
        .identity_cache(IdentityCache::lazy().buffer_time(buffer).build())
        .credentials_provider(SharedCredentialsProvider::new(credentials(endpoint)))
        .build();
    Client::from_conf(config)
}

/// What asks the metadata service at `endpoint` for credentials, each time it is asked itself.
pub fn credentials(endpoint: &str) -> ImdsCredentialsProvider {
    let http = aws_smithy_http_client::Builder::new().build_http();
    let metadata = imds::Client::builder()
        .configure(&ProviderConfig::without_region().with_http_client(http))
        .endpoint(endpoint)
        .unwrap()
        .build();
    ImdsCredentialsProvider::builder()
        .imds_client(metadata)
        .build()
}
