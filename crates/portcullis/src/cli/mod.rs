//! The commands: what is said on the command line, and the exit code that answers it.
//!
//! Exit codes are 0 for success, 1 where something was found (errors in manifests, an expectation
//! that does not hold), 2 where the command could not be understood or carried out.

mod check;
mod demo;
mod echo;
mod explain;
mod flags;
mod lint;
pub(crate) mod paint;
mod reading;
mod reference;
mod render;
mod routes;
mod run;
mod status;
mod table;
mod webhook;

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand, ValueEnum};
use serde::Serialize;

use crate::settings::layer::SettingsError;
use paint::{Paint, Tone};

/// Something was found.
const FOUND: u8 = 1;
/// The command could not be understood or carried out.
const USAGE: u8 = 2;

/// A Kubernetes Ingress gateway: manifests in, real traffic out.
#[derive(Debug, Parser)]
#[command(name = "portcullis", version, after_help = EXAMPLES, max_term_width = 100)]
struct Program {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  portcullis demo                                    # see it work on this machine
  portcullis run --manifests ./manifests             # serve a directory; changes are followed
  portcullis lint ./manifests                        # everything that is wrong, with file and line
  portcullis routes ./manifests                      # the effective routing table
  portcullis explain --manifests ./manifests http://shop.example/cart";

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::RunArguments),
    Demo(demo::DemoArguments),
    Lint(lint::LintArguments),
    Routes(routes::RoutesArguments),
    Explain(explain::ExplainArguments),
    Check(check::CheckArguments),
    Status(status::StatusArguments),
    Webhook(webhook::WebhookArguments),
    Echo(echo::EchoArguments),
    /// Write a shell's completion script to standard output.
    #[command(hide = true)]
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Write a page of the reference to standard output.
    #[command(hide = true)]
    Reference {
        /// The page.
        page: reference::Page,
    },
}

/// The form of printed data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum OutputFormat {
    /// For people.
    #[default]
    Text,
    /// For programs; carries a schema version.
    Json,
}

/// Why a command could not be carried out, told on standard error.
#[derive(Debug)]
struct Failure {
    messages: Vec<String>,
    code: u8,
}

impl Failure {
    /// Something that the user can mend.
    fn usage(message: impl Into<String>) -> Self {
        Self { messages: vec![message.into()], code: USAGE }
    }
}

impl From<Vec<SettingsError>> for Failure {
    fn from(errors: Vec<SettingsError>) -> Self {
        Self { messages: errors.iter().map(ToString::to_string).collect(), code: USAGE }
    }
}

/// Carries out a command line, the program's name first.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let program = match Program::try_parse_from(arguments) {
        Ok(program) => program,
        Err(error) => {
            // Nothing is left to tell when even that cannot be written.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(USAGE));
        }
    };
    match program.command.run() {
        Ok(code) => code,
        Err(failure) => {
            for message in &failure.messages {
                complain(Tone::Error, "error", message);
            }
            ExitCode::from(failure.code)
        }
    }
}

impl Command {
    fn run(self) -> Result<ExitCode, Failure> {
        match self {
            Self::Run(arguments) => arguments.run(),
            Self::Demo(arguments) => arguments.run(),
            Self::Lint(arguments) => arguments.run(),
            Self::Routes(arguments) => arguments.run(),
            Self::Explain(arguments) => arguments.run(),
            Self::Check(arguments) => arguments.run(),
            Self::Status(arguments) => arguments.run(),
            Self::Webhook(arguments) => arguments.run(),
            Self::Echo(arguments) => arguments.run(),
            Self::Completions { shell } => {
                let mut script = Vec::new();
                clap_complete::generate(shell, &mut Program::command(), "portcullis", &mut script);
                print(&script)
            }
            Self::Reference { page } => print(page.text().as_bytes()),
        }
    }
}

/// A line on standard error; where nobody reads it, the exit code has to do.
fn complain(tone: Tone, what: &str, message: &str) {
    let what = Paint::stderr().tone(tone, what);
    let _ = writeln!(std::io::stderr(), "{what}: {message}");
}

/// Writes to standard output; a reader that went away early has what it wanted.
fn print(bytes: &[u8]) -> Result<ExitCode, Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        Err(error) => Err(Failure::usage(format!("standard output: {error}"))),
    }
}

/// A value as indented JSON, ending in a line feed.
fn to_json(value: &impl Serialize) -> String {
    // Only maps with keys that are no strings fail, and our documents have none.
    let mut text = serde_json::to_string_pretty(value).unwrap_or_default();
    text.push('\n');
    text
}

#[cfg(test)]
mod tests;
