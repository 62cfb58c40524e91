//! The texts that settings are written in, and what they mean: durations, sizes, addresses, names.
//!
//! Flags, environment and file all arrive as text and are read here, so that a value means the same
//! wherever it stands. An error is half a sentence that follows the value: "is not a duration".

use std::net::SocketAddr;
use std::num::{NonZeroU16, NonZeroU32, NonZeroUsize};
use std::time::Duration;

use controller::Address;
use ipnet::IpNet;
use translate::{EndpointOverride, HostOwner, NamedService};

/// A type that a setting's text can be read into.
pub trait Value: Sized {
    /// The words allowed, where they are few.
    const CHOICES: &'static [&'static str] = &[];
    /// Whether the flag may stand without a value, meaning `true`.
    const SWITCH: bool = false;

    /// Reads a text; the error says what is wrong with it and what would be right.
    fn parse(text: &str) -> Result<Self, String>;
}

/// A size in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

/// A value, or `auto`: found out at start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Auto<T> {
    /// Found out at start.
    Auto,
    /// As set.
    Set(T),
}

/// A value, or `off`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OrOff<T> {
    /// Not limited, or not done.
    Off,
    /// At this value.
    At(T),
}

impl<T: Clone> Auto<T> {
    /// The value that was set.
    pub fn set(&self) -> Option<T> {
        match self {
            Self::Auto => None,
            Self::Set(value) => Some(value.clone()),
        }
    }
}

impl<T: Clone> OrOff<T> {
    /// The value, unless off.
    pub fn at(&self) -> Option<T> {
        match self {
            Self::Off => None,
            Self::At(value) => Some(value.clone()),
        }
    }
}

impl<T: Value> Value for Auto<T> {
    const SWITCH: bool = T::SWITCH;

    fn parse(text: &str) -> Result<Self, String> {
        if text == "auto" { Ok(Self::Auto) } else { T::parse(text).map(Self::Set) }
    }
}

impl<T: Value> Value for OrOff<T> {
    fn parse(text: &str) -> Result<Self, String> {
        if text == "off" { Ok(Self::Off) } else { T::parse(text).map(Self::At) }
    }
}

impl Value for String {
    fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() { Err("is empty".into()) } else { Ok(text.to_owned()) }
    }
}

impl Value for bool {
    const CHOICES: &'static [&'static str] = &["true", "false"];
    const SWITCH: bool = true;

    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err("is neither true nor false".into()),
        }
    }
}

macro_rules! whole_numbers {
    ($($type:ty, $least:literal);*) => {$(
        impl Value for $type {
            fn parse(text: &str) -> Result<Self, String> {
                text.parse().map_err(|_| {
                    concat!("is not a whole number of at least ", $least).to_owned()
                })
            }
        }
    )*};
}

whole_numbers! { u32, "0"; NonZeroU32, "1"; NonZeroUsize, "1" }

impl Value for NonZeroU16 {
    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| "is not a port: write a number from 1 to 65535".to_owned())
    }
}

impl Value for SocketAddr {
    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| {
            "is not an address and port: write one such as 127.0.0.1:8080, 0.0.0.0:80 or [::1]:8080"
                .to_owned()
        })
    }
}

impl Value for IpNet {
    fn parse(text: &str) -> Result<Self, String> {
        text.parse::<IpNet>()
            .or_else(|_| text.parse::<std::net::IpAddr>().map(IpNet::from))
            .map(|network| network.trunc())
            .map_err(|_| "is not a network: write one such as 10.0.0.0/8 or fd00::/8".to_owned())
    }
}

impl Value for Duration {
    fn parse(text: &str) -> Result<Self, String> {
        parse_duration(text).ok_or_else(|| {
            "is not a duration: write numbers with units, such as 250ms, 10s, 5m or 1h30m"
                .to_owned()
        })
    }
}

impl Value for Size {
    fn parse(text: &str) -> Result<Self, String> {
        parse_size(text).map(Self).ok_or_else(|| {
            "is not a size: write a whole number of bytes, or one with KiB, MiB or GiB".to_owned()
        })
    }
}

