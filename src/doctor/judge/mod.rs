//! What the facts mean: one file for each check, pure, from what was seen (or why it was not) to a finding. Nothing here
//! asks anybody.

pub(super) mod agents;
pub(super) mod assumable;
pub(super) mod caller;
pub(super) mod dataplane;
pub(super) mod duration;
pub(super) mod endpoint;
pub(super) mod guards;
pub(super) mod hop_limit;
pub(super) mod interception;
pub(super) mod kernel;
pub(super) mod node_policy;
pub(super) mod rbac;
pub(super) mod skew;
pub(super) mod tokens;
pub(super) mod trust;
pub(super) mod versions;
