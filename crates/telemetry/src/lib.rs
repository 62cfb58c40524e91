//! What happened: metrics, access log, process log.
