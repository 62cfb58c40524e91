//! The time of a record in RFC 3339, with the part down to the second kept between records.

/// The text of the second that was written last.
#[derive(Debug)]
pub(crate) struct Timestamp {
    second: u64,
    /// `2026-11-23T19:33:10.`
    text: [u8; 20],
}

impl Default for Timestamp {
    fn default() -> Self {
        let mut stamp = Self { second: 0, text: [b'0'; 20] };
        stamp.turn_to(0);
        stamp
    }
}

impl Timestamp {
    /// Appends the time with microseconds, in UTC.
    #[inline]
    pub(crate) fn write(&mut self, out: &mut Vec<u8>, time_us: u64) {
        let second = time_us / 1_000_000;
        if second != self.second {
            self.turn_to(second);
        }
        let mut text = [0; 27];
        text[..20].copy_from_slice(&self.text);
        let mut rest = time_us % 1_000_000;
        for place in (20..26).rev() {
            text[place] = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        text[26] = b'Z';
        out.extend_from_slice(&text);
    }

    #[cold]
    fn turn_to(&mut self, second: u64) {
        self.second = second;
        let instant = i64::try_from(second).ok().and_then(|s| jiff::Timestamp::from_second(s).ok());
        // Beyond the year 9999 no clock is right; the text must keep its width all the same.
        let text = instant.unwrap_or_default().strftime("%Y-%m-%dT%H:%M:%S.").to_string();
        if let Ok(text) = text.as_bytes().try_into() {
            self.text = text;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(stamp: &mut Timestamp, time_us: u64) -> String {
        let mut out = Vec::new();
        stamp.write(&mut out, time_us);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn times_are_utc_with_microseconds() {
        let mut stamp = Timestamp::default();
        assert_eq!(told(&mut stamp, 0), "1970-01-01T00:00:00.000000Z");
        assert_eq!(told(&mut stamp, 1_709_210_096_000_789), "2024-02-29T12:34:56.000789Z");
        assert_eq!(told(&mut stamp, 1_709_210_096_999_999), "2024-02-29T12:34:56.999999Z");
        assert_eq!(told(&mut stamp, 1_709_210_097_000_000), "2024-02-29T12:34:57.000000Z");
    }

    #[test]
    fn a_clock_gone_mad_keeps_the_width() {
        assert_eq!(told(&mut Timestamp::default(), u64::MAX).len(), 27);
    }
}
