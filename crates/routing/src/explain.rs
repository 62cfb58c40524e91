//! The same walk, told: every block and every route that could have answered, and why it did not.

use std::fmt;

use model::{Hostname, Miss, PathForm, PathKind, PathMatch};

use crate::path::Entry;
use crate::{HostTable, Lookup, RequestHead, RouteTable};

/// What the walk tells. `()` hears nothing, and costs nothing.
pub(crate) trait Trace<'t, T> {
    /// A block was searched, with this outcome.
    fn tried(&mut self, table: &'t HostTable<T>, winner: Option<&'t Entry<T>>);
}

impl<'t, T> Trace<'t, T> for () {
    fn tried(&mut self, _: &'t HostTable<T>, _: Option<&'t Entry<T>>) {}
}

/// Blocks searched, in order, with the winning route's place as given.
struct Told<'t, T>(Vec<(&'t HostTable<T>, Option<usize>)>);

impl<'t, T> Trace<'t, T> for Told<'t, T> {
    fn tried(&mut self, table: &'t HostTable<T>, winner: Option<&'t Entry<T>>) {
        self.0.push((table, winner.map(|entry| entry.given)));
    }
}

/// A search with everything that was considered.
#[derive(Debug)]
pub struct Explanation<'t, T> {
    /// What `find` answers.
    pub lookup: Lookup<'t, T>,
    /// Blocks that cover the host, in the order in which they are tried, then wildcards that came
    /// near. All other blocks name other hosts.
    pub hosts: Vec<HostTrial<'t, T>>,
}

/// One host block in a search.
#[derive(Debug)]
pub struct HostTrial<'t, T> {
    /// Which hosts.
    pub hostname: &'t Hostname,
    /// In which form its paths are compared.
    pub path_form: PathForm,
    /// What became of it.
    pub outcome: HostOutcome,
    /// Its routes in the order in which they are tried. Empty where the block covers another host.
    pub routes: Vec<RouteTrial<'t, T>>,
}

/// What became of a host block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostOutcome {
    /// One of its routes answers.
    Won,
    /// None of its routes holds; less specific hosts are tried.
    NoPath,
    /// None of its routes holds, and it hides less specific hosts.
    NoPathHides,
    /// A more specific host answered.
    MoreSpecificAnswered,
    /// A more specific host without an answer hides this one.
    Hidden,
    /// The wildcard stands for exactly one label, and the host has none in front.
    WildcardNeedsLabel,
    /// The wildcard stands for exactly one label, and the host has several.
    WildcardOneLabelOnly,
}

/// One route in a search.
#[derive(Debug)]
pub struct RouteTrial<'t, T> {
    /// The condition.
    pub path: &'t PathMatch,
    /// The payload.
    pub route: &'t T,
    /// Place in the block as given.
    pub index: usize,
    /// What became of it.
    pub outcome: RouteOutcome,
}

/// What became of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteOutcome {
    /// It answers.
    Won,
    /// It holds too, and another stands before it.
    Outranked(Outrank),
    /// It holds, and its host was not reached.
    HostNotReached,
    /// `Exact`: the path is another.
    PathDiffers,
    /// The path is equal but for a slash at the end.
    SlashDiffers,
    /// The path is equal but for the case of letters.
    CaseDiffers,
    /// `Prefix`: the text is a prefix, but ends inside a segment.
    EndsInsideSegment,
    /// `Prefix`: the path is not below it.
    NotBelow,
    /// The pattern does not match from the start.
    PatternDiffers,
}

/// Why one route that holds stands before another that holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outrank {
    /// `Exact` is tried first.
    Exact,
    /// The longer text is tried first.
    Longer,
    /// Of one length: `Prefix`, then `ImplementationSpecific`, then patterns.
    Kind,
    /// Of one length and kind: by text.
    Text,
    /// The same condition: the first given holds the place.
    Duplicate,
    /// This host's routes are one list, tried from the front.
    Listed,
}

pub(crate) fn explain<'t, T>(
    table: &'t RouteTable<T>,
    head: &RequestHead<'_>,
) -> Explanation<'t, T> {
    let mut told = Told(Vec::new());
    let lookup = table.walk(head, &mut told);
    let mut hosts: Vec<_> = told
        .0
        .iter()
        .map(|(block, winner)| {
            let outcome = match (winner, block.miss()) {
                (Some(_), _) => HostOutcome::Won,
                (None, Miss::FallThrough) => HostOutcome::NoPath,
                (None, Miss::Hide) => HostOutcome::NoPathHides,
            };
            trial(block, head, outcome, *winner)
        })
        .collect();
    let unreached = match lookup {
        Lookup::Route(_) => HostOutcome::MoreSpecificAnswered,
        Lookup::NoHost | Lookup::NoPath { .. } => HostOutcome::Hidden,
    };
    for block in table.covering(head.host).skip(told.0.len()) {
        hosts.push(trial(block, head, unreached, None));
    }
    near_misses(table, head, &mut hosts);
    Explanation { lookup, hosts }
}

