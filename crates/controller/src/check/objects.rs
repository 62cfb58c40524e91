//! The objects as a gateway reads them: certificates, backends, and everything else that is wrong.

use model::{Code, Diagnostic, Severity};

use super::Check;
use crate::load::LoadError;

const CERTIFICATES: &str = "certificates";
const BACKENDS: &str = "backends";
const OBJECTS: &str = "objects";

/// How many are named in the message; the list of objects has all.
const NAMED_MAX: usize = 3;

/// What cannot be served as certificates, or not for long.
const OF_CERTIFICATES: &[Code] = &[
    Code::SecretNotFound,
    Code::InvalidCertificate,
    Code::CertificateKeptFromBefore,
    Code::CertificateDoesNotCoverHost,
    Code::CertificateExpired,
    Code::CertificateExpiresSoon,
    Code::CertificateWeakSignature,
];

/// What has requests end in 503.
const OF_BACKENDS: &[Code] = &[
    Code::ServiceNotFound,
    Code::PortNotFound,
    Code::NoEndpoints,
    Code::InvalidEndpoint,
    Code::EndpointAddressRefused,
];

/// Verdicts on everything that translation had to say.
pub(super) fn judge(diagnostics: &[Diagnostic]) -> [Check; 3] {
    let of = |codes: &[Code]| -> Vec<&Diagnostic> {
        diagnostics.iter().filter(|one| codes.contains(&one.code)).collect()
    };
    let is_other = |one: &&Diagnostic| {
        one.severity == Severity::Error
            && !OF_CERTIFICATES.contains(&one.code)
            && !OF_BACKENDS.contains(&one.code)
    };
    [
        one(CERTIFICATES, &of(OF_CERTIFICATES), "all certificates are there, and valid"),
        one(BACKENDS, &of(OF_BACKENDS), "every backend has endpoints that are ready"),
        one(
            OBJECTS,
            &diagnostics.iter().filter(is_other).collect::<Vec<_>>(),
            "everything else is served as it is written",
        ),
    ]
}

fn one(id: &'static str, found: &[&Diagnostic], good: &str) -> Check {
    let Some(worst) = found.iter().max_by_key(|one| one.severity == Severity::Error) else {
        return Check::ok(id, good);
    };
    let says = |one: &&Diagnostic| format!("{}: {}", one.object, one.message);
    let mut message = found.iter().take(NAMED_MAX).map(says).collect::<Vec<_>>().join("; ");
    if let Some(more @ 1..) = found.len().checked_sub(NAMED_MAX) {
        message.push_str("; and ");
        message.push_str(&more.to_string());
        message.push_str(" more, which `portcullis lint --cluster` has");
    }
    let check = if worst.severity == Severity::Error {
        Check::error(id, message, worst.remedy())
    } else {
        Check::warning(id, message, worst.remedy())
    };
    let mut objects: Vec<String> = found.iter().map(|one| one.object.to_string()).collect();
    objects.sort();
    objects.dedup();
    Check { objects, ..check }
}

/// That none of it is known.
pub(super) fn unread(error: &LoadError) -> [Check; 3] {
    // What a remedy has to say stands with the rights.
    let text = error.to_string();
    let why = text.lines().next().unwrap_or_default();
    let skipped = |id| Check::skipped(id, format!("objects cannot be read: {why}"));
    [CERTIFICATES, BACKENDS, OBJECTS].map(skipped)
}

#[cfg(test)]
mod tests {
    use model::{Effect, FieldPath, ObjectRef};

    use super::super::Outcome;
    use super::*;

    fn diagnostic(code: Code, name: &str) -> Diagnostic {
        Diagnostic {
            severity: code.info().severity,
            code,
            object: ObjectRef::new("Ingress", "shop", name),
            field: FieldPath("".into()),
            message: "why".into(),
            help: None,
            related: Vec::new(),
            effect: Effect::None,
        }
    }

    #[test]
    fn certificates_and_backends_are_told_apart_and_the_worst_counts() {
        let said = [
            diagnostic(Code::CertificateExpiresSoon, "a"),
            diagnostic(Code::InvalidCertificate, "b"),
            diagnostic(Code::NoEndpoints, "c"),
        ];
        let [certificates, backends, objects] = judge(&said);
        assert_eq!(certificates.outcome, Outcome::Error);
        assert_eq!(certificates.remedy.as_deref(), Some(Code::InvalidCertificate.info().remedy));
        assert_eq!(certificates.objects.len(), 2);
        assert_eq!(backends.outcome, Outcome::Warning);
        assert_eq!(objects.outcome, Outcome::Ok);
    }

    #[test]
    fn of_many_some_are_named_and_all_are_listed() {
        let names = ["a", "b", "c", "d", "e"];
        let said = names.map(|name| diagnostic(Code::NoEndpoints, name));
        let [_, backends, _] = judge(&said);
        assert!(backends.message.contains("and 2 more"), "{}", backends.message);
        assert_eq!(backends.objects.len(), 5);
    }
}
