//! The command line: who wins where settings are given twice, what is misspelt, exit codes, help.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::io::{Read as _, Write as _};
use std::process::{Command, Output, Stdio};

use testkit::client::raw::RawClient;
use testkit::{Endpoint, Gateway, GatewayOptions, gateway, manifests, wait_until};

use crate::{OK, app, in_front_with};

const COMMANDS: [&str; 6] = ["run", "demo", "echo", "lint", "routes", "explain"];

/// Runs the program to its end, with nothing on its input and no setting from this machine.
fn program<S: AsRef<OsStr>>(arguments: &[S]) -> Output {
    program_with(&[], arguments)
}

fn program_with<S: AsRef<OsStr>>(variables: &[(&str, &str)], arguments: &[S]) -> Output {
    let mut command = Command::new(gateway::program());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("PORTCULLIS_") {
            command.env_remove(name);
        }
    }
    let command = command.args(arguments).envs(variables.iter().copied()).stdin(Stdio::null());
    command.output().unwrap()
}

fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

/// A terminal: the side that reads what is shown, and the side that programs write to.
fn terminal() -> (fs::File, fs::File) {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let output = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&output).unwrap();
    unlockpt(&output).unwrap();
    let name = ptsname(&output, Vec::new()).unwrap();
    let name = name.to_str().unwrap();
    let terminal = fs::File::options().read(true).write(true).open(name).unwrap();
    (output.into(), terminal)
}

/// Everything that is shown until the last program has closed the terminal.
fn read_terminal(mut output: fs::File) -> String {
    let mut said = Vec::new();
    let mut buffer = [0; 4096];
    // The end is an error on Linux.
    while let Ok(count @ 1..) = output.read(&mut buffer) {
        said.extend_from_slice(&buffer[..count]);
    }
    String::from_utf8_lossy(&said).into_owned()
}

/// The status of the health path of each name.
fn health(gateway: &Gateway) -> [u16; 3] {
    ["/of-flag", "/of-environment", "/of-file"].map(|path| gateway.get("any", path).status())
}

#[test]
fn a_flag_beats_the_environment_and_the_environment_beats_the_file() {
    let endpoint = Endpoint::answering(OK);
    let with_file = || {
        GatewayOptions::new()
            .file("app.yaml", app(&[&endpoint]))
            .config("http: \"{http}\"\nhealth-path: /of-file\nworkers: 1\n")
    };
    let file = with_file().start();
    assert_eq!(health(&file), [404, 404, 200]);
    let with_environment = || with_file().variable("PORTCULLIS_HEALTH_PATH", "/of-environment");
    let environment = with_environment().start();
    assert_eq!(health(&environment), [404, 200, 404]);
    let flag = with_environment().flags("--health-path /of-flag").start();
    assert_eq!(health(&flag), [200, 404, 404]);
    // What only the file says holds beside the flags.
    for gateway in [&file, &environment, &flag] {
        assert!(
            gateway.log().contains("workers=1 workers_because=\"as set\""),
            "{}",
            gateway.log()
        );
    }
}

#[test]
fn what_is_misspelt_is_refused_wherever_it_stands_and_the_right_word_is_proposed() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("portcullis.yaml");
    fs::write(&config, "workers: 1\nhelth-path: /up\n").unwrap();
    let config = config.to_str().unwrap();
    let manifests = directory.path().to_str().unwrap();
    let run = ["run", "--manifests", manifests];
    let flag = program(&[&run[..], &["--helth-path", "/up"]].concat());
    let variable = program_with(&[("PORTCULLIS_HELTH_PATH", "/up")], &run);
    let key = program(&[&run[..], &["--config", config]].concat());
    let named_by_variable = program_with(&[("PORTCULLIS_CONFIG", config)], &run);
    for (output, wrong, right) in [
        (&flag, "--helth-path", "--health-path"),
        (&variable, "PORTCULLIS_HELTH_PATH", "PORTCULLIS_HEALTH_PATH"),
        (&key, "portcullis.yaml:2: unknown setting `helth-path`", "did you mean `health-path`?"),
        (&named_by_variable, "portcullis.yaml:2:", "`health-path`"),
    ] {
        let said = said(output);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(wrong) && said.contains(right), "{said}");
    }
    let value = program(&[&run[..], &["--access-log", "jsn"]].concat());
    assert_eq!(value.status.code(), Some(2));
    let told = said(&value);
    assert!(told.contains("json"), "{told}");
    let selector = program(&["run", "--cluster", "--namespace-selector", "team=shop,,"]);
    assert_eq!(selector.status.code(), Some(2));
    let told = said(&selector);
    assert!(told.contains("`,` where a label should be"), "{told}");
}

