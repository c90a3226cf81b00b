//! What is asked, and of whom: STS, IAM and EC2, the Kubernetes API, this node. Each answers with plain values, or with the
//! reason why it cannot; nothing here judges, and nothing here changes anything.

pub(super) mod cluster;
pub(super) mod node;
pub(super) mod query;
pub(super) mod roles;
pub(super) mod sts;
pub(super) mod xml;
