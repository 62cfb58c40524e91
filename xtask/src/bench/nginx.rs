//! nginx, configured as one who knows it would: one server block per host, pooled upstreams, no
//! files for what fits in memory.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use super::Result;
use super::engine::Ports;
use super::fleet::{Fleet, HOSTS, SERVICES, host};

/// How much of a response is read at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Buffers {
    /// 16 KiB, eight of them: a usual tuning.
    Usual,
    /// 64 KiB and four of 128 KiB: for large bodies.
    Large,
}

/// Writes the configuration and gives the command that runs it.
pub(super) fn command(
    fleet: &Fleet<'_>,
    home: &Path,
    ports: Ports,
    buffers: Buffers,
    access_log: bool,
) -> Result<Command> {
    let told = |error| format!("{}: {error}", home.display());
    let configuration = configuration(fleet, home, ports, buffers, access_log);
    let file = home.join("nginx.conf");
    fs::write(&file, configuration).map_err(told)?;
    let mut command = fleet.programs.peer("usr/sbin/nginx");
    command.arg("-p").arg(home).arg("-c").arg(file).arg("-e").arg(home.join("error.log"));
    Ok(command)
}

fn configuration(
    fleet: &Fleet<'_>,
    home: &Path,
    ports: Ports,
    buffers: Buffers,
    access_log: bool,
) -> String {
    let home = home.display();
    let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
    let sizes = match buffers {
        Buffers::Usual => "proxy_buffer_size 16k; proxy_buffers 8 16k;",
        Buffers::Large => "proxy_buffer_size 64k; proxy_buffers 4 128k;",
    };
    let log = if access_log {
        format!("access_log {home}/logs/access.log bench buffer=64k flush=1s;")
    } else {
        "access_log off;".to_owned()
    };
    let mut text = format!(
        "daemon off;\n{user}\nworker_processes 1;\npid {home}/nginx.pid;\n\
         events {{ worker_connections 32768; multi_accept on; }}\n\
         http {{\n\
         server_tokens off; tcp_nodelay on; reset_timedout_connection on;\n\
         log_format bench escape=json '{{\"time\":\"$time_iso8601\",\"client\":\"$remote_addr\",\
         \"method\":\"$request_method\",\"host\":\"$host\",\
         \"uri\":\"$request_uri\",\"status\":$status,\
         \"bytes\":$bytes_sent,\"duration\":$request_time,\"upstream\":\"$upstream_addr\",\
         \"upstream_duration\":\"$upstream_response_time\",\"agent\":\"$http_user_agent\",\
         \"referer\":\"$http_referer\",\"id\":\"$request_id\"}}';\n\
         {log}\n\
         keepalive_timeout 75s; keepalive_requests 100000000;\n\
         server_names_hash_max_size 8192; server_names_hash_bucket_size 128;\n\
         client_body_temp_path {home}/body; proxy_temp_path {home}/proxy;\n\
         fastcgi_temp_path {home}/fastcgi; uwsgi_temp_path {home}/uwsgi;\n\
         scgi_temp_path {home}/scgi;\n\
         proxy_http_version 1.1; proxy_buffering on; proxy_max_temp_file_size 0; {sizes}\n\
         proxy_set_header Connection \"\";\n\
         proxy_set_header Host $http_host;\n\
         proxy_set_header X-Real-IP $remote_addr;\n\
         proxy_set_header X-Request-ID $request_id;\n\
         proxy_set_header X-Forwarded-For $remote_addr;\n\
         proxy_set_header X-Forwarded-Host $http_host;\n\
         proxy_set_header X-Forwarded-Port $server_port;\n\
         proxy_set_header X-Forwarded-Proto $scheme;\n\
         ssl_certificate {certificate}; ssl_certificate_key {key};\n\
         ssl_protocols TLSv1.2 TLSv1.3; ssl_session_cache shared:bench:10m;\n",
        certificate = fleet.certificate().display(),
        key = fleet.key().display(),
    );
    for ((name, _), port) in SERVICES.iter().zip(fleet.ports) {
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "upstream {name} {{ server 127.0.0.1:{port} max_fails=0; keepalive 512; \
             keepalive_requests 100000000; }}"
        );
    }
    let listen = format!(
        "listen 127.0.0.1:{} backlog=4096; listen 127.0.0.1:{} ssl backlog=4096; http2 on;",
        ports.http, ports.https
    );
    let later = listen.replace(" backlog=4096", "");
    let _ = writeln!(text, "server {{ {listen} server_name _; return 404; }}");
    for index in 0..HOSTS {
        let _ = writeln!(text, "server {{ {later} server_name {};", host(index));
        for (name, path) in SERVICES {
            let _ = writeln!(text, " location {path} {{ proxy_pass http://{name}; }}");
        }
        text.push_str("}\n");
    }
    text.push_str("}\n");
    text
}
