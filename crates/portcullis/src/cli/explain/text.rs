//! The account of a request for people: the outcome first, then how it came about.

use std::fmt::Write as _;

use super::account::{Account, Outcome, RouteAccount};
use crate::cli::paint::{Paint, Tone, plain};

/// The account, ending in a line feed.
pub(crate) fn text(account: &Account, paint: Paint) -> String {
    let mut out = String::new();
    let asked = plain(&format!("{} {}", account.method, account.url));
    // Writing to a String cannot fail; so it is below.
    let _ = writeln!(out, "{}", paint.tone(Tone::Strong, asked));
    outcome(&mut out, account, paint);
    out.push('\n');
    connection(&mut out, account, paint);
    candidates(&mut out, account, paint);
    if !account.refused.is_empty() {
        let _ = writeln!(out, "\n{}", paint.tone(Tone::Strong, "refused claims to the host"));
        for claim in &account.refused {
            let place = claim.place.as_ref().map(|place| format!(" ({place})")).unwrap_or_default();
            let told = format!("{}: {}{place}", claim.provenance, claim.why);
            let _ = writeln!(out, "  {}", plain(&told));
        }
    }
    if !account.steps.is_empty() {
        let _ = writeln!(out, "\n{}", paint.tone(Tone::Strong, "steps"));
        for step in &account.steps {
            let _ = writeln!(out, "  {:<15} {}", step.name, plain(&step.finding));
        }
    }
    out
}

fn outcome(out: &mut String, account: &Account, paint: Paint) {
    match &account.outcome {
        Outcome::Forward { backends, path } => {
            for backend in backends {
                let goes = format!("goes to {}", plain(&backend.upstream));
                let weight = match backends.len() {
                    1 => String::new(),
                    _ => format!(" (weight {})", backend.weight),
                };
                let _ =
                    writeln!(out, "  {}{weight} as {}", paint.tone(Tone::Good, goes), plain(path));
                let choice = backend.choice.map(|how| format!(", {how}")).unwrap_or_default();
                let endpoints = match backend.endpoints.as_slice() {
                    [] => "no endpoint".to_owned(),
                    [one] => format!("endpoint {one}"),
                    several => match &backend.chosen {
                        Some(chosen) => {
                            format!("endpoint {chosen} of {}{choice}", several.join(" "))
                        }
                        None => format!("one of {}{choice}", several.join(" ")),
                    },
                };
                let _ = writeln!(out, "  {}", plain(&endpoints));
            }
        }
        Outcome::Answer { status, reason, location, sentence } => {
            let tone = if *status < 400 { Tone::Info } else { Tone::Error };
            let _ = write!(out, "  {}", paint.tone(tone, format!("is answered {status} {reason}")));
            if let Some(location) = location {
                let _ = write!(out, "\n  Location: {}", plain(location));
            }
            if let Some(sentence) = sentence {
                let _ = write!(out, "\n  {sentence}");
            }
            out.push('\n');
        }
        Outcome::NoListener => {
            let _ =
                writeln!(out, "  {}", paint.tone(Tone::Error, "nothing listens for its scheme"));
        }
    }
}

fn connection(out: &mut String, account: &Account, paint: Paint) {
    let mut line = |name: &str, value: &str| {
        let _ =
            writeln!(out, "{} {}", paint.tone(Tone::Strong, format!("{name:<12}")), plain(value));
    };
    line("generation", &account.generation);
    if let Some(listener) = &account.listener {
        match &account.listener_note {
            Some(note) => line("listener", &format!("{listener} ({note})")),
            None => line("listener", listener),
        }
    }
    if let Some(certificate) = &account.certificate {
        match certificate.names.as_slice() {
            [] => line("certificate", &certificate.secret),
            names => {
                line("certificate", &format!("{} for {}", certificate.secret, names.join(", ")));
            }
        }
    }
}

fn candidates(out: &mut String, account: &Account, paint: Paint) {
    for host in &account.hosts {
        let name = paint.tone(Tone::Strong, plain(&host.hostname));
        let _ = writeln!(out, "\nhost {name}: {}", host.finding);
        let width = |text: fn(&RouteAccount) -> usize| host.routes.iter().map(text).max();
        let kinds = width(|route| route.kind.chars().count()).unwrap_or(0);
        let paths = width(|route| plain(&route.path).chars().count()).unwrap_or(0);
        for route in &host.routes {
            let (mark, tone) = if route.answers {
                ("→", Tone::Good)
            } else if route.holds {
                ("·", Tone::Warning)
            } else {
                ("×", Tone::Frame)
            };
            let object = &route.provenance.object;
            // What stands in no namespace is no Ingress: its kind says what it is.
            let (first, joint) = match &*object.namespace {
                "" => (&object.kind, ' '),
                _ => (&object.namespace, '/'),
            };
            let place = route.place.as_deref().unwrap_or(&route.provenance.field.0);
            let _ = writeln!(
                out,
                "  {} {:kinds$} {:paths$}  {}: {} ({}{joint}{} {})",
                paint.tone(tone, mark),
                route.kind,
                plain(&route.path),
                plain(&route.target),
                route.finding,
                plain(first),
                plain(&object.name),
                plain(place),
            );
        }
    }
}
