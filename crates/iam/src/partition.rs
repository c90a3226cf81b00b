//! The AWS partitions: closed worlds with accounts, endpoints and ARNs of their own.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// An AWS partition, as listed in the SDKs' partition metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Partition {
    /// `aws`: the commercial regions.
    Aws,
    /// `aws-cn`: China.
    AwsCn,
    /// `aws-us-gov`: `GovCloud`.
    AwsUsGov,
    /// `aws-iso`.
    AwsIso,
    /// `aws-iso-b`.
    AwsIsoB,
    /// `aws-iso-e`.
    AwsIsoE,
    /// `aws-iso-f`.
    AwsIsoF,
    /// `aws-eusc`: the European Sovereign Cloud.
    AwsEusc,
}

impl Partition {
    /// Every partition.
    pub const ALL: [Self; 8] = [
        Self::Aws,
        Self::AwsCn,
        Self::AwsUsGov,
        Self::AwsIso,
        Self::AwsIsoB,
        Self::AwsIsoE,
        Self::AwsIsoF,
        Self::AwsEusc,
    ];

    /// The partition as ARNs write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Aws => "aws",
            Self::AwsCn => "aws-cn",
            Self::AwsUsGov => "aws-us-gov",
            Self::AwsIso => "aws-iso",
            Self::AwsIsoB => "aws-iso-b",
            Self::AwsIsoE => "aws-iso-e",
            Self::AwsIsoF => "aws-iso-f",
            Self::AwsEusc => "aws-eusc",
        }
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text is not the name of a partition (they are lower-case).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "its partition is none of aws, aws-cn, aws-us-gov, aws-iso, aws-iso-b, aws-iso-e, aws-iso-f, aws-eusc"
)]
pub struct UnknownPartition;

impl FromStr for Partition {
    type Err = UnknownPartition;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|partition| partition.as_str() == text)
            .ok_or(UnknownPartition)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_partition_reads_back_what_it_writes_and_is_named_in_the_error() {
        for partition in Partition::ALL {
            assert_eq!(partition.to_string().parse(), Ok(partition));
            assert!(UnknownPartition.to_string().contains(partition.as_str()));
        }
    }

    #[test]
    fn what_is_not_a_partition_is_refused() {
        for text in ["", "AWS", "aws-", "aws-cn-", " aws", "amazon"] {
            assert_eq!(text.parse::<Partition>(), Err(UnknownPartition), "{text:?}");
        }
    }
}
