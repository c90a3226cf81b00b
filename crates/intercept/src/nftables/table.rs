//! The table `inet podiam`: the requests that write and remove it, what the kernel has of it, and the difference.

use netlink_packet_core::{NLM_F_APPEND, NLM_F_CREATE};
use netlink_packet_netfilter::nftables::{
    ChainAttribute, ChainMessage, ExpressionAttribute, Expressions, Hook, HookNumber,
    ListAttribute, NfTablesMessage, RuleAttribute, RuleMessage, TableAttribute, TableFlags,
    TableMessage,
};

use super::{
    codec::{self, Counted},
    error::{Error, Feature},
    netlink::{Connection, Step},
    ruleset::{self, Base, Chain, Match, Rule, Ruleset, Verdict},
};
use crate::{RuleStatus, Status};

/// The table's name, in the family inet: one table for IPv4 and IPv6.
pub(super) const NAME: &str = "podiam";

/// The table as the kernel has it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Table {
    flags: TableFlags,
    chains: Vec<PresentChain>,
}

#[derive(Debug, PartialEq, Eq)]
struct PresentChain {
    name: String,
    base: Option<Base>,
    /// `None` for a rule that is none of ours.
    rules: Vec<Option<Counted>>,
}

/// The requests that bring about the rule set, whatever is there now: the kernel switches to the new rules in one step.
pub(super) fn replace(ruleset: &Ruleset) -> Vec<Step> {
    // A table must exist to be deleted, so the first request makes sure that it does.
    let mut steps = vec![add_table(), delete_table(), add_table()];
    for chain in &ruleset.chains {
        steps.push(add_chain(chain));
        let rules = chain.rules.iter();
        steps.extend(rules.map(|rule| add_rule(chain.name, rule)));
    }
    steps
}

/// The requests that remove the table.
pub(super) fn remove() -> Vec<Step> {
    vec![delete_table()]
}

/// What the kernel has; `None` where there is no table.
pub(super) fn read(connection: &mut Connection) -> Result<Option<Table>, Error> {
    connection.consistent(|connection| {
        let message = NfTablesMessage::GetTable(TableMessage {
            attributes: vec![TableAttribute::Name(NAME.to_owned())],
        });
        let Some(NfTablesMessage::NewTable(table)) =
            connection.get("show the table inet podiam", message)?
        else {
            return Ok(None);
        };
        let flags = table
            .attributes
            .into_iter()
            .find_map(|attribute| match attribute {
                TableAttribute::Flags(flags) => Some(flags),
                _ => None,
            });
        let mut chains = read_chains(connection)?;
        read_rules(connection, &mut chains)?;
        Ok(Some(Table {
            flags: flags.unwrap_or_default(),
            chains,
        }))
    })
}

impl Table {
    /// In what it differs from `wanted`, a line for each difference; none where it is as it should be.
    pub(super) fn drift(&self, wanted: &Ruleset) -> Vec<String> {
        let mut drift = Vec::new();
        if self.flags.contains(TableFlags::Dormant) {
            drift.push("the table is dormant: none of its rules work".to_owned());
        }
        for chain in &wanted.chains {
            match self
                .chains
                .iter()
                .find(|present| present.name == chain.name)
            {
                None => drift.push(format!("the chain {} is missing", chain.name)),
                Some(present) => present.drift(chain, &mut drift),
            }
        }
        for present in &self.chains {
            if wanted.chains.iter().all(|chain| chain.name != present.name) {
                drift.push(format!("the chain {} does not belong here", present.name));
            }
        }
        drift
    }

    /// For people and programs. It is judged by what its own rules say is intercepted.
    pub(super) fn status(&self) -> Status {
        let ours = self.chains.iter().flat_map(|chain| {
            let rules = chain.rules.iter().flatten();
            rules.map(|counted| (chain.name.as_str(), &counted.rule))
        });
        let rules = ruleset::recover(ours);
        let drift = match &rules {
            Some(rules) => self.drift(&Ruleset::build(rules)),
            None => vec!["the rule that brings requests to the agent is missing".to_owned()],
        };
        let lines = self.chains.iter().flat_map(|chain| {
            chain.rules.iter().map(|found| match found {
                Some(Counted {
                    rule,
                    packets,
                    bytes,
                }) => RuleStatus {
                    chain: chain.name.clone(),
                    rule: Some(rule.to_string()),
                    packets: *packets,
                    bytes: *bytes,
                },
                None => RuleStatus {
                    chain: chain.name.clone(),
                    rule: None,
                    packets: 0,
                    bytes: 0,
                },
            })
        });
        Status {
            place: format!("table inet {NAME}"),
            intercepts: rules,
            drift,
            rules: lines.collect(),
        }
    }
}

impl PresentChain {
    fn drift(&self, wanted: &Chain, drift: &mut Vec<String>) {
        let name = wanted.name;
        if self.base != wanted.base {
            drift.push(format!(
                "the chain {name} has another hook, priority or policy"
            ));
        }
        let ours: Vec<&Rule> = self
            .rules
            .iter()
            .flatten()
            .map(|counted| &counted.rule)
            .collect();
        let before = drift.len();
        for rule in &wanted.rules {
            if !ours.contains(&rule) {
                drift.push(format!("{name}: missing: {rule}"));
            }
        }
        for rule in &ours {
            if !wanted.rules.contains(rule) {
                drift.push(format!("{name}: does not belong here: {rule}"));
            }
        }
        let foreign = self.rules.len() - ours.len();
        if foreign > 0 {
            drift.push(format!("{name}: rules that are not podiam's: {foreign}"));
        }
        if drift.len() == before && ours != wanted.rules.iter().collect::<Vec<_>>() {
            drift.push(format!("{name}: rules doubled or in another order"));
        }
    }
}

