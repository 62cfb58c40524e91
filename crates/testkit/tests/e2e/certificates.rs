//! Secrets as the tools make them: keys of every usual form, chains, and what cannot be used.

use std::path::Path;
use std::process::Command;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use testkit::client::raw::RawClient;
use testkit::fast::Fast;
use testkit::{Authority, Gateway, GatewayOptions, gateway, manifests, wait_until};

use crate::GET;

/// Runs a line of shell in a directory.
fn shell(directory: &Path, line: &str) {
    let output = Command::new("sh").args(["-ec", line]).current_dir(directory).output().unwrap();
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Runs a line of shell in a directory, and then `lint` on a Secret of its `crt.pem` and `key.pem`;
/// what that said.
fn linted(line: &str) -> String {
    let directory = tempfile::tempdir().unwrap();
    shell(directory.path(), line);
    let manifests = directory.path().join("manifests");
    std::fs::create_dir(&manifests).unwrap();
    let text = manifests::all(&[
        manifests::ingress("app", "app.test", "app") + &manifests::tls("app.test", "app"),
        secret(directory.path()),
    ]);
    std::fs::write(manifests.join("app.yaml"), text).unwrap();
    let output = Command::new(gateway::program()).arg("lint").arg(&manifests).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

const SELF_SIGNED: &str = "openssl req -x509 -days 2 -key key.pem -out crt.pem -subj /CN=app.test \
     -addext subjectAltName=DNS:app.test";

/// A gateway for `app.test` with the `crt.pem` and `key.pem` of a directory, as `kubectl create
/// secret tls` would apply them.
fn serving(directory: &Path, app: &Fast) -> Gateway {
    GatewayOptions::new()
        .file(
            "app.yaml",
            manifests::all(&[
                manifests::service("app", &[app.address()]),
                manifests::ingress("app", "app.test", "app") + &manifests::tls("app.test", "app"),
                secret(directory),
            ]),
        )
        .start()
}

/// The Secret of them.
fn secret(directory: &Path) -> String {
    shell(directory, "base64 -w0 crt.pem > crt.b64; base64 -w0 key.pem > key.b64");
    let read = |name: &str| std::fs::read_to_string(directory.join(name)).unwrap();
    format!(
        "apiVersion: v1\nkind: Secret\ntype: kubernetes.io/tls\n\
         metadata: {{ name: app, namespace: default }}\n\
         data:\n  tls.crt: {}\n  tls.key: {}\n",
        read("crt.b64"),
        read("key.b64")
    )
}

fn shown(gateway: &Gateway) -> CertificateDer<'static> {
    let config = testkit::tls::trusting_client(&["http/1.1"]);
    let mut client = RawClient::connect_tls(gateway.https(), "app.test", &config).unwrap();
    assert_eq!(client.exchange(GET).status(), 200);
    client.certificate()
}

#[test]
fn keys_of_every_usual_form_are_served() {
    let app = Fast::start("app");
    for key in [
        "openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out key.pem",
        "openssl genrsa -traditional -out key.pem 2048",
        // Parameters stand before the key.
        "openssl ecparam -name prime256v1 -genkey -out key.pem",
        "openssl ecparam -name secp384r1 -genkey -noout -out key.pem",
        "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out key.pem",
        "openssl genpkey -algorithm ed25519 -out key.pem",
    ] {
        let directory = tempfile::tempdir().unwrap();
        shell(directory.path(), key);
        shell(directory.path(), SELF_SIGNED);
        // What people leave before and behind PEM, and line ends of another system.
        shell(
            directory.path(),
            "(echo 'Bag Attributes'; cat crt.pem; echo) | sed 's/$/\\r/' > c; mv c crt.pem",
        );
        let gateway = serving(directory.path(), &app);
        let pem = std::fs::read(directory.path().join("crt.pem")).unwrap();
        let expected = CertificateDer::from_pem_slice(&pem).unwrap();
        assert_eq!(shown(&gateway), expected, "{key}");
    }
}

#[test]
fn a_chain_is_shown_whole_so_that_its_root_alone_verifies_it() {
    let directory = tempfile::tempdir().unwrap();
    let app = Fast::start("app");
    shell(
        directory.path(),
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -keyout ca.key -out ca.pem -subj /CN=root
         openssl req -newkey rsa:2048 -nodes -keyout mid.key -out mid.csr -subj /CN=middle
         echo 'basicConstraints=critical,CA:TRUE' > mid.ext
         openssl x509 -req -days 2 -in mid.csr -CA ca.pem -CAkey ca.key -CAcreateserial \
             -extfile mid.ext -out mid.pem
         openssl req -newkey rsa:2048 -nodes -keyout key.pem -out leaf.csr -subj /CN=app.test
         echo 'subjectAltName=DNS:app.test' > leaf.ext
         openssl x509 -req -days 2 -in leaf.csr -CA mid.pem -CAkey mid.key -CAcreateserial \
             -extfile leaf.ext -out leaf.pem
         cat leaf.pem mid.pem > crt.pem",
    );
    let gateway = serving(directory.path(), &app);
    shell(
        directory.path(),
        &format!(
            "curl --silent --fail --noproxy '*' --cacert ca.pem \
             --connect-to ::{} https://app.test/",
            gateway.https()
        ),
    );
}

#[test]
fn what_is_no_pair_is_told_and_the_default_certificate_is_shown() {
    let app = Fast::start("app");
    let pair = "openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out key.pem";
    for spoil in [
        "openssl pkey -in key.pem -aes256 -passout pass:secret -out k; mv k key.pem",
        "openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out key.pem",
        "head -c 300 key.pem > k; mv k key.pem",
        "mv key.pem k; mv crt.pem key.pem; mv k crt.pem",
        "echo > crt.pem",
    ] {
        let directory = tempfile::tempdir().unwrap();
        shell(directory.path(), pair);
        shell(directory.path(), SELF_SIGNED);
        let before = std::fs::read(directory.path().join("crt.pem")).unwrap();
        let before = CertificateDer::from_pem_slice(&before).unwrap();
        shell(directory.path(), spoil);
        let gateway = serving(directory.path(), &app);
        assert_ne!(shown(&gateway), before, "{spoil}");
        wait_until(&format!("it is told ({spoil})"), || {
            let diagnostics = gateway.snapshot()["diagnostics"].clone();
            diagnostics.as_array().is_some_and(|all| {
                all.iter()
                    .any(|one| one["severity"] == "error" && one.to_string().contains("default"))
            })
        });
        assert!(!gateway.log().contains("PRIVATE KEY"), "{spoil}");
    }
}

#[test]
fn what_rustls_or_clients_refuse_is_told_with_why() {
    let signed = |digest: &str| {
        format!(
            "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -keyout ca.key -out ca.pem -subj /CN=root
             openssl req -newkey rsa:2048 -nodes -keyout key.pem -out leaf.csr -subj /CN=app.test
             echo 'subjectAltName=DNS:app.test' > leaf.ext
             openssl x509 -req -days 30 -{digest} -in leaf.csr -CA ca.pem -CAkey ca.key \
                 -CAcreateserial -extfile leaf.ext -out crt.pem"
        )
    };
    let names = "-days 30 -out crt.pem -keyout key.pem -nodes -subj /CN=app.test";
    let with_name = format!("{names} -addext subjectAltName=DNS:app.test");
    for (line, code, why) in [
        (
            format!("openssl req -x509 -newkey rsa:1024 {with_name}"),
            "error[invalid-certificate]",
            "its RSA key has 1024 bits; the least that is used is 2048",
        ),
        (
            format!(
                "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:secp256k1 {with_name}"
            ),
            "error[invalid-certificate]",
            "its key is on the curve 1.3.132.0.10",
        ),
        (
            "openssl req -new -newkey rsa:2048 -nodes -keyout key.pem -subj /CN=app.test -out csr
             openssl x509 -req -days 30 -in csr -signkey key.pem -out crt.pem"
                .to_owned(),
            "error[invalid-certificate]",
            "the certificate is not X.509 version 3",
        ),
        (
            format!(
                "openssl req -x509 -newkey rsa:2048 {with_name}; openssl genrsa -out key.pem 2048"
            ),
            "error[invalid-certificate]",
            "`tls.key` is not the key of the first certificate",
        ),
        (
            format!("openssl req -x509 -newkey rsa:2048 {names}"),
            "warning[certificate-host]",
            "a common name alone does not count",
        ),
        (signed("sha1"), "warning[certificate-signature]", "it is signed with SHA-1"),
    ] {
        let said = linted(&line);
        assert!(said.contains(code) && said.contains(why), "{line}: {said}");
    }
    let said = linted(&signed("sha256"));
    assert!(!said.contains("certificate"), "{said}");
    let expired = Authority::new().expired(&["app.test"]);
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("crt"), expired.certificate).unwrap();
    std::fs::write(home.path().join("key"), expired.key).unwrap();
    let from = home.path().display();
    let said = linted(&format!("cp {from}/crt crt.pem; cp {from}/key key.pem"));
    assert!(said.contains("warning[certificate-expired]"), "{said}");
}
