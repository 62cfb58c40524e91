//! Diagnostics in the process log: what is new, not what was said before.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use model::{
    Code, Diagnostic, Effect, FieldPath, ListenerId, ListenerProtocol, ObjectRef, Report, Severity,
};
use tracing::field::display;

/// Lines that one report may add to the log; the rest is counted, and in `/snapshot`.
const LINES_MAX: usize = 100;

/// Logs the diagnostics that `report` has and `before` had not, and how many are gone.
pub(super) fn log_news(before: &Report, report: &Report) {
    let known: BTreeSet<&Diagnostic> = before.diagnostics().iter().collect();
    let current: BTreeSet<&Diagnostic> = report.diagnostics().iter().collect();
    let mut news: Vec<&Diagnostic> = current.difference(&known).copied().collect();
    // What is not served as written comes first.
    news.sort_by_key(|diagnostic| diagnostic.severity);
    for diagnostic in news.iter().take(LINES_MAX) {
        log(diagnostic);
    }
    if news.len() > LINES_MAX {
        let more = news.len() - LINES_MAX;
        tracing::warn!(more, "further diagnostics; `portcullis lint` and /snapshot have them all");
    }
    let gone = known.difference(&current).count();
    if gone > 0 {
        tracing::info!(gone, left = current.len(), "diagnostics are settled");
    }
}

/// One line for a diagnostic, at its own level.
fn log(diagnostic: &Diagnostic) {
    let field = (!diagnostic.field.0.is_empty()).then(|| display(&diagnostic.field));
    let effect = (diagnostic.effect != Effect::None).then(|| display(diagnostic.effect));
    macro_rules! line {
        ($level:ident) => {
            tracing::$level!(
                code = diagnostic.code.id(),
                object = %diagnostic.object,
                field,
                effect,
                help = diagnostic.remedy(),
                "{}",
                diagnostic.message
            )
        };
    }
    match diagnostic.severity {
        Severity::Error => line!(error),
        Severity::Warning => line!(warn),
        Severity::Info => line!(info),
    }
}

/// Logs which listeners came and which went.
pub(super) fn log_listeners(before: &[(ListenerId, SocketAddr)], now: &[(ListenerId, SocketAddr)]) {
    let url = |(id, address): &(ListenerId, SocketAddr)| match id.protocol {
        ListenerProtocol::Http => format!("http://{address}"),
        ListenerProtocol::Https => format!("https://{address}"),
    };
    for listener in now.iter().filter(|listener| !before.contains(listener)) {
        tracing::info!(address = url(listener), "listening");
    }
    for listener in before.iter().filter(|listener| !now.contains(listener)) {
        tracing::info!(address = url(listener), "no longer listening");
    }
}

/// The diagnostic of a listener that could not be bound.
pub(super) fn not_bound(id: &ListenerId, error: &str) -> Diagnostic {
    let flag = match id.protocol {
        ListenerProtocol::Http => "http",
        ListenerProtocol::Https => "https",
    };
    Diagnostic {
        severity: Severity::Error,
        code: Code::ListenerNotBound,
        object: ObjectRef::new("Listener", "", id.to_string()),
        field: FieldPath::default(),
        message: format!("{id} cannot be bound: {error}"),
        help: Some(format!("free the address, or choose another with --{flag}")),
        related: Vec::new(),
        effect: Effect::ListenerNotBound,
    }
}
