//! The keys of TLS session tickets, in a Secret that all replicas read and whoever leads rotates.
//!
//! Three keys: tickets are sealed with `current` and opened with all. At a rotation `next` becomes
//! `current`, which every replica has known for a whole period by then; so no ticket meets a
//! replica that cannot open it. What `previous` sealed is worthless after a second period: a key is
//! used for one and kept for three.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::rand;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::PostParams;
use tokio::sync::watch;
use zeroize::{Zeroize as _, Zeroizing};

use super::complaint::{Complaint, reason};
use super::lease::Leadership;

/// Bytes of a key.
pub const TICKET_KEY_LEN: usize = 48;

/// How long tickets are sealed with a key.
const PERIOD: SignedDuration = SignedDuration::from_hours(6);

/// How often the Secret is looked at. Far less than a period.
const LOOK: Duration = Duration::from_secs(5);

/// The type of the Secret.
const TYPE: &str = "portcullis.io/ticket-keys";

/// When the keys were rotated last, as RFC 3339.
const ROTATED_AT: &str = "portcullis.io/rotated-at";

const CURRENT: &str = "current";
const NEXT: &str = "next";
const PREVIOUS: &str = "previous";

/// Uses these keys from now on: seals with the first, opens with each.
pub type UseKeys = Arc<dyn Fn(&[[u8; TICKET_KEY_LEN]]) + Send + Sync>;

/// Where the keys are kept, and who uses them.
#[derive(Clone)]
pub struct TicketKeySettings {
    /// The namespace of the Secret.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Who uses them.
    pub use_keys: UseKeys,
}

impl fmt::Debug for TicketKeySettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TicketKeySettings({}/{})", self.namespace, self.name)
    }
}

type Key = [u8; TICKET_KEY_LEN];

/// The keys as the Secret has them.
#[derive(Clone, PartialEq, Eq)]
struct Keys {
    current: Key,
    next: Key,
    previous: Option<Key>,
    rotated_at: Option<Timestamp>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keys([redacted], {:?})", self.rotated_at)
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        self.current.zeroize();
        self.next.zeroize();
        self.previous.zeroize();
    }
}

/// A Secret that is overwritten when it is dropped.
#[derive(Default)]
struct Held(Secret);

impl Drop for Held {
    fn drop(&mut self) {
        translate::wipe_secret(&mut self.0);
    }
}

impl Keys {
    /// New ones; `None` where the system gives no randomness.
    fn generate(now: Timestamp) -> Option<Self> {
        Some(Self { current: random()?, next: random()?, previous: None, rotated_at: Some(now) })
    }

    /// Those of a Secret; `None` where it has not what it should.
    fn read(secret: &Secret) -> Option<Self> {
        let data = secret.data.as_ref()?;
        let key = |name: &str| data.get(name).and_then(|bytes| Key::try_from(&*bytes.0).ok());
        let annotations = secret.metadata.annotations.as_ref();
        let rotated_at = annotations.and_then(|all| all.get(ROTATED_AT)?.parse().ok());
        Some(Self { current: key(CURRENT)?, next: key(NEXT)?, previous: key(PREVIOUS), rotated_at })
    }

    /// The first seals.
    fn in_order(&self) -> Zeroizing<Vec<Key>> {
        let mut keys = Zeroizing::new(Vec::with_capacity(3));
        keys.extend([self.current, self.next].into_iter().chain(self.previous));
        keys
    }

    /// Whether it is time for other keys. A time in the future is that of a clock that was wrong.
    fn is_due(&self, now: Timestamp) -> bool {
        self.rotated_at.is_none_or(|at| now.duration_since(at).abs() >= PERIOD)
    }

    /// The keys of the next period.
    fn rotated(&self, now: Timestamp) -> Option<Self> {
        Some(Self {
            current: self.next,
            next: random()?,
            previous: Some(self.current),
            rotated_at: Some(now),
        })
    }

    /// Writes them into a Secret, and leaves of it what is not ours.
    fn write(&self, mut secret: Secret) -> Secret {
        let keys =
            [(CURRENT, Some(self.current)), (NEXT, Some(self.next)), (PREVIOUS, self.previous)];
        let data = keys
            .into_iter()
            .filter_map(|(name, key)| Some((name.to_owned(), ByteString(key?.to_vec()))));
        translate::wipe_secret(&mut secret);
        secret.data = Some(data.collect());
        let annotations = secret.metadata.annotations.get_or_insert_with(BTreeMap::new);
        let at = self.rotated_at.map(|at| at.to_string()).unwrap_or_default();
        annotations.insert(ROTATED_AT.to_owned(), at);
        secret.type_.get_or_insert_with(|| TYPE.to_owned());
        secret
    }
}

fn random() -> Option<Key> {
    let mut key = [0; TICKET_KEY_LEN];
    rand::fill(&mut key).ok()?;
    Some(key)
}

