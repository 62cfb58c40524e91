//! Prometheus's text format 0.0.4, written.

use std::fmt::Display;
use std::fmt::Write as _;

use crate::escape;
use crate::histogram::{BOUNDS_SECONDS, HistogramSum};
use crate::metrics::Family;

/// A page that is being written. Every label value passes [`escape::label`].
#[derive(Debug, Default)]
pub(crate) struct Exposition {
    out: String,
}

impl Exposition {
    /// Begins a family; its samples follow before the next one begins.
    pub(crate) fn family(&mut self, family: &Family) {
        let (name, kind) = (family.name, family.kind.word());
        let _ = writeln!(self.out, "# HELP {name} {}", family.help);
        let _ = writeln!(self.out, "# TYPE {name} {kind}");
    }

    /// One number. `values` are the values of the family's labels, in their order.
    pub(crate) fn sample(&mut self, family: &Family, values: &[&str], value: impl Display) {
        self.line(family, "", values, None, value);
    }

    /// A histogram's buckets, sum and count.
    pub(crate) fn histogram(&mut self, family: &Family, values: &[&str], sum: &HistogramSum) {
        let mut below = 0;
        let bounds = BOUNDS_SECONDS.iter().copied().chain(std::iter::once("+Inf"));
        for (bound, count) in bounds.zip(sum.buckets) {
            below += count;
            self.line(family, "_bucket", values, Some(bound), below);
        }
        self.line(family, "_sum", values, None, sum.sum_us as f64 / 1e6);
        self.line(family, "_count", values, None, below);
    }

    fn line(
        &mut self,
        family: &Family,
        suffix: &str,
        values: &[&str],
        bound: Option<&str>,
        number: impl Display,
    ) {
        debug_assert_eq!(family.labels.len(), values.len(), "{}", family.name);
        self.out.push_str(family.name);
        self.out.push_str(suffix);
        let labels = family.labels.iter().copied().zip(values.iter().copied());
        let labels = labels.chain(bound.map(|bound| ("le", bound)));
        let mut before = '{';
        for (label, value) in labels {
            self.out.push(before);
            self.out.push_str(label);
            self.out.push_str("=\"");
            escape::label(&mut self.out, value);
            self.out.push('"');
            before = ',';
        }
        if before == ',' {
            self.out.push('}');
        }
        let _ = writeln!(self.out, " {number}");
    }

    /// The page.
    pub(crate) fn finish(self) -> String {
        self.out
    }
}
