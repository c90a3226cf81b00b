//! `podiam:ignore CODE REASON`: findings that somebody has looked at and accepts. In HCL it stands in a comment on the
//! finding's line, or above it or above the resource around it. JSON has no comments: there the statement's `Sid` says
//! `PodiamIgnoreCODE`. Without a reason a comment counts for nothing.

use super::finding::Finding;

const WORD: &str = "podiam:ignore";

/// The comments of one file: codes, and the line they speak of.
pub(super) struct Ignores(Vec<(u32, String)>);

impl Ignores {
    pub(super) fn of(text: &str) -> Self {
        let lines: Vec<&str> = text.lines().collect();
        let mut found = Vec::new();
        for (at, line) in lines.iter().enumerate() {
            let Some((code, said)) = line.split_once(WORD) else {
                continue;
            };
            let code = code.trim_end();
            let Some(before) = ["#", "//", "/*"]
                .iter()
                .find_map(|comment| code.strip_suffix(comment))
            else {
                continue;
            };
            // A comment that has its line for itself speaks of the next line that is none.
            let target = if before.trim().is_empty() {
                let below = lines[at..].iter().position(|line| !is_comment(line));
                at + below.unwrap_or(0)
            } else {
                at
            };
            let target = u32::try_from(target + 1).unwrap_or(u32::MAX);
            found.extend(codes(said).into_iter().map(|code| (target, code)));
        }
        Self(found)
    }

    pub(super) fn cover(&self, finding: &Finding) -> bool {
        let code = finding.code.as_str();
        let in_comment = self.0.iter().any(|(line, ignored)| {
            ignored == code && [finding.line, finding.document_line].contains(line)
        });
        let in_sid = finding
            .sid
            .as_deref()
            .is_some_and(|sid| sid.contains(&format!("PodiamIgnore{code}")));
        in_comment || in_sid
    }
}

fn is_comment(line: &str) -> bool {
    let line = line.trim_start();
    line.is_empty()
        || ["#", "//", "/*"]
            .iter()
            .any(|start| line.starts_with(start))
}

/// The codes that open a comment's text, if a reason follows: `PI104, PI203: the boundary denies it`.
fn codes(said: &str) -> Vec<String> {
    let mut codes = Vec::new();
    let words = said.trim_end_matches("*/").split_whitespace();
    for word in words {
        let code = word.trim_end_matches([',', ':']);
        let is_code = code.len() == 5
            && code.starts_with("PI")
            && code[2..].bytes().all(|b| b.is_ascii_digit());
        if !is_code {
            return codes;
        }
        codes.push(code.to_owned());
    }
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comment_needs_a_code_and_a_reason() {
        for (said, expected) in [
            (" PI104 the boundary denies it", &["PI104"][..]),
            (" PI104, PI203: accepted until May */", &["PI104", "PI203"]),
            (" PI104", &[]),
            (" everything is fine", &[]),
            (" PI10x no", &[]),
            ("", &[]),
        ] {
            assert_eq!(codes(said), expected, "{said}");
        }
    }

    #[test]
    fn a_comment_speaks_of_its_own_line_or_of_the_next() {
        let text = "# podiam:ignore PI101 because\n# more\n\nx = 1\ny = 2 // podiam:ignore PI102 because\n\"podiam:ignore PI103 no comment\"\n";
        assert_eq!(
            Ignores::of(text).0,
            [(4, "PI101".to_owned()), (5, "PI102".to_owned())]
        );
    }
}
