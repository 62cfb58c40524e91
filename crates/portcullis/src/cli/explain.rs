//! `portcullis explain`: which route serves a request, and why not another.
//!
//! It compiles the manifests as a gateway would and asks the functions that serve: what it says is
//! what would happen.

pub(super) mod account;
pub(super) mod question;
pub(super) mod text;

use std::net::{IpAddr, Ipv4Addr};
use std::process::ExitCode;

use clap::Args;
use model::Provenance;
use wire::HeadLimits;

use super::flags::ReadFlags;
use super::paint::{Paint, Tone};
use super::reading::Reading;
use super::{FOUND, Failure, OutputFormat, complain, print, to_json};
use account::{RefusedAccount, Surroundings};
use question::Question;

/// Say what would become of a request, which rules were considered, and why each lost.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct ExplainArguments {
    /// A directory (read with all below), a file, or `-` for standard input. May be repeated.
    #[arg(long, value_name = "PATH")]
    manifests: Vec<String>,

    /// The method.
    #[arg(short = 'X', long = "request", value_name = "METHOD", default_value = "GET")]
    method: String,

    /// A field of the request. May be repeated.
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    headers: Vec<String>,

    /// The address that connects. Where it is one of --trusted-proxies, its X-Forwarded fields say
    /// who the client is.
    #[arg(long, value_name = "IP", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    client_ip: IpAddr,

    /// Exit with 1 unless this is the outcome: a status, or a backend such as `shop/cart` or
    /// `shop/cart:80`.
    #[arg(long, value_name = "BACKEND|STATUS")]
    expect: Option<String>,

    /// How to print.
    #[arg(long, value_enum, default_value_t, value_name = "FORM")]
    format: OutputFormat,

    /// The request, such as `https://shop.example/cart?id=1`.
    url: String,

    #[command(flatten)]
    flags: ReadFlags,
}

const EXAMPLES: &str = "\
Examples:
  portcullis explain --manifests ./manifests http://shop.example/cart
  portcullis explain --manifests ./manifests -X POST -H 'Content-Length: 10' https://shop.example/
  portcullis explain --manifests ./manifests --expect shop/cart http://shop.example/cart
  portcullis explain --manifests ./manifests --expect 404 http://other.example/
  portcullis explain --cluster http://shop.example/cart";

impl ExplainArguments {
    pub(super) fn run(self) -> Result<ExitCode, Failure> {
        let question =
            Question::new(&self.url, &self.method, &self.headers).map_err(Failure::usage)?;
        let settings = self.flags.settings(self.manifests)?;
        let reading = Reading::of(&settings)?;
        let translation = &reading.translation;
        let snapshot =
            proxy::compile(&translation.model, &translation.endpoints, &translation.material);
        let health_path = settings.health_path.at().map(|path| path.0);
        let around = Surroundings {
            peer: self.client_ip,
            trusted_proxies: &settings.trusted_proxies,
            head: HeadLimits {
                bytes_max: settings.request_head_bytes_max.0 as usize,
                fields_max: settings.request_fields_max.get() as usize,
                target_bytes_max: settings.request_target_bytes_max.0 as usize,
            },
            body_bytes_max: settings.request_body_bytes_max.at().map(|size| size.0),
            health_path: health_path.as_deref(),
        };
        let mut account = account::account(&snapshot, &question, &self.url, &self.method, &around);
        for route in account.hosts.iter_mut().flat_map(|host| &mut host.routes) {
            let Provenance { object, field } = &route.provenance;
            route.place = reading.place(object, field).map(|place| place.to_string());
        }
        for claim in translation.refused.iter().filter(|claim| claim.host.covers(&question.host)) {
            let Provenance { object, field } = &claim.provenance;
            account.refused.push(RefusedAccount {
                provenance: claim.provenance.clone(),
                place: reading.place(object, field).map(|place| place.to_string()),
                why: claim.message.clone(),
            });
        }
        let shown = match self.format {
            OutputFormat::Text => text::text(&account, Paint::stdout()),
            OutputFormat::Json => to_json(&account),
        };
        reading.warn_of_errors();
        let code = print(shown.as_bytes())?;
        let Some(expected) = &self.expect else { return Ok(code) };
        if account.meets(expected) {
            return Ok(code);
        }
        complain(Tone::Error, "error", &format!("the outcome is not {expected}"));
        Ok(ExitCode::from(FOUND))
    }
}
