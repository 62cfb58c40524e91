//! Who reviews Ingresses before they are stored: our webhook, and what others left behind.

use k8s_openapi::api::admissionregistration::v1::{
    RuleWithOperations, ValidatingWebhook, ValidatingWebhookConfiguration,
};
use kube::Api;

use super::ask::{Asked, Asker};
use super::service::{judge_pods, ready};
use super::{Check, CheckSettings, Named, rights, trial};

const OURS: &str = "webhook";
const OTHERS: &str = "other-webhooks";

/// Webhooks of others that are looked behind; further ones are not looked at.
const OTHERS_MAX: usize = 20;

/// Asks for all configurations, and who is behind those that review Ingresses.
pub(super) async fn look(
    asker: &Asker,
    settings: &CheckSettings,
    account: Option<&Named>,
) -> Vec<Check> {
    let api = Api::<ValidatingWebhookConfiguration>::all(asker.client.clone());
    let configurations = match asker.list(&api, "").await {
        Asked::Found(found) => found,
        Asked::Absent => Vec::new(),
        Asked::Unknown(why) => {
            let why = format!("configurations of webhooks cannot be asked for: {why}");
            return vec![Check::skipped(OURS, why.clone()), Check::skipped(OTHERS, why)];
        }
    };
    let ours = settings.webhook.as_deref();
    let is_ours = |one: &&ValidatingWebhookConfiguration| one.metadata.name.as_deref() == ours;
    let mut checks = Vec::new();
    match configurations.iter().find(|one| ours.is_some() && is_ours(one)) {
        None => checks.push(Check::skipped(OURS, "Ingresses are not reviewed by us")),
        Some(one) => {
            for webhook in one.webhooks.iter().flatten() {
                checks.push(judge_trust(webhook));
                if reviews(webhook) {
                    checks.push(trial::look(asker, settings, webhook).await);
                }
                if let Some(service) = service(webhook) {
                    let ready = ready(asker, &service.namespace, &service.name).await;
                    checks.push(judge_pods(OURS, &service.to_string(), &ready));
                }
            }
            let (name, secret) = (ours.unwrap_or_default(), &settings.webhook_secret);
            checks.extend(rights::look_webhook(asker, account, name, secret).await);
        }
    }
    let mut others = Vec::new();
    let theirs = configurations.iter().filter(|one| !is_ours(one));
    let webhooks = theirs.flat_map(|one| {
        let configuration = one.metadata.name.as_deref().unwrap_or_default();
        one.webhooks.iter().flatten().map(move |webhook| (configuration, webhook))
    });
    for (configuration, webhook) in webhooks.filter(|(_, w)| reviews(w)).take(OTHERS_MAX) {
        let behind = match service(webhook) {
            Some(service) => Some(ready(asker, &service.namespace, &service.name).await),
            None => None,
        };
        others.push(judge_other(configuration, webhook, behind.as_ref()));
    }
    if others.is_empty() {
        others.push(Check::ok(OTHERS, "nobody else reviews Ingresses before they are stored"));
    }
    checks.extend(others);
    checks
}

/// Whether it sees Ingresses before they are stored.
fn reviews(webhook: &ValidatingWebhook) -> bool {
    let has = |list: &Option<Vec<String>>, words: &[&str]| {
        list.iter().flatten().any(|one| words.contains(&one.as_str()))
    };
    let is_meant = |rule: &RuleWithOperations| {
        has(&rule.api_groups, &["networking.k8s.io", "*"])
            && has(&rule.resources, &["ingresses", "*", "*/*", "ingresses/*"])
            && has(&rule.operations, &["CREATE", "UPDATE", "*"])
    };
    webhook.rules.iter().flatten().any(is_meant)
}

fn service(webhook: &ValidatingWebhook) -> Option<Named> {
    let service = webhook.client_config.service.as_ref()?;
    Some(Named { namespace: service.namespace.clone(), name: service.name.clone() })
}

/// Without an answer, nothing is stored.
pub(super) fn is_strict(webhook: &ValidatingWebhook) -> bool {
    webhook.failure_policy.as_deref() != Some("Ignore")
}

fn judge_trust(webhook: &ValidatingWebhook) -> Check {
    let name = &webhook.name;
    if webhook.client_config.ca_bundle.as_ref().is_some_and(|bundle| !bundle.0.is_empty()) {
        return Check::ok(OURS, format!("the API server knows whom to trust for {name}"));
    }
    let message = format!("{name} has no `caBundle`: the API server does not trust the webhook");
    let remedy = "see whether a gateway runs with --webhook and may update the configuration, or \
                  put the authority of your certificate there";
    if is_strict(webhook) {
        Check::error(OURS, message, remedy)
    } else {
        Check::warning(OURS, message, remedy)
    }
}

