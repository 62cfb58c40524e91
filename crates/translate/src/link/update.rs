//! What changed, put in the place of what was there before.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use foldhash::fast::RandomState;
use model::{Hostname, Model, SharedMap, UpstreamId};

use super::{Inputs, Linked, backends, keep};
use crate::class::Classes;
use crate::endpoints::{Endpoints, Finding};
use crate::ingress::Fragment;
use crate::lookup::Lookup;
use crate::memo::Memo;
use crate::objects::{Name, ObjectKey, ObjectKind, ObjectStore};
use crate::scope::Reports;
use crate::service::UpstreamPlan;
use crate::settings::Settings;
use crate::tls::HttpsHosts;
use crate::{OurIngress, Translation, merge, ours, ownership};

/// A fragment before and after: as an Ingress comes, changes, and goes.
struct Step {
    before: Option<Arc<Fragment>>,
    after: Option<Arc<Fragment>>,
}

impl Step {
    fn both(&self) -> impl Iterator<Item = &Arc<Fragment>> {
        self.before.iter().chain(&self.after)
    }
}

/// What the changed objects concern.
#[derive(Default)]
struct Concerned {
    ingresses: BTreeSet<Name>,
    /// Services with other slices or `Endpoints`.
    services: HashSet<Name, RandomState>,
}

type Hostnames = HashSet<Hostname, RandomState>;

impl Linked {
    /// Takes changed objects in; `None` where everything must be put together anew, after which
    /// this is of no use any more.
    pub(crate) fn update(
        &mut self,
        objects: &ObjectStore,
        settings: &Settings,
        memo: &mut Memo,
        changed: &BTreeSet<ObjectKey>,
    ) -> Option<Translation> {
        let lookup = Lookup::new(objects);
        let inputs = Inputs { objects, settings, lookup: &lookup };
        let concerned = self.concerned(changed)?;
        let written = self.read(&concerned, &inputs, memo);
        let steps = self.without_refused(&written, &inputs, memo)?;
        if steps.iter().flat_map(Step::both).any(|fragment| !fragment.has_rules) {
            // It speaks for every host.
            return None;
        }
        if inputs.is_owned() && !steps.iter().all(is_as_broad) {
            return None;
        }
        let dirty = self.certificates(&steps, &inputs, memo);
        let mut ids: BTreeSet<UpstreamId> =
            steps.iter().flat_map(Step::both).flat_map(|f| &f.plans).map(plan_id).collect();
        let mut owners: BTreeSet<Name> = steps.iter().flat_map(Step::both).map(name_of).collect();
        self.hosts(&dirty, &inputs, memo, &mut ids, &mut owners);
        self.upstreams(&ids, &concerned.services, &inputs);
        self.ingresses(&owners);
        let read = written.iter().chain(&steps).filter_map(|step| step.after.as_ref());
        let references = &mut self.translation.references;
        let is_bounded = references.add(read.flat_map(|fragment| &fragment.references))
            && references.add(&lookup.take());
        is_bounded.then(|| self.reported(memo))
    }

    fn concerned(&self, changed: &BTreeSet<ObjectKey>) -> Option<Concerned> {
        let mut concerned = Concerned::default();
        let mut named = HashSet::<&ObjectKey, RandomState>::default();
        for key in changed {
            let name = (key.namespace.clone(), key.name.clone());
            match key.kind {
                _ if self.common.contains(key) => return None,
                ObjectKind::Ingress => drop(concerned.ingresses.insert(name)),
                ObjectKind::EndpointSlice | ObjectKind::Endpoints => {
                    concerned.services.insert(name);
                }
                ObjectKind::Service | ObjectKind::Secret | ObjectKind::ConfigMap => {
                    named.insert(key);
                }
                ObjectKind::IngressClass
                | ObjectKind::Namespace
                | ObjectKind::ClusterIngressParameters => return None,
            }
        }
        if !named.is_empty() {
            let looked_at =
                |fragment: &&Arc<Fragment>| fragment.references.iter().any(|k| named.contains(k));
            concerned.ingresses.extend(self.whole.iter().filter(looked_at).map(name_of));
        }
        Some(concerned)
    }

