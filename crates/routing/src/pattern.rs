//! Regular expressions: which are accepted, and one automaton per host that finds the first.
//!
//! The engine takes time linear in pattern times path, so no pattern can be made to hang the
//! proxy; what that rules out (look-around, back-references) is refused by name. Patterns see
//! bytes, not characters, and are anchored at the start as a whole: `/a|/b` cannot begin in the
//! middle of a path. `.` does not match a line feed, as in nginx.
//!
//! The patterns of a host are compiled together, in the order in which they are tried. The
//! engine's leftmost-first rule prefers, among matches that start together, the pattern listed
//! first; anchored, all matches start together, so the first listed wins. Where the automaton
//! would grow too large the list is split in two, in the worst case down to single patterns that
//! are tried one after the other. Search state comes from the engine's pool: the first thread has
//! its own, the others take theirs from stacks sharded by thread, which do not contend as long as
//! there are few workers per shard.

use std::fmt;

use model::{PathKind, PathMatch};
use regex_automata::meta::{self, BuildError, Config};
use regex_automata::nfa::thompson::WhichCaptures;
use regex_automata::util::captures::Captures;
use regex_automata::{Anchored, Input, MatchKind};
use regex_syntax::ast::{self, Ast};
use regex_syntax::hir::{self, Hir};

/// Largest automaton of one pattern, in bytes of its NFA.
const PATTERN_BYTES_MAX: usize = 1 << 20;
/// More of it for each byte of a pattern, so that no literal text is too large, however long.
const LITERAL_BYTE_MAX: usize = 256;
/// Largest automaton of one group of patterns, in bytes of its NFA.
const GROUP_BYTES_MAX: usize = 8 << 20;
/// Deepest nesting of one pattern.
const NEST_MAX: u32 = 100;

/// Why a pattern is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RegexProblem {
    /// It cannot be read; what the reader said.
    Syntax(String),
    /// It has look-ahead or look-behind.
    LookAround,
    /// It has a back-reference.
    BackReference,
    /// It is nested or repeated so much that its automaton would be too large.
    TooLarge,
}

impl fmt::Display for RegexProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax(what) => write!(f, "cannot be read: {what}"),
            Self::LookAround => f.write_str("uses look-around, which a linear-time engine has not"),
            Self::BackReference => {
                f.write_str("uses a back-reference, which a linear-time engine has not")
            }
            Self::TooLarge => f.write_str("needs an automaton over the limit"),
        }
    }
}

impl std::error::Error for RegexProblem {}

/// Whether a pattern is accepted, and how many bytes its tables take.
pub fn check_regex(pattern: &str, ignore_case: bool) -> Result<usize, RegexProblem> {
    Regex::new(pattern, ignore_case).map(|regex| regex.engine.memory_usage())
}

/// One compiled pattern, anchored at the start.
#[derive(Clone, Debug)]
pub struct Regex {
    hir: Hir,
    engine: meta::Regex,
}

impl Regex {
    /// Compiles a pattern.
    pub fn new(pattern: &str, ignore_case: bool) -> Result<Self, RegexProblem> {
        let hir = parse(pattern, ignore_case)?;
        let config = config(PATTERN_BYTES_MAX.max(pattern.len().saturating_mul(LITERAL_BYTE_MAX)))
            .which_captures(WhichCaptures::All)
            // One pattern is searched for captures, which the lazy DFA cannot give.
            .hybrid(false);
        match meta::Builder::new().configure(config).build_from_hir(&hir) {
            Ok(engine) => Ok(Self { hir, engine }),
            Err(error) => Err(problem(&error)),
        }
    }

    /// The pattern of a condition; `None` where it is a literal.
    pub(crate) fn of(path: &PathMatch) -> Result<Option<Self>, RegexProblem> {
        match path.kind {
            PathKind::Regex => Self::new(&path.value, false).map(Some),
            PathKind::RegexIgnoreCase => Self::new(&path.value, true).map(Some),
            PathKind::Exact
            | PathKind::Prefix
            | PathKind::ImplementationSpecific
            | PathKind::Subtree => Ok(None),
        }
    }

    /// Whether the pattern matches from the start of a path.
    pub fn is_match(&self, path: &[u8]) -> bool {
        self.engine.is_match(anchored(path))
    }

    /// What the groups of the pattern captured of a path. Allocates.
    pub fn captures(&self, path: &[u8]) -> Option<Captures> {
        let mut captures = self.engine.create_captures();
        self.engine.search_captures(&anchored(path), &mut captures);
        captures.is_match().then_some(captures)
    }
}

/// The patterns of one host, in the order in which they are tried.
pub(crate) struct Patterns {
    /// In the order of their places.
    groups: Vec<Group>,
}

struct Group {
    engine: meta::Regex,
    /// The place of each pattern among the host's entries, ascending.
    places: Box<[usize]>,
}

