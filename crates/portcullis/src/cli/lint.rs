//! `portcullis lint`: every diagnostic about manifests, with file, line and column.

use std::process::ExitCode;

use clap::{Args, ValueEnum};
use model::Severity;

use super::flags::ReadFlags;
use super::paint::Paint;
use super::reading::{Reading, Remark};
use super::render::{self, Located};
use super::{FOUND, Failure, OutputFormat, print};

/// Say everything that is wrong with manifests.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct LintArguments {
    /// Directories (read with all below), files, or `-` for standard input.
    #[arg(value_name = "PATH")]
    paths: Vec<String>,

    /// How to print.
    #[arg(long, value_enum, default_value_t, value_name = "FORM")]
    format: OutputFormat,

    /// Let these fail, too.
    #[arg(long, value_enum, value_name = "WHAT")]
    deny: Option<Deny>,

    /// Leave remarks out: what is worth knowing and needs no doing.
    #[arg(long)]
    quiet: bool,

    #[command(flatten)]
    flags: ReadFlags,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Deny {
    /// Warnings.
    Warnings,
}

const EXAMPLES: &str = "\
Exit code 1 says that there are errors, or with --deny warnings also warnings; 2 that nothing could
be read.

Examples:
  portcullis lint ./manifests
  portcullis lint --cluster                        # what a running cluster has
  portcullis lint --deny warnings ./manifests      # for continuous integration
  portcullis lint --format json ./manifests | jq '.diagnostics[].code'
  helm template ./chart | portcullis lint -";

impl LintArguments {
    pub(super) fn run(self) -> Result<ExitCode, Failure> {
        let reading = Reading::of(&self.flags.settings(self.paths)?)?;
        let remarks = reading.remarks();
        let shown: Vec<Located<'_>> = remarks
            .iter()
            .filter(|remark| !self.quiet || remark.severity() != Severity::Info)
            .map(Remark::located)
            .collect();
        let text = match self.format {
            OutputFormat::Text => {
                let paint = Paint::stdout();
                let each: Vec<String> = shown.iter().map(|one| render::text(one, paint)).collect();
                let separator = if each.is_empty() { "" } else { "\n" };
                let summary = render::summary(&shown, reading.objects, paint);
                format!("{}{separator}{summary}\n", each.join("\n"))
            }
            OutputFormat::Json => render::json(&shown),
        };
        print(text.as_bytes())?;
        let fails = |remark: &Remark| match remark.severity() {
            Severity::Error => true,
            Severity::Warning => self.deny == Some(Deny::Warnings),
            Severity::Info => false,
        };
        Ok(if remarks.iter().any(fails) { ExitCode::from(FOUND) } else { ExitCode::SUCCESS })
    }
}
