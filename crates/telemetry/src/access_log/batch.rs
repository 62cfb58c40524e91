//! One worker's records on their way to the writer.

use super::timestamp::Timestamp;
use super::writer::Handle;
use super::{AccessLog, AccessRecord, format};
use crate::worker::WorkerShard;

/// A batch is handed over when it has this many bytes, or at the next tick.
const BATCH_BYTES: usize = 32 * 1024;

/// Records of one worker. Bound: `BATCH_BYTES` and one record.
#[derive(Debug)]
pub(crate) struct Batch {
    bytes: Vec<u8>,
    records: u64,
    format: AccessLog,
    stamp: Timestamp,
    writer: Handle,
}

impl Batch {
    pub(crate) fn new(format: AccessLog, writer: Handle) -> Self {
        Self { bytes: Vec::new(), records: 0, format, stamp: Timestamp::default(), writer }
    }

    /// Appends one record; a full batch is handed over, or dropped when the writer is behind.
    #[inline]
    pub(crate) fn append(&mut self, record: &AccessRecord<'_>, shard: &WorkerShard) {
        match self.format {
            AccessLog::Json => format::json(&mut self.bytes, &mut self.stamp, record),
            AccessLog::Text => format::text(&mut self.bytes, &mut self.stamp, record),
            AccessLog::Off => return,
        }
        self.records += 1;
        if self.bytes.len() >= BATCH_BYTES {
            self.hand_over(shard);
            if self.bytes.len() >= BATCH_BYTES {
                shard.log_dropped.add(self.records);
                self.bytes.clear();
                self.records = 0;
            }
        }
    }

    /// Gives the batch to the writer. When the writer is behind, it stays here for the next try.
    pub(crate) fn hand_over(&mut self, shard: &WorkerShard) {
        if self.bytes.is_empty() {
            return;
        }
        match self.writer.send(std::mem::take(&mut self.bytes)) {
            Ok(()) => {
                shard.log_records.add(self.records);
                self.records = 0;
                self.bytes = self.writer.spare();
            }
            Err(kept) => self.bytes = kept,
        }
    }

    /// Hands over what there is and has it written.
    pub(crate) fn flush(&mut self, shard: &WorkerShard) {
        self.hand_over(shard);
        self.writer.wake();
    }

    /// Counts what could not be handed over when the worker ends.
    pub(crate) fn give_up(&mut self, shard: &WorkerShard) {
        self.flush(shard);
        shard.log_dropped.add(self.records);
        self.records = 0;
        self.bytes = Vec::new();
    }
}
