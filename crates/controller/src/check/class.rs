//! The classes: that one is ours, and that nobody else takes it for theirs.

use k8s_openapi::api::networking::v1::IngressClass;
use kube::Api;
use translate::Settings;

use super::ask::{Asked, Asker};
use super::{Check, CheckSettings};
use crate::cluster::Scope;

const CLASS: &str = "class";
const DEFAULT: &str = "default-class";
const IS_DEFAULT: &str = "ingressclass.kubernetes.io/is-default-class";

/// Asks for all classes.
pub(super) async fn look(asker: &Asker, settings: &CheckSettings) -> Vec<Check> {
    let classes = Api::<IngressClass>::all(asker.client.clone());
    let names_suffice = matches!(settings.cluster.scope, Scope::Namespaces(_));
    judge(&asker.list(&classes, "").await, &settings.translation, names_suffice)
}

fn judge(
    classes: &Asked<Vec<IngressClass>>,
    settings: &Settings,
    names_suffice: bool,
) -> Vec<Check> {
    let empty = Vec::new();
    let classes = match classes {
        Asked::Found(classes) => classes,
        Asked::Absent => &empty,
        Asked::Unknown(why) => {
            return vec![Check::skipped(CLASS, format!("classes cannot be asked for: {why}"))];
        }
    };
    let mut checks = if settings.ingress_classes.is_empty() {
        vec![judge_ours(classes, &settings.controller_names)]
    } else {
        let named = settings.ingress_classes.iter();
        named.map(|name| judge_named(name, classes, settings, names_suffice)).collect()
    };
    let defaults: Vec<String> =
        classes.iter().filter(|class| is_default(class)).map(name).collect();
    if let [_, _, ..] = defaults[..] {
        checks.push(Check {
            objects: defaults.clone(),
            ..Check::warning(
                DEFAULT,
                format!("several classes are the default one: {}", defaults.join(", ")),
                format!("take the annotation `{IS_DEFAULT}` from all of them but one"),
            )
        });
    }
    checks
}

fn judge_ours(classes: &[IngressClass], controllers: &[String]) -> Check {
    let ours: Vec<String> =
        classes.iter().filter(|class| is_ours(class, controllers)).map(name).collect();
    let controllers = controllers.join(", ");
    if ours.is_empty() {
        return Check::error(
            CLASS,
            format!("no IngressClass names {controllers}, so no Ingress is served"),
            format!(
                "create an IngressClass with `spec.controller: {controllers}`, as the shipped \
                 manifests do"
            ),
        );
    }
    let message = format!("served by {controllers}: {}", ours.join(", "));
    Check { objects: ours, ..Check::ok(CLASS, message) }
}

fn judge_named(
    wanted: &str,
    classes: &[IngressClass],
    settings: &Settings,
    names_suffice: bool,
) -> Check {
    let controllers = settings.controller_names.join(", ");
    match classes.iter().find(|class| name(class) == wanted) {
        Some(class) if is_ours(class, &settings.controller_names) => {
            Check::ok(CLASS, format!("IngressClass {wanted} names {controllers}"))
        }
        Some(class) => Check::error(
            CLASS,
            format!("IngressClass {wanted} names {}, and not {controllers}", controller(class)),
            "choose another name for the class of this gateway: two controllers that serve one \
             class overwrite each other's status",
        ),
        None if names_suffice => Check::ok(
            CLASS,
            format!("there is no IngressClass {wanted}; Ingresses that name it are served"),
        ),
        None => Check::error(
            CLASS,
            format!("there is no IngressClass {wanted}, so no Ingress of it is served"),
            format!("create it, with `spec.controller: {controllers}`"),
        ),
    }
}

fn name(class: &IngressClass) -> String {
    class.metadata.name.clone().unwrap_or_default()
}

fn controller(class: &IngressClass) -> &str {
    class.spec.as_ref().and_then(|spec| spec.controller.as_deref()).unwrap_or("no controller")
}

pub(super) fn is_ours(class: &IngressClass, controllers: &[String]) -> bool {
    controllers.iter().any(|ours| ours == controller(class))
}

fn is_default(class: &IngressClass) -> bool {
    let annotations = class.metadata.annotations.as_ref();
    annotations.and_then(|all| all.get(IS_DEFAULT)).is_some_and(|value| value == "true")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::Outcome;
    use super::*;

    fn class(name: &str, controller: &str, is_default: bool) -> IngressClass {
        let annotations = json!({ IS_DEFAULT: is_default.to_string() });
        let metadata = json!({ "name": name, "annotations": annotations });
        let object = json!({ "metadata": metadata, "spec": { "controller": controller } });
        serde_json::from_value(object).unwrap()
    }

    fn outcomes(classes: Vec<IngressClass>, named: &[&str], names_suffice: bool) -> Vec<Outcome> {
        let settings = Settings {
            controller_names: vec!["ours".to_owned()],
            ingress_classes: named.iter().map(|&name| name.to_owned()).collect(),
            ..Settings::default()
        };
        let checks = judge(&Asked::Found(classes), &settings, names_suffice);
        checks.into_iter().map(|check| check.outcome).collect()
    }

    #[test]
    fn one_class_at_least_is_ours() {
        let theirs = class("nginx", "k8s.io/ingress-nginx", false);
        assert_eq!(outcomes(vec![theirs.clone()], &[], false), [Outcome::Error]);
        assert_eq!(outcomes(vec![theirs, class("a", "ours", false)], &[], false), [Outcome::Ok]);
    }

    #[test]
    fn a_class_by_name_is_nobody_elses() {
        let theirs = vec![class("a", "theirs", false)];
        assert_eq!(outcomes(theirs.clone(), &["a"], false), [Outcome::Error]);
        assert_eq!(outcomes(theirs, &["b"], false), [Outcome::Error]);
        assert_eq!(outcomes(Vec::new(), &["b"], true), [Outcome::Ok]);
    }

    #[test]
    fn of_two_default_classes_nobody_knows_which_counts() {
        let classes = vec![class("a", "ours", true), class("b", "theirs", true)];
        assert_eq!(outcomes(classes, &[], false), [Outcome::Ok, Outcome::Warning]);
    }

    #[test]
    fn classes_that_may_not_be_read_are_not_absent() {
        let checks = judge(&Asked::Unknown("forbidden".into()), &Settings::default(), false);
        let outcomes: Vec<Outcome> = checks.into_iter().map(|check| check.outcome).collect();
        assert_eq!(outcomes, [Outcome::Skipped]);
    }
}
