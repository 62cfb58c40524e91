//! A match with a policy and an action.

use serde::{Deserialize, Serialize};

use crate::policy::{BodyLimit, HttpsRedirect, Rewrite, Timeouts};
use crate::{Action, PathMatch, Provenance};

/// What to do with requests whose path matches.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Route {
    /// Which paths.
    pub path: PathMatch,
    /// How requests and responses are treated on the way.
    pub policy: RoutePolicy,
    /// Where they go.
    pub action: Action,
    /// The object and field that asked for this route.
    pub provenance: Provenance,
}

/// Wanted behaviour of one route: one field per policy, each a whole policy or absent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RoutePolicy {
    /// Set where a policy that restricts access could not be honoured: the route answers 503.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed: Option<ClosedReason>,
    /// Plain requests are sent to HTTPS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub https_redirect: Option<HttpsRedirect>,
    /// The path that the upstream sees.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rewrite: Option<Rewrite>,
    /// The largest request body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_limit: Option<BodyLimit>,
    /// How long the upstream may take.
    #[serde(default)]
    pub timeouts: Timeouts,
    /// Fields whose name has `_` are dropped from requests (nginx); otherwise they are kept.
    #[serde(default)]
    pub drop_underscore_fields: bool,
    /// Endpoints are told the scheme as `X-Forwarded-Scheme` and `X-Scheme`, too (nginx).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub scheme_fields: bool,
    /// The response's `Server` field is removed (nginx); otherwise added when absent.
    #[serde(default)]
    pub remove_server_field: bool,
}

/// Why a route is closed: the diagnostic that says so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClosedReason {
    /// The kebab-case id of the diagnostic's code.
    pub code: Box<str>,
    /// The field at fault, such as `metadata.annotations["…/auth-url"]`.
    pub field: Box<str>,
}
