//! A control plane to play with: prints how to reach it, and lives until standard input ends.
//!
//! `cargo run -p testkit --example control_plane`

use std::io::Read as _;

use testkit::cluster::ControlPlaneOptions;

fn main() {
    let control_plane = ControlPlaneOptions::new().controllers().reachable().start();
    println!("export KUBECONFIG={}", control_plane.kubeconfig().display());
    println!("the control plane runs until you press Ctrl-D");
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}
