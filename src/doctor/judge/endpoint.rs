//! `sts-endpoint`: the region is known, and STS answers there.

use std::time::Duration;

use crate::doctor::check::Check;
use crate::doctor::finding::Finding;
use crate::sts::StsError;

const CHECK: Check = Check::StsEndpoint;
/// An answer that takes longer leaves a pod's first request (400 ms) without one.
const SLOW: Duration = Duration::from_millis(400);
/// The endpoint that all regions share. <https://docs.aws.amazon.com/IAM/latest/UserGuide/id_credentials_temp_region-endpoints.html>
const GLOBAL: &str = "https://sts.amazonaws.com";

/// What was sent where, and how long the answer took.
pub(in crate::doctor) struct Seen {
    pub(in crate::doctor) region: String,
    pub(in crate::doctor) endpoint: Option<String>,
    pub(in crate::doctor) took: Option<Duration>,
    /// Why there is no answer, where there is none.
    pub(in crate::doctor) error: Option<StsError>,
}

/// The error is that of a configuration without a region.
pub(in crate::doctor) fn judge(seen: Result<Seen, StsError>) -> Finding {
    let seen = match seen {
        Ok(seen) => seen,
        Err(error) => {
            return Finding::wrong(
                CHECK,
                error.to_string(),
                "give the agent --aws-region, or AWS_REGION in its environment",
            );
        }
    };
    let Some(endpoint) = &seen.endpoint else {
        let why = seen
            .error
            .map_or_else(String::new, |error| error.to_string());
        return Finding::cannot_tell(
            CHECK,
            format!("nothing was sent to STS: {why}"),
            "see node-identity",
        );
    };
    let region = &seen.region;
    let Some(took) = seen.took else {
        let why = seen
            .error
            .map_or_else(String::new, |error| error.to_string());
        return Finding::wrong(
            CHECK,
            format!("{endpoint} (region {region}) does not answer: {why}"),
            "let the node reach it: a route or a VPC endpoint for STS, security groups, DNS, root certificates",
        );
    };
    let told = format!(
        "{endpoint} (region {region}) answers in {} ms",
        took.as_millis()
    );
    if endpoint == GLOBAL {
        return Finding::warning(
            CHECK,
            format!(
                "{told}; it is the endpoint of all regions, whose tokens opt-in regions refuse"
            ),
            "set AWS_STS_REGIONAL_ENDPOINTS=regional, or the region to the node's own",
        );
    }
    if endpoint.starts_with("http:") {
        return Finding::warning(
            CHECK,
            format!("{told}, without TLS"),
            "take the http:// endpoint out of AWS_ENDPOINT_URL and AWS_ENDPOINT_URL_STS",
        );
    }
    if took > SLOW {
        return Finding::warning(
            CHECK,
            format!("{told}: longer than a pod's first request is held"),
            "use the region's own endpoint, or a VPC endpoint for STS",
        );
    }
    Finding::ok(CHECK, told)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Verdict;

    #[allow(clippy::unnecessary_wraps, reason = "what is judged is a result")]
    fn seen(endpoint: &str, took: Option<u64>) -> Result<Seen, StsError> {
        Ok(Seen {
            region: "eu-central-1".into(),
            endpoint: Some(endpoint.into()),
            took: took.map(Duration::from_millis),
            error: Some(StsError::transient("Timeout", "none", "a route")),
        })
    }

    #[test]
    fn a_regions_endpoint_that_answers_soon_is_right_and_nothing_else() {
        let regional = "https://sts.eu-central-1.amazonaws.com";
        let cases = [
            (seen(regional, Some(40)), Verdict::Ok, "in 40 ms"),
            (seen(regional, Some(401)), Verdict::Warning, "longer"),
            (seen(regional, None), Verdict::Wrong, "Timeout"),
            (seen(GLOBAL, Some(40)), Verdict::Warning, "opt-in"),
            (
                seen("http://sts.local", Some(40)),
                Verdict::Warning,
                "without TLS",
            ),
            (
                Err(StsError::transient("NoRegion", "not known", "no flag")),
                Verdict::Wrong,
                "NoRegion",
            ),
        ];
        for (seen, verdict, words) in cases {
            let finding = judge(seen);
            assert_eq!(finding.verdict, verdict, "{finding:?}");
            assert!(finding.evidence[0].contains(words), "{finding:?}");
        }
    }
}
