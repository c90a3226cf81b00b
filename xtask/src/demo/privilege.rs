//! The privilege that the demo needs: to make network namespaces. Root has it; anyone else has it inside a user
//! namespace, where the kernel allows those.

use anyhow::{Context, Result, bail};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{getegid, geteuid};
use podiam_lab::netns::{Error, Namespace};

use crate::progress::Style;

const ADVICE: &str = "The demo makes network namespaces. That needs root: `sudo -E env PATH=\"$PATH\" cargo xtask demo` \
    (in a container: `docker run --privileged`), or user namespaces, which this kernel does not let you have: see \
    `sysctl kernel.unprivileged_userns_clone kernel.apparmor_restrict_unprivileged_userns user.max_user_namespaces`.";

/// Sees to it that this process can make network namespaces. Must be called while it has one thread only.
pub(super) fn acquire(style: Style) -> Result<()> {
    match Namespace::new() {
        Ok(_) => return Ok(()),
        Err(Error::Privilege) => {}
        Err(error) => return Err(error.into()),
    }
    let (uid, gid) = (geteuid(), getegid());
    let entered = unshare(CloneFlags::CLONE_NEWUSER)
        .context("no user namespace")
        .and_then(|()| {
            write("setgroups", "deny")?;
            write("uid_map", &format!("0 {uid} 1"))?;
            write("gid_map", &format!("0 {gid} 1"))?;
            Ok(Namespace::new().map(drop)?)
        });
    match entered {
        Ok(()) => {
            println!(
                "{}\n",
                style.dim("not root: this runs in a user namespace of its own")
            );
            Ok(())
        }
        Err(error) => bail!("{error:#}\n{ADVICE}"),
    }
}

fn write(file: &str, text: &str) -> Result<()> {
    std::fs::write(format!("/proc/self/{file}"), text).with_context(|| format!("/proc/self/{file}"))
}
