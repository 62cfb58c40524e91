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
