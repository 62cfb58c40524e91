//! Whether our webhook is reached: the API server is asked to store an Ingress that is plainly
//! wrong, by a dry run. It goes the whole way of a real one, and nothing is stored.

use k8s_openapi::api::admissionregistration::v1::ValidatingWebhook;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::networking::v1::{Ingress, IngressClass};
use kube::Api;
use kube::api::{ListParams, PostParams};
use serde_json::json;

use super::ask::{Asked, Asker};
use super::class::is_ours;
use super::webhooks::is_strict;
use super::{Check, CheckSettings};
use crate::cluster::Scope;

const ID: &str = "webhook-reached";

const NAME: &str = "portcullis-check-never-stored";

/// What came of it, as the API server says it.
enum Trial {
    Stored,
    Refused { code: u16, message: String },
}

/// Tries it where our webhook reviews.
pub(super) async fn look(
    asker: &Asker,
    settings: &CheckSettings,
    webhook: &ValidatingWebhook,
) -> Check {
    let (class, namespace) = match (class(asker, settings).await, place(asker, settings).await) {
        (Ok(class), Ok(namespace)) => (class, namespace),
        (Err(why), _) | (_, Err(why)) => {
            return Check::skipped(ID, format!("the webhook is not tried: {why}"));
        }
    };
    let api = Api::<Ingress>::namespaced(asker.client.clone(), &namespace);
    let params = PostParams { dry_run: true, ..PostParams::default() };
    let wrong = wrong(&class);
    // A refusal is what is asked for, and so an answer.
    let trial = asker.ask(async {
        match api.create(&params, &wrong).await {
            Ok(_) => Ok(Trial::Stored),
            Err(kube::Error::Api(status)) => {
                Ok(Trial::Refused { code: status.code, message: status.message })
            }
            Err(error) => Err(error),
        }
    });
    judge(webhook, &namespace, trial.await)
}

/// A class whose Ingresses are reviewed.
async fn class(asker: &Asker, settings: &CheckSettings) -> Result<String, String> {
    if let Some(name) = settings.translation.ingress_classes.first() {
        return Ok(name.clone());
    }
    match asker.list(&Api::<IngressClass>::all(asker.client.clone()), "").await {
        Asked::Found(classes) => classes
            .into_iter()
            .find(|class| is_ours(class, &settings.translation.controller_names))
            .and_then(|class| class.metadata.name)
            .ok_or_else(|| "no class is ours".to_owned()),
        Asked::Absent => Err("no class is ours".to_owned()),
        Asked::Unknown(why) => Err(format!("classes cannot be asked for: {why}")),
    }
}

/// A namespace whose Ingresses are reviewed: our own where it is one.
async fn place(asker: &Asker, settings: &CheckSettings) -> Result<String, String> {
    let own = &settings.namespace;
    match &settings.cluster.scope {
        Scope::All => Ok(own.clone()),
        Scope::Namespaces(named) if named.contains(own) => Ok(own.clone()),
        Scope::Namespaces(named) => Ok(named.first().unwrap_or(own).clone()),
        Scope::Selected(selector) => {
            let api = Api::<Namespace>::all(asker.client.clone());
            let params = ListParams::default().labels(selector).limit(1);
            match asker.ask(api.list(&params)).await {
                Asked::Found(list) => list
                    .items
                    .into_iter()
                    .find_map(|one| one.metadata.name)
                    .ok_or_else(|| format!("no namespace has the labels `{selector}`")),
                Asked::Absent => Err("there are no namespaces".to_owned()),
                Asked::Unknown(why) => Err(format!("namespaces cannot be asked for: {why}")),
            }
        }
    }
}

/// What an API server takes, and we refuse for two reasons: one of them may be allowed here.
fn wrong(class: &str) -> Ingress {
    let backend = json!({ "service": { "name": NAME, "port": { "number": 80 } } });
    let path = json!({ "path": "/x(", "pathType": "ImplementationSpecific", "backend": backend });
    let value = json!({
        "metadata": {
            "name": NAME,
            "annotations": {
                "nginx.ingress.kubernetes.io/server-snippet": "# refused",
                "nginx.ingress.kubernetes.io/use-regex": "true",
            },
        },
        "spec": {
            "ingressClassName": class,
            "rules": [{ "host": "portcullis-check.invalid", "http": { "paths": [path] } }],
        },
    });
    // The shape is that of the type: all of it is above.
    serde_json::from_value(value).unwrap_or_default()
}

