//! The requests that write, change and remove the table `inet podiam`. The kernel does those of one list in one step.

use netlink_packet_core::{NLM_F_APPEND, NLM_F_CREATE};
use netlink_packet_netfilter::nftables::{
    ChainAttribute, ChainMessage, Hook, HookNumber, ListAttribute, NfTablesMessage, RuleAttribute,
    RuleMessage, SetAttribute, SetMessage, TableAttribute, TableFlags, TableMessage,
};

use super::{
    TABLE, codec,
    error::Feature,
    netlink::Step,
    note,
    rule::{Field, Match, Rule, Verdict},
    ruleset::{Chain, Ruleset},
    set::{self, Element, Set},
    table::{Change, PresentChain, PresentSet, Table},
};

/// Brings about the rule set, whatever is there now, in a table with `flags`. Its chains are other chains than those
/// before: a packet that the kernel shows to both in turn, just as one set of them gives way to the other, may see the
/// rules of neither.
pub(super) fn replace(ruleset: &Ruleset, flags: TableFlags) -> Vec<Step> {
    // A table must exist to be deleted, so the first request makes sure that it does. It says nothing about flags,
    // which an existing table need not have.
    let mut steps = vec![
        table("add the table inet podiam", Vec::new()),
        delete_table(),
        table(
            "add the table inet podiam",
            vec![
                TableAttribute::Flags(flags),
                TableAttribute::UserData(note::encode()),
            ],
        ),
    ];
    if flags.contains(TableFlags::Owner) {
        steps[2].needs = Feature::CLOSED_TABLE;
    }
    let sets = ruleset.sets.iter().zip(1..);
    steps.extend(sets.flat_map(|(set, id)| add_set(set, id)));
    for chain in &ruleset.chains {
        steps.push(add_chain(chain));
        steps.extend(add_rules(chain));
    }
    steps
}

/// Brings about the rule set in the chains that are there, but for the elements of the sets that can stay: those that
/// `staying` names. A packet sees the rules from before or those from after.
pub(super) fn rewrite(present: &Table, ruleset: &Ruleset, staying: &[Change]) -> Vec<Step> {
    let mut steps: Vec<_> = present.chains.iter().map(flush_chain).collect();
    let (kept, unwanted): (Vec<_>, _) = present
        .chains
        .iter()
        .partition(|found| ruleset.chains.iter().any(|chain| chain.name == found.name));
    steps.extend(unwanted.into_iter().map(delete_chain));
    let stays = |name: &str| staying.iter().any(|change| change.set == name);
    let sets = present.sets.iter().filter(|found| !stays(&found.name));
    steps.extend(sets.map(delete_set));
    let sets = ruleset.sets.iter().zip(1..);
    let sets = sets.filter(|(set, _)| !stays(set.name));
    steps.extend(sets.flat_map(|(set, id)| add_set(set, id)));
    for chain in &ruleset.chains {
        if kept.iter().all(|found| found.name != chain.name) {
            steps.push(add_chain(chain));
        }
        steps.extend(add_rules(chain));
    }
    steps
}

/// Closes a table that nobody owns to everybody but the sender.
pub(super) fn adopt(flags: TableFlags) -> Vec<Step> {
    let mut step = table(
        "own the table inet podiam",
        vec![TableAttribute::Flags(flags)],
    );
    step.needs = Feature::CLOSED_TABLE;
    vec![step]
}

/// Changes the elements of sets and nothing else. What leaves goes first: patterns of a set may not overlap.
pub(super) fn adjust(changes: &[Change]) -> Vec<Step> {
    let mut steps = shrink(changes);
    steps.extend(grow(changes));
    steps
}

/// Adds what sets lack.
pub(super) fn grow(changes: &[Change]) -> Vec<Step> {
    let changes = changes.iter().filter(|change| !change.added.is_empty());
    let steps = changes.map(|change| add_elements(change.set, &change.added));
    steps.collect()
}

/// Deletes what sets have too much.
pub(super) fn shrink(changes: &[Change]) -> Vec<Step> {
    let changes = changes.iter().filter(|change| !change.removed.is_empty());
    let steps = changes.map(|change| Step {
        what: format!("delete elements of the set {}", change.set),
        needs: Feature::SETS,
        message: NfTablesMessage::DeleteSetElement(set::message(change.set, &change.removed)),
        flags: 0,
    });
    steps.collect()
}

/// Removes the table.
pub(super) fn remove() -> Vec<Step> {
    vec![delete_table()]
}

fn table(what: &str, mut attributes: Vec<TableAttribute>) -> Step {
    attributes.insert(0, TableAttribute::Name(TABLE.to_owned()));
    Step {
        what: what.to_owned(),
        needs: Feature::TABLES,
        message: NfTablesMessage::NewTable(TableMessage { attributes }),
        flags: NLM_F_CREATE,
    }
}

