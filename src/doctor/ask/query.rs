//! IAM and EC2 through their query APIs: a signed form in, XML out. Three calls are all that is asked of them, and the
//! SDK's crates for the two would be larger than the rest of the agent; the SDK's own parts sign, connect and read.
//!
//! Only calls that read are here. An endpoint comes from the SDK's settings (`AWS_ENDPOINT_URL_IAM`, `_EC2`), else from
//! AWS's endpoint rules.

use std::time::Duration;

use aws_config::SdkConfig;
use aws_credential_types::Credentials;
use aws_credential_types::provider::ProvideCredentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use aws_smithy_http_client::Connector;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use aws_smithy_runtime_api::client::http::HttpConnector;
use aws_smithy_runtime_api::http::Request;
use aws_smithy_types::body::SdkBody;
use http_body_util::{BodyExt, Limited};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use podiam_iam::{Partition, RoleArn};
use thiserror::Error;

use super::xml;
use crate::clock::Clock;
use crate::telemetry::Chain;

/// One call, whole.
const TIME_LIMIT: Duration = Duration::from_secs(8);
/// Attempts where AWS asks for fewer calls, each after twice the wait of the one before.
const ATTEMPTS: u32 = 4;
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// The largest answer that is read: a hundred instances are well below.
const BODY_LIMIT: usize = 4 << 20;
/// The unreserved characters of RFC 3986.
const KEPT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');
/// Instances per `DescribeInstances`.
const INSTANCES: usize = 100;

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(in crate::doctor) enum QueryError {
    /// The caller may not ask this.
    #[error("{action} is not allowed: {message}")]
    Denied {
        action: &'static str,
        message: String,
    },
    /// What was asked about is not there.
    #[error("{action}: there is none: {message}")]
    NotFound {
        action: &'static str,
        message: String,
    },
    /// AWS limits the account's calls, and went on doing so.
    #[error("{action} is throttled: {message}")]
    Throttled {
        action: &'static str,
        message: String,
    },
    /// Any other refusal.
    #[error("{action} is refused with {code}: {message}")]
    Refused {
        action: &'static str,
        code: String,
        message: String,
    },
    /// No answer, or none that can be read.
    #[error("{action} has no answer: {problem}")]
    NoAnswer {
        action: &'static str,
        problem: String,
    },
}

/// A role as `GetRole` tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::doctor) struct Role {
    /// Its ARN, with its path.
    pub(in crate::doctor) arn: RoleArn,
    /// `MaxSessionDuration`.
    pub(in crate::doctor) longest: Duration,
    /// `AssumeRolePolicyDocument`, as JSON.
    pub(in crate::doctor) trust: String,
}

/// What `SimulatePrincipalPolicy` says of an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::doctor) enum Decision {
    /// Some statement allows it and none denies it.
    Allowed,
    /// No statement allows it.
    ImplicitDeny,
    /// A statement denies it.
    ExplicitDeny,
}

/// An instance's metadata service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::doctor) struct InstanceMetadata {
    /// The instance's ID.
    pub(in crate::doctor) instance: String,
    /// `httpPutResponseHopLimit`.
    pub(in crate::doctor) hop_limit: u8,
    /// `httpTokens`: `required` or `optional`.
    pub(in crate::doctor) tokens: String,
}

#[derive(Clone, Copy)]
struct Service {
    name: &'static str,
    version: &'static str,
}

const IAM: Service = Service {
    name: "iam",
    version: "2010-05-08",
};
const EC2: Service = Service {
    name: "ec2",
    version: "2016-11-15",
};

/// A client for both.
pub(in crate::doctor) struct Query {
    connector: Connector,
    credentials: Credentials,
    region: String,
    endpoints: [Option<String>; 2],
    clock: Clock,
}

impl Query {
    /// A client with the SDK's credentials. The error says why there are none.
    pub(in crate::doctor) async fn new(config: &SdkConfig, clock: Clock) -> Result<Self, String> {
        let provider = config.credentials_provider();
        let provider = provider.ok_or("the SDK has no source of credentials")?;
        let credentials = provider.provide_credentials().await;
        let credentials = credentials.map_err(|error| Chain(&error).to_string())?;
        let connector = Connector::builder()
            .tls_provider(Provider::Rustls(CryptoMode::Ring))
            .build();
        let endpoint = |service: &str| {
            let own = std::env::var(format!("AWS_ENDPOINT_URL_{service}"));
            let own = own.or_else(|_| std::env::var("AWS_ENDPOINT_URL"));
            own.ok().filter(|url| !url.is_empty())
        };
        Ok(Self {
            connector,
            credentials,
            region: config
                .region()
                .map_or_else(String::new, ToString::to_string),
            endpoints: ["IAM", "EC2"].map(endpoint),
            clock,
        })
    }