/// What a webhook of others does to Ingresses. `behind` is how many answer for it.
fn judge_other(
    configuration: &str,
    webhook: &ValidatingWebhook,
    behind: Option<&Asked<usize>>,
) -> Check {
    let name = &webhook.name;
    let remedy = format!(
        "where its controller is gone: `kubectl delete validatingwebhookconfiguration \
         {configuration}`"
    );
    match behind {
        Some(Asked::Found(0) | Asked::Absent) if is_strict(webhook) => Check::error(
            OTHERS,
            format!("{configuration} ({name}) has nobody behind it: no Ingress can be stored"),
            remedy,
        ),
        Some(Asked::Found(0) | Asked::Absent) => Check::warning(
            OTHERS,
            format!("{configuration} ({name}) has nobody behind it: storing an Ingress is slow"),
            remedy,
        ),
        Some(Asked::Unknown(why)) => Check::skipped(
            OTHERS,
            format!("who is behind {configuration} ({name}) cannot be asked: {why}"),
        ),
        _ if is_of_controller(configuration) => Check::warning(
            OTHERS,
            format!(
                "{configuration} ({name}) reviews Ingresses for another ingress controller: it \
                 may deny those of ours, by its own rules or as taken hosts"
            ),
            format!("have it look at its own class alone, or {remedy}"),
        ),
        _ => Check::ok(
            OTHERS,
            format!("{configuration} ({name}) reviews Ingresses, too, and somebody is behind it"),
        ),
    }
}

/// Whether an ingress controller is known to leave configurations of such a name.
fn is_of_controller(configuration: &str) -> bool {
    let known =
        ["ingress-nginx", "nginx-ingress", "haproxy-ingress", "kong", "aws-load-balancer-webhook"];
    known.iter().any(|name| configuration.contains(name))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::Outcome;
    use super::*;

    fn webhook(policy: &str, rest: &Value) -> ValidatingWebhook {
        let rule = json!({
            "apiGroups": ["networking.k8s.io"], "apiVersions": ["v1"],
            "resources": ["ingresses"], "operations": ["CREATE"],
        });
        let mut value = json!({
            "name": "review.test", "admissionReviewVersions": ["v1"], "sideEffects": "None",
            "failurePolicy": policy, "rules": [rule],
            "clientConfig": { "service": { "namespace": "old", "name": "admission" } },
        });
        for (key, field) in rest.as_object().unwrap() {
            value[key] = field.clone();
        }
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn who_was_removed_and_left_a_webhook_keeps_ingresses_from_being_stored() {
        let strict = webhook("Fail", &json!({}));
        assert!(reviews(&strict));
        let gone = judge_other("ingress-nginx-admission", &strict, Some(&Asked::Found(0)));
        assert_eq!(gone.outcome, Outcome::Error);
        let remedy = gone.remedy.unwrap_or_default();
        let command = "kubectl delete validatingwebhookconfiguration ingress-nginx-admission";
        assert!(remedy.contains(command), "{remedy}");
        let lax = webhook("Ignore", &json!({}));
        let outcome = |behind| judge_other("ingress-nginx-admission", &lax, Some(&behind)).outcome;
        assert_eq!(outcome(Asked::Found(0)), Outcome::Warning);
        assert_eq!(outcome(Asked::Found(1)), Outcome::Warning);
        assert_eq!(outcome(Asked::Unknown("why".into())), Outcome::Skipped);
    }

    #[test]
    fn policies_that_review_everything_are_no_leftovers() {
        let policy = webhook(
            "Fail",
            &json!({ "rules": [{
            "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"], "operations": ["*"],
        }] }),
        );
        assert!(reviews(&policy));
        let check = judge_other("gatekeeper", &policy, Some(&Asked::Found(3)));
        assert_eq!(check.outcome, Outcome::Ok);
        let pods = webhook(
            "Fail",
            &json!({ "rules": [{
            "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "operations": ["*"],
        }] }),
        );
        assert!(!reviews(&pods));
    }

    #[test]
    fn a_webhook_of_ours_that_nobody_trusts_is_said() {
        assert_eq!(judge_trust(&webhook("Fail", &json!({}))).outcome, Outcome::Error);
        assert_eq!(judge_trust(&webhook("Ignore", &json!({}))).outcome, Outcome::Warning);
        let trusted = json!({ "clientConfig": { "url": "https://a.test", "caBundle": "YQ==" } });
        assert_eq!(judge_trust(&webhook("Fail", &trusted)).outcome, Outcome::Ok);
    }
}
