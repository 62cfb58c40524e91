//! Answers that a real server gives seldom, and not when a test wants it: the rest is tested
//! against a real one.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};

use k8s_openapi::api::core::v1::{Secret, Service};
use kube::Client;
use kube::config::Config;
use kube::core::ApiResource;
use telemetry::{Telemetry, TelemetrySettings};
use translate::ObjectEvent;

use super::super::contact::Contact;
use super::super::inflow::Inflow;
use super::super::teller::{Teller, Wanted};
use super::super::watched::Namespaced;
use super::*;

/// Answers each request by its target, on a connection of its own; `None` lets it hang.
fn server(answer: impl Fn(&str) -> Option<(u16, String)> + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let mut hanging = Vec::new();
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let head = lines.next().unwrap().unwrap();
            while lines.next().is_some_and(|line| !line.unwrap().is_empty()) {}
            let Some((status, body)) = answer(head.split(' ').nth(1).unwrap()) else {
                hanging.push(stream);
                continue;
            };
            let length = body.len();
            write!(
                stream,
                "HTTP/1.1 {status} Answer\r\nContent-Type: application/json\r\n\
                 Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
            )
            .unwrap();
        }
    });
    address
}

fn refusal(code: u16) -> (u16, String) {
    let body = format!(
        r#"{{"kind":"Status","apiVersion":"v1","status":"Failure","message":"no","code":{code}}}"#
    );
    (code, body)
}

fn event(kind: &str, name: &str) -> String {
    format!(
        r#"{{"type":"{kind}","object":{{"apiVersion":"v1","kind":"Service","metadata":
        {{"namespace":"shop","name":"{name}","resourceVersion":"5"}}}}}}"#
    )
    .replace('\n', "")
        + "\n"
}

