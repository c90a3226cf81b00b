//! The example of deploy/terraform, evaluated as Terraform would: variables, data, locals, modules and resources, with
//! hcl-rs for the expressions and the few functions of Terraform that are used, written anew. What AWS would tell
//! (account, partition, ARNs of roles) is told here.

use std::path::{Path, PathBuf};

use hcl::eval::{Context, Evaluate, FuncArgs, FuncDef, ParamType};
use hcl::{Block, Body, Map, Value};

/// The account that it is applied in: moto's.
pub(crate) const ACCOUNT: &str = "123456789012";

/// A resource with its attributes, evaluated.
#[derive(Debug)]
pub(crate) struct Resource {
    pub(crate) kind: String,
    pub(crate) attributes: Map<String, Value>,
}

/// What a module makes, its own modules' resources first.
#[derive(Debug, Default)]
pub(crate) struct Made {
    pub(crate) resources: Vec<Resource>,
    pub(crate) outputs: Map<String, Value>,
}

impl Made {
    /// The attributes of the only resource of a kind.
    pub(crate) fn only(&self, kind: &str) -> &Map<String, Value> {
        let mut found = self
            .resources
            .iter()
            .filter(|resource| resource.kind == kind);
        let first = found.next().unwrap_or_else(|| panic!("no {kind}"));
        assert!(found.next().is_none(), "more than one {kind}");
        &first.attributes
    }
}

/// Evaluates the module in a folder with these variables; the rest have their defaults.
pub(crate) fn module(folder: &Path, given: &Map<String, Value>) -> Made {
    let body = body(folder);
    let mut context = functions();
    let own = folder.display().to_string();
    context.declare_var("path", object([("module", own.into())]));
    context.declare_var("var", variables(&body, given, &context));
    declare_data(&body, &mut context, &Map::new());
    let locals = blocks(&body, "locals")
        .flat_map(|block| block.body.attributes().cloned().collect::<Vec<_>>());
    let locals = locals
        .map(|local| {
            (
                local.key().to_owned(),
                local.expr().evaluate(&context).unwrap(),
            )
        })
        .collect();
    context.declare_var("local", Value::Object(locals));
    let documents = blocks(&body, "data")
        .filter(|block| block.labels[0].as_str() == "aws_iam_policy_document")
        .map(|block| {
            (
                block.labels[1].as_str().to_owned(),
                object([("json", document(block, &context).into())]),
            )
        })
        .collect();
    declare_data(&body, &mut context, &documents);

    let mut made = Made::default();
    let mut modules = Map::new();
    for block in blocks(&body, "module") {
        let mut arguments = attributes(&block.body, &context);
        let source = arguments.shift_remove("source").unwrap();
        let inner = module(&folder.join(source.as_str().unwrap()), &arguments);
        made.resources.extend(inner.resources);
        modules.insert(
            block.labels[0].as_str().to_owned(),
            Value::Object(inner.outputs),
        );
    }
    context.declare_var("module", Value::Object(modules));
    // In the order of the file, which here is that of dependence.
    for block in blocks(&body, "resource") {
        let kind = block.labels[0].as_str();
        let mut attributes = attributes(&block.body, &context);
        if kind == "aws_iam_role" {
            let text = |name: &str| attributes[name].as_str().unwrap().to_owned();
            let arn = format!(
                "arn:aws:iam::{ACCOUNT}:role{}{}",
                text("path"),
                text("name")
            );
            attributes.insert("arn".to_owned(), arn.into());
        }
        context.declare_var(
            kind,
            object([(block.labels[1].as_str(), Value::Object(attributes.clone()))]),
        );
        made.resources.push(Resource {
            kind: kind.to_owned(),
            attributes,
        });
    }
    for block in blocks(&body, "output") {
        let value = attributes(&block.body, &context)["value"].clone();
        made.outputs
            .insert(block.labels[0].as_str().to_owned(), value);
    }
    made
}

/// Every file of a folder as one.
fn body(folder: &Path) -> Body {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .filter(|file| file.extension().is_some_and(|extension| extension == "tf"))
        .collect();
    files.sort();
    let texts: Vec<String> = files
        .iter()
        .map(|file| std::fs::read_to_string(file).unwrap())
        .collect();
    hcl::parse(&texts.concat()).unwrap()
}

fn blocks<'a>(body: &'a Body, kind: &'a str) -> impl Iterator<Item = &'a Block> {
    body.blocks()
        .filter(move |block| block.identifier() == kind)
}

