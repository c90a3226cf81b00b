//! Which roles the text after `Resource` stands for, as far as it can be told without Terraform: `${...}` is one unknown
//! word, never a wildcard.

use super::wildcard::{is_wild, matches};

/// Stands for `${...}`, which may hold colons and stars of its own.
const UNKNOWN: char = '\u{1a}';

/// How far a resource of an Allow of AssumeRole reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// Everything there is.
    Everything,
    /// All roles of an account, or roles in any account.
    EveryRole,
    /// Roles whose names, without a path, begin alike.
    Beginning,
    /// Roles below a path.
    Path,
    /// One role, or no role at all.
    Exact,
}

/// How far `resource` reaches.
pub(super) fn of(resource: &str) -> Reach {
    let resource = known(resource);
    let parts: Vec<&str> = resource.splitn(6, ':').collect();
    let [_, _, _, _, account, name] = parts[..] else {
        return if matches(&resource, "arn:aws:iam::123456789012:role/a/b") {
            Reach::Everything
        } else {
            Reach::Exact
        };
    };
    let roles = ["role/a", "role/b/c"].map(|probe| matches(name, probe));
    if roles == [true, true] || (is_wild(account) && (is_wild(name) || name.starts_with("role"))) {
        return Reach::EveryRole;
    }
    let Some(wild) = name.find(['*', '?']) else {
        return Reach::Exact;
    };
    let literal = name[..wild].strip_prefix("role/");
    match literal {
        Some(literal) if !literal.contains('/') => Reach::Beginning,
        _ => Reach::Path,
    }
}

/// Whether `resource` may stand for the role `arn`. Unknown words fit everywhere.
pub(super) fn may_cover(resource: &str, arn: &str) -> bool {
    let (resource, arn) = (known(resource), known(arn));
    let (pattern, role): (Vec<&str>, Vec<&str>) = (
        resource.splitn(6, ':').collect(),
        arn.splitn(6, ':').collect(),
    );
    if pattern.len() < 6 || role.len() < 6 {
        return matches(&loose(&resource), &arn);
    }
    pattern
        .iter()
        .zip(&role)
        .all(|(pattern, role)| role.contains(UNKNOWN) || matches(&loose(pattern), role))
}

fn known(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        out.push_str(before);
        out.push(UNKNOWN);
        let mut depth = 1;
        let end = after.char_indices().find_map(|(at, c)| {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            (depth == 0).then_some(at + 1)
        });
        rest = &after[end.unwrap_or(after.len())..];
    }
    out + rest
}

fn loose(pattern: &str) -> String {
    pattern.replace(UNKNOWN, "*")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resource_reaches_as_far_as_its_first_wildcard_lets_it() {
        for (resource, expected) in [
            ("*", Reach::Everything),
            ("arn:aws:iam::*", Reach::Everything),
            ("arn:*:role/*", Reach::Everything),
            ("arn:aws:iam::123456789012:role/*", Reach::EveryRole),
            ("arn:aws:iam::123456789012:*", Reach::EveryRole),
            ("arn:aws:iam::123456789012:role*", Reach::EveryRole),
            ("arn:aws:iam::${data.x.y}:role/*", Reach::EveryRole),
            ("arn:aws:iam::*:role/k8s/*", Reach::EveryRole),
            ("arn:aws:iam::*:role/app", Reach::EveryRole),
            ("arn:aws:iam::123456789012:role/k8s*", Reach::Beginning),
            ("arn:aws:iam::123456789012:role/k8s-?", Reach::Beginning),
            (
                "arn:aws:iam::${var.account}:role/${var.prefix}*",
                Reach::Beginning,
            ),
            ("arn:aws:iam::123456789012:role/k8s/*", Reach::Path),
            (
                "arn:${data.p.q}:iam::${data.x[\"a:b\"].y}:role/${var.path}/*",
                Reach::Path,
            ),
            ("arn:aws:iam::123456789012:role/k8s/app", Reach::Exact),
            ("${aws_iam_role.app.arn}", Reach::Exact),
            ("arn:aws:s3:::bucket/*", Reach::Path),
        ] {
            assert_eq!(of(resource), expected, "{resource}");
        }
    }

    #[test]
    fn an_unknown_word_may_be_any() {
        let node = "arn:aws:iam::${local.account}:role/nodes";
        for (resource, expected) in [
            ("*", true),
            ("arn:aws:iam::123456789012:role/*", true),
            ("arn:aws:iam::123456789012:role/k8s/*", false),
            ("arn:aws:iam::${var.a}:role/no*", true),
        ] {
            assert_eq!(may_cover(resource, node), expected, "{resource}");
        }
    }
}
