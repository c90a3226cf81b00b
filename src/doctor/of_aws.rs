//! The checks of AWS, one after the other: asks what each needs and has it judged.

use std::time::Duration;

use podiam_iam::{RoleArn, SessionName};
use ring::rand::{SecureRandom, SystemRandom};

use super::ask::query::InstanceMetadata;
use super::ask::roles;
use super::check::Check;
use super::facts::{AwsFacts, Grants};
use super::finding::Finding;
use super::judge::assumable::Known;
use super::{Doctor, Place, judge};
use crate::authorize::{Attributes, Grant};
use crate::config::{Config, Discoverable};
use crate::sts::{CallerKind, Sts, StsError};

impl Doctor<'_> {
    pub(super) async fn of_aws(&mut self) {
        self.progress.asks("STS");
        let aws = AwsFacts::ask(self.options, &self.cluster, self.clock).await;
        self.found(judge::endpoint::judge(endpoint(&aws)));
        let unasked = aws.sdk.as_ref().err();
        let refused = aws.exchange.as_ref().and_then(|it| it.arn.as_ref().err());
        let fault = StsError::malformed("the answer is no caller's ARN");
        self.found(judge::caller::judge(&judge::caller::Seen {
            caller: aws
                .caller
                .as_ref()
                .ok_or_else(|| refused.or(unasked).unwrap_or(&fault)),
            node_role: aws.node_role.as_ref(),
            on_node: self.options.place == Place::Node,
        }));
        if self.wants(Check::ClockSkew) {
            self.clock_skew(&aws).await;
        }
        if self.wants(Check::ImdsHopLimit) {
            self.progress.asks("the instances' metadata options");
            let instances = self.instances(&aws).await;
            self.found(judge::hop_limit::judge(instances));
        }
        if self.wants(Check::NodePolicy) {
            self.progress.asks("the nodes' policy");
            let finding = self.node_policy(&aws).await;
            self.found(finding);
        }
        self.roles(&aws).await;
    }

    async fn clock_skew(&mut self, aws: &AwsFacts) {
        let silent = || "it did not answer".to_owned();
        let sts = aws
            .exchange
            .as_ref()
            .and_then(|it| it.date)
            .ok_or_else(silent);
        let api = match &self.cluster.cluster {
            Ok(cluster) => match cluster.date(self.clock).await {
                Ok(told) => told.ok_or_else(|| "its answer has no Date".to_owned()),
                Err(error) => Err(error.to_string()),
            },
            Err(why) => Err(why.clone()),
        };
        let finding = judge::skew::judge(&[("STS", sts), ("the API server", api)]);
        self.found(finding);
    }

    /// The metadata options of this node's instance, or of all nodes'.
    async fn instances(&self, aws: &AwsFacts) -> Result<Vec<InstanceMetadata>, String> {
        let caller = aws.caller.as_ref();
        let own = caller.and_then(|caller| match &caller.kind {
            CallerKind::Session { session, .. } if caller.is_instance() => {
                Some(vec![session.clone()])
            }
            _ => None,
        });
        let ids = if let Some(own) = own {
            own
        } else {
            let cluster = self.cluster.cluster.as_ref().map_err(Clone::clone)?;
            cluster
                .instances()
                .await
                .map_err(|error| error.to_string())?
        };
        let query = aws.query.as_ref().map_err(Clone::clone)?;
        let caller = caller.ok_or("the caller is not known")?;
        let found = query.instances(caller.partition, &ids).await;
        found.map_err(|error| error.to_string())
    }

    async fn node_policy(&self, aws: &AwsFacts) -> Finding {
        use judge::node_policy::{Seen, judge};
        let Some(outside) = outside(self.cluster.config().ok(), aws) else {
            let why = "the nodes' account is not known".to_owned();
            return Finding::cannot_tell(Check::NodePolicy, why, "see node-identity");
        };
        let simulated = match (&aws.query, &aws.node_role) {
            (Ok(query), Some(role)) => Some(query.may_assume(role, &outside).await),
            _ => None,
        };
        let seen = match simulated {
            Some(Ok(decision)) => Seen::Simulated(decision),
            refused if aws.is_node() => {
                let sts = Sts::new(aws.settings.clone(), self.clock.clone());
                let outcome = match grant_of(outside.clone()) {
                    Some(grant) => roles::try_one(&sts, &grant).await,
                    None => {
                        return Finding::cannot_tell(Check::NodePolicy, "a fault in podiam", "");
                    }
                };
                Seen::Tried {
                    outcome,
                    simulation: refused.and_then(Result::err),
                }
            }
            Some(Err(error)) => Seen::Unseen(error.to_string()),
            None => Seen::Unseen("the nodes' role is not known".to_owned()),
        };
        judge(&outside, seen)
    }

    async fn roles(&mut self, aws: &AwsFacts) {
        let wanted = [
            Check::RolesAssumable,
            Check::TrustPolicies,
            Check::SessionDuration,
        ];
        if !wanted.into_iter().any(|check| self.wants(check)) {
            return;
        }
        self.progress.asks("the pods' roles");
        let grants = Grants::decide(&self.cluster, aws, self.options.place);
        let known = match &grants {
            Ok(grants) => aws.roles(&grants.roles()).await,
            Err(_) => Known::new(),
        };
        let chained = aws.caller.as_ref().map(|caller| caller.role().is_some());
        let limits = known.iter().map(|(role, answer)| {
            let limit = answer.as_ref().map(|role| role.longest);
            (role.clone(), limit.map_err(ToString::to_string))
        });
        let duration = judge::duration::Seen {
            wanted: self.cluster.config().map(|config| config.sessions.duration),
            is_chained: chained.filter(|_| aws.is_node()),
            limits: limits.collect(),
        };
        self.found(judge::duration::judge(duration));
        let node_role = aws.node_role.as_ref();
        let trust = match (&grants, &aws.query) {
            (Err(why), _) | (_, Err(why)) => {
                Finding::cannot_tell(Check::TrustPolicies, why, "see agents and node-identity")
            }
            _ => judge::trust::judge(&known, node_role),
        };
        self.found(trust);
        if self.wants(Check::RolesAssumable) {
            let finding = self.assumable(aws, grants, &known).await;
            self.found(finding);
        }
    }

    async fn assumable(
        &self,
        aws: &AwsFacts,
        grants: Result<Grants, String>,
        known: &Known,
    ) -> Finding {
        use judge::assumable::{Seen, judge, judge_documents};
        let node_role = aws.node_role.as_ref();
        let (attempts, refused) = match grants {
            Err(why) => (Err(why), Vec::new()),
            Ok(grants) if aws.is_node() => {
                let sts = Sts::new(aws.settings.clone(), self.clock.clone());
                let all = roles::distinct(grants.grants);
                let asks = || self.progress.asks("STS for each role");
                (Ok(roles::try_all(&sts, all, &asks).await), grants.refused)
            }
            Ok(grants) => match (&aws.query, node_role) {
                (Ok(query), Some(node_role)) => {
                    let mut documents = Vec::new();
                    for role in grants.roles() {
                        let decision = query.may_assume(node_role, &role).await;
                        documents.push((role, decision));
                    }
                    let grants = roles::distinct(grants.grants);
                    return judge_documents(&documents, &grants, known, node_role);
                }
                (Err(why), _) => (Err(why.clone()), grants.refused),
                (Ok(_), None) => (
                    Err("the caller is no node, so that trying would say nothing".to_owned()),
                    grants.refused,
                ),
            },
        };
        judge(&Seen {
            attempts,
            refused,
            known,
            node_role,
        })
    }
}

