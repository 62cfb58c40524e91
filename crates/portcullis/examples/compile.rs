//! What a directory of manifests costs to read, translate and compile: time, and memory kept.
//!
//! `compile DIRECTORY` prints one line of JSON. The first build is cold; the change after it
//! touches one Ingress, as most changes do, with what the first build left in the memo.

#![allow(clippy::unwrap_used, reason = "a measurement ends where a value is missing")]

use std::hint::black_box;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use model::{Listener, ListenerProtocol};
use translate::{Memo, Object, ObjectEvent, ObjectStore, Settings, manifests, translate};

/// Changes after the first build; the median is told.
const CHANGES: usize = 11;

fn main() {
    let directory = std::env::args().nth(1).expect("a directory of manifests");
    let mut texts: Vec<(String, String)> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.display().to_string(), std::fs::read_to_string(&path).unwrap()))
        .collect();
    texts.sort();
    let before = resident_bytes();

    let start = Instant::now();
    let parsed: Vec<_> = texts.iter().map(|(file, text)| manifests::parse(file, text)).collect();
    let parse_ms = milliseconds(start);

    let mut store = ObjectStore::new();
    for file in &parsed {
        for parsed in &file.objects {
            store.apply(ObjectEvent::Applied(parsed.object.clone()));
        }
    }
    store.apply(ObjectEvent::Synced);
    let objects = resident_bytes();

    let settings = Settings { listeners: listeners(), ..Settings::standalone() };
    let mut memo = Memo::new();
    let start = Instant::now();
    let mut built = translate(&store, &settings, &mut memo);
    let translate_ms = milliseconds(start);
    let start = Instant::now();
    let mut snapshot = proxy::compile(&built.model, &built.endpoints, &built.material);
    let compile_ms = milliseconds(start);
    let all = resident_bytes();

    let (mut again, mut compiled_again) = (Vec::new(), Vec::new());
    for change in 0..CHANGES {
        let ingress = parsed.iter().flat_map(|file| &file.objects).find_map(|parsed| {
            if let Object::Ingress(ingress) = &parsed.object { Some(ingress) } else { None }
        });
        let mut ingress = (***ingress.expect("an Ingress")).clone();
        let labels = ingress.metadata.labels.get_or_insert_default();
        labels.insert("change".to_owned(), change.to_string());
        store.apply(ObjectEvent::Applied(Object::Ingress(Arc::new(ingress.into()))));
        let start = Instant::now();
        built = translate(&store, &settings, &mut memo);
        again.push(milliseconds(start));
        let start = Instant::now();
        snapshot = proxy::compile(&built.model, &built.endpoints, &built.material);
        compiled_again.push(milliseconds(start));
    }
    black_box(&snapshot);
    println!(
        "{{\"ingresses\":{},\"parse_ms\":{parse_ms:.2},\"translate_ms\":{translate_ms:.2},\
         \"compile_ms\":{compile_ms:.2},\"change_translate_ms\":{:.2},\"change_compile_ms\":{:.2},\
         \"objects_bytes\":{},\"built_bytes\":{}}}",
        store.ingress_count(),
        median(again),
        median(compiled_again),
        objects.saturating_sub(before),
        all.saturating_sub(objects),
    );
}

fn listeners() -> Vec<Listener> {
    let listener = |port: u16, protocol| Listener {
        address: SocketAddr::from(([127, 0, 0, 1], port)),
        protocol,
        public_port: None,
        redirect_port: Some(8443),
    };
    vec![listener(8080, ListenerProtocol::Http), listener(8443, ListenerProtocol::Https)]
}

fn milliseconds(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e3
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Memory of this process, from the kernel.
fn resident_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("Pss:")).unwrap_or_default();
    let kib: u64 = line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).unwrap_or(0);
    kib * 1024
}