    /// Reads the Ingresses again, and puts them in their places.
    fn read(&mut self, concerned: &Concerned, inputs: &Inputs<'_>, memo: &mut Memo) -> Vec<Step> {
        let reports = Reports::default();
        let classes = Classes::new(inputs.objects, inputs.settings, inputs.lookup, &reports);
        // These are known: a change of one of them comes to everything.
        inputs.lookup.take();
        self.said.classes = reports.take();
        let mut steps = Vec::new();
        for name in &concerned.ingresses {
            let before = memo.fragment(name).cloned();
            let before = before.filter(|known| place(&self.whole, known).is_some());
            let stored = inputs.objects.ingresses.get(name);
            let after = stored
                .and_then(|stored| inputs.fragment(name, stored, &classes, memo, &mut self.said));
            if stored.is_none() {
                self.said.membership.remove(name);
                memo.forget_fragment(name);
            }
            let step = Step { before, after };
            if replace(&mut self.whole, &step) {
                steps.push(step);
            }
        }
        steps
    }

    /// The same without what is said of hosts that are another's.
    fn without_refused(
        &mut self,
        written: &[Step],
        inputs: &Inputs<'_>,
        memo: &mut Memo,
    ) -> Option<Vec<Step>> {
        let is_same_claim = |step: &Step| match (&step.before, &step.after) {
            (Some(before), Some(after)) => ownership::is_same_claim(before, after),
            _ => false,
        };
        if inputs.is_owned() && !written.iter().all(is_same_claim) {
            return Some(self.enforce(inputs, memo));
        }
        let mut steps = Vec::new();
        for Step { before: known, after } in written {
            let mut before = None;
            let mut after = after.clone();
            if let Some(known) = known {
                let reduced = &self.fragments[by_age(&self.fragments, known).ok()?];
                if let Some(after) = &mut after {
                    *after = memo.reduced_again(known, reduced, after, ownership::reduce)?;
                }
                before = Some(reduced.clone());
            }
            let step = Step { before, after };
            replace(&mut self.fragments, &step);
            steps.push(step);
        }
        Some(steps)
    }

    /// Decides anew whose hosts are whose.
    fn enforce(&mut self, inputs: &Inputs<'_>, memo: &mut Memo) -> Vec<Step> {
        let mut refused = Vec::new();
        let mut fragments = inputs.enforce(&self.whole, memo, &mut self.said, &mut refused);
        self.translation.refused = refused.into();
        let operators = self.fragments.last().filter(|fragment| fragment.is_operators).cloned();
        fragments.extend(operators);
        let former = std::mem::replace(&mut self.fragments, fragments);
        differing(&former, &self.fragments)
    }

    /// Fills in the certificates where entries changed; gives the hosts to put together anew.
    fn certificates(&mut self, steps: &[Step], inputs: &Inputs<'_>, memo: &Memo) -> Hostnames {
        let hosts = steps.iter().flat_map(Step::both).flat_map(|fragment| &fragment.hosts);
        let mut dirty: Hostnames = hosts.map(|rules| rules.hostname.clone()).collect();
        let is_same_tls = |step: &Step| match (&step.before, &step.after) {
            (Some(before), Some(after)) => {
                before.tls == after.tls && (before.tls.is_empty() || before.age == after.age)
            }
            _ => step.both().all(|fragment| fragment.tls.is_empty()),
        };
        if steps.iter().all(is_same_tls) {
            return dirty;
        }
        let https = HttpsHosts::new(&self.fragments, inputs.is_owned());
        let differing = self.https.differing(&https);
        self.https = https;
        let model = &mut self.translation.model;
        let below: HashSet<&str> = differing
            .iter()
            .filter_map(|host| match host {
                Hostname::Wildcard(suffix) => Some(&**suffix),
                Hostname::Exact(_) | Hostname::Any => None,
            })
            .collect();
        if !below.is_empty() {
            let is_below = |host: &&Hostname| match host {
                Hostname::Exact(name) => {
                    name.split_once('.').is_some_and(|(_, suffix)| below.contains(suffix))
                }
                Hostname::Wildcard(_) | Hostname::Any => false,
            };
            dirty.extend(model.hosts.keys().filter(is_below).cloned());
        }
        dirty.extend(differing);
        model.certificates = SharedMap::new();
        model.sni = SharedMap::new();
        model.default_certificate = None;
        self.translation.material =
            inputs.certificates(model, &self.fragments, memo, &mut self.said);
        // Those of the setting are known.
        inputs.lookup.take();
        dirty
    }

