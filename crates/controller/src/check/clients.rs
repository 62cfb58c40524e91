//! Clients that TLS here is too new for: what ingress-nginx was told to let in, in its `ConfigMap`
//! and on Ingresses, and what we never do.
//!
//! TLS 1.2 and 1.3 are spoken, with forward secrecy and authenticated encryption alone. Whoever
//! needs anything older was let in by a setting that somebody wrote, and is told by it.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::networking::v1::Ingress;
use kube::Api;
use kube::api::ObjectMeta;

use super::ask::{Asked, Asker};
use super::{Check, CheckSettings};
use crate::cluster::Scope;

const ID: &str = "tls-clients";

/// How the chart and the manifests of ingress-nginx mark what is theirs.
const OF_NGINX: &str = "app.kubernetes.io/name=ingress-nginx";

const CIPHERS: &str = "nginx.ingress.kubernetes.io/ssl-ciphers";

/// The suites of TLS 1.2 that are spoken, in OpenSSL's words.
const SPOKEN: &[&str] = &[
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-RSA-CHACHA20-POLY1305",
];

/// Versions that are not spoken, as nginx writes them.
const OLD: &[&str] = &["SSLv2", "SSLv3", "TLSv1", "TLSv1.0", "TLSv1.1"];

/// Words of a setting that are shown.
const WORDS_MAX: usize = 4;

/// Asks for both.
pub(super) async fn look(asker: &Asker, settings: &CheckSettings) -> Vec<Check> {
    let maps = Api::<ConfigMap>::all(asker.client.clone());
    let maps = asker.list(&maps, OF_NGINX).await;
    let mut ingresses = Vec::new();
    match &settings.cluster.scope {
        Scope::Namespaces(named) => {
            for namespace in named {
                let api = Api::<Ingress>::namespaced(asker.client.clone(), namespace);
                ingresses.push(asker.list(&api, "").await);
            }
        }
        Scope::All | Scope::Selected(_) => {
            let api = Api::<Ingress>::all(asker.client.clone());
            ingresses.push(asker.list(&api, "").await);
        }
    }
    judge(maps, ingresses)
}

fn judge(maps: Asked<Vec<ConfigMap>>, ingresses: Vec<Asked<Vec<Ingress>>>) -> Vec<Check> {
    let (mut found, mut checks) = (Vec::new(), Vec::new());
    let unknown = |what: &str, why: String| {
        Check::skipped(
            ID,
            format!("{what} cannot be asked for, which may let old clients in: {why}"),
        )
    };
    match maps {
        Asked::Found(maps) => found.extend(maps.iter().flat_map(|map| {
            let name = format!("ConfigMap {}", name(&map.metadata));
            let data = map.data.clone().unwrap_or_default();
            [
                setting(&data, "ssl-protocols", &name, old),
                setting(&data, "ssl-ciphers", &name, weak),
            ]
        })),
        Asked::Absent => {}
        Asked::Unknown(why) => checks.push(unknown("ConfigMaps of ingress-nginx", why)),
    }
    for asked in ingresses {
        match asked {
            Asked::Found(all) => found.extend(all.iter().map(|ingress| {
                let name = format!("Ingress {}", name(&ingress.metadata));
                let annotations = ingress.metadata.annotations.clone().unwrap_or_default();
                setting(&annotations, CIPHERS, &name, weak)
            })),
            Asked::Absent => {}
            Asked::Unknown(why) => checks.push(unknown("Ingresses", why)),
        }
    }
    let found: Vec<(String, String)> = found.into_iter().flatten().collect();
    if let Some((_, first)) = found.first() {
        let more = match found.len() - 1 {
            0 => String::new(),
            more => format!("; and {more} more"),
        };
        checks.push(Check {
            objects: found.iter().map(|(object, _)| object.clone()).collect(),
            ..Check::warning(
                ID,
                format!("clients that need what is not spoken here are refused: {first}{more}"),
                "see in the access log of ingress-nginx ($ssl_protocol, $ssl_cipher) whether any \
                 are left; renew them before traffic moves, or keep for their hosts something in \
                 front that speaks to them. TLS 1.2 and 1.3 are spoken here, with ECDHE and \
                 AES-GCM or ChaCha20",
            )
        });
    } else if checks.is_empty() {
        checks.push(Check::ok(
            ID,
            "no setting of ingress-nginx lets clients in that are refused here",
        ));
    }
    checks
}

fn name(meta: &ObjectMeta) -> String {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    format!("{}/{}", text(&meta.namespace), text(&meta.name))
}

