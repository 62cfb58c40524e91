//! The README's first command: everything that the demonstration proposes works as it is printed.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use testkit::{gateway, wait_until};

/// A demonstration that runs, and the lines that it proposes.
struct Demo {
    child: Child,
    lines: Vec<String>,
}

impl Demo {
    fn start() -> Self {
        let mut child = Command::new(gateway::program())
            .arg("demo")
            .env("NO_COLOR", "1")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program can be started");
        let stdout = child.stdout.take().expect("it was asked for");
        let mut lines = Vec::new();
        for line in BufReader::new(stdout).lines() {
            let line = line.expect("it speaks UTF-8");
            let is_end = line.starts_with("Ctrl-C");
            lines.push(line);
            if is_end {
                break;
            }
        }
        Self { child, lines }
    }

    fn proposals(&self, start: &str) -> Vec<String> {
        self.lines.iter().filter(|line| line.starts_with(start)).cloned().collect()
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn shell(line: &str) -> Output {
    Command::new("sh").args(["-c", line]).output().expect("there is a shell")
}

#[test]
fn what_the_demonstration_proposes_works_as_it_is_printed() {
    let demo = Demo::start();
    let curls = demo.proposals("curl ");
    assert!(curls.len() >= 8, "{:?}", demo.lines);
    for line in &curls {
        let output = shell(line);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(!said.is_empty(), "{line}: {output:?}");
        if line.contains("websocket") {
            assert!(said.starts_with("HTTP/1.1 101 "), "{line}: {said}");
        } else {
            assert!(output.status.success(), "{line}: {output:?}");
        }
        for (part, expected) in [("/broken", " 503"), ("nobody.localhost", " 404"), ("-k", " 200")]
        {
            if line.contains(part) {
                let status = said.lines().next().unwrap_or_default();
                assert!(status.contains(expected), "{line}: {said}");
            }
        }
    }
    for line in demo.proposals("/") {
        let output = shell(&line);
        // One of its manifests is broken on purpose, and lint says so.
        let expected = if line.contains(" lint ") { Some(1) } else { Some(0) };
        assert_eq!(output.status.code(), expected, "{line}: {output:?}");
    }
}

#[test]
fn a_second_demonstration_finds_other_ports() {
    let first = Demo::start();
    let second = Demo::start();
    assert_ne!(first.proposals("curl ")[0], second.proposals("curl ")[0]);
    for demo in [&first, &second] {
        let output = shell(&demo.proposals("curl ")[0]);
        assert!(String::from_utf8_lossy(&output.stdout).contains("shop"), "{output:?}");
    }
}

#[test]
fn demonstrations_that_start_at_once_stay_out_of_each_others_way() {
    let starting: Vec<_> = (0..6).map(|_| std::thread::spawn(Demo::start)).collect();
    let demos: Vec<Demo> = starting.into_iter().map(|demo| demo.join().unwrap()).collect();
    for demo in &demos {
        let curls = demo.proposals("curl ");
        assert!(curls.len() >= 8, "{:?}", demo.lines);
        for line in [&curls[0], curls.iter().find(|line| line.contains("-k")).unwrap()] {
            let output = shell(line);
            assert!(output.status.success(), "{line}: {output:?}");
        }
    }
}

#[test]
fn a_demonstration_that_is_told_to_end_leaves_nothing_behind() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut demo = Demo::start();
        let lint = demo.proposals("/").into_iter().find(|line| line.contains(" lint ")).unwrap();
        let directory = lint.split_whitespace().last().unwrap().to_owned();
        assert!(Path::new(&directory).is_dir(), "{lint}");
        kill_process(Pid::from_child(&demo.child), signal).unwrap();
        let mut status = None;
        wait_until("it ends", || {
            status = demo.child.try_wait().unwrap();
            status.is_some()
        });
        assert!(status.is_some_and(|status| status.success()), "{status:?}");
        assert!(!Path::new(&directory).exists(), "{directory}");
    }
}
