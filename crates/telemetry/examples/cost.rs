//! What telling one request costs, in nanoseconds: `cargo run --release -p telemetry --example
//! cost`.

use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use telemetry::{
    AccessLog, AccessRecord, LogTarget, Telemetry, TelemetrySettings, TlsRecord, UpstreamRecord,
};

const ROUNDS: u32 = 2_000_000;

fn main() -> std::io::Result<()> {
    let record = record();
    for access_log in [AccessLog::Off, AccessLog::Text, AccessLog::Json] {
        let telemetry = Telemetry::new(TelemetrySettings {
            access_log,
            target: LogTarget::file(Path::new("/dev/null"))?,
            ..TelemetrySettings::new(1)
        });
        let (worker, route) = (telemetry.worker(0), telemetry.route("shop", "cart"));
        let started = Instant::now();
        for round in 0..ROUNDS {
            let duration_us = 100 + u64::from(round % 512);
            let record = AccessRecord {
                time_us: record.time_us + u64::from(round) * 10,
                duration_us,
                ..record
            };
            worker.request(&route, 200, duration_us, 300, 1_200);
            worker.access(black_box(&record));
        }
        let each = started.elapsed() / ROUNDS;
        println!("{access_log:?}: {each:?} per request");
    }
    Ok(())
}

fn record() -> AccessRecord<'static> {
    let peer = ([127, 0, 0, 1], 50_000).into();
    AccessRecord {
        method: b"GET",
        host: b"host-0421.bench.test",
        path: b"/api/v1/items/42",
        query: Some(b"page=3&sort=name"),
        status: 200,
        bytes_in: 300,
        bytes_out: 1_200,
        upstream: Some(UpstreamRecord {
            address: ([10, 1, 2, 3], 8_080).into(),
            status: 200,
            duration_us: 250,
            attempts: 1,
        }),
        namespace: "bench",
        ingress: "host-0421",
        route: "/api",
        service: "bench/service-0421:80",
        request_id: b"5f2b8c1e9d7a4e3f8b6c5d4e3f2a1b0c",
        generation: "0123456789abcdef",
        tls: Some(TlsRecord { version: "1.3", sni: "host-0421.bench.test" }),
        user_agent: b"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
        ..AccessRecord::new(1_709_210_096_000_789, peer)
    }
}
