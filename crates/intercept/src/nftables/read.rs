//! The table `inet podiam` out of the kernel, as it is there: the other direction of [`super::write`].

use netlink_packet_netfilter::nftables::{
    ChainAttribute, ChainMessage, ExpressionAttribute, Expressions, Hook, ListAttribute,
    NfTablesMessage, RuleAttribute, RuleMessage, SetAttribute, SetFlags, SetMessage,
    TableAttribute, TableMessage,
};

use super::{
    TABLE, codec,
    error::Error,
    netlink::Connection,
    note,
    ruleset::Base,
    set,
    table::{PresentChain, PresentSet, Table},
};

/// What the kernel has; `None` where there is no table.
pub(super) fn read(connection: &mut Connection) -> Result<Option<Table>, Error> {
    connection.consistent(|connection| {
        let message = NfTablesMessage::GetTable(TableMessage {
            attributes: vec![TableAttribute::Name(TABLE.to_owned())],
        });
        let Some(NfTablesMessage::NewTable(found)) =
            connection.get("show the table inet podiam", message)?
        else {
            return Ok(None);
        };
        let mut table = Table::default();
        for attribute in found.attributes {
            match attribute {
                TableAttribute::Flags(flags) => table.flags = flags,
                TableAttribute::Owner(port) => table.owner = Some(port),
                TableAttribute::UserData(data) => table.written = note::decode(&data),
                _ => {}
            }
        }
        table.sets = read_sets(connection)?;
        table.chains = read_chains(connection)?;
        read_rules(connection, &mut table.chains)?;
        Ok(Some(table))
    })
}

fn read_sets(connection: &mut Connection) -> Result<Vec<PresentSet>, Error> {
    let message = NfTablesMessage::GetSet(SetMessage {
        attributes: vec![SetAttribute::Table(TABLE.to_owned())],
    });
    let mut sets = Vec::new();
    // The kernel answers ENOENT where the table has gone since it was looked at.
    for message in settled(connection.list("list its sets", message))? {
        let NfTablesMessage::NewSet(found) = message else {
            continue;
        };
        let name = found
            .attributes
            .iter()
            .find_map(|attribute| match attribute {
                SetAttribute::Name(name) => Some(name.clone()),
                _ => None,
            });
        // A set without a name belongs to a rule that is none of ours.
        let is_anonymous = |attribute: &SetAttribute| matches!(attribute, SetAttribute::Flags(flags) if flags.contains(SetFlags::Anonymous));
        let Some(name) = name.filter(|_| !found.attributes.iter().any(is_anonymous)) else {
            continue;
        };
        let kind = set::kind(&found.attributes);
        let elements = match kind {
            Some(kind) => {
                let message = NfTablesMessage::GetSetElement(set::message(&name, &[]));
                let listed = settled(connection.list("list the elements of a set", message))?;
                let lists = listed.into_iter().filter_map(|message| match message {
                    NfTablesMessage::NewSetElement(list) => Some(list),
                    _ => None,
                });
                set::decode(kind, &lists.collect::<Vec<_>>())
            }
            None => None,
        };
        sets.push(PresentSet {
            name,
            kind,
            elements,
        });
    }
    Ok(sets)
}

/// What is gone while it is being read has changed.
fn settled<T>(listed: Result<T, Error>) -> Result<T, Error> {
    match listed {
        Err(Error::Refused { source, .. }) if source.raw_os_error() == Some(libc::ENOENT) => {
            Err(Error::Unsettled)
        }
        listed => listed,
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
    (table? == TABLE).then_some(PresentChain {
        name: name?,
        base,
        rules: Vec::new(),
    })
}

fn read_rules(connection: &mut Connection, chains: &mut [PresentChain]) -> Result<(), Error> {
    let message = NfTablesMessage::GetRule(RuleMessage {
        attributes: vec![RuleAttribute::Table(TABLE.to_owned())],
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
        if table.as_deref() != Some(TABLE) {
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
