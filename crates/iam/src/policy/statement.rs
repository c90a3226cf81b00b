//! One statement of a policy, and how podiam builds its own.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

use super::list::List;
use super::principal::Principal;

/// The element `Condition`: operator, then key, then the values that satisfy it.
pub type Condition = BTreeMap<String, BTreeMap<String, List>>;

/// What a statement that applies does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Effect {
    /// Allows, unless a Deny applies too.
    Allow,
    /// Denies, whatever else allows.
    Deny,
}

/// A statement. Elements that were left out are empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Statement {
    /// Its name: in policies of IAM letters and digits only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sid: Option<String>,
    /// Allow or Deny.
    pub effect: Effect,
    /// Who may: in trust policies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal: Option<Principal>,
    /// Everyone but: in trust policies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_principal: Option<Principal>,
    /// What may be done.
    #[serde(default, skip_serializing_if = "List::is_absent")]
    pub action: List,
    /// Everything but.
    #[serde(default, skip_serializing_if = "List::is_absent")]
    pub not_action: List,
    /// On what: in policies of identities.
    #[serde(default, skip_serializing_if = "List::is_absent")]
    pub resource: List,
    /// On everything but.
    #[serde(default, skip_serializing_if = "List::is_absent")]
    pub not_resource: List,
    /// Only where these hold.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub condition: Condition,
}

impl Statement {
    /// A statement that allows `actions`.
    pub fn allow<const N: usize>(sid: &str, actions: [&str; N]) -> Self {
        Self::new(sid, Effect::Allow, actions.into())
    }

    /// A statement that denies `actions`.
    pub fn deny<const N: usize>(sid: &str, actions: [&str; N]) -> Self {
        Self::new(sid, Effect::Deny, actions.into())
    }

    /// A statement without principal, resource and condition.
    pub fn new(sid: &str, effect: Effect, action: List) -> Self {
        Self {
            sid: Some(sid.to_owned()),
            effect,
            principal: None,
            not_principal: None,
            action,
            not_action: List::default(),
            resource: List::default(),
            not_resource: List::default(),
            condition: Condition::new(),
        }
    }

    /// The same, on these resources.
    #[must_use]
    pub fn on<T: Into<String>>(mut self, resources: impl IntoIterator<Item = T>) -> Self {
        self.resource = List::from_iter(resources);
        self
    }

    /// The same, on everything but these resources.
    #[must_use]
    pub fn on_all_but<T: Into<String>>(mut self, resources: impl IntoIterator<Item = T>) -> Self {
        self.not_resource = List::from_iter(resources);
        self
    }

    /// The same, for this principal.
    #[must_use]
    pub fn by(mut self, principal: Principal) -> Self {
        self.principal = Some(principal);
        self
    }

    /// The same, only where `key` satisfies `operator` with one of `values`.
    #[must_use]
    pub fn when<T: Into<String>>(
        mut self,
        operator: &str,
        key: &str,
        values: impl IntoIterator<Item = T>,
    ) -> Self {
        self.condition
            .entry(operator.to_owned())
            .or_default()
            .insert(key.to_owned(), List::from_iter(values));
        self
    }
}

/// IAM reads a single statement where a list is due.
pub(super) fn one_or_many<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<Statement>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMany {
        Many(Vec<Statement>),
        One(Box<Statement>),
    }
    Ok(match OneOrMany::deserialize(deserializer)? {
        OneOrMany::Many(statements) => statements,
        OneOrMany::One(statement) => vec![*statement],
    })
}
