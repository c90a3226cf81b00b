//! Judges by what a connection is known to be its pod's.

use crate::config::check::Check;
use crate::config::flags::IdentityFlags;
use crate::config::{Identification, IdentityMode};

impl IdentityFlags {
    pub(super) fn judge(self, check: &mut Check) -> Identification {
        let Self {
            identity,
            allow_shared_bridge,
        } = self;
        let modes = IdentityMode::ALL.map(|mode| (mode.name(), mode));
        Identification {
            mode: check
                .choice("identity", &identity, &modes)
                .unwrap_or(IdentityMode::Auto),
            allow_shared_bridge: check.switch("allow-shared-bridge", &allow_shared_bridge),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use crate::config::IdentityMode;

    #[test]
    fn the_strongest_proof_is_asked_for_unless_another_is_named() {
        for (words, mode) in [
            (&[][..], IdentityMode::Auto),
            (&["--identity=ip"], IdentityMode::Ip),
            (&["--identity=interface"], IdentityMode::Interface),
            (&["--identity=netns"], IdentityMode::Netns),
        ] {
            let identity = config(words).identity;
            assert_eq!((identity.mode, identity.allow_shared_bridge), (mode, false));
        }
        assert!(
            config(&["--allow-shared-bridge"])
                .identity
                .allow_shared_bridge
        );
        assert_one_problem(&["--identity=mac"], "--identity=\"mac\": ", "netns");
    }
}
