//! Judges where the real metadata service is, what of it pods may see, and how they must ask.

use std::path::PathBuf;

use super::given;
use crate::config::check::Check;
use crate::config::flags::MetadataFlags;
use crate::config::{Imdsv2, Metadata, MetadataProfile, values};

impl MetadataFlags {
    pub(super) fn judge(self, check: &mut Check) -> (Metadata, Option<PathBuf>) {
        let Self {
            metadata_addr,
            imdsv2,
            state_dir,
            metadata,
            metadata_allow,
            allow_user_data,
        } = self;
        let modes = [
            ("optional", Imdsv2::Optional),
            ("required", Imdsv2::Required),
        ];
        let profiles = [
            ("none", MetadataProfile::None),
            ("minimal", MetadataProfile::Minimal),
            ("safe", MetadataProfile::Safe),
        ];
        let state_dir = given(state_dir).map(PathBuf::from);
        if state_dir.is_none() {
            check.notice("without --state-dir IMDSv2 tokens end with this process, and some SDKs go on using theirs for hours");
        }
        let metadata = Metadata {
            address: check
                .parse("metadata-addr", &metadata_addr, values::metadata_address)
                .unwrap_or_default(),
            // Whatever --metadata-addr says: an upstream elsewhere must not leave the address open that every SDK asks.
            intercepted: podiam_intercept::METADATA_V4,
            profile: check
                .choice("metadata", &metadata, &profiles)
                .unwrap_or(MetadataProfile::None),
            allow: metadata_allow
                .iter()
                .filter_map(|path| check.parse("metadata-allow", path, values::metadata_path))
                .collect(),
            allow_user_data: check.switch("allow-user-data", &allow_user_data),
            imdsv2: check
                .choice("imdsv2", &imdsv2, &modes)
                .unwrap_or(Imdsv2::Required),
        };
        if metadata.allow_user_data {
            check.notice("--allow-user-data: every pod can read this instance's user-data, with the secrets that are in it");
        }
        (metadata, state_dir)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::super::testing::*;

    #[test]
    fn the_real_metadata_service_is_safe_by_default_and_its_address_is_always_intercepted() {
        let metadata = config(&[]).metadata;
        assert_eq!(metadata.address, "169.254.169.254");
        assert_eq!(metadata.profile, MetadataProfile::Safe);
        assert_eq!(metadata.imdsv2, Imdsv2::Optional);
        assert!(!metadata.allow_user_data && metadata.allow.is_empty());

        let words = [
            "--metadata-addr=127.0.0.1:1338",
            "--metadata=none",
            "--imdsv2=required",
            "--allow-user-data",
        ];
        let elsewhere = config(&words);
        assert_eq!(elsewhere.metadata.address, "127.0.0.1:1338");
        assert_eq!(
            elsewhere.metadata.intercepted,
            Ipv4Addr::new(169, 254, 169, 254)
        );
        assert_eq!(elsewhere.metadata.profile, MetadataProfile::None);
        assert_eq!(elsewhere.metadata.imdsv2, Imdsv2::Required);
        assert!(elsewhere.metadata.allow_user_data && has_notice(&elsewhere, "--allow-user-data"));
    }

    #[test]
    fn each_path_that_may_not_be_allowed_is_a_problem_of_its_own() {
        let found = problems(&[
            "--metadata-allow=meta-data/iam/info,meta-data/ami-id",
            "--metadata-allow=user-data",
        ]);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(
            found[0].starts_with("--metadata-allow=\"meta-data/iam/info\""),
            "{found:?}"
        );
    }
}
