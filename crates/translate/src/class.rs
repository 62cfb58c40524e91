//! Which Ingresses are ours, and in which dialect each is read.
//!
//! `spec.ingressClassName` beats the old annotation in both dialects. Without an API server the
//! default class is applied here, as admission would; and where no class of ours exists at all,
//! every Ingress is served, so that a directory of manifests works as it is.

mod object;
mod parameters;

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::networking::v1::{Ingress, IngressClass};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use model::{ClosedReason, Code, Effect, ObjectRef};

use crate::annotation::CLASS_ANNOTATION;
use crate::as_read::{AsRead, Unreadable};
use crate::lookup::Lookup;
use crate::objects::ObjectStore;
use crate::scope::{Reports, Scope};
use crate::settings::{Dialect, NGINX_CONTROLLER_NAME, Settings};

pub use object::ClusterIngressParameters;
pub(crate) use parameters::{DefaultCertificate, Parameters};

/// The annotation value that always means us.
const OWN_LEGACY_CLASS: &str = "portcullis";
/// The annotation value, and class name, that ingress-nginx had before classes were objects.
const NGINX_LEGACY_CLASS: &str = "nginx";
const DEFAULT_CLASS_ANNOTATION: &str = "ingressclass.kubernetes.io/is-default-class";

/// The classes, and what follows from them for all Ingresses.
pub(crate) struct Classes<'c> {
    settings: &'c Settings,
    by_name: BTreeMap<&'c str, &'c AsRead<IngressClass>>,
    /// The class of Ingresses that name none; known in standalone mode alone.
    default_class: Option<&'c str>,
    every_class_served: bool,
    /// Of the classes that have any.
    parameters: BTreeMap<&'c str, Arc<Parameters>>,
    no_parameters: Arc<Parameters>,
}

/// How an Ingress of ours is read.
pub(crate) struct Membership {
    pub(crate) dialect: Dialect,
    /// Nobody can tell whether it is ours: it keeps its places, and answers 503 there.
    pub(crate) closed: Option<ClosedReason>,
    /// What its class says.
    pub(crate) parameters: Arc<Parameters>,
}

impl<'c> Classes<'c> {
    pub(crate) fn new(
        store: &'c ObjectStore,
        settings: &'c Settings,
        lookup: &Lookup<'_>,
        reports: &Reports,
    ) -> Self {
        let by_name: BTreeMap<&str, &AsRead<IngressClass>> =
            store.classes.iter().map(|((_, name), s)| (&**name, &*s.object)).collect();
        // One whose controller cannot be read may be.
        let is_ours = |class: &AsRead<IngressClass>| {
            unreadable(class).is_some()
                || settings.controller_names.iter().any(|o| Some(o.as_str()) == controller(class))
        };
        let every_class_served = settings.standalone
            && settings.ingress_classes.is_empty()
            && !by_name.values().any(|class| is_ours(class));
        if every_class_served && !store.ingresses.is_empty() {
            let object = ObjectRef::new("IngressClass", "", "*");
            Scope::root(&object, reports).report(
                Code::EveryClassServed,
                Effect::None,
                "no IngressClass names our controller, so every Ingress is served",
            );
        }
        let default_class = settings.standalone.then(|| default_class(&by_name, reports)).flatten();
        let read = |(name, class): (&&'c str, &&AsRead<IngressClass>)| {
            let has_any = class.spec.as_ref().is_some_and(|spec| spec.parameters.is_some());
            if !has_any || !is_ours(class) {
                return None;
            }
            let object = ObjectRef::new("IngressClass", "", *name);
            let read = parameters::read(class, lookup, &Scope::root(&object, reports));
            Some((*name, Arc::new(read)))
        };
        let parameters = by_name.iter().filter_map(read).collect();
        let no_parameters = Arc::default();
        Self { settings, by_name, default_class, every_class_served, parameters, no_parameters }
    }

    /// How an Ingress is read; `None` for one that is not ours, with the reason reported.
    pub(crate) fn membership(
        &self,
        ingress: &AsRead<Ingress>,
        scope: &Scope<'_>,
    ) -> Option<Membership> {
        if let Some(closed) = unreadable_name(ingress, scope) {
            return Some(self.of_class(None, Some(closed)));
        }
        let field = ingress.spec.as_ref().and_then(|spec| spec.ingress_class_name.as_deref());
        let annotations = ingress.metadata.annotations.as_ref();
        let annotation = annotations
            .and_then(|all| all.get(CLASS_ANNOTATION))
            .map(|value| value.trim())
            .filter(|value| !value.is_empty());
        if let (Some(field), Some(annotation)) = (field, annotation)
            && field != annotation
        {
            scope.at("metadata.annotations").key(CLASS_ANNOTATION).report(
                Code::ClassMismatch,
                Effect::FieldIgnored,
                format!("the annotation names `{annotation}`, spec.ingressClassName `{field}`"),
            );
        }
        let name = field.or(annotation).or(self.default_class);
        let place = scope.at(if annotation.is_some() && field.is_none() {
            r#"metadata.annotations["kubernetes.io/ingress.class"]"#
        } else {
            "spec.ingressClassName"
        });
        if let Some(class) = name.and_then(|name| self.by_name.get(name))
            && let Some(taken) = unreadable(class)
        {
            let message = format!(
                "`{}` of the IngressClass cannot be read, and whose it is cannot be told",
                taken.field
            );
            place.report(Code::UnreadableObject, Effect::RouteResponds(503), message);
            return Some(self.of_class(name, Some(closed_at(Code::UnreadableObject, &place))));
        }
        let is_ours = match name {
            None => self.without_class(scope),
            Some(name) => self.is_ours(name, field.is_none(), &place),
        };
        is_ours.then(|| self.of_class(name, None))
    }