fn list_ends() -> String {
    let annotations = r#"{"k8s.io/initial-events-end":"true"}"#;
    let metadata = format!(r#"{{"resourceVersion":"6","annotations":{annotations}}}"#);
    let object = format!(r#"{{"apiVersion":"v1","kind":"Service","metadata":{metadata}}}"#);
    format!(r#"{{"type":"BOOKMARK","object":{object}}}"#) + "\n"
}

/// Follows until what is known of the objects is as wanted.
fn follow<K: Namespaced>(
    address: &str,
    object: Option<&str>,
    wanted: Wanted,
    is_reached: impl Fn(&mut HashSet<String>, &Inflow) -> bool,
) {
    let (inbox, _messages) = crossbeam_channel::bounded(1);
    let inflow = Inflow::new(inbox);
    let telemetry = Telemetry::new(TelemetrySettings::new(1));
    let contact = Arc::new(Contact::new(telemetry));
    let told = Arc::new(Teller { inflow: Arc::clone(&inflow), contact, wanted });
    let follow = Follow {
        name: "test".into(),
        kind: K::KIND,
        namespace: Some("shop".into()),
        object: object.map(Into::into),
        fields: None,
        labels: None,
        is_optional: false,
        told,
        known: Known::default(),
        observed: None,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = Client::try_from(Config::new(address.parse().unwrap())).unwrap();
        let untyped = Api::namespaced_with(client.clone(), "shop", &ApiResource::erase::<K>(&()));
        tokio::spawn(follow.run(Api::<K>::namespaced(client, "shop"), untyped));
        let mut there = HashSet::new();
        let reached = timeout(Duration::from_secs(20), async {
            loop {
                for event in inflow.take().events {
                    match event {
                        ObjectEvent::Applied(object) => {
                            there.insert(object.key().name.to_string());
                        }
                        ObjectEvent::Deleted(key) => {
                            there.remove(&*key.name);
                        }
                        ObjectEvent::Synced => {}
                    }
                }
                if is_reached(&mut there, &inflow) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        let reached = reached.await.is_ok();
        assert!(reached, "known at the end: {there:?}");
    });
}

fn are(names: &'static [&'static str]) -> impl Fn(&mut HashSet<String>, &Inflow) -> bool {
    |there, _| there.len() == names.len() && names.iter().all(|name| there.contains(*name))
}

fn list(items: &str) -> (u16, String) {
    let body = format!(
        r#"{{"kind":"ServiceList","apiVersion":"v1","metadata":{{"resourceVersion":"9"}},"items":[{items}]}}"#
    );
    (200, body)
}

#[test]
fn what_goes_while_a_list_is_streamed_is_gone() {
    let address = server(|target| {
        let is_list = target.contains("sendInitialEvents=true");
        let body =
            [event("ADDED", "gone"), event("ADDED", "web"), event("DELETED", "gone"), list_ends()];
        is_list.then(|| (200, body.concat()))
    });
    follow::<Service>(&address, None, Wanted::All, are(&["web"]));
}

#[test]
fn a_server_that_streams_lists_no_more_is_listed_in_pages() {
    let (streamed, watched) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let address = server(move |target| {
        if target.contains("sendInitialEvents=true") {
            return match streamed.fetch_add(1, Ordering::Relaxed) {
                0 => Some((200, event("ADDED", "old") + &list_ends())),
                _ => Some(refusal(422)),
            };
        }
        if target.contains("watch=true") {
            let is_first = watched.fetch_add(1, Ordering::Relaxed) == 0;
            return is_first.then(|| refusal(410));
        }
        Some(list(r#"{"metadata":{"namespace":"shop","name":"new"}}"#))
    });
    follow::<Service>(&address, None, Wanted::All, are(&["new"]));
}

#[test]
fn an_object_that_does_not_fit_its_type_costs_a_page_no_other() {
    let address = server(|target| {
        if target.contains("sendInitialEvents=true") {
            return Some(refusal(422));
        }
        let items = r#"{"metadata":{"namespace":"shop","name":"web"}},
            {"metadata":{"namespace":"shop","name":"odd"},"spec":{"ports":"none"}}"#;
        (!target.contains("watch=true")).then(|| list(items))
    });
    let has_web = |there: &mut HashSet<String>, _: &Inflow| there.contains("web");
    follow::<Service>(&address, None, Wanted::All, has_web);
}

#[test]
fn a_secret_that_the_server_cannot_give_is_not_waited_for() {
    for code in [400, 500] {
        let address = server(move |_| Some(refusal(code)));
        let key = ObjectKey::new(ObjectKind::Secret, "shop", "a,b");
        let wanted = Wanted::Named(Mutex::new([key.clone()].into()));
        let is_settled = move |_: &mut HashSet<String>, inflow: &Inflow| inflow.are_settled([&key]);
        follow::<Secret>(&address, Some("a,b"), wanted, is_settled);
    }
}

/// Wants one object, and counts what a list brings.
struct One {
    wanted: ObjectKey,
    listed: std::sync::mpsc::Sender<usize>,
}

impl Told for One {
    fn wants(&self, key: &ObjectKey) -> bool {
        *key == self.wanted
    }

    fn listed(&self, _: &Follow, there: Vec<(ObjectKey, Object)>, _: Vec<ObjectKey>) {
        self.listed.send(there.len()).unwrap();
    }

    fn lost(&self, _: &Follow) -> bool {
        false
    }

    fn applied(&self, _: &Follow, _: ObjectKey, _: Object) {}
    fn deleted(&self, _: &Follow, _: ObjectKey) {}
    fn said(&self, _: &Follow, _: Vec<Diagnostic>) {}
    fn contact(&self, _: &Follow) {}
    fn gave_up(&self, _: &Follow) {}
    fn excused(&self, _: &Follow) {}
    fn done_without(&self, _: &Follow, _: Option<Diagnostic>) {}
}

#[test]
fn what_nobody_wants_is_dropped_as_it_comes_and_not_when_the_list_is_complete() {
    for streams in [true, false] {
        let address = server(move |target| {
            let item = |name| format!(r#"{{"metadata":{{"namespace":"shop","name":"{name}"}}}}"#);
            match (target.contains("sendInitialEvents=true"), target.contains("watch=true")) {
                (true, _) if streams => {
                    Some((200, event("ADDED", "web") + &event("ADDED", "other") + &list_ends()))
                }
                (true, _) => Some(refusal(422)),
                (false, true) => None,
                (false, false) => Some(list(&[item("web"), item("other")].join(","))),
            }
        });
        let (listed, lists) = std::sync::mpsc::channel();
        let wanted = ObjectKey::new(ObjectKind::Service, "shop", "web");
        let follow = Follow {
            name: "test".into(),
            kind: ObjectKind::Service,
            namespace: Some("shop".into()),
            object: None,
            fields: None,
            labels: None,
            is_optional: false,
            told: Arc::new(One { wanted, listed }),
            known: Known::default(),
            observed: None,
        };
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let client = Client::try_from(Config::new(address.parse().unwrap())).unwrap();
            let kind = ApiResource::erase::<Service>(&());
            let untyped = Api::namespaced_with(client.clone(), "shop", &kind);
            tokio::spawn(follow.run(Api::<Service>::namespaced(client, "shop"), untyped));
        });
        assert_eq!(lists.recv_timeout(Duration::from_secs(20)), Ok(1), "streams: {streams}");
    }
}
