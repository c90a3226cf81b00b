//! Interception by iptables, for nodes where something else owns the nftables rules: chains of podiam's own in mangle
//! and nat, written through iptables-restore and read through iptables-save, for IPv4 and IPv6.
//!
//! The agent and the command line use it through [`Backend`]. It needs the programs of the package iptables, of the
//! variant that the node uses, and never touches a rule that is not in a chain of its own or a jump to one.

mod change;
mod error;
mod programs;
mod rule;
mod ruleset;
mod saved;
mod survey;
mod watch;

use std::{os::fd::BorrowedFd, path::PathBuf};

pub use error::Error;

use crate::{Backend, Outcome, RuleStatus, Rules, Status, backend, conntrack::Older};
use programs::{Folders, Kind};
use ruleset::{Family, Table};
use saved::Saved;
use survey::{Survey, Surveyed};
use watch::Watch;

/// How often a change is begun again because others changed the same table meanwhile.
const ATTEMPTS: usize = 3;

/// Interception by the chains `PODIAM-*`.
#[derive(Debug)]
pub struct Iptables {
    folders: Folders,
    /// Who has written rules wants to know when they change.
    watch: Option<Watch>,
    older: Older,
}

impl Iptables {
    /// With the programs on the PATH or in an administrator's folders.
    pub fn new() -> Self {
        Self::with(Folders::of_the_system())
    }

    /// With the programs in `folders`, and no others.
    pub fn with_programs_in(folders: Vec<PathBuf>) -> Self {
        Self::with(Folders::new(folders))
    }

    fn with(folders: Folders) -> Self {
        Self {
            folders,
            watch: None,
            older: Older::default(),
        }
    }

    /// Installs, and listens for changes of the variant that is installed to.
    fn install_and_listen(&mut self, rules: &Rules) -> Result<Outcome, Error> {
        let wanted = |family| ruleset::build(family, rules);
        let (outcome, kind) = self.apply(wanted)?;
        self.end_older(rules, outcome)?;
        if self.watch.as_ref().is_some_and(|watch| watch.is_of(kind)) {
            return Ok(outcome);
        }
        self.watch = Some(Watch::open(kind)?);
        // What others have done meanwhile was not heard.
        let (again, _) = self.apply(wanted)?;
        self.end_older(rules, again)?;
        Ok(if again.has_changed_rules() {
            again
        } else {
            outcome
        })
    }

    fn end_older(&mut self, rules: &Rules, outcome: Outcome) -> Result<(), Error> {
        let ended = self.older.end(rules, outcome);
        ended.map_err(Error::OlderConnections)
    }

    /// Brings the chosen variant to `wanted`, and takes podiam's rules out of the other.
    fn apply(&self, wanted: impl Fn(Family) -> [Table; 2]) -> Result<(Outcome, Kind), Error> {
        let mut is_begun = false;
        let mut attempt = 1;
        loop {
            let survey = Survey::take(&self.folders)?;
            is_begun |= survey.has_ours();
            let change = || -> Result<bool, Error> {
                let chosen = change(&survey.chosen, &wanted)?;
                let other = survey.other.as_ref();
                let other = other.map(|other| change(other, &|_| ruleset::nothing()));
                Ok(chosen || other.transpose()? == Some(true))
            };
            let kind = survey.chosen.variant.kind;
            match change() {
                Ok(false) => return Ok((Outcome::Unchanged, kind)),
                Ok(true) if is_begun => return Ok((Outcome::Replaced, kind)),
                Ok(true) => return Ok((Outcome::Created, kind)),
                // A rule that was to be deleted is gone: somebody was faster.
                Err(Error::Failed { .. }) if attempt < ATTEMPTS => attempt += 1,
                Err(error) => return Err(error),
            }
        }
    }
}

impl Default for Iptables {
    fn default() -> Self {
        Self::new()
    }
}

