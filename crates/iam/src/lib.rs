//! AWS IAM as podiam needs it: the names, the patterns and the documents, each a type that can only hold what AWS would
//! accept. Pure: no I/O, no clock, no async; the agent and its command line build on it.
//!
//! | module | owns |
//! |---|---|
//! | `partition` | the AWS partitions: never write `arn:aws:` by hand |
//! | `arn` | [`RoleArn`], what may be sent to `AssumeRole`, and why a text is not one |
//! | `base` | [`BaseArn`], below which short names stand for roles |
//! | `complete` | [`RoleArn::complete`], from a name or an ARN to the role that it stands for |
//! | `glob`, `pattern` | [`RolePattern`], which roles a namespace may have |
//! | `scope` | [`RoleScope`], which roles a cluster may have |
//! | `session` | [`SessionName`], what `CloudTrail` shows |
//! | `external_id` | [`ExternalId`] |
//! | [`policy`] | policy documents as types, and how long IAM lets them be |
//! | [`documents`] | what podiam makes: the nodes' policy, trust policies, workloads' roles |
//! | [`render`] | the formats: JSON, HCL, CloudFormation, AWS CLI |
//! | [`lint`] | what is dangerous in documents that exist |

mod arn;
mod base;
mod charset;
mod complete;
pub mod documents;
mod external_id;
mod fnv;
mod glob;
pub mod lint;
mod partition;
mod pattern;
pub mod policy;
pub mod render;
mod scope;
mod session;

pub use arn::{ArnError, RoleArn};
pub use base::BaseArn;
pub use complete::CompleteError;
pub use external_id::{ExternalId, ExternalIdError};
pub use glob::Glob;
pub use partition::{Partition, UnknownPartition};
pub use pattern::{PatternError, RolePattern};
pub use scope::{RoleScope, ScopeError};
pub use session::{SessionName, SessionNameError};

#[cfg(test)]
mod generate;
