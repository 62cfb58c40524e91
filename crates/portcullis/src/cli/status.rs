//! `portcullis status`: the replicas in a cluster, what each serves, and which lag behind.

use std::process::ExitCode;

use clap::Args;
use controller::{Condition, Replica, Replicas};
use serde::Serialize;

use super::flags::InstallationFlags;
use super::paint::{Paint, Tone};
use super::table::columns;
use super::{FOUND, Failure, OutputFormat, complain, print, to_json};
use crate::control::Control;
use crate::wiring;

/// The schema of the JSON form.
const SCHEMA: &str = "portcullis.status/v1";

/// Show the replicas in a cluster: what each serves, who leads, and which lag behind.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct StatusArguments {
    /// How to print.
    #[arg(long, value_enum, default_value_t, value_name = "FORM")]
    format: OutputFormat,

    #[command(flatten)]
    flags: InstallationFlags,
}

const EXAMPLES: &str = "\
The exit code is 1 where a replica lags behind or is not heard of, or nobody leads.

Examples:
  portcullis status --pod-namespace portcullis-system
  portcullis status --election-lease portcullis-system/portcullis-leader --format json";

impl StatusArguments {
    pub(super) fn run(self) -> Result<ExitCode, Failure> {
        let settings = self.flags.settings()?;
        let Some(lease) = wiring::election_lease(&settings) else {
            return Err(Failure::usage(
                "which installation?\n  help: name its namespace with --pod-namespace, or its \
                 Lease with --election-lease",
            ));
        };
        let control =
            Control::start("status").map_err(|error| Failure::usage(error.to_string()))?;
        let asked = async {
            let clients = wiring::api_server(&settings).connect().await;
            let clients = clients.map_err(|error| error.to_string())?;
            controller::replicas(&clients, &lease.namespace, &lease.name).await
        };
        let all = control.handle().block_on(asked).map_err(Failure::usage)?;
        let rows: Vec<Row> = all.replicas.iter().map(|one| Row::new(one, &all)).collect();
        let problems = problems(&rows, &all);
        let document = Document {
            schema: SCHEMA,
            leader: all.leader.as_deref(),
            replicas: &rows,
            problems: &problems,
        };
        match self.format {
            OutputFormat::Text => {
                print(text(&rows, Paint::stdout()).as_bytes())?;
                for problem in &problems {
                    complain(Tone::Warning, "warning", problem);
                }
            }
            OutputFormat::Json => {
                print(to_json(&document).as_bytes())?;
            }
        }
        Ok(if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(FOUND) })
    }
}

#[derive(Serialize)]
struct Document<'r> {
    schema: &'static str,
    /// The holder of the Lease.
    leader: Option<&'r str>,
    replicas: &'r [Row],
    problems: &'r [String],
}

fn word(condition: Condition) -> &'static str {
    match condition {
        Condition::Current => "current",
        Condition::Following => "following",
        Condition::Lagging => "lagging",
        Condition::Starting => "starting",
        Condition::Lost => "lost",
    }
}

/// A replica, judged among all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Row {
    name: String,
    node: String,
    version: String,
    generation: Option<String>,
    /// How long it has served that, in seconds.
    serving_seconds: Option<i64>,
    /// How long ago it was heard of, in seconds.
    seen_seconds: i64,
    leads: bool,
    condition: Condition,
}

impl Row {
    fn new(replica: &Replica, all: &Replicas) -> Self {
        let ago = |time: i64| (all.now - time).max(0);
        Self {
            name: replica.name.clone(),
            node: replica.node.clone(),
            version: replica.version.clone(),
            generation: replica.generation.clone(),
            serving_seconds: replica.serving_since.map(ago),
            seen_seconds: ago(replica.seen),
            leads: replica.is_leader,
            condition: all.condition(replica),
        }
    }
}

fn problems(rows: &[Row], all: &Replicas) -> Vec<String> {
    let mut problems = Vec::new();
    if rows.is_empty() {
        problems.push("no replica is known: none runs, or they may not write Leases".to_owned());
    } else if all.leader.is_none() {
        problems.push("nobody leads: status and Events are not written".to_owned());
    }
    for row in rows {
        match row.condition {
            Condition::Lagging => problems.push(format!(
                "{} lags behind: it has not served the newest configuration yet",
                row.name
            )),
            Condition::Lost => problems.push(format!(
                "{} has not been heard of for {} s: it was killed, or cannot reach the API server",
                row.name, row.seen_seconds
            )),
            Condition::Current | Condition::Following | Condition::Starting => {}
        }
    }
    problems
}

fn text(rows: &[Row], paint: Paint) -> String {
    let headings =
        ["REPLICA", "NODE", "VERSION", "GENERATION", "SERVING", "SEEN", "LEADS", "CONDITION"];
    let or_dash = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
    let rows: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            vec![
                row.name.clone(),
                or_dash(&row.node),
                or_dash(&row.version),
                or_dash(row.generation.as_deref().unwrap_or_default()),
                row.serving_seconds.map_or_else(|| "-".to_owned(), age),
                age(row.seen_seconds),
                if row.leads { "yes" } else { "" }.to_owned(),
                word(row.condition).to_owned(),
            ]
        })
        .collect();
    columns(&headings, &rows, paint)
}

/// A length of time as kubectl writes it, in its largest unit.
fn age(seconds: i64) -> String {
    match seconds {
        ..120 => format!("{seconds}s"),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_said_in_words() {
        let lost = Replica {
            name: "a".into(),
            node: String::new(),
            version: "1.0.0".into(),
            generation: Some("x".into()),
            serving_since: Some(1),
            seen: 1,
            is_leader: true,
        };
        let all = Replicas { replicas: vec![lost], leader: None, now: 99 };
        let rows: Vec<Row> = all.replicas.iter().map(|one| Row::new(one, &all)).collect();
        assert_eq!(
            problems(&rows, &all),
            [
                "nobody leads: status and Events are not written",
                "a has not been heard of for 98 s: it was killed, or cannot reach the API server"
            ]
        );
        assert_eq!(
            text(&rows, Paint::OFF),
            "REPLICA  NODE  VERSION  GENERATION  SERVING  SEEN  LEADS  CONDITION\n\
             a        -     1.0.0    x           98s      98s   yes    lost\n"
        );
    }

    #[test]
    fn ages_have_one_unit() {
        assert_eq!([0, 119, 120, 7_200, 172_800].map(age), ["0s", "119s", "2m", "2h", "2d"]);
    }
}
