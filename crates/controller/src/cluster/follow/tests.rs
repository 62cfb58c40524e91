//! Answers that a real server gives seldom, and not when a test wants it: the rest is tested
//! against a real one.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use k8s_openapi::api::core::v1::{Secret, Service};
use kube::config::Config;
use kube::core::ApiResource;
use socket2::{SockFilter, SockRef};
use telemetry::{Telemetry, TelemetrySettings};
use translate::ObjectEvent;

use super::super::contact::Contact;
use super::super::inflow::Inflow;
use super::super::line::{self, Liveness};
use super::super::teller::{Teller, Wanted};
use super::super::watched::Namespaced;
use super::*;

/// What a server does with a request.
enum Answer {
    /// It answers, and ends the connection.
    Whole(u16, &'static str, String),
    /// It sends the beginning of an answer, and no more on a connection that stays.
    Begins(String),
    /// The same, and then its machine is gone: what comes is not even acknowledged.
    Vanishes(String),
}

impl From<(u16, String)> for Answer {
    fn from((status, body): (u16, String)) -> Self {
        Self::Whole(status, "", body)
    }
}

/// Answers each request by its target, on a connection of its own; `None` lets it hang.
fn server<A: Into<Answer>>(answer: impl Fn(&str) -> Option<A> + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let head = lines.next().unwrap().unwrap();
            while lines.next().is_some_and(|line| !line.unwrap().is_empty()) {}
            match answer(head.split(' ').nth(1).unwrap()).map(Into::into) {
                None => kept.push(stream),
                Some(Answer::Whole(status, field, body)) => {
                    let length = format!("Content-Length: {}\r\nConnection: close\r\n", body.len());
                    send(&mut stream, status, &format!("{length}{field}"), &body);
                }
                Some(Answer::Begins(body)) => {
                    send(&mut stream, 200, "", &body);
                    kept.push(stream);
                }
                Some(Answer::Vanishes(body)) => {
                    send(&mut stream, 200, "", &body);
                    // Return nothing of every packet: the kernel drops it before it looks at it.
                    SockRef::from(&stream).attach_filter(&[SockFilter::new(6, 0, 0, 0)]).unwrap();
                    kept.push(stream);
                }
            }
        }
    });
    address
}

fn send(stream: &mut TcpStream, status: u16, fields: &str, body: &str) {
    let head =
        format!("HTTP/1.1 {status} Answer\r\nContent-Type: application/json\r\n{fields}\r\n");
    stream.write_all((head + body).as_bytes()).unwrap();
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
    let (limits, liveness) = (Limits::default(), Liveness::default());
    follow_within::<K>(limits, liveness, address, object, wanted, is_reached);
}

/// The same, with other limits.
fn follow_within<K: Namespaced>(
    limits: Limits,
    liveness: Liveness,
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
        limits,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let config = Config::new(address.parse().unwrap());
        let client = line::client(config, liveness, None).unwrap();
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
                    let events = event("ADDED", "web") + &event("ADDED", "other") + &list_ends();
                    Some(Answer::from((200, events)))
                }
                (true, _) => Some(Answer::from(refusal(422))),
                (false, true) => None,
                (false, false) => Some(Answer::from(list(&[item("web"), item("other")].join(",")))),
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
            limits: Limits::default(),
        };
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let config = Config::new(address.parse().unwrap());
            let client = line::client(config, Liveness::default(), None).unwrap();
            let kind = ApiResource::erase::<Service>(&());
            let untyped = Api::namespaced_with(client.clone(), "shop", &kind);
            tokio::spawn(follow.run(Api::<Service>::namespaced(client, "shop"), untyped));
        });
        assert_eq!(lists.recv_timeout(Duration::from_secs(20)), Ok(1), "streams: {streams}");
    }
}

/// A refusal as flow control gives it: in plain text, with the wait in a field.
fn busy(status: u16) -> Answer {
    Answer::Whole(status, "Retry-After: 2\r\n", "Too many requests, try later.".to_owned())
}

#[test]
fn a_server_that_is_busy_at_first_is_left_alone_as_it_asks_and_streams_its_list_then() {
    for status in [429, 503] {
        let (asked, (times, seen)) = (AtomicUsize::new(0), std::sync::mpsc::channel());
        let address = server(move |target| {
            let lists = target.contains("sendInitialEvents=true");
            // Nobody looks at what comes after the end.
            let _ = times.send((Instant::now(), lists));
            match asked.fetch_add(1, Ordering::Relaxed) {
                0 => Some(busy(status)),
                _ if lists => Some(Answer::Begins(event("ADDED", "web") + &list_ends())),
                _ => None,
            }
        });
        follow::<Service>(&address, None, Wanted::All, are(&["web"]));
        let (first, _) = seen.recv().unwrap();
        let (second, lists) = seen.recv().unwrap();
        assert!(second - first >= Duration::from_secs(2), "asked before its time");
        assert!(lists, "no pages");
    }
}

#[test]
fn a_watch_that_is_too_much_for_a_busy_server_goes_on_where_it_stood() {
    let (watched, (lists, listed)) = (AtomicUsize::new(0), std::sync::mpsc::channel());
    let address = server(move |target| {
        if target.contains("sendInitialEvents=true") {
            let _ = lists.send(());
            return Some(Answer::from((200, event("ADDED", "web") + &list_ends())));
        }
        assert!(target.contains("resourceVersion=6"), "{target}");
        match watched.fetch_add(1, Ordering::Relaxed) {
            0..4 => Some(Answer::from(refusal(429))),
            _ => Some(Answer::Begins(event("ADDED", "new"))),
        }
    });
    follow::<Service>(&address, None, Wanted::All, are(&["web", "new"]));
    assert_eq!(listed.try_iter().count(), 1);
}

/// Lists `old`, watches to no end, and lists or tells `new` to who comes again.
fn falls_silent(first: fn(String) -> Answer) -> String {
    let asked = AtomicUsize::new(0);
    server(move |target| match asked.fetch_add(1, Ordering::Relaxed) {
        0 => Some(first(event("ADDED", "old") + &list_ends())),
        _ if target.contains("resourceVersion=6") => Some(Answer::Begins(event("ADDED", "new"))),
        _ => None,
    })
}

#[test]
fn a_watch_whose_peer_is_gone_without_a_word_begins_again_long_before_its_end() {
    let second = Duration::from_secs(1);
    let liveness = Liveness { idle: second, interval: second, questions: 2 };
    let address = falls_silent(Answer::Vanishes);
    let is_reached = are(&["old", "new"]);
    let wanted = Wanted::All;
    follow_within::<Service>(Limits::default(), liveness, &address, None, wanted, is_reached);
}

#[test]
fn a_watch_that_says_nothing_beyond_its_end_begins_again() {
    let limits = Limits { watch_s: 1, spread_s: 0, late: Duration::from_millis(500) };
    let address = falls_silent(Answer::Begins);
    let is_reached = are(&["old", "new"]);
    let wanted = Wanted::All;
    follow_within::<Service>(limits, Liveness::default(), &address, None, wanted, is_reached);
}
