//! Host ownership: whose hosts are whose, and what an Ingress says of a host that is another's.
//!
//! What is refused is taken out of the fragment before hosts are put together, and keeps no place:
//! a place on a foreign host, even one that answers 503, would be what ownership is to prevent. It
//! holds for rules, default backends, TLS entries, and so for whatever a host has of its oldest
//! Ingress.
//!
//! Invariant: it is decided by settings, Namespaces and the fragments in the order of their age
//! alone, so that all replicas agree.

mod allowed;
mod first;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use model::{Code, Effect, Hostname, Provenance, Related};

use crate::ingress::{Fragment, TlsEntry};
use crate::listed::Listed;
use crate::memo::Memo;
use crate::objects::ObjectStore;
use crate::scope::{Reports, Scope};
use crate::settings::{HostOwnership, Settings};
use allowed::AllowList;
use first::FirstNamespaces;

/// The annotation of a Namespace that lists the hosts its Ingresses may use.
pub const ALLOWED_HOSTS_ANNOTATION: &str = "portcullis.io/allowed-hosts";

/// Why a host may not be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Another namespace named this host, or one that overlaps, before.
    Taken { owner: Arc<str>, overlap: Option<Hostname>, by: Option<Provenance> },
    /// A setting or the Namespaces give it to others.
    Given { to: Vec<Arc<str>> },
    /// Nobody gave it to anybody.
    NotGiven,
}

/// Something that an Ingress says of a host that is not its namespace's.
#[derive(Clone, Debug, PartialEq)]
pub struct RefusedClaim {
    /// The host that it names.
    pub host: Hostname,
    /// The Ingress and the field.
    pub provenance: Provenance,
    /// Why it is refused: a sentence that begins with the host.
    pub message: String,
}

/// Takes out of each fragment what it says of hosts that are another's. Fragments come oldest
/// first.
pub(crate) fn enforce(
    fragments: Vec<Arc<Fragment>>,
    objects: &ObjectStore,
    settings: &Settings,
    memo: &mut Memo,
    reports: &Reports,
    refused: &mut Vec<RefusedClaim>,
) -> Vec<Arc<Fragment>> {
    let mut told = |claim: RefusedClaim| refused.push(claim);
    match settings.host_ownership {
        HostOwnership::Off => fragments,
        HostOwnership::FirstNamespace => {
            let mut owners = FirstNamespaces::new(settings);
            each(fragments, memo, reports, &mut told, |host, namespace, by| {
                owners.claim(host, namespace, by)
            })
        }
        HostOwnership::AllowList => {
            let list = AllowList::new(objects, settings, reports);
            each(fragments, memo, reports, &mut told, |host, namespace, _| {
                list.check(host, namespace)
            })
        }
    }
}

fn each(
    fragments: Vec<Arc<Fragment>>,
    memo: &mut Memo,
    reports: &Reports,
    told: &mut dyn FnMut(RefusedClaim),
    mut decide: impl FnMut(&Hostname, &Arc<str>, &Provenance) -> Result<(), Refusal>,
) -> Vec<Arc<Fragment>> {
    let mut enforce = |fragment: Arc<Fragment>| {
        if fragment.is_operators {
            return fragment;
        }
        let mut refused: BTreeSet<Hostname> = BTreeSet::new();
        for mention in mentions(&fragment) {
            let namespace = &fragment.object.namespace;
            if let Err(why) = decide(mention.host, namespace, &mention.provenance) {
                told(report(&fragment, &mention, &why, reports));
                refused.insert(mention.host.clone());
            }
        }
        if refused.is_empty() {
            return fragment;
        }
        memo.reduced(&fragment, refused.into_iter().collect(), reduce)
    };
    fragments.into_iter().map(&mut enforce).collect()
}

/// Whether two versions of an Ingress speak of the same hosts in the same places, so that whoever
/// had a host has it still.
pub(crate) fn is_same_claim(before: &Fragment, after: &Fragment) -> bool {
    before.age == after.age && mentions(before).eq(mentions(after))
}

/// A place where a fragment speaks of a host.
#[derive(PartialEq)]
struct Mention<'f> {
    host: &'f Hostname,
    what: What,
    provenance: Provenance,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    Rules,
    Default,
    Tls,
}

