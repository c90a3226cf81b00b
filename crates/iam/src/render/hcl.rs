//! Terraform: `aws_iam_role`, `aws_iam_role_policy`, `aws_iam_policy` and its attachment, with documents in
//! `jsonencode`, so that a plan shows what changes in them.

use hcl::expr::{FuncCall, Traversal, Variable};
use hcl::format::{Format, Formatter};
use hcl::{Block, Body, Expression, Identifier};

use super::label::{Labels, snake};
use super::{RenderError, comment};
use crate::documents::{Bundle, Role};
use crate::policy::PolicyDocument;

pub(super) fn render(bundle: &Bundle) -> Result<String, RenderError> {
    let mut text = comment(bundle);
    let mut labels = Labels::default();
    for role in bundle.roles() {
        let label = labels.unique(snake(role.short_name()), "_");
        for block in blocks(role, &label)? {
            text.push('\n');
            text.push_str(&block_text(block)?);
        }
    }
    Ok(text)
}

/// A block with its document on lines of its own. hcl-rs writes whatever stands in a call on one line, so the document
/// is written by itself and put in the place of a word that no other call has as its argument.
fn block_text(mut block: Block) -> Result<String, RenderError> {
    const PLACE: &str = "document";
    let mut document = None;
    for attribute in block.body.attributes_mut() {
        if let Expression::FuncCall(call) = &mut attribute.expr
            && let [argument] = call.args.as_mut_slice()
        {
            document = Some(std::mem::replace(argument, PLACE.into()));
        }
    }
    let body = Body::builder().add_block(block).build();
    let mut text = hcl::format::to_string(&body)?;
    if let Some(document) = document {
        let mut formatter = Formatter::builder().prefer_ident_keys(true).build_vec();
        document.format(&mut formatter)?;
        let written = String::from_utf8_lossy(&formatter.into_inner()).replace('\n', "\n  ");
        text = text.replacen(
            &format!("jsonencode({PLACE:?})"),
            &format!("jsonencode({})", written.trim_end()),
            1,
        );
    }
    Ok(text)
}

fn blocks(role: &Role, label: &str) -> Result<Vec<Block>, RenderError> {
    let mut blocks = Vec::new();
    let reference = if let Some(trust) = &role.trust {
        let mut block = resource("aws_iam_role", label)
            .add_attribute(("name", role.arn.name()))
            .add_attribute(("path", role.arn.path()));
        if let Some(description) = &role.description {
            block = block.add_attribute(("description", description.as_str()));
        }
        blocks.push(
            block
                .add_attribute(("assume_role_policy", document(trust)?))
                .build(),
        );
        attribute("aws_iam_role", label, "name")?
    } else {
        role.arn.name().into()
    };
    for policy in &role.inline {
        blocks.push(
            resource("aws_iam_role_policy", label)
                .add_attribute(("name", policy.name.as_str()))
                .add_attribute(("role", reference.clone()))
                .add_attribute(("policy", document(&policy.document)?))
                .build(),
        );
    }
    for policy in &role.managed {
        blocks.push(
            resource("aws_iam_policy", label)
                .add_attribute(("name", policy.name.as_str()))
                .add_attribute(("path", role.arn.path()))
                .add_attribute(("policy", document(&policy.document)?))
                .build(),
        );
        blocks.push(
            resource("aws_iam_role_policy_attachment", label)
                .add_attribute(("role", reference.clone()))
                .add_attribute(("policy_arn", attribute("aws_iam_policy", label, "arn")?))
                .build(),
        );
    }
    Ok(blocks)
}

fn resource(kind: &str, label: &str) -> hcl::structure::BlockBuilder {
    Block::builder("resource").add_labels([kind, label])
}

/// `jsonencode({ ... })`.
fn document(document: &PolicyDocument) -> Result<Expression, RenderError> {
    let call = FuncCall::builder("jsonencode").arg(hcl::to_expression(document)?);
    Ok(Expression::from(call.build()))
}

/// `kind.label.name`.
fn attribute(kind: &str, label: &str, name: &str) -> Result<Expression, RenderError> {
    let traversal = Traversal::builder(Variable::new(kind)?)
        .attr(Identifier::new(label)?)
        .attr(Identifier::new(name)?);
    Ok(Expression::from(traversal.build()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RoleArn;
    use crate::documents::{MadeBy, NamedDocument};
    use crate::policy::Statement;

    /// The documents in a rendered file, each evaluated as Terraform would.
    fn documents(text: &str) -> Vec<PolicyDocument> {
        let body = hcl::parse(text).unwrap();
        body.blocks()
            .flat_map(|block| block.body.attributes())
            .filter_map(|attribute| match &attribute.expr {
                Expression::FuncCall(call) if call.name.name.as_str() == "jsonencode" => {
                    let value: serde_json::Value =
                        hcl::from_body(Body::from_iter([hcl::Attribute::new(
                            "x",
                            call.args[0].clone(),
                        )]))
                        .unwrap();
                    Some(serde_json::from_value(value["x"].clone()).unwrap())
                }
                _ => None,
            })
            .collect()
    }

    #[test]
    fn what_policies_write_like_templates_stays_as_it_is() {
        let document = PolicyDocument::new(vec![
            Statement::allow("S", ["s3:GetObject"])
                .on(["arn:aws:s3:::b/${aws:PrincipalTag/team}/%{x}/\"q\"\\"])
                .when("StringLike", "aws:RequestTag/a b", ["$${x}", "*"]),
        ]);
        let mut role = Role::new(RoleArn::parse("arn:aws:iam::123456789012:role/k8s/app").unwrap());
        role.inline.push(NamedDocument {
            name: "p".into(),
            document: document.clone(),
        });
        let note = MadeBy {
            version: "0".into(),
            words: Vec::new(),
        };
        let text = render(&Bundle::new(note, vec![role]).unwrap()).unwrap();
        assert_eq!(documents(&text), [document], "{text}");
    }
}