/// Reads the keys now and then, and rotates them while leading. Does not end.
pub(super) struct TicketKeys {
    pub(super) settings: TicketKeySettings,
    pub(super) secrets: Api<Secret>,
    pub(super) leadership: watch::Receiver<Leadership>,
}

impl TicketKeys {
    pub(super) async fn run(mut self) {
        let mut complaint =
            Complaint::new("replicas do not resume each other's TLS sessions: no shared keys");
        let mut used = None;
        loop {
            match self.look().await {
                Ok(keys) => {
                    if let Some(keys) = keys.filter(|keys| used.as_ref() != Some(keys)) {
                        (self.settings.use_keys)(&keys.in_order());
                        tracing::debug!(rotated_at = ?keys.rotated_at, "other ticket keys are used");
                        used = Some(keys);
                    }
                    complaint.mended();
                }
                // Keys that are known are used on: a server that is away does not end sessions.
                Err(why) => complaint.about(Instant::now(), &why),
            }
            let wait = LOOK.mul_f64(0.8 + 0.4 * fastrand::f64());
            // A new leader looks at once.
            let _ = tokio::time::timeout(wait, self.leadership.changed()).await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// The keys there are; first others, where it is time and we lead.
    async fn look(&self) -> Result<Option<Keys>, String> {
        let name = &self.settings.name;
        let failed = |error: kube::Error| reason(&error);
        let found = self.secrets.get_opt(name).await.map_err(failed)?.map(Held);
        let keys = found.as_ref().and_then(|found| Keys::read(&found.0));
        let now = Timestamp::now();
        let leads = self.leadership.borrow().holds(Instant::now());
        if !leads || keys.as_ref().is_some_and(|keys| !keys.is_due(now)) {
            let is_filled = |secret: &Secret| secret.data.as_ref().is_some_and(|d| !d.is_empty());
            return match (keys, found) {
                (None, Some(secret)) if is_filled(&secret.0) => {
                    Err(format!("Secret {name} has no such keys; delete its data"))
                }
                // An installation makes it empty, for whoever leads to fill.
                (keys, _) => Ok(keys),
            };
        }
        let is_foreign =
            found.as_ref().is_some_and(|secret| secret.0.type_.as_deref() != Some(TYPE));
        if is_foreign {
            return Err(format!("Secret {name} is not of type {TYPE}; name another"));
        }
        let keys = match &keys {
            Some(keys) => keys.rotated(now),
            None => Keys::generate(now),
        };
        let keys = keys.ok_or("the system gives no randomness")?;
        let params = PostParams::default();
        let written = if let Some(mut secret) = found {
            // With the version that was read: of two writers one fails.
            let secret = Held(keys.write(std::mem::take(&mut secret.0)));
            self.secrets.replace(name, &params, &secret.0).await
        } else {
            let mut secret = Secret::default();
            secret.metadata.name = Some(name.clone());
            let secret = Held(keys.write(secret));
            self.secrets.create(&params, &secret.0).await
        };
        match written.map(Held) {
            Ok(_) => Ok(Some(keys)),
            // Somebody else did: it is read next time.
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hours: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + hours * 3_600).unwrap()
    }

    #[test]
    fn keys_come_back_from_a_secret_as_they_were() {
        let keys = Keys::generate(at(0)).unwrap().rotated(at(6)).unwrap();
        assert_eq!(Keys::read(&keys.write(Secret::default())), Some(keys));
    }

    #[test]
    fn the_key_that_seals_was_known_before_and_opens_after() {
        let first = Keys::generate(at(0)).unwrap();
        let second = first.rotated(at(6)).unwrap();
        let third = second.rotated(at(12)).unwrap();
        assert!(first.in_order().contains(&second.in_order()[0]));
        assert!(third.in_order().contains(&second.in_order()[0]));
        assert!(!third.in_order().contains(&first.in_order()[0]));
        let mut all: Vec<Key> = first.in_order().to_vec();
        all.extend(third.in_order().iter());
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 4, "of two and three keys, one is in both");
    }

    #[test]
    fn keys_are_rotated_after_their_period_whatever_a_clock_said_once() {
        let keys = Keys::generate(at(0)).unwrap();
        assert!(!keys.is_due(at(5)));
        assert!(keys.is_due(at(6)));
        assert!(!keys.is_due(at(-5)));
        assert!(keys.is_due(at(-6)));
        assert!(Keys { rotated_at: None, ..keys }.is_due(at(0)));
    }

    #[test]
    fn a_secret_that_lacks_a_key_or_some_bytes_of_it_has_none() {
        let secret = Keys::generate(at(0)).unwrap().write(Secret::default());
        for name in [CURRENT, NEXT] {
            let mut broken = secret.clone();
            broken.data.as_mut().unwrap().get_mut(name).unwrap().0.pop();
            assert_eq!(Keys::read(&broken), None);
            broken.data.as_mut().unwrap().remove(name);
            assert_eq!(Keys::read(&broken), None);
        }
    }
}
