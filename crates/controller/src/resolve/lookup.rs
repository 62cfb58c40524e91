//! The system's resolver configuration, asked through hickory.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::LookupIpStrategy;
use hickory_resolver::net::{DnsError, NetError, NoRecords};
use hickory_resolver::proto::op::ResponseCode;

use super::{Answer, Lookup, Query};

/// Asks the name servers of `/etc/resolv.conf`; the file is read at the first question.
#[derive(Default)]
pub(crate) struct SystemLookup {
    resolver: Mutex<Option<TokioResolver>>,
}

impl SystemLookup {
    /// The resolver, made when first asked for. A failure is not kept: the file may come.
    fn resolver(&self) -> Result<TokioResolver, NetError> {
        let mut slot = self.resolver.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(resolver) = &*slot {
            return Ok(resolver.clone());
        }
        let mut builder = TokioResolver::builder_tokio()?;
        // Both families: which of them can be reached is for the proxy to find out.
        builder.options_mut().ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        let resolver = builder.build()?;
        *slot = Some(resolver.clone());
        Ok(resolver)
    }
}

impl Lookup for SystemLookup {
    async fn lookup(&self, query: &Query) -> Answer {
        let resolver = match self.resolver() {
            Ok(resolver) => resolver,
            Err(error) => return Answer::Failed(format!("no resolver: {error}")),
        };
        // With the final dot a name is whole, and no search list applies.
        let has_dot = query.name.ends_with('.');
        let name = if query.search || has_dot {
            query.name.to_string()
        } else {
            format!("{}.", query.name)
        };
        match resolver.lookup_ip(name).await {
            Ok(found) => {
                let ttl = found.valid_until().saturating_duration_since(Instant::now());
                Answer::Addresses(found.iter().collect(), ttl)
            }
            Err(error) => failure(&error),
        }
    }
}

/// Only an answer that says so means that there is nothing; everything else is a failure to ask.
fn failure(error: &NetError) -> Answer {
    match error {
        NetError::Dns(DnsError::NoRecordsFound(NoRecords { response_code, .. })) => {
            match *response_code {
                ResponseCode::NXDomain => Answer::NoSuchName("no such name".to_owned()),
                ResponseCode::NoError => Answer::NoSuchName("the name has no address".to_owned()),
                code => Answer::Failed(format!("the name server answered {code}")),
            }
        }
        _ => Answer::Failed(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, UdpSocket};
    use std::time::Duration;

    use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
    use hickory_resolver::net::runtime::TokioRuntimeProvider;

    use super::*;

    /// A name server that knows `db.example` (192.0.2.1, 30 seconds), knows that `gone.example`
    /// does not exist and that `empty.example` has no address, and fails for everything else.
    fn serve(socket: &UdpSocket) -> std::io::Result<()> {
        let mut query = [0; 512];
        loop {
            let (length, client) = socket.recv_from(&mut query)?;
            let query = &query[..length];
            // The question stands behind the head of 12 bytes: labels, a zero, type and class.
            let name_end = 12 + query[12..].iter().position(|&byte| byte == 0).unwrap_or(0);
            let question = &query[12..name_end + 5];
            let is_ipv4 = query[name_end + 2] == 1;
            let (code, has_answer) = match &query[12..name_end] {
                b"\x02db\x07example" => (0, is_ipv4),
                b"\x05empty\x07example" => (0, false),
                b"\x04gone\x07example" => (3, false),
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

    /// A lookup that asks that name server alone, with a search list of `example`.
    fn system() -> SystemLookup {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let mut connection = ConnectionConfig::udp();
        connection.port = socket.local_addr().unwrap().port();
        std::thread::spawn(move || serve(&socket));
        let server = NameServerConfig::new(Ipv4Addr::LOCALHOST.into(), true, vec![connection]);
        let search = vec!["example".parse().unwrap()];
        let config = ResolverConfig::from_parts(None, search, vec![server]);
        let mut builder =
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        builder.options_mut().attempts = 0;
        SystemLookup { resolver: Mutex::new(Some(builder.build().unwrap())) }
    }

    fn answers(questions: &[(&str, bool)]) -> Vec<Answer> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let system = system();
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
    fn the_search_list_applies_only_where_it_is_asked_for() {
        let answers = answers(&[("db", true), ("db", false)]);
        assert!(matches!(answers[0], Answer::Addresses(..)), "{answers:?}");
        assert!(matches!(answers[1], Answer::Failed(_)), "{answers:?}");
    }
}
