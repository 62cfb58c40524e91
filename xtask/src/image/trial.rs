//! Runs the demonstration in the image as a pod would run it, and asks it over its own loopback.
//!
//! The container has the image's files alone, read-only but for `/tmp`, the image's user, no
//! capability, no way to new privileges, the system calls that runtimes allow by default, and a
//! network of its own that has nothing but loopback. What is missing in the image is missing here.
//!
//! Then once more as on the network of a node: with the one capability that ports below 1024 need.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::build::Image;
use super::quietly;

/// How long the demonstration may take to answer, and to end.
const PATIENCE: Duration = Duration::from_secs(30);

/// The system calls that container engines allow by default; it comes with buildah.
const CALLS: &str = "/usr/share/containers/seccomp.json";

/// Control groups of both versions at once are more than crun takes, so they are hidden from it.
const WITHOUT_GROUPS: &str = "mount -t tmpfs tmpfs /sys/fs/cgroup && exec crun \"$@\"";

/// A way to run the demonstration.
struct Way {
    capabilities: &'static [&'static str],
    http: u16,
    https: u16,
}

/// As a pod with a network of its own.
const IN_POD: Way = Way { capabilities: &[], http: 8080, https: 8443 };

/// As a pod on the network of its node.
const ON_NODE: Way = Way { capabilities: &["CAP_NET_BIND_SERVICE"], http: 80, https: 443 };

