//! Reads the ceiling's file: YAML, every field known, nothing guessed. An error names the file, the field and what would
//! be right. A field that is there and empty (`allow:`) is an error too: it would read as "no limit".

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use podiam_iam::{ExternalId, Glob, RoleScope, ScopeError};
use serde::Deserialize;
use serde::de::{self, Deserializer, Visitor};
use serde_json::Value;
use thiserror::Error;

use super::{Ceiling, ExternalIdRule, Lists, NamespaceRule, PodsExternalId};

/// Why a file is no ceiling.
#[derive(Debug, Error)]
pub enum CeilingError {
    /// It cannot be read.
    #[error("{path:?} of --ceiling cannot be read")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is not YAML.
    #[error("{path:?} of --ceiling is not one YAML document: {detail}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where and why; one line.
        detail: String,
    },
    /// A field says something that cannot be.
    #[error("{path:?} of --ceiling: {problem}")]
    Field {
        /// The file.
        path: PathBuf,
        /// The field, and what would be right; one line.
        problem: String,
    },
}

impl Ceiling {
    /// Reads the file at `path`.
    pub fn load(path: &Path) -> Result<Self, CeilingError> {
        let text = fs::read_to_string(path).map_err(|source| CeilingError::Unreadable {
            path: path.to_owned(),
            source,
        })?;
        Self::parse(path, &text)
    }

    /// Reads a text; `path` is for the errors alone.
    pub fn parse(path: &Path, text: &str) -> Result<Self, CeilingError> {
        let path = || path.to_owned();
        let options = serde_saphyr::options! { with_snippet: false };
        let value: Value = serde_saphyr::from_str_with_options(text, options).map_err(|error| {
            let detail = error.to_string().replace('\n', " ");
            CeilingError::Syntax {
                path: path(),
                detail,
            }
        })?;
        let field = |problem: String| CeilingError::Field {
            path: path(),
            problem,
        };
        if value.as_object().is_none_or(serde_json::Map::is_empty) {
            // An emptied file must not lift the ceiling.
            return Err(field(
                "it says nothing; write at least one of allow, deny, namespaces and externalIds"
                    .to_owned(),
            ));
        }
        let file: File = serde_path_to_error::deserialize(value)
            .map_err(|error| field(format!("{}: {}", error.path(), error.inner())))?;
        file.judge().map_err(field)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct File {
    #[serde(default, deserialize_with = "there")]
    allow: Option<Vec<Scope>>,
    #[serde(default)]
    deny: Vec<Scope>,
    #[serde(default)]
    namespaces: Vec<NamespaceEntry>,
    #[serde(default)]
    external_ids: Vec<ExternalIdEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NamespaceEntry {
    name: NamespaceGlob,
    #[serde(default, deserialize_with = "there")]
    allow: Option<Vec<Scope>>,
    #[serde(default)]
    deny: Vec<Scope>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExternalIdEntry {
    roles: Vec<Scope>,
    #[serde(default, rename = "use")]
    replacement: Option<OperatorsId>,
    #[serde(default)]
    forbid: bool,
}

impl File {
    fn judge(self) -> Result<Ceiling, String> {
        let namespaces = self.namespaces.into_iter().map(|entry| NamespaceRule {
            name: entry.name.0,
            lists: lists(entry.allow, entry.deny),
        });
        let external_ids = self.external_ids.into_iter().enumerate();
        let external_ids = external_ids.map(|(position, entry)| {
            let rule = match (entry.replacement, entry.forbid) {
                (Some(OperatorsId(id)), false) => PodsExternalId::Replaced(id),
                (None, true) => PodsExternalId::Forbidden,
                _ => {
                    return Err(format!(
                        "externalIds[{position}]: write either use, with the external ID that is sent, or forbid: true"
                    ));
                }
            };
            let roles = scopes(entry.roles);
            Ok(ExternalIdRule { roles, rule })
        });
        Ok(Ceiling {
            cluster: lists(self.allow, self.deny),
            namespaces: namespaces.collect(),
            external_ids: external_ids.collect::<Result<_, _>>()?,
        })
    }
}

fn lists(allow: Option<Vec<Scope>>, deny: Vec<Scope>) -> Lists {
    Lists {
        allow: allow.map(scopes),
        deny: scopes(deny),
    }
}

fn scopes(all: Vec<Scope>) -> Vec<RoleScope> {
    all.into_iter().map(|Scope(scope)| scope).collect()
}

/// `None` only where the field is absent: `allow:` without anything is null, and an error.
fn there<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<Scope>>, D::Error> {
    Vec::deserialize(deserializer).map(Some)
}

/// A set of roles.
struct Scope(RoleScope);

impl<'de> Deserialize<'de> for Scope {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;

        impl Visitor<'_> for Reader {
            type Value = Scope;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text: an ARN with *, an account in quotes, a path, or *")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Scope, E> {
                let wrong = |error: ScopeError| E::custom(format_args!("{text:?}: {error}"));
                RoleScope::parse(text).map(Scope).map_err(wrong)
            }

            /// An account without quotes: YAML has eaten its leading zeros.
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Scope, E> {
                Err(E::custom(format_args!("{number}: {}", ScopeError::Account)))
            }
        }

        deserializer.deserialize_any(Reader)
    }
}

/// The names of namespaces, with `*`.
#[derive(Deserialize)]
#[serde(try_from = "String")]
struct NamespaceGlob(Glob);

impl TryFrom<String> for NamespaceGlob {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let legal = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || b"-*".contains(&c);
        if !text.is_empty() && text.bytes().all(legal) {
            Ok(Self(Glob::new(&text)))
        } else {
            Err(format!(
                "{text:?}: a namespace's name has lower-case letters, digits and -, and * stands for any of them"
            ))
        }
    }
}

/// The operator's external ID.
#[derive(Deserialize)]
#[serde(try_from = "String")]
struct OperatorsId(ExternalId);

impl TryFrom<String> for OperatorsId {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        ExternalId::parse(&text)
            .map(Self)
            .map_err(|error| format!("not an external ID: {error}"))
    }
}
