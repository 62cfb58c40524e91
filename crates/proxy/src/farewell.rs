//! Ends a tunnel whose time is over: because the process stops, or its route was withdrawn.
//!
//! Both sides hear that it ends, and not that something broke: an end of the stream behind
//! everything that was taken over, and in a WebSocket before that a Close (1001, going away), where
//! the bytes that passed end with a frame. In the middle of one the end alone has to do.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use wire::websocket_close;

use crate::downstream::Downstream;
use crate::exchange::{BodySink, Relay};
use crate::upstream::stream::UpstreamStream;
use crate::watch::{Watch, ticks};
use crate::worker::Worker;

/// Whoever takes nothing for so long is not waited for.
const PATIENCE: Duration = Duration::from_secs(1);

/// The endpoint, or the browser, is going away (RFC 6455 section 7.4.1).
const GOING_AWAY: u16 = 1001;

/// Says it to both sides. What fails here has ended anyway.
pub(crate) async fn say(
    worker: &Worker,
    watch: &Watch,
    relay: &Relay,
    down: &mut Downstream<'_>,
    up: &mut UpstreamStream,
) {
    watch.arm(worker.watches.after(ticks(PATIENCE)));
    let mask = worker.rng.borrow_mut().u32(..).to_ne_bytes();
    let mut said = false;
    poll_fn(|cx| {
        if !std::mem::replace(&mut said, true) {
            if relay.response.may_close() {
                let (close, length) = websocket_close(GOING_AWAY, None);
                let _ = down.write(cx, &close[..length], Some(b""));
            }
            if relay.request.may_close() {
                let (close, length) = websocket_close(GOING_AWAY, Some(mask));
                let _ = up.write(cx, &close[..length], Some(b""));
            }
        }
        let waits = down.poll_flush(cx).is_pending() | up.poll_flush(cx).is_pending();
        if waits && !watch.is_expired() { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
}