impl Way {
    /// What is asked: the words of curl, and what the answer has.
    fn questions(&self) -> [(Vec<String>, &'static str); 3] {
        let Self { http, https, .. } = self;
        let words = |text: String| text.split('|').map(str::to_owned).collect();
        [
            (words(String::from("http://127.0.0.1:9090/readyz")), "ready"),
            (words(format!("-H|Host: shop.localhost|http://127.0.0.1:{http}/")), "shop-"),
            (
                words(format!(
                    "--insecure|--resolve|secure.localhost:{https}:127.0.0.1|\
                     https://secure.localhost:{https}/"
                )),
                "shop-",
            ),
        ]
    }
}

/// Runs the demonstration in `directory`; the error says what went wrong.
pub(super) fn run(image: &Image, directory: &Path) -> Result<(), String> {
    if !rustix::process::geteuid().is_root() {
        return Err(String::from("the trial of the image needs root, for a network of its own"));
    }
    let at = |error| format!("{}: {error}", directory.display());
    if directory.exists() {
        fs::remove_dir_all(directory).map_err(at)?;
    }
    let files = directory.join("rootfs");
    fs::create_dir_all(&files).map_err(at)?;
    image.unpack(&files)?;
    for way in [&IN_POD, &ON_NODE] {
        let config = bundle(&image.config()?, way)?;
        fs::write(directory.join("config.json"), config.to_string()).map_err(at)?;
        once(directory, way).map_err(|why| format!("on port {}: {why}", way.http))?;
    }
    Ok(())
}

/// Runs what the bundle says.
fn once(directory: &Path, way: &Way) -> Result<(), String> {
    let process_id = directory.join("pid");
    let mut crun = Command::new("unshare");
    crun.args(["--mount", "sh", "-c", WITHOUT_GROUPS, "crun"]);
    crun.arg("--root").arg(directory.join("state")).arg("--cgroup-manager=disabled");
    crun.arg("run").arg("--pid-file").arg(&process_id).arg("--bundle").arg(directory);
    let mut container = crun
        .arg(format!("portcullis-trial-{}-{}", std::process::id(), way.http))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .map_err(|error| format!("starting crun: {error}"))?;
    let asked = ask_all(&mut container, &process_id, way);
    let ended = end(&mut container, &process_id);
    asked.and(ended)
}

/// How the runtime is to run it: as the image says, with as little as a pod gives it.
fn bundle(config: &Value, way: &Way) -> Result<Value, String> {
    let user = config["User"].as_str().unwrap_or("0");
    let (user, group) = user.split_once(':').unwrap_or((user, user));
    let number = |text: &str| {
        text.parse::<u32>().map_err(|_| format!("the image's user `{text}` is not a number"))
    };
    let (user, group) = (number(user)?, number(group)?);
    if user == 0 {
        return Err(String::from("the image runs as root"));
    }
    let entry = config["Entrypoint"].as_array().cloned().unwrap_or_default();
    let demonstration = [
        String::from("demo"),
        format!("--http=127.0.0.1:{}", way.http),
        format!("--https=127.0.0.1:{}", way.https),
        String::from("--admin=127.0.0.1:9090"),
    ];
    let arguments: Vec<Value> = entry.into_iter().chain(demonstration.map(Value::from)).collect();
    let granted = way.capabilities;
    Ok(json!({
        "ociVersion": "1.0.2",
        "process": {
            "user": { "uid": user, "gid": group },
            "args": arguments,
            "env": config["Env"],
            "cwd": "/",
            "capabilities": {
                "bounding": granted, "effective": granted, "permitted": granted,
                "inheritable": [], "ambient": [],
            },
            "noNewPrivileges": true,
        },
        "root": { "path": "rootfs", "readonly": true },
        "hostname": "portcullis",
        "mounts": [
            { "destination": "/proc", "type": "proc", "source": "proc" },
            { "destination": "/dev", "type": "tmpfs", "source": "tmpfs",
              "options": ["nosuid", "mode=755", "size=65536k"] },
            { "destination": "/tmp", "type": "tmpfs", "source": "tmpfs",
              "options": ["nosuid", "nodev", "mode=1777", "size=1m"] },
        ],
        "linux": {
            "namespaces": [
                { "type": "pid" }, { "type": "mount" }, { "type": "ipc" }, { "type": "uts" },
                { "type": "network" },
            ],
            "seccomp": calls()?,
        },
    }))
}

/// The default list of system calls, in the way of the runtime: what belongs to this machine and
/// needs no capability.
fn calls() -> Result<Value, String> {
    let text = fs::read(CALLS).map_err(|error| format!("{CALLS}: {error}"))?;
    let list: Value = serde_json::from_slice(&text).map_err(|error| format!("{CALLS}: {error}"))?;
    let is_empty = |value: &Value| value.as_array().is_none_or(Vec::is_empty);
    let is_ours = |rule: &&Value| {
        let arches = &rule["includes"]["arches"];
        let names_us = arches.as_array().is_some_and(|all| all.iter().any(|one| one == "amd64"));
        is_empty(&rule["includes"]["caps"]) && (is_empty(arches) || names_us)
    };
    let mut rules = Vec::new();
    for rule in list["syscalls"].as_array().into_iter().flatten().filter(is_ours) {
        let mut entry = json!({ "names": rule["names"], "action": rule["action"] });
        if !is_empty(&rule["args"]) {
            entry["args"] = rule["args"].clone();
        }
        if let Some(errno) = rule["errnoRet"].as_u64() {
            entry["errnoRet"] = Value::from(errno);
        }
        rules.push(entry);
    }
    Ok(json!({
        "defaultAction": list["defaultAction"],
        "defaultErrnoRet": list["defaultErrnoRet"],
        "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": rules,
    }))
}

/// Asks until everything is answered as it should be, or patience ends.
fn ask_all(container: &mut Child, process_id: &Path, way: &Way) -> Result<(), String> {
    let began = Instant::now();
    for (words, wanted) in &way.questions() {
        loop {
            if let Ok(Some(status)) = container.try_wait() {
                return Err(format!("the demonstration ended by itself ({status})"));
            }
            let why = match ask(process_id, words) {
                Ok(answer) if answer.contains(wanted) => break,
                Ok(answer) => format!("the answer has no `{wanted}`: {answer}"),
                Err(why) => why,
            };
            if began.elapsed() > PATIENCE {
                return Err(format!("the demonstration does not answer: {why}"));
            }
            sleep(Duration::from_millis(50));
        }
    }
    Ok(())
}

/// One question, asked inside the container's network.
fn ask(process_id: &Path, words: &[String]) -> Result<String, String> {
    let id = fs::read_to_string(process_id).map_err(|error| format!("no process yet: {error}"))?;
    let mut curl = Command::new("nsenter");
    curl.arg(format!("--net=/proc/{}/ns/net", id.trim())).args([
        "curl",
        "--silent",
        "--show-error",
    ]);
    curl.args(["--fail", "--max-time", "5"]).args(words).stdin(Stdio::null());
    quietly(&mut curl).map(|answer| String::from_utf8_lossy(&answer).into_owned())
}

/// Tells the demonstration to end, as a kubelet does, and waits until it has.
fn end(container: &mut Child, process_id: &Path) -> Result<(), String> {
    let told = fs::read_to_string(process_id)
        .map_err(|error| format!("no process: {error}"))
        .and_then(|id| quietly(Command::new("kill").args(["-TERM", id.trim()])));
    let began = Instant::now();
    while told.is_ok() && began.elapsed() < PATIENCE {
        match container.try_wait() {
            Ok(Some(status)) if status.success() => return Ok(()),
            Ok(Some(status)) => return Err(format!("the demonstration ended with {status}")),
            Ok(None) => sleep(Duration::from_millis(20)),
            Err(error) => return Err(error.to_string()),
        }
    }
    // The runtime gone, its container has lost its parent; both are ours.
    let _ = container.kill();
    let _ = container.wait();
    told.and(Err(String::from("the demonstration did not end when it was told to")))
}
