//! `cargo xtask deploy`: what `deploy/` has that follows from the rest of it.
//!
//! The flat manifest is what kubectl makes of the default folder; the page of the chart lists its
//! values as their schema describes them. Tests compare both with what is committed.

use std::fmt::Write as _;
use std::process::{Command, ExitCode};

use serde_json::Value;

use crate::command::{self, root};
use crate::kube_assets;
use crate::step::Steps;
use crate::unexpected;

/// What the flat manifest begins with.
const FLAT: &str = "\
# Portcullis, two replicas behind a load balancer: what kustomize makes of deploy/load-balancer.
# Written by `cargo xtask deploy`; a test compares it.
---
";

/// What the page of the chart begins with.
const CHART: &str = "\
# The chart

```sh
helm install portcullis deploy/chart/portcullis --namespace portcullis-system --create-namespace
```

With its own values it makes what `kubectl apply -k deploy/load-balancer` makes. How to go on from
there is in the [guide](../../../docs/guide/installing.md). Unknown values are errors, and so are
values that contradict each other.

## Values

Written by `cargo xtask deploy` from `values.schema.json`.

| Value | Default | What it does |
|---|---|---|
";

pub(crate) fn run(rest: &[String]) -> ExitCode {
    if let Some(usage) = unexpected(rest) {
        return usage;
    }
    let mut steps = Steps::default();
    steps.run("flat manifest", || match kube_assets::directory() {
        Ok(programs) => {
            let mut kubectl = Command::new(programs.join("kubectl"));
            kubectl.arg("kustomize").arg(root().join("deploy/load-balancer"));
            let text = command::output(&mut kubectl);
            text.and_then(|text| write("portcullis.yaml", [FLAT.as_bytes(), &text].concat())).into()
        }
        Err(absent) => absent.outcome(),
    });
    steps.run("page of the chart", || {
        page().and_then(|page| write("chart/portcullis/README.md", page.into_bytes())).into()
    });
    steps.finish()
}

fn write(file: &str, text: Vec<u8>) -> Result<(), String> {
    let path = root().join("deploy").join(file);
    std::fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))
}

/// The page of the chart.
fn page() -> Result<String, String> {
    let path = root().join("deploy/chart/portcullis/values.schema.json");
    let text =
        std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let schema: Value =
        serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?;
    let mut page = CHART.to_owned();
    rows("", &schema, &mut page);
    Ok(page)
}

/// One row for each value below a node of the schema.
fn rows(path: &str, node: &Value, page: &mut String) {
    for (name, one) in node["properties"].as_object().into_iter().flatten() {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        let Some(default) = one.get("default") else {
            rows(&path, one, page);
            continue;
        };
        let mut description = one["description"].as_str().unwrap_or_default().to_owned();
        let words = one["enum"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let words: Vec<_> = words.map(|word| format!("`{word}`")).collect();
        if !words.is_empty() {
            let _ = write!(description, " One of {}.", words.join(", "));
        }
        // Writing to a `String` cannot fail.
        let _ = writeln!(page, "| `{path}` | `{default}` | {} |", description.replace('|', "\\|"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_of_the_chart_lists_its_values_as_they_are() {
        let committed = std::fs::read_to_string(root().join("deploy/chart/portcullis/README.md"));
        assert!(committed.unwrap() == page().unwrap(), "`cargo xtask deploy` writes it anew");
    }

    #[test]
    fn a_value_stands_with_its_path_its_default_and_the_words_it_may_be() {
        let schema = serde_json::json!({ "properties": { "service": { "properties": {
            "type": { "description": "Its type.", "default": "A", "enum": ["A", "B"] },
        } } } });
        let mut page = String::new();
        rows("", &schema, &mut page);
        assert_eq!(page, "| `service.type` | `\"A\"` | Its type. One of `A`, `B`. |\n");
    }
}
