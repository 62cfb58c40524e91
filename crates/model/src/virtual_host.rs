//! A hostname on the listeners, with its routes.

use serde::{Deserialize, Serialize};

use crate::policy::AnswerBody;
use crate::{Hostname, Provenance, Route};

/// One host block: compiled alone, replaced alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VirtualHost {
    /// Which hosts it answers for.
    pub hostname: Hostname,
    /// In which form the request path is compared and forwarded.
    pub path_form: PathForm,
    /// What happens when no route matches.
    pub miss: Miss,
    /// When true, `routes` is one list tried from the front whatever the kinds (nginx regex host);
    /// otherwise the order of `PathMatch` holds, and `routes` is sorted by it.
    pub ordered: bool,
    /// What stands in answers that are made here for its requests.
    #[serde(default, skip_serializing_if = "AnswerBody::is_text")]
    pub answer_body: AnswerBody,
    /// The routes, in the order in which they are tried.
    pub routes: Vec<Route>,
    /// The object that first named this host.
    pub provenance: Provenance,
}

/// In which form a path is compared with the routes of a host, and forwarded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PathForm {
    /// Compare the canonical form, forward the canonical form.
    #[default]
    Canonical,
    /// Compare the decoded form with slashes merged; forward as sent, dot segments resolved.
    Decoded,
}

/// What happens when a host matches and none of its routes does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Miss {
    /// Less specific hosts are tried: wildcard, then host-less.
    #[default]
    FallThrough,
    /// The host hides the others: the search ends here.
    Hide,
}