#[test]
fn every_command_explains_itself_with_examples() {
    let all = said(&program(&["help"]));
    for command in COMMANDS {
        assert!(all.contains(command), "{command} in {all}");
        let output = program(&[command, "--help"]);
        let said = said(&output);
        assert_eq!(output.status.code(), Some(0), "{said}");
        assert!(said.contains("Examples:"), "{said}");
        assert!(said.contains(&format!("portcullis {command}")), "{said}");
    }
}

#[test]
fn what_no_command_can_do_is_2_and_is_told_on_standard_error() {
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path().to_str().unwrap();
    for arguments in [
        &[][..],
        &["lnt"],
        &["run"],
        &["run", "--manifests", "/nonexistent"],
        &["run", "--manifests", here, "--config", "/nonexistent"],
        &["run", "--manifests", here, "--http", "nonsense"],
        &[
            "run",
            "--manifests",
            here,
            "--access-log",
            "json",
            "--access-log-file",
            "/nonexistent/a",
        ],
        &["demo", "--no-such-flag"],
        &["echo"],
        &["echo", "--listen", "nonsense"],
        &["lint"],
        &["lint", "/nonexistent"],
        &["lint", "--deny", "everything", here],
        &["routes"],
        &["routes", "/nonexistent"],
        &["routes", "--format", "xml", here],
        &["explain", "--manifests", here],
        &["explain", "http://a.test/"],
        &["explain", "--manifests", here, "not a url"],
        &["explain", "--manifests", here, "-H", "no colon", "http://a.test/"],
    ] {
        let output = program(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", said(&output));
        assert!(output.stdout.is_empty(), "{arguments:?}: {}", said(&output));
        assert!(!output.stderr.is_empty(), "{arguments:?}");
    }
}

#[test]
fn an_exit_code_is_given_also_where_nobody_reads_what_is_said() {
    let directory = tempfile::tempdir().unwrap();
    let text = manifests::ingress("bad", "bad.test", "nobody");
    fs::write(directory.path().join("bad.yaml"), text).unwrap();
    let here = directory.path().to_str().unwrap();
    for (arguments, code) in [
        (&["lint", "/nonexistent"][..], 2),
        (&["lint", here], 1),
        (&["routes", here], 0),
        (&["explain", "--manifests", here, "--expect", "200", "http://bad.test/"], 1),
    ] {
        let mut child = Command::new(gateway::program())
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(broken_pipe())
            .stderr(broken_pipe())
            .spawn()
            .unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(code), "{arguments:?}");
    }
}

/// An end of a pipe that nobody reads.
fn broken_pipe() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

