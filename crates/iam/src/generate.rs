//! Generators of legal values for the property tests of this crate.

use proptest::prelude::*;
use proptest::sample::select;

use crate::{BaseArn, Partition, RoleArn};

/// A part of a path, or a name: legal characters, no dot segment.
pub(crate) fn segment() -> impl Strategy<Value = String> {
    r"[A-Za-z0-9_+=,.@-]{1,64}".prop_filter("a dot segment", |text| text != "." && text != "..")
}

/// `""`, or parts of a path that each end with `/`.
pub(crate) fn path() -> impl Strategy<Value = String> {
    prop::collection::vec(segment(), 0..4)
        .prop_map(|parts| parts.iter().flat_map(|part| [part, "/"]).collect())
}

/// A base ARN, with its `/` at the end.
pub(crate) fn base() -> impl Strategy<Value = BaseArn> {
    (select(&Partition::ALL[..]), "[0-9]{12}", path()).prop_map(|(partition, account, path)| {
        BaseArn::parse(&format!("arn:{partition}:iam::{account}:role/{path}")).unwrap()
    })
}

/// A base ARN and a role directly below it.
pub(crate) fn role_below() -> impl Strategy<Value = (BaseArn, RoleArn)> {
    (base(), segment()).prop_map(|(base, name)| {
        let role = base.complete(&name).unwrap();
        (base, role)
    })
}

/// A role's ARN.
pub(crate) fn role() -> impl Strategy<Value = RoleArn> {
    role_below().prop_map(|(_, role)| role)
}
