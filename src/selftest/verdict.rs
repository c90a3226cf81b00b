//! What answers mean. Pure: `probe` brings them.

use std::net::IpAddr;

/// What the self-test found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Finding {
    /// The question came here.
    Intercepted,
    /// Somebody else answered it: pods ask the real metadata service, or another program.
    Bypassed,
    /// Nobody answered: pods reach neither us nor the real metadata service.
    Closed,
    /// It could not be asked.
    Unknown,
}

impl Finding {
    /// Every name.
    pub(super) const NAMES: [&'static str; 4] = ["intercepted", "bypassed", "closed", "unknown"];

    /// The metric's label and the log's field.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Intercepted => "intercepted",
            Self::Bypassed => "bypassed",
            Self::Closed => "closed",
            Self::Unknown => "unknown",
        }
    }
}

/// What was found, and one line about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) finding: Finding,
    pub(crate) detail: String,
}

/// Where a question was asked from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A pod's namespace.
    Pod,
    /// A namespace of our own; `covered`: the rules must hold for its link too.
    Own { covered: bool },
}

/// One question's end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It came here.
    Here,
    /// Somebody else's, and its first line.
    Elsewhere(String),
    /// None, and why.
    Nothing(String),
}

/// One question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) from: Place,
    pub(super) address: IpAddr,
    pub(super) answer: Answer,
}

impl Verdict {
    pub(super) fn unknown(why: impl Into<String>) -> Self {
        Self {
            finding: Finding::Unknown,
            detail: why.into(),
        }
    }

    /// Of the addresses that pods ask, the one that matters most: who is bypassed at one of them is bypassed, and who does
    /// not know of one of them has still proven the other.
    pub(super) fn worst(verdicts: impl Iterator<Item = Self>) -> Self {
        let matters = |verdict: &Self| match verdict.finding {
            Finding::Bypassed => 3,
            Finding::Closed => 2,
            Finding::Intercepted => 1,
            Finding::Unknown => 0,
        };
        let verdicts: Vec<Self> = verdicts.collect();
        let Some(worst) = verdicts.iter().max_by_key(|verdict| matters(verdict)) else {
            return Self::unknown("no address of the metadata service is intercepted");
        };
        let told = verdicts.iter().filter(|one| one.finding == worst.finding);
        let details: Vec<&str> = told.map(|one| one.detail.as_str()).collect();
        Self {
            finding: worst.finding,
            detail: details.join("; "),
        }
    }

    /// The worst that is certain of one address: one pod whose requests go elsewhere is a bypass, whatever the others' do. Nothing that
    /// came back is a matter of the pod alone (a network policy may forbid it) as long as another question came here.
    /// What happens to a link of our own that the rules need not cover says something only where it came here.
    pub(super) fn of(metadata: IpAddr, asked: &[Asked]) -> Self {
        let proves = |one: &&Asked| one.from != Place::Own { covered: false };
        let line = |one: &Asked| {
            let place = match one.from {
                Place::Pod => "the pod at ",
                Place::Own { .. } => "a namespace of podiam's own at ",
            };
            format!("{place}{}", one.address)
        };
        let elsewhere = asked.iter().filter(proves).find_map(|one| match &one.answer {
            Answer::Elsewhere(who) => Some(format!(
                "{} asks {metadata} and is answered by {who}; the node's credentials may be open to pods",
                line(one)
            )),
            _ => None,
        });
        if let Some(detail) = elsewhere {
            return Self {
                finding: Finding::Bypassed,
                detail,
            };
        }
        if let Some(one) = asked.iter().find(|one| one.answer == Answer::Here) {
            return Self {
                finding: Finding::Intercepted,
                detail: format!("{} asks {metadata} and is answered here", line(one)),
            };
        }
        let nothing = asked.iter().filter(proves).find_map(|one| match &one.answer {
            Answer::Nothing(why) => Some(format!(
                "{} asks {metadata} and is not answered ({why}); what refuses it: another rule set, a network policy?",
                line(one)
            )),
            _ => None,
        });
        match nothing {
            Some(detail) => Self {
                finding: Finding::Closed,
                detail,
            },
            None => Self::unknown(
                "no pod's namespace can be seen, and the rules need not cover a link of podiam's own; \
                 run with hostPID: true, or mount /run/netns",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const METADATA: IpAddr = IpAddr::V4(podiam_intercept::METADATA_V4);

    #[test]
    fn of_two_addresses_a_bypass_at_one_is_a_bypass_and_a_proof_at_one_is_a_proof() {
        use Finding::{Bypassed, Closed, Intercepted, Unknown};
        for (one, other, whole) in [
            (Intercepted, Intercepted, Intercepted),
            (Intercepted, Bypassed, Bypassed),
            (Closed, Bypassed, Bypassed),
            (Intercepted, Closed, Closed),
            (Intercepted, Unknown, Intercepted),
            (Unknown, Closed, Closed),
            (Unknown, Unknown, Unknown),
        ] {
            for pair in [[one, other], [other, one]] {
                let verdicts = pair.map(|finding| Verdict {
                    finding,
                    detail: String::new(),
                });
                assert_eq!(
                    Verdict::worst(verdicts.into_iter()).finding,
                    whole,
                    "{pair:?}"
                );
            }
        }
        assert_eq!(Verdict::worst(std::iter::empty()).finding, Unknown);
    }

    #[test]
    fn one_bypass_outweighs_everything_and_one_answer_outweighs_silence() {
        let pod = Place::Pod;
        let (covered, uncovered) = (Place::Own { covered: true }, Place::Own { covered: false });
        let (here, elsewhere, nothing) = (
            || Answer::Here,
            || Answer::Elsewhere("HTTP/1.1 404".into()),
            || Answer::Nothing("refused".into()),
        );
        for (asked, finding) in [
            (vec![(pod, here())], Finding::Intercepted),
            (vec![(pod, here()), (pod, elsewhere())], Finding::Bypassed),
            (vec![(pod, nothing()), (pod, here())], Finding::Intercepted),
            (vec![(pod, nothing())], Finding::Closed),
            (
                vec![(pod, nothing()), (covered, here())],
                Finding::Intercepted,
            ),
            (vec![(covered, elsewhere())], Finding::Bypassed),
            (vec![(covered, nothing())], Finding::Closed),
            (vec![(uncovered, here())], Finding::Intercepted),
            (vec![(uncovered, elsewhere())], Finding::Unknown),
            (vec![(uncovered, nothing())], Finding::Unknown),
            (
                vec![(pod, nothing()), (uncovered, elsewhere())],
                Finding::Closed,
            ),
            (vec![], Finding::Unknown),
        ] {
            let asked: Vec<Asked> = asked
                .into_iter()
                .map(|(from, answer)| Asked {
                    from,
                    address: [10, 0, 0, 1].into(),
                    answer,
                })
                .collect();
            assert_eq!(Verdict::of(METADATA, &asked).finding, finding, "{asked:?}");
        }
    }
}
