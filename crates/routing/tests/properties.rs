//! The tables against the plain definition: the first, in the order in which they are tried, whose
//! condition holds. Alphabets are small so that paths and hosts collide.

#![allow(clippy::unwrap_used, reason = "a test ends where a value is missing")]

use std::sync::Arc;

use model::{Hostname, Miss, PathForm, PathKind, PathMatch};
use proptest::prelude::*;
use routing::{
    HostBlock, HostOutcome, HostTable, Lookup, Regex, RequestHead, RouteOutcome, RouteTable,
};

type Block = HostBlock<usize>;

fn path_text() -> impl Strategy<Value = String> {
    let segment = prop::sample::select(vec!["", "a", "b", "ab", "A"]);
    (prop::collection::vec(segment, 1..5), any::<bool>()).prop_map(|(segments, slash)| {
        format!("/{}{}", segments.join("/"), if slash { "/" } else { "" })
    })
}

fn pattern_text() -> impl Strategy<Value = String> {
    let atom = prop::sample::select(vec![
        "a", "b", "/", "/a", ".", "[ab]", "(.*)", "a?", "(/|$)", "b+?", "(a|ab)", "^", "$", "a|/b",
        ".*?",
    ]);
    prop::collection::vec(atom, 1..5).prop_map(|atoms| format!("/{}", atoms.concat()))
}

fn literal() -> impl Strategy<Value = PathMatch> {
    let kind = prop::sample::select(vec![
        PathKind::Exact,
        PathKind::Prefix,
        PathKind::ImplementationSpecific,
        PathKind::Subtree,
    ]);
    (kind, path_text()).prop_map(|(kind, mut value)| {
        if kind == PathKind::Subtree && !value.ends_with('/') {
            value.push('/');
        }
        PathMatch::new(kind, value)
    })
}

fn condition() -> impl Strategy<Value = PathMatch> {
    let kind = prop::sample::select(vec![PathKind::Regex, PathKind::RegexIgnoreCase]);
    let pattern = (kind, pattern_text()).prop_map(|(kind, value)| PathMatch::new(kind, value));
    prop_oneof![literal(), pattern]
}

fn host_text() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(vec!["a", "b"]), 1..4).prop_map(|l| l.join("."))
}

/// Host, canonical path, decoded path.
fn request() -> impl Strategy<Value = (Option<String>, String, String)> {
    (prop::option::of(host_text()), path_text(), path_text())
}

fn hostname() -> impl Strategy<Value = Hostname> {
    prop_oneof![
        host_text().prop_map(|text| Hostname::Exact(text.into())),
        host_text().prop_map(|text| Hostname::Wildcard(text.into())),
        Just(Hostname::Any),
    ]
}

fn block() -> impl Strategy<Value = Block> {
    (
        hostname(),
        prop::sample::select(vec![PathForm::Canonical, PathForm::Decoded]),
        prop::sample::select(vec![Miss::FallThrough, Miss::Hide]),
        any::<bool>(),
        prop::collection::vec(condition(), 0..12),
    )
        .prop_map(|(hostname, path_form, miss, ordered, paths)| HostBlock {
            hostname,
            path_form,
            miss,
            ordered,
            routes: paths.into_iter().enumerate().map(|(index, path)| (path, index)).collect(),
        })
}

fn holds(path: &PathMatch, text: &str) -> bool {
    match path.kind {
        PathKind::Regex => Regex::new(&path.value, false).unwrap().is_match(text.as_bytes()),
        PathKind::RegexIgnoreCase => {
            Regex::new(&path.value, true).unwrap().is_match(text.as_bytes())
        }
        _ => path.matches_literal(text),
    }
}

/// The route of a block by definition: a linear search.
fn naive_route(block: &Block, canonical: &str, decoded: &str) -> Option<usize> {
    let text = match block.path_form {
        PathForm::Canonical => canonical,
        PathForm::Decoded => decoded,
    };
    let mut routes: Vec<&(PathMatch, usize)> = block.routes.iter().collect();
    if !block.ordered {
        routes.sort_by(|a, b| a.0.cmp(&b.0));
    }
    routes.into_iter().find(|(path, _)| holds(path, text)).map(|(_, index)| *index)
}

/// The block and route by definition: all blocks in order of specificity.
fn naive(blocks: &[Block], host: Option<&str>, canonical: &str, decoded: &str) -> Answer {
    let mut sorted: Vec<&Block> = blocks.iter().collect();
    sorted.sort_by(|a, b| a.hostname.cmp(&b.hostname));
    let mut nearest = None;
    for block in sorted {
        let covers = match host {
            Some(host) => block.hostname.covers(host),
            None => block.hostname == Hostname::Any,
        };
        if !covers {
            continue;
        }
        if let Some(index) = naive_route(block, canonical, decoded) {
            return Answer::Route(block.hostname.clone(), index);
        }
        nearest.get_or_insert_with(|| block.hostname.clone());
        if block.miss == Miss::Hide {
            break;
        }
    }
    nearest.map_or(Answer::NoHost, Answer::NoPath)
}

