//! The namespace's guards in CEL, which cannot read JSON: what it can take apart is judged as the agent judges it, a list
//! with unusual escapes is left to the agent.

use serde_json::Value;

use super::cel::{annotation, has_annotation, text};
use super::{first, variable};
use crate::authorize::Rules;
use crate::authorize::restrictions::MAX_REGEXPS;
use crate::config::{Enforcement, RestrictionFormat};

/// One guard: its variables, of which the one called `name` is the reason, empty where it allows the role.
pub(super) struct Guard {
    pub(super) name: &'static str,
    pub(super) variables: Vec<Value>,
}

/// JSON's white space.
const SPACE: &str = r"[ \t\n\r]*";
/// A JSON string, of any kind.
const STRING: &str = r#""(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*""#;
/// A JSON string without escapes other than `\\`.
const PLAIN_STRING: &str = r#""(?:[^"\\\x00-\x1f]|\\\\)*""#;

/// The guards that are in this mode.
pub(super) fn guards(rules: &Rules, mode: Enforcement) -> Vec<Guard> {
    let restrictions = rules.restrictions.filter(|_| rules.enforcement == mode);
    let restrictions = restrictions.map(|format| restrictions_guard(rules, format));
    let permitted = rules.permitted.filter(|permitted| *permitted == mode);
    let key = permitted.and(rules.keys.permitted.as_deref());
    let permitted = key.map(|key| permitted_guard(rules, key));
    restrictions.into_iter().chain(permitted).collect()
}

fn restrictions_guard(rules: &Rules, format: RestrictionFormat) -> Guard {
    let key = &rules.keys.allowed_roles;
    let list = variable("list", &annotation("namespaceObject", key));
    let unescaped = r#"variables.list.findAll('"[^"]*"').map(e, e.substring(1, e.size() - 1).replace('\\\\', '\\'))"#;
    let elements = variable("elements", unescaped);
    let matches = match format {
        RestrictionFormat::Glob => glob_matches(rules),
        RestrictionFormat::Regexp => regexp_matches(rules),
    };
    let not_json = invalid(key, "not a JSON array of strings");
    let mut refusals = vec![
        (absent(key), allows_nothing(key)),
        (
            format!("!variables.list.matches({})", array_of(STRING)),
            not_json,
        ),
        // Other escapes are the agent's to read.
        (
            format!("!variables.list.matches({})", array_of(PLAIN_STRING)),
            "''".to_owned(),
        ),
    ];
    if format == RestrictionFormat::Regexp {
        // Each is tried alone first: a list with one bad element allows nothing. The error is the refusal.
        let too_many = format!("variables.elements.map(e, ''.matches(e)).size() > {MAX_REGEXPS}");
        refusals.push((too_many, invalid(key, "too many regular expressions")));
    }
    refusals.push((
        format!("!variables.elements.exists(e, {matches})"),
        forbids(),
    ));
    let name = "restrictions";
    let reason = variable(name, &first(refusals));
    Guard {
        name,
        variables: vec![list, elements, reason],
    }
}

fn permitted_guard(rules: &Rules, key: &str) -> Guard {
    let permitted = variable("expression", &annotation("namespaceObject", key));
    let whole = "variables.arn.matches('^(?:' + variables.expression + ')$')".to_owned();
    let below = rules.base.as_ref().map(|base| {
        let base = text(&format!("^{}(?:", regex_escape(base.as_str())));
        format!("variables.arn.matches({base} + variables.expression + ')$')")
    });
    let allowed = [whole]
        .into_iter()
        .chain(below)
        .collect::<Vec<_>>()
        .join(" || ");
    // Alone first: `a)|(?:b` would break out of the group. The error is the refusal.
    let allowed = format!("(''.matches(variables.expression) ? ({allowed}) : ({allowed}))");
    let refusals = vec![
        (absent(key), allows_nothing(key)),
        (format!("!{allowed}"), forbids()),
    ];
    let name = "permitted";
    let reason = variable(name, &first(refusals));
    Guard {
        name,
        variables: vec![permitted, reason],
    }
}

/// Whether the element `e` of a list of globs matches: all that is special in a regular expression is escaped, then `*`
/// is made special.
fn glob_matches(rules: &Rules) -> String {
    let mut regexp = "e".to_owned();
    for special in [
        '\\', '.', '+', '?', '(', ')', '[', ']', '{', '}', '^', '$', '|',
    ] {
        let (plain, escaped) = (text(&special.to_string()), text(&format!("\\{special}")));
        regexp = format!("{regexp}.replace({plain}, {escaped})");
    }
    regexp = format!("{regexp}.replace('*', '.*')");
    let base = prefix(rules);
    format!("variables.arn.matches('^' + {base} + {regexp} + '$')")
}

/// Whether the element `e` of a list of regular expressions matches.
fn regexp_matches(rules: &Rules) -> String {
    let base = prefix(rules);
    format!("variables.arn.matches('^' + {base} + '(?:' + e + ')$')")
}

/// The base ARN as a regular expression before an element that is not meant as an ARN.
fn prefix(rules: &Rules) -> String {
    rules.base.as_ref().map_or("''".to_owned(), |base| {
        let base = text(&regex_escape(base.as_str()));
        format!("(e.lowerAscii().startsWith('arn:') ? '' : {base})")
    })
}

fn regex_escape(text: &str) -> String {
    podiam_iam::Glob::new(text).to_regexp()
}

fn array_of(string: &str) -> String {
    let list = format!("(?:{string}{SPACE}(?:,{SPACE}{string}{SPACE})*)?");
    text(&format!(r"^{SPACE}\[{SPACE}{list}\]{SPACE}$"))
}

fn absent(key: &str) -> String {
    format!("!({})", has_annotation("namespaceObject", &text(key)))
}

fn allows_nothing(key: &str) -> String {
    let rest = text(&format!(
        " has no annotation {key:?}, so no role is allowed in it (namespace-allows-nothing)"
    ));
    format!("'the namespace ' + strings.quote(request.namespace) + {rest}")
}

fn invalid(key: &str, problem: &str) -> String {
    let rest = text(&format!(
        " has an invalid annotation {key:?}: {problem} (namespace-annotation-invalid)"
    ));
    format!("'the namespace ' + strings.quote(request.namespace) + {rest}")
}

fn forbids() -> String {
    "'the role ' + variables.arn + ' is not allowed in the namespace ' + strings.quote(request.namespace) + \
     ' (namespace-forbids)'"
        .to_owned()
}
