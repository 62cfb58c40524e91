//! The table of diagnostic codes: one row each. An id never changes its meaning.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Severity;

/// Whether a diagnostic concerns the object alone, or its relation to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Locality {
    /// The object itself is wrong, whatever else exists.
    Object,
    /// It depends on other objects, which may come later.
    Reference,
}

/// What is known about a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodeInfo {
    /// The kebab-case id.
    pub id: &'static str,
    /// Default severity.
    pub severity: Severity,
    /// Object or reference.
    pub locality: Locality,
    /// Reason of the Kubernetes Event, in CamelCase.
    pub reason: &'static str,
    /// What to do about it.
    pub remedy: &'static str,
}

macro_rules! codes {
    ($($variant:ident $id:literal $severity:ident $locality:ident $reason:literal $remedy:literal;)*) => {
        /// What a diagnostic is about.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {
            $(#[doc = concat!("The code `", $id, "`.")] $variant,)*
        }

        /// All codes, in the order of the table.
        pub const CODES: &[Code] = &[$(Code::$variant),*];

        impl Code {
            /// The row of this code.
            #[must_use]
            pub const fn info(self) -> &'static CodeInfo {
                match self {
                    $(Self::$variant => &CodeInfo {
                        id: $id,
                        severity: Severity::$severity,
                        locality: Locality::$locality,
                        reason: $reason,
                        remedy: $remedy,
                    },)*
                }
            }
        }
    };
}

