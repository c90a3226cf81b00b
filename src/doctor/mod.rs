//! `podiam doctor`: looks at everything that must be right, from AWS, the cluster and the node, and says of each thing
//! whether it is, by what it was seen, and what to do. `commands::doctor` calls it.
//!
//! `facts` asks once what several checks need, `ask` are the questions, `judge` what the answers mean (pure, a file for
//! each check). It changes nothing anywhere: of AWS it asks reads and sessions that it drops, of the cluster reads and
//! reviews, of the node reads. No secret is in what it says.

mod agents;
mod ask;
mod check;
mod facts;
mod finding;
mod identity;
mod judge;

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use podiam_iam::{RoleArn, SessionName};
use podiam_intercept::Mode;
use ring::rand::{SecureRandom, SystemRandom};

use crate::authorize::{Attributes, Grant};
use crate::clock::Clock;
use crate::config::{Config, Discoverable};
use crate::sts::Sts;
use ask::cluster::is_in_cluster;
use ask::{node, roles};
use facts::{AwsFacts, ClusterFacts, Grants};
use judge::assumable::Known;

pub use ask::cluster::Access;
pub use check::{Check, Group, Selection, UnknownCheck};
pub use finding::{Finding, Report, Verdict};

/// Where the doctor runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// On a node, on its own network: in an agent's pod, say.
    Node,
    /// On somebody's machine.
    Elsewhere,
}

impl Place {
    /// In a pod with a service account it is a node; the agent's pods are on the node's network.
    pub fn detect() -> Self {
        if is_in_cluster() {
            Self::Node
        } else {
            Self::Elsewhere
        }
    }
}

/// What to look at, and from where.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where this is.
    pub place: Place,
    /// The cluster.
    pub access: Access,
    /// The agents' namespace.
    pub namespace: String,
    /// The labels of the agents' pods, as a selector.
    pub selector: String,
    /// The agent's configuration. `None`: that of the agents found.
    pub agent: Option<Config>,
    /// The profile of the shared AWS files.
    pub profile: Option<String>,
    /// The region of the STS endpoint. `None`: the agent's, else the SDK's.
    pub region: Option<String>,
    /// The nodes' role. `None`: that of the caller, if it is an instance's.
    pub node_role: Option<RoleArn>,
    /// Which checks.
    pub checks: Vec<Check>,
}

/// Reads an agent's flags, to be put into [`Options::agent`]. The error lists what is wrong with them.
pub fn agent_flags(words: Vec<String>) -> Result<Config, String> {
    facts::given(words)
}

/// Hears how far it is.
pub trait Progress: Sync {
    /// This is asked now.
    fn asks(&self, what: &str);
    /// One more check has ended.
    fn ended(&self, check: Check);
}

/// Makes the checks.
pub async fn examine(options: &Options, clock: &Clock, progress: &dyn Progress) -> Report {
    progress.asks("the cluster and its agents");
    let wants_cluster = options.checks.iter().any(|check| needs_cluster(*check));
    let cluster = if wants_cluster {
        ClusterFacts::ask(options).await
    } else {
        ClusterFacts::unasked(options)
    };
    let mut doctor = Doctor {
        options,
        clock,
        progress,
        cluster,
        findings: Vec::new(),
    };
    if doctor.wants_any(Group::Aws) {
        doctor.aws().await;
    }
    doctor.of_cluster().await;
    if doctor.wants_any(Group::Node) {
        doctor.node().await;
    }
    Report::new(doctor.findings)
}

/// Whether a check needs the agent's configuration or the API server.
fn needs_cluster(check: Check) -> bool {
    !matches!(check, Check::NodeIdentity | Check::ImdsTokens)
}

struct Doctor<'a> {
    options: &'a Options,
    clock: &'a Clock,
    progress: &'a dyn Progress,
    cluster: ClusterFacts,
    findings: Vec<Finding>,
}

impl Doctor<'_> {
    fn wants(&self, check: Check) -> bool {
        self.options.checks.contains(&check)
    }

    fn wants_any(&self, group: Group) -> bool {
        self.options.checks.iter().any(|it| it.group() == group)
    }

    fn found(&mut self, finding: Finding) {
        if self.wants(finding.check) {
            self.progress.ended(finding.check);
            self.findings.push(finding);
        }
    }

    async fn aws(&mut self) {
        self.progress.asks("STS");
        let aws = AwsFacts::ask(self.options, &self.cluster, self.clock).await;
        self.found(judge::endpoint::judge(endpoint(&aws)));
        let unasked = aws.sdk.as_ref().err();
        let refused = aws.exchange.as_ref().and_then(|it| it.arn.as_ref().err());
        let fault = crate::sts::StsError::malformed("the answer is no caller's ARN");
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
    async fn instances(&self, aws: &AwsFacts) -> Result<Vec<ask::query::InstanceMetadata>, String> {
        let caller = aws.caller.as_ref();
        let own = caller.and_then(|caller| match &caller.kind {
            identity::Kind::Session { session, .. } if caller.is_instance() => {
                Some(vec![session.clone()])
            }
            _ => None,
        });
        let ids = match own {
            Some(own) => own,
            None => {
                let cluster = self.cluster.cluster.as_ref().map_err(Clone::clone)?;
                cluster
                    .instances()
                    .await
                    .map_err(|error| error.to_string())?
            }
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
        judge(Seen {
            attempts,
            refused,
            known,
            node_role,
        })
    }

    async fn of_cluster(&mut self) {
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

    async fn node(&mut self) {
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
            live.flat_map(|pod| pod.owned_addresses()).collect()
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

fn endpoint(aws: &AwsFacts) -> Result<judge::endpoint::Seen, crate::sts::StsError> {
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
    let mut bytes = [0; 6];
    SystemRandom::new().fill(&mut bytes).ok()?;
    let random: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let account = aws.base()?;
    let pods = config.and_then(|config| match &config.roles.base {
        Discoverable::Given(base) => Some(base.clone()),
        _ => None,
    });
    let candidates = ["podiam-doctor", "nobodys"].into_iter().filter_map(|path| {
        let name = format!("{path}/outside-{random}");
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
        duration: Duration::from_secs(900),
        attributes: Attributes::default(),
    })
}
