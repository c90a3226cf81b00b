//! What several checks need to know, each asked once and only if a wanted check needs it: the agents and their flags, the
//! caller, the nodes' role, and what the agents would grant to the pods there are.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;

use aws_config::SdkConfig;
use futures::StreamExt as _;
use podiam_iam::{BaseArn, RoleArn};

use super::agents::{self, AgentPod};
use super::ask::cluster::Cluster;
use super::ask::query::Query;
use super::ask::sts::{Exchange, who_am_i};
use super::judge::assumable::Known;
use super::judge::caller::is_node;
use super::{Options, Place};
use crate::app::decision_rules;
use crate::authorize::{Ceiling, Grant, Policy};
use crate::clock::Clock;
use crate::config::{Config, Discoverable, Program};
use crate::reason::Reason;
use crate::sts::{self, Caller, Settings, StsError};
use crate::telemetry::Chain;
use crate::watch::{self, Survey};
use crate::workload::Surroundings;

/// `GetRole` calls under way at once.
const CONCURRENCY: usize = 4;
/// The variable by which the chart tells an agent its node.
const NODE_NAME: &str = "NODE_NAME";

/// The Kubernetes side; each error says why it is not known.
pub(super) struct ClusterFacts {
    pub(super) cluster: Result<Cluster, String>,
    pub(super) agents: Result<Vec<AgentPod>, String>,
    /// The agent whose flags these are: this node's, else the first.
    pub(super) agent: Option<AgentPod>,
    pub(super) config: Result<Config, String>,
    pub(super) survey: Result<Survey, String>,
}

impl ClusterFacts {
    /// Asks the cluster, as far as there is one.
    pub(super) async fn ask(options: &Options) -> Self {
        let cluster = Cluster::connect(&options.access).await;
        let cluster = cluster.map_err(|error| error.to_string());
        let agents = match &cluster {
            Ok(cluster) => cluster
                .agents(&options.namespace, &options.selector)
                .await
                .map_err(|error| error.to_string()),
            Err(why) => Err(why.clone()),
        };
        let here = std::env::var(NODE_NAME).ok();
        let agent = agents.as_ref().ok().and_then(|pods| {
            let own = pods.iter().find(|pod| Some(&pod.node) == here.as_ref());
            own.or(pods.first()).cloned()
        });
        let config = match (&options.agent, &agent, &agents) {
            (Some(config), _, _) => Ok(config.clone()),
            (None, Some(pod), _) => pod.config(),
            (None, None, Ok(_)) => Err("there are no agents whose flags could be read".to_owned()),
            (None, None, Err(why)) => Err(why.clone()),
        };
        let survey = match (&cluster, &config) {
            (Ok(cluster), Ok(config)) => watch::survey(cluster.client(), &config.annotations)
                .await
                .map_err(|error| Chain(&error).to_string()),
            (Err(why), _) | (_, Err(why)) => Err(why.clone()),
        };
        Self {
            cluster,
            agents,
            agent,
            config,
            survey,
        }
    }

    /// Nothing is asked: no check needs it.
    pub(super) fn unasked(options: &Options) -> Self {
        let why = "not asked".to_owned();
        Self {
            cluster: Err(why.clone()),
            agents: Err(why.clone()),
            agent: None,
            config: options.agent.clone().ok_or(why.clone()),
            survey: Err(why),
        }
    }

    /// The configuration, or why it is not known.
    pub(super) fn config(&self) -> Result<&Config, String> {
        self.config.as_ref().map_err(Clone::clone)
    }
}

/// The AWS side.
pub(super) struct AwsFacts {
    pub(super) settings: Settings,
    pub(super) sdk: Result<SdkConfig, StsError>,
    pub(super) exchange: Option<Exchange>,
    pub(super) caller: Option<Caller>,
    /// IAM and EC2; or why they cannot be asked.
    pub(super) query: Result<Query, String>,
    pub(super) node_role: Option<RoleArn>,
}

impl AwsFacts {
    /// Asks AWS who we are and which role the nodes have.
    pub(super) async fn ask(options: &Options, cluster: &ClusterFacts, clock: &Clock) -> Self {
        let config = cluster.config.as_ref().ok();
        let of_agent = config.and_then(|config| config.sessions.region.clone());
        let of_agent = of_agent.or_else(|| cluster.agent.as_ref().and_then(AgentPod::region));
        let settings = Settings {
            region: options.region.clone().or(of_agent),
            metadata_address: match options.place {
                Place::Node => config.map(|config| config.metadata.address.clone()),
                Place::Elsewhere => None,
            },
            profile: options.profile.clone(),
        };
        let sdk = sts::load(&settings).await;
        let exchange = match &sdk {
            Ok(sdk) => Some(who_am_i(sdk, clock).await),
            Err(_) => None,
        };
        let arn = exchange.as_ref().and_then(|it| it.arn.as_ref().ok());
        let caller = arn.and_then(|arn| Caller::parse(arn));
        let query = match &sdk {
            Ok(sdk) => Query::new(sdk, clock.clone()).await,
            Err(error) => Err(error.to_string()),
        };
        let node_role = match (&options.node_role, &caller) {
            (Some(role), _) => Some(role.clone()),
            (None, Some(caller)) if caller.is_instance() => role_of(caller, &query).await,
            _ => None,
        };
        Self {
            settings,
            sdk,
            exchange,
            caller,
            query,
            node_role,
        }
    }

