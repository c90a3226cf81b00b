//! The back ends that write nothing into the kernel: somebody else brings the pods' requests to the agent. Whether that
//! works, only a request from a pod's place can prove; the agent's self-test makes it.

use std::path::Path;

use crate::{Backend, Error, Mode, Outcome, Rules, Status, cilium};

/// Cilium's own dataplane, by a policy that an administrator applies ([`cilium::Redirect`]).
#[derive(Debug)]
pub(crate) struct Cilium {
    dataplane: cilium::Dataplane,
}

/// An administrator's own rules.
#[derive(Debug)]
pub(crate) struct Unmanaged;

impl Cilium {
    /// Looks for Cilium on this node.
    pub(crate) fn new() -> Self {
        Self {
            dataplane: cilium::detect(Path::new("/")),
        }
    }
}

impl Backend for Cilium {
    fn name(&self) -> &'static str {
        Mode::Cilium.name()
    }

    fn install(&mut self, _rules: &Rules) -> Result<Outcome, Error> {
        Ok(Outcome::Unwritten)
    }

    fn guard(&mut self) -> Result<Outcome, Error> {
        Err(Error::WritesNothing { mode: Mode::Cilium })
    }

    fn status(&mut self) -> Result<Option<Status>, Error> {
        Ok(None)
    }

    fn note(&self) -> Option<String> {
        Some(format!(
            "{}; the policy of `podiam intercept print` must be applied, which only a request from a pod proves",
            self.dataplane
        ))
    }

    fn remove(&mut self) -> Result<bool, Error> {
        Ok(false)
    }
}

impl Backend for Unmanaged {
    fn name(&self) -> &'static str {
        Mode::None.name()
    }

    fn install(&mut self, _rules: &Rules) -> Result<Outcome, Error> {
        Ok(Outcome::Unwritten)
    }

    fn guard(&mut self) -> Result<Outcome, Error> {
        Err(Error::WritesNothing { mode: Mode::None })
    }

    fn status(&mut self) -> Result<Option<Status>, Error> {
        Ok(None)
    }

    fn note(&self) -> Option<String> {
        Some("an administrator's own rules, which only a request from a pod proves".to_owned())
    }

    fn remove(&mut self) -> Result<bool, Error> {
        Ok(false)
    }
}
