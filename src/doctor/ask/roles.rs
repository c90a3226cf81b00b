//! Dry runs of `AssumeRole`: exactly what the agent would send, but for the shortest session that there is; the
//! credentials are dropped at once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;

use crate::authorize::Grant;
use crate::sts::{AssumeRole, Kind, StsError};

/// The shortest session that STS makes.
const SHORTEST: Duration = Duration::from_mins(15);
/// Calls under way at once.
const CONCURRENCY: usize = 4;
/// Attempts where STS asks for fewer calls or has a problem of its own, each after twice the wait of the one before.
const ATTEMPTS: u32 = 4;
const FIRST_WAIT: Duration = Duration::from_millis(500);

/// A role and what came of asking for it.
#[derive(Debug)]
pub(in crate::doctor) struct Attempt {
    /// What the agent would ask for.
    pub(in crate::doctor) grant: Arc<Grant>,
    /// Whether STS gave it.
    pub(in crate::doctor) outcome: Result<(), StsError>,
}

/// One grant for each role, external ID, and set of tags' keys: what differs only in the pod says nothing new about the
/// role.
pub(in crate::doctor) fn distinct(grants: impl IntoIterator<Item = Arc<Grant>>) -> Vec<Arc<Grant>> {
    let mut found = BTreeMap::new();
    for grant in grants {
        let tags = grant.attributes.tags().iter();
        let key = (
            grant.role.clone(),
            grant.external_id.as_ref().map(|id| id.as_str().to_owned()),
            tags.map(|tag| tag.key().to_owned()).collect::<Vec<_>>(),
            grant.attributes.source_identity().is_some(),
        );
        found.entry(key).or_insert(grant);
    }
    found.into_values().collect()
}

/// Asks for each; `done` hears of each end.
pub(in crate::doctor) async fn try_all(
    sts: &dyn AssumeRole,
    grants: Vec<Arc<Grant>>,
    done: &(dyn Fn() + Sync),
) -> Vec<Attempt> {
    let attempts = grants.into_iter().map(|grant| async move {
        let outcome = try_one(sts, &grant).await;
        done();
        Attempt { grant, outcome }
    });
    futures::stream::iter(attempts)
        .buffered(CONCURRENCY)
        .collect()
        .await
}

/// Asks for one.
pub(in crate::doctor) async fn try_one(
    sts: &dyn AssumeRole,
    grant: &Grant,
) -> Result<(), StsError> {
    let short = Grant {
        duration: SHORTEST,
        ..grant.clone()
    };
    let mut wait = FIRST_WAIT;
    let mut attempts = 1;
    loop {
        match sts.assume(&short).await {
            Ok(_) => return Ok(()),
            Err(error) if error.kind == Kind::Final || attempts == ATTEMPTS => return Err(error),
            Err(_) => tokio::time::sleep(wait).await,
        }
        attempts += 1;
        wait *= 2;
    }
}