    /// Whether calls are made with a node's own credentials.
    pub(super) fn is_node(&self) -> bool {
        let caller = self.caller.as_ref();
        caller.is_some_and(|caller| is_node(caller, self.node_role.as_ref()))
    }

    /// The base of role names in the nodes' account, as the agent discovers it.
    pub(super) fn base(&self) -> Option<BaseArn> {
        match &self.node_role {
            Some(role) => {
                let (partition, account) = (role.partition(), role.account());
                BaseArn::parse(&format!("arn:{partition}:iam::{account}:role/")).ok()
            }
            None => self.caller.as_ref().and_then(Caller::base),
        }
    }

    /// What IAM says of these roles. Those of other accounts than the caller's cannot be asked for.
    pub(super) async fn roles(&self, roles: &[RoleArn]) -> Known {
        let Ok(query) = &self.query else {
            return Known::new();
        };
        let own = self.caller.as_ref().map(|caller| caller.account.as_str());
        let asked = roles.iter().filter(|role| Some(role.account()) == own);
        let answers = asked.map(|role| async move {
            let answer = query.role(role.partition(), role.name()).await;
            (role.clone(), answer)
        });
        futures::stream::iter(answers)
            .buffered(CONCURRENCY)
            .collect()
            .await
    }
}

/// The role of a session, with its path where IAM tells it.
async fn role_of(caller: &Caller, query: &Result<Query, String>) -> Option<RoleArn> {
    let name = caller.role()?;
    if let Ok(query) = query
        && let Ok(role) = query.role(caller.partition, name).await
    {
        return Some(role.arn);
    }
    caller.base()?.complete(name).ok()
}

/// What the agents would ask of STS for the pods there are, and for which pods they would not.
pub(super) struct Grants {
    pub(super) grants: Vec<Arc<Grant>>,
    pub(super) refused: Vec<String>,
}

impl Grants {
    /// Decides as the agents do.
    pub(super) fn decide(
        cluster: &ClusterFacts,
        aws: &AwsFacts,
        place: Place,
    ) -> Result<Self, String> {
        let config = cluster.config()?;
        let survey = cluster.survey.as_ref().map_err(Clone::clone)?;
        let base = match &config.roles.base {
            Discoverable::Given(base) => Some(base.clone()),
            Discoverable::Discover => aws.base(),
            Discoverable::Absent => None,
        };
        let default_role = match &config.roles.default_role {
            Discoverable::Given(role) => Some(role.clone()),
            Discoverable::Discover => aws.node_role.as_ref().map(|role| role.name().to_owned()),
            Discoverable::Absent => None,
        };
        let default_role = default_role
            .map(|role| RoleArn::complete(&role, base.as_ref()))
            .transpose()
            .map_err(|error| format!("--default-role cannot be used: {error}"))?;
        let policy = Policy::new(decision_rules(config, base, default_role));
        let mut refused = Vec::new();
        if let Some(path) = &config.roles.ceiling {
            match ceiling(path, place) {
                Ok(ceiling) => policy.set_ceiling(Some(ceiling)),
                Err(why) => refused.push(format!("judged without --ceiling: {why}")),
            }
        }
        let namespaces: HashMap<&str, _> =
            survey.namespaces.iter().map(|it| (&*it.name, it)).collect();
        let accounts: HashMap<(&str, &str), _> = survey
            .accounts
            .iter()
            .map(|it| ((&*it.namespace, &*it.name), it))
            .collect();
        let mut grants = Vec::new();
        for pod in survey.pods.iter().filter(|pod| pod.is_live()) {
            let account = pod.service_account.as_deref().unwrap_or("default");
            let around = Surroundings {
                namespace: namespaces.get(&*pod.namespace).copied(),
                service_account: accounts.get(&(&*pod.namespace, account)).copied(),
            };
            match policy.judge(pod, around).decision {
                Ok(grant) => grants.push(grant),
                Err(Reason::NoRole { .. } | Reason::OptedOut { .. }) => {}
                Err(reason) => refused.push(format!("{}/{}: {reason}", pod.namespace, pod.name)),
            }
        }
        Ok(Self { grants, refused })
    }

    /// Each role once.
    pub(super) fn roles(&self) -> Vec<RoleArn> {
        let roles = self.grants.iter().map(|grant| grant.role.clone());
        let roles: BTreeSet<RoleArn> = roles.collect();
        roles.into_iter().collect()
    }
}

fn ceiling(path: &Path, place: Place) -> Result<Ceiling, String> {
    match place {
        Place::Node => Ceiling::load(path).map_err(|error| Chain(&error).to_string()),
        Place::Elsewhere => Err(format!("{} is on the nodes", path.display())),
    }
}

/// The flags of an agent that were given by hand.
pub(super) fn given(words: Vec<String>) -> Result<Config, String> {
    agents::config(words, &BTreeMap::new(), Program::Podiam)
}
