//! The engine, one process for all tests of this binary, and the questions that it is asked.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{LazyLock, Mutex, PoisonError};

use podiam_iam::policy::PolicyDocument;
use serde::Serialize;
use serde_json::Value;

#[allow(
    dead_code,
    reason = "xtask builds parts with it; here one is looked up"
)]
#[path = "../../../../xtask/src/parts/catalog.rs"]
mod catalog;

/// The account of most questions.
pub(crate) const ACCOUNT: &str = "123456789012";

/// May `principal` do this?
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Question {
    pub(crate) principal: String,
    pub(crate) action: String,
    pub(crate) resource: String,
    /// The account that the resource belongs to.
    pub(crate) account: String,
    /// The principal's policies.
    pub(crate) policies: Vec<Value>,
    /// The resource's own policy: of a role, its trust policy.
    pub(crate) trust: Option<Value>,
    pub(crate) context: Value,
}

impl Question {
    /// May a node whose role is `node` assume `role`?
    pub(crate) fn assume(node: &str, role: &str) -> Self {
        let account = |arn: &str| arn.split(':').nth(4).unwrap().to_owned();
        let name = node.rsplit('/').next().unwrap();
        let partition = node.split(':').nth(1).unwrap();
        Self {
            // A node signs as a session of its role.
            principal: format!(
                "arn:{partition}:sts::{}:assumed-role/{name}/i-0123456789abcdef0",
                account(node)
            ),
            action: "sts:AssumeRole".to_owned(),
            resource: role.to_owned(),
            account: account(role),
            policies: Vec::new(),
            trust: None,
            context: serde_json::json!({"aws:PrincipalArn": node}),
        }
    }

    /// May a workload do `action` on `resource` with these permissions?
    pub(crate) fn workload(permissions: &Value, action: &str, resource: &str) -> Self {
        Self {
            principal: format!("arn:aws:sts::{ACCOUNT}:assumed-role/workload/pod"),
            action: action.to_owned(),
            resource: resource.to_owned(),
            account: ACCOUNT.to_owned(),
            policies: vec![permissions.clone()],
            trust: None,
            context: serde_json::json!({}),
        }
    }

    pub(crate) fn allowed_by(mut self, policy: &Value) -> Self {
        self.policies.push(policy.clone());
        self
    }

    pub(crate) fn trusted_by(mut self, trust: &Value) -> Self {
        self.trust = Some(trust.clone());
        self
    }

    pub(crate) fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.context[key] = value.into();
        self
    }
}

/// A document as the engine reads it.
pub(crate) fn value(document: &PolicyDocument) -> Value {
    serde_json::to_value(document).unwrap()
}

/// Whether each question is answered with yes. Panics with the engine's words where it cannot answer.
pub(crate) fn allowed(questions: &[Question]) -> Vec<bool> {
    static JUDGE: LazyLock<Mutex<Judge>> = LazyLock::new(|| Mutex::new(Judge::start()));
    // A test that panicked with the lock held had read no more than its own answers, or fails every other test too.
    let mut judge = JUDGE.lock().unwrap_or_else(PoisonError::into_inner);
    questions
        .chunks(200)
        .flat_map(|chunk| judge.decide(chunk))
        .collect()
}

/// Panics with every question that is not answered as expected.
pub(crate) fn expect(table: &[(&str, bool, Question)]) {
    let questions: Vec<Question> = table
        .iter()
        .map(|(_, _, question)| question.clone())
        .collect();
    let wrong: Vec<String> = allowed(&questions)
        .into_iter()
        .zip(table)
        .filter(|(answer, (_, expected, _))| answer != expected)
        .map(|(answer, (name, ..))| format!("{name}: allowed is {answer}"))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

struct Judge {
    /// Ends with its stdin.
    _process: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Judge {
    fn start() -> Self {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/engine/decide.mjs");
        let mut process = Command::new("node")
            .arg(program)
            .arg(part())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("missing: node (Node.js), which runs the policy engine");
        Self {
            questions: process.stdin.take().unwrap(),
            answers: BufReader::new(process.stdout.take().unwrap()),
            _process: process,
        }
    }

    fn decide(&mut self, questions: &[Question]) -> Vec<bool> {
        for question in questions {
            let line = serde_json::to_string(question).unwrap() + "\n";
            self.questions
                .write_all(line.as_bytes())
                .expect("the engine reads");
        }
        questions
            .iter()
            .map(|question| self.answer(question))
            .collect()
    }

    fn answer(&mut self, question: &Question) -> bool {
        let mut line = String::new();
        self.answers
            .read_line(&mut line)
            .expect("the engine answers");
        let answer: Value = serde_json::from_str(&line).expect("the engine answers in JSON");
        match answer["decision"].as_str() {
            Some("Allowed") => true,
            Some("ImplicitlyDenied" | "ExplicitlyDenied") => false,
            _ => panic!("{answer}\nto {question:?}"),
        }
    }
}

/// The folder that holds the engine.
fn part() -> PathBuf {
    let cache = catalog::cache().expect("neither XDG_CACHE_HOME nor HOME says where the parts are");
    let part = catalog::Part::IamSimulate;
    assert!(
        part.program(&cache).exists(),
        "missing: {} {}; run `cargo xtask parts`",
        part.name(),
        part.version()
    );
    part.folder(&cache)
}