    fn of_class(&self, name: Option<&str>, closed: Option<ClosedReason>) -> Membership {
        let parameters = name.and_then(|name| self.parameters.get(name));
        let parameters = parameters.unwrap_or(&self.no_parameters).clone();
        Membership {
            dialect: parameters.dialect.unwrap_or_else(|| self.dialect(name)),
            closed: closed.or_else(|| parameters.closed.clone()),
            parameters,
        }
    }

    fn without_class(&self, scope: &Scope<'_>) -> bool {
        let served = self.every_class_served || self.settings.watch_without_class;
        if !served {
            scope.report(Code::NoClass, Effect::ObjectIgnored, "it names no class");
        }
        served
    }

    fn is_ours(&self, name: &str, by_annotation: bool, scope: &Scope<'_>) -> bool {
        if self.every_class_served {
            return true;
        }
        let settings = self.settings;
        let class = self.by_name.get(name);
        let controlled_by_us = class.is_some_and(|class| {
            settings.controller_names.iter().any(|ours| Some(ours.as_str()) == controller(class))
        });
        let named = settings.ingress_classes.iter().any(|ours| ours == name);
        let ours = if settings.ingress_classes.is_empty() {
            controlled_by_us || (by_annotation && class.is_none() && name == OWN_LEGACY_CLASS)
        } else if settings.standalone || class.is_none() {
            // A name that was given by hand needs no object: the old annotation never had one. In
            // a cluster a field must name an object, where it could be seen.
            named && (settings.standalone || by_annotation || settings.trusts_class_names)
        } else {
            named && controlled_by_us
        };
        if ours {
            return true;
        }
        match class {
            None => scope.report(
                Code::ClassNotFound,
                Effect::ObjectIgnored,
                format!("there is no IngressClass `{name}`"),
            ),
            Some(class) => scope.report(
                Code::ClassOfOther,
                Effect::ObjectIgnored,
                format!(
                    "class `{name}` belongs to controller `{}`",
                    controller(class).unwrap_or_default()
                ),
            ),
        }
        false
    }

    fn dialect(&self, name: Option<&str>) -> Dialect {
        if let Some(dialect) = self.settings.dialect {
            return dialect;
        }
        let Some(name) = name else { return Dialect::Kubernetes };
        let is_nginx = match self.by_name.get(name) {
            Some(class) => controller(class) == Some(NGINX_CONTROLLER_NAME),
            None => name == NGINX_LEGACY_CLASS,
        };
        if is_nginx { Dialect::Nginx } else { Dialect::Kubernetes }
    }
}

/// What hides the class of an Ingress.
fn unreadable_name(ingress: &AsRead<Ingress>, scope: &Scope<'_>) -> Option<ClosedReason> {
    let field = scope.at("spec.ingressClassName");
    let metadata = scope.at("metadata");
    let annotations = metadata.at("annotations");
    let annotation = annotations.key(CLASS_ANNOTATION);
    let by_annotation: &[&Scope<'_>] = match &ingress.spec {
        // The field beats the annotation.
        Some(spec) if spec.ingress_class_name.is_some() => &[],
        _ => &[&annotation, &annotations, &metadata],
    };
    let mut places = [&field].into_iter().chain(by_annotation.iter().copied());
    let (place, taken) = places.find_map(|place| Some((place, ingress.taken_at(place)?)))?;
    let message =
        format!("{}; whose it is cannot be told, and all its routes answer 503", taken.problem);
    place.report(Code::InvalidObject, Effect::RouteResponds(503), message);
    Some(closed_at(Code::InvalidObject, place))
}

fn closed_at(code: Code, place: &Scope<'_>) -> ClosedReason {
    ClosedReason { code: code.id().into(), field: place.path().0 }
}

/// What hides whose a class is, or whether it is the default.
fn unreadable(class: &AsRead<IngressClass>) -> Option<&Unreadable> {
    class.unreadable().iter().find(|taken| {
        matches!(&*taken.field.0, "metadata" | "spec" | "spec.controller")
            || taken.field.0.starts_with("metadata.annotations")
    })
}

fn controller(class: &IngressClass) -> Option<&str> {
    class.spec.as_ref()?.controller.as_deref()
}

/// The newest class that is marked as default; of equally old ones the lower name.
fn default_class<'c>(
    classes: &BTreeMap<&'c str, &'c AsRead<IngressClass>>,
    reports: &Reports,
) -> Option<&'c str> {
    let marked = |class: &AsRead<IngressClass>| {
        let annotations = class.metadata.annotations.as_ref();
        // One whose mark cannot be read may have it; what follows from it is closed.
        class.taken_within("metadata.annotations").is_some()
            || annotations
                .and_then(|all| all.get(DEFAULT_CLASS_ANNOTATION))
                .is_some_and(|v| v == "true")
    };
    let created = |class: &&AsRead<IngressClass>| -> Option<Time> {
        class.metadata.creation_timestamp.clone()
    };
    let mut defaults: Vec<(&str, Option<Time>)> = classes
        .iter()
        .filter(|(_, class)| marked(class))
        .map(|(name, class)| (*name, created(class)))
        .collect();
    defaults.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(b.0)));
    let (winner, _) = defaults.first()?;
    for (loser, _) in &defaults[1..] {
        let object = ObjectRef::new("IngressClass", "", Arc::from(*loser));
        Scope::root(&object, reports).report(
            Code::DuplicateDefaultClass,
            Effect::None,
            format!("`{winner}` is marked as default too, and is used"),
        );
    }
    Some(winner)
}
