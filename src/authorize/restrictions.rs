//! What the annotations of namespaces allow: `["my-role", "team/*", "arn:aws:iam::123456789012:role/x"]`.
//!
//! Each element is completed like a pod's annotation and held against the whole ARN. A list with one bad element allows
//! nothing: half a list is not what its author decided.

use std::sync::Arc;

use podiam_iam::{BaseArn, PatternError, RoleArn, RolePattern};
use serde_json::Value;

use super::excerpt;
use super::memo::Memo;
use crate::config::RestrictionFormat;

/// Elements that are read of a list of regular expressions, each of which takes memory when compiled.
pub(super) const MAX_REGEXPS: usize = 256;

/// One list, or what is wrong with it.
type Patterns = Result<Vec<RolePattern>, String>;

/// Reads lists.
#[derive(Debug)]
pub(super) struct Restrictions {
    format: RestrictionFormat,
    base: Option<BaseArn>,
    memo: Memo<Patterns>,
}

impl Restrictions {
    pub(super) fn new(format: RestrictionFormat, base: Option<BaseArn>) -> Self {
        Self {
            format,
            base,
            memo: Memo::default(),
        }
    }

    /// Whether the list allows the role; an error is what is wrong with the list, in one line.
    pub(super) fn allow(&self, annotation: &str, role: &RoleArn) -> Result<bool, String> {
        match &*self.patterns(annotation) {
            Ok(patterns) => Ok(patterns.iter().any(|pattern| pattern.matches(role))),
            Err(problem) => Err(problem.clone()),
        }
    }

    fn patterns(&self, annotation: &str) -> Arc<Patterns> {
        self.memo.get(annotation, |text| self.parse(text))
    }

    fn parse(&self, annotation: &str) -> Patterns {
        let elements = match serde_json::from_str(annotation) {
            Ok(Value::Array(elements)) => elements,
            Ok(_) => return Err("not a JSON array of strings".to_owned()),
            Err(error) => return Err(format!("not a JSON array of strings: {error}")),
        };
        if self.format == RestrictionFormat::Regexp && elements.len() > MAX_REGEXPS {
            let count = elements.len();
            return Err(format!(
                "{count} regular expressions, at most {MAX_REGEXPS} are read"
            ));
        }
        let parse = |(position, element): (usize, &Value)| {
            let position = position + 1;
            let Value::String(element) = element else {
                return Err(format!("element {position} is not a string"));
            };
            self.pattern(element)
                .map_err(|error| format!("element {position}, {:?}: {error}", excerpt(element)))
        };
        elements.iter().enumerate().map(parse).collect()
    }

    fn pattern(&self, element: &str) -> Result<RolePattern, PatternError> {
        let base = self.base.as_ref().filter(|_| !RoleArn::is_meant(element));
        match (self.format, base) {
            (RestrictionFormat::Glob, None) => Ok(RolePattern::glob(element)),
            (RestrictionFormat::Glob, Some(base)) => Ok(RolePattern::glob_below(base, element)),
            (RestrictionFormat::Regexp, None) => RolePattern::regexp(element),
            (RestrictionFormat::Regexp, Some(base)) => RolePattern::regexp_below(base, element),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::memo::KEPT;
    use super::*;

    #[test]
    fn a_list_is_parsed_once_and_only_so_many_are_kept() {
        let restrictions = Restrictions::new(RestrictionFormat::Regexp, None);
        let kept = || restrictions.memo.len();
        let first = restrictions.patterns(r#"["a.*"]"#);
        assert!(Arc::ptr_eq(&first, &restrictions.patterns(r#"["a.*"]"#)));
        assert_eq!(kept(), 1);
        for number in 0..3 * KEPT {
            restrictions
                .patterns(&format!(r#"["{number}"]"#))
                .as_ref()
                .as_ref()
                .unwrap();
            assert!(kept() <= KEPT);
        }
    }
}
