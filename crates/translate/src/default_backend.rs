//! The operator's default backend: what answers where no Ingress has anything to say.
//!
//! It is a fragment like that of an Ingress without rules, younger than all, so that whatever an
//! Ingress says about a host or about all hosts comes before it.

use std::sync::Arc;

use model::{Action, Code, Effect, ObjectRef};

use crate::ingress::{Fragment, PathRule, PathType};
use crate::lookup::Lookup;
use crate::memo::Memo;
use crate::objects::ObjectStore;
use crate::order::Age;
use crate::scope::{Reports, Scope};
use crate::service::{self, UpstreamPlan, Wanted, WantedPort};
use crate::settings::{NamedService, Settings};

/// The setting, as reports name it.
const NAME: &str = "default-backend-service";

/// The fragment of the setting, where it is set.
pub(crate) fn fragment(
    objects: &ObjectStore,
    settings: &Settings,
    lookup: &Lookup<'_>,
    memo: &mut Memo,
) -> Option<Arc<Fragment>> {
    let service = settings.default_backend.as_ref()?;
    let kept = memo.take_default_backend(objects);
    Some(kept.unwrap_or_else(|| {
        let fragment = Arc::new(read(service, lookup, settings));
        memo.put_default_backend(&fragment, objects);
        fragment
    }))
}

fn read(service: &NamedService, lookup: &Lookup<'_>, settings: &Settings) -> Fragment {
    let object = ObjectRef::new("Setting", "", NAME);
    let reports = Reports::default();
    let root = Scope::root(&object, &reports);
    let scope = root.at("service");
    let age = Age {
        created: None,
        dialect: settings.dialect.unwrap_or_default(),
        namespace: service.namespace.as_str().into(),
        name: service.name.as_str().into(),
    };
    let (action, plans) = match upstream(service, &age, lookup, settings, &scope) {
        Ok(plan) => (Action::forward(plan.upstream.id.clone()), vec![plan]),
        Err(code) => (Action::unavailable(code.id()), Vec::new()),
    };
    let default_backend = PathRule {
        path_type: PathType::Prefix,
        path: "/".into(),
        is_regex: false,
        is_literal: false,
        rewrite: None,
        closed: None,
        action,
        takes_rest: false,
        provenance: scope.provenance(),
    };
    Fragment {
        content: None,
        age,
        ssl_redirect: false,
        force_ssl_redirect: false,
        hosts: Vec::new(),
        default_backend: Some(default_backend),
        class_default: None,
        has_rules: false,
        class_closed: None,
        is_operators: true,
        tls: Vec::new(),
        plans,
        diagnostics: reports.take(),
        references: lookup.take(),
        object: object.clone(),
    }
}

pub(crate) fn upstream(
    service: &NamedService,
    age: &Age,
    lookup: &Lookup<'_>,
    settings: &Settings,
    scope: &Scope<'_>,
) -> Result<UpstreamPlan, Code> {
    let port = match &service.port {
        Some(port) => match port.parse() {
            Ok(number) => WantedPort::Number(number),
            Err(_) => WantedPort::Name(port.as_str().into()),
        },
        None => match first_port(age, lookup) {
            Ok(port) => port,
            Err(message) => {
                scope.at("port").report(Code::PortNotFound, Effect::RouteResponds(503), message);
                return Err(Code::PortNotFound);
            }
        },
    };
    let wanted = Wanted {
        namespace: &age.namespace,
        service: &age.name,
        port: &port,
        dialect: age.dialect,
        protocol: None,
    };
    service::resolve(&wanted, lookup, settings, scope)
}

/// The first port of the Service; of one that is not there, the usual one, to say that it is not.
fn first_port(age: &Age, lookup: &Lookup<'_>) -> Result<WantedPort, String> {
    let Some(service) = lookup.service(&age.namespace, &age.name) else {
        return Ok(WantedPort::Number(80));
    };
    let ports = service.spec.as_ref().and_then(|spec| spec.ports.as_ref());
    let Some(first) = ports.and_then(|ports| ports.first()) else {
        return Err(format!("Service {}/{} has no ports", age.namespace, age.name));
    };
    match u16::try_from(first.port) {
        Ok(number) => Ok(WantedPort::Number(number)),
        Err(_) => Err(format!("{} is no port", first.port)),
    }
}
