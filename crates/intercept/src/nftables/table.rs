//! The table `inet podiam` as the kernel has it, and in what it differs from what it should be. Pure: [`super::read`]
//! makes it.

use netlink_packet_netfilter::nftables::TableFlags;

use super::{
    TABLE,
    codec::Counted,
    note, owner,
    rule::Rule,
    ruleset::{self, Base, Chain, Ruleset},
    set::{Element, Kind, Set},
};
use crate::{RuleStatus, Status};

/// What the table of a living owner has; its owner takes the first flag along when it goes.
const CLOSED: TableFlags = TableFlags::Owner.union(TableFlags::Persisent);

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Table {
    pub(super) flags: TableFlags,
    /// The netlink port of the only socket that may change it.
    pub(super) owner: Option<u32>,
    /// Unix time at which it was written.
    pub(super) written: Option<u64>,
    pub(super) sets: Vec<PresentSet>,
    pub(super) chains: Vec<PresentChain>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct PresentSet {
    pub(super) name: String,
    /// `None` for a set that is none of ours.
    pub(super) kind: Option<Kind>,
    /// Sorted; `None` where one of them is none of ours.
    pub(super) elements: Option<Vec<Element>>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct PresentChain {
    pub(super) name: String,
    pub(super) base: Option<Base>,
    /// `None` for a rule that is none of ours.
    pub(super) rules: Vec<Option<Counted>>,
}

/// In what a table differs from a rule set.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Difference {
    /// A line for each difference; none where the table is as it should be.
    pub(super) lines: Vec<String>,
    /// What would make it so, where nothing but elements of sets differs.
    pub(super) changes: Option<Vec<Change>>,
}

/// What a set lacks and what it has too much.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) set: &'static str,
    pub(super) added: Vec<Element>,
    pub(super) removed: Vec<Element>,
}

impl Table {
    /// Whether its owner has gone and the next may take it.
    pub(super) fn is_orphan(&self) -> bool {
        self.flags.intersection(CLOSED) == TableFlags::Persisent
    }

    /// Whether `wanted` can be written into its chains: each has the hook that it should have, if it is there.
    pub(super) fn can_be_rewritten(&self, wanted: &Ruleset) -> bool {
        !self.flags.contains(TableFlags::Dormant)
            && wanted.chains.iter().all(|chain| {
                let present = self.chains.iter().find(|found| found.name == chain.name);
                present.is_none_or(|present| present.base == chain.base)
            })
    }

    /// What the sets that can stay lack and have too much.
    pub(super) fn changes(&self, wanted: &Ruleset) -> impl Iterator<Item = Change> {
        wanted.sets.iter().filter_map(|set| {
            let present = self.sets.iter().find(|found| found.name == set.name)?;
            present.change(set).ok()
        })
    }

    /// In what it differs from `wanted`.
    pub(super) fn difference(&self, wanted: &Ruleset) -> Difference {
        let mut lines = Vec::new();
        if self.flags.contains(TableFlags::Dormant) {
            lines.push("the table is dormant: none of its rules work".to_owned());
        }
        for chain in &wanted.chains {
            match self.chains.iter().find(|found| found.name == chain.name) {
                None => lines.push(format!("the chain {} is missing", chain.name)),
                Some(present) => present.difference(chain, &mut lines),
            }
        }
        for present in &self.chains {
            if wanted.chains.iter().all(|chain| chain.name != present.name) {
                lines.push(format!("the chain {} does not belong here", present.name));
            }
        }
        let mut changes = Vec::new();
        let mut elements = Vec::new();
        for set in &wanted.sets {
            match self.sets.iter().find(|found| found.name == set.name) {
                None => lines.push(format!("the set {} is missing", set.name)),
                Some(present) => match present.change(set) {
                    Err(line) => lines.push(line),
                    Ok(change) => {
                        elements.extend(change.lines());
                        changes.extend((!change.is_none()).then_some(change));
                    }
                },
            }
        }
        for present in &self.sets {
            if wanted.sets.iter().all(|set| set.name != present.name) {
                lines.push(format!("the set {} does not belong here", present.name));
            }
        }
        let is_only_elements = lines.is_empty();
        lines.extend(elements);
        Difference {
            lines,
            changes: is_only_elements.then_some(changes),
        }
    }

    /// For people and programs. It is judged by what its own rules say is intercepted.
    pub(super) fn status(&self) -> Status {
        let sets = self.sets.iter().filter_map(|set| {
            let elements = set.elements.as_ref()?;
            Some((set.name.as_str(), elements.as_slice()))
        });
        let ours = self.chains.iter().flat_map(|chain| {
            let rules = chain.rules.iter().flatten();
            rules.map(|counted| (chain.name.as_str(), &counted.rule))
        });
        let intercepts = ruleset::recover(&sets.collect::<Vec<_>>(), ours);
        let guard = Ruleset::guard();
        // Whatever its rules are by now: it has no chain in which a request could be brought to an agent.
        let is_guard = self.chains.iter().all(|present| {
            let mut chains = guard.chains.iter();
            chains.any(|chain| chain.name == present.name)
        });
        let drift = match &intercepts {
            Some(rules) => self.difference(&Ruleset::build(rules)).lines,
            None if is_guard => self.difference(&guard).lines,
            None => vec!["the rule that brings requests to the agent is missing".to_owned()],
        };
        let rules = self.chains.iter().flat_map(|chain| {
            let rules = chain.rules.iter();
            rules.map(|found| rule_status(&chain.name, found.as_ref()))
        });
        Status {
            place: format!("table inet {TABLE}"),
            guard: intercepts.is_none() && is_guard,
            intercepts,
            owner: self.owner.map(owner::find),
            age_seconds: self.written.and_then(note::age),
            drift,
            rules: rules.collect(),
        }
    }
}

fn rule_status(chain: &str, found: Option<&Counted>) -> RuleStatus {
    RuleStatus {
        chain: chain.to_owned(),
        rule: found.map(|counted| counted.rule.to_string()),
        packets: found.map_or(0, |counted| counted.packets),
        bytes: found.map_or(0, |counted| counted.bytes),
    }
}

impl PresentSet {
    /// What would make it `wanted`, or the line that says why it has to be made anew.
    fn change(&self, wanted: &Set) -> Result<Change, String> {
        let name = wanted.name;
        if self.kind != Some(wanted.kind) {
            return Err(format!("the set {name} has another type"));
        }
        let Some(present) = &self.elements else {
            return Err(format!("{name}: elements that are not podiam's"));
        };
        let without = |these: &[Element], those: &[Element]| {
            let rest = these.iter().filter(|element| !those.contains(element));
            rest.cloned().collect::<Vec<_>>()
        };
        Ok(Change {
            set: name,
            added: without(&wanted.elements, present),
            removed: without(present, &wanted.elements),
        })
    }
}

impl Change {
    fn is_none(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty()
    }

    fn lines(&self) -> impl Iterator<Item = String> {
        let set = self.set;
        let missing = self.added.iter();
        let missing = missing.map(move |element| format!("{set}: missing: {element}"));
        let foreign = self.removed.iter();
        missing.chain(foreign.map(move |element| format!("{set}: does not belong here: {element}")))
    }
}

impl PresentChain {
    /// Adds a line to `drift` for each difference from `wanted`.
    fn difference(&self, wanted: &Chain, drift: &mut Vec<String>) {
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
