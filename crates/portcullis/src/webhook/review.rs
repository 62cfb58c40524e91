//! `AdmissionReview` of `admission.k8s.io/v1`: what the API server asks, and how it is answered.

use std::fmt::Write as _;

use model::Diagnostic;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use translate::{Proposal, Verdict};

const API_VERSION: &str = "admission.k8s.io/v1";
const KIND: &str = "AdmissionReview";

/// Warnings told at most; the API server cuts after 4096 bytes in all.
const WARNINGS_MAX: usize = 14;
/// Bytes of a warning; the API server may cut longer ones.
const WARNING_BYTES_MAX: usize = 256;
/// Reasons named in a refusal.
const REASONS_MAX: usize = 10;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Asked<'a> {
    api_version: String,
    kind: String,
    #[serde(borrow)]
    request: Request<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    uid: String,
    kind: GroupVersionKind,
    operation: String,
    /// As they came, and not as trees of values, which are ten times as large.
    #[serde(borrow)]
    object: Option<&'a RawValue>,
    #[serde(borrow)]
    old_object: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct GroupVersionKind {
    group: String,
    version: String,
    kind: String,
}

/// What is to be answered.
#[derive(Debug)]
pub(super) struct Question {
    uid: String,
    /// Absent for what we have nothing to say about.
    pub(super) proposal: Option<Proposal>,
}

/// Reads what the API server sent.
///
/// # Errors
/// When it is no such review, or what it calls an Ingress is none; half a sentence.
pub(super) fn read(body: &[u8]) -> Result<Question, String> {
    let asked: Asked<'_> = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    if asked.api_version != API_VERSION || asked.kind != KIND {
        return Err(format!("{} of `{}` is not read", asked.kind, asked.api_version));
    }
    let Request { uid, kind, operation, object, old_object } = asked.request;
    if uid.is_empty() {
        return Err("the request has no uid".to_owned());
    }
    let is_ingress =
        kind.group == "networking.k8s.io" && kind.version == "v1" && kind.kind == "Ingress";
    if !is_ingress || !matches!(&*operation, "CREATE" | "UPDATE") {
        return Ok(Question { uid, proposal: None });
    }
    let object = object.ok_or("the request has no object")?;
    let proposal =
        Proposal::read(object.get().as_bytes(), old_object.map(|old| old.get().as_bytes()))
            .map_err(|problem| format!("the object is no Ingress: {problem}"))?;
    Ok(Question { uid, proposal: Some(proposal) })
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Answered<'a> {
    api_version: &'static str,
    kind: &'static str,
    response: Response<'a>,
}

#[derive(Serialize)]
struct Response<'a> {
    uid: &'a str,
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

#[derive(Serialize)]
struct Status {
    code: u16,
    reason: &'static str,
    message: String,
}

impl Question {
    /// The answer as JSON.
    pub(super) fn answer(&self, verdict: &Verdict) -> Vec<u8> {
        let status = (!verdict.denied.is_empty()).then(|| Status {
            code: 422,
            reason: "Invalid",
            message: reasons(&verdict.denied),
        });
        let allowed = status.is_none();
        let warnings = warnings(&verdict.warnings);
        let response = Response { uid: &self.uid, allowed, status, warnings };
        let answered = Answered { api_version: API_VERSION, kind: KIND, response };
        // Nothing in it can fail to be written.
        serde_json::to_vec(&answered).unwrap_or_default()
    }
}

fn reasons(denied: &[Diagnostic]) -> String {
    let mut text = String::new();
    for found in denied.iter().take(REASONS_MAX) {
        if !text.is_empty() {
            text.push_str("; ");
        }
        // A String takes every write.
        let _ = write!(text, "{} (help: {}) [{}]", placed(found), found.remedy(), found.code);
    }
    if let Some(more) = denied.len().checked_sub(REASONS_MAX).filter(|more| *more > 0) {
        let _ = write!(text, "; and {more} more");
    }
    text
}

fn warnings(found: &[Diagnostic]) -> Vec<String> {
    let mut texts: Vec<String> = found
        .iter()
        .take(WARNINGS_MAX)
        .map(|found| cut(format!("{} [{}]", placed(found), found.code)))
        .collect();
    if let Some(more) = found.len().checked_sub(WARNINGS_MAX).filter(|more| *more > 0) {
        texts.push(format!("and {more} more: `portcullis lint` tells them all"));
    }
    texts
}

/// What it says, with its place: another object is named, the one that is asked about is not.
fn placed(found: &Diagnostic) -> String {
    let place = if found.field.0.is_empty() { "metadata" } else { &*found.field.0 };
    format!("{} {place}: {}", found.object, found.message)
}

fn cut(mut text: String) -> String {
    if text.len() > WARNING_BYTES_MAX {
        let end = text.floor_char_boundary(WARNING_BYTES_MAX - '…'.len_utf8());
        text.truncate(end);
        text.push('…');
    }
    text
}
