//! The files of the image, laid out as they will be found in it.
//!
//! Two directories, two layers: `base` changes with Debian, `program` with every build.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::packages::Package;
use super::quietly;
use crate::command::root;

/// Where the packages keep their libraries, and where the loader looks for them.
const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";

/// The loader, under the name that every program for this machine asks for.
const LOADER: &str = "lib64/ld-linux-x86-64.so.2";

/// Lets the program have the capability for ports below 1024 where its pod is given it, though its
/// user is not root (capabilities(7), "File capabilities"). Permitted and not effective: a pod that
/// is not given it could not even start the program. Version 2, little endian: the flags, permitted
/// and inheritable of the lower half, the same of the upper half.
const MAY_BIND_LOW_PORTS: [u8; 20] = [0, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// The user that the image runs as. It owns nothing.
const USER: u32 = 65532;

/// The tree, while it grows.
pub(super) struct Tree {
    directory: PathBuf,
}

impl Tree {
    /// Begins anew in a directory.
    pub(super) fn begin(directory: &Path) -> Result<Self, String> {
        if directory.exists() {
            fs::remove_dir_all(directory).map_err(at(directory))?;
        }
        fs::create_dir_all(directory).map_err(at(directory))?;
        Ok(Self { directory: directory.to_path_buf() })
    }

    /// The context of the build.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Lays the libraries that the program needs, the authorities' roots, and the names of users.
    pub(super) fn base(&self, packages: &[Package], program: &Path) -> Result<(), String> {
        let base = self.directory.join("base");
        let of = |name: &str| packages.iter().find(|package| package.name == name);
        let (Some(libc), Some(authorities)) = (of("libc6"), of("ca-certificates")) else {
            return Err(String::from("the C library and the authorities are not among the pins"));
        };
        for library in needed(libc, packages, program)? {
            let name = library.file_name().unwrap_or_default();
            put(&base.join(LIBRARIES).join(name), &read(&library)?, 0o644)?;
        }
        let loader = libc.root.join(LIBRARIES).join("ld-linux-x86-64.so.2");
        put(&base.join(LOADER), &read(&loader)?, 0o755)?;
        put(&base.join("etc/ssl/certs/ca-certificates.crt"), &bundle(&authorities.root)?, 0o644)?;
        let passwd = format!(
            "root:x:0:0:root:/:/sbin/nologin\nportcullis:x:{USER}:{USER}::/:/sbin/nologin\n"
        );
        put(&base.join("etc/passwd"), passwd.as_bytes(), 0o644)?;
        let group = format!("root:x:0:\nportcullis:x:{USER}:\n");
        put(&base.join("etc/group"), group.as_bytes(), 0o644)?;
        put(&base.join("etc/nsswitch.conf"), b"hosts: files dns\n", 0o644)?;
        for package in packages {
            let copyright = Path::new("usr/share/doc").join(package.name).join("copyright");
            let text = package.root.join(&copyright);
            // Of two packages from one source, one points at the other.
            if text.exists() {
                put(&base.join(&copyright), &read(&text)?, 0o644)?;
            }
        }
        // The demonstration writes its manifests there.
        let temporary = base.join("tmp");
        fs::create_dir_all(&temporary).map_err(at(&temporary))?;
        fs::set_permissions(&temporary, fs::Permissions::from_mode(0o1777)).map_err(at(&temporary))
    }

    /// Lays the program, without its debug information, which goes to `debug`. The answer is the
    /// program as it is in the image.
    pub(super) fn program(&self, program: &Path, debug: &Path) -> Result<Vec<u8>, String> {
        let place = self.directory.join("program/usr/bin/portcullis");
        put(&place, b"", 0o755)?;
        quietly(Command::new("objcopy").arg("--only-keep-debug").arg(program).arg(debug))?;
        quietly(Command::new("strip").arg("-o").arg(&place).arg(program))?;
        fs::set_permissions(&place, fs::Permissions::from_mode(0o755)).map_err(at(&place))?;
        let flags = rustix::fs::XattrFlags::empty();
        rustix::fs::setxattr(&place, "security.capability", &MAY_BIND_LOW_PORTS, flags)
            .map_err(|error| format!("{}: a file capability: {error}", place.display()))?;
        let license = read(&root().join("LICENSE"))?;
        put(&self.documents().join("LICENSE"), &license, 0o644)?;
        read(&place)
    }

    /// Lays the list of what is in the image.
    pub(super) fn bill(&self, bill: &[u8]) -> Result<(), String> {
        put(&self.documents().join("sbom.cdx.json"), bill, 0o644)
    }

    fn documents(&self) -> PathBuf {
        self.directory.join("program/usr/share/doc/portcullis")
    }

    /// What all files take.
    pub(super) fn bytes(&self) -> Result<u64, String> {
        bytes(&self.directory)
    }
}

fn bytes(directory: &Path) -> Result<u64, String> {
    let mut sum = 0;
    for entry in fs::read_dir(directory).map_err(at(directory))? {
        let path = entry.map_err(at(directory))?.path();
        let metadata = path.symlink_metadata().map_err(at(&path))?;
        sum += if metadata.is_dir() { bytes(&path)? } else { metadata.len() };
    }
    Ok(sum)
}

/// The libraries that the loader of the image finds for the program, the loader excepted: asking it
/// is the proof that nothing is missing and that no version is too old.
fn needed(libc: &Package, packages: &[Package], program: &Path) -> Result<Vec<PathBuf>, String> {
    let directories: Vec<String> =
        packages.iter().map(|package| package.root.join(LIBRARIES).display().to_string()).collect();
    let loader = libc.root.join(LIBRARIES).join("ld-linux-x86-64.so.2");
    let mut list = Command::new(loader);
    list.arg("--library-path").arg(directories.join(":")).arg("--list").arg(program);
    let text = String::from_utf8_lossy(&quietly(&mut list)?).into_owned();
    let found = libraries(&text);
    let strangers: Vec<_> = found
        .iter()
        .filter(|path| !packages.iter().any(|package| path.starts_with(&package.root)))
        .collect();
    if !strangers.is_empty() {
        return Err(format!("libraries that are in none of the packages: {strangers:?}"));
    }
    Ok(found)
}

/// The paths in what a loader lists.
fn libraries(text: &str) -> Vec<PathBuf> {
    text.lines()
        .filter_map(|line| line.split_once(" => "))
        .map(|(_, rest)| rest.rsplit_once(" (").map_or(rest, |(path, _)| path).trim())
        .map(PathBuf::from)
        .filter(|path| !path.to_string_lossy().contains("/ld-linux"))
        .collect()
}

/// All roots of the package in one file, in order of their names.
fn bundle(authorities: &Path) -> Result<Vec<u8>, String> {
    let directory = authorities.join("usr/share/ca-certificates/mozilla");
    let mut paths: Vec<_> = fs::read_dir(&directory)
        .map_err(at(&directory))?
        .flatten()
        .map(|entry| entry.path())
        .collect();
    paths.sort();
    let mut all = Vec::new();
    for path in &paths {
        all.extend(read(path)?);
        if all.last() != Some(&b'\n') {
            all.push(b'\n');
        }
    }
    Ok(all)
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(at(path))
}

fn put(path: &Path, bytes: &[u8], mode: u32) -> Result<(), String> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(at(parent))?;
    }
    fs::write(path, bytes).map_err(at(path))?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(at(path))
}

fn at(path: &Path) -> impl Fn(std::io::Error) -> String {
    move |error| format!("{}: {error}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_what_the_loader_found_without_itself() {
        let text = "\tlinux-vdso.so.1 (0x00007ffd)\n\
                    \tlibm.so.6 => /p/libm.so.6 (0x00007f01)\n\
                    \t/lib64/ld-linux-x86-64.so.2 => /p/ld-linux-x86-64.so.2 (0x00007f02)\n\
                    \tlibx.so.1 => not found\n";
        assert_eq!(libraries(text), [PathBuf::from("/p/libm.so.6"), PathBuf::from("not found")]);
    }
}
