//! An AWS that answers each call as a function of its form says, and remembers what it was asked.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use percent_encoding::percent_decode_str;
use tokio::net::TcpListener;

/// A call's form.
pub(crate) type Form = BTreeMap<String, String>;

/// What it answers.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    status: u16,
    body: String,
    date: Option<String>,
}

/// A success.
pub(crate) fn ok(body: impl Into<String>) -> Answer {
    Answer {
        status: 200,
        body: body.into(),
        date: None,
    }
}

/// A refusal in the shape of the query protocol.
pub(crate) fn refused(code: &str, message: &str) -> Answer {
    Answer {
        status: if code == "Throttling" { 400 } else { 403 },
        body: format!(
            "<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>\
             <RequestId>r</RequestId></ErrorResponse>"
        ),
        date: None,
    }
}

impl Answer {
    /// At another time than now.
    pub(crate) fn dated(mut self, date: &str) -> Self {
        self.date = Some(date.to_owned());
        self
    }
}

/// Who the caller is.
pub(crate) fn caller(arn: &str) -> Answer {
    ok(format!(
        "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><GetCallerIdentityResult>\
         <Arn>{arn}</Arn><UserId>A</UserId><Account>123456789012</Account></GetCallerIdentityResult>\
         </GetCallerIdentityResponse>"
    ))
}

/// A session.
pub(crate) fn session() -> Answer {
    ok(
        "<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleResult><Credentials>\
        <AccessKeyId>ASIAEXAMPLE</AccessKeyId><SecretAccessKey>canary-secret</SecretAccessKey>\
        <SessionToken>canary-token</SessionToken><Expiration>2040-01-01T00:00:00Z</Expiration></Credentials>\
        </AssumeRoleResult></AssumeRoleResponse>",
    )
}

/// A role as `GetRole` tells it.
pub(crate) fn role(arn: &str, longest: u32, trust: &str) -> Answer {
    let trust = percent_encoding::utf8_percent_encode(trust, percent_encoding::NON_ALPHANUMERIC);
    ok(format!(
        "<GetRoleResponse xmlns=\"https://iam.amazonaws.com/doc/2010-05-08/\"><GetRoleResult><Role><Arn>{arn}</Arn>\
         <AssumeRolePolicyDocument>{trust}</AssumeRolePolicyDocument>\
         <MaxSessionDuration>{longest}</MaxSessionDuration></Role></GetRoleResult></GetRoleResponse>"
    ))
}

/// What `SimulatePrincipalPolicy` decides.
pub(crate) fn simulated(decision: &str) -> Answer {
    ok(format!(
        "<SimulatePrincipalPolicyResponse><SimulatePrincipalPolicyResult><EvaluationResults><member>\
         <EvalActionName>sts:AssumeRole</EvalActionName><EvalDecision>{decision}</EvalDecision></member>\
         </EvaluationResults></SimulatePrincipalPolicyResult></SimulatePrincipalPolicyResponse>"
    ))
}

/// An instance with this hop limit.
pub(crate) fn instance(id: &str, hop_limit: u8) -> Answer {
    ok(format!(
        "<DescribeInstancesResponse><reservationSet><item><instancesSet><item><instanceId>{id}</instanceId>\
         <metadataOptions><httpTokens>required</httpTokens>\
         <httpPutResponseHopLimit>{hop_limit}</httpPutResponseHopLimit></metadataOptions></item></instancesSet></item>\
         </reservationSet></DescribeInstancesResponse>"
    ))
}

/// The server. It runs until the test's runtime ends.
pub(crate) struct Aws {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Form>>>,
}

impl Aws {
    pub(crate) async fn start(answer: impl Fn(&Form) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked: Arc<Mutex<Vec<Form>>> = Arc::default();
        let (log, answer) = (Arc::clone(&asked), Arc::new(answer));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (log, answer) = (Arc::clone(&log), Arc::clone(&answer));
                let service = service_fn(move |request: Request<hyper::body::Incoming>| {
                    let (log, answer) = (Arc::clone(&log), Arc::clone(&answer));
                    async move {
                        let body = request.into_body().collect().await.unwrap().to_bytes();
                        let form = read(std::str::from_utf8(&body).unwrap());
                        let answer = answer(&form);
                        log.lock().unwrap().push(form);
                        let mut response = Response::builder().status(answer.status);
                        if let Some(date) = &answer.date {
                            response = response.header("date", date);
                        }
                        let body = Full::new(Bytes::from(answer.body));
                        Ok::<_, Infallible>(response.body(body).unwrap())
                    }
                });
                let connection = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service);
                tokio::spawn(connection);
            }
        });
        Self { address, asked }
    }

    /// What `AWS_ENDPOINT_URL` is set to.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Every call so far.
    pub(crate) fn asked(&self) -> Vec<Form> {
        self.asked.lock().unwrap().clone()
    }
}

fn read(body: &str) -> Form {
    let decode = |text: &str| {
        let text = text.replace('+', " ");
        percent_decode_str(&text)
            .decode_utf8()
            .unwrap()
            .into_owned()
    };
    let pairs = body.split('&').filter_map(|pair| pair.split_once('='));
    pairs
        .map(|(key, value)| (decode(key), decode(value)))
        .collect()
}
