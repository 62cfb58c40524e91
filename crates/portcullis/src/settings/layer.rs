//! The texts given by flags, environment and file, and which of them wins.
//!
//! Flag beats environment beats file beats default. A setting that takes several values takes all
//! of them from one place: a `--http` flag replaces every address of the file.

use std::collections::BTreeMap;
use std::fmt;

use super::suggest::nearest;
use super::{SETTINGS, Setting};

/// Where a text was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// On the command line.
    Flag,
    /// In the environment.
    Environment,
    /// In the file, at a line counted from 1.
    File {
        /// The file as named.
        path: String,
        /// The line.
        line: u64,
    },
    /// Nowhere.
    Default,
}

impl Origin {
    /// How a user would find the place again.
    fn of(&self, name: &str) -> String {
        match self {
            Self::Flag => format!("--{name}"),
            Self::Environment => environment_name(name),
            Self::File { path, line } => format!("{path}:{line}: {name}"),
            Self::Default => format!("default of {name}"),
        }
    }
}

/// Something wrong with the settings, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingsError {
    /// What is wrong and where.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
}

impl SettingsError {
    /// An error without advice.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), help: None }
    }

    /// With advice.
    #[must_use]
    pub fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.help {
            Some(help) => write!(f, "\n  help: {help}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for SettingsError {}

/// The texts of one setting from one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    /// The texts, in order.
    pub texts: Vec<String>,
    /// Where they stand.
    pub origin: Origin,
}

/// What was given, by setting; later insertions of a stronger place replace weaker ones.
#[derive(Clone, Debug, Default)]
pub struct Layers {
    given: BTreeMap<&'static str, Given>,
}

impl Layers {
    /// Gives `setting` these texts, if nothing stronger has.
    ///
    /// Call with flags first, then environment, then file.
    pub fn offer(&mut self, setting: &'static Setting, given: Given) {
        self.given.entry(setting.name).or_insert(given);
    }

    /// The texts of a setting.
    pub(super) fn get(&self, setting: &Setting) -> Given {
        self.given.get(setting.name).cloned().unwrap_or_else(|| Given {
            texts: setting.defaults.iter().map(|text| (*text).to_owned()).collect(),
            origin: Origin::Default,
        })
    }

    /// Whether anyone gave this setting.
    pub(super) fn has(&self, name: &str) -> bool {
        self.given.contains_key(name)
    }

    /// Reads the variables that begin with `PORTCULLIS_`.
    pub fn offer_environment(
        &mut self,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Vec<SettingsError> {
        let mut errors = Vec::new();
        for (variable, text) in variables {
            let Some(rest) = variable.strip_prefix(PREFIX) else { continue };
            if rest == "CONFIG" || is_service_link(rest, &text) {
                continue;
            }
            let name = rest.to_ascii_lowercase().replace('_', "-");
            match find(&name).filter(|setting| environment_name(setting.name) == variable) {
                Some(setting) => {
                    let texts = if setting.repeatable {
                        text.split(',').map(|part| part.trim().to_owned()).collect()
                    } else {
                        vec![text]
                    };
                    self.offer(setting, Given { texts, origin: Origin::Environment });
                }
                None => errors.push(unknown_variable(&variable, &name)),
            }
        }
        errors
    }
}

const PREFIX: &str = "PORTCULLIS_";

/// What the manifest of a pod lets the gateway know of its place, by the names that are usual for
/// it (Kubernetes documentation, "Downward API"); weaker than any setting.
const OF_POD: [(&str, &str); 4] = [
    ("POD_NAME", "pod-name"),
    ("POD_NAMESPACE", "pod-namespace"),
    ("NODE_NAME", "node-name"),
    ("NODE_ZONE", "zone"),
];

/// The settings that the variables of [`OF_POD`] give; an empty one says nothing.
pub(super) fn of_pod(variables: &[(String, String)]) -> Vec<(&'static Setting, String)> {
    let value = |wanted: &str| {
        let (_, text) = variables.iter().find(|(name, text)| name == wanted && !text.is_empty())?;
        Some(text.clone())
    };
    OF_POD.iter().filter_map(|(variable, name)| Some((find(name)?, value(variable)?))).collect()
}

/// The setting of this name.
pub fn find(name: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.name == name)
}

/// The variable of a setting: `drain-timeout` is `PORTCULLIS_DRAIN_TIMEOUT`.
pub fn environment_name(name: &str) -> String {
    format!("{PREFIX}{}", name.to_ascii_uppercase().replace('-', "_"))
}

fn unknown_variable(variable: &str, name: &str) -> SettingsError {
    let names = SETTINGS.iter().map(|setting| setting.name).chain(["config"]);
    let error = SettingsError::new(format!("unknown environment variable `{variable}`"));
    match nearest(name, names) {
        Some(near) => error.help(format!("did you mean `{}`?", environment_name(near))),
        None => error.help("`portcullis run --help` lists the settings"),
    }
}

/// An unknown key of the configuration file.
pub(super) fn unknown_key(path: &str, line: u64, key: &str) -> SettingsError {
    let error = SettingsError::new(format!("{path}:{line}: unknown setting `{key}`"));
    let dashed = key.replace('_', "-").to_ascii_lowercase();
    match nearest(&dashed, SETTINGS.iter().map(|setting| setting.name)) {
        Some(near) => error.help(format!("did you mean `{near}`?")),
        None => error.help("`portcullis run --help` lists the settings"),
    }
}

/// A text that a setting does not understand.
pub(super) fn unreadable(
    setting: &Setting,
    origin: &Origin,
    text: &str,
    why: &str,
) -> SettingsError {
    let error = SettingsError::new(format!("{}: `{text}` {why}", origin.of(setting.name)));
    match nearest(text, setting.choices.iter().copied()) {
        Some(near) => error.help(format!("did you mean `{near}`?")),
        None => error,
    }
}

/// More or fewer texts than a setting takes.
pub(super) fn not_one(setting: &Setting, origin: &Origin, count: usize) -> SettingsError {
    SettingsError::new(format!("{}: takes one value, not {count}", origin.of(setting.name)))
}

/// Whether Kubernetes set this variable because a Service is called `portcullis…`.
///
/// Every container gets `NAME_SERVICE_HOST`, `NAME_PORT=tcp://…`, `NAME_PORT_80_TCP_ADDR` and the
/// like for each Service of its namespace; a gateway whose Service bears its own name must not
/// refuse to start over them.
fn is_service_link(rest: &str, text: &str) -> bool {
    let names_address =
        ["tcp://", "udp://", "sctp://"].iter().any(|scheme| text.starts_with(scheme));
    let rest = rest.trim_start_matches('_');
    names_address
        || rest.ends_with("SERVICE_HOST")
        || rest.ends_with("SERVICE_PORT")
        || rest.contains("SERVICE_PORT_")
        || ["_TCP_", "_UDP_", "_SCTP_"].iter().any(|protocol| rest.contains(protocol))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(variables: &[(&str, &str)]) -> (Layers, Vec<SettingsError>) {
        let mut layers = Layers::default();
        let errors = layers.offer_environment(
            variables.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())),
        );
        (layers, errors)
    }

    #[test]
    fn a_misspelt_variable_is_an_error_that_names_the_right_one() {
        let (_, errors) = environment(&[("PORTCULLIS_DRAIN_TIMEOT", "5s")]);
        assert_eq!(errors.len(), 1);
        assert_eq!(errors[0].message, "unknown environment variable `PORTCULLIS_DRAIN_TIMEOT`");
        assert_eq!(errors[0].help.as_deref(), Some("did you mean `PORTCULLIS_DRAIN_TIMEOUT`?"));
    }

    #[test]
    fn what_kubernetes_sets_for_a_service_of_our_name_is_no_setting() {
        let (_, errors) = environment(&[
            ("PORTCULLIS_SERVICE_HOST", "10.0.0.1"),
            ("PORTCULLIS_SERVICE_PORT", "80"),
            ("PORTCULLIS_SERVICE_PORT_HTTP", "80"),
            ("PORTCULLIS_PORT", "tcp://10.0.0.1:80"),
            ("PORTCULLIS_PORT_80_TCP", "tcp://10.0.0.1:80"),
            ("PORTCULLIS_PORT_80_TCP_PROTO", "tcp"),
            ("PORTCULLIS_PORT_80_TCP_ADDR", "10.0.0.1"),
            ("PORTCULLIS_ADMIN_PORT", "tcp://10.0.0.2:9090"),
            ("PORTCULLIS_ADMIN_SERVICE_HOST", "10.0.0.2"),
        ]);
        assert_eq!(errors, []);
    }

    #[test]
    fn commas_part_the_values_of_a_variable() {
        let (layers, errors) = environment(&[("PORTCULLIS_HTTP", "127.0.0.1:1, 127.0.0.1:2")]);
        assert_eq!(errors, []);
        let given = layers.get(find("http").unwrap());
        assert_eq!(given.texts, ["127.0.0.1:1", "127.0.0.1:2"]);
    }

    #[test]
    fn the_first_offer_wins() {
        let setting = find("drain-timeout").unwrap();
        let mut layers = Layers::default();
        layers.offer(setting, Given { texts: vec!["1s".into()], origin: Origin::Flag });
        layers.offer(setting, Given { texts: vec!["2s".into()], origin: Origin::Environment });
        assert_eq!(layers.get(setting).texts, ["1s"]);
    }
}
