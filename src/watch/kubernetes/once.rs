//! Everything that the agent would watch, listed once: for who looks and does not follow.

use kube::api::ListParams;
use kube::{Api, Client, Error};

use super::{Followed, Namespace, PAGE_SIZE, Pod, ServiceAccount};
use crate::watch::Survey;
use crate::workload::AnnotationKeys;

/// All pods, namespaces and, where the keys need them, service accounts; objects that cannot be read are left out.
pub(in crate::watch) async fn survey(
    client: &Client,
    keys: &AnnotationKeys,
) -> Result<Survey, Error> {
    Ok(Survey {
        pods: all::<Pod>(client, keys).await?,
        namespaces: all::<Namespace>(client, keys).await?,
        accounts: if keys.reads_service_accounts() {
            all::<ServiceAccount>(client, keys).await?
        } else {
            Vec::new()
        },
    })
}

/// One kind, page by page.
async fn all<K: Followed>(client: &Client, keys: &AnnotationKeys) -> Result<Vec<K::Lean>, Error> {
    let api = Api::<K>::all(client.clone());
    let mut parameters = ListParams::default().limit(PAGE_SIZE);
    let mut found = Vec::new();
    loop {
        let page = api.list(&parameters).await?;
        let lean = page.items.into_iter().map(|object| object.into_lean(keys));
        found.extend(lean.filter_map(Result::ok));
        match page.metadata.continue_ {
            Some(token) if !token.is_empty() => parameters.continue_token = Some(token),
            _ => return Ok(found),
        }
    }
}
