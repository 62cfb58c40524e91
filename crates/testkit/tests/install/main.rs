//! What is installed into a cluster: the folders of kustomize, the flat manifest and the chart,
//! rendered by kubectl and Helm, and handed to a real API server.

mod accepted;
mod cases;
mod chart;
mod cluster;
mod rights;
mod safety;
mod same;
mod webhook;
