//! The lab's own paths on the STS socket, for programs that cannot call the library:
//!
//! - `GET /lab/log`: everything asked so far, a JSON array;
//! - `GET /lab/faults`: the injections in force;
//! - `POST /lab/faults`: `{"service": "sts", "delay_ms": 0, "fault": "throttling", "only": "role/x", "times": 1}`;
//!   faults are `throttling`, `access-denied`, `hang`, `reset`, `garbage`, `{"status": 500}`;
//! - `DELETE /lab/faults`: heals both services.

use hyper::Method;

use super::faults::{Faults, Injection, Service};
use super::journal::Journal;
use super::server::{Outcome, Received};

/// Answers a request below `/lab`; `None` for any other.
pub(super) fn answer(request: &Received, faults: &Faults, journal: &Journal) -> Option<Outcome> {
    let path = request.target.strip_prefix("/lab")?;
    Some(match (&request.method, path) {
        (&Method::GET, "/log") => json(200, &serde_json::json!(journal.snapshot())),
        (&Method::GET, "/faults") => json(200, &faults.to_json()),
        (&Method::POST, "/faults") => match order(&request.body) {
            Ok((service, injection)) => {
                faults.inject(service, injection);
                json(200, &faults.to_json())
            }
            Err(error) => json(400, &serde_json::json!({ "error": error.to_string() })),
        },
        (&Method::DELETE, "/faults") => {
            faults.heal(Service::Imds);
            faults.heal(Service::Sts);
            json(200, &faults.to_json())
        }
        _ => json(
            404,
            &serde_json::json!({ "error": "GET /lab/log, GET|POST|DELETE /lab/faults" }),
        ),
    })
}

/// Reads an order. The service is taken out first: what is left must be an injection and nothing else.
fn order(body: &[u8]) -> serde_json::Result<(Service, Injection)> {
    let mut order: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(body)?;
    let service = serde_json::from_value(order.remove("service").unwrap_or_default())?;
    Ok((service, serde_json::from_value(order.into())?))
}

fn json(status: u16, value: &serde_json::Value) -> Outcome {
    Outcome::answer(status, "application/json", &[], format!("{value}\n"))
}
