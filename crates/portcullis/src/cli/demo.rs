//! `portcullis demo`: see a gateway work on this machine.

use std::process::ExitCode;

use clap::Args;

use super::flags::ServeFlags;
use super::paint::Paint;
use super::{Failure, print};
use crate::demo;

/// Start a gateway with bundled manifests and its own echo backends, and say what to try.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct DemoArguments {
    #[command(flatten)]
    flags: ServeFlags,
}

const EXAMPLES: &str = "\
It needs no cluster, no privileges, no network and no other program, and takes free ports where the
usual ones are taken. The manifests are written to a temporary directory: change them and see.

Examples:
  portcullis demo
  portcullis demo --access-log text
  portcullis demo --http 127.0.0.1:9000 --https 127.0.0.1:9443";

impl DemoArguments {
    pub(super) fn run(self) -> Result<ExitCode, Failure> {
        let failure = |error: demo::DemoError| Failure::usage(error.to_string());
        // What the guide says should not drown in what the gateway says.
        let settings = self.flags.settings(&[("log-level", "warn")])?;
        let demo = demo::Demo::start(settings).map_err(failure)?;
        print(demo::guide::text(&demo, Paint::stdout()).as_bytes())?;
        Ok(demo.serve())
    }
}
