//! The matching tables of the Kubernetes documentation and of nginx, row by row.

#![allow(clippy::unwrap_used, reason = "a test ends where a value is missing")]

use std::sync::Arc;

use model::PathKind::{
    self, Exact, ImplementationSpecific, Prefix, Regex, RegexIgnoreCase, Subtree,
};
use model::{Hostname, Miss, PathForm, PathMatch};
use routing::{
    BuildError, HostBlock, HostOutcome, HostTable, Lookup, Outrank, RegexProblem, RequestHead,
    RouteOutcome, RouteTable, check_regex,
};

type Rules = &'static [(PathKind, &'static str)];

/// A block whose payloads are its paths, as text.
fn block(hostname: &str, rules: &[(PathKind, &'static str)]) -> HostBlock<&'static str> {
    HostBlock {
        hostname: hostname.parse().unwrap(),
        path_form: PathForm::Canonical,
        miss: Miss::FallThrough,
        ordered: false,
        routes: rules.iter().map(|&(kind, text)| (PathMatch::new(kind, text), text)).collect(),
    }
}

fn regex_block(hostname: &str, patterns: &[&'static str]) -> HostBlock<&'static str> {
    let rules: Vec<_> = patterns.iter().map(|text| (RegexIgnoreCase, *text)).collect();
    let (path_form, miss) = (PathForm::Decoded, Miss::Hide);
    HostBlock { path_form, miss, ordered: true, ..block(hostname, &rules) }
}

fn table<T>(blocks: Vec<HostBlock<T>>) -> RouteTable<T> {
    RouteTable::new(blocks.into_iter().map(|b| Arc::new(HostTable::build(b).unwrap())).collect())
}

fn head<'r>(host: &'r str, path: &'r str) -> RequestHead<'r> {
    RequestHead { host: Some(host), canonical: path, decoded: path.as_bytes() }
}

/// The condition that answers on one host, as `Kind text`.
fn answer(rules: &[(PathKind, &'static str)], path: &str) -> Option<String> {
    table(vec![block("*", rules)]).find(&head("any.host", path)).map(|found| found.path.to_string())
}

#[test]
fn paths_match_as_the_kubernetes_documentation_says() {
    let rows: &[(Rules, &str, Option<&str>)] = &[
        (&[(Prefix, "/")], "/", Some("Prefix /")),
        (&[(Prefix, "/")], "/any/path/", Some("Prefix /")),
        (&[(Exact, "/foo")], "/foo", Some("Exact /foo")),
        (&[(Exact, "/foo")], "/bar", None),
        (&[(Exact, "/foo")], "/foo/", None),
        (&[(Exact, "/foo/")], "/foo", None),
        (&[(Prefix, "/foo")], "/foo", Some("Prefix /foo")),
        (&[(Prefix, "/foo")], "/foo/", Some("Prefix /foo")),
        (&[(Prefix, "/foo/")], "/foo", Some("Prefix /foo/")),
        (&[(Prefix, "/foo/")], "/foo/", Some("Prefix /foo/")),
        (&[(Prefix, "/aaa/bb")], "/aaa/bbb", None),
        (&[(Prefix, "/aaa/bbb")], "/aaa/bbb", Some("Prefix /aaa/bbb")),
        (&[(Prefix, "/aaa/bbb/")], "/aaa/bbb", Some("Prefix /aaa/bbb/")),
        (&[(Prefix, "/aaa/bbb")], "/aaa/bbb/", Some("Prefix /aaa/bbb")),
        (&[(Prefix, "/aaa/bbb")], "/aaa/bbb/ccc", Some("Prefix /aaa/bbb")),
        (&[(Prefix, "/aaa/bbb")], "/aaa/bbbxyz", None),
        (&[(Prefix, "/"), (Prefix, "/aaa")], "/aaa/ccc", Some("Prefix /aaa")),
        (
            &[(Prefix, "/"), (Prefix, "/aaa"), (Prefix, "/aaa/bbb")],
            "/aaa/bbb",
            Some("Prefix /aaa/bbb"),
        ),
        (&[(Prefix, "/"), (Prefix, "/aaa"), (Prefix, "/aaa/bbb")], "/ccc", Some("Prefix /")),
        (&[(Prefix, "/aaa")], "/ccc", None),
        (&[(Prefix, "/foo"), (Exact, "/foo")], "/foo", Some("Exact /foo")),
    ];
    for (rules, path, wanted) in rows {
        assert_eq!(answer(rules, path).as_deref(), *wanted, "{path} among {rules:?}");
    }
}

#[test]
fn paths_match_in_the_corners_that_follow_from_the_documentation() {
    let rows: &[(Rules, &str, Option<&str>)] = &[
        (&[(Exact, "/")], "/", Some("Exact /")),
        (&[(Exact, "/")], "", None),
        (&[(Exact, "/")], "*", None),
        (&[(Prefix, "/")], "", None),
        (&[(Prefix, "/")], "*", None),
        (&[(Prefix, "/foo")], "/FOO", None),
        (&[(Prefix, "/foo"), (Prefix, "/foo/")], "/foo", Some("Prefix /foo/")),
        (&[(Prefix, "/foo"), (Prefix, "/foo/")], "/foo/", Some("Prefix /foo/")),
        (&[(Prefix, "/foo")], "/foo//bar", Some("Prefix /foo")),
        (&[(Prefix, "/foo")], "//foo", None),
        (&[(Exact, "/foo%20bar")], "/foo%20bar", Some("Exact /foo%20bar")),
        // Below a slash and not the path without it (nginx).
        (&[(Subtree, "/foo/")], "/foo", None),
        (&[(Subtree, "/foo/")], "/foo/", Some("Subtree /foo/")),
        (&[(Subtree, "/foo/")], "/foo/bar", Some("Subtree /foo/")),
        (&[(Subtree, "/foo/")], "/foobar", None),
        (&[(Subtree, "/foo/"), (Prefix, "/")], "/foo", Some("Prefix /")),
        (&[(Subtree, "/")], "/x", Some("Subtree /")),
    ];
    for (rules, path, wanted) in rows {
        assert_eq!(answer(rules, path).as_deref(), *wanted, "{path} among {rules:?}");
    }
}

#[test]
fn precedence_is_exact_then_length_then_kind_with_patterns_last() {
    let rows: &[(Rules, &str, &str)] = &[
        (&[(Prefix, "/a/b"), (Exact, "/a/b")], "/a/b", "Exact /a/b"),
        // Longer, and still behind the exact path.
        (&[(Prefix, "/a/b/"), (Exact, "/a/b")], "/a/b", "Exact /a/b"),
        (&[(RegexIgnoreCase, "/a/[a-z]"), (Exact, "/a/b")], "/a/b", "Exact /a/b"),
        (&[(ImplementationSpecific, "/a"), (Prefix, "/a")], "/a/x", "Prefix /a"),
        (
            &[(Prefix, "/a"), (ImplementationSpecific, "/a/b")],
            "/a/b",
            "ImplementationSpecific /a/b",
        ),
        (&[(Regex, "/a"), (ImplementationSpecific, "/a")], "/a", "ImplementationSpecific /a"),
        (&[(Regex, "/a/.*"), (Prefix, "/a")], "/a/b", "Regex /a/.*"),
        (&[(Regex, "/.*"), (Prefix, "/abc")], "/abc", "Prefix /abc"),
        (&[(Regex, "/[a-z]+"), (Regex, "/.")], "/abc", "Regex /[a-z]+"),
    ];
    for (rules, path, wanted) in rows {
        assert_eq!(answer(rules, path).as_deref(), Some(*wanted), "{path} among {rules:?}");
    }
}

#[test]
fn of_equal_conditions_the_first_given_wins() {
    let mut twice = block("*", &[(Prefix, "/a"), (Prefix, "/a")]);
    twice.routes[0].1 = "older";
    twice.routes[1].1 = "younger";
    let table = table(vec![twice]);
    let found = table.find(&head("x.y", "/a/b")).unwrap();
    assert_eq!((*found.route, found.index), ("older", 0));
}

#[test]
fn hosts_match_as_the_kubernetes_documentation_says() {
    let rows = [
        ("foo.bar.com", Some("foo.bar.com"), true),
        ("foo.bar.com", Some("subdomain.bar.com"), false),
        ("foo.bar.com", None, false),
        ("*.foo.com", Some("bar.foo.com"), true),
        ("*.foo.com", Some("baz.bar.foo.com"), false),
        ("*.foo.com", Some("foo.com"), false),
        ("*.foo.com", Some(".foo.com"), false),
        ("*.foo.com", None, false),
        ("*", Some("anything.at.all"), true),
        ("*", Some("10.0.0.1"), true),
        ("*", Some("[::1]"), true),
        ("*", None, true),
    ];
    for (hostname, host, wanted) in rows {
        let table = table(vec![block(hostname, &[(Prefix, "/")])]);
        let head = RequestHead { host, ..head("", "/") };
        assert_eq!(table.find(&head).is_some(), wanted, "{host:?} on {hostname}");
    }
}

#[test]
fn a_miss_falls_through_from_exact_to_wildcard_to_any_host() {
    let table = table(vec![
        block("*", &[(Prefix, "/any")]),
        block("*.foo.com", &[(Prefix, "/wild")]),
        block("a.foo.com", &[(Prefix, "/exact")]),
    ]);
    let host = |path| table.find(&head("a.foo.com", path)).map(|found| found.host.to_string());
    assert_eq!(host("/exact").as_deref(), Some("a.foo.com"));
    assert_eq!(host("/wild").as_deref(), Some("*.foo.com"));
    assert_eq!(host("/any").as_deref(), Some("*"));
    assert_eq!(host("/none"), None);
}

#[test]
fn a_host_that_hides_ends_the_search() {
    // nginx: locations of the wildcard are not merged into the exact host.
    let hiding = HostBlock { miss: Miss::Hide, ..block("a.foo.com", &[(Prefix, "/x")]) };
    let table = table(vec![hiding, block("*.foo.com", &[(Prefix, "/")])]);
    assert!(table.find(&head("a.foo.com", "/y")).is_none());
    assert!(table.find(&head("b.foo.com", "/y")).is_some());
}

#[test]
fn a_search_without_answer_says_what_was_missing() {
    let table = table(vec![block("a.foo.com", &[(Prefix, "/x")]), block("*.foo.com", &[])]);
    assert!(matches!(table.lookup(&head("b.com", "/")), Lookup::NoHost));
    let Lookup::NoPath { nearest } = table.lookup(&head("a.foo.com", "/y")) else {
        panic!("a path was found")
    };
    assert_eq!(*nearest, Hostname::Exact("a.foo.com".into()));
}

#[test]
fn the_first_block_of_a_hostname_is_kept() {
    let table = table(vec![block("a.b", &[(Prefix, "/1")]), block("a.b", &[(Prefix, "/2")])]);
    assert_eq!(table.hosts().len(), 1);
    assert!(table.find(&head("a.b", "/1")).is_some());
    assert!(table.find(&head("a.b", "/2")).is_none());
}

#[test]
fn a_regex_host_is_one_list_anchored_at_the_start_only_and_blind_to_case() {
    let rows: &[(&[&str], &str, Option<&str>)] = &[
        // What `Prefix /foo` and `Exact /foo` become on such a host.
        (&["/foo"], "/foobar", Some("/foo")),
        (&["/foo"], "/foo/bar", Some("/foo")),
        (&["/foo"], "/FOO", Some("/foo")),
        (&["/foo"], "/x/foo", None),
        // Plain paths contribute two patterns.
        (&["/foo/", "/foo"], "/foo/x", Some("/foo/")),
        (&["/foo/", "/foo"], "/foo", Some("/foo")),
        // The longer pattern text takes a path that a plain rule names in full.
        (&["/foo/bar/[a-z]{3}", "/foo/bar/bar"], "/foo/bar/bar", Some("/foo/bar/[a-z]{3}")),
        // The list decides, not the length of what matched.
        (&["/a", "/a/b/c"], "/a/b/c", Some("/a")),
        (&["/a.c", "/"], "/abc", Some("/a.c")),
        (&["/a.c", "/"], "/zzz", Some("/")),
        // An alternative inside cannot leave the anchor.
        (&["/a|/b"], "/x/b", None),
        (&["/a|/b"], "/b/x", Some("/a|/b")),
    ];
    for (patterns, path, wanted) in rows {
        let table = table(vec![regex_block("*", patterns)]);
        let found = table.find(&head("h.h", path)).map(|found| *found.route);
        assert_eq!(found, *wanted, "{path} among {patterns:?}");
    }
}

#[test]
fn an_ordered_list_tries_literals_and_patterns_in_one_order() {
    let rules = &[(Prefix, "/a"), (Exact, "/a/b"), (Regex, "/a/.*"), (Exact, "/c"), (Prefix, "/c")];
    let list = HostBlock { ordered: true, ..block("*", rules) };
    let table = table(vec![list]);
    let index = |path| table.find(&head("h.h", path)).map(|found| found.index);
    assert_eq!(index("/a/b"), Some(0));
    assert_eq!(index("/c"), Some(3));
    assert_eq!(index("/c/d"), Some(4));
    assert_eq!(index("/d"), None);
}

#[test]
fn rewrites_give_the_recipes_their_known_results() {
    let rows = [
        ("/something(/|$)(.*)", "/$2", "/something", "/"),
        ("/something(/|$)(.*)", "/$2", "/something/", "/"),
        ("/something(/|$)(.*)", "/$2", "/something/new", "/new"),
        ("/foo/bar/(.+)", "/new/backend/$1", "/foo/bar/bar", "/new/backend/bar"),
        ("/()(.*)", "/$2", "/x", "/x"),
        ("/api/v[0-9]+/(.*)", "/$1", "/API/V2/users", "/users"),
        ("/", "/new/backend", "/anything", "/new/backend"),
        // One digit is a group, what follows is text; groups that took no part are empty.
        ("/(a)(b)?", "/$12/$2/$9", "/a", "/a2//"),
        ("/(a)", "/$x/$0/$", "/a", "/$x/$0/$"),
        // A decoded capture is encoded again.
        ("/(.*)", "/to/$1", "/a b%c?d", "/to/a%20b%25c%3Fd"),
    ];
    for (pattern, target, path, wanted) in rows {
        let table = table(vec![regex_block("*", &[pattern])]);
        let head = head("h.h", path);
        let mut out = String::new();
        table.find(&head).unwrap().rewrite(&head, target, &mut out);
        assert_eq!(out, wanted, "{pattern} to {target} for {path}");
    }
}

#[test]
fn a_canonical_capture_stays_as_it_is_and_bytes_beyond_ascii_are_encoded() {
    let canonical = table(vec![block("*", &[(Regex, "/(.*)")])]);
    let mut out = String::new();
    let request = head("h.h", "/a%2Fb");
    canonical.find(&request).unwrap().rewrite(&request, "/x/$1", &mut out);
    assert_eq!(out, "/x/a%2Fb");

    let decoded = table(vec![regex_block("*", &["/(.*)"])]);
    let request = RequestHead { decoded: b"/\xC3\xA9\xFF", ..head("h.h", "/%C3%A9%FF") };
    out.clear();
    decoded.find(&request).unwrap().rewrite(&request, "/$1", &mut out);
    assert_eq!(out, "/%C3%A9%FF");
}

#[test]
fn a_literal_route_has_empty_captures() {
    let table = table(vec![block("*", &[(Prefix, "/a")])]);
    let request = head("h.h", "/a/b");
    let mut out = String::new();
    table.find(&request).unwrap().rewrite(&request, "/z$1", &mut out);
    assert_eq!(out, "/z");
}

#[test]
fn what_a_linear_time_engine_cannot_run_is_named() {
    for pattern in [r"/(?!api)", r"^(?!/api)", r"/(?=a)", r"/(?<!a)b", r"/(?<=a)b"] {
        assert_eq!(check_regex(pattern, true), Err(RegexProblem::LookAround), "{pattern}");
    }
    for pattern in [r"/(a)\1", r"/(?<n>a)\k<n>", r"/(?P<n>a)(?P=n)", r"/(a)\g1"] {
        assert_eq!(check_regex(pattern, true), Err(RegexProblem::BackReference), "{pattern}");
    }
    for pattern in [r"/((a{500}){500}){500}", &format!("/{}{}", "(".repeat(200), ")".repeat(200))] {
        assert_eq!(check_regex(pattern, false), Err(RegexProblem::TooLarge), "{pattern:.20}");
    }
    for pattern in ["/(", "/[", "/a**?(", "/*+", "/a++", r"/\q"] {
        let problem = check_regex(pattern, false);
        assert!(matches!(problem, Err(RegexProblem::Syntax(_))), "{pattern}: {problem:?}");
    }
    for pattern in [r"/a\/b", "/something(/|$)(.*)", r"/\d+/[é]", r"/\p{Lu}", "", "/a{2,3}"] {
        assert!(check_regex(pattern, true).is_ok(), "{pattern}");
    }
    // A path of the other dialect is a pattern without anything that could grow.
    assert!(check_regex(&"/long".repeat(50_000), true).is_ok());
}

#[test]
fn a_refused_pattern_fails_the_block_by_its_place() {
    let error = HostTable::build(block("*", &[(Prefix, "/"), (Regex, "/(?!x)")])).unwrap_err();
    assert_eq!(error, BuildError::Regex { index: 1, problem: RegexProblem::LookAround });
}

#[test]
fn patterns_too_large_for_one_automaton_are_split_and_keep_their_order() {
    // Each is under the limit of one pattern, together they are over the limit of a group.
    let large: Vec<String> = (0..40).map(|n| format!("/{n}/([a-z]{{1,20}}x){{1,200}}")).collect();
    let mut routes: Vec<_> =
        large.iter().map(|text| (PathMatch::new(Regex, text.as_str()), 0)).collect();
    routes.push((PathMatch::new(Regex, "/39/.*"), 0));
    let list = HostBlock {
        hostname: Hostname::Any,
        path_form: PathForm::Canonical,
        miss: Miss::Hide,
        ordered: true,
        routes,
    };
    let table = table(vec![list]);
    let index = |path| table.find(&head("h.h", path)).map(|found| found.index);
    assert_eq!(index("/0/aax"), Some(0));
    assert_eq!(index("/39/aax"), Some(39));
    assert_eq!(index("/39/AAA"), Some(40));
    assert_eq!(index("/40/aax"), None);
}

#[test]
fn explain_says_why_each_route_lost() {
    let table = table(vec![
        block(
            "a.foo.com",
            &[
                (Exact, "/app"),
                (Exact, "/app/x/"),
                (Prefix, "/app"),
                (ImplementationSpecific, "/app"),
                (Prefix, "/ap"),
                (Prefix, "/APP/X"),
                (Prefix, "/other"),
                (Prefix, "/"),
                (Regex, "/[0-9]+"),
            ],
        ),
        block("*.foo.com", &[(Prefix, "/")]),
        block("*.com", &[(Prefix, "/")]),
        block("*.a.foo.com", &[(Prefix, "/")]),
    ]);
    let explanation = table.explain(&head("a.foo.com", "/app/x"));
    let hosts: Vec<_> =
        explanation.hosts.iter().map(|host| (host.hostname.to_string(), host.outcome)).collect();
    assert_eq!(
        hosts,
        [
            ("a.foo.com".to_owned(), HostOutcome::Won),
            ("*.foo.com".to_owned(), HostOutcome::MoreSpecificAnswered),
            ("*.a.foo.com".to_owned(), HostOutcome::WildcardNeedsLabel),
            ("*.com".to_owned(), HostOutcome::WildcardOneLabelOnly),
        ]
    );
    let outcome = |index| {
        let trial = explanation.hosts[0].routes.iter().find(|trial| trial.index == index);
        trial.unwrap().outcome
    };
    assert_eq!(outcome(0), RouteOutcome::PathDiffers);
    assert_eq!(outcome(1), RouteOutcome::SlashDiffers);
    assert_eq!(outcome(2), RouteOutcome::Won);
    assert_eq!(outcome(3), RouteOutcome::Outranked(Outrank::Kind));
    assert_eq!(outcome(4), RouteOutcome::EndsInsideSegment);
    assert_eq!(outcome(5), RouteOutcome::CaseDiffers);
    assert_eq!(outcome(6), RouteOutcome::NotBelow);
    assert_eq!(outcome(7), RouteOutcome::Outranked(Outrank::Longer));
    assert_eq!(outcome(8), RouteOutcome::PatternDiffers);
    assert_eq!(explanation.hosts[1].routes[0].outcome, RouteOutcome::HostNotReached);
}

#[test]
fn a_hundred_thousand_paths_and_a_hostile_path_are_found_in_one_table() {
    let routes = (0..100_000usize)
        .map(|n| (PathMatch::new(Prefix, format!("/team-{}/app-{n}", n % 500)), n))
        .collect();
    let block = HostBlock {
        hostname: Hostname::Any,
        path_form: PathForm::Canonical,
        miss: Miss::FallThrough,
        ordered: false,
        routes,
    };
    let table = table(vec![block]);
    let found = table.find(&head("h.h", "/team-77/app-10577/deep/er")).unwrap();
    assert_eq!(found.index, 10_577);
    assert!(table.find(&head("h.h", &"/".repeat(65_536))).is_none());
    assert!(table.find(&head("h.h", &"/team-77".repeat(8_192))).is_none());
}