    /// Puts these hosts together anew; adds the upstreams and Ingresses of their routes, before and
    /// after.
    fn hosts(
        &mut self,
        dirty: &Hostnames,
        inputs: &Inputs<'_>,
        memo: &mut Memo,
        ids: &mut BTreeSet<UpstreamId>,
        owners: &mut BTreeSet<Name>,
    ) {
        // They are of Ingresses for every host, and none of these changed.
        let known = Reports::default();
        let (fragments, https, is_owned) = (&self.fragments, &self.https, inputs.is_owned());
        let hosts = merge::hosts(fragments, https, is_owned, Some(dirty), memo, &known);
        let mut after: HashMap<_, _, RandomState> = hosts.into_iter().collect();
        let model = &mut self.translation.model;
        model.answer_body = merge::unrouted_answer_body(fragments);
        for hostname in dirty {
            let host = after.remove(hostname);
            let before = model.hosts.get(hostname);
            if before == host.as_ref() {
                continue;
            }
            for route in before.iter().copied().chain(&host).flat_map(|host| &host.routes) {
                ids.extend(backends(route).cloned());
                let object = &route.provenance.object;
                owners.insert((object.namespace.clone(), object.name.clone()));
            }
            if let Some(host) = host {
                model.hosts.insert(hostname.clone(), host);
            } else {
                model.hosts.remove(hostname);
                memo.forget_host(hostname);
            }
        }
    }

    /// Describes these upstreams anew, and finds the endpoints of those that have another
    /// description, or belong to these Services.
    fn upstreams(
        &mut self,
        ids: &BTreeSet<UpstreamId>,
        services: &HashSet<Name, RandomState>,
        inputs: &Inputs<'_>,
    ) {
        let Translation { model, endpoints, sources, .. } = &mut self.translation;
        let mut plans: HashMap<&UpstreamId, (&UpstreamPlan, bool), RandomState> =
            HashMap::default();
        for fragment in &self.fragments {
            for plan in fragment.plans.iter().filter(|plan| ids.contains(&plan.upstream.id)) {
                let (_, is_used) = plans.entry(&plan.upstream.id).or_insert((plan, false));
                *is_used = *is_used || leads_to(fragment, &plan.upstream.id, model);
            }
        }
        let mut wanted: BTreeSet<UpstreamId> = BTreeSet::new();
        for id in ids {
            if let Some((plan, true)) = plans.get(id) {
                if model.upstreams.get(id) != Some(&plan.upstream) {
                    model.upstreams.insert(id.clone(), plan.upstream.clone());
                }
                let is_same =
                    |known: &Arc<Endpoints>| *known == plan.endpoints && endpoints.contains_key(id);
                if !sources.get(id).is_some_and(is_same) {
                    sources.insert(id.clone(), plan.endpoints.clone());
                    wanted.insert(id.clone());
                }
            } else if model.upstreams.remove(id).is_some() {
                sources.remove(id);
                endpoints.remove(id);
                self.said.endpoints.remove(id);
            }
        }
        if !services.is_empty() {
            let is_of = |source: &Endpoints| {
                services.contains(&(source.namespace.clone(), source.service.clone()))
            };
            let of_services = sources.iter().filter(|(_, source)| is_of(source));
            wanted.extend(of_services.map(|(id, _)| id.clone()));
        }
        let finding = Finding::new(inputs.lookup, inputs.settings);
        let reports = Reports::default();
        for id in &wanted {
            let Some(source) = sources.get(id) else { continue };
            let found = source.find(&finding, &reports);
            keep(&mut self.said.endpoints, id, &reports);
            if endpoints.get(id) != Some(&found) {
                endpoints.insert(id.clone(), found);
            }
        }
    }

    /// Counts the routes of these Ingresses.
    fn ingresses(&mut self, names: &BTreeSet<Name>) {
        let Translation { model, ingresses, .. } = &mut self.translation;
        let mut all: Vec<OurIngress> = ingresses.to_vec();
        let mut fragments: BTreeMap<Name, &Arc<Fragment>> = BTreeMap::new();
        for fragment in &self.fragments {
            // Cheaper than a look-up by age for each, and there are few names.
            if names.contains(&(fragment.object.namespace.clone(), fragment.object.name.clone())) {
                fragments.insert(name_of(fragment), fragment);
            }
        }
        for name in names {
            let counted = fragments.get(name).and_then(|fragment| ours::one(fragment, model));
            let known = all
                .binary_search_by(|known| (&known.namespace, &known.name).cmp(&(&name.0, &name.1)));
            match (known, counted) {
                (Ok(at), Some(counted)) => all[at] = counted,
                (Ok(at), None) => drop(all.remove(at)),
                (Err(at), Some(counted)) => all.insert(at, counted),
                (Err(_), None) => {}
            }
        }
        *ingresses = all.into();
    }
}

