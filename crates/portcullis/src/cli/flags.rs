//! Flags made from the table of settings.

use std::fmt::Write as _;

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

use crate::settings::layer::{Given, Layers, Origin, SettingsError, environment_name, find};
use crate::settings::{Group, SETTINGS, Setting, Settings};

/// The flags of commands that serve: all settings.
#[derive(Clone, Debug)]
pub(crate) struct ServeFlags(Flags);

/// The flags of commands that only read: what decides which objects are read, and how. Which
/// manifests, each command says in its own way.
#[derive(Clone, Debug)]
pub(crate) struct ReadFlags(Flags);

/// The flags of commands that ask about an installation: which API server, and which installation.
#[derive(Clone, Debug)]
pub(crate) struct InstallationFlags(Flags);

/// The flags of the command that looks for what is wrong with an installation: what it reads, what
/// it tells, and whom it trusts.
#[derive(Clone, Debug)]
pub(crate) struct CheckFlags(Flags);

#[derive(Clone, Debug)]
struct Flags {
    layers: Layers,
    config: Option<String>,
}

impl ServeFlags {
    /// The settings, with environment and file; `presets` hold where nobody says otherwise.
    pub(crate) fn settings(self, presets: &[(&str, &str)]) -> Result<Settings, Vec<SettingsError>> {
        self.0.settings(presets)
    }
}

impl ReadFlags {
    /// The settings, with environment and file; `manifests` stands for the flag of that name.
    pub(crate) fn settings(
        mut self,
        manifests: Vec<String>,
    ) -> Result<Settings, Vec<SettingsError>> {
        if let (Some(setting), false) = (find("manifests"), manifests.is_empty()) {
            self.0.layers.offer(setting, Given { texts: manifests, origin: Origin::Flag });
        }
        self.0.settings(&[])
    }
}

impl InstallationFlags {
    /// The settings, with environment and file.
    pub(crate) fn settings(self) -> Result<Settings, Vec<SettingsError>> {
        self.0.settings(&[])
    }
}

impl CheckFlags {
    /// The settings, with environment and file; `presets` hold where nobody says otherwise.
    pub(crate) fn settings(self, presets: &[(&str, &str)]) -> Result<Settings, Vec<SettingsError>> {
        self.0.settings(presets)
    }
}

impl Flags {
    fn settings(self, presets: &[(&str, &str)]) -> Result<Settings, Vec<SettingsError>> {
        Settings::load(self.layers, self.config.as_deref(), environment(), presets)
    }
}

/// The environment; what is no Unicode cannot be a setting and is left out.
fn environment() -> Vec<(String, String)> {
    let texts = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        Some((name.into_string().ok()?, value.into_string().ok()?))
    };
    std::env::vars_os().filter_map(texts).collect()
}

/// Whether a command that only reads has this flag.
fn is_for_reading(setting: &Setting) -> bool {
    (setting.group == Group::Objects && !matches!(setting.name, "manifests" | "name-server"))
        || (setting.group == Group::Cluster && !is_for_telling(setting))
        || matches!(
            setting.name,
            "http"
                | "https"
                | "public-http-port"
                | "public-https-port"
                | "trusted-proxies"
                | "health-path"
        )
}

/// Whether it is about what a gateway keeps, or tells the API server.
fn is_for_telling(setting: &Setting) -> bool {
    matches!(
        setting.name,
        "last-good"
            | "last-good-keys"
            | "publish-service"
            | "publish-address"
            | "publish-nodes"
            | "clear-status-on-exit"
            | "election-lease"
            | "ticket-keys-secret"
            | "pod-name"
            | "pod-namespace"
    )
}

/// Whether a command that asks about an installation has this flag.
fn is_of_installation(setting: &Setting) -> bool {
    matches!(setting.name, "kubeconfig" | "context" | "pod-namespace" | "election-lease")
}

/// Whether something that is checked depends on it.
fn is_for_checking(setting: &Setting) -> bool {
    (is_for_reading(setting) && setting.name != "cluster")
        || matches!(
            setting.name,
            "publish-service"
                | "publish-address"
                | "publish-nodes"
                | "election-lease"
                | "ticket-keys-secret"
                | "pod-namespace"
                | "webhook-configuration"
                | "webhook-secret"
        )
}

fn config_argument() -> Arg {
    Arg::new("config")
        .long("config")
        .value_name("FILE")
        .help("Read settings from this YAML file, too [env: PORTCULLIS_CONFIG]")
        .long_help(
            "Read settings from this YAML file, too. Its keys are the names of the flags; flags \
             and environment beat it.\n\n[env: PORTCULLIS_CONFIG]",
        )
}

fn argument(setting: &'static Setting) -> Arg {
    let variable = environment_name(setting.name);
    let mut short = setting.doc.first().map_or("", |line| line.trim()).to_owned();
    let mut long = setting.paragraph();
    if !setting.choices.is_empty() && !setting.switch {
        let choices = format!(" [possible: {}]", setting.choices.join(", "));
        short.push_str(&choices);
        // Writing to a String cannot fail; so it is below.
        let _ = write!(long, "\n\n{}", choices.trim());
    } else {
        long.push('\n');
    }
    if !setting.defaults.is_empty() {
        let default = format!("[default: {}]", setting.defaults.join(" "));
        short = format!("{short} {default}");
        let _ = write!(long, "\n{default}");
    }
    let _ = write!(long, "\n[env: {variable}]");
    let argument = Arg::new(setting.name)
        .long(setting.name)
        .value_name(setting.placeholder)
        .help(short)
        .long_help(long)
        .help_heading(setting.group.title())
        .action(ArgAction::Append);
    if setting.switch {
        argument.num_args(0..=1).require_equals(true).default_missing_value("true")
    } else if setting.name == "manifests" {
        // A shell's `*.yaml` becomes many values of one flag.
        argument.num_args(1..)
    } else {
        argument
    }
}

fn augment(command: Command, wanted: impl Fn(&Setting) -> bool) -> Command {
    command
        .arg(config_argument())
        .args(SETTINGS.iter().filter(|setting| wanted(setting)).map(argument))
}

impl Flags {
    fn from_matches(matches: &ArgMatches, wanted: impl Fn(&Setting) -> bool) -> Self {
        let mut layers = Layers::default();
        for setting in SETTINGS.iter().filter(|setting| wanted(setting)) {
            if let Some(texts) = matches.get_many::<String>(setting.name) {
                let texts = texts.cloned().collect();
                layers.offer(setting, Given { texts, origin: Origin::Flag });
            }
        }
        Self { layers, config: matches.get_one::<String>("config").cloned() }
    }
}

macro_rules! flags {
    ($($name:ident $wanted:expr;)*) => {$(
        impl Args for $name {
            fn augment_args(command: Command) -> Command {
                augment(command, $wanted)
            }

            fn augment_args_for_update(command: Command) -> Command {
                augment(command, $wanted)
            }
        }

        impl FromArgMatches for $name {
            fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
                Ok(Self(Flags::from_matches(matches, $wanted)))
            }

            fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
                *self = Self::from_arg_matches(matches)?;
                Ok(())
            }
        }
    )*};
}

flags! {
    ServeFlags |_| true;
    ReadFlags is_for_reading;
    InstallationFlags is_of_installation;
    CheckFlags is_for_checking;
}
