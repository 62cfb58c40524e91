//! The command line as a whole; and `routes` and `explain` over the demonstration's manifests,
//! against what they shall print.
//!
//! What they shall print is in `tests/golden`; with `UPDATE_GOLDEN` set it is written anew, to be
//! looked at before it is committed.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::CommandFactory as _;
use wire::HeadLimits;

use super::explain::{account, question::Question, text};
use super::paint::Paint;
use super::reading::Reading;
use super::{Program, routes};
use crate::settings::Settings;
use crate::settings::value::{OrOff, Value as _};

fn expect(name: &str, shown: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, shown).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(shown == expected, "{name} has:\n{expected}\nand it prints:\n{shown}");
}

/// The bundled manifests, with endpoints by flag.
fn reading() -> Reading {
    let manifests = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("demo");
    let endpoint =
        ["demo/shop=127.0.0.1:3001", "demo/shop=127.0.0.1:3002", "demo/cart=127.0.0.1:3003"];
    let settings = Settings {
        manifests: vec![manifests.display().to_string()],
        endpoint: endpoint
            .iter()
            .map(|text| translate::EndpointOverride::parse(text).unwrap())
            .collect(),
        http: vec![OrOff::At(([127, 0, 0, 1], 8080).into())],
        ..Settings::defaults()
    };
    Reading::of(&settings).map_err(|failure| format!("{failure:?}")).unwrap()
}

#[test]
fn routes_are_a_table_in_the_order_in_which_they_are_tried() {
    let reading = reading();
    let rows = routes::rows(&reading.translation.model, &reading.translation.endpoints);
    let shown = routes::text(&rows, Paint::OFF);
    expect("routes.txt", &shown);
}

fn explain(url: &str) -> String {
    let translation = reading().translation;
    let snapshot =
        proxy::compile(&translation.model, &translation.endpoints, &translation.material);
    let limits = HeadLimits { bytes_max: 32_768, fields_max: 100, target_bytes_max: 16_384 };
    let question = Question::new(url, "GET", &[]).unwrap();
    let around = account::Surroundings {
        peer: IpAddr::from([127, 0, 0, 1]),
        trusted_proxies: &[],
        head: limits,
        body_bytes_max: None,
        health_path: None,
    };
    let account = account::account(&snapshot, &question, url, "GET", &around);
    let shown = text::text(&account, Paint::OFF);
    // The generation changes with every field that a Model gains.
    let lines: Vec<&str> =
        shown.split_inclusive('\n').filter(|line| !line.starts_with("generation")).collect();
    lines.concat()
}

#[test]
fn an_explanation_names_every_rule_and_why_it_lost() {
    let shown = explain("http://shop.localhost/cart/../cart/1");
    expect("explain-forward.txt", &shown);
}

#[test]
fn an_explanation_says_what_policies_do() {
    let shown = explain("http://api.localhost/v1/users?id=7");
    expect("explain-rewrite.txt", &shown);
    expect("explain-redirect.txt", &explain("http://secure.localhost/a?b=c"));
}

#[test]
fn what_the_wire_refuses_is_refused_with_its_reason() {
    let shown = explain("http://shop.localhost/../etc");
    expect("explain-refused.txt", &shown);
}

#[test]
fn the_command_line_is_sound() {
    Program::command().debug_assert();
}

#[test]
fn every_command_has_examples() {
    for command in Program::command().get_subcommands().filter(|command| !command.is_hide_set()) {
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        assert!(help.contains("Examples:"), "{}", command.get_name());
    }
}