fn trial<'t, T>(
    block: &'t HostTable<T>,
    head: &RequestHead<'_>,
    outcome: HostOutcome,
    winner: Option<usize>,
) -> HostTrial<'t, T> {
    let path = head.text(block.path_form());
    let winning = block.entries().iter().find(|entry| Some(entry.given) == winner);
    let routes = block
        .entries()
        .iter()
        .map(|entry| RouteTrial {
            path: &entry.path,
            route: &entry.route,
            index: entry.given,
            outcome: match (entry.holds(path), winning) {
                (false, _) => difference(&entry.path, path),
                (true, Some(winner)) if winner.given == entry.given => RouteOutcome::Won,
                (true, Some(winner)) => {
                    RouteOutcome::Outranked(rank(block.is_ordered(), &winner.path, &entry.path))
                }
                (true, None) => RouteOutcome::HostNotReached,
            },
        })
        .collect();
    HostTrial { hostname: block.hostname(), path_form: block.path_form(), outcome, routes }
}

/// Wildcards that a reader may have expected to cover the host.
fn near_misses<'t, T>(
    table: &'t RouteTable<T>,
    head: &RequestHead<'_>,
    hosts: &mut Vec<HostTrial<'t, T>>,
) {
    let Some(host) = head.host else { return };
    let mut add = |suffix: &str, outcome| {
        if let Some(block) = table.host(&Hostname::Wildcard(suffix.into())) {
            let (hostname, path_form) = (block.hostname(), block.path_form());
            hosts.push(HostTrial { hostname, path_form, outcome, routes: Vec::new() });
        }
    };
    add(host, HostOutcome::WildcardNeedsLabel);
    let mut rest = host.split_once('.').map(|(_, rest)| rest);
    // The first cut is what the wildcard look-up itself compares.
    while let Some((_, shorter)) = rest.and_then(|rest| rest.split_once('.')) {
        add(shorter, HostOutcome::WildcardOneLabelOnly);
        rest = Some(shorter);
    }
}

impl<T> Entry<T> {
    /// The plain definition of a condition, over bytes.
    fn holds(&self, path: &[u8]) -> bool {
        let value = self.path.value.as_bytes();
        match self.path.kind {
            PathKind::Exact => path == value,
            PathKind::Prefix | PathKind::ImplementationSpecific => {
                let prefix = value.strip_suffix(b"/").unwrap_or(value);
                let rest = path.strip_prefix(prefix);
                !path.is_empty()
                    && rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'/')))
            }
            // Read as ending in `/`, which translate always writes.
            PathKind::Subtree => path
                .strip_prefix(value.strip_suffix(b"/").unwrap_or(value))
                .is_some_and(|rest| rest.starts_with(b"/")),
            PathKind::Regex | PathKind::RegexIgnoreCase => {
                self.regex.as_ref().is_some_and(|regex| regex.is_match(path))
            }
        }
    }
}

/// Why a condition does not hold.
fn difference(condition: &PathMatch, path: &[u8]) -> RouteOutcome {
    let value = condition.value.as_bytes();
    let trimmed = |text: &'_ [u8]| text.strip_suffix(b"/").unwrap_or(text).to_vec();
    match condition.kind {
        PathKind::Regex | PathKind::RegexIgnoreCase => RouteOutcome::PatternDiffers,
        PathKind::Exact | PathKind::Subtree if trimmed(value) == trimmed(path) => {
            RouteOutcome::SlashDiffers
        }
        _ if trimmed(value).eq_ignore_ascii_case(&trimmed(path)) => RouteOutcome::CaseDiffers,
        PathKind::Exact => RouteOutcome::PathDiffers,
        PathKind::Prefix | PathKind::ImplementationSpecific
            if path.starts_with(&trimmed(value)) =>
        {
            RouteOutcome::EndsInsideSegment
        }
        PathKind::Prefix | PathKind::ImplementationSpecific | PathKind::Subtree => {
            RouteOutcome::NotBelow
        }
    }
}

/// Why `winner` stands before `loser`.
fn rank(ordered: bool, winner: &PathMatch, loser: &PathMatch) -> Outrank {
    if ordered {
        Outrank::Listed
    } else if winner == loser {
        Outrank::Duplicate
    } else if winner.kind == PathKind::Exact && loser.kind != PathKind::Exact {
        Outrank::Exact
    } else if winner.value.len() != loser.value.len() {
        Outrank::Longer
    } else if winner.kind != loser.kind {
        Outrank::Kind
    } else {
        Outrank::Text
    }
}

impl fmt::Display for HostOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Won => "answers",
            Self::NoPath => "none of its paths holds; less specific hosts are tried",
            Self::NoPathHides => "none of its paths holds, and it hides less specific hosts",
            Self::MoreSpecificAnswered => "not reached: a more specific host answered",
            Self::Hidden => "not reached: a more specific host hides it",
            Self::WildcardNeedsLabel => "covers another host: the star needs one label in front",
            Self::WildcardOneLabelOnly => "covers another host: the star stands for one label only",
        })
    }
}

impl fmt::Display for RouteOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Won => "answers",
            Self::Outranked(why) => return write!(f, "holds too, but {why}"),
            Self::HostNotReached => "holds, but its host was not reached",
            Self::PathDiffers => "the path is another",
            Self::SlashDiffers => "differs in the slash at the end",
            Self::CaseDiffers => "differs in the case of letters",
            Self::EndsInsideSegment => "ends inside a segment of the path",
            Self::NotBelow => "the path is not below it",
            Self::PatternDiffers => "the pattern does not match from the start of the path",
        })
    }
}

impl fmt::Display for Outrank {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Exact => "an Exact path is tried first",
            Self::Longer => "a longer path is tried first",
            Self::Kind => "of equal length, Prefix is tried first, patterns last",
            Self::Text => "of equal length and kind, the smaller text is tried first",
            Self::Duplicate => "an earlier route has the same condition",
            Self::Listed => "an earlier route of the list holds",
        })
    }
}
