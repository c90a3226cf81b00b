//! /explain?namespace=N&pod=P: all that decides about one pod, as JSON (docs/explain.md). What AWS said is in it, so
//! `admin` serves it to the node itself alone.

use hyper::StatusCode;
use serde_json::json;

use super::{Admin, Reply, document};
use crate::explain::{NoPod, Sources, Teller, Wanted};

/// Where it is.
pub(super) const PATH: &str = "/explain";

impl Admin {
    /// 200 with the explanation; else `{"error": …}` with 400 for a bad question, 404 where no such pod is known, 409
    /// where several are, 503 where the agent knows no pods yet.
    pub(super) fn explain(&self, query: Option<&str>) -> Reply {
        let (namespace, pod) = match parse(query.unwrap_or_default()) {
            Ok(wanted) => wanted,
            Err(problem) => return refuse(StatusCode::BAD_REQUEST, &problem),
        };
        let Some(imds) = self.imds.get() else {
            return refuse(
                StatusCode::SERVICE_UNAVAILABLE,
                "the agent has just started and knows no pods yet",
            );
        };
        let sources = Sources {
            teller: Teller::Agent,
            snapshot: &imds.pods.snapshot(),
            policy: &imds.policy,
            node: &imds.node,
            imdsv2: imds.imdsv2,
            credentials: Some(&imds.credentials),
            now: imds.clock.now(),
        };
        let wanted = Wanted { namespace, pod };
        match sources.explain(wanted) {
            Ok(explanation) => match serde_json::to_vec(&explanation) {
                Ok(body) => document(StatusCode::OK, "application/json", body),
                Err(error) => refuse(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
            },
            Err(unknown @ NoPod::Unknown { .. }) => {
                refuse(StatusCode::NOT_FOUND, &unknown.to_string())
            }
            Err(ambiguous @ NoPod::Ambiguous { .. }) => {
                refuse(StatusCode::CONFLICT, &ambiguous.to_string())
            }
        }
    }
}

fn refuse(status: StatusCode, problem: &str) -> Reply {
    let body = json!({ "error": problem }).to_string();
    document(status, "application/json", body)
}

/// Namespace and name. No name of Kubernetes needs escaping in a query, so nothing is unescaped.
fn parse(query: &str) -> Result<(Option<&str>, &str), String> {
    let (mut namespace, mut pod) = (None, None);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=') {
            Some(("namespace", value)) => namespace = Some(value),
            Some(("pod", value)) => pod = Some(value),
            _ => return Err(format!("{pair:?} is neither namespace=NAME nor pod=NAME")),
        }
    }
    let pod = pod
        .filter(|pod| !pod.is_empty())
        .ok_or("pod=NAME is missing: /explain?namespace=NAME&pod=NAME")?;
    let namespace = namespace.filter(|namespace| !namespace.is_empty());
    Ok((namespace, pod))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_names_a_pod_and_may_name_its_namespace() {
        let parsed = |query| {
            parse(query).map(|(namespace, pod)| (namespace.map(str::to_owned), pod.to_owned()))
        };
        let both = (Some("team".to_owned()), "web-0".to_owned());
        assert_eq!(parsed("namespace=team&pod=web-0"), Ok(both.clone()));
        assert_eq!(parsed("pod=web-0&namespace=team"), Ok(both));
        assert_eq!(
            parsed("pod=web-0&namespace="),
            Ok((None, "web-0".to_owned()))
        );
        for bad in ["", "namespace=team", "pod=", "pod", "name=web-0&pod=web-0"] {
            assert!(parsed(bad).is_err(), "{bad}");
        }
    }
}
