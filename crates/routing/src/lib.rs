//! Which route? Hosts first, then paths.
//!
//! A [`HostTable`] is one host block compiled alone, so that a change of one host replaces one
//! table; a [`RouteTable`] is the set of them behind one listener. Everything here is pure: no
//! clock, no sockets, and [`RouteTable::find`] allocates nothing for literal routes. The payload
//! of a route is generic: the proxy hangs compiled routes on it, tests hang words.
//!
//! What must hold: the route found is the first, in the order in which its host's routes are
//! tried, whose condition holds for the request's path; and [`RouteTable::explain`] takes the very
//! walk that [`RouteTable::find`] takes.

mod explain;
mod head;
mod host;
mod path;
mod pattern;
mod rewrite;
mod segments;

pub use explain::{Explanation, HostOutcome, HostTrial, Outrank, RouteOutcome, RouteTrial};
pub use head::RequestHead;
pub use host::{Found, Lookup, RouteTable};
pub use path::{BuildError, HostBlock, HostTable};
pub use pattern::{Regex, RegexProblem, check_regex};