fn object<'a>(entries: impl IntoIterator<Item = (&'a str, Value)>) -> Value {
    Value::Object(
        entries
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value))
            .collect(),
    )
}

/// All but `depends_on`, which names resources and has no value.
fn attributes(body: &Body, context: &Context<'_>) -> Map<String, Value> {
    body.attributes()
        .filter(|attribute| attribute.key() != "depends_on")
        .map(|attribute| {
            (
                attribute.key().to_owned(),
                attribute.expr().evaluate(context).unwrap(),
            )
        })
        .collect()
}

fn variables(body: &Body, given: &Map<String, Value>, context: &Context<'_>) -> Value {
    let mut values = Map::new();
    for block in blocks(body, "variable") {
        let name = block.labels[0].as_str();
        let default = block
            .body
            .attributes()
            .find(|attribute| attribute.key() == "default");
        let value = match (given.get(name), default) {
            (Some(value), _) => value.clone(),
            (None, Some(default)) => default.expr().evaluate(context).unwrap(),
            (None, None) => panic!("the variable {name} has no value"),
        };
        values.insert(name.to_owned(), value);
    }
    let unknown: Vec<&String> = given
        .keys()
        .filter(|name| !values.contains_key(*name))
        .collect();
    assert!(unknown.is_empty(), "there are no variables {unknown:?}");
    Value::Object(values)
}

/// What AWS tells, and the documents.
fn declare_data(body: &Body, context: &mut Context<'_>, documents: &Map<String, Value>) {
    let mut data: Map<String, Value> = Map::new();
    for block in blocks(body, "data") {
        let (kind, name) = (block.labels[0].as_str(), block.labels[1].as_str());
        let value = match kind {
            "aws_caller_identity" => object([("account_id", ACCOUNT.into())]),
            "aws_partition" => object([("partition", "aws".into())]),
            "aws_iam_role" => {
                let role = attributes(&block.body, context)["name"]
                    .as_str()
                    .unwrap()
                    .to_owned();
                let arn = format!("arn:aws:iam::{ACCOUNT}:role/{role}");
                object([("name", role.into()), ("arn", arn.into())])
            }
            "aws_iam_policy_document" => match documents.get(name) {
                Some(document) => document.clone(),
                None => continue,
            },
            other => panic!("nobody tells what {other} is"),
        };
        let of_kind = data
            .entry(kind.to_owned())
            .or_insert_with(|| Value::Object(Map::new()));
        of_kind
            .as_object_mut()
            .unwrap()
            .insert(name.to_owned(), value);
    }
    context.declare_var("data", Value::Object(data));
}

/// The JSON that the data source `aws_iam_policy_document` makes of its statements.
fn document(block: &Block, context: &Context<'_>) -> String {
    let statements: Vec<Value> = blocks(&block.body, "statement")
        .map(|statement| {
            let mut out = Map::from_iter([("Effect".to_owned(), Value::from("Allow"))]);
            for (key, value) in attributes(&statement.body, context) {
                let element = match key.as_str() {
                    "sid" => "Sid",
                    "effect" => "Effect",
                    "actions" => "Action",
                    "resources" => "Resource",
                    other => panic!("nobody tells what {other} is in a statement"),
                };
                out.insert(element.to_owned(), value);
            }
            assert_eq!(statement.body.blocks().count(), 0);
            Value::Object(out)
        })
        .collect();
    let document = object([
        ("Version", "2012-10-17".into()),
        ("Statement", statements.into()),
    ]);
    serde_json::to_string(&document).unwrap()
}

fn functions() -> Context<'static> {
    let all = || FuncDef::builder().variadic_param(ParamType::Any);
    let mut context = Context::new();
    // Of maps that have a key, the last; null counts for nothing.
    let merge = |args: FuncArgs| {
        let maps = args.iter().filter_map(Value::as_object);
        Ok(Value::Object(maps.flat_map(Clone::clone).collect()))
    };
    context.declare_func("merge", all().build(merge));
    let concat = |args: FuncArgs| {
        let lists = args.iter().filter_map(Value::as_array);
        Ok(Value::Array(lists.flat_map(Clone::clone).collect()))
    };
    context.declare_func("concat", all().build(concat));
    // JSON is YAML.
    for name in ["jsonencode", "yamlencode"] {
        let encode = |args: FuncArgs| {
            let text = serde_json::to_string(&args[0]);
            text.map(Value::from).map_err(|error| error.to_string())
        };
        context.declare_func(name, all().build(encode));
    }
    context
}