fn endpoint(aws: &AwsFacts) -> Result<judge::endpoint::Seen, StsError> {
    let sdk = aws.sdk.as_ref().map_err(Clone::clone)?;
    let exchange = aws.exchange.as_ref();
    Ok(judge::endpoint::Seen {
        region: sdk.region().map_or_else(String::new, ToString::to_string),
        endpoint: exchange.and_then(|it| it.endpoint.clone()),
        took: exchange.and_then(|it| it.took),
        error: exchange.and_then(|it| it.arn.as_ref().err().cloned()),
    })
}

/// A role of the nodes' account beside the pods' own, of a name that nobody has.
fn outside(config: Option<&Config>, aws: &AwsFacts) -> Option<RoleArn> {
    let mut bytes = [0; 8];
    SystemRandom::new().fill(&mut bytes).ok()?;
    let random = u64::from_be_bytes(bytes);
    let account = aws.base()?;
    let pods = config.and_then(|config| match &config.roles.base {
        Discoverable::Given(base) => Some(base.clone()),
        _ => None,
    });
    let candidates = ["podiam-doctor", "nobodys"].into_iter().filter_map(|path| {
        let name = format!("{path}/outside-{random:016x}");
        account.complete(&name).ok()
    });
    let is_all = pods
        .as_ref()
        .is_none_or(|base| base.as_str() == account.as_str());
    candidates
        .into_iter()
        .find(|role| is_all || pods.as_ref().is_some_and(|base| base.strip(role).is_none()))
}

/// The bare question for a role.
fn grant_of(role: RoleArn) -> Option<Grant> {
    Some(Grant {
        role,
        external_id: None,
        session_name: SessionName::parse("podiam-doctor").ok()?,
        duration: Duration::from_mins(15),
        attributes: Attributes::default(),
    })
}