#[test]
fn what_was_found_is_1_and_what_was_not_is_0() {
    let directory = tempfile::tempdir().unwrap();
    let endpoint = Endpoint::answering(OK);
    let write = |name: &str, text: &str| fs::write(directory.path().join(name), text).unwrap();
    write("app.yaml", &app(&[&endpoint]));
    let here = directory.path().to_str().unwrap();
    let code = |arguments: &[&str]| {
        let output = program(arguments);
        (output.status.code().unwrap(), said(&output))
    };
    for arguments in [
        &["lint", here][..],
        &["lint", "--deny", "warnings", here],
        &["lint", "--format", "json", here],
        &["routes", here],
        &["routes", "--format", "json", here],
        &["explain", "--manifests", here, "http://app.test/"],
        &["explain", "--manifests", here, "--format", "json", "http://none.test/"],
        &["explain", "--manifests", here, "--expect", "default/app:80", "http://app.test/"],
        &["--version"],
    ] {
        let (code, said) = code(arguments);
        assert_eq!(code, 0, "{arguments:?}: {said}");
    }
    write(
        "odd.yaml",
        &manifests::ingress_with("odd", "odd.test", "app", &[("rewrite-traget", "/")]),
    );
    assert_eq!(code(&["lint", here]).0, 0);
    assert_eq!(code(&["lint", "--deny", "warnings", here]).0, 1);
    write("bad.yaml", &manifests::ingress("bad", "bad.test", "nobody"));
    assert_eq!(code(&["lint", here]).0, 1);
    // A table is a table, whatever is wrong with what is in it.
    assert_eq!(code(&["routes", here]).0, 0);
    for expected in ["default/other", "404"] {
        let asked = ["explain", "--manifests", here, "--expect", expected, "http://app.test/"];
        assert_eq!(code(&asked).0, 1, "{expected}");
    }
}

#[test]
fn what_is_printed_for_programs_has_a_schema_and_no_colour() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("a.yaml"), manifests::ingress("a", "a.test", "nobody"))
        .unwrap();
    let here = directory.path().to_str().unwrap();
    for arguments in [
        &["lint", "--format", "json", here][..],
        &["routes", "--format", "json", here],
        &["explain", "--manifests", here, "--format", "json", "http://a.test/"],
    ] {
        let output = program(arguments);
        let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let schema = document["schema"].as_str().unwrap_or_default();
        assert!(
            schema.starts_with("portcullis.") && schema.contains("/v1"),
            "{arguments:?} {schema}"
        );
    }
}

#[test]
fn no_color_is_honoured_and_a_terminal_gets_colour() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("a.yaml"), manifests::ingress("a", "a.test", "nobody"))
        .unwrap();
    let here = directory.path().to_str().unwrap();
    let program = gateway::program();
    let on_a_terminal = |variables: &[(&str, &str)], arguments: &str| {
        let (output, terminal) = terminal();
        let mut child = Command::new(&program)
            .args(arguments.split(' '))
            .env_remove("NO_COLOR")
            .env("TERM", "xterm")
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(terminal.try_clone().unwrap())
            .stderr(terminal)
            .spawn()
            .unwrap();
        let said = read_terminal(output);
        child.wait().unwrap();
        said
    };
    for arguments in [
        format!("lint {here}"),
        format!("routes {here}"),
        format!("explain --manifests {here} http://a.test/"),
        "lint /nonexistent".to_owned(),
        "run --help".to_owned(),
        // The process log, too.
        "run --manifests /nonexistent".to_owned(),
    ] {
        let coloured = on_a_terminal(&[], &arguments);
        assert!(coloured.contains('\x1b'), "{arguments}: {coloured:?}");
        let plain = on_a_terminal(&[("NO_COLOR", "1")], &arguments);
        assert!(!plain.contains('\x1b'), "{arguments}: {plain:?}");
        // An empty variable is none (no-color.org).
        let empty = on_a_terminal(&[("NO_COLOR", "")], &arguments);
        assert!(empty.contains('\x1b'), "{arguments}: {empty:?}");
    }
}

#[test]
fn the_start_tells_workers_and_open_files_as_they_are() {
    let endpoint = Endpoint::answering(OK);
    let gateway = GatewayOptions::new().file("app.yaml", app(&[&endpoint])).open_files(200).start();
    let log = gateway.log();
    let start = log.lines().find(|line| line.contains("starting")).unwrap_or_default();
    let number = |name: &str| -> u64 {
        let rest = start.split_once(&format!("{name}=")).map_or("", |(_, rest)| rest);
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().unwrap_or_else(|_| panic!("{name} in {log}"))
    };
    let reason_is_told = start.contains("no CPU quota, ") || start.contains("CPU quota ");
    assert!(reason_is_told, "{start}");
    let proc = format!("/proc/{}", gateway.id());
    let threads = fs::read_dir(format!("{proc}/task")).unwrap();
    let workers = threads
        .filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("comm")).ok())
        .filter(|name| name.starts_with("worker-"))
        .count();
    assert_eq!(number("workers"), workers as u64, "{start}");
    let limits = fs::read_to_string(format!("{proc}/limits")).unwrap();
    let files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let columns: Vec<&str> = files.split_whitespace().collect();
    let (soft, hard) = (columns[3], columns[4]);
    assert_eq!(soft, hard, "the soft limit is raised");
    assert_eq!(number("open_files").to_string(), hard, "{start}");
}

