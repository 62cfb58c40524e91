//! What was asked for on the command line.

use std::path::{Path, PathBuf};

use super::Result;

pub(super) const HELP: &str = "\
Measure this proxy beside nginx and HAProxy, and in a cluster

  cargo xtask bench [OPTION...]
  cargo xtask bench cluster [OPTION...]    the cluster alone (--help tells more)

  --scenario LIST   a,b,c,d,d-tls,e, idle, change, lookup, compile, cluster; comma-separated (all)
  --rounds N        interleaved rounds; medians are reported (5)
  --seconds S       seconds of load in each (2)
  --quick           one round of one second: to see that it runs, not to publish
  --suite NAME      Debian suite that the peers come from (sid)
  --binary PATH     measure this program instead of building the release profile
  --only LIST       engines by name, such as nginx,haproxy (all)
  --no-profile      do not sample the CPU of ours where a target is missed (it needs perf)
  --out DIRECTORY   where latest.md and latest.json go (docs/benchmarks), and those of the cluster

It downloads the peers once, into the target directory. CPUs 0 and 1 should be idle.
";

/// Parts that are no scenarios of load.
const OTHERS: &[&str] = &["idle", "change", "lookup", "compile", "cluster"];

/// What was asked for.
#[derive(Clone, Debug)]
pub(super) struct Options {
    /// Already inside the network that is measured in.
    pub(super) inside: bool,
    /// Empty for all.
    pub(super) scenarios: Vec<String>,
    pub(super) rounds: usize,
    pub(super) seconds: u64,
    /// To see that it runs.
    is_quick: bool,
    pub(super) suite: String,
    pub(super) binary: Option<PathBuf>,
    /// Empty for all.
    pub(super) only: Vec<String>,
    pub(super) profile: bool,
    pub(super) out: Option<PathBuf>,
}

impl Options {
    /// Reads the arguments; `None` where help is wanted.
    pub(super) fn parse(arguments: &[String]) -> Result<Option<Self>> {
        let mut options = Self {
            inside: false,
            scenarios: Vec::new(),
            rounds: 5,
            seconds: 2,
            is_quick: false,
            suite: "sid".to_owned(),
            binary: None,
            only: Vec::new(),
            profile: true,
            out: None,
        };
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let mut value =
                || rest.next().cloned().ok_or_else(|| format!("`{argument}` needs a value"));
            match argument.as_str() {
                "--inside" => options.inside = true,
                "--scenario" => options.scenarios = list(&value()?),
                "--rounds" => options.rounds = count(argument, &value()?)?,
                "--seconds" => options.seconds = count(argument, &value()?)? as u64,
                "--quick" => {
                    (options.rounds, options.seconds, options.is_quick) = (1, 1, true);
                }
                "--suite" => options.suite = value()?,
                "--binary" => options.binary = Some(value()?.into()),
                "--only" => options.only = list(&value()?),
                "--no-profile" => options.profile = false,
                "--out" => options.out = Some(value()?.into()),
                "--help" | "-h" => return Ok(None),
                other => return Err(format!("unexpected argument `{other}`")),
            }
        }
        for name in &options.scenarios {
            let known = super::scenario::SCENARIOS.iter().any(|scenario| scenario.name == name);
            if !known && !OTHERS.contains(&name.as_str()) {
                return Err(format!("there is no scenario `{name}`"));
            }
        }
        Ok(Some(options))
    }

    /// Whether a part of the measurement was asked for.
    pub(super) fn wants(&self, part: &str) -> bool {
        self.scenarios.is_empty() || self.scenarios.iter().any(|name| name == part)
    }

    /// Whether anything but the cluster was asked for.
    pub(super) fn wants_proxies(&self) -> bool {
        self.scenarios.is_empty() || self.scenarios.iter().any(|name| name != "cluster")
    }

    /// What the measurement of the cluster is told of this.
    pub(super) fn of_cluster(&self) -> Vec<String> {
        let path = |path: &Path| path.display().to_string();
        let mut arguments = Vec::new();
        if let Some(binary) = &self.binary {
            arguments.extend(["--binary".to_owned(), path(binary)]);
        }
        if let Some(out) = &self.out {
            arguments.extend(["--out".to_owned(), path(out)]);
        }
        if self.is_quick {
            arguments.push("--quick".to_owned());
        }
        arguments
    }

    /// Whether an engine was asked for.
    pub(super) fn wants_engine(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == name)
    }
}

fn list(text: &str) -> Vec<String> {
    text.split(',').filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

pub(super) fn count(option: &str, text: &str) -> Result<usize> {
    match text.parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err(format!("`{option}` takes a number above zero, not `{text}`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Option<Options>> {
        let arguments: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        Options::parse(&arguments)
    }

    #[test]
    fn a_list_of_scenarios_is_what_is_wanted() {
        let options = parse("--scenario a,idle --rounds 3").unwrap().unwrap();
        assert!(options.wants("a") && options.wants("idle") && !options.wants("b"));
        assert_eq!(options.rounds, 3);
    }

    #[test]
    fn the_cluster_is_measured_alone_or_with_everything_else() {
        let parsed = |text: &str| parse(text).unwrap().unwrap();
        let wants = |text| (parsed(text).wants_proxies(), parsed(text).wants("cluster"));
        assert_eq!(wants(""), (true, true));
        assert_eq!(wants("--scenario cluster"), (false, true));
        assert_eq!(wants("--scenario a"), (true, false));
        assert_eq!(parsed("--quick --out x").of_cluster(), ["--out", "x", "--quick"]);
    }

    #[test]
    fn nonsense_is_refused() {
        assert!(parse("--scenario z").is_err());
        assert!(parse("--rounds 0").is_err());
        assert!(parse("--rounds").is_err());
        assert!(parse("--fast").is_err());
    }
}