impl Patterns {
    /// The patterns among a host's entries, which are given in the order in which they are tried.
    pub(crate) fn new<'p>(entries: impl Iterator<Item = Option<&'p Regex>>) -> Self {
        let placed: Vec<(usize, &Regex)> = entries
            .enumerate()
            .filter_map(|(place, regex)| regex.map(|regex| (place, regex)))
            .collect();
        let mut groups = Vec::new();
        group(&placed, &mut groups);
        Self { groups }
    }

    /// The smallest place, below `limit`, of a pattern that matches.
    pub(crate) fn first_before(&self, limit: Option<usize>, path: &[u8]) -> Option<usize> {
        let limit = limit.unwrap_or(usize::MAX);
        for group in &self.groups {
            if group.places.first().is_none_or(|first| *first >= limit) {
                return None;
            }
            if let Some(found) = group.engine.search_half(&anchored(path)) {
                let place = *group.places.get(found.pattern().as_usize())?;
                return (place < limit).then_some(place);
            }
        }
        None
    }
}

/// Compiles patterns together, or, where that would be too large, each half of them.
fn group(patterns: &[(usize, &Regex)], groups: &mut Vec<Group>) {
    let places = patterns.iter().map(|(place, _)| *place).collect();
    match patterns {
        [] => {}
        [(_, single)] => groups.push(Group { engine: single.engine.clone(), places }),
        _ => {
            let hirs: Vec<&Hir> = patterns.iter().map(|(_, regex)| &regex.hir).collect();
            let config = config(GROUP_BYTES_MAX).which_captures(WhichCaptures::Implicit);
            if let Ok(engine) = meta::Builder::new().configure(config).build_many_from_hir(&hirs) {
                groups.push(Group { engine, places });
            } else {
                let (front, back) = patterns.split_at(patterns.len() / 2);
                group(front, groups);
                group(back, groups);
            }
        }
    }
}

fn config(bytes_max: usize) -> Config {
    Config::new()
        .match_kind(MatchKind::LeftmostFirst)
        .utf8_empty(false)
        // Prefilters find where a match may start, and here that is known.
        .auto_prefilter(false)
        .nfa_size_limit(Some(bytes_max))
}

fn anchored(path: &[u8]) -> Input<'_> {
    Input::new(path).anchored(Anchored::Yes)
}

/// Reads a pattern as one about bytes; where it names Unicode classes, as one about characters.
fn parse(pattern: &str, ignore_case: bool) -> Result<Hir, RegexProblem> {
    let ast = ast::parse::ParserBuilder::new()
        .nest_limit(NEST_MAX)
        .build()
        .parse(pattern)
        .map_err(|error| ast_problem(&error))?;
    if ast::visit(&ast, PossessiveFinder).is_err() {
        return Err(RegexProblem::Syntax(
            "possessive quantifiers such as `++` are not supported".to_owned(),
        ));
    }
    let translate = |unicode| {
        hir::translate::TranslatorBuilder::new()
            .case_insensitive(ignore_case)
            .unicode(unicode)
            .utf8(false)
            .build()
            .translate(pattern, &ast)
    };
    translate(false)
        .or_else(|_| translate(true))
        .map_err(|error| RegexProblem::Syntax(error.kind().to_string()))
}

/// Finds `a++` and its like: in nginx they forbid backtracking, here they would be read as a
/// repeated repetition and match more.
struct PossessiveFinder;

impl ast::Visitor for PossessiveFinder {
    type Output = ();
    type Err = ();

    fn finish(self) -> Result<(), ()> {
        Ok(())
    }

    fn visit_pre(&mut self, ast: &Ast) -> Result<(), ()> {
        match ast {
            Ast::Repetition(outer)
                if outer.op.kind == ast::RepetitionKind::OneOrMore
                    && matches!(*outer.ast, Ast::Repetition(_)) =>
            {
                Err(())
            }
            _ => Ok(()),
        }
    }
}

fn ast_problem(error: &ast::Error) -> RegexProblem {
    use ast::ErrorKind::{
        EscapeUnrecognized, FlagUnrecognized, NestLimitExceeded, UnsupportedBackreference,
        UnsupportedLookAround,
    };
    let text = error.pattern();
    let from = text.get(error.span().start.offset..).unwrap_or_default();
    match error.kind() {
        UnsupportedLookAround => RegexProblem::LookAround,
        UnsupportedBackreference => RegexProblem::BackReference,
        NestLimitExceeded(_) => RegexProblem::TooLarge,
        // Named and relative back-references, which the reader knows only as strangers.
        EscapeUnrecognized if from.starts_with(r"\k") || from.starts_with(r"\g") => {
            RegexProblem::BackReference
        }
        FlagUnrecognized if from.starts_with("P=") => RegexProblem::BackReference,
        kind => RegexProblem::Syntax(kind.to_string()),
    }
}

fn problem(error: &BuildError) -> RegexProblem {
    if error.size_limit().is_some() {
        RegexProblem::TooLarge
    } else {
        RegexProblem::Syntax(error.to_string())
    }
}
