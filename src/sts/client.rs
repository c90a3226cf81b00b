//! The real STS, through the AWS SDK with one TLS stack: rustls with ring.
//!
//! The SDK's own settings hold: its chain of credentials, `AWS_REGION`, `AWS_ENDPOINT_URL[_STS]`, FIPS, dual-stack. No
//! redirect is followed, no proxy of the environment is used, and `ec2:DescribeRegions` is never needed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aws_config::default_provider::credentials::DefaultCredentialsChain;
use aws_config::environment::EnvironmentVariableRegionProvider;
use aws_config::imds;
use aws_config::imds::region::ImdsRegionProvider;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::ProfileFileRegionProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_sdk_sts::Client;
use aws_sdk_sts::operation::assume_role::AssumeRoleOutput;
use aws_sdk_sts::types::{PolicyDescriptorType, Tag};
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use futures::future::BoxFuture;
use jiff::Timestamp;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::{AssumeRole, Session, StsError};
use crate::authorize::{self, Grant, SessionPolicy};
use crate::clock::Clock;
use crate::secret::Secret;

/// The time for a connection, an attempt, and a call with everything that belongs to it (such as the node's own
/// credentials). Pods wait 400 ms at most, whatever these are; they bound how long a slot is blind.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);
const CALL_TIMEOUT: Duration = Duration::from_secs(8);

/// Idle connections are dropped before a load balancer in between forgets them silently.
const IDLE_TIME: Duration = Duration::from_secs(20);

/// Attempts to reach the metadata service for the node's credentials, of at most 1 s each.
const METADATA_ATTEMPTS: u32 = 2;

/// How long the answer to "can the node identify itself" is believed.
const IDENTITY_GOOD_FOR: Duration = Duration::from_mins(1);
const IDENTITY_BAD_FOR: Duration = Duration::from_secs(2);

/// What the operator may say about STS beside the SDK's own settings.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// `--aws-region`. `None`: environment, profile, or metadata service.
    pub region: Option<String>,
    /// `host` or `host:port` of the real metadata service, where it is not AWS's own address: the node's credentials
    /// and region are asked there. `None`: the SDK's setting, and its default.
    pub metadata_address: Option<String>,
    /// The profile of the shared AWS files, where it is not the SDK's choice (`AWS_PROFILE`, `default`).
    pub profile: Option<String>,
}

/// STS. Nothing is read or sent before the first call, so that it can be made before the network is there.
pub struct Sts {
    settings: Settings,
    clock: Clock,
    /// The lock is held while the configuration is read: whoever comes meanwhile needs the same.
    connection: Mutex<Option<Arc<Connection>>>,
    identity: Mutex<Option<(Instant, Result<(), StsError>)>>,
}

/// The SDK, configured.
struct Connection {
    client: Client,
    node_credentials: SharedCredentialsProvider,
    /// STS has known the node's credentials.
    has_worked: AtomicBool,
}

impl Sts {
    /// STS under `settings`; `clock` stamps when a session was asked for.
    pub fn new(settings: Settings, clock: Clock) -> Self {
        Self {
            settings,
            clock,
            connection: Mutex::default(),
            identity: Mutex::default(),
        }
    }

    /// Whether the node's own credentials can be had: what /readyz asks. No call to STS; the answer is kept for a
    /// minute, a bad one for two seconds.
    pub async fn node_identity_usable(&self) -> Result<(), StsError> {
        let mut known = self.identity.lock().await;
        if let Some((until, answer)) = &*known
            && Instant::now() < *until
        {
            return answer.clone();
        }
        let answer = self.node_identity().await;
        let good_for = match answer {
            Ok(()) => IDENTITY_GOOD_FOR,
            Err(_) => IDENTITY_BAD_FOR,
        };
        *known = Some((Instant::now() + good_for, answer.clone()));
        answer
    }

    async fn node_identity(&self) -> Result<(), StsError> {
        let connection = self.connection().await?;
        let credentials = connection.node_credentials.provide_credentials();
        match tokio::time::timeout(ATTEMPT_TIMEOUT, credentials).await {
            // Without the metadata service the SDK goes on with what it had, even beyond its end.
            Ok(Ok(credentials)) if !is_over(&credentials, self.clock.now()) => Ok(()),
            Ok(Ok(_)) => Err(StsError::transient(
                "NoNodeCredentials",
                "the node's credentials have expired",
                "the metadata service has not given new ones",
            )),
            Ok(Err(error)) => Err(StsError::no_node_credentials(&error)),
            Err(elapsed) => Err(StsError::no_node_credentials(&elapsed)),
        }
    }