    /// `iam:GetRole`.
    pub(in crate::doctor) async fn role(
        &self,
        partition: Partition,
        name: &str,
    ) -> Result<Role, QueryError> {
        const ACTION: &str = "iam:GetRole";
        let answer = self
            .call(IAM, partition, ACTION, &[("RoleName", name)])
            .await?;
        read(ACTION, || {
            let arn = xml::text(&answer, "Arn")?.ok_or("no Arn")?;
            let longest = xml::text(&answer, "MaxSessionDuration")?.map(|text| text.parse());
            let trust = xml::text(&answer, "AssumeRolePolicyDocument")?.unwrap_or_default();
            Ok(Role {
                arn: RoleArn::parse(&arn)?,
                // AWS's default.
                longest: Duration::from_secs(longest.transpose()?.unwrap_or(3600)),
                trust: percent_decode_str(&trust).decode_utf8()?.into_owned(),
            })
        })
    }

    /// `iam:SimulatePrincipalPolicy`: what the policies of `principal` say to `sts:AssumeRole` on `role`.
    pub(in crate::doctor) async fn may_assume(
        &self,
        principal: &RoleArn,
        role: &RoleArn,
    ) -> Result<Decision, QueryError> {
        const ACTION: &str = "iam:SimulatePrincipalPolicy";
        let form = [
            ("PolicySourceArn", principal.as_str()),
            ("ActionNames.member.1", "sts:AssumeRole"),
            ("ResourceArns.member.1", role.as_str()),
        ];
        let answer = self.call(IAM, principal.partition(), ACTION, &form).await?;
        read(ACTION, || {
            match xml::text(&answer, "EvalDecision")?.as_deref() {
                Some("allowed") => Ok(Decision::Allowed),
                Some("implicitDeny") => Ok(Decision::ImplicitDeny),
                Some("explicitDeny") => Ok(Decision::ExplicitDeny),
                other => Err(format!("EvalDecision is {other:?}").into()),
            }
        })
    }

    /// `ec2:DescribeInstances`, for the metadata options.
    pub(in crate::doctor) async fn instances(
        &self,
        partition: Partition,
        ids: &[String],
    ) -> Result<Vec<InstanceMetadata>, QueryError> {
        const ACTION: &str = "ec2:DescribeInstances";
        let mut all = Vec::new();
        for ids in ids.chunks(INSTANCES) {
            let keys: Vec<String> = (1..=ids.len())
                .map(|number| format!("InstanceId.{number}"))
                .collect();
            let form: Vec<(&str, &str)> = keys
                .iter()
                .map(String::as_str)
                .zip(ids.iter().map(String::as_str))
                .collect();
            let answer = self.call(EC2, partition, ACTION, &form).await?;
            let found: Vec<InstanceMetadata> = read(ACTION, || {
                let found = xml::texts(&answer, "instanceId")?;
                let limits = xml::texts(&answer, "httpPutResponseHopLimit")?;
                let tokens = xml::texts(&answer, "httpTokens")?;
                if found.len() != limits.len() || found.len() != tokens.len() {
                    return Err("instances without metadataOptions".into());
                }
                let rows = found.into_iter().zip(limits).zip(tokens);
                rows.map(|((instance, limit), tokens)| {
                    Ok(InstanceMetadata {
                        instance,
                        hop_limit: limit.parse()?,
                        tokens,
                    })
                })
                .collect()
            })?;
            all.extend(found);
        }
        Ok(all)
    }

    /// One call, again where AWS asks for fewer.
    async fn call(
        &self,
        service: Service,
        partition: Partition,
        action: &'static str,
        form: &[(&str, &str)],
    ) -> Result<String, QueryError> {
        let mut wait = FIRST_WAIT;
        for _ in 1..ATTEMPTS {
            match self.call_once(service, partition, action, form).await {
                Err(QueryError::Throttled { .. }) => tokio::time::sleep(wait).await,
                answer => return answer,
            }
            wait *= 2;
        }
        self.call_once(service, partition, action, form).await
    }

    async fn call_once(
        &self,
        service: Service,
        partition: Partition,
        action: &'static str,
        form: &[(&str, &str)],
    ) -> Result<String, QueryError> {
        let no_answer = |problem: String| QueryError::NoAnswer { action, problem };
        let request = self
            .request(service, partition, action, form)
            .map_err(|error| no_answer(error.to_string()))?;
        let exchange = async {
            let response = self.connector.call(request).await;
            let response = response.map_err(|error| Chain(&error).to_string())?;
            let status = response.status().as_u16();
            let body = Limited::new(response.into_body(), BODY_LIMIT);
            let body = body.collect().await.map_err(|error| error.to_string())?;
            let text = String::from_utf8(body.to_bytes().to_vec());
            Ok((status, text.map_err(|error| error.to_string())?))
        };
        let (status, text) = tokio::time::timeout(TIME_LIMIT, exchange)
            .await
            .map_err(|_| no_answer(format!("none within {} s", TIME_LIMIT.as_secs())))?
            .map_err(no_answer)?;
        if (200..300).contains(&status) {
            Ok(text)
        } else {
            Err(refusal(action, status, &text))
        }
    }

