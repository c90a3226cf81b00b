//! Which variant of iptables the node uses, and what is in it. If both have rules, the choice is that of the Kubernetes
//! project's iptables-wrappers: the kubelet's, else the one with more rules.

use super::{
    error::Error,
    programs::{Folders, Kind, Variant},
    ruleset::Family,
    saved::Saved,
};

/// One variant and the rules in it.
#[derive(Debug)]
pub(super) struct Surveyed {
    pub(super) variant: Variant,
    pub(super) v4: Saved,
    pub(super) v6: Saved,
}

/// Every variant that works here; `chosen` is the one to write to.
#[derive(Debug)]
pub(super) struct Survey {
    pub(super) chosen: Surveyed,
    /// In words that fit "chosen because ...".
    pub(super) because: &'static str,
    pub(super) other: Option<Surveyed>,
}

/// What the choice depends on.
#[derive(Clone, Copy, Debug)]
struct Use {
    kubelet: bool,
    ours: bool,
    /// Rules of others.
    rules: usize,
}

impl Survey {
    /// Looks at all that is installed. A variant that the kernel does not support has no rules.
    pub(super) fn take(folders: &Folders) -> Result<Self, Error> {
        let mut failure = None;
        let mut working = Vec::new();
        for variant in folders.variants()? {
            match Surveyed::look(variant) {
                Ok(surveyed) => working.push(surveyed),
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        let mut working = working.into_iter();
        match (working.next(), working.next(), failure) {
            (Some(first), Some(second), _) => {
                let (is_first, because) = choose(first.usage(), second.usage());
                let (chosen, other) = if is_first {
                    (first, second)
                } else {
                    (second, first)
                };
                Ok(Self {
                    chosen,
                    because,
                    other: Some(other),
                })
            }
            (Some(only), None, _) => Ok(Self {
                chosen: only,
                because: "it is the only one here",
                other: None,
            }),
            (None, _, Some(error)) => Err(error),
            (None, _, None) => Err(Error::Missing {
                program: "iptables".to_owned(),
                package: "iptables",
            }),
        }
    }

    /// Whether podiam has rules in any variant.
    pub(super) fn has_ours(&self) -> bool {
        self.chosen.has_ours() || self.other.as_ref().is_some_and(Surveyed::has_ours)
    }

    /// Where the rules are and why there, for people.
    pub(super) fn place(&self, kind: Kind) -> String {
        if kind == self.chosen.variant.kind {
            format!("iptables, variant {kind} ({})", self.because)
        } else {
            format!("iptables, variant {kind}")
        }
    }
}

impl Surveyed {
    fn look(variant: Variant) -> Result<Self, Error> {
        Ok(Self {
            v4: variant.save(Family::V4)?,
            v6: variant.save(Family::V6)?,
            variant,
        })
    }

    pub(super) fn saved(&self, family: Family) -> &Saved {
        match family {
            Family::V4 => &self.v4,
            Family::V6 => &self.v6,
        }
    }

    pub(super) fn has_ours(&self) -> bool {
        self.v4.has_ours() || self.v6.has_ours()
    }

    fn usage(&self) -> Use {
        Use {
            kubelet: self.v4.has_kubelets() || self.v6.has_kubelets(),
            ours: self.has_ours(),
            rules: self.v4.foreign() + self.v6.foreign(),
        }
    }
}

/// Whether the first is the one, and why. The first is what the node itself calls iptables.
fn choose(first: Use, second: Use) -> (bool, &'static str) {
    if first.kubelet != second.kubelet {
        return (first.kubelet, "the kubelet's chains are in it");
    }
    if first.rules == 0 && second.rules == 0 {
        return (true, "it is what this node calls iptables");
    }
    // Rules that come and go must not move ours to and fro.
    if first.ours != second.ours && first.rules > 0 && second.rules > 0 {
        return (first.ours, "podiam's rules are in it already");
    }
    if first.rules == second.rules {
        return (true, "it is what this node calls iptables");
    }
    (
        first.rules > second.rules,
        "more of the node's rules are in it",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kubelets_variant_wins_then_the_one_in_use_then_the_one_with_more_rules() {
        let variant = |kubelet, ours, rules| Use {
            kubelet,
            ours,
            rules,
        };
        for (first, second, is_first, because) in [
            (
                variant(false, true, 90),
                variant(true, false, 0),
                false,
                "kubelet",
            ),
            (
                variant(true, false, 0),
                variant(false, false, 9),
                true,
                "kubelet",
            ),
            (
                variant(true, false, 0),
                variant(true, false, 9),
                false,
                "more",
            ),
            (
                variant(false, false, 3),
                variant(false, false, 9),
                false,
                "more",
            ),
            (
                variant(false, false, 9),
                variant(false, false, 3),
                true,
                "more",
            ),
            (
                variant(false, true, 3),
                variant(false, false, 9),
                true,
                "already",
            ),
            (
                variant(false, true, 0),
                variant(false, false, 9),
                false,
                "more",
            ),
            (
                variant(false, false, 0),
                variant(false, true, 0),
                true,
                "calls iptables",
            ),
            (
                variant(false, false, 4),
                variant(false, false, 4),
                true,
                "calls iptables",
            ),
        ] {
            let (found, reason) = choose(first, second);
            assert_eq!(found, is_first, "{first:?} {second:?}");
            assert!(reason.contains(because), "{first:?} {second:?}: {reason}");
        }
    }
}