fn judge(webhook: &ValidatingWebhook, namespace: &str, trial: Asked<Trial>) -> Check {
    let name = &webhook.name;
    let denied = format!("admission webhook \"{name}\" denied the request");
    let failed = format!("failed calling webhook \"{name}\"");
    let way = "see that its Service has the port of --webhook, that a NetworkPolicy or a firewall \
               lets the API server through to it, and what the gateway's log says of its \
               certificate";
    match trial {
        Asked::Found(Trial::Refused { message, .. }) if message.contains(&denied) => {
            Check::ok(ID, format!("{name} denies, through the API server, what is plainly wrong"))
        }
        Asked::Found(Trial::Refused { message, .. }) if message.contains(&failed) => Check::error(
            ID,
            format!("the API server does not reach {name}, and stores no Ingress: {message}"),
            way,
        ),
        Asked::Found(Trial::Refused { code: 403, message })
            if message.contains("cannot create") =>
        {
            Check::skipped(
                ID,
                format!("it takes the right to create Ingresses in `{namespace}` to try {name}"),
            )
        }
        Asked::Found(Trial::Refused { code, message }) => Check::skipped(
            ID,
            format!("whether {name} is reached is not known: another refused ({code}): {message}"),
        ),
        Asked::Found(Trial::Stored) if is_strict(webhook) => Check::warning(
            ID,
            format!("an Ingress in `{namespace}` that is plainly wrong is not denied by {name}"),
            "see that the rules and selectors of the configuration meet Ingresses there, and that \
             the gateway has the settings given here",
        ),
        // What fails is let pass, and told nobody.
        Asked::Found(Trial::Stored) => Check::warning(
            ID,
            format!(
                "an Ingress in `{namespace}` that is plainly wrong is not denied: the API server \
                 does not reach {name}, or does not ask it"
            ),
            format!("{way}; with `failurePolicy: Fail`, for a moment, the API server says why"),
        ),
        Asked::Absent => {
            Check::skipped(ID, format!("there is no namespace `{namespace}` to try {name} in"))
        }
        Asked::Unknown(why) => {
            Check::skipped(ID, format!("whether {name} is reached cannot be asked: {why}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Outcome;
    use super::*;

    fn webhook(policy: &str) -> ValidatingWebhook {
        ValidatingWebhook {
            name: "ours.test".into(),
            failure_policy: Some(policy.into()),
            ..ValidatingWebhook::default()
        }
    }

    fn refused(code: u16, message: &str) -> Asked<Trial> {
        Asked::Found(Trial::Refused { code, message: message.into() })
    }

    #[test]
    fn what_is_tried_is_an_ingress_of_the_class() {
        let ingress = wrong("front");
        let spec = ingress.spec.unwrap();
        assert_eq!(spec.ingress_class_name.as_deref(), Some("front"));
        assert_eq!(ingress.metadata.annotations.unwrap().len(), 2);
    }

    #[test]
    fn our_denial_alone_is_good() {
        let judged = |answer| judge(&webhook("Fail"), "edge", answer).outcome;
        let denied = "admission webhook \"ours.test\" denied the request: [refused-snippet]";
        assert_eq!(judged(refused(422, denied)), Outcome::Ok);
        let others = "admission webhook \"other.test\" denied the request: policy";
        assert_eq!(judged(refused(403, others)), Outcome::Skipped);
        let away = "Internal error occurred: failed calling webhook \"ours.test\": no route";
        assert_eq!(judged(refused(500, away)), Outcome::Error);
        let rights = "ingresses.networking.k8s.io is forbidden: User \"u\" cannot create resource";
        assert_eq!(judged(refused(403, rights)), Outcome::Skipped);
        assert_eq!(judged(Asked::Found(Trial::Stored)), Outcome::Warning);
        assert_eq!(judged(Asked::Unknown("why".into())), Outcome::Skipped);
    }

    #[test]
    fn where_failures_are_ignored_it_is_said_how_to_hear_of_them() {
        let check = judge(&webhook("Ignore"), "edge", Asked::Found(Trial::Stored));
        assert_eq!(check.outcome, Outcome::Warning);
        assert!(check.remedy.unwrap().contains("failurePolicy: Fail"));
    }
}
