//! kiam's guard: one regular expression in an annotation of the namespace. kiam held it against the role as the pod
//! wrote it, a name or an ARN, with `^` and `$` around it, so that `a|b` allowed `ax` and `xb`; here it must match from
//! the first character to the last.

use podiam_iam::{BaseArn, RoleArn, RolePattern};

use super::memo::Memo;

/// Reads the expressions of namespaces.
#[derive(Debug)]
pub(super) struct Permitted {
    base: Option<BaseArn>,
    memo: Memo<Patterns>,
}

/// The expression over the whole ARN, and over what follows the base ARN.
type Patterns = Result<Vec<RolePattern>, String>;

impl Permitted {
    pub(super) fn new(base: Option<BaseArn>) -> Self {
        Self {
            base,
            memo: Memo::default(),
        }
    }

    /// Whether the expression allows the role; an error is what is wrong with it, in one line.
    pub(super) fn allow(&self, expression: &str, role: &RoleArn) -> Result<bool, String> {
        match &*self.memo.get(expression, |text| self.parse(text)) {
            Ok(patterns) => Ok(patterns.iter().any(|pattern| pattern.matches(role))),
            Err(problem) => Err(problem.clone()),
        }
    }

    fn parse(&self, expression: &str) -> Patterns {
        let whole = RolePattern::regexp(expression);
        let below = self
            .base
            .iter()
            .map(|base| RolePattern::regexp_below(base, expression));
        [whole]
            .into_iter()
            .chain(below)
            .collect::<Result<_, _>>()
            .map_err(|error| error.to_string())
    }
}