impl Backend for Iptables {
    fn name(&self) -> &'static str {
        "iptables"
    }

    fn install(&mut self, rules: &Rules) -> Result<Outcome, backend::Error> {
        if let Some(address) = rules.unusable_target() {
            return Err(Error::UnusableTarget(address).into());
        }
        writable(rules)?;
        Ok(self.install_and_listen(rules)?)
    }

    fn guard(&mut self) -> Result<Outcome, backend::Error> {
        let survey = Survey::take(&self.folders)?;
        let all = std::iter::once(&survey.chosen).chain(&survey.other);
        // The rules of an agent refuse too, wherever they are.
        if all.into_iter().any(|found| intercepts(found).is_some()) {
            return Ok(Outcome::Unchanged);
        }
        Ok(self.apply(ruleset::guard)?.0)
    }

    fn status(&mut self) -> Result<Option<Status>, backend::Error> {
        let survey = Survey::take(&self.folders)?;
        let other = survey.other.as_ref().filter(|other| other.has_ours());
        let (shown, stray) = match other {
            Some(other) if !survey.chosen.has_ours() => (other, None),
            other => (&survey.chosen, other),
        };
        if !shown.has_ours() {
            return Ok(None);
        }
        let mut status = status(shown, survey.place(shown.variant.kind));
        if shown.variant.kind != survey.chosen.variant.kind {
            status.drift.push(format!(
                "the rules are in the variant {}, and the node uses {}: {}",
                shown.variant.kind, survey.chosen.variant.kind, survey.because
            ));
        }
        if let Some(stray) = stray {
            status.drift.push(format!(
                "there are rules in the variant {} too",
                stray.variant.kind
            ));
        }
        Ok(Some(status))
    }

    fn remove(&mut self) -> Result<bool, backend::Error> {
        let (outcome, _) = self.apply(|_| ruleset::nothing())?;
        Ok(outcome != Outcome::Unchanged)
    }

    fn changes(&self) -> Option<BorrowedFd<'_>> {
        self.watch.as_ref().and_then(Watch::fd)
    }

    fn settle(&mut self) -> Result<bool, backend::Error> {
        let heard = self.watch.as_mut().map_or(Ok(true), Watch::settle);
        Ok(heard?)
    }
}

/// Changes what differs; false where nothing does. Per family, one run of iptables-restore with one step for each table.
fn change(surveyed: &Surveyed, wanted: &impl Fn(Family) -> [Table; 2]) -> Result<bool, Error> {
    let mut is_changed = false;
    for family in surveyed.variant.families() {
        let saved = surveyed.saved(family);
        let tables = wanted(family);
        let differing = tables
            .iter()
            .filter(|table| !change::drift(saved.of(table), table).is_empty());
        let script: String = differing
            .map(|table| change::script(saved.of(table), table))
            .collect();
        if !script.is_empty() {
            surveyed.variant.restore(family, &script)?;
            is_changed = true;
        }
    }
    Ok(is_changed)
}

/// What the rules that are there bring to an agent.
fn intercepts(surveyed: &Surveyed) -> Option<Rules> {
    fn all(saved: &Saved) -> impl Iterator<Item = (&str, &rule::Rule)> {
        saved
            .ours()
            .map(|(_, found)| (found.chain.as_str(), &found.rule))
    }
    ruleset::recover(all(&surveyed.v4), all(&surveyed.v6))
}

/// For people and programs. It is judged by what its own rules say is intercepted.
fn status(surveyed: &Surveyed, place: String) -> Status {
    let intercepts = intercepts(surveyed);
    let mut drift = Vec::new();
    let mut rules = Vec::new();
    let chains = surveyed.v4.our_chains().chain(surveyed.v6.our_chains());
    let guard = intercepts.is_none() && ruleset::is_guard(chains);
    if intercepts.is_none() && !guard {
        drift.push("the rule that brings requests to the agent is missing".to_owned());
    }
    for family in surveyed.variant.families() {
        let wanted = match &intercepts {
            Some(rules) => ruleset::build(family, rules),
            None => ruleset::guard(family),
        };
        let saved = surveyed.saved(family);
        let (prefix, sign) = match family {
            Family::V4 => ("ip", ""),
            Family::V6 => ("ip6", "IPv6: "),
        };
        let lines = wanted
            .iter()
            .flat_map(|table| change::drift(saved.of(table), table));
        drift.extend(lines.map(|line| format!("{sign}{line}")));
        rules.extend(saved.ours().map(|(table, found)| {
            let chains = wanted.iter().flat_map(|table| &table.chains);
            let mut wanted = chains.filter(|chain| chain.name == found.chain);
            let is_ours = wanted.any(|chain| chain.rules.contains(&found.rule));
            RuleStatus {
                chain: format!("{prefix} {table} {}", found.chain),
                rule: is_ours.then(|| found.rule.text().to_owned()),
                packets: found.packets,
                bytes: found.bytes,
            }
        }));
    }
    Status {
        place,
        intercepts,
        guard,
        drift,
        rules,
        // iptables keeps no note of either.
        owner: None,
        age_seconds: None,
    }
}

/// Refuses what iptables-restore would read as something else.
fn writable(rules: &Rules) -> Result<(), Error> {
    let patterns = rules
        .interfaces
        .included()
        .iter()
        .chain(rules.interfaces.excluded());
    for pattern in patterns {
        let name = pattern.to_string();
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-@+".contains(c);
        if name.starts_with('-') || !name.chars().all(is_plain) {
            return Err(Error::Interface(name));
        }
    }
    Ok(())
}