/// Adds a set with its elements. `id` tells the sets of one transaction apart.
fn add_set(set: &Set, id: u32) -> impl Iterator<Item = Step> {
    let declaration = Step {
        what: format!("add the set {}", set.name),
        needs: Feature::SETS,
        message: NfTablesMessage::NewSet(set.declaration(id)),
        flags: NLM_F_CREATE,
    };
    let elements = (!set.elements.is_empty()).then(|| add_elements(set.name, &set.elements));
    std::iter::once(declaration).chain(elements)
}

fn add_elements(set: &str, elements: &[Element]) -> Step {
    Step {
        what: format!("add elements to the set {set}"),
        needs: Feature::SETS,
        message: NfTablesMessage::NewSetElement(set::message(set, elements)),
        flags: NLM_F_CREATE,
    }
}

fn delete_table() -> Step {
    Step {
        what: "delete the table inet podiam".to_owned(),
        needs: Feature::TABLES,
        message: NfTablesMessage::DeleteTable(TableMessage {
            attributes: vec![TableAttribute::Name(TABLE.to_owned())],
        }),
        flags: 0,
    }
}

fn delete_set(set: &PresentSet) -> Step {
    Step {
        what: format!("delete the set {}", set.name),
        needs: Feature::SETS,
        message: NfTablesMessage::DeleteSet(SetMessage {
            attributes: vec![
                SetAttribute::Table(TABLE.to_owned()),
                SetAttribute::Name(set.name.clone()),
            ],
        }),
        flags: 0,
    }
}

/// A request about the rules of a chain that names none of them is about all.
fn flush_chain(chain: &PresentChain) -> Step {
    Step {
        what: format!("flush the chain {}", chain.name),
        needs: Feature::TABLES,
        message: NfTablesMessage::DeleteRule(RuleMessage {
            attributes: vec![
                RuleAttribute::Table(TABLE.to_owned()),
                RuleAttribute::Chain(chain.name.clone()),
            ],
        }),
        flags: 0,
    }
}

fn delete_chain(chain: &PresentChain) -> Step {
    Step {
        what: format!("delete the chain {}", chain.name),
        needs: Feature::TABLES,
        message: NfTablesMessage::DeleteChain(ChainMessage {
            attributes: vec![
                ChainAttribute::Table(TABLE.to_owned()),
                ChainAttribute::Name(chain.name.clone()),
            ],
        }),
        flags: 0,
    }
}

fn add_chain(chain: &Chain) -> Step {
    let mut attributes = vec![
        ChainAttribute::Table(TABLE.to_owned()),
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

fn add_rules(chain: &Chain) -> impl Iterator<Item = Step> {
    let rules = chain.rules.iter();
    rules.map(|rule| add_rule(chain.name, rule))
}

fn add_rule(chain: &str, rule: &Rule) -> Step {
    let expressions = codec::encode(rule).into_iter().map(ListAttribute::from);
    Step {
        what: format!("add to the chain {chain} the rule \"{rule}\""),
        needs: needs(rule),
        message: NfTablesMessage::NewRule(RuleMessage {
            attributes: vec![
                RuleAttribute::Table(TABLE.to_owned()),
                RuleAttribute::Chain(chain.to_owned()),
                RuleAttribute::Expressions(expressions.collect()),
            ],
        }),
        flags: NLM_F_CREATE | NLM_F_APPEND,
    }
}

/// The part of the kernel that is most likely missing if it does not know this rule.
fn needs(rule: &Rule) -> Feature {
    let uses = |which: fn(&Match) -> bool| rule.matches.iter().any(which);
    if uses(|found| matches!(found, Match::NoRouteBack)) {
        Feature::FIB
    } else if matches!(rule.verdict, Verdict::Dnat(_)) {
        Feature::NAT
    } else if uses(|found| {
        matches!(
            found,
            Match::DestinationTranslated
                | Match::In(Field::OriginalDestination4 | Field::OriginalDestination6, _)
        )
    }) {
        Feature::CONNTRACK
    } else {
        Feature::TABLES
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{METADATA_V4, Rules};

    #[test]
    fn each_part_of_the_kernel_is_named_by_what_depends_on_it() {
        let rules = Rules::new(
            METADATA_V4,
            "10.0.0.1:8181".parse().unwrap(),
            "eni+".parse().unwrap(),
        );
        let steps = replace(&Ruleset::build(&rules), TableFlags::Owner);
        for (what, needs) in [
            ("own the table", Feature::CLOSED_TABLE),
            ("add the set interfaces", Feature::SETS),
            ("add elements to the set interfaces", Feature::SETS),
            ("add the chain prerouting", Feature::NAT_CHAIN),
            ("dnat ip to", Feature::NAT),
            ("ct status dnat", Feature::CONNTRACK),
            ("fib saddr . iif oif missing", Feature::FIB),
            ("add the chain forward", Feature::TABLES),
        ] {
            let all = adopt(TableFlags::Owner)
                .into_iter()
                .chain(replace(&Ruleset::build(&rules), TableFlags::Owner));
            let found: Vec<_> = all.filter(|step| step.what.contains(what)).collect();
            assert!(!found.is_empty(), "{what}");
            assert!(found.iter().all(|step| step.needs == needs), "{what}");
        }
        assert_eq!(steps[2].needs, Feature::CLOSED_TABLE);
    }
}
