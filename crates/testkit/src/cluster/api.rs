//! Requests to the API server as they are on the wire: for many changes, where starting kubectl for
//! each would take longer than what is tested.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ClientConfig;
use serde_json::Value;

use super::{ControlPlane, Credentials, lock};
use crate::client::raw::RawClient;
use crate::{Authority, Message, tls};

/// Where the API has the kinds that tests write: the group, the plural, whether in a namespace.
const KINDS: &[(&str, &str, &str, bool)] = &[
    ("ConfigMap", "/api/v1", "configmaps", true),
    ("Namespace", "/api/v1", "namespaces", false),
    ("Node", "/api/v1", "nodes", false),
    ("Pod", "/api/v1", "pods", true),
    ("Pod", "/api/v1", "pods", true),
    ("Secret", "/api/v1", "secrets", true),
    ("Service", "/api/v1", "services", true),
    ("ServiceAccount", "/api/v1", "serviceaccounts", true),
    ("EndpointSlice", "/apis/discovery.k8s.io/v1", "endpointslices", true),
    ("Ingress", "/apis/networking.k8s.io/v1", "ingresses", true),
    ("IngressClass", "/apis/networking.k8s.io/v1", "ingressclasses", false),
    ("ClusterRole", "/apis/rbac.authorization.k8s.io/v1", "clusterroles", false),
    ("ClusterRoleBinding", "/apis/rbac.authorization.k8s.io/v1", "clusterrolebindings", false),
    ("Role", "/apis/rbac.authorization.k8s.io/v1", "roles", true),
    ("RoleBinding", "/apis/rbac.authorization.k8s.io/v1", "rolebindings", true),
    ("Lease", "/apis/coordination.k8s.io/v1", "leases", true),
];

/// The path of an object of a kind that tests write; namespaced ones want a namespace.
///
/// # Panics
/// When the kind is not in the table.
pub fn path_of(kind: &str, namespace: &str, name: &str) -> String {
    let row = KINDS.iter().find(|(known, ..)| *known == kind);
    let (_, group, plural, is_namespaced) = row.unwrap_or_else(|| panic!("no path for {kind}"));
    if *is_namespaced {
        format!("{group}/namespaces/{namespace}/{plural}/{name}")
    } else {
        format!("{group}/{plural}/{name}")
    }
}

/// What the API server answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The object, or the `Status` that says why there is none; null when it is not JSON.
    pub body: Value,
}

/// The way to the API server, with a connection that is used again.
pub(super) struct Line {
    address: SocketAddr,
    config: Arc<ClientConfig>,
    token: Option<String>,
    connection: Option<RawClient>,
}

impl Line {
    pub(super) fn new(address: SocketAddr, authority: &Authority, who: &Credentials) -> Self {
        let (config, token) = match who {
            Credentials::Certificate(leaf) => (tls::client_as(authority.roots(), leaf), None),
            Credentials::Token(token) => (tls::client(authority.roots(), &[]), Some(token.clone())),
            Credentials::TokenFile(path) => {
                let token = std::fs::read_to_string(path).expect("the file has a token");
                (tls::client(authority.roots(), &[]), Some(token.trim().to_owned()))
            }
        };
        Self { address, config, token, connection: None }
    }

    fn exchange(&mut self, method: &str, path: &str, body: Option<&Value>) -> io::Result<Message> {
        let content = match method {
            "PATCH" if path.contains("fieldManager=") => "application/apply-patch+yaml",
            "PATCH" => "application/merge-patch+json",
            _ => "application/json",
        };
        let body = body.map(ToString::to_string).unwrap_or_default();
        let authorization =
            self.token.as_ref().map_or(String::new(), |t| format!("Authorization: Bearer {t}\r\n"));
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\n{authorization}Accept: application/json\r\n\
             Content-Type: {content}\r\nContent-Length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        );
        // A kept connection may have ended with an API server that was killed.
        if let Some(mut kept) = self.connection.take()
            && kept.try_send(&request).is_ok()
            && let Ok(message) = kept.try_read_response(method)
        {
            self.connection = Some(kept);
            return Ok(message);
        }
        // The client of tests takes the absence of a listener as a failure of the test.
        drop(std::net::TcpStream::connect(self.address)?);
        let mut client =
            RawClient::connect_tls(self.address, &self.address.ip().to_string(), &self.config)?;
        client.try_send(&request)?;
        let message = client.try_read_response(method)?;
        self.connection = Some(client);
        Ok(message)
    }
}

impl ControlPlane {
    /// A request of somebody who may do everything. A `PATCH` is a JSON merge patch.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub fn try_request(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> io::Result<Answer> {
        let message = lock(&self.line).exchange(method, path, body)?;
        let body = serde_json::from_slice(&message.body).unwrap_or(Value::Null);
        Ok(Answer { status: message.status(), body })
    }

    /// The object at a path of the API; `None` when there is none.
    ///
    /// # Panics
    /// When the API server answers something else, or nothing.
    pub fn look(&self, path: &str) -> Option<Value> {
        let answer = self.answer("GET", path, None);
        match answer.status {
            200 => Some(answer.body),
            404 => None,
            _ => panic!("GET {path}: {answer:?}"),
        }
    }

    /// Creates an object, or makes the one that is there like it: server-side apply.
    ///
    /// # Panics
    /// When the API server refuses.
    pub fn put(&self, object: &Value) -> Value {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let meta = &object["metadata"];
        let (kind, namespace) = (text(&object["kind"]), text(&meta["namespace"]));
        let path = path_of(&kind, &namespace, &text(&meta["name"]));
        self.done("PATCH", &format!("{path}?fieldManager=test&force=true"), Some(object))
    }

    /// Creates an object in a collection.
    ///
    /// # Panics
    /// When the API server refuses.
    pub fn create(&self, collection: &str, object: &Value) -> Value {
        self.done("POST", collection, Some(object))
    }

    /// Writes an object anew.
    ///
    /// # Panics
    /// When the API server refuses.
    pub fn replace(&self, path: &str, object: &Value) -> Value {
        self.done("PUT", path, Some(object))
    }

    /// Merges a patch into an object.
    ///
    /// # Panics
    /// When the API server refuses.
    pub fn patch(&self, path: &str, patch: &Value) -> Value {
        self.done("PATCH", path, Some(patch))
    }

    /// Deletes an object.
    ///
    /// # Panics
    /// When the API server refuses.
    pub fn remove(&self, path: &str) {
        self.done("DELETE", path, None);
    }

    /// An answer, or what the API server said instead: one that tests share shows it nowhere else.
    fn answer(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        self.try_request(method, path, body).unwrap_or_else(|error| {
            let mut api_server = lock(&self.api_server);
            let ended = api_server.ended();
            let said = api_server.said();
            panic!("{method} {path}: {error}; the API server ({ended:?}) said:\n{said}")
        })
    }

    fn done(&self, method: &str, path: &str, body: Option<&Value>) -> Value {
        let answer = self.answer(method, path, body);
        assert!((200..300).contains(&answer.status), "{method} {path}: {answer:?}");
        answer.body
    }
}
