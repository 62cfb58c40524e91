//! The compiled configuration as JSON. Keys travel beside the Model and are never in it.

use std::net::SocketAddr;

use model::{Diagnostic, EndpointTable, ListenerId, Model, Report};
use proxy::Snapshot;
use serde::Serialize;

/// The schema of the document; it changes when a field changes its meaning or goes away.
const SCHEMA: &str = "portcullis.snapshot/v1";

#[derive(Serialize)]
struct Document<'s> {
    schema: &'static str,
    generation: String,
    bound: Vec<BoundListener>,
    model: &'s Model,
    endpoints: &'s EndpointTable,
    diagnostics: &'s [Diagnostic],
}

#[derive(Serialize)]
struct BoundListener {
    listener: String,
    address: SocketAddr,
}

/// The document.
pub(super) fn document(
    snapshot: &Snapshot,
    bound: &[(ListenerId, SocketAddr)],
    report: &Report,
) -> Vec<u8> {
    let document = Document {
        schema: SCHEMA,
        generation: snapshot.generation().to_string(),
        bound: bound
            .iter()
            .map(|(id, address)| BoundListener { listener: id.to_string(), address: *address })
            .collect(),
        model: snapshot.model(),
        endpoints: snapshot.endpoints(),
        diagnostics: report.diagnostics(),
    };
    let mut body = serde_json::to_vec(&document).unwrap_or_default();
    body.push(b'\n');
    body
}
