//! `portcullis check`: what stands between an installation and its traffic, each with a remedy.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueEnum};
use controller::{Check, CheckSettings, Expected, Named, Outcome};
use serde::Serialize;

use super::flags::CheckFlags;
use super::paint::{Paint, Tone, plain};
use super::{FOUND, Failure, OutputFormat, print, to_json};
use crate::control::Control;
use crate::settings::Settings;
use crate::settings::value::{Auto, NamespacedName, Value as _};
use crate::wiring;

/// The schema of the JSON form.
const SCHEMA: &str = "portcullis.check/v1";

/// Where the shipped manifests install, and under which name.
const NAMESPACE: &str = "portcullis-system";
const NAME: &str = "portcullis";

/// After this long it is said that there is something to wait for.
const SILENCE: Duration = Duration::from_secs(2);

/// Look for what keeps an installation in a cluster from serving, before and after installing.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct CheckArguments {
    /// How to print.
    #[arg(long, value_enum, default_value_t, value_name = "FORM")]
    format: OutputFormat,

    /// Let these fail, too.
    #[arg(long, value_enum, value_name = "WHAT")]
    deny: Option<Deny>,

    /// Look at the rights of this service account. Without it, at those of `portcullis` in the
    /// namespace of the gateway, where that is there, and otherwise at those of who asks.
    #[arg(long, value_name = "NAMESPACE/NAME", value_parser = account)]
    service_account: Option<Named>,

    #[command(flatten)]
    flags: CheckFlags,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Deny {
    /// Warnings.
    Warnings,
}

const EXAMPLES: &str = "\
Give it the settings of the installation that differ from the shipped ones. Nothing is written.
What cannot be asked with your rights is skipped, and says why. Exit code 1 says that there are
errors, or with --deny warnings also warnings; 2 that there is no way to an API server.

Examples:
  portcullis check                                 # the shipped installation
  portcullis check --context staging --pod-namespace edge
  portcullis check --service-account edge/gateway  # the rights of another account
  portcullis check --format json | jq '.checks[] | select(.outcome == \"error\")'";

fn account(text: &str) -> Result<Named, String> {
    NamespacedName::parse(text).map(named)
}

fn named(NamespacedName { namespace, name }: NamespacedName) -> Named {
    Named { namespace, name }
}

impl CheckArguments {
    pub(super) fn run(self) -> Result<ExitCode, Failure> {
        let settings = self.flags.settings(&[("cluster", "true"), ("pod-namespace", NAMESPACE)])?;
        let failed = |error: &dyn std::error::Error| Failure::usage(error.to_string());
        let control = Control::start("check").map_err(|error| failed(&error))?;
        let patient = control.handle().spawn(async {
            tokio::time::sleep(SILENCE).await;
            // Who does not read it waits all the same.
            let _ = writeln!(std::io::stderr(), "still asking; large clusters take a while");
        });
        let clients = control.handle().block_on(wiring::api_server(&settings).connect());
        let clients = clients.map_err(|error| failed(&error))?;
        let settings = check_settings(&settings, clients, self.service_account);
        let checks = controller::check(&settings, control.handle());
        patient.abort();
        let text = match self.format {
            OutputFormat::Text => text(&checks, Paint::stdout()),
            OutputFormat::Json => to_json(&Document { schema: SCHEMA, checks: &checks }),
        };
        print(text.as_bytes())?;
        let fails = |check: &Check| match check.outcome {
            Outcome::Error => true,
            Outcome::Warning => self.deny == Some(Deny::Warnings),
            Outcome::Ok | Outcome::Skipped => false,
        };
        Ok(if checks.iter().any(fails) { ExitCode::from(FOUND) } else { ExitCode::SUCCESS })
    }
}

#[derive(Serialize)]
struct Document<'c> {
    schema: &'static str,
    checks: &'c [Check],
}

fn check_settings(
    settings: &Settings,
    clients: controller::Clients,
    account: Option<Named>,
) -> CheckSettings {
    let namespace = wiring::pod_namespace(settings);
    let shipped = |name: &str| Named { namespace: namespace.clone(), name: name.to_owned() };
    let guess = |name: &str| Expected { object: shipped(name), is_guess: true };
    let publishes_nodes = settings.publish_nodes.at().is_some();
    let service = match settings.publish_service.at() {
        Some(service) => Some(Expected { object: named(service), is_guess: false }),
        None if publishes_nodes || !settings.publish_address.is_empty() => None,
        None => Some(guess(NAME)),
    };
    let account = match account {
        Some(object) => Some(Expected { object, is_guess: false }),
        // In a pod, who asks is the account of it.
        None if controller::is_in_pod() => None,
        None => Some(guess(NAME)),
    };
    let webhook_secret = match &settings.webhook_secret {
        Auto::Auto => shipped("portcullis-webhook"),
        Auto::Set(secret) => named(secret.clone()),
    };
    CheckSettings {
        cluster: wiring::cluster(settings, clients),
        translation: translate::Settings {
            now: wiring::seconds_now(),
            ..wiring::translation(settings)
        },
        lease: wiring::election_lease(settings).map(named),
        ticket_keys: wiring::ticket_keys_secret(settings).map(named),
        service,
        publishes_nodes,
        trusts_proxies: !settings.trusted_proxies.is_empty(),
        webhook: settings.webhook_configuration.at(),
        webhook_secret,
        account,
        namespace,
    }
}

/// A line for each check, with its remedy below it. What comes from outside is escaped.
fn text(checks: &[Check], paint: Paint) -> String {
    let width = checks.iter().map(|check| check.id.len()).max().unwrap_or(0);
    let mut out = String::new();
    for check in checks {
        let (word, tone) = match check.outcome {
            Outcome::Ok => ("ok", Tone::Good),
            Outcome::Skipped => ("skipped", Tone::Info),
            Outcome::Warning => ("warning", Tone::Warning),
            Outcome::Error => ("error", Tone::Error),
        };
        // Writing to a String cannot fail; so it is below.
        let (word, message) = (paint.tone(tone, format!("{word:7}")), plain(&check.message));
        let _ = writeln!(out, "{word}  {:width$}  {message}", check.id);
        if let Some(remedy) = &check.remedy {
            let _ = writeln!(out, "{:9}{:width$}  help: {}", "", "", plain(remedy));
        }
    }
    let count = |wanted| checks.iter().filter(|check| check.outcome == wanted).count();
    let _ = writeln!(
        out,
        "\nerrors: {}, warnings: {}, skipped: {}, ok: {}",
        count(Outcome::Error),
        count(Outcome::Warning),
        count(Outcome::Skipped),
        count(Outcome::Ok)
    );
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_check_is_a_line_and_its_remedy_stands_below() {
        let check = |id, outcome, remedy: Option<&str>| Check {
            id,
            outcome,
            message: "found\n".into(),
            remedy: remedy.map(Into::into),
            objects: Vec::new(),
        };
        let checks = [
            check("class", Outcome::Ok, None),
            check("service-pods", Outcome::Error, Some("mend it")),
        ];
        assert_eq!(
            text(&checks, Paint::OFF),
            "ok       class         found\\u{a}\n\
             error    service-pods  found\\u{a}\n                       help: mend it\n\n\
             errors: 1, warnings: 0, skipped: 0, ok: 1\n"
        );
    }
}