    async fn connection(&self) -> Result<Arc<Connection>, StsError> {
        let mut current = self.connection.lock().await;
        if let Some(connection) = &*current {
            return Ok(Arc::clone(connection));
        }
        let connection = Arc::new(Connection::of(&load(&self.settings).await?)?);
        *current = Some(Arc::clone(&connection));
        Ok(connection)
    }

    /// Drops `connection` with the node's credentials that its SDK caches, unless someone has replaced it already.
    async fn forget(&self, connection: &Arc<Connection>) {
        let mut current = self.connection.lock().await;
        if current
            .as_ref()
            .is_some_and(|current| Arc::ptr_eq(current, connection))
        {
            *current = None;
        }
    }

    /// One call. A second one where the node's credentials worked and work no more: they were rotated under us, and the
    /// metadata service has new ones.
    async fn call(&self, grant: &Grant) -> Result<Session, StsError> {
        let connection = self.connection().await?;
        let outcome = self.call_by(&connection, grant).await;
        match &outcome {
            Err(error) if error.blames_node_credentials() => {
                self.forget(&connection).await;
                if connection.has_worked.load(Ordering::Relaxed) {
                    let connection = self.connection().await?;
                    return self.call_by(&connection, grant).await;
                }
            }
            _ => {}
        }
        outcome
    }

    async fn call_by(&self, connection: &Connection, grant: &Grant) -> Result<Session, StsError> {
        let obtained_at = self.clock.now();
        let attributes = &grant.attributes;
        let policy = attributes.policy();
        let answer = connection
            .client
            .assume_role()
            .role_arn(grant.role.as_str())
            .role_session_name(grant.session_name.as_str())
            .set_external_id(grant.external_id.as_ref().map(|id| id.as_str().to_owned()))
            .set_duration_seconds(i32::try_from(grant.duration.as_secs()).ok())
            .set_source_identity(attributes.source_identity().map(ToString::to_string))
            .set_tags(list(attributes.tags().iter().map(tag))?)
            .set_transitive_tag_keys(list(
                attributes
                    .transitive_tag_keys()
                    .map(|key| Ok(key.to_owned())),
            )?)
            .set_policy(policy.and_then(SessionPolicy::document).map(str::to_owned))
            .set_policy_arns(list(
                policy
                    .into_iter()
                    .flat_map(SessionPolicy::arns)
                    .map(|arn| Ok(PolicyDescriptorType::builder().arn(arn).build())),
            )?)
            .send()
            .await;
        match answer {
            Ok(output) => {
                connection.has_worked.store(true, Ordering::Relaxed);
                session(output, obtained_at)
            }
            Err(error) => Err(StsError::sort(&error)),
        }
    }
}

impl AssumeRole for Sts {
    fn assume<'a>(&'a self, grant: &'a Grant) -> BoxFuture<'a, Result<Session, StsError>> {
        Box::pin(self.call(grant))
    }
}

impl Connection {
    fn of(config: &SdkConfig) -> Result<Self, StsError> {
        let node_credentials = config.credentials_provider().ok_or_else(|| {
            StsError::transient("NoNodeCredentials", "no provider", "a fault in podiam")
        })?;
        Ok(Self {
            client: Client::new(config),
            node_credentials,
            has_worked: AtomicBool::new(false),
        })
    }
}

