//! The system's resolver configuration, or the name servers that were set, asked through hickory.
//!
//! Both families are asked apart: one that fails to answer must not take the addresses of the other
//! along, nor pass for a name without addresses. Nothing is cached here: how long an answer holds
//! is decided by whoever asks.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError, NoRecords};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::system_conf::read_system_conf;

use super::{Answer, Family, Lookup, Query};

/// Asks name servers: those that were set, or those of `/etc/resolv.conf`, which is read at the
/// first question.
pub(crate) struct SystemLookup {
    name_servers: Vec<SocketAddr>,
    resolvers: Mutex<Option<Resolvers>>,
}

/// One for each family.
#[derive(Clone)]
struct Resolvers {
    v4: TokioResolver,
    v6: TokioResolver,
}

impl Resolvers {
    fn new(config: &ResolverConfig, options: &ResolverOpts) -> Result<Self, NetError> {
        let build = |strategy| {
            let provider = TokioRuntimeProvider::default();
            let mut builder = TokioResolver::builder_with_config(config.clone(), provider)
                .with_options(options.clone());
            let options = builder.options_mut();
            options.ip_strategy = strategy;
            options.cache_size = 0;
            builder.build()
        };
        let v4 = build(LookupIpStrategy::Ipv4Only)?;
        Ok(Self { v4, v6: build(LookupIpStrategy::Ipv6Only)? })
    }
}

impl SystemLookup {
    /// Asks these name servers; where there are none, those of the system.
    pub(crate) fn new(name_servers: Vec<SocketAddr>) -> Self {
        Self { name_servers, resolvers: Mutex::default() }
    }

    /// The resolvers, made when first asked for. A failure is not kept: the file may come.
    fn resolvers(&self) -> Result<Resolvers, NetError> {
        let mut slot = self.resolvers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(resolvers) = &*slot {
            return Ok(resolvers.clone());
        }
        let (config, options) = if self.name_servers.is_empty() {
            read_system_conf()?
        } else {
            // The search list stays the system's, where it has one.
            let (system, options) = read_system_conf().unwrap_or_default();
            let (domain, search, _) = system.into_parts();
            let servers = self.name_servers.iter().map(name_server).collect();
            (ResolverConfig::from_parts(domain, search, servers), options)
        };
        let resolvers = Resolvers::new(&config, &options)?;
        *slot = Some(resolvers.clone());
        Ok(resolvers)
    }
}

fn name_server(address: &SocketAddr) -> NameServerConfig {
    let at_port = |mut connection: ConnectionConfig| {
        connection.port = address.port();
        connection
    };
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(at_port);
    NameServerConfig::new(address.ip(), true, connections.into())
}

impl Lookup for SystemLookup {
    async fn lookup(&self, query: &Query) -> Answer {
        let resolvers = match self.resolvers() {
            Ok(resolvers) => resolvers,
            Err(error) => return Answer::Failed(format!("no resolver: {error}")),
        };
        // With the final dot a name is whole, and no search list applies.
        let has_dot = query.name.ends_with('.');
        let name = if query.search || has_dot {
            query.name.to_string()
        } else {
            format!("{}.", query.name)
        };
        let (v4, v6) = tokio::join!(ask(&resolvers.v4, &name), ask(&resolvers.v6, &name));
        both(v4, v6)
    }
}

/// What was said about the addresses of one family.
#[derive(Clone, Debug)]
enum Said {
    Addresses(Vec<IpAddr>, Duration),
    NoSuchName,
    NoAddress,
    Failed(String),
}

async fn ask(resolver: &TokioResolver, name: &str) -> Said {
    match resolver.lookup_ip(name).await {
        Ok(found) => {
            let ttl = found.valid_until().saturating_duration_since(Instant::now());
            Said::Addresses(found.iter().collect(), ttl)
        }
        Err(error) => failure(&error),
    }
}

/// Only an answer that says so means that there is nothing; everything else is a failure to ask.
fn failure(error: &NetError) -> Said {
    match error {
        NetError::Dns(DnsError::NoRecordsFound(NoRecords { response_code, .. })) => {
            match *response_code {
                ResponseCode::NXDomain => Said::NoSuchName,
                ResponseCode::NoError => Said::NoAddress,
                code => Said::Failed(format!("the name server answered {code}")),
            }
        }
        _ => Said::Failed(error.to_string()),
    }
}

