//! An authority of our own for the webhook's certificate, as the data of a Secret.
//!
//! The API server is told to trust the authority, which lasts for years, so that certificates are
//! renewed without telling it anything. When the authority itself is renewed, the former one stays
//! in what is trusted until the next renewal: replicas show certificates of either.

use std::collections::BTreeMap;

use jiff::civil::Date;
use jiff::{Span, Timestamp, tz::TimeZone};
use k8s_openapi::ByteString;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};

const CA: &str = "ca.crt";
const CA_KEY: &str = "ca.key";
const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";
/// Days on which certificate and authority are renewed, and the names in the certificate: what is
/// in PEM says it as well, and these can be read without a parser.
const RENEW_CERTIFICATE: &str = "renew-certificate";
const RENEW_AUTHORITY: &str = "renew-authority";
const NAMES: &str = "names";

/// Days that a certificate is valid for, and after which it is renewed.
const CERTIFICATE_DAYS: (i64, i64) = (90, 60);
const AUTHORITY_DAYS: (i64, i64) = (3_650, 3_285);

/// What a Secret holds.
pub(super) type Data = BTreeMap<String, ByteString>;

/// What the webhook is served with.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Material {
    /// What the API server is to trust, in PEM.
    pub(super) trusted: Vec<u8>,
    pub(super) certificate: Vec<u8>,
    pub(super) key: Vec<u8>,
}

/// What is in a Secret, if it can be used on this day for these names.
pub(super) fn usable(data: &Data, names: &[String], today: Date) -> Option<Material> {
    let bytes = |name: &str| data.get(name).map(|bytes| bytes.0.clone());
    let is_current = is_before(data, RENEW_CERTIFICATE, today)
        && is_before(data, RENEW_AUTHORITY, today)
        && text(data, NAMES) == Some(&*names.join(","));
    is_current.then_some(Material {
        trusted: bytes(CA)?,
        certificate: bytes(CERTIFICATE)?,
        key: bytes(KEY)?,
    })
}

/// The data with a new certificate, and a new authority where that is due too.
///
/// # Errors
/// When keys cannot be made.
pub(super) fn renew(former: &Data, names: &[String], today: Date) -> Result<Data, rcgen::Error> {
    let mut data = former.clone();
    let kept = text(former, CA_KEY)
        .filter(|_| is_before(former, RENEW_AUTHORITY, today) && former.contains_key(CA))
        .and_then(|pem| KeyPair::from_pem(pem).ok());
    let issuer = if let Some(key) = kept {
        // Name and key are all that a certificate says of its issuer.
        Issuer::new(authority(today), key)
    } else {
        let key = KeyPair::generate()?;
        let params = authority(today);
        let mut trusted = params.self_signed(&key)?.pem();
        // Of the former ones the last alone.
        trusted.push_str(text(former, CA).and_then(first_certificate).unwrap_or_default());
        put(&mut data, CA, trusted);
        put(&mut data, CA_KEY, key.serialize_pem());
        put(&mut data, RENEW_AUTHORITY, after(today, AUTHORITY_DAYS.1).to_string());
        Issuer::new(params, key)
    };
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(names.to_vec())?;
    params.distinguished_name = DistinguishedName::new();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    set_validity(&mut params, today, CERTIFICATE_DAYS.0);
    put(&mut data, CERTIFICATE, params.signed_by(&key, &issuer)?.pem());
    put(&mut data, KEY, key.serialize_pem());
    put(&mut data, RENEW_CERTIFICATE, after(today, CERTIFICATE_DAYS.1).to_string());
    put(&mut data, NAMES, names.join(","));
    Ok(data)
}

fn authority(today: Date) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "Portcullis webhook authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    set_validity(&mut params, today, AUTHORITY_DAYS.0);
    params
}

/// From the day before, for clocks that are slow, to so many days on.
fn set_validity(params: &mut CertificateParams, today: Date, days: i64) {
    let at = |date: Date| {
        let month = u8::try_from(date.month()).unwrap_or(1);
        rcgen::date_time_ymd(date.year().into(), month, u8::try_from(date.day()).unwrap_or(1))
    };
    params.not_before = at(after(today, -1));
    params.not_after = at(after(today, days));
}

fn after(today: Date, days: i64) -> Date {
    today.saturating_add(Span::new().days(days))
}

/// The day of a time, in UTC.
pub(super) fn day(time: Timestamp) -> Date {
    time.to_zoned(TimeZone::UTC).date()
}

fn put(data: &mut Data, name: &str, text: String) {
    data.insert(name.to_owned(), ByteString(text.into_bytes()));
}

fn text<'d>(data: &'d Data, name: &str) -> Option<&'d str> {
    std::str::from_utf8(&data.get(name)?.0).ok()
}

fn is_before(data: &Data, name: &str, today: Date) -> bool {
    text(data, name).and_then(|day| day.parse::<Date>().ok()).is_some_and(|day| today < day)
}

fn first_certificate(pem: &str) -> Option<&str> {
    const END: &str = "-----END CERTIFICATE-----";
    let end = pem.find(END)? + END.len();
    Some(&pem[..end])
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    fn names() -> Vec<String> {
        vec!["portcullis-webhook.portcullis-system.svc".to_owned()]
    }

    fn certificates(pem: &[u8]) -> usize {
        String::from_utf8_lossy(pem).matches("-----BEGIN CERTIFICATE-----").count()
    }

    #[test]
    fn nothing_is_usable_before_it_is_made_and_then_until_it_is_due() {
        let today = date(2026, 1, 1);
        assert!(usable(&Data::new(), &names(), today).is_none());
        let data = renew(&Data::new(), &names(), today).unwrap();
        let material = usable(&data, &names(), today).unwrap();
        assert_eq!(certificates(&material.trusted), 1);
        assert!(usable(&data, &names(), date(2026, 3, 1)).is_some());
        assert!(usable(&data, &names(), date(2026, 3, 2)).is_none());
        assert!(usable(&data, &["other.svc".to_owned()], today).is_none());
    }

    #[test]
    fn a_certificate_is_renewed_under_the_same_authority() {
        let first = renew(&Data::new(), &names(), date(2026, 1, 1)).unwrap();
        let second = renew(&first, &names(), date(2026, 3, 2)).unwrap();
        assert_eq!(first[CA], second[CA]);
        assert_eq!(first[CA_KEY], second[CA_KEY]);
        assert_ne!(first[CERTIFICATE], second[CERTIFICATE]);
        assert!(usable(&second, &names(), date(2026, 4, 1)).is_some());
    }

    #[test]
    fn a_new_authority_is_trusted_beside_the_former_one() {
        let mut data = renew(&Data::new(), &names(), date(2026, 1, 1)).unwrap();
        for (year, trusted) in [(2035, 2), (2045, 2)] {
            let before = data.clone();
            data = renew(&data, &names(), date(year, 1, 1)).unwrap();
            assert_ne!(before[CA_KEY], data[CA_KEY]);
            assert_eq!(certificates(&data[CA].0), trusted);
            let former = first_certificate(text(&before, CA).unwrap()).unwrap();
            assert!(text(&data, CA).unwrap().contains(former));
        }
    }

    #[test]
    fn what_cannot_be_read_is_made_anew() {
        let today = date(2026, 1, 1);
        let mut data = renew(&Data::new(), &names(), today).unwrap();
        put(&mut data, CA_KEY, "nonsense".to_owned());
        let mended = renew(&data, &names(), today).unwrap();
        assert!(text(&mended, CA_KEY).unwrap().contains("PRIVATE KEY"));
        assert!(usable(&mended, &names(), today).is_some());
    }
}
