//! `cargo xtask image`: the container image, from scratch, and the trial of it.
//!
//! The image holds the program, the C library of a pinned Debian package, the roots of the public
//! authorities, and a list of what is in it (`sbom`). It is put together by COPY steps alone, so no
//! base image is pulled; with equal inputs its digest is equal. Before it is written, the program
//! runs in it as it would in a pod: no root, no capabilities, a file system that cannot be written.

mod build;
mod packages;
mod sbom;
mod tree;
mod trial;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use crate::command::{self, cargo, root};
use crate::step::{Outcome, Steps};

/// What a released image may take, unpacked.
const BYTES_MAX: u64 = 40 << 20;

/// The architecture of the images that are built; there is one.
const ARCHITECTURE: &str = "amd64";

/// The name of the architecture in target triples.
const MACHINE: &str = "x86_64";

const HELP: &str = "\
Builds the container image into target/image and tries it

  cargo xtask image [OPTION]...

  --name NAME        what the image is called (localhost/portcullis)
  --binary PATH      this program instead of a release build
  --accept-newer     take what the Debian suite has now where a pinned package is gone

It writes, for amd64,
  portcullis-VERSION-amd64.oci.tar       for a registry: skopeo copy oci-archive:…
  portcullis-VERSION-amd64.docker.tar    for docker load, kind load image-archive, ctr images import
  portcullis-VERSION-amd64.cdx.json      what is in it (CycloneDX)
  portcullis-VERSION-amd64.debug         the program's debug information
It needs a Debian system with apt-get, dpkg-deb, binutils, buildah and crun.
";

/// What was asked for.
struct Options {
    name: String,
    binary: Option<PathBuf>,
    accepts_newer: bool,
}

impl Options {
    fn parse(rest: &[String]) -> Result<Self, String> {
        let mut options =
            Self { name: String::from("localhost/portcullis"), binary: None, accepts_newer: false };
        let mut rest = rest.iter();
        while let Some(flag) = rest.next() {
            let mut value =
                || rest.next().cloned().ok_or_else(|| format!("`{flag}` takes a value"));
            match flag.as_str() {
                "--name" => options.name = value()?,
                "--binary" => options.binary = Some(PathBuf::from(value()?)),
                "--accept-newer" => options.accepts_newer = true,
                other => return Err(format!("unexpected argument `{other}`")),
            }
        }
        Ok(options)
    }
}

/// Runs the task.
pub(crate) fn run(rest: &[String]) -> ExitCode {
    if rest.iter().any(|word| word == "--help" || word == "-h") {
        print!("{HELP}");
        return ExitCode::SUCCESS;
    }
    let options = match Options::parse(rest) {
        Ok(options) => options,
        Err(why) => {
            eprintln!("error: {why}\n\n{HELP}");
            return ExitCode::from(2);
        }
    };
    let mut steps = Steps::default();
    steps.run("image", || match image(&options) {
        Ok(remark) => Outcome::Passed(remark),
        Err(why) => Outcome::Failed(why),
    });
    println!("\narm64: not built; images are built for {ARCHITECTURE} alone");
    steps.finish()
}

/// The step of `cargo xtask test`: the image of the program that other tests run, and its trial.
pub(crate) fn step() -> Outcome {
    for (program, argument) in [("buildah", "--version"), ("crun", "--version")] {
        if !command::answers(program, &[argument]) {
            return Outcome::Skipped(format!("{program} is absent; Debian has it as `{program}`"));
        }
    }
    if !command::answers("apt-get", &["--version"]) {
        return Outcome::Skipped(String::from("the C library comes by apt-get, which is absent"));
    }
    if !rustix::process::geteuid().is_root() {
        return Outcome::Skipped(String::from("only root can give the trial a network of its own"));
    }
    let options = Options {
        name: String::from("localhost/portcullis"),
        binary: Some(target().join("debug/portcullis")),
        // What is tried is the way to build; a release insists on its pins.
        accepts_newer: true,
    };
    match image(&options) {
        Ok(remark) => Outcome::Passed(remark),
        Err(why) => Outcome::Failed(why),
    }
}

/// Builds, tries and writes the image. The answer is a remark for the table.
fn image(options: &Options) -> Result<String, String> {
    if std::env::consts::ARCH != MACHINE {
        return Err(format!("images are built on {MACHINE} alone, for {ARCHITECTURE}"));
    }
    let is_release = options.binary.is_none();
    let program = match &options.binary {
        Some(program) => program.clone(),
        None => release()?,
    };
    let home = target().join("image");
    let metadata = sbom::Metadata::read()?;
    let packages = packages::fetch(&home, options.accepts_newer)?;
    let output = format!("portcullis-{}-{ARCHITECTURE}", metadata.version()?);
    let output = home.join(output);

    let tree = tree::Tree::begin(&home.join("context"))?;
    tree.base(&packages, &program)?;
    let stripped = tree.program(&program, &output.with_added_extension("debug"))?;
    let bill = metadata.bill(&packages, &stripped)?;
    tree.bill(&bill)?;
    write(&output.with_added_extension("cdx.json"), &bill)?;
    let bytes = tree.bytes()?;

    let name = format!("{}:{}", options.name, metadata.version()?);
    let image = build::Image::build(&home, &tree, &name, &metadata.version()?)?;
    trial::run(&image, &home.join("trial"))?;
    image.write(&output)?;
    if is_release && bytes > BYTES_MAX {
        return Err(format!("it takes {} MiB, which is too much", megabytes(bytes)));
    }
    let mut remark = format!("{}, {} MiB", image.digest(), megabytes(bytes));
    for newer in packages.iter().filter(|package| package.is_newer) {
        remark = format!("{remark}; {} {} is not the one pinned", newer.name, newer.version);
    }
    Ok(remark)
}

/// The release build of the program, in a folder of its own, since it has flags of its own: the
/// folders of this machine are not named in it, so that it is equal wherever it is built.
fn release() -> Result<PathBuf, String> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from).or_else(|| {
        let home = std::env::var_os("HOME")?;
        Some(PathBuf::from(home).join(".cargo"))
    });
    let home = home.ok_or("neither CARGO_HOME nor HOME is set")?;
    let flags = [(home, "/cargo"), (root(), "/portcullis")]
        .map(|(from, to)| format!("--remap-path-prefix={}={to}", from.display()));
    let folder = target().join("image/target");
    let mut build = cargo();
    build.args(["build", "--locked", "--release", "--package", "portcullis"]);
    build.arg("--config").arg(format!("build.rustflags={flags:?}"));
    build.arg("--target-dir").arg(&folder).env_remove("RUSTFLAGS");
    command::run(&mut build)?;
    Ok(folder.join("release/portcullis"))
}

fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / f64::from(1 << 20))
}

/// Runs a program that says nothing when all is well; what it wrote to its standard output.
fn quietly(command: &mut Command) -> Result<Vec<u8>, String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| format!("starting {program}: {error}"))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    Err(format!("{program} ended ({}): {}", output.status, errors.trim()))
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), String> {
    std::fs::write(path, bytes).map_err(|error| format!("{}: {error}", path.display()))
}
