//! Asks the compiler, which alone has the objects, about an Ingress that somebody wants to store.

use crossbeam_channel::Sender;
use tokio::sync::oneshot;
use translate::{Proposal, Verdict};

use crate::compiler::Message;

/// A question that waits for the compiler.
#[derive(Debug)]
pub(crate) struct Question {
    pub(crate) proposal: Proposal,
    /// Dropped where nothing can be said.
    pub(crate) answer: oneshot::Sender<Verdict>,
}

/// Whom to ask; may be cloned.
#[derive(Clone, Debug)]
pub struct Reviewer {
    inbox: Sender<Message>,
}

impl Reviewer {
    pub(crate) fn new(inbox: Sender<Message>) -> Self {
        Self { inbox }
    }

    /// What is to be said of a proposal; `None` where the objects have not been read yet, or so
    /// much is waiting to be read that this is not the time to ask. Waits as long as a build takes.
    pub async fn review(&self, proposal: Proposal) -> Option<Verdict> {
        let (answer, told) = oneshot::channel();
        let question = Box::new(Question { proposal, answer });
        self.inbox.try_send(Message::Review(question)).ok()?;
        told.await.ok()
    }
}