codes! {
    // Input
    UnreadableManifest "unreadable-manifest" Error Object "UnreadableManifest" "mend the syntax; until then the file's last good objects keep serving";
    InvalidObject "invalid-object" Error Object "InvalidObject" "mend the named field; the API server would refuse this object";
    UnknownField "unknown-field" Warning Object "UnknownField" "remove the field or mend its name";
    DuplicateObject "duplicate-object" Error Reference "DuplicateObject" "keep one of the two objects; the first by path and position is used";
    LegacyApiVersion "legacy-api-version" Warning Object "LegacyApiVersion" "write it as networking.k8s.io/v1; API servers since 1.22 refuse this version";
    LegacyFieldName "legacy-field-name" Error Object "LegacyFieldName" "use the v1 field: backend.service.name, backend.service.port, defaultBackend, pathType";
    ReadForbidden "read-forbidden" Error Reference "ReadForbidden" "give the service account the right to list and watch it; until then what was read last keeps serving";
    UnknownKind "unknown-kind" Info Object "UnknownKind" "nothing; this kind is not read";

    // Class
    ClassMismatch "class-mismatch" Warning Object "ClassMismatch" "let the annotation and spec.ingressClassName name the same class, or drop the annotation";
    ClassNotFound "class-not-found" Info Reference "ClassNotFound" "create the IngressClass, or name one that exists";
    ClassOfOther "class-of-other" Info Reference "ClassOfOther" "nothing; another controller serves it";
    NoClass "no-class" Info Reference "NoClass" "set spec.ingressClassName, mark a class as default, or start with --watch-ingress-without-class";
    EveryClassServed "every-class-served" Info Reference "EveryClassServed" "nothing; add an IngressClass of our controller or --ingress-class to choose";
    DuplicateDefaultClass "duplicate-default-class" Warning Reference "DuplicateDefaultClass" "mark one IngressClass as default; the newest is used";
    ClassParametersNotFound "class-parameters-not-found" Error Reference "ParametersNotFound" "create the object that spec.parameters names, or take spec.parameters off the class";
    InvalidClassParameter "invalid-class-parameter" Error Reference "InvalidParameters" "mend what spec.parameters names: a ConfigMap with scope Namespace, and the keys of the guide";

    // Rules
    InvalidHost "invalid-host" Error Object "InvalidHost" "write a lower-case DNS name, or `*.` and a DNS name";
    InvalidPath "invalid-path" Error Object "InvalidPath" "begin the path with `/`, without `//`, dot segments or `%2F` in Exact and Prefix paths";
    InvalidPathType "invalid-path-type" Error Object "InvalidPathType" "use Exact, Prefix or ImplementationSpecific";
    InvalidRegex "invalid-regex" Error Object "InvalidRegex" "mend the pattern; it is compared by a linear-time engine";
    UnsupportedRegex "unsupported-regex" Error Object "UnsupportedRegex" "write the pattern without look-around and back-references";
    RegexWithoutAnnotation "regex-without-annotation" Warning Object "RegexWithoutAnnotation" "set use-regex to \"true\", or write the path literally";
    RegexScope "regex-scope" Info Reference "RegexScope" "nothing; the whole host is compared by regular expressions, as ingress-nginx does";
    RouteConflict "route-conflict" Warning Reference "RouteConflict" "remove one of the two; the older object keeps the path";
    DefaultBackendConflict "default-backend-conflict" Warning Reference "DefaultBackendConflict" "remove one of the two; the older object is the default";
    HostNotOwned "host-not-owned" Error Reference "HostNotOwned" "name a host of your namespace; the operator gives hosts to namespaces with --host-owner and, where lists are kept, by the annotation portcullis.io/allowed-hosts of the Namespace";
    EmptyIngress "empty-ingress" Error Object "EmptyIngress" "give it rules or a defaultBackend";

    // Backends
    InvalidBackend "invalid-backend" Error Object "InvalidBackend" "name a service with a port name or number";
    UnreadableObject "unreadable-object" Error Reference "UnreadableObject" "mend the field of the object that is named; the API server would refuse it";
    ServiceNotFound "service-not-found" Error Reference "ServiceNotFound" "create the Service, or mend the name";
    PortNotFound "port-not-found" Error Reference "PortNotFound" "use a port number or name of the Service's spec.ports";
    PortNotTcp "port-not-tcp" Error Reference "PortNotTcp" "name a TCP port";
    NoEndpoints "no-endpoints" Warning Reference "NoEndpoints" "add ready endpoints, or start with --endpoint NAMESPACE/SERVICE[:PORT]=ADDR";
    UnsupportedBackend "unsupported-backend" Error Object "UnsupportedBackend" "use a service backend; no resource kind is supported";
    ExternalNameForbidden "external-name-forbidden" Error Reference "ExternalNameForbidden" "allow it with --external-name, or use a Service with endpoints";
    InvalidExternalName "invalid-external-name" Error Reference "InvalidExternalName" "name a DNS name, not an address";
    UnresolvedExternalName "unresolved-external-name" Warning Reference "UnresolvedExternalName" "mend the name or the name servers; the last known addresses are used while asking fails";
    InvalidEndpoint "invalid-endpoint" Warning Reference "InvalidEndpoint" "give the endpoint a usable IP address and port";
    EndpointAddressRefused "endpoint-address-refused" Error Reference "EndpointAddressRefused" "give the Service endpoints of its own; --endpoint-addresses any lets them have any address";
    UnverifiedUpstreamTls "unverified-upstream-tls" Warning Reference "UnverifiedUpstreamTls" "nothing can be verified without a name and a trust bundle; traffic is encrypted only";
    TargetPortMatched "target-port-matched" Info Reference "TargetPortMatched" "name the Service's port; a targetPort works with the nginx dialect alone";
    UnknownAppProtocol "unknown-app-protocol" Info Reference "UnknownAppProtocol" "nothing; HTTP/1.1 is spoken";
    InternalTrafficPolicy "internal-traffic-policy" Info Reference "InternalTrafficPolicy" "nothing; requests go to endpoints of all nodes";
    AffinityTimeout "affinity-timeout" Info Reference "AffinityTimeout" "nothing; affinity is a hash and does not expire";

    // TLS
    SecretNotFound "secret-not-found" Error Reference "SecretNotFound" "create the Secret in the Ingress's namespace";
    InvalidCertificate "invalid-certificate" Error Reference "InvalidCertificate" "give tls.crt a PEM chain, leaf first, and tls.key its key";
    CertificateKeptFromBefore "certificate-kept" Warning Reference "CertificateKept" "mend the Secret; its last valid certificate keeps serving";
    CertificateDoesNotCoverHost "certificate-host" Warning Reference "CertificateHost" "issue a certificate whose subject alternative names cover the host";
    CertificateExpired "certificate-expired" Warning Reference "CertificateExpired" "renew the certificate; it is served as it is";
    CertificateExpiresSoon "certificate-expires-soon" Warning Reference "CertificateExpiresSoon" "renew the certificate";
    CertificateWeakSignature "certificate-signature" Warning Reference "CertificateSignature" "issue the certificate anew with SHA-256 or better; it is served as it is";
    TlsConflict "tls-conflict" Warning Reference "TlsConflict" "remove one of the two; the older object's certificate is served";
    TlsWithoutSecret "tls-without-secret" Info Object "TlsWithoutSecret" "name a Secret, or leave it: the default certificate is served";
    InvalidTlsHost "invalid-tls-host" Error Object "InvalidTlsHost" "write a lower-case DNS name, or `*.` and a DNS name";

    // Annotations
    UnknownAnnotation "unknown-annotation" Warning Object "UnknownAnnotation" "mend the name or remove it";
    UnsupportedAnnotation "unsupported-annotation" Warning Object "UnsupportedAnnotation" "remove it, or wait for a release that supports it";
    UnsupportedAccessControl "unsupported-access-control" Error Object "UnsupportedAccessControl" "remove it only if the routes may be open; until it is supported they answer 503";
    RefusedSnippet "refused-snippet" Error Object "RefusedSnippet" "write what the snippet does as annotations; its routes answer 503";
    IgnoredAnnotation "ignored-annotation" Warning Object "IgnoredAnnotation" "remove it; the operator lets it be ignored, and nothing is done in its stead";
    InvalidAnnotationValue "invalid-annotation-value" Error Object "InvalidAnnotationValue" "mend the value";
    AnnotationWithoutEffect "annotation-without-effect" Info Object "AnnotationWithoutEffect" "nothing; it is accepted and has no effect here";
    RewriteWithoutCapture "rewrite-without-capture" Warning Object "RewriteWithoutCapture" "give the path a capture group, or the target no `$n`";

    // Listeners
    ListenerNotBound "listener-not-bound" Error Reference "ListenerNotBound" "free the address, or choose another with --http, --https or --admin";
}

impl Code {
    /// The kebab-case id.
    #[must_use]
    pub const fn id(self) -> &'static str {
        self.info().id
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id())
    }
}

impl Serialize for Code {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.id())
    }
}

impl<'de> Deserialize<'de> for Code {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let id = String::deserialize(deserializer)?;
        CODES
            .iter()
            .copied()
            .find(|code| code.id() == id)
            .ok_or_else(|| serde::de::Error::custom(format!("unknown code {id}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_kebab_case_and_told_once() {
        let mut ids: Vec<&str> = CODES.iter().map(|code| code.id()).collect();
        assert!(ids.iter().all(|id| id.chars().all(|c| c.is_ascii_lowercase() || c == '-')));
        ids.sort_unstable();
        let count = ids.len();
        ids.dedup();
        assert_eq!(ids.len(), count);
    }
}