/// Reads the SDK's configuration: environment, profile, and the metadata service where the region comes from there.
pub(crate) async fn load(settings: &Settings) -> Result<SdkConfig, StsError> {
    let http = http_client();
    let provider = ProviderConfig::without_region().with_http_client(http.clone());
    let mut metadata = imds::Client::builder()
        .configure(&provider)
        .max_attempts(METADATA_ATTEMPTS);
    if let Some(address) = &settings.metadata_address {
        metadata = metadata
            .endpoint(format!("http://{address}"))
            .map_err(|error| {
                StsError::transient(
                    "NoNodeCredentials",
                    error.to_string(),
                    "--metadata-addr is not a host with an optional port",
                )
            })?;
    }
    let metadata = metadata.build();

    let region = RegionProviderChain::first_try(settings.region.clone().map(Region::new))
        .or_else(EnvironmentVariableRegionProvider::new())
        .or_else(profile_region(settings))
        .or_else(
            ImdsRegionProvider::builder()
                .configure(&provider)
                .imds_client(metadata.clone())
                .build(),
        )
        .region()
        .await
        .ok_or_else(|| {
            StsError::transient(
                "NoRegion",
                "the region of the STS endpoint is not known",
                "neither --aws-region, AWS_REGION nor a profile is set, and the metadata service does not tell it",
            )
        })?;

    let base = base(http, region.clone()).await;
    let mut node_credentials = DefaultCredentialsChain::builder()
        .region(region)
        .imds_client(metadata)
        .configure(
            provider
                .with_use_fips(base.use_fips())
                .with_use_dual_stack(base.use_dual_stack()),
        );
    if let Some(profile) = &settings.profile {
        node_credentials = node_credentials.profile_name(profile);
    }
    let node_credentials = node_credentials.build().await;
    Ok(base
        .into_builder()
        .credentials_provider(SharedCredentialsProvider::new(node_credentials))
        .build())
}

fn profile_region(settings: &Settings) -> ProfileFileRegionProvider {
    match &settings.profile {
        Some(profile) => ProfileFileRegionProvider::builder()
            .profile_name(profile)
            .build(),
        None => ProfileFileRegionProvider::new(),
    }
}

/// All of the configuration but the node's credentials.
async fn base(http: SharedHttpClient, region: Region) -> SdkConfig {
    aws_config::defaults(BehaviorVersion::latest())
        .http_client(http)
        .region(region)
        .timeout_config(timeouts())
        // Our back-off is in charge, with the budget and the reasons in one place: an SDK's retry would hold a place
        // in the queue while it sleeps, and double the calls just when STS asks for fewer. Connections that were
        // closed while idle are retried below, by hyper; a wrong clock is corrected from the first answer on.
        .retry_config(RetryConfig::disabled())
        .no_credentials()
        .load()
        .await
}

fn http_client() -> SharedHttpClient {
    aws_smithy_http_client::Builder::new()
        .pool_idle_timeout(IDLE_TIME)
        .tls_provider(Provider::Rustls(CryptoMode::Ring))
        .build_https()
}

fn timeouts() -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .operation_attempt_timeout(ATTEMPT_TIMEOUT)
        .operation_timeout(CALL_TIMEOUT)
        .build()
}

/// What the SDK takes: no list rather than an empty one.
fn list<T>(items: impl Iterator<Item = Result<T, StsError>>) -> Result<Option<Vec<T>>, StsError> {
    let items: Vec<T> = items.collect::<Result<_, _>>()?;
    Ok((!items.is_empty()).then_some(items))
}

fn tag(tag: &authorize::Tag) -> Result<Tag, StsError> {
    Tag::builder()
        .key(tag.key())
        .value(tag.value())
        .build()
        .map_err(|error| StsError::transient("Unknown", error.to_string(), "a fault in podiam"))
}

fn is_over(credentials: &Credentials, now: Timestamp) -> bool {
    credentials
        .expiry()
        .and_then(|expiry| Timestamp::try_from(expiry).ok())
        .is_some_and(|expiry| expiry <= now)
}

fn session(output: AssumeRoleOutput, obtained_at: Timestamp) -> Result<Session, StsError> {
    let credentials = output
        .credentials
        .ok_or_else(|| StsError::malformed("the answer holds no credentials"))?;
    // The SDK reads an answer that breaks off as one with empty fields, and with the epoch for an end.
    if credentials.access_key_id.is_empty()
        || credentials.secret_access_key.is_empty()
        || credentials.session_token.is_empty()
        || credentials.expiration.secs() == 0
    {
        return Err(StsError::malformed(
            "the answer's credentials are incomplete",
        ));
    }
    let expires_at = Timestamp::from_second(credentials.expiration.secs())
        .map_err(|error| StsError::malformed(error.to_string()))?;
    Ok(Session {
        access_key_id: credentials.access_key_id,
        secret_access_key: Secret::new(credentials.secret_access_key),
        token: Secret::new(credentials.session_token),
        expires_at,
        obtained_at,
    })
}

#[cfg(test)]
mod tests;
