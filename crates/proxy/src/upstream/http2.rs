//! stub
use crate::buffer::Input;
use crate::error::ProxyError;
use crate::exchange::{BodySink, BodySource, Piece};
use crate::registry::ConnectionIdentity;
use crate::upstream::pool::{InFlight, Local};
use crate::worker::Worker;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;
use wire::ResponseHead;
pub(crate) enum Stream {}
#[derive(Debug)]
pub(crate) struct Handle;
impl Handle {
    pub(crate) fn is_closed(&self) -> bool {
        true
    }
}
pub(crate) async fn open(
    _: &Rc<Worker>,
    _: &Rc<Local>,
    _: &ConnectionIdentity,
    _: InFlight,
    _: Duration,
) -> Result<Stream, ProxyError> {
    Err(ProxyError::NoEndpoint)
}
impl Stream {
    pub(crate) fn poll_head(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ProxyError>> {
        match *self {}
    }
    pub(crate) fn head(&self) -> (&ResponseHead, &[u8]) {
        match *self {}
    }
    pub(crate) fn first_piece(&mut self) -> Result<Option<Piece>, ProxyError> {
        match *self {}
    }
    pub(crate) fn begin_tunnel(&mut self) {
        match *self {}
    }
    pub(crate) fn was_refused(&self) -> bool {
        match *self {}
    }
    pub(crate) fn send_head(
        &mut self,
        _: &[u8],
        _: bool,
        _: bool,
        _: &[u8],
        _: Option<&[u8]>,
    ) -> Result<(), ProxyError> {
        match *self {}
    }
}
impl BodySource for Stream {
    fn poll_piece(&mut self, _: &mut Context<'_>, _: &mut [u8]) -> Poll<Result<Piece, ProxyError>> {
        match *self {}
    }
    fn own(&self) -> &Input {
        match *self {}
    }
    fn release(&mut self, _: &Piece) {
        match *self {}
    }
    fn trailers(&self) -> &[u8] {
        match *self {}
    }
}
impl BodySink for Stream {
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<usize, ProxyError>> {
        match *self {}
    }
    fn write(&mut self, _: &mut Context<'_>, _: &[u8], _: Option<&[u8]>) -> Result<(), ProxyError> {
        match *self {}
    }
    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ProxyError>> {
        match *self {}
    }
}
