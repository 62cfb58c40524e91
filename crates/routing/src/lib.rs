//! Which route? Pure: hosts, then paths. Allocation-free in `find`.
//!
//! CONTRACT (to be filled in)

use model::{Hostname, Miss, PathForm, PathMatch};

/// One host block to build from. `routes` in the order of the virtual host.
pub struct HostBlock<T> {
    /// Which hosts.
    pub hostname: Hostname,
    /// In which form paths are compared.
    pub path_form: PathForm,
    /// What happens on a miss.
    pub miss: Miss,
    /// One ordered list instead of precedence.
    pub ordered: bool,
    /// The routes.
    pub routes: Vec<(PathMatch, T)>,
}

/// What of a request is matched.
#[derive(Clone, Copy, Debug)]
pub struct RequestHead<'r> {
    /// Lower-case host without port and trailing dot; `None` for HTTP/1.0 without Host.
    pub host: Option<&'r str>,
    /// The canonical path.
    pub canonical: &'r str,
    /// The decoded form (bytes; equal to canonical where nothing is decoded).
    pub decoded: &'r [u8],
}