#[test]
fn the_file_is_read_anew_on_sighup_and_mistakes_leave_everything_as_it_is() {
    let endpoint = Endpoint::answering(OK);
    let gateway = GatewayOptions::new()
        .file("app.yaml", app(&[&endpoint]))
        .config("http: \"{http}\"\n")
        .start();
    gateway.reconfigure("htp: \"{http}\"\n");
    gateway.wait_for_log("unknown setting `htp`");
    assert_eq!(gateway.get("app.test", "/").text(), "ok");
    gateway.reconfigure("http: \"{http}\"\nkeepalive-timeout: 5s\n");
    gateway.wait_for_log("take effect at a restart");
    assert_eq!(gateway.get("app.test", "/").text(), "ok");
}

#[test]
fn ports_that_clients_see_and_addresses_that_are_taken_may_change_while_it_runs() {
    let endpoint = Endpoint::answering(OK);
    let redirected =
        manifests::ingress_with("app", "app.test", "app", &[("force-ssl-redirect", "true")]);
    let gateway = GatewayOptions::new()
        .file("app.yaml", manifests::service("app", &[endpoint.address()]) + "---\n" + &redirected)
        .config("http: \"{http}\"\npublic-https-port: 443\n")
        .start();
    let mut kept = gateway.connect();
    let location = |client: &mut RawClient| {
        client.exchange(crate::GET).field("location").map(ToOwned::to_owned)
    };
    assert_eq!(location(&mut kept).as_deref(), Some("https://app.test/"));
    gateway.reconfigure("http: \"{http}\"\npublic-https-port: 9443\n");
    wait_until("redirects name the other port", || {
        location(&mut gateway.connect()).as_deref() == Some("https://app.test:9443/")
    });
    assert_eq!(location(&mut kept).as_deref(), Some("https://app.test:9443/"));
    // An address that is taken is told, and costs nothing else.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    gateway.reconfigure(&format!("http: [\"{{http}}\", \"{address}\"]\npublic-https-port: 9443\n"));
    gateway.wait_for_log("listener-not-bound");
    assert_eq!(location(&mut kept).as_deref(), Some("https://app.test:9443/"));
    assert_eq!(gateway.get("none.test", "/").status(), 404);
}

#[test]
fn an_address_that_cannot_be_bound_is_told_while_the_others_serve_and_tried_again() {
    let endpoint = Endpoint::answering(OK);
    // Not of the ports that the system gives away: nobody else may take it when it is free again.
    let address = gateway::free_address();
    let taken = std::net::TcpListener::bind(address).unwrap();
    let gateway = GatewayOptions::new()
        .file("app.yaml", app(&[&endpoint]))
        .flags(&format!("--http {address} --workers 2"))
        .beside_taken()
        .start();
    gateway.wait_for_log("listener-not-bound");
    assert!(gateway.log().contains(&address.to_string()), "{}", gateway.log());
    assert_eq!(gateway.get("app.test", "/").text(), "ok");
    let told = || gateway.snapshot()["diagnostics"].to_string();
    wait_until("operators are told", || told().contains("listener-not-bound"));
    let unbound = || gateway.metric("portcullis_diagnostics", &["listener-not-bound"]);
    wait_until("it is counted", || unbound() > 0.0);
    drop(taken);
    gateway.apply("more.yaml", manifests::ingress("more", "more.test", "app"));
    // A connection says less: a child that a test beside us just forked holds our listener, too,
    // until it is another program.
    gateway.wait_for_log(&format!("listening address=http://{address}"));
    let mut client = RawClient::connect(address);
    assert_eq!(client.exchange(crate::GET).text(), "ok");
    wait_until("the diagnostic is settled", || unbound() < 1.0);
}

