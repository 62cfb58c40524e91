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
//! once at start. Its mode lets nobody but its owner read it, and what somebody else could have
//! written is not read. What has keys is overwritten in memory.

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
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use translate::Translation;
use zeroize::{Zeroize as _, Zeroizing};

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
#[serde(deny_unknown_fields)]
struct Rest {
    endpoints: EndpointTable,
    keys: Vec<Pair>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
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
    /// When there is no file, it is no such file, is damaged, is of another version, or another
    /// user could have written it.
    pub(crate) fn read(&self) -> io::Result<Translation> {
        if fs::symlink_metadata(&self.path)?.is_symlink() {
            return Err(invalid("it is a link, which may lead anywhere"));
        }
        // And none that it becomes now; nor a pipe that nobody writes to.
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
        let file = OpenOptions::new().read(true).custom_flags(flags).open(&self.path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(invalid("it is no file"));
        }
        if metadata.len() > BYTES_MAX {
            return Err(invalid("it is too large"));
        }
        let us = rustix::process::geteuid().as_raw();
        self.trust(metadata.uid(), metadata.mode(), us).map_err(invalid)?;
        // Of the file that was looked at, whatever has that name by now.
        let length = usize::try_from(metadata.len()).unwrap_or_default();
        // One byte more, so that the end is found without growing.
        let mut bytes = Zeroizing::new(Vec::with_capacity(length + 1));
        file.take(BYTES_MAX).read_to_end(&mut bytes)?;
        decode(&bytes)
    }

    /// Whether nobody but us and root can have written it, and nobody else can read keys.
    fn trust(&self, owner: u32, mode: u32, us: u32) -> Result<(), &'static str> {
        const ROOT: u32 = 0;
        if owner != us && owner != ROOT {
            return Err("it belongs to another user");
        }
        if mode & 0o022 != 0 {
            return Err("others than its owner may write it");
        }
        if self.keeps_keys && mode & 0o077 != 0 {
            return Err("others than its owner may read it, and it has keys");
        }
        Ok(())
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
        let written = file.write_all(&bytes).and_then(|()| file.sync_all());
        if let Err(error) = written.and_then(|()| fs::rename(&beside, &self.path)) {
            // Half a file, on a disk that is full: nobody reads it, and others want the room.
            let _ = fs::remove_file(&beside);
            return Err(error);
        }
        // The name, too, must survive a loss of power.
        let parent = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
    }
}

