//! The API server: that it answers, and what it is.

use k8s_openapi::apimachinery::pkg::version::Info;

use super::Check;
use super::ask::{Asked, Asker};

const ID: &str = "api-server";

/// The oldest minor version that has everything we ask for (`SelfSubjectReview` came last).
const MINOR_MIN: u32 = 28;

/// Asks for its version, which everybody may know.
pub(super) async fn look(asker: &Asker, address: &str) -> Check {
    match asker.ask(asker.client.apiserver_version()).await {
        Asked::Found(info) => judge(&info, address),
        Asked::Absent => Check::error(
            ID,
            format!("{address} answers, and is no API server"),
            "name the address of an API server in the kubeconfig",
        ),
        Asked::Unknown(why) => Check::error(
            ID,
            format!("{address} does not answer as an API server does: {why}"),
            "see whether `kubectl version` works with the same kubeconfig and context",
        ),
    }
}

fn judge(info: &Info, address: &str) -> Check {
    let what = format!("Kubernetes {} at {address}", info.git_version);
    // Some providers write `31+`.
    let minor = info.minor.trim_end_matches(|c: char| !c.is_ascii_digit());
    match (info.major.as_str(), minor.parse::<u32>()) {
        ("1", Ok(minor)) if minor < MINOR_MIN => Check::warning(
            ID,
            format!("{what} is older than 1.{MINOR_MIN}"),
            format!("upgrade the cluster to Kubernetes 1.{MINOR_MIN} or newer"),
        ),
        _ => Check::ok(ID, what),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Outcome;
    use super::*;

    #[test]
    fn what_is_older_than_what_we_ask_for_is_said() {
        let outcome = |minor: &str| {
            let info = Info { major: "1".into(), minor: minor.into(), ..Info::default() };
            judge(&info, "https://test").outcome
        };
        assert_eq!(outcome("27"), Outcome::Warning);
        assert_eq!(outcome("27+"), Outcome::Warning);
        assert_eq!(outcome("28"), Outcome::Ok);
        assert_eq!(outcome("36+"), Outcome::Ok);
    }
}
