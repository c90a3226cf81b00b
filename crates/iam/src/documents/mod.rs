//! The documents that keep a cluster safe, made out of a few names: what the nodes may assume, whom a workload's role
//! trusts, and what a workload may do. Each is the least that works, and none of them can be made to say `*` where a
//! role's name belongs. How they are written down is `render`.

mod assumable;
mod bootstrap;
mod bundle;
mod leaving;
mod name;
mod node_policy;
mod preset;
mod trust;
mod workload;

pub use assumable::{AssumableRoles, EveryRole, Extras};
pub use bootstrap::{Bootstrap, BootstrapError};
pub use bundle::{Bundle, MadeBy, NamedDocument, Role};
pub use leaving::{Account, NotAProvider, OidcProvider, irsa_trust, pod_identity_trust};
pub use name::{NameError, is_region};
pub use node_policy::{NodePolicyError, node_policy};
pub use preset::{Preset, PresetError, PresetKind, PresetOptions};
pub use trust::Trust;
pub use workload::{Attachment, Workload};