/// Whether an Ingress has to do with the same wildcards, and with every host, as before: with what
/// other hosts fall through to.
fn is_as_broad(step: &Step) -> bool {
    let broad = |fragment: &Option<Arc<Fragment>>| -> BTreeSet<Hostname> {
        let hosts = fragment.iter().flat_map(|fragment| &fragment.hosts);
        let hosts = hosts.map(|rules| &rules.hostname);
        hosts.filter(|host| !matches!(host, Hostname::Exact(_))).cloned().collect()
    };
    broad(&step.before) == broad(&step.after)
}

/// Whether a route on one of its hosts leads to this upstream.
fn leads_to(fragment: &Fragment, id: &UpstreamId, model: &Model) -> bool {
    let is_led = |host: &model::VirtualHost| {
        host.routes.iter().flat_map(backends).any(|backend| backend == id)
    };
    if fragment.is_operators {
        // It answers on hosts of others.
        return model.hosts.values().any(|host| is_led(host));
    }
    let own = fragment.hosts.iter().map(|rules| &rules.hostname);
    own.chain([&Hostname::Any]).filter_map(|name| model.hosts.get(name)).any(|host| is_led(host))
}

fn plan_id(plan: &UpstreamPlan) -> UpstreamId {
    plan.upstream.id.clone()
}

fn name_of(fragment: &Arc<Fragment>) -> Name {
    (fragment.object.namespace.clone(), fragment.object.name.clone())
}

/// Where a fragment is, or belongs, among others that are the oldest first.
fn by_age(fragments: &[Arc<Fragment>], fragment: &Fragment) -> Result<usize, usize> {
    // The operator's is the last, whatever its age.
    let ingresses = match fragments.split_last() {
        Some((last, rest)) if last.is_operators => rest,
        _ => fragments,
    };
    ingresses.binary_search_by(|known| known.age.cmp(&fragment.age))
}

/// Where this very fragment is.
fn place(fragments: &[Arc<Fragment>], fragment: &Arc<Fragment>) -> Option<usize> {
    by_age(fragments, fragment).ok().filter(|&at| Arc::ptr_eq(&fragments[at], fragment))
}

/// Takes a step among fragments; `false` where it leads nowhere.
fn replace(fragments: &mut Vec<Arc<Fragment>>, Step { before, after }: &Step) -> bool {
    match (before, after) {
        (None, None) => return false,
        (Some(before), Some(after)) if Arc::ptr_eq(before, after) => return false,
        _ => {}
    }
    if let Some(at) = before.as_ref().and_then(|before| place(fragments, before)) {
        match after {
            Some(after) if after.age == fragments[at].age => {
                fragments[at] = after.clone();
                return true;
            }
            _ => drop(fragments.remove(at)),
        }
    }
    if let Some(after) = after {
        let at = by_age(fragments, after).unwrap_or_else(|at| at);
        fragments.insert(at, after.clone());
    }
    true
}

/// What is not the same in two lists, each the oldest first.
fn differing(before: &[Arc<Fragment>], after: &[Arc<Fragment>]) -> Vec<Step> {
    let same = before.iter().zip(after).take_while(|(a, b)| Arc::ptr_eq(a, b)).count();
    let (before, after) = (&before[same..], &after[same..]);
    let same = before.iter().rev().zip(after.iter().rev());
    let same = same.take_while(|(a, b)| Arc::ptr_eq(a, b)).count();
    let (before, after) = (&before[..before.len() - same], &after[..after.len() - same]);
    let mut steps = Vec::new();
    let mut known: HashMap<Name, &Arc<Fragment>, RandomState> =
        after.iter().map(|fragment| (name_of(fragment), fragment)).collect();
    for fragment in before {
        let after = known.remove(&name_of(fragment));
        if !after.is_some_and(|after| Arc::ptr_eq(after, fragment)) {
            steps.push(Step { before: Some(fragment.clone()), after: after.cloned() });
        }
    }
    let came = known.into_values().map(|after| Step { before: None, after: Some(after.clone()) });
    steps.extend(came);
    steps
}
