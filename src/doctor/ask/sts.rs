//! `GetCallerIdentity`, with what the connection shows beside the answer: the endpoint that the SDK chose, how long it
//! took, and what time it is there.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_config::SdkConfig;
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_sts::Client;
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::{
    BeforeDeserializationInterceptorContextRef, BeforeTransmitInterceptorContextRef,
};
use aws_smithy_runtime_api::client::interceptors::dyn_dispatch_hint;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;
use tokio::time::Instant;

use crate::clock::Clock;
use crate::doctor::judge::skew::Told;
use crate::sts::StsError;

/// What came of one call.
#[derive(Clone, Debug)]
pub(in crate::doctor) struct Exchange {
    /// Scheme and host; `None` where nothing was sent.
    pub(in crate::doctor) endpoint: Option<String>,
    /// From the request to the head of its answer; `None` where there was none.
    pub(in crate::doctor) took: Option<Duration>,
    /// The answer's `Date`.
    pub(in crate::doctor) date: Option<Told>,
    /// The caller's ARN.
    pub(in crate::doctor) arn: Result<String, StsError>,
}

/// Asks STS who we are. Where there are no credentials it asks a second time with made-up ones: STS refuses them, and its
/// refusal proves that it can be reached.
pub(in crate::doctor) async fn who_am_i(config: &SdkConfig, clock: &Clock) -> Exchange {
    let exchange = ask(config, clock).await;
    if exchange.endpoint.is_some() {
        return exchange;
    }
    let nobody = Credentials::new("AKIAPODIAMDOCTOR", "none", None, None, "podiam doctor");
    let config = config
        .to_builder()
        .credentials_provider(SharedCredentialsProvider::new(nobody))
        .build();
    Exchange {
        arn: exchange.arn,
        ..ask(&config, clock).await
    }
}

async fn ask(config: &SdkConfig, clock: &Clock) -> Exchange {
    let seen = Arc::new(Mutex::new(Seen::default()));
    let witness = Witness {
        seen: Arc::clone(&seen),
        clock: clock.clone(),
    };
    let config = aws_sdk_sts::config::Builder::from(config)
        .interceptor(witness)
        .build();
    let answer = Client::from_conf(config).get_caller_identity().send().await;
    let seen = std::mem::take(&mut *seen.lock().unwrap_or_else(PoisonError::into_inner));
    Exchange {
        endpoint: seen.endpoint,
        took: seen.took,
        date: seen.date,
        arn: match answer {
            Ok(identity) => identity
                .arn
                .filter(|arn| !arn.is_empty())
                .ok_or_else(|| StsError::malformed("the answer names no caller")),
            Err(error) => Err(StsError::sort(&error)),
        },
    }
}

#[derive(Debug, Default)]
struct Seen {
    endpoint: Option<String>,
    sent: Option<Instant>,
    took: Option<Duration>,
    date: Option<Told>,
}

/// Looks at request and answer as they pass.
#[derive(Debug)]
struct Witness {
    seen: Arc<Mutex<Seen>>,
    clock: Clock,
}

#[dyn_dispatch_hint]
impl Intercept for Witness {
    fn name(&self) -> &'static str {
        "Witness"
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let uri: hyper::Uri = context.request().uri().parse()?;
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.endpoint = Some(format!(
            "{}://{}",
            uri.scheme_str().unwrap_or("http"),
            uri.authority().map_or("", |authority| authority.as_str())
        ));
        seen.sent = Some(Instant::now());
        Ok(())
    }

    fn read_after_transmit(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.took = seen.sent.map(|sent| sent.elapsed());
        let headers = context.response().headers();
        seen.date = headers
            .get("date")
            .and_then(|date| Told::parse(date, self.clock.now()));
        Ok(())
    }
}
