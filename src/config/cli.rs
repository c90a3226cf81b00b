//! How the agent's flags are read: clap, with pflag's habits, and a note of where each value came from. Called by
//! `commands`; what the flags are is in [`super::flags`], what they mean in [`super::validate`].

use std::collections::BTreeMap;
use std::ffi::OsStr;

use clap::builder::Resettable;
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};

use super::check::{Origins, environment_variable};
use super::flags::{Flags, PORT, SWITCH};
use super::pflag;

/// The command line and the environment of `podiam agent`, as written.
pub struct AgentArgs {
    pub(super) flags: Flags,
    pub(super) origins: Origins,
}

impl AgentArgs {
    /// Whether `--version` was given, in a spelling that means yes.
    pub fn wants_version(&self) -> bool {
        pflag::parse_bool(&self.flags.version) == Some(true)
    }

    /// Reads the words of an agent elsewhere, without `agent`, with `environment` in place of this process's own. An empty
    /// one where nothing but the words counts.
    pub fn read(
        words: Vec<String>,
        environment: &BTreeMap<String, String>,
    ) -> Result<Self, clap::Error> {
        let command = Flags::augment_args(Command::new("podiam agent"))
            .no_binary_name(true)
            .args_override_self(true)
            .mut_args(|arg| pflag_habits(arg).env(Resettable::Reset));
        let on_command_line = command.clone().try_get_matches_from(&words)?;
        let mut all = Vec::new();
        for arg in command.get_arguments() {
            let Some(flag) = arg.get_long().filter(|flag| *flag != VERSION) else {
                continue;
            };
            let value = environment.get(&environment_variable(flag));
            let is_given = on_command_line.value_source(arg.get_id().as_str())
                == Some(ValueSource::CommandLine);
            if let Some(value) = value
                && !is_given
                && !is_nobodys(OsStr::new(value), is_named(arg, PORT))
            {
                all.push(format!("--{flag}={value}"));
            }
        }
        all.extend(words);
        Self::from_arg_matches(&command.try_get_matches_from(all)?)
    }
}

impl FromArgMatches for AgentArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(Self {
            flags: Flags::from_arg_matches(matches)?,
            origins: origins(matches),
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for AgentArgs {
    fn augment_args(command: Command) -> Command {
        Flags::augment_args(command)
            .args_override_self(true)
            .mut_args(|arg| pflag_habits(from_environment(arg)).hide_env_values(true))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

/// The first line of clap's error, without its "error: ".
pub fn one_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let first = text.lines().next().unwrap_or_default();
    first.trim_start_matches("error: ").to_owned()
}

/// The flags `F` of another command than the agent's, read with the same habits.
pub struct Written<F> {
    pub(super) flags: F,
    pub(super) origins: Origins,
}

impl<F: FromArgMatches> FromArgMatches for Written<F> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(Self {
            flags: F::from_arg_matches(matches)?,
            origins: origins(matches),
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl<F: Args> Args for Written<F> {
    fn augment_args(command: Command) -> Command {
        F::augment_args(command)
            .args_override_self(true)
            .mut_args(|arg| pflag_habits(from_environment(arg)).hide_env_values(true))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

fn origins(matches: &ArgMatches) -> Origins {
    let from = |source| {
        let ids = matches
            .ids()
            .filter(|id| matches.value_source(id.as_str()) == Some(source));
        ids.map(|id| id.as_str().replace('_', "-")).collect()
    };
    Origins {
        command_line: from(ValueSource::CommandLine),
        environment: from(ValueSource::EnvVariable),
    }
}

/// The one flag without an environment variable: images like to set `PODIAM_VERSION` to their own version.
const VERSION: &str = "version";

/// A boolean alone is true and never takes the next word; every other flag takes the next word whatever it looks like.
fn pflag_habits(arg: Arg) -> Arg {
    if is_named(&arg, SWITCH) {
        arg.num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true")
    } else if arg.is_positional() {
        arg
    } else {
        arg.allow_hyphen_values(true)
    }
}

/// Each flag's value may come from the environment. Values found there are never shown in the help: one is a token.
fn from_environment(arg: Arg) -> Arg {
    let Some(flag) = arg.get_long().filter(|flag| *flag != VERSION) else {
        return arg;
    };
    let variable = environment_variable(flag);
    let value = std::env::var_os(&variable);
    if value.is_some_and(|value| is_nobodys(&value, is_named(&arg, PORT))) {
        arg
    } else {
        arg.env(variable)
    }
}

fn is_named(arg: &Arg, name: &str) -> bool {
    arg.get_value_names()
        .is_some_and(|names| names.iter().any(|it| it == name))
}

/// Whether an environment variable counts as unset: it is empty, or Kubernetes wrote it. A Service named podiam-metrics
/// puts `PODIAM_METRICS_PORT=tcp://10.96.0.9:9181` into every container of its namespace.
fn is_nobodys(value: &OsStr, is_port: bool) -> bool {
    let service_link = |scheme: &str| value.as_encoded_bytes().starts_with(scheme.as_bytes());
    value.is_empty()
        || (is_port
            && ["tcp://", "udp://", "sctp://"]
                .into_iter()
                .any(service_link))
}
