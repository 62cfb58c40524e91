//! `portcullis echo`: a backend that answers with what it received.

use std::net::SocketAddr;
use std::process::ExitCode;

use clap::Args;

use super::{Failure, print};
use crate::echo::Echo;

/// Answer requests with what was received: HTTP/1.1, cleartext HTTP/2, WebSocket and gRPC.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct EchoArguments {
    /// Listen here; port 0 takes a free one. May be repeated.
    #[arg(long, value_name = "ADDRESS", required = true, num_args = 1..)]
    listen: Vec<SocketAddr>,

    /// The name to tell in each answer.
    #[arg(long, default_value = "echo")]
    name: String,
}

const EXAMPLES: &str = "\
Examples:
  portcullis echo --listen 127.0.0.1:3000 --name web
  curl 'http://127.0.0.1:3000/a?status=503'      # answers 503
  curl 'http://127.0.0.1:3000/?delay_ms=200'     # waits first
  curl 'http://127.0.0.1:3000/?bytes=1000000'    # that many bytes instead of JSON
  curl 'http://127.0.0.1:3000/?chunked=1'        # no Content-Length; trailers=1 adds trailers
  curl 'http://127.0.0.1:3000/?close=1'          # ends the connection";

impl EchoArguments {
    /// Serves until the process is told to end.
    pub(super) fn run(self) -> Result<ExitCode, Failure> {
        let echo = Echo::start(&self.name, &self.listen)
            .map_err(|error| Failure::usage(format!("cannot listen: {error}")))?;
        for address in echo.addresses() {
            print(format!("{} answers on http://{address}\n", self.name).as_bytes())?;
        }
        crate::signals::wait_for_end().map_err(|error| Failure::usage(error.to_string()))?;
        Ok(ExitCode::SUCCESS)
    }
}
