//! The flags of `podiam intercept`, and what they mean: the agent's own names, variables and rules, of which an init
//! container has the same values. Called by `commands`.
#![allow(
    clippy::doc_markdown,
    reason = "these doc comments are the help that a terminal shows"
)]

use clap::Args;
use podiam_intercept::cilium::{Redirect, RedirectError};
use podiam_intercept::{METADATA_V4, Mode, Rules};

use super::check::{Check, Problems};
use super::cli::Written;
use super::flags::PORT;
use super::validate::{given, sockets};
use super::{Program, values};

/// `podiam intercept install`.
#[derive(Args)]
pub struct InstallFlags {
    /// This node's address, as status.hostIP: where pods' requests are sent to
    #[arg(long, value_name = "IP")]
    host_ip: Option<String>,

    /// This node's IPv6 address beside an IPv4 --host-ip: where pods' requests to fd00:ec2::254 are sent to
    /// [default: they are refused]
    #[arg(long, value_name = "IP")]
    host_ip6: Option<String>,

    /// Port that the agent answers pods on
    #[arg(long, value_name = PORT, default_value = "8181")]
    app_port: String,

    /// Interfaces that pods come in on: a comma list such as eni+, cali+,veth0 or !eth0 [default: every interface]
    #[arg(long, value_name = "INTERFACES")]
    host_interface: Option<String>,

    /// How pods' requests get to the agent: nftables, iptables, cilium or none [default: nftables]
    #[arg(long, value_name = "MODE")]
    intercept: Option<String>,

    /// Whether requests are refused whose source address belongs behind another interface: on or off
    #[arg(long, value_name = "on|off", default_value = "on")]
    reverse_path: String,
}

/// Any other command about one back end.
#[derive(Args)]
pub struct ModeFlags {
    /// The way to intercept: nftables, iptables, cilium or none [default: nftables to guard, else every one]
    #[arg(long, value_name = "MODE")]
    intercept: Option<String>,
}

/// `podiam intercept print`.
#[derive(Args)]
pub struct PrintFlags {
    /// The way to intercept: only cilium has something to apply
    #[arg(long, value_name = "MODE")]
    intercept: Option<String>,

    /// Namespace of the agent's pods, and of the policy
    #[arg(long, value_name = "NAME", default_value = "kube-system")]
    namespace: String,

    /// Label that the agent's pods have and no others of that namespace; may be repeated
    #[arg(
        long,
        value_name = "KEY=VALUE",
        default_value = "app.kubernetes.io/name=podiam"
    )]
    label: Vec<String>,

    /// Port that the agent answers pods on
    #[arg(long, value_name = PORT, default_value = "8181")]
    app_port: String,
}

/// What is to be installed.
#[derive(Debug, PartialEq, Eq)]
pub struct Install {
    /// By which back end.
    pub mode: Mode,
    /// Which rules; `None` where the back end writes none.
    pub rules: Option<Rules>,
}

impl Written<InstallFlags> {
    /// What is to be installed, or everything that is wrong with the flags.
    pub fn validate(self) -> Result<Install, Problems> {
        let InstallFlags {
            host_ip,
            host_ip6,
            app_port,
            host_interface,
            intercept,
            reverse_path,
        } = self.flags;
        let mut check = Check::new(Program::Podiam, self.origins);
        let mode = mode(&mut check, intercept).unwrap_or(Mode::Nftables);
        let addresses = sockets::node_addresses(&mut check, host_ip, host_ip6);
        let reverse_path = sockets::reverse_path(&mut check, &reverse_path);
        let port = check.parse("app-port", &app_port, values::port);
        let interfaces = host_interface.and_then(|text| sockets::interfaces(&mut check, &text));
        let targets = if mode.writes_rules() {
            sockets::targets(&mut check, addresses, port.unwrap_or(sockets::APP_PORT))
        } else {
            None
        };
        check.finish(|_| Install {
            mode,
            rules: targets.map(|(target, target_v6)| {
                let interfaces = interfaces.unwrap_or_default();
                Rules::new(METADATA_V4, target, interfaces)
                    .also_to(target_v6)
                    .with_reverse_path(reverse_path)
            }),
        })
    }
}

impl Written<ModeFlags> {
    /// The back end that was asked for; `None` where none was named.
    pub fn validate(self) -> Result<Option<Mode>, Problems> {
        let ModeFlags { intercept } = self.flags;
        let mut check = Check::new(Program::Podiam, self.origins);
        let mode = mode(&mut check, intercept);
        check.finish(|_| mode)
    }
}

impl Written<PrintFlags> {
    /// The policy to print, or everything that is wrong with the flags.
    pub fn validate(self) -> Result<Redirect, Problems> {
        let PrintFlags {
            intercept,
            namespace,
            label,
            app_port,
        } = self.flags;
        let mut check = Check::new(Program::Podiam, self.origins);
        let mode = mode(&mut check, intercept);
        if !check.has_problem("intercept") && mode != Some(Mode::Cilium) {
            check.problem(
                "intercept",
                mode.map(Mode::name),
                "only cilium has something to apply; write cilium",
            );
        }
        let port = check.parse("app-port", &app_port, values::port);
        let port = port.and_then(|port| sockets::fixed(&mut check, port));
        let labels = label.iter().map(String::as_str);
        let redirect = Redirect::new(&namespace, labels, port.unwrap_or(sockets::APP_PORT));
        match redirect {
            Ok(redirect) => check.finish(|_| redirect),
            Err(error) => {
                let (flag, value) = match &error {
                    RedirectError::Namespace(value) => ("namespace", Some(value.as_str())),
                    RedirectError::Label(value) => ("label", Some(value.as_str())),
                    RedirectError::NoLabel => ("label", None),
                    RedirectError::Port => ("app-port", None),
                };
                check.problem(flag, value, &error);
                Err(check.give_up())
            }
        }
    }
}

fn mode(check: &mut Check, text: Option<String>) -> Option<Mode> {
    given(text).and_then(|text| sockets::mode(check, &text))
}
