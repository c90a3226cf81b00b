//! The checks of this node, one after the other; elsewhere none of them can tell.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;

use podiam_intercept::Mode;

use super::ask::node;
use super::check::{Check, Group};
use super::finding::Finding;
use super::{Doctor, Place, judge};
use crate::config::Config;
use crate::workload::Workload;

impl Doctor<'_> {
    pub(super) async fn of_node(&mut self) {
        if self.options.place == Place::Elsewhere {
            let elsewhere = self.options.checks.iter().copied();
            for check in elsewhere.filter(|check| check.group() == Group::Node) {
                let why = "this is not a node";
                let fix = "run on each node: kubectl exec into its agent's pod, `podiam doctor`";
                self.found(Finding::cannot_tell(check, why, fix));
            }
            return;
        }
        self.progress.asks("this node");
        let config = self.cluster.config.clone();
        if self.wants(Check::ImdsTokens) {
            let address = config.as_ref().ok().map(|it| it.metadata.address.clone());
            let address = address.unwrap_or_else(|| podiam_intercept::METADATA_V4.to_string());
            let answer = node::without_token(&address).await;
            self.found(judge::tokens::judge(answer));
        }
        let mode = config.as_ref().map(|config| config.interception.mode);
        let mode: Result<Mode, String> = mode.map_err(Clone::clone);
        if self.wants(Check::Kernel) {
            let finding = match tokio::task::spawn_blocking(node::kernel).await {
                Ok(kernel) => judge::kernel::judge(&kernel, mode.clone()),
                Err(error) => Finding::cannot_tell(Check::Kernel, error.to_string(), "try again"),
            };
            self.found(finding);
        }
        if self.wants(Check::Dataplane) {
            let seen = node::dataplane().await;
            let config = config.as_ref().map_err(Clone::clone);
            let config = config.map(|config| {
                let interception = &config.interception;
                (interception.mode, &interception.interfaces)
            });
            self.found(judge::dataplane::judge(seen, config));
        }
        if self.wants(Check::Interception) {
            let finding = self.interception(config.as_ref().ok(), mode).await;
            self.found(finding);
        }
    }

    async fn interception(&self, config: Option<&Config>, mode: Result<Mode, String>) -> Finding {
        let pods = self.cluster.survey.as_ref().map(|survey| {
            let live = survey.pods.iter().filter(|pod| pod.is_live());
            live.flat_map(Workload::owned_addresses).collect()
        });
        let pods: HashSet<IpAddr> = pods.unwrap_or_default();
        // Where no flags are known the rules of the usual mode are looked at.
        let mode = mode.unwrap_or(Mode::Nftables);
        let asked = tokio::task::spawn_blocking(move || {
            let is_pod = Arc::new(move |address| pods.contains(&address));
            (node::rules(mode), node::ask_as_pods(is_pod))
        });
        match asked.await {
            Ok((rules, tested)) => {
                let wanted = config.map(|config| config.listen.pods);
                let wanted = wanted.filter(|address| !address.ip().is_unspecified());
                judge::interception::judge(rules, wanted, tested)
            }
            Err(error) => Finding::cannot_tell(Check::Interception, error.to_string(), "try again"),
        }
    }
}