#[test]
fn every_listener_may_be_closed() {
    let endpoint = Endpoint::answering(OK);
    let gateway = in_front_with(&endpoint, "");
    let http = gateway::free_address();
    let directory = gateway.directory().to_str().unwrap();
    let mut child = Command::new(gateway::program())
        .args(["run", "--manifests", directory, "--http", &http.to_string()])
        .args(["--https", "off", "--admin", "off"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_until("it serves", || std::net::TcpStream::connect(http).is_ok());
    let mut client = RawClient::connect(http);
    assert_eq!(client.exchange(crate::GET).text(), "ok");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn manifests_are_read_from_standard_input_by_every_command_that_reads() {
    let endpoint = Endpoint::answering(OK);
    let read = |arguments: &[&str], text: &str| {
        let mut child = Command::new(gateway::program())
            .args(arguments)
            .env("NO_COLOR", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        (output.status.code(), said(&output))
    };
    let good = app(&[&endpoint]);
    let (code, text) = read(&["lint", "-"], &good);
    assert_eq!(code, Some(0), "{text}");
    let (code, text) = read(&["routes", "-"], &good);
    assert!(code == Some(0) && text.contains("app.test"), "{text}");
    let expecting = ["explain", "--manifests", "-", "--expect", "default/app", "http://app.test/"];
    let (code, text) = read(&expecting, &good);
    assert_eq!(code, Some(0), "{text}");
    let (code, text) = read(&["lint", "-"], &manifests::ingress("app", "Bad_Host!", "app"));
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("invalid-host") && text.contains(":8:"), "{text}");
}

#[test]
fn kinds_that_are_not_read_are_named_once_each_and_are_no_mistake() {
    let directory = tempfile::tempdir().unwrap();
    let other = |kind: &str, name: &str| {
        format!("apiVersion: apps/v1\nkind: {kind}\nmetadata: {{ name: {name} }}\n")
    };
    let documents =
        [other("Deployment", "a"), other("Deployment", "b"), other("DaemonSet", "c")].join("---\n");
    fs::write(directory.path().join("all.yaml"), documents).unwrap();
    let here = directory.path().to_str().unwrap();
    let output = program(&["lint", "--format", "json", here]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let told: Vec<&serde_json::Value> = document["diagnostics"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|diagnostic| diagnostic["code"] == "unknown-kind")
        .collect();
    assert_eq!(told.len(), 2, "{document}");
    assert!(told.iter().all(|diagnostic| diagnostic["severity"] == "info"), "{document}");
}

#[test]
fn documents_that_would_grow_without_bound_are_refused_and_the_others_serve() {
    let endpoint = Endpoint::answering(OK);
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for n in 1..30 {
        let row = [format!("*a{}", n - 1).as_str(); 10].join(", ");
        let _ = writeln!(bomb, "a{n}: &a{n} [{row}]");
    }
    let deep = format!("a: {}{}\n", "[".repeat(100_000), "]".repeat(100_000));
    let gateway = GatewayOptions::new()
        .file("app.yaml", app(&[&endpoint]))
        .file("bomb.yaml", bomb)
        .file("deep.yaml", deep)
        .start();
    assert_eq!(gateway.get("app.test", "/").text(), "ok");
    for file in ["bomb.yaml", "deep.yaml"] {
        wait_until(&format!("{file} is told"), || {
            gateway.snapshot()["diagnostics"].to_string().contains(file)
        });
    }
    assert!(gateway.resident_kib() < 300 * 1024, "{} KiB", gateway.resident_kib());
    let here = gateway.directory().to_str().unwrap();
    let lint = program(&["lint", here]);
    assert_eq!(lint.status.code(), Some(1), "{}", said(&lint));
}
