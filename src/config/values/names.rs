//! Names that others gave: of nodes, of annotations, of clusters, of regions.

/// The name of a node: a DNS subdomain in the sense of RFC 1123, as Kubernetes requires it of every object's name.
pub(in crate::config) fn node_name(text: &str) -> Result<String, &'static str> {
    if is_dns_subdomain(text) {
        Ok(text.to_owned())
    } else {
        Err(
            "not the name of a node: at most 253 lower-case letters, digits, - and ., as `kubectl get nodes` shows it",
        )
    }
}

/// The key of an annotation: a name of at most 63 characters, after a DNS subdomain and `/` if it has one.
pub(in crate::config) fn annotation_key(text: &str) -> Result<String, &'static str> {
    if is_qualified_name(text) {
        Ok(text.to_owned())
    } else {
        Err("not the key of an annotation, such as iam.amazonaws.com/role")
    }
}

/// The key of a taint.
pub(in crate::config) fn taint_key(text: &str) -> Result<String, &'static str> {
    if is_qualified_name(text) {
        Ok(text.to_owned())
    } else {
        Err(
            "not the key of a taint, such as podiam.io/agent-not-ready; it has neither value nor effect",
        )
    }
}

/// Kubernetes' qualified name: a name, with or without a DNS subdomain before it.
fn is_qualified_name(text: &str) -> bool {
    let (prefix, name) = text
        .split_once('/')
        .map_or((None, text), |(prefix, name)| (Some(prefix), name));
    let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = name.as_bytes();
    let is_name = name.len() <= 63
        && edge(bytes.first())
        && edge(bytes.last())
        && bytes
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte));
    is_name && prefix.is_none_or(is_dns_subdomain)
}

/// The name of a cluster, as the value of a session tag.
pub(in crate::config) fn cluster_name(text: &str) -> Result<String, &'static str> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b" _.:/=+-@".contains(&byte);
    if (1..=256).contains(&text.len()) && text.bytes().all(legal) {
        Ok(text.to_owned())
    } else {
        Err("not the name of a cluster: at most 256 letters, digits, spaces and _.:/=+-@")
    }
}

/// A region. AWS lists them nowhere in a form that would be right tomorrow, so only the shape is checked.
pub(in crate::config) fn region(text: &str) -> Result<String, &'static str> {
    let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let starts_with_letter = text.starts_with(|c: char| c.is_ascii_lowercase());
    if starts_with_letter && text.len() <= 63 && text.bytes().all(legal) && !text.ends_with('-') {
        Ok(text.to_owned())
    } else {
        Err("not a region, such as eu-central-1")
    }
}

/// RFC 1123, lower case.
pub(super) fn is_dns_subdomain(text: &str) -> bool {
    text.len() <= 253
        && text.split('.').all(|label| {
            let legal =
                |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
            !label.is_empty()
                && label.bytes().all(legal)
                && !label.starts_with('-')
                && !label.ends_with('-')
        })
}

#[cfg(test)]
mod tests {
    use super::super::table;
    use super::*;

    #[test]
    fn a_node_name_is_a_dns_subdomain() {
        let longest = ["a"; 127].join(".");
        assert_eq!(longest.len(), 253);
        table(
            node_name,
            &[
                "n",
                "ip-10-0-0-7.eu-central-1.compute.internal",
                "1",
                &longest,
            ],
            &[
                "",
                "Node",
                "-a",
                "a-",
                "a..b",
                "a_b",
                "a b",
                "--debug",
                "$(NODE_NAME)",
                &format!("{longest}.a"),
            ],
        );
    }

    #[test]
    fn an_annotation_key_is_what_kubernetes_takes_as_one() {
        let name = "n".repeat(63);
        table(
            annotation_key,
            &["iam.amazonaws.com/role", "role", "a/B_c.d-e", &name],
            &[
                "",
                "/role",
                "a/",
                "a/b/c",
                "A.com/role",
                "-role",
                "role-",
                "ro le",
                "a/ro\nle",
                &format!("{name}n"),
            ],
        );
    }

    #[test]
    fn a_region_is_lower_case_with_dashes() {
        table(
            region,
            &[
                "eu-central-1",
                "us-gov-west-1",
                "us-isob-east-1",
                "cn-north-1",
                "eusc-de-east-1",
            ],
            &[
                "",
                "EU-central-1",
                "eu_central_1",
                "eu-central-1.evil.example",
                "-eu",
                "1",
                "eu-",
                "eu central",
                "a/b",
            ],
        );
    }
}