/// `1h30m`, `250ms`, `0`: whole numbers with units, largest first or not; no sign, no fraction.
fn parse_duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut total: u64 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, after) = rest.split_at(digits);
        let unit = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(unit);
        let milliseconds: u64 = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return None,
        };
        total = total.checked_add(number.parse::<u64>().ok()?.checked_mul(milliseconds)?)?;
        rest = after;
    }
    // At most a year, which keeps every sum of instants far from overflow.
    (!text.is_empty() && total <= 365 * 24 * 3_600_000).then(|| Duration::from_millis(total))
}

/// `65536`, `64KiB`, `64k` and the like; powers of 1024 throughout.
fn parse_size(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit.trim_start() {
        "" | "B" => 1,
        "KiB" | "Ki" | "K" | "k" => 1 << 10,
        "MiB" | "Mi" | "M" | "m" => 1 << 20,
        "GiB" | "Gi" | "G" | "g" => 1 << 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

/// An HTTP path of its own, such as `/healthz`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpPath(pub String);

impl Value for HttpPath {
    fn parse(text: &str) -> Result<Self, String> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"/-._~".contains(&b);
        if text.starts_with('/') && text.bytes().all(plain) {
            Ok(Self(text.to_owned()))
        } else {
            Err("is not a plain path: begin with `/`; use letters, digits and `-._~/`".into())
        }
    }
}

/// `NAMESPACE/NAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamespacedName {
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
}

impl Value for NamespacedName {
    fn parse(text: &str) -> Result<Self, String> {
        match text.split_once('/') {
            Some((namespace, name)) if is_name(namespace) && is_name(name) => {
                Ok(Self { namespace: namespace.to_owned(), name: name.to_owned() })
            }
            _ => Err("is not NAMESPACE/NAME".into()),
        }
    }
}

impl Value for Address {
    fn parse(text: &str) -> Result<Self, String> {
        Self::parse(text)
    }
}

impl Value for EndpointOverride {
    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| {
            "is not NAMESPACE/SERVICE[:PORT]=ADDRESS, such as shop/web=127.0.0.1:3000 or \
             *=127.0.0.1:3000"
                .to_owned()
        })
    }
}

impl Value for HostOwner {
    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| {
            "is not NAMESPACE=HOST, such as shop=shop.example.com, shop=*.example.com or shop=*"
                .to_owned()
        })
    }
}

impl Value for NamedService {
    fn parse(text: &str) -> Result<Self, String> {
        text.parse::<Self>()
            .ok()
            .filter(|service| is_name(&service.namespace) && is_name(&service.name))
            .ok_or_else(|| "is not NAMESPACE/NAME[:PORT], such as ops/not-found:80".to_owned())
    }
}

/// What becomes of objects with refused annotations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RefusedAnnotations {
    /// Their routes answer 503.
    Deny,
    /// They are served without the annotations of these names.
    Ignore(Vec<String>),
}

impl Value for RefusedAnnotations {
    fn parse(text: &str) -> Result<Self, String> {
        let mut words = text.split([' ', ',']).filter(|word| !word.is_empty());
        match (words.next(), words.clone().next()) {
            (Some("deny"), None) => return Ok(Self::Deny),
            (Some("ignore"), None) => return Err("names none: write `ignore NAME...`".into()),
            (Some("ignore"), Some(_)) => {}
            _ => return Err("is neither `deny` nor `ignore NAME...`".into()),
        }
        let mut names = Vec::new();
        for name in words {
            translate::may_ignore(name).map_err(|why| format!("cannot hold: `{name}` {why}"))?;
            names.push(name.to_owned());
        }
        Ok(Self::Ignore(names))
    }
}

pub(super) fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b))
}

macro_rules! choices {
    ($(#[$doc:meta])* $name:ident {
        $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)*
    }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)*
        }

        impl Value for $name {
            const CHOICES: &'static [&'static str] = &[$($text),*];

            fn parse(text: &str) -> Result<Self, String> {
                match text {
                    $($text => Ok(Self::$variant),)*
                    _ => Err(format!("is not one of {}", Self::CHOICES.join(", "))),
                }
            }
        }
    };
}

choices! {
    /// The form of the access log.
    AccessLog {
        /// None is written.
        Off = "off",
        /// One line of words for people.
        Text = "text",
        /// One JSON object a line.
        Json = "json",
    }
}

