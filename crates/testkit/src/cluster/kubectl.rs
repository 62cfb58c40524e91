//! The `kubectl` that users have in their hands.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::ended::run;
use super::{ControlPlane, assets};

impl ControlPlane {
    /// Runs kubectl as somebody who may do everything; its output.
    ///
    /// # Panics
    /// When it fails; what it said is shown.
    pub fn kubectl(&self, arguments: &[&str]) -> String {
        self.try_kubectl(arguments).unwrap_or_else(|why| panic!("kubectl {arguments:?}: {why}"))
    }

    /// As [`Self::kubectl`].
    ///
    /// # Errors
    /// What kubectl said when it failed.
    pub fn try_kubectl(&self, arguments: &[&str]) -> Result<String, String> {
        self.kubectl_with(self.kubeconfig(), arguments, "")
    }

    /// Runs kubectl with a kubeconfig and this on its input.
    ///
    /// # Errors
    /// What kubectl said when it failed.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn kubectl_with(
        &self,
        kubeconfig: &Path,
        arguments: &[&str],
        input: &str,
    ) -> Result<String, String> {
        run(&mut self.command(kubeconfig, arguments), input)
    }

    /// `kubectl edit` with this program for an editor.
    ///
    /// # Panics
    /// When it fails; what it said is shown.
    pub fn kubectl_edit(&self, editor: &str, arguments: &[&str]) {
        let mut command = self.command(self.kubeconfig(), arguments);
        let path = std::env::var_os("PATH").unwrap_or_default();
        command.env("KUBE_EDITOR", editor).env("PATH", path);
        run(&mut command, "").unwrap_or_else(|why| panic!("kubectl {arguments:?}: {why}"));
    }

    /// Runs Helm as somebody who may do everything, with these values on its input; its output.
    ///
    /// # Panics
    /// When it fails; what it said is shown.
    pub fn helm(&self, arguments: &[&str], values: &str) -> String {
        let mut command = Command::new(assets::helm());
        command.args(arguments).env_clear();
        command.env("HOME", self.directory()).env("KUBECONFIG", self.kubeconfig());
        run(&mut command, values).unwrap_or_else(|why| panic!("helm {arguments:?}: {why}"))
    }

    fn command(&self, kubeconfig: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(assets::program("kubectl"));
        // What it learns of the API is kept in its home, so that the next call need not ask.
        command.args(arguments).env_clear();
        command.env("HOME", self.directory()).env("KUBECONFIG", kubeconfig);
        command
    }

    /// `kubectl apply` of manifests.
    ///
    /// # Panics
    /// When it fails; what it said is shown.
    pub fn apply(&self, manifests: &str) -> String {
        self.kubectl_with(self.kubeconfig(), &["apply", "-f", "-"], manifests)
            .unwrap_or_else(|why| panic!("kubectl apply: {why}\n{manifests}"))
    }

    /// `kubectl delete` of the objects of manifests; waits until they are gone.
    ///
    /// # Panics
    /// When it fails; what it said is shown.
    pub fn delete(&self, manifests: &str) -> String {
        self.kubectl_with(self.kubeconfig(), &["delete", "-f", "-"], manifests)
            .unwrap_or_else(|why| panic!("kubectl delete: {why}\n{manifests}"))
    }

    /// `kubectl get -o json`.
    ///
    /// # Panics
    /// When it fails; what it said is shown.
    pub fn kubectl_json(&self, arguments: &[&str]) -> Value {
        let mut all = vec!["get", "-o", "json"];
        all.extend(arguments);
        serde_json::from_str(&self.kubectl(&all)).expect("kubectl writes JSON")
    }
}