fn add_table() -> Step {
    Step {
        what: "add the table inet podiam".to_owned(),
        needs: Feature::TABLES,
        // Flags are written out so that the table of an older or later version does not lend us its own.
        message: NfTablesMessage::NewTable(TableMessage {
            attributes: vec![
                TableAttribute::Name(NAME.to_owned()),
                TableAttribute::Flags(TableFlags::empty()),
            ],
        }),
        flags: NLM_F_CREATE,
    }
}

fn delete_table() -> Step {
    Step {
        what: "delete the table inet podiam".to_owned(),
        needs: Feature::TABLES,
        message: NfTablesMessage::DeleteTable(TableMessage {
            attributes: vec![TableAttribute::Name(NAME.to_owned())],
        }),
        flags: 0,
    }
}

fn add_chain(chain: &Chain) -> Step {
    let mut attributes = vec![
        ChainAttribute::Table(NAME.to_owned()),
        ChainAttribute::Name(chain.name.to_owned()),
    ];
    let mut needs = Feature::TABLES;
    if let Some(base) = &chain.base {
        if base.kind == "nat" {
            needs = Feature::NAT_CHAIN;
        }
        attributes.extend([
            ChainAttribute::Hook(vec![
                Hook::Number(HookNumber::Other(base.hook)),
                Hook::Priority(base.priority.cast_unsigned()),
            ]),
            ChainAttribute::Policy(base.policy),
            ChainAttribute::Type(base.kind.clone()),
        ]);
    }
    Step {
        what: format!("add the chain {}", chain.name),
        needs,
        message: NfTablesMessage::NewChain(ChainMessage { attributes }),
        flags: NLM_F_CREATE,
    }
}

fn add_rule(chain: &str, rule: &Rule) -> Step {
    let is_conntrack = |found: &Match| {
        matches!(
            found,
            Match::DestinationTranslated | Match::OriginalDestination(_)
        )
    };
    let needs = match rule.verdict {
        Verdict::Dnat(_) => Feature::NAT,
        _ if rule.matches.iter().any(is_conntrack) => Feature::CONNTRACK,
        _ => Feature::TABLES,
    };
    let expressions = codec::encode(rule).into_iter().map(ListAttribute::from);
    Step {
        what: format!("add to the chain {chain} the rule \"{rule}\""),
        needs,
        message: NfTablesMessage::NewRule(RuleMessage {
            attributes: vec![
                RuleAttribute::Table(NAME.to_owned()),
                RuleAttribute::Chain(chain.to_owned()),
                RuleAttribute::Expressions(expressions.collect()),
            ],
        }),
        flags: NLM_F_CREATE | NLM_F_APPEND,
    }
}

fn read_chains(connection: &mut Connection) -> Result<Vec<PresentChain>, Error> {
    let message = NfTablesMessage::GetChain(ChainMessage {
        attributes: Vec::new(),
    });
    let found = connection.list("list its chains", message)?;
    Ok(found.into_iter().filter_map(present_chain).collect())
}

/// A chain of ours; the kernel lists those of every table.
fn present_chain(message: NfTablesMessage) -> Option<PresentChain> {
    let NfTablesMessage::NewChain(chain) = message else {
        return None;
    };
    let (mut table, mut name, mut kind, mut policy) = (None, None, None, 0);
    let (mut hook, mut priority) = (None, None);
    for attribute in chain.attributes {
        match attribute {
            ChainAttribute::Table(found) => table = Some(found),
            ChainAttribute::Name(found) => name = Some(found),
            ChainAttribute::Type(found) => kind = Some(found),
            ChainAttribute::Policy(found) => policy = found,
            ChainAttribute::Hook(found) => {
                for part in found {
                    match part {
                        Hook::Number(number) => hook = Some(u32::from(number)),
                        Hook::Priority(found) => priority = Some(found.cast_signed()),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    let base = match (kind, hook, priority) {
        (Some(kind), Some(hook), Some(priority)) => Some(Base {
            kind,
            hook,
            priority,
            policy,
        }),
        _ => None,
    };
    (table? == NAME).then_some(PresentChain {
        name: name?,
        base,
        rules: Vec::new(),
    })
}

fn read_rules(connection: &mut Connection, chains: &mut [PresentChain]) -> Result<(), Error> {
    let message = NfTablesMessage::GetRule(RuleMessage {
        attributes: vec![RuleAttribute::Table(NAME.to_owned())],
    });
    for message in connection.list("list its rules", message)? {
        let NfTablesMessage::NewRule(rule) = message else {
            continue;
        };
        let (mut table, mut chain, mut expressions) = (None, None, Vec::new());
        for attribute in rule.attributes {
            match attribute {
                RuleAttribute::Table(found) => table = Some(found),
                RuleAttribute::Chain(found) => chain = Some(found),
                RuleAttribute::Expressions(found) => expressions = found,
                _ => {}
            }
        }
        // Kernels before 4.10 list the rules of every table.
        if table.as_deref() != Some(NAME) {
            continue;
        }
        let expressions: Vec<Expressions> = expressions
            .into_iter()
            .filter_map(into_expression)
            .collect();
        let decoded = codec::decode(&expressions);
        if let Some(present) = chains
            .iter_mut()
            .find(|present| Some(&present.name) == chain.as_ref())
        {
            present.rules.push(decoded);
        }
    }
    Ok(())
}

fn into_expression(element: ListAttribute<ExpressionAttribute>) -> Option<Expressions> {
    let ListAttribute::Element(attributes) = element else {
        return None;
    };
    attributes
        .into_iter()
        .find_map(|attribute| match attribute {
            ExpressionAttribute::Data(expression) => Some(expression),
            _ => None,
        })
}