/// One answer of what was said about IPv4 and about IPv6.
fn both(v4: Said, v6: Said) -> Answer {
    match (v4, v6) {
        (Said::Addresses(mut addresses, ttl), Said::Addresses(more, other_ttl)) => {
            addresses.extend(more);
            Answer::Addresses(addresses, ttl.min(other_ttl))
        }
        (Said::Addresses(addresses, ttl), Said::Failed(why)) => {
            Answer::Half { addresses, ttl, missing: Family::V6, why }
        }
        (Said::Failed(why), Said::Addresses(addresses, ttl)) => {
            Answer::Half { addresses, ttl, missing: Family::V4, why }
        }
        (Said::Addresses(addresses, ttl), _) | (_, Said::Addresses(addresses, ttl)) => {
            Answer::Addresses(addresses, ttl)
        }
        // A name that does not exist has addresses of neither family.
        (Said::NoSuchName, _) | (_, Said::NoSuchName) => {
            Answer::NoSuchName("no such name".to_owned())
        }
        (Said::Failed(why), _) | (_, Said::Failed(why)) => Answer::Failed(why),
        (Said::NoAddress, Said::NoAddress) => {
            Answer::NoSuchName("the name has no address".to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, UdpSocket};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// A name server that knows `db.example` (192.0.2.1, 30 seconds), knows that `gone.example`
    /// and `db` do not exist and that `empty.example` has no address, and fails for everything
    /// else. About IPv6 it fails for `half.example`, and says nothing for `mute.example`.
    fn serve(socket: &UdpSocket, asked: &AtomicUsize) -> std::io::Result<()> {
        let mut query = [0; 512];
        loop {
            let (length, client) = socket.recv_from(&mut query)?;
            asked.fetch_add(1, Ordering::SeqCst);
            let query = &query[..length];
            // The question stands behind the head of 12 bytes: labels, a zero, type and class.
            let name_end = 12 + query[12..].iter().position(|&byte| byte == 0).unwrap_or(0);
            let question = &query[12..name_end + 5];
            let is_ipv4 = query[name_end + 2] == 1;
            let (code, has_answer) = match &query[12..name_end] {
                b"\x02db\x07example" => (0, is_ipv4),
                b"\x04half\x07example" => (if is_ipv4 { 0 } else { 2 }, is_ipv4),
                b"\x04mute\x07example" if is_ipv4 => (0, true),
                b"\x04mute\x07example" => continue,
                b"\x04six4\x07example" => (if is_ipv4 { 0 } else { 2 }, false),
                b"\x05empty\x07example" => (0, false),
                b"\x02db" | b"\x04gone\x07example" => (3, false),
                _ => (2, false),
            };
            let mut answer = query[..2].to_vec();
            answer.extend([0x81, 0x80 | code, 0, 1, 0, u8::from(has_answer), 0, 0, 0, 0]);
            answer.extend(question);
            if has_answer {
                answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 30, 0, 4, 192, 0, 2, 1]);
            }
            socket.send_to(&answer, client)?;
        }
    }

    /// A lookup that asks that name server alone, with a search list of `example`; and how often
    /// it was asked.
    fn system() -> (SystemLookup, Arc<AtomicUsize>) {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let server = name_server(&socket.local_addr().unwrap());
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&asked);
        std::thread::spawn(move || serve(&socket, &counted));
        let search = vec!["example".parse().unwrap()];
        let config = ResolverConfig::from_parts(None, search, vec![server]);
        let mut options = ResolverOpts::default();
        options.attempts = 0;
        options.timeout = Duration::from_millis(200);
        let resolvers = Resolvers::new(&config, &options).unwrap();
        let lookup =
            SystemLookup { name_servers: Vec::new(), resolvers: Mutex::new(Some(resolvers)) };
        (lookup, asked)
    }

    fn answers(questions: &[(&str, bool)]) -> Vec<Answer> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (system, _) = system();
            let mut answers = Vec::new();
            for &(name, search) in questions {
                answers.push(system.lookup(&Query { name: name.into(), search }).await);
            }
            answers
        })
    }

    #[test]
    fn a_name_has_its_addresses_for_their_time_to_live() {
        let answers = answers(&[("db.example", false)]);
        let [Answer::Addresses(addresses, ttl)] = &answers[..] else { panic!("{answers:?}") };
        assert_eq!(*addresses, [IpAddr::from([192, 0, 2, 1])]);
        assert!((Duration::from_secs(25)..=Duration::from_secs(30)).contains(ttl), "{ttl:?}");
    }

    #[test]
    fn only_an_answer_that_says_so_means_that_a_name_has_no_address() {
        let answers =
            answers(&[("gone.example", false), ("empty.example", false), ("odd.example", false)]);
        assert!(matches!(answers[0], Answer::NoSuchName(_)), "{answers:?}");
        assert!(matches!(answers[1], Answer::NoSuchName(_)), "{answers:?}");
        assert!(matches!(answers[2], Answer::Failed(_)), "{answers:?}");
    }

    #[test]
    fn a_family_that_fails_neither_hides_the_other_nor_passes_for_empty() {
        let answers = answers(&[("half.example", false), ("mute.example", false)]);
        for answer in &answers {
            let Answer::Half { addresses, missing, .. } = answer else { panic!("{answers:?}") };
            assert_eq!(*addresses, [IpAddr::from([192, 0, 2, 1])]);
            assert_eq!(*missing, Family::V6);
        }
        // No IPv4 address, and nobody knows about IPv6: perhaps it has one.
        let unknown = self::answers(&[("six4.example", false)]);
        assert!(matches!(unknown[0], Answer::Failed(_)), "{unknown:?}");
    }

    #[test]
    fn each_question_is_asked_anew() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (system, asked) = system();
            let query = Query { name: "db.example".into(), search: false };
            for round in 1..=3 {
                let answer = system.lookup(&query).await;
                assert!(matches!(answer, Answer::Addresses(..)), "{answer:?}");
                assert_eq!(asked.load(Ordering::SeqCst), 2 * round);
            }
        });
    }

    #[test]
    fn the_search_list_applies_only_where_it_is_asked_for() {
        let answers = answers(&[("db", true), ("db", false)]);
        assert!(matches!(answers[0], Answer::Addresses(..)), "{answers:?}");
        assert!(matches!(answers[1], Answer::NoSuchName(_)), "{answers:?}");
    }
}