choices! {
    /// Which Secrets are read from an API server.
    Secrets {
        /// Those that an Ingress or a setting names, one by one.
        Referenced = "referenced",
        /// Every Secret of type `kubernetes.io/tls`, and others as they are named.
        AllTls = "all-tls",
    }
}

choices! {
    /// How much the process log tells.
    LogLevel {
        /// Errors alone.
        Error = "error",
        /// And warnings.
        Warn = "warn",
        /// And what happens rarely.
        Info = "info",
        /// And what happens often.
        Debug = "debug",
        /// Everything.
        Trace = "trace",
    }
}

choices! {
    /// The form of the process log, and of data that commands print.
    Format {
        /// For people.
        Text = "text",
        /// For programs.
        Json = "json",
    }
}

choices! {
    /// Whose reading of Ingress objects applies.
    Dialect {
        /// By class: `nginx` for the classes of ingress-nginx, `kubernetes` for all others.
        Auto = "auto",
        /// The Kubernetes documentation's.
        Kubernetes = "kubernetes",
        /// That of ingress-nginx.
        Nginx = "nginx",
    }
}

choices! {
    /// Whether hosts belong to namespaces.
    HostOwnership {
        /// Ingresses of all namespaces may name the same host.
        Off = "off",
        /// The namespace of the oldest Ingress that names a host has it.
        FirstNamespace = "first-namespace",
        /// The namespaces whose list has a host have it.
        AllowList = "allow-list",
    }
}

choices! {
    /// Which addresses endpoints may have.
    EndpointAddresses {
        /// Not this machine, its link, the metadata of a cloud, nor our own listeners.
        Routable = "routable",
        /// Whatever can be connected to.
        Any = "any",
    }
}

choices! {
    /// Which addresses a Service of type `ExternalName` may lead to.
    ExternalNames {
        /// None: its routes answer 503.
        Off = "off",
        /// Public ones: not loopback, link-local, unspecified or multicast, and not our own.
        Public = "public",
        /// Any.
        Any = "any",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_numbers_with_units() {
        assert_eq!(Duration::parse("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(Duration::parse("1h30m"), Ok(Duration::from_mins(90)));
        assert_eq!(Duration::parse("0"), Ok(Duration::ZERO));
        for wrong in ["", "10", "s", "1.5s", "-1s", "10 s", "10d", "99999999999999999999s"] {
            assert!(Duration::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn sizes_are_powers_of_1024() {
        assert_eq!(Size::parse("32KiB"), Ok(Size(32_768)));
        assert_eq!(Size::parse("1m"), Ok(Size(1_048_576)));
        assert_eq!(Size::parse("512"), Ok(Size(512)));
        for wrong in ["", "KiB", "1.5MiB", "-1", "1TB", "99999999999GiB"] {
            assert!(Size::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_endpoint_names_a_service_or_all() {
        for right in ["shop/web:http=127.0.0.1:3000", "shop/web=127.0.0.1:1", "*=[::1]:3000"] {
            assert_eq!(EndpointOverride::parse(right).map(|e| e.to_string()), Ok(right.to_owned()));
        }
        for wrong in ["web=127.0.0.1:3000", "a/b", "a/b=localhost:1", "a/b:=127.0.0.1:1"] {
            assert!(EndpointOverride::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_address_alone_is_a_network_of_one() {
        assert_eq!(IpNet::parse("10.1.2.3/8").map(|n| n.to_string()), Ok("10.0.0.0/8".into()));
        assert_eq!(IpNet::parse("::1").map(|n| n.to_string()), Ok("::1/128".into()));
        assert!(IpNet::parse("10.0.0.0/33").is_err());
    }

    #[test]
    fn auto_and_off_are_words_beside_values() {
        assert_eq!(Auto::<NonZeroUsize>::parse("auto"), Ok(Auto::Auto));
        assert_eq!(
            Auto::<NonZeroUsize>::parse("2").map(|a| a.set().map(NonZeroUsize::get)),
            Ok(Some(2))
        );
        assert_eq!(OrOff::<Size>::parse("off"), Ok(OrOff::Off));
        assert!(OrOff::<Size>::parse("auto").is_err());
    }
}
