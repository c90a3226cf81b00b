//! The difference between what there is of a table and what there should be: told to people as drift, and to
//! iptables-restore as a script. Pure.

use std::fmt::Write;

use super::{
    rule::Rule,
    ruleset::{Chain, Table, is_ours},
    saved::{SavedRule, SavedTable},
};

/// In what `present` differs from `wanted`, a line for each difference; none where it is as it should be.
pub(super) fn drift(present: &SavedTable, wanted: &Table) -> Vec<String> {
    let mut drift = Vec::new();
    let table = wanted.name;
    for chain in &wanted.chains {
        let name = chain.name;
        if present.chains.iter().any(|found| found == name) {
            rules_drift(present, chain, &mut drift);
        } else {
            drift.push(format!("the chain {name} of {table} is missing"));
        }
        jump_drift(present, chain, &mut drift);
    }
    for name in superfluous(present, wanted) {
        drift.push(format!("the chain {name} of {table} does not belong here"));
    }
    drift
}

fn rules_drift(present: &SavedTable, wanted: &Chain, drift: &mut Vec<String>) {
    let name = wanted.name;
    let rules = present.rules.iter().filter(|found| found.chain == name);
    let rules: Vec<&Rule> = rules.map(|found| &found.rule).collect();
    let before = drift.len();
    for rule in &wanted.rules {
        if !rules.contains(&rule) {
            drift.push(format!("{name}: missing: {}", rule.text()));
        }
    }
    for rule in &rules {
        if !wanted.rules.contains(rule) {
            drift.push(format!("{name}: does not belong here: {}", rule.text()));
        }
    }
    if drift.len() == before && rules != wanted.rules.iter().collect::<Vec<_>>() {
        drift.push(format!("{name}: rules doubled or in another order"));
    }
}

fn jump_drift(present: &SavedTable, wanted: &Chain, drift: &mut Vec<String>) {
    let (hook, name) = (wanted.hook, wanted.name);
    let leads = |found: &&SavedRule| found.rule.target() == Some(name);
    let mut hooked = present.rules.iter().filter(|found| found.chain == hook);
    let is_first = hooked
        .clone()
        .next()
        .is_some_and(|first| leads(&first) && first.rule.is_plain_jump());
    if !is_first && hooked.any(|found| leads(&found) && found.rule.is_plain_jump()) {
        drift.push(format!(
            "{hook}: other rules stand before the jump to {name}"
        ));
    } else if !is_first {
        drift.push(format!("{hook}: the jump to {name} is missing"));
    }
    let others = present.rules.iter().filter(leads).count();
    if is_first && others > 1 {
        drift.push(format!("{name} is also reached from elsewhere"));
    }
}

/// Chains of podiam that should not be there.
fn superfluous<'a>(present: &'a SavedTable, wanted: &Table) -> Vec<&'a str> {
    let is_wanted = |name: &str| wanted.chains.iter().any(|chain| chain.name == name);
    let chains = present.chains.iter().map(String::as_str);
    chains
        .filter(|name| is_ours(name) && !is_wanted(name))
        .collect()
}

/// What `iptables-restore --noflush` needs to be told. It does all of it in one step, or nothing.
pub(super) fn script(present: &SavedTable, wanted: &Table) -> String {
    let mut script = format!("*{}\n", wanted.name);
    let mut line = |line: std::fmt::Arguments<'_>| {
        // Writing to a String cannot fail.
        let _ = writeln!(script, "{line}");
    };
    let superfluous = superfluous(present, wanted);
    let kept = wanted.chains.iter().map(|chain| chain.name);
    // To name a chain is to make it, or to empty it.
    for name in kept.chain(superfluous.iter().copied()) {
        line(format_args!(":{name} - [0:0]"));
    }
    // Whoever leads to our chains: the jumps that we wrote, wherever they stand by now, and what was added by hand.
    let leading = present
        .rules
        .iter()
        .filter(|found| !is_ours(&found.chain) && found.rule.target().is_some_and(is_ours));
    for found in leading {
        line(format_args!("-D {} {}", found.chain, found.rule.text()));
    }
    for chain in &wanted.chains {
        for rule in &chain.rules {
            line(format_args!("-A {} {}", chain.name, rule.text()));
        }
        line(format_args!("-I {} 1 -j {}", chain.hook, chain.name));
    }
    for name in superfluous {
        line(format_args!("-X {name}"));
    }
    line(format_args!("COMMIT"));
    script
}
