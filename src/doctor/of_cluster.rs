//! The checks of the cluster, one after the other.

use super::ask::cluster::is_in_cluster;
use super::check::Check;
use super::finding::Finding;
use super::{Doctor, judge};

impl Doctor<'_> {
    pub(super) async fn of_cluster(&mut self) {
        let (namespace, selector) = (&self.options.namespace, &self.options.selector);
        let place = format!("namespace {namespace} has the labels {selector}");
        let pods = || self.cluster.agents.as_deref().map_err(Clone::clone);
        let config = self.cluster.config();
        let namespaces = self.cluster.survey.as_ref();
        let namespaces = namespaces.map(|survey| &survey.namespaces[..]);
        let findings = [
            judge::agents::judge(pods(), config.clone().map(drop), &place),
            judge::versions::judge(pods(), env!("CARGO_PKG_VERSION")),
            judge::guards::judge(
                config.map(|config| &config.roles),
                namespaces.map_err(Clone::clone),
            ),
        ];
        for finding in findings {
            self.found(finding);
        }
        if self.wants(Check::Rbac) {
            self.progress.asks("the API server for the agent's rights");
            let finding = self.rbac().await;
            self.found(finding);
        }
    }

    async fn rbac(&self) -> Finding {
        let config = match self.cluster.config() {
            Ok(config) => config,
            Err(why) => return Finding::cannot_tell(Check::Rbac, why, "see agents"),
        };
        let wanted = judge::rbac::wanted(config);
        let rights = match (&self.cluster.cluster, &self.cluster.agent) {
            (Ok(cluster), Some(agent)) => {
                let is_self = is_in_cluster() && self.options.access.kubeconfig.is_none();
                let (namespace, account) = (&self.options.namespace, &agent.service_account);
                cluster
                    .rights(namespace, account, &wanted, is_self)
                    .await
                    .map_err(|error| error.to_string())
            }
            (Err(why), _) => Err(why.clone()),
            (Ok(_), None) => {
                Err("there is no agent whose service account could be asked".to_owned())
            }
        };
        judge::rbac::judge(&wanted, rights)
    }
}
