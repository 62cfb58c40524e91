//! Ends the programs of a test and removes their data when the test ends, however it does.
//!
//! A small shell waits for the end of its input. The other end is held by the test's process alone,
//! so it ends with it, also when that was killed; and the shell is in a group of its own, so that a
//! key pressed at the terminal does not end it first. It kills what has a `.pid` file.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Waits, kills, removes.
const SCRIPT: &str = "trap '' HUP INT TERM; cat >/dev/null; \
     for file in \"$0\"/*.pid; do [ -e \"$file\" ] && kill -9 \"$(cat \"$file\")\"; done; \
     rm -rf \"$0\"";

/// A directory and the shell that removes it.
pub(super) struct Keeper {
    directory: PathBuf,
    shell: Child,
}

impl Keeper {
    pub(super) fn start() -> Self {
        let directory = tempfile::Builder::new().prefix("control-plane-").tempdir();
        let directory = directory.expect("a temporary directory").keep();
        let shell = Command::new("sh")
            .args(["-c", SCRIPT])
            .arg(&directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("a shell");
        Self { directory, shell }
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wait_until;

    #[test]
    fn what_was_started_ends_with_its_keeper_and_leaves_nothing() {
        let keeper = Keeper::start();
        let directory = keeper.directory().to_owned();
        let mut child = Command::new("sleep").arg("600").spawn().unwrap();
        std::fs::write(directory.join("sleep.pid"), child.id().to_string()).unwrap();
        std::fs::create_dir(directory.join("data")).unwrap();
        drop(keeper);
        wait_until("the child is killed", || child.try_wait().unwrap().is_some());
        assert!(!directory.exists());
    }
}