fn invalid(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

fn encode(served: &Translation, keeps_keys: bool) -> Zeroizing<Vec<u8>> {
    let model = served.model.encode();
    let mut rest = Rest { endpoints: served.endpoints.clone(), keys: Vec::new() };
    if keeps_keys {
        rest.keys.extend(served.material.iter().map(|(id, pair)| Pair::of(id, pair)));
    }
    let rest = rest.encode();
    let lengths = format!("{} {}\n", model.len(), rest.len());
    let digest = digest(&[lengths.as_bytes(), &model, &rest]);
    let head = format!("{HEADER}\n{digest}\n{lengths}");
    let mut out = Zeroizing::new(Vec::with_capacity(head.len() + model.len() + rest.len()));
    for part in [head.as_bytes(), &model, &rest] {
        out.extend_from_slice(part);
    }
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
    if told != digest(&[body]).as_bytes() {
        return Err(damaged());
    }
    let end = line(body)?;
    let lengths = std::str::from_utf8(&body[..end]).map_err(|_| damaged())?;
    let (length, _) = lengths.split_once(' ').ok_or_else(damaged)?;
    let length: usize = length.parse().map_err(|_| damaged())?;
    let (model, rest) = body[end + 1..].split_at_checked(length).ok_or_else(damaged)?;
    let model = Model::decode(model).map_err(|why| invalid(&why))?;
    let encoded = rest;
    let rest: Rest = serde_json::from_slice(rest).map_err(|error| invalid(&error.to_string()))?;
    if *rest.encode() != *encoded {
        return Err(invalid("it has more than this version of the program knows"));
    }
    let material: KeyMaterial = rest.keys.into_iter().map(Pair::pair).collect();
    Ok(Translation::of(model, rest.endpoints, material))
}

fn digest(parts: &[&[u8]]) -> String {
    let digest = parts.iter().fold(Sha256::new(), Sha256::chain_update);
    digest.finalize().iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

impl Rest {
    fn encode(&self) -> Zeroizing<Vec<u8>> {
        // Counted first: what grows leaves copies behind.
        let mut counted = Count(0);
        let length = serde_json::to_writer(&mut counted, self).map_or(0, |()| counted.0);
        let mut bytes = Zeroizing::new(Vec::with_capacity(length));
        // Plain data has a JSON form, and a `Vec` takes every byte.
        let _ = serde_json::to_writer(&mut *bytes, self);
        bytes
    }
}

/// Counts what is written.
struct Count(usize);

impl io::Write for Count {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        self.key.0.zeroize();
    }
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

    fn pair(mut self) -> (CertificateId, Arc<KeyPair>) {
        let key = std::mem::take(&mut self.key.0).into();
        let key = match self.form {
            Form::Pkcs8 => PrivateKey::Pkcs8(key),
            Form::Pkcs1 => PrivateKey::Pkcs1(key),
            Form::Sec1 => PrivateKey::Sec1(key),
        };
        let chain = std::mem::take(&mut self.chain).into_iter().map(|one| one.0).collect();
        (self.id.clone(), Arc::new(KeyPair { chain, key }))
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
    fn what_cannot_be_put_in_its_place_leaves_nothing_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let last_good = LastGood { path: folder.path().join("last"), keeps_keys: false };
        fs::create_dir(&last_good.path).unwrap();
        last_good.write(&served()).unwrap_err();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
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
    fn a_file_that_another_user_could_have_written_is_not_read() {
        let (_folder, last_good) = file(true);
        let trust = |owner, mode, us| last_good.trust(owner, mode, us).is_ok();
        assert!(trust(7, 0o600, 7));
        assert!(trust(0, 0o400, 7));
        assert!(!trust(8, 0o600, 7));
        assert!(!trust(8, 0o600, 0), "root is not who wrote it");
        for mode in [0o620, 0o602, 0o640, 0o604] {
            assert!(!trust(7, mode, 7), "{mode:o}");
        }
    }

    #[test]
    fn what_is_no_file_of_its_own_is_not_read() {
        let (folder, last_good) = file(false);
        last_good.write(&served()).unwrap();
        let why = |name: &str| {
            let path = folder.path().join(name);
            LastGood { path, keeps_keys: false }.read().unwrap_err().to_string()
        };
        std::os::unix::fs::symlink(&last_good.path, folder.path().join("link")).unwrap();
        assert!(why("link").contains("link"));
        fs::create_dir(folder.path().join("directory")).unwrap();
        assert!(why("directory").contains("no file"));
        let (mode, kind) = (rustix::fs::Mode::RUSR, rustix::fs::FileType::Fifo);
        rustix::fs::mknodat(rustix::fs::CWD, folder.path().join("pipe"), kind, mode, 0).unwrap();
        assert!(why("pipe").contains("no file"));
        last_good.read().unwrap();
    }

    /// A whole file of these parts, as a later version might write it.
    fn of_parts(header: &str, model: &[u8], rest: &str) -> Vec<u8> {
        let mut body = format!("{} {}\n", model.len(), rest.len()).into_bytes();
        body.extend_from_slice(model);
        body.extend_from_slice(rest.as_bytes());
        let mut file = format!("{header}\n{}\n", digest(&[&body])).into_bytes();
        file.extend_from_slice(&body);
        file
    }

    #[test]
    fn a_file_of_another_version_is_refused_by_what_it_has_and_not_read_in_part() {
        let model = Model::default().encode();
        let rest = r#"{"endpoints":{},"keys":[]}"#;
        let why = |file: Vec<u8>| decode(&file).unwrap_err().to_string();
        assert!(decode(&of_parts(HEADER, &model, rest)).is_ok());
        let later = of_parts("portcullis-last-good/2", &model, rest);
        assert!(why(later).contains("not written by this version"));
        let text = String::from_utf8(model.clone()).unwrap();
        let (version, body) = text.split_once('\n').unwrap();
        let later = format!("{version}0\n{body}");
        assert!(why(of_parts(HEADER, later.as_bytes(), rest)).contains("encoding version"));
        // Something that restricts access, say, and that this version would not enforce.
        let more = format!("{version}\n{}", body.replacen('{', r#"{"mutual_tls":{},"#, 1));
        assert!(why(of_parts(HEADER, more.as_bytes(), rest)).contains("more than this version"));
        let more = rest.replacen('{', r#"{"quotas":{},"#, 1);
        assert!(why(of_parts(HEADER, &model, &more)).contains("quotas"));
        let more = r#"{"endpoints":{"shop/web:80":[{"address":"10.0.0.1:80","weight":1,
            "terminating":false,"zone":null,"quota":1}]},"keys":[]}"#;
        assert!(why(of_parts(HEADER, &model, more)).contains("more than this version"));
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
