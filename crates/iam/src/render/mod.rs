//! Writes roles and their documents down: as JSON, Terraform HCL, a CloudFormation template, or commands of the AWS CLI.
//! The same roles give the same text, byte for byte; what a document says is the same in every format.

mod awscli;
mod cloudformation;
mod hcl;
mod json;
mod label;

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::documents::Bundle;

/// A format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// JSON: the bare document where there is only one, else roles with their documents.
    #[default]
    Json,
    /// Terraform and OpenTofu.
    Hcl,
    /// A CloudFormation template in YAML.
    CloudFormation,
    /// A shell script of AWS CLI commands.
    AwsCli,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 4] = [Self::Json, Self::Hcl, Self::CloudFormation, Self::AwsCli];

    /// Its name on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Hcl => "hcl",
            Self::CloudFormation => "cloudformation",
            Self::AwsCli => "awscli",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// No format has this name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the formats are json, hcl, cloudformation and awscli")]
pub struct UnknownFormat;

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|format| format.as_str() == text)
            .ok_or(UnknownFormat)
    }
}

/// A serializer refused. Documents are made of texts and lists of them, which every format can hold.
#[derive(Debug, Error)]
pub enum RenderError {
    /// As JSON.
    #[error("cannot write JSON")]
    Json(#[from] serde_json::Error),
    /// As HCL.
    #[error("cannot write HCL")]
    Hcl(#[from] ::hcl::Error),
    /// As YAML.
    #[error("cannot write YAML")]
    Yaml(#[from] serde_saphyr::ser::Error),
}

/// Writes a bundle down; the text ends with a newline.
pub fn render(bundle: &Bundle, format: Format) -> Result<String, RenderError> {
    match format {
        Format::Json => json::render(bundle),
        Format::Hcl => hcl::render(bundle),
        Format::CloudFormation => cloudformation::render(bundle),
        Format::AwsCli => awscli::render(bundle),
    }
}

/// The note as a comment of the formats that take `#` for one.
fn comment(bundle: &Bundle) -> String {
    format!("# Made by {}\n", bundle.made_by())
}
