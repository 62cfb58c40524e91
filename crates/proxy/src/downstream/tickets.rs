//! Session tickets that every replica opens: sealed with keys that are given, or with one's own.
//!
//! A ticket is `name (16 bytes) | nonce (12) | sealed state | tag (16)`, sealed by AES-256-GCM-SIV,
//! whose nonces may repeat without harm: many replicas draw them by chance. The name says which
//! key, and is authenticated.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use rustls::server::ProducesTickets;
use zeroize::Zeroize as _;

/// Bytes of a key's name.
const NAME_LEN: usize = 16;

/// Bytes of what is sealed with.
const SECRET_LEN: usize = 32;

/// Keys that are tried; further ones are not used.
const KEYS_MAX: usize = 8;

/// The longest ticket that is looked at. Ours have the client's chain at most, which is not asked
/// for.
const TICKET_MAX: usize = 16 * 1024;

/// How long a client may hope that its ticket is good: every key opens for that long.
const LIFETIME_SECONDS: u32 = 12 * 60 * 60;

/// A key of session tickets. It is overwritten when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct TicketKey {
    name: [u8; NAME_LEN],
    secret: [u8; SECRET_LEN],
}

impl TicketKey {
    /// Bytes of a key as it is passed around: its name, then what is sealed with.
    pub const LEN: usize = NAME_LEN + SECRET_LEN;

    /// Reads a key.
    #[must_use]
    pub fn new(bytes: &[u8; Self::LEN]) -> Self {
        let mut key = Self { name: [0; NAME_LEN], secret: [0; SECRET_LEN] };
        key.name.copy_from_slice(&bytes[..NAME_LEN]);
        key.secret.copy_from_slice(&bytes[NAME_LEN..]);
        key
    }
}

impl Drop for TicketKey {
    fn drop(&mut self) {
        self.secret.zeroize();
    }
}

impl fmt::Debug for TicketKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TicketKey([redacted])")
    }
}

struct Sealer {
    name: [u8; NAME_LEN],
    key: RandomizedNonceKey,
}

/// Seals and opens tickets. Read once a handshake, changed once in some hours.
pub(crate) struct Tickets {
    /// The first seals, all open.
    shared: ArcSwapOption<Vec<Sealer>>,
    /// Of this process; it opens what it sealed also once there are shared keys.
    own: Arc<dyn ProducesTickets>,
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tickets")
    }
}

impl Tickets {
    pub(crate) fn new(own: Arc<dyn ProducesTickets>) -> Self {
        Self { shared: ArcSwapOption::empty(), own }
    }

    /// From now on tickets are sealed with the first of these keys, and opened with each of them;
    /// without any, with the process's own.
    pub(crate) fn replace(&self, keys: &[TicketKey]) {
        let sealers: Vec<Sealer> = keys.iter().take(KEYS_MAX).filter_map(Sealer::new).collect();
        self.shared.store((!sealers.is_empty()).then(|| Arc::new(sealers)));
    }
}

impl Sealer {
    fn new(key: &TicketKey) -> Option<Self> {
        let sealing = RandomizedNonceKey::new(&AES_256_GCM_SIV, &key.secret).ok()?;
        Some(Self { name: key.name, key: sealing })
    }

    fn seal(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let mut sealed = plain.to_vec();
        let nonce = self.key.seal_in_place_append_tag(Aad::from(&self.name), &mut sealed).ok()?;
        let mut ticket = Vec::with_capacity(NAME_LEN + NONCE_LEN + sealed.len());
        ticket.extend_from_slice(&self.name);
        ticket.extend_from_slice(nonce.as_ref());
        ticket.extend_from_slice(&sealed);
        Some(ticket)
    }

    fn open(&self, nonce: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut sealed = sealed.to_vec();
        let plain = self.key.open_in_place(nonce, Aad::from(&self.name), &mut sealed).ok()?;
        let length = plain.len();
        sealed.truncate(length);
        Some(sealed)
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        LIFETIME_SECONDS.min(self.own.lifetime())
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        match self.shared.load().as_deref().and_then(|sealers| sealers.first()) {
            Some(sealer) => sealer.seal(plain),
            None => self.own.encrypt(plain),
        }
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        if ticket.len() > TICKET_MAX {
            return None;
        }
        let shared = self.shared.load();
        let named = ticket.split_at_checked(NAME_LEN).and_then(|(name, rest)| {
            // Names are no secret: they stand in every ticket.
            let sealer = shared.as_deref()?.iter().find(|sealer| sealer.name == name)?;
            Some((sealer, rest))
        });
        match named {
            Some((sealer, rest)) => {
                let (nonce, sealed) = rest.split_at_checked(NONCE_LEN)?;
                sealer.open(nonce, sealed)
            }
            None => self.own.decrypt(ticket),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tickets(keys: &[u8]) -> Tickets {
        let tickets = Tickets::new(rustls::crypto::aws_lc_rs::Ticketer::new().unwrap());
        let keys: Vec<TicketKey> = keys.iter().map(|&key| TicketKey::new(&[key; 48])).collect();
        tickets.replace(&keys);
        tickets
    }

    #[test]
    fn every_replica_opens_what_another_sealed() {
        let ticket = tickets(&[1, 2]).encrypt(b"state").unwrap();
        assert_eq!(tickets(&[1]).decrypt(&ticket).as_deref(), Some(&b"state"[..]));
        // Also after the keys have moved on, and before they have.
        assert_eq!(tickets(&[3, 2, 1]).decrypt(&ticket).as_deref(), Some(&b"state"[..]));
        assert_eq!(tickets(&[2, 3]).decrypt(&ticket), None);
        assert_eq!(tickets(&[]).decrypt(&ticket), None);
    }

    #[test]
    fn what_a_process_sealed_by_itself_it_opens_later() {
        let tickets = tickets(&[]);
        let ticket = tickets.encrypt(b"state").unwrap();
        tickets.replace(&[TicketKey::new(&[1; 48])]);
        assert_eq!(tickets.decrypt(&ticket).as_deref(), Some(&b"state"[..]));
        assert_ne!(tickets.encrypt(b"state").unwrap()[..16], ticket[..16]);
    }

    #[test]
    fn a_ticket_with_any_byte_changed_or_missing_is_none() {
        let tickets = tickets(&[1]);
        let ticket = tickets.encrypt(b"state").unwrap();
        for index in 0..ticket.len() {
            let mut forged = ticket.clone();
            forged[index] ^= 1;
            assert_eq!(tickets.decrypt(&forged), None, "byte {index}");
            assert_eq!(tickets.decrypt(&ticket[..index]), None, "cut at {index}");
        }
        assert_eq!(tickets.decrypt(&vec![1; TICKET_MAX + 1]), None);
    }

    #[test]
    fn no_two_tickets_are_alike() {
        let tickets = tickets(&[1]);
        assert_ne!(tickets.encrypt(b"state"), tickets.encrypt(b"state"));
    }
}
