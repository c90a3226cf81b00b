//! A request line: whatever a client writes, what goes upstream is a string of ours that names no secret, and a refusal
//! is one line.
#![no_main]

use hyper::{Method, Uri};
use libfuzzer_sys::fuzz_target;
use podiam::config::{Imdsv2, Metadata, MetadataProfile};
use podiam::imds::allow::AllowList;
use podiam::imds::route::{self, Route};

fuzz_target!(|input: &str| {
    let (method, target) = input.split_once(' ').unwrap_or(("GET", input));
    let (Ok(method), Ok(target)) = (Method::from_bytes(method.as_bytes()), target.parse::<Uri>())
    else {
        return;
    };
    match route::parse(&method, &target, &allow()) {
        Ok(Route::Metadata(path)) => {
            let path = path.as_str();
            assert!(path.starts_with("/latest/meta-data/") || path.starts_with("/latest/dynamic/"));
            // What follows a tag's name may be any word; what is directly below meta-data may not.
            let below = path.split('/').nth(3).unwrap_or_default();
            assert!(!["iam", "identity-credentials", "public-keys", ""].contains(&below), "{path}");
            assert!(!path.split('/').any(|segment| matches!(segment, "." | "..")), "{path}");
            for odd in ["//", "%", ";", "?", "\\"] {
                assert!(!path.contains(odd), "{path}");
            }
        }
        Ok(Route::Role(role)) => assert!(!role.contains('%') && !role.contains("//")),
        Ok(_) => {}
        Err(rejection) => assert_eq!(rejection.to_string().lines().count(), 1),
    }
});

fn allow() -> AllowList {
    AllowList::new(&Metadata {
        address: String::new(),
        intercepted: [169, 254, 169, 254].into(),
        profile: MetadataProfile::Safe,
        allow: vec!["meta-data/kernel-id".into()],
        allow_user_data: false,
        imdsv2: Imdsv2::Optional,
    })
}