#[derive(Debug, PartialEq)]
enum Answer {
    Route(Hostname, usize),
    NoHost,
    NoPath(Hostname),
}

impl From<Lookup<'_, usize>> for Answer {
    fn from(lookup: Lookup<'_, usize>) -> Self {
        match lookup {
            Lookup::Route(found) => {
                assert_eq!(*found.route, found.index);
                Self::Route(found.host.clone(), found.index)
            }
            Lookup::NoHost => Self::NoHost,
            Lookup::NoPath { nearest } => Self::NoPath(nearest.clone()),
        }
    }
}

fn table(blocks: &[Block]) -> RouteTable<usize> {
    let tables = blocks.iter().map(|block| Arc::new(HostTable::build(block.clone()).unwrap()));
    RouteTable::new(tables.collect())
}

/// Blocks with distinct hostnames.
fn blocks() -> impl Strategy<Value = Vec<Block>> {
    prop::collection::vec(block(), 1..6).prop_map(|mut blocks| {
        blocks.sort_by(|a, b| a.hostname.cmp(&b.hostname));
        blocks.dedup_by(|a, b| a.hostname == b.hostname);
        blocks
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn the_table_answers_as_a_linear_search_does(
        blocks in blocks(),
        requests in prop::collection::vec(request(), 8),
    ) {
        let table = table(&blocks);
        for (host, canonical, decoded) in &requests {
            let head = RequestHead {
                host: host.as_deref(),
                canonical,
                decoded: decoded.as_bytes(),
            };
            let wanted = naive(&blocks, host.as_deref(), canonical, decoded);
            prop_assert_eq!(Answer::from(table.lookup(&head)), wanted);
        }
    }

    #[test]
    fn explain_names_the_winner_that_find_names_and_no_second_one(
        blocks in blocks(),
        host in prop::option::of(host_text()),
        canonical in path_text(),
        decoded in path_text(),
    ) {
        let table = table(&blocks);
        let host = host.as_deref();
        let head = RequestHead { host, canonical: &canonical, decoded: decoded.as_bytes() };
        let explanation = table.explain(&head);
        let told: Vec<(Hostname, usize)> = explanation
            .hosts
            .iter()
            .flat_map(|host| {
                let won = host.routes.iter().filter(|route| route.outcome == RouteOutcome::Won);
                won.map(|route| (host.hostname.clone(), route.index))
            })
            .collect();
        let found: Vec<(Hostname, usize)> =
            table.find(&head).into_iter().map(|found| (found.host.clone(), found.index)).collect();
        prop_assert_eq!(&told, &found);
        prop_assert_eq!(Answer::from(explanation.lookup), Answer::from(table.lookup(&head)));
        let winners = explanation.hosts.iter().filter(|host| host.outcome == HostOutcome::Won);
        prop_assert_eq!(winners.count(), found.len());
        for trial in explanation.hosts.iter().flat_map(|host| &host.routes) {
            let losing = matches!(
                trial.outcome,
                RouteOutcome::Won | RouteOutcome::Outranked(_) | RouteOutcome::HostNotReached
            );
            let text = match explanation.hosts.iter().find(|host| {
                host.routes.iter().any(|route| std::ptr::eq(route.path, trial.path))
            }) {
                Some(host) if host.path_form == PathForm::Decoded => &decoded,
                _ => &canonical,
            };
            prop_assert_eq!(losing, holds(trial.path, text), "{}", trial.path);
        }
    }

    #[test]
    fn of_many_patterns_the_first_listed_that_matches_wins(
        patterns in prop::collection::vec(pattern_text(), 2..40),
        paths in prop::collection::vec(path_text(), 16),
    ) {
        let block = HostBlock {
            hostname: Hostname::Any,
            path_form: PathForm::Decoded,
            miss: Miss::Hide,
            ordered: true,
            routes: patterns
                .iter()
                .enumerate()
                .map(|(index, text)| (PathKind::RegexIgnoreCase, text.as_str(), index))
                .map(|(kind, text, index)| (PathMatch::new(kind, text), index))
                .collect(),
        };
        let table = table(std::slice::from_ref(&block));
        for path in &paths {
            let head = RequestHead { host: None, canonical: "/other", decoded: path.as_bytes() };
            let found = table.find(&head).map(|found| found.index);
            prop_assert_eq!(found, naive_route(&block, "/other", path), "{}", path);
        }
    }
}
