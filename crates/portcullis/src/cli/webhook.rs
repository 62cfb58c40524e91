//! `portcullis webhook`: review Ingresses before they are stored.

use std::process::ExitCode;

use clap::Args;

use super::Failure;
use super::flags::ServeFlags;
use crate::wiring;

/// Review Ingresses for the API server before they are stored, without serving traffic.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct WebhookArguments {
    #[command(flatten)]
    flags: ServeFlags,
}

const EXAMPLES: &str = "\
The same as `portcullis run --webhook ADDRESS`, as a process of its own; give it the settings that
the gateway has, so that both say the same. It listens on 0.0.0.0:9443 if nothing else is said.

Examples:
  portcullis webhook
  portcullis webhook --webhook 0.0.0.0:9443 --webhook-service portcullis-system/portcullis-webhook
  portcullis webhook --webhook-certificate /tls/tls.crt --webhook-key /tls/tls.key";

impl WebhookArguments {
    pub(super) fn run(self) -> Result<ExitCode, Failure> {
        let mut presets = wiring::presets().to_vec();
        presets.push(("webhook", "0.0.0.0:9443"));
        let settings = self.flags.settings(&presets)?;
        crate::webhook::process::run(&settings).map_err(|error| Failure::usage(error.to_string()))
    }
}
