//! Judges a command line as a whole: raw flags in, a consistent [`Config`] out, or every problem at once. Each topic's
//! flags are taken apart field by field (`let Self { .. } = self`), so that a flag that nobody judges does not compile.
//! Pure: reads no file, asks nothing of the network.

mod identity;
mod limits;
mod attribution;
mod guards;
mod metadata;
mod pods;
mod roles;
mod sessions;
pub(super) mod sockets;
mod startup;
#[cfg(test)]
mod testing;

use tracing::Level;

use super::check::{self, Check, Problems};
use super::cli::AgentArgs;
use super::flags::{Flags, LogFlags};
use super::{AccessLog, Config, LogFormat, Logs, Program};

impl AgentArgs {
    /// The configuration, or everything that is wrong with it. `program` is what the process was started as: it decides
    /// some defaults, and whether what kube2iam merely let pass is a notice or a problem.
    pub fn validate(self, program: Program) -> Result<Config, Problems> {
        let Self { flags, origins } = self;
        let Flags {
            pods,
            node,
            listen,
            roles,
            annotations,
            sessions,
            interception,
            limits,
            identity,
            startup,
            metadata,
            logs,
            version,
            stray,
        } = flags;
        let mut check = Check::new(program, origins);
        check.stray_words(&stray);
        check.switch("version", &version);

        let (pods, cri_socket) = pods.judge(&mut check);
        let node = node.judge(&mut check, &pods);
        let listen = listen.judge(&mut check, &node);
        let roles = roles.judge(&mut check);
        let sessions = sessions.judge(&mut check, &node);
        let annotations = annotations.judge(&mut check, &roles, &sessions.attribution);
        let interception = interception.judge(&mut check, &node, &listen);
        let limits = limits.judge(&mut check);
        let identity = identity.judge(&mut check);
        let startup = startup.judge(&mut check, &node, &pods);
        let (metadata, state_dir) = metadata.judge(&mut check);
        let logs = logs.judge(&mut check);
        check.finish(|notices| Config {
            node,
            listen,
            pods,
            cri_socket,
            annotations,
            roles,
            sessions,
            metadata,
            interception,
            limits,
            identity,
            startup,
            logs,
            state_dir,
            notices,
        })
    }
}

/// A text flag's value; kube2iam's default is "", so an empty one is an absent one.
pub(super) fn given(value: Option<String>) -> Option<String> {
    value.filter(|value| !value.is_empty())
}

impl LogFlags {
    fn judge(self, check: &mut Check) -> Logs {
        let Self {
            log_format,
            log_level,
            verbose,
            access_log,
            events,
        } = self;
        let formats = [("text", LogFormat::Text), ("json", LogFormat::Json)];
        let format = check::choice(&log_format, &formats).unwrap_or_else(|| {
            check.tolerate(
                "log-format",
                &log_format,
                &check::one_of(&formats),
                "is read as text, as kube2iam does",
            );
            LogFormat::Text
        });
        // logrus's names; what it ends the process for is an error here.
        let levels = [
            ("panic", Level::ERROR),
            ("fatal", Level::ERROR),
            ("error", Level::ERROR),
            ("warn", Level::WARN),
            ("warning", Level::WARN),
            ("info", Level::INFO),
            ("debug", Level::DEBUG),
            ("trace", Level::TRACE),
        ];
        let level = check
            .choice("log-level", &log_level, &levels)
            .unwrap_or(Level::INFO);
        let level = if check.switch("verbose", &verbose) {
            Level::DEBUG
        } else {
            level
        };
        let requests = [
            ("all", AccessLog::All),
            ("refused", AccessLog::Refused),
            ("none", AccessLog::None),
        ];
        let access = check
            .choice("access-log", &access_log, &requests)
            .unwrap_or(AccessLog::All);
        Logs {
            format,
            level,
            access,
            events: check.switch("events", &events),
        }
    }
}

#[cfg(test)]
mod tests;
