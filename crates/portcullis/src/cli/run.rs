//! `portcullis run`: serve what an API server or manifests say.

use std::process::ExitCode;

use clap::Args;

use super::Failure;
use super::flags::ServeFlags;
use crate::wiring;

/// Serve the Ingresses of a cluster or of a directory of manifests, and follow their changes.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct RunArguments {
    #[command(flatten)]
    flags: ServeFlags,
}

const EXAMPLES: &str = "\
Every flag is also an environment variable and a key of the --config file; a flag beats the
environment, the environment beats the file.

Examples:
  portcullis run --manifests ./manifests
  portcullis run --cluster --ingress-class portcullis
  portcullis run --kubeconfig ~/.kube/config --context staging --watch-namespace shop
  portcullis run --manifests ./manifests --http 0.0.0.0:80 --https 0.0.0.0:443
  portcullis run --manifests ./manifests --endpoint shop/web=127.0.0.1:3000
  portcullis run --manifests ./manifests --http '[::1]:8080' --https off --access-log json
  PORTCULLIS_MANIFESTS=./manifests portcullis run --config portcullis.yaml
  kubectl get ingress,service,endpointslice,secret -A -o yaml | portcullis run --manifests -

SIGTERM and SIGINT drain and end; told again, it ends at once. SIGHUP reads the --config file anew
and changes listeners. SIGUSR1 opens the access log anew.";

impl RunArguments {
    pub(super) fn run(self) -> Result<ExitCode, Failure> {
        let settings = self.flags.clone().settings(wiring::presets())?;
        let reload = || self.flags.clone().settings(wiring::presets());
        crate::run::run(&settings, &reload).map_err(|error| Failure::usage(error.to_string()))
    }
}
