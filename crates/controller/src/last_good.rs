//! What was served last, in a file: so that a start does not need the API server.
//!
//! ```text
//! portcullis-last-good/1
//! SHA-256 of all that follows
//! bytes of the Model, bytes of the rest
//! the encoded Model
//! the rest: endpoints, and key pairs where that was asked for
//! ```
//!
//! Written beside its place and moved there, by a thread of its own, at most every [`PAUSE`]; read
//! once at start. Its mode lets nobody but its owner read it.

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use k8s_openapi::ByteString;
use model::{CertificateId, EndpointTable, KeyMaterial, KeyPair, Model, PrivateKey};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use translate::Translation;

use crate::latest::Latest;

const HEADER: &str = "portcullis-last-good/1";

/// The least time between two writes: endpoints change often.
const PAUSE: Duration = Duration::from_secs(5);

/// The largest file that is read.
const BYTES_MAX: u64 = 1 << 30;

/// Where what is served is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastGood {
    /// The file.
    pub path: PathBuf,
    /// Private keys are kept, too. Without, TLS serves the default certificate until Secrets can be
    /// read again.
    pub keeps_keys: bool,
}

/// What stands beside the Model.
#[derive(Default, Serialize, Deserialize)]
struct Rest {
    endpoints: EndpointTable,
    keys: Vec<Pair>,
}

#[derive(Serialize, Deserialize)]
struct Pair {
    id: CertificateId,
    chain: Vec<ByteString>,
    form: Form,
    key: ByteString,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Form {
    Pkcs8,
    Pkcs1,
    Sec1,
}

impl LastGood {
    /// Reads what was served last.
    ///
    /// # Errors
    /// When there is no file, it is no such file, is damaged, or is of another version.
    pub(crate) fn read(&self) -> io::Result<Translation> {
        let file = File::open(&self.path)?;
        let metadata = file.metadata()?;
        if metadata.len() > BYTES_MAX {
            return Err(invalid("it is too large"));
        }
        if metadata.mode() & 0o022 != 0 {
            return Err(invalid("others than its owner may write it"));
        }
        if self.keeps_keys && metadata.mode() & 0o077 != 0 {
            return Err(invalid("others than its owner may read it, and it has keys"));
        }
        // Of the file that was looked at, whatever has that name by now.
        let mut bytes = Vec::new();
        file.take(BYTES_MAX).read_to_end(&mut bytes)?;
        decode(&bytes)
    }