/// The object, and what its setting lets in that we do not.
fn setting(
    values: &BTreeMap<String, String>,
    key: &str,
    object: &str,
    refused: fn(&str) -> Vec<&str>,
) -> Option<(String, String)> {
    let refused = refused(values.get(key)?);
    if refused.is_empty() {
        return None;
    }
    let shown = refused.iter().take(WORDS_MAX).copied().collect::<Vec<_>>().join(", ");
    let more = if refused.len() > WORDS_MAX { " and others" } else { "" };
    Some((object.to_owned(), format!("`{key}` of {object} has {shown}{more}")))
}

fn old(protocols: &str) -> Vec<&str> {
    let words = protocols.split([' ', ',', ';']).filter(|word| !word.is_empty());
    words.filter(|word| OLD.contains(word)).collect()
}

/// Groups such as `HIGH` have suites that are not spoken, too. What only excludes or sorts lets
/// nobody in; the suites of TLS 1.3 are all spoken that anybody uses.
fn weak(ciphers: &str) -> Vec<&str> {
    let words = ciphers.split([':', ' ', ',']).map(str::trim);
    words
        .filter(|word| !word.is_empty() && !word.starts_with(['!', '-', '@', '+']))
        .filter(|word| !word.starts_with("TLS_") && !SPOKEN.contains(word))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::Outcome;
    use super::*;

    fn map(data: &Value) -> Asked<Vec<ConfigMap>> {
        let meta = json!({ "namespace": "ingress-nginx", "name": "ingress-nginx-controller" });
        let map = json!({ "metadata": meta, "data": data });
        Asked::Found(vec![serde_json::from_value(map).unwrap()])
    }

    fn ingress(ciphers: &str) -> Vec<Asked<Vec<Ingress>>> {
        let annotations = json!({ CIPHERS: ciphers });
        let meta = json!({ "namespace": "shop", "name": "web", "annotations": annotations });
        vec![Asked::Found(vec![serde_json::from_value(json!({ "metadata": meta })).unwrap()])]
    }

    #[test]
    fn old_versions_that_were_let_in_are_told_with_the_object() {
        let checks = judge(map(&json!({ "ssl-protocols": "TLSv1 TLSv1.1 TLSv1.2" })), Vec::new());
        let [check] = &checks[..] else { panic!("{checks:?}") };
        assert_eq!(check.outcome, Outcome::Warning);
        assert_eq!(
            check.message,
            "clients that need what is not spoken here are refused: `ssl-protocols` of ConfigMap \
             ingress-nginx/ingress-nginx-controller has TLSv1, TLSv1.1"
        );
        assert!(check.remedy.is_some());
        assert_eq!(check.objects, ["ConfigMap ingress-nginx/ingress-nginx-controller"]);
        let checks = judge(map(&json!({ "ssl-protocols": "TLSv1.2 TLSv1.3" })), Vec::new());
        assert_eq!(checks[0].outcome, Outcome::Ok);
    }

    #[test]
    fn suites_without_forward_secrecy_or_with_cbc_are_told_and_others_not() {
        assert_eq!(weak("AES128-SHA:ECDHE-RSA-AES128-SHA"), ["AES128-SHA", "ECDHE-RSA-AES128-SHA"]);
        assert_eq!(weak("ECDHE-RSA-AES128-GCM-SHA256:DHE-RSA-AES128-GCM-SHA256").len(), 1);
        assert_eq!(weak("HIGH:!aNULL"), ["HIGH"]);
        assert!(
            weak("ECDHE-RSA-AES256-GCM-SHA384:TLS_AES_128_GCM_SHA256:!MD5:@STRENGTH").is_empty()
        );
        let checks = judge(map(&json!({})), ingress("AES256-SHA"));
        assert_eq!(checks[0].outcome, Outcome::Warning);
        assert_eq!(checks[0].objects, ["Ingress shop/web"]);
    }

    #[test]
    fn what_cannot_be_asked_is_not_ok() {
        let checks = judge(Asked::Unknown("forbidden".into()), ingress("HIGH"));
        let outcomes: Vec<Outcome> = checks.iter().map(|check| check.outcome).collect();
        assert_eq!(outcomes, [Outcome::Skipped, Outcome::Warning]);
        let checks = judge(Asked::Unknown("forbidden".into()), Vec::new());
        assert_eq!(checks.len(), 1);
        assert_eq!(checks[0].outcome, Outcome::Skipped);
    }
}
