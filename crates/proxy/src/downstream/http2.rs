//! stub
use super::*;
use crate::downstream::client::ClientFacts;
use crate::transport::Transport;
use crate::watch::Registered;
use std::rc::Rc;
pub(crate) enum Stream {}
pub(crate) fn is_preface(_: &[u8]) -> bool {
    false
}
pub(crate) async fn serve_cleartext(
    _: Rc<Worker>,
    _: Transport,
    _: Rc<ClientFacts>,
    _: Box<Work>,
    _: &Registered,
) {
}
pub(crate) async fn serve(
    _: Rc<Worker>,
    _: Transport,
    _: Rc<ClientFacts>,
    _: &[u8],
    _: &Registered,
) {
}
impl Stream {
    pub(crate) fn work(&self) -> &Work {
        match *self {}
    }
    pub(crate) fn work_mut(&mut self) -> &mut Work {
        match *self {}
    }
    pub(crate) fn inform(
        &mut self,
        _: &mut Context<'_>,
        _: &ResponseHead,
        _: &[u8],
    ) -> Result<(), ProxyError> {
        match *self {}
    }
    pub(crate) fn begin(
        &mut self,
        _: &mut Context<'_>,
        _: &Worker,
        _: &Begin<'_>,
    ) -> Result<(), ProxyError> {
        match *self {}
    }
    pub(crate) fn begin_tunnel(
        &mut self,
        _: &mut Context<'_>,
        _: &ResponseHead,
        _: &[u8],
    ) -> Result<(), ProxyError> {
        match *self {}
    }
    pub(crate) fn answer(
        &mut self,
        _: &mut Context<'_>,
        _: &Worker,
        _: &Answer<'_>,
    ) -> Result<(), ProxyError> {
        match *self {}
    }
    pub(crate) fn has_begun(&self) -> bool {
        match *self {}
    }
    pub(crate) fn body_is_pending(&self) -> bool {
        match *self {}
    }
    pub(crate) fn has_body(&self) -> bool {
        match *self {}
    }
    pub(crate) fn reset(&mut self, _: &ProxyError) {
        match *self {}
    }
    pub(crate) fn poll_gone(&mut self, _: &mut Context<'_>) -> Poll<ProxyError> {
        match *self {}
    }
    pub(crate) fn protocol(&self) -> telemetry::Protocol {
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