    fn request(
        &self,
        service: Service,
        partition: Partition,
        action: &'static str,
        form: &[(&str, &str)],
    ) -> Result<Request<SdkBody>, Box<dyn std::error::Error + Send + Sync>> {
        let name = action.rsplit(':').next().unwrap_or(action);
        let fixed = [("Action", name), ("Version", service.version)];
        let pairs = fixed.iter().chain(form);
        let encoded = |text| utf8_percent_encode(text, KEPT);
        let body: Vec<String> = pairs
            .map(|(key, value)| format!("{}={}", encoded(*key), encoded(*value)))
            .collect();
        let body = body.join("&");
        let (url, region) = self.endpoint(service, partition);
        let content_type = (
            "content-type",
            "application/x-www-form-urlencoded; charset=utf-8",
        );
        let identity = self.credentials.clone().into();
        let parameters = v4::SigningParams::builder()
            .identity(&identity)
            .region(&region)
            .name(service.name)
            .time(self.clock.now().into())
            .settings(SigningSettings::default())
            .build()?
            .into();
        let signable = SignableRequest::new(
            "POST",
            &url,
            std::iter::once(content_type),
            SignableBody::Bytes(body.as_bytes()),
        )?;
        let (instructions, _) = sign(signable, &parameters)?.into_parts();
        let mut request = hyper::Request::post(&url)
            .header(content_type.0, content_type.1)
            .body(SdkBody::from(body))?;
        instructions.apply_to_request_http1x(&mut request);
        Ok(request.try_into()?)
    }

    /// Where a service is, and the region that its signature names.
    /// As in the endpoint rule sets of the SDKs (botocore's `data/iam` and `data/ec2`).
    fn endpoint(&self, service: Service, partition: Partition) -> (String, String) {
        let own = &self.endpoints[usize::from(service.name == EC2.name)];
        let (iam, iam_region, suffix) = match partition {
            Partition::Aws => ("iam.amazonaws.com", "us-east-1", "amazonaws.com"),
            Partition::AwsCn => (
                "iam.cn-north-1.amazonaws.com.cn",
                "cn-north-1",
                "amazonaws.com.cn",
            ),
            Partition::AwsUsGov => ("iam.us-gov.amazonaws.com", "us-gov-west-1", "amazonaws.com"),
            Partition::AwsIso => (
                "iam.us-iso-east-1.c2s.ic.gov",
                "us-iso-east-1",
                "c2s.ic.gov",
            ),
            Partition::AwsIsoB => (
                "iam.us-isob-east-1.sc2s.sgov.gov",
                "us-isob-east-1",
                "sc2s.sgov.gov",
            ),
            Partition::AwsIsoE => (
                "iam.eu-isoe-west-1.cloud.adc-e.uk",
                "eu-isoe-west-1",
                "cloud.adc-e.uk",
            ),
            Partition::AwsIsoF => (
                "iam.us-isof-south-1.csp.hci.ic.gov",
                "us-isof-south-1",
                "csp.hci.ic.gov",
            ),
            Partition::AwsEusc => (
                "iam.eusc-de-east-1.amazonaws.eu",
                "eusc-de-east-1",
                "amazonaws.eu",
            ),
        };
        let (host, region) = if service.name == IAM.name {
            (iam.to_owned(), iam_region.to_owned())
        } else {
            let region = &self.region;
            (format!("ec2.{region}.{suffix}"), region.clone())
        };
        let url = own.as_deref().map_or_else(
            || format!("https://{host}/"),
            |own| format!("{}/", own.trim_end_matches('/')),
        );
        (url, region)
    }
}

/// Reads an answer that was a success.
fn read<T>(
    action: &'static str,
    read: impl FnOnce() -> Result<T, Box<dyn std::error::Error + Send + Sync>>,
) -> Result<T, QueryError> {
    read().map_err(|error| QueryError::NoAnswer {
        action,
        problem: format!("the answer cannot be read: {error}"),
    })
}

/// Sorts a refusal: by AWS's code where there is one, else by the status.
fn refusal(action: &'static str, status: u16, body: &str) -> QueryError {
    let text = |name| xml::text(body, name).ok().flatten();
    let code = text("Code").unwrap_or_else(|| format!("status {status}"));
    let message = text("Message").unwrap_or_default();
    let message = message.split_whitespace().collect::<Vec<_>>().join(" ");
    match code.as_str() {
        "AccessDenied"
        | "AccessDeniedException"
        | "UnauthorizedOperation"
        | "AuthFailure"
        | "InvalidClientTokenId" => QueryError::Denied { action, message },
        "NoSuchEntity" | "InvalidInstanceID.NotFound" => QueryError::NotFound { action, message },
        "Throttling"
        | "ThrottlingException"
        | "RequestLimitExceeded"
        | "TooManyRequestsException" => QueryError::Throttled { action, message },
        _ => QueryError::Refused {
            action,
            code,
            message,
        },
    }
}
