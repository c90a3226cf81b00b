//! Names for roles inside of a file: Terraform's labels and CloudFormation's logical IDs hold fewer characters than the
//! names of roles, so two roles may want the same one.

use std::collections::HashMap;

/// Gives every role a name of its own.
#[derive(Default)]
pub(super) struct Labels(HashMap<String, usize>);

impl Labels {
    /// `wanted`, or `wanted` with the lowest number that makes it unique.
    pub(super) fn unique(&mut self, wanted: String, separator: &str) -> String {
        let count = self.0.entry(wanted.clone()).or_insert(0);
        *count += 1;
        let label = match *count {
            1 => return wanted,
            count => format!("{wanted}{separator}{count}"),
        };
        self.unique(label, separator)
    }
}

/// A Terraform label: `k8s/cluster-autoscaler` becomes `k8s_cluster_autoscaler`.
pub(super) fn snake(name: &str) -> String {
    let mut label: String = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
        .collect();
    if !label.starts_with(|c: char| c.is_ascii_alphabetic()) {
        label.insert_str(0, "role_");
    }
    label
}

/// A logical ID: `k8s/cluster-autoscaler` becomes `K8sClusterAutoscaler`.
pub(super) fn pascal(name: &str) -> String {
    name.split(|c: char| !c.is_ascii_alphanumeric())
        .filter_map(|word| {
            let first = word.chars().next()?;
            Some(first.to_ascii_uppercase().to_string() + &word[1..])
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_roles_never_share_a_label() {
        let mut labels = Labels::default();
        let given: Vec<String> = ["a-b", "a_b", "a/b", "a_b_2", "1"]
            .map(|name| labels.unique(snake(name), "_"))
            .into();
        assert_eq!(given, ["a_b", "a_b_2", "a_b_3", "a_b_2_2", "role_1"]);
        assert_eq!(
            pascal("k8s/demo/cluster-autoscaler"),
            "K8sDemoClusterAutoscaler"
        );
    }
}
