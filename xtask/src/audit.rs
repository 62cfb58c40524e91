//! `cargo xtask audit PATH`: compares `Cargo.lock` with a given advisory database.
//!
//! PATH is a git clone of the Rust advisory database. Nothing is fetched from the network: where
//! this runs for a release, the database is brought along, and the changelog says its date.

use std::path::Path;
use std::process::ExitCode;

use crate::command::{self, cargo, root};
use crate::step::{Outcome, Steps};

pub(crate) fn run(rest: &[String]) -> ExitCode {
    let [database] = rest else {
        eprintln!("error: `cargo xtask audit` takes the path of a clone of the advisory database");
        return ExitCode::from(2);
    };
    let mut steps = Steps::default();
    steps.run("advisories", || advisories(Path::new(database)));
    steps.finish()
}

fn advisories(database: &Path) -> Outcome {
    let database = match database.canonicalize() {
        Ok(path) => path,
        Err(error) => return Outcome::Failed(format!("{}: {error}", database.display())),
    };
    let directory = root().join("target/audit");
    let config = directory.join("deny.toml");
    let text = format!(
        "[advisories]\ndb-path = \"{}\"\ndb-urls = [\"file://{}\"]\n",
        directory.join("databases").display(),
        database.display()
    );
    let written = std::fs::create_dir_all(&directory).and_then(|()| std::fs::write(&config, text));
    if let Err(error) = written {
        return Outcome::Failed(format!("{}: {error}", config.display()));
    }
    let mut deny = cargo();
    deny.args(["deny", "--locked", "check", "--config"]).arg(&config).arg("advisories");
    command::run(&mut deny).into()
}