    fn write(&self, served: &Translation) -> io::Result<()> {
        let bytes = encode(served, self.keeps_keys);
        let name = self.path.file_name().ok_or_else(|| invalid("it is no name of a file"))?;
        let mut beside = name.to_owned();
        beside.push(".new");
        let beside = self.path.with_file_name(beside);
        // What a killed process left there may have another mode.
        match fs::remove_file(&beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        fs::rename(&beside, &self.path)?;
        // The name, too, must survive a loss of power.
        let parent = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
    }
}

fn invalid(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

fn encode(served: &Translation, keeps_keys: bool) -> Vec<u8> {
    let model = served.model.encode();
    let mut rest = Rest { endpoints: served.endpoints.clone(), keys: Vec::new() };
    if keeps_keys {
        rest.keys.extend(served.material.iter().map(|(id, pair)| Pair::of(id, pair)));
    }
    let rest = serde_json::to_vec(&rest).unwrap_or_default();
    let mut body = format!("{} {}\n", model.len(), rest.len()).into_bytes();
    body.extend_from_slice(&model);
    body.extend_from_slice(&rest);
    let mut out = format!("{HEADER}\n{}\n", digest(&body)).into_bytes();
    out.extend_from_slice(&body);
    out
}

fn decode(bytes: &[u8]) -> io::Result<Translation> {
    let damaged = || invalid("it is damaged, or cut off");
    let line = |bytes: &'_ [u8]| bytes.iter().position(|&b| b == b'\n').ok_or_else(damaged);
    let end = line(bytes)?;
    if &bytes[..end] != HEADER.as_bytes() {
        return Err(invalid("it was not written by this version of the program"));
    }
    let bytes = &bytes[end + 1..];
    let end = line(bytes)?;
    let (told, body) = (&bytes[..end], &bytes[end + 1..]);
    if told != digest(body).as_bytes() {
        return Err(damaged());
    }
    let end = line(body)?;
    let lengths = std::str::from_utf8(&body[..end]).map_err(|_| damaged())?;
    let (length, _) = lengths.split_once(' ').ok_or_else(damaged)?;
    let length: usize = length.parse().map_err(|_| damaged())?;
    let (model, rest) = body[end + 1..].split_at_checked(length).ok_or_else(damaged)?;
    let model = Model::decode(model).map_err(|why| invalid(&why))?;
    let rest: Rest = serde_json::from_slice(rest).map_err(|error| invalid(&error.to_string()))?;
    let material: KeyMaterial = rest.keys.into_iter().map(Pair::pair).collect();
    Ok(Translation::of(model, rest.endpoints, material))
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

impl Pair {
    fn of(id: &CertificateId, pair: &KeyPair) -> Self {
        let (form, key) = match &pair.key {
            PrivateKey::Pkcs8(key) => (Form::Pkcs8, key),
            PrivateKey::Pkcs1(key) => (Form::Pkcs1, key),
            PrivateKey::Sec1(key) => (Form::Sec1, key),
        };
        Self {
            id: id.clone(),
            chain: pair.chain.iter().cloned().map(ByteString).collect(),
            form,
            key: ByteString(key.to_vec()),
        }
    }

    fn pair(self) -> (CertificateId, Arc<KeyPair>) {
        let key = match self.form {
            Form::Pkcs8 => PrivateKey::Pkcs8(self.key.0.into()),
            Form::Pkcs1 => PrivateKey::Pkcs1(self.key.0.into()),
            Form::Sec1 => PrivateKey::Sec1(self.key.0.into()),
        };
        let chain = self.chain.into_iter().map(|one| one.0).collect();
        (self.id, Arc::new(KeyPair { chain, key }))
    }
}

/// The thread that writes. When it is dropped, what is served then is written.
#[derive(Debug)]
pub(crate) struct Keeper {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    pub(crate) fn start(last_good: LastGood, latest: Arc<Latest>) -> io::Result<Self> {
        let (stop, stopped) = bounded(0);
        let thread = std::thread::Builder::new()
            .name("last-good".into())
            .spawn(move || keep(&last_good, &latest, &stopped))?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic there was printed when it happened.
            let _ = thread.join();
        }
    }
}

fn keep(last_good: &LastGood, latest: &Latest, stopped: &Receiver<()>) {
    let mut written = 0;
    let mut has_failed = false;
    loop {
        let is_last = stopped.recv_timeout(PAUSE) != Err(RecvTimeoutError::Timeout);
        let (count, served) = latest.get_built();
        if let Some(served) = served.filter(|_| count != written) {
            written = count;
            match last_good.write(&served) {
                Ok(()) => has_failed = false,
                Err(error) => {
                    if !std::mem::replace(&mut has_failed, true) {
                        let path = last_good.path.display();
                        tracing::error!(%path, %error, "what is served cannot be kept there");
                    }
                    written = 0;
                }
            }
        }
        if is_last {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use model::{Endpoint, UpstreamId};

    use super::*;

    fn served() -> Translation {
        let endpoint = Endpoint {
            address: "10.0.0.1:80".parse().unwrap(),
            weight: 1,
            terminating: false,
            zone: None,
        };
        let key = KeyPair { chain: vec![vec![1, 2]], key: PrivateKey::Sec1(vec![3, 4].into()) };
        Translation::of(
            Model::default(),
            [(UpstreamId("shop/web:80".into()), vec![endpoint].into())].into(),
            [(CertificateId("ab".into()), Arc::new(key))].into(),
        )
    }

    fn file(keeps_keys: bool) -> (tempfile::TempDir, LastGood) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("last-good");
        (folder, LastGood { path, keeps_keys })
    }

    #[test]
    fn what_was_written_is_read_back_and_only_its_owner_may() {
        let (_folder, last_good) = file(true);
        for _ in 0..2 {
            last_good.write(&served()).unwrap();
        }
        let read = last_good.read().unwrap();
        assert_eq!(read.model, served().model);
        assert_eq!(read.endpoints, served().endpoints);
        assert_eq!(read.material, served().material);
        let mode = fs::metadata(&last_good.path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn keys_are_kept_only_where_asked_for() {
        let (_folder, last_good) = file(false);
        last_good.write(&served()).unwrap();
        assert!(last_good.read().unwrap().material.is_empty());
    }

    #[test]
    fn a_file_with_keys_that_others_may_read_is_not_read() {
        let (_folder, last_good) = file(true);
        last_good.write(&served()).unwrap();
        fs::set_permissions(&last_good.path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(last_good.read().unwrap_err().to_string().contains("others than its owner"));
        let without_keys = LastGood { keeps_keys: false, ..last_good.clone() };
        assert!(without_keys.read().is_ok());
        fs::set_permissions(&last_good.path, fs::Permissions::from_mode(0o620)).unwrap();
        assert!(without_keys.read().unwrap_err().to_string().contains("others than its owner"));
    }

    #[test]
    fn whatever_byte_is_wrong_or_missing_it_is_noticed() {
        let whole = encode(&served(), true);
        assert!(decode(&whole).is_ok());
        for end in 0..whole.len() {
            assert!(decode(&whole[..end]).is_err(), "cut off at {end}");
        }
        for index in 0..whole.len() {
            let mut broken = whole.clone();
            broken[index] ^= 1;
            assert!(decode(&broken).is_err(), "byte {index}");
        }
    }
}
