//! Runs every page of `spec/`, in process and over the wire, and says so in the words of the
//! standard test harness.
//!
//! Arguments that are not flags choose the scenes whose name has one of them. A scene's name is
//! `page::way::title`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use testkit::spec::{self, Scene};

/// Scenes that run at once: each over the wire has a process of its own.
const THREADS: usize = 4;

/// A scene and the way in which it is run.
struct Case {
    name: String,
    scene: Scene,
    run: Run,
}

/// Runs a scene; everything that is not as expected.
type Run = fn(&Scene) -> Vec<String>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let wanted: Vec<&String> = arguments.iter().filter(|word| !word.starts_with('-')).collect();
    let all = match cases() {
        Ok(all) => all,
        Err(why) => {
            println!("error: {why}");
            return ExitCode::FAILURE;
        }
    };
    let count = all.len();
    let chosen: Vec<Case> = all
        .into_iter()
        .filter(|case| wanted.is_empty() || wanted.iter().any(|part| case.name.contains(*part)))
        .collect();
    if arguments.iter().any(|argument| argument == "--list") {
        for case in &chosen {
            println!("{}: test", case.name);
        }
        return ExitCode::SUCCESS;
    }
    report(&chosen, count - chosen.len())
}

fn cases() -> Result<Vec<Case>, String> {
    let ways: [(&str, Run); 2] =
        [("in-process", spec::run_in_process), ("wire", spec::run_over_the_wire)];
    let mut cases = Vec::new();
    for page in spec::pages()? {
        for scene in page.scenes {
            for (way, run) in ways {
                let name = format!("{}::{way}::{}", page.name, scene.title);
                cases.push(Case { name, scene: scene.clone(), run });
            }
        }
    }
    Ok(cases)
}

/// Runs the cases, says how each ended, and then what was wrong.
fn report(cases: &[Case], filtered: usize) -> ExitCode {
    println!("\nrunning {} tests", cases.len());
    let started = Instant::now();
    let next = AtomicUsize::new(0);
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::SeqCst)) {
                    let failures = run(case);
                    let verdict = if failures.is_empty() { "ok" } else { "FAILED" };
                    println!("test {} ... {verdict}", case.name);
                    if !failures.is_empty() {
                        let mut failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
                        failed.push((case.name.clone(), failures));
                    }
                }
            });
        }
    });
    let mut failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    failed.sort();
    for (name, failures) in &failed {
        println!("\n---- {name} ----");
        for why in failures {
            println!("{why}");
        }
    }
    println!(
        "\ntest result: {}. {} passed; {} failed; 0 ignored; 0 measured; {filtered} filtered out; \
         finished in {:.2}s\n",
        if failed.is_empty() { "ok" } else { "FAILED" },
        cases.len() - failed.len(),
        failed.len(),
        started.elapsed().as_secs_f64()
    );
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run(case: &Case) -> Vec<String> {
    catch_unwind(AssertUnwindSafe(|| (case.run)(&case.scene))).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
        vec![text.unwrap_or_else(|| "it panicked".to_owned())]
    })
}