static ANY: Hostname = Hostname::Any;

fn mentions(fragment: &Fragment) -> impl Iterator<Item = Mention<'_>> {
    let rules = fragment.hosts.iter().map(|rules| Mention {
        host: &rules.hostname,
        what: What::Rules,
        provenance: rules.provenance.clone(),
    });
    let default = fragment.default_backend.iter().filter(|_| !fragment.has_rules);
    let default = default.map(|rule| Mention {
        host: &ANY,
        what: What::Default,
        provenance: rule.provenance.clone(),
    });
    let tls = fragment.tls.iter().flat_map(|entry| {
        let claimed = entry.claims.iter().map(|claim| &claim.host);
        let listed = Listed::new(&entry.hosts);
        let claimed = claimed.filter(move |host| !listed.has(host));
        let any = entry.any_host.then_some(&ANY);
        let hosts = entry.hosts.iter().chain(claimed).chain(any);
        hosts.map(|host| Mention { host, what: What::Tls, provenance: entry.provenance.clone() })
    });
    rules.chain(default).chain(tls)
}

/// Every host that a fragment speaks of, some more than once.
pub(crate) fn hosts_of(fragment: &Fragment) -> impl Iterator<Item = &Hostname> {
    mentions(fragment).map(|mention| mention.host)
}

/// The fragment without what it says of these hosts.
pub(crate) fn reduce(fragment: &Fragment, refused: &[Hostname]) -> Fragment {
    let refused = Listed::new(refused);
    let is_kept = |host: &Hostname| !refused.has(host);
    let mut reduced = fragment.clone();
    reduced.hosts.retain(|rules| is_kept(&rules.hostname));
    if !fragment.has_rules && !is_kept(&Hostname::Any) {
        reduced.default_backend = None;
    }
    for entry in &mut reduced.tls {
        let TlsEntry { hosts, any_host, claims, .. } = entry;
        hosts.retain(is_kept);
        claims.retain(|claim| is_kept(&claim.host));
        *any_host &= is_kept(&Hostname::Any);
    }
    reduced
}

fn report(
    fragment: &Fragment,
    mention: &Mention<'_>,
    why: &Refusal,
    reports: &Reports,
) -> RefusedClaim {
    let field = &*mention.provenance.field.0;
    let effect = match mention.what {
        What::Rules | What::Default => Effect::RouteDropped,
        What::Tls => Effect::FieldIgnored,
    };
    let place = match (mention.what, mention.host) {
        (What::Default, _) | (_, Hostname::Any) => field.to_owned(),
        (What::Rules, _) => format!("{field}.host"),
        (What::Tls, _) => format!("{field}.hosts"),
    };
    let related = match why {
        Refusal::Taken { by: Some(by), .. } => vec![Related {
            object: by.object.clone(),
            field: by.field.clone(),
            message: "the host is named here first".to_owned(),
        }],
        _ => Vec::new(),
    };
    let message = format!("{} {why}", Shown(mention.host));
    let scope = Scope::root(&fragment.object, reports);
    let scope = scope.at(&place);
    scope.report_with(Code::HostNotOwned, effect, &*message, None, related);
    RefusedClaim { host: mention.host.clone(), provenance: scope.provenance(), message }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Taken { owner, overlap: None, .. } => {
                write!(f, "belongs to namespace {owner}")
            }
            Self::Taken { owner, overlap: Some(host), .. } => {
                write!(f, "overlaps {}, which belongs to namespace {owner}", Shown(host))
            }
            Self::Given { to } => {
                let more = if to.len() > 3 { " and others" } else { "" };
                let some: Vec<&str> = to.iter().take(3).map(|name| &**name).collect();
                write!(f, "belongs to namespace {}{more}", some.join(", "))
            }
            Self::NotGiven => f.write_str("belongs to no namespace: no list has it"),
        }
    }
}

/// A host as a sentence names it.
struct Shown<'h>(&'h Hostname);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Hostname::Any => f.write_str("what is for every host"),
            host => write!(f, "`{host}`"),
        }
    }
}

/// The wildcard that covers an exact name.
pub(crate) fn above(name: &str) -> Option<Hostname> {
    name.split_once('.').map(|(_, suffix)| Hostname::Wildcard(suffix.into()))
}
