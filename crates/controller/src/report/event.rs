//! Writes one Event of the API server.

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, ObjectReference, Secret, Service};
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::api::networking::v1::{Ingress, IngressClass};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use model::ObjectRef;
use serde_json::json;

use super::events::{Happening, Told};

/// What the API server takes of a note, in bytes.
const NOTE_MAX: usize = 1_024;

/// What it takes of the name of the one who reports.
const INSTANCE_MAX: usize = 128;

/// What of an object's name goes into the name of its Events; the rest is the digest.
const NAME_MAX: usize = 230;

/// Who tells.
#[derive(Clone)]
pub(crate) struct Teller {
    client: Client,
    controller: String,
    instance: String,
}

impl Teller {
    /// `controller` is the name of this kind of program, `instance` that of this process.
    pub(crate) fn new(client: Client, controller: &str, instance: &str) -> Self {
        let instance = shortened(instance, INSTANCE_MAX).to_owned();
        Self { client, controller: controller.to_owned(), instance }
    }

    /// Writes an Event, or counts up one that was written before: `again` is how many times it says
    /// that it was seen, or 0 where nobody knows.
    pub(crate) async fn tell(
        &self,
        happening: &Happening,
        again: Option<i32>,
    ) -> Result<Told, kube::Error> {
        let mut happening = happening.clone();
        if happening.uid.is_none() && !self.identify(&mut happening).await? {
            return Ok(Told::Gone);
        }
        let event = self.event(&happening, Timestamp::now());
        let namespace = event.metadata.namespace.as_deref().unwrap_or_default();
        let events: Api<Event> = Api::namespaced(self.client.clone(), namespace);
        if let Some(count) = again
            && let Some(told) = repeat(&events, &event, count).await?
        {
            return Ok(told);
        }
        match events.create(&PostParams::default(), &event).await {
            Ok(_) => Ok(Told::Counted(1)),
            Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(Told::Known),
            // The namespace is gone, or going.
            Err(kube::Error::Api(status))
                if status.is_not_found() || status.message.contains("being terminated") =>
            {
                Ok(Told::Gone)
            }
            Err(error) => Err(error),
        }
    }

    /// Asks for the identity of an object, and for nothing else of it; `false` where there is none.
    async fn identify(&self, happening: &mut Happening) -> Result<bool, kube::Error> {
        let ObjectRef { kind, namespace, name } = &happening.object;
        let Some(resource) = resource(kind) else { return Ok(false) };
        let client = self.client.clone();
        let objects: Api<DynamicObject> = if namespace.is_empty() {
            Api::all_with(client, &resource)
        } else {
            Api::namespaced_with(client, namespace, &resource)
        };
        match objects.get_metadata_opt(name).await {
            Ok(Some(object)) => {
                happening.uid = object.metadata.uid.map(Into::into);
                happening.version = object.metadata.resource_version.map(Into::into);
                Ok(true)
            }
            Ok(None) => Ok(false),
            // Without its identity the Event is in the list, though not with the object.
            Err(kube::Error::Api(status)) if status.is_forbidden() => Ok(true),
            Err(error) => Err(error),
        }
    }

    fn event(&self, happening: &Happening, now: Timestamp) -> Event {
        let object = &happening.object;
        let namespace = if object.namespace.is_empty() { "default" } else { &object.namespace };
        let stem = shortened(&object.name, NAME_MAX).trim_end_matches(['.', '-']);
        let resource = resource(&object.kind);
        let text = |part: &str| (!part.is_empty()).then(|| part.to_owned());
        Event {
            metadata: ObjectMeta {
                name: Some(format!("{stem}.{:016x}", happening.digest().0)),
                namespace: Some(namespace.to_owned()),
                ..ObjectMeta::default()
            },
            event_time: Some(MicroTime(now)),
            type_: Some(if happening.is_warning { "Warning" } else { "Normal" }.to_owned()),
            reason: Some(happening.reason.to_owned()),
            action: Some(happening.action.to_owned()),
            note: Some(shortened(&happening.note, NOTE_MAX).to_owned()),
            reporting_controller: Some(self.controller.clone()),
            reporting_instance: Some(self.instance.clone()),
            regarding: Some(ObjectReference {
                api_version: resource.map(|resource| resource.api_version),
                kind: text(&object.kind),
                namespace: text(&object.namespace),
                name: text(&object.name),
                uid: happening.uid.as_deref().map(ToOwned::to_owned),
                resource_version: happening.version.as_deref().map(ToOwned::to_owned),
                field_path: None,
            }),
            ..Event::default()
        }
    }
}

/// Says of an Event that it was seen once more; `None` where it is not there any more.
///
/// To patch is the one right this needs: a patch of nothing answers what is there.
async fn repeat(
    events: &Api<Event>,
    event: &Event,
    count: i32,
) -> Result<Option<Told>, kube::Error> {
    let name = event.metadata.name.as_deref().unwrap_or_default();
    let params = PatchParams::default();
    let known = if count > 0 {
        count
    } else {
        match found(events.patch(name, &params, &Patch::Merge(json!({}))).await)? {
            Some(event) => event.series.map_or(1, |series| series.count),
            None => return Ok(None),
        }
    };
    let count = known.saturating_add(1);
    let series = json!({"series": {"count": count, "lastObservedTime": event.event_time}});
    let patched = found(events.patch(name, &params, &Patch::Merge(series)).await)?;
    Ok(patched.map(|_| Told::Counted(count)))
}

fn found<T>(outcome: Result<T, kube::Error>) -> Result<Option<T>, kube::Error> {
    match outcome {
        Ok(found) => Ok(Some(found)),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

fn resource(kind: &str) -> Option<ApiResource> {
    Some(match kind {
        "Ingress" => ApiResource::erase::<Ingress>(&()),
        "IngressClass" => ApiResource::erase::<IngressClass>(&()),
        "Service" => ApiResource::erase::<Service>(&()),
        "Secret" => ApiResource::erase::<Secret>(&()),
        "ConfigMap" => ApiResource::erase::<ConfigMap>(&()),
        "Lease" => ApiResource::erase::<Lease>(&()),
        _ => return None,
    })
}

/// At most this many bytes of a text, whole characters.
fn shortened(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}
