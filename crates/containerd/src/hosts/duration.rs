//! Durations such as `5s`, `1h2m3.5s`, `-1s` and `0`, as Go's `time.ParseDuration` reads them.

use std::time::Duration;

/// The longest duration of Go, in nanoseconds.
const LONGEST: u64 = i64::MAX.unsigned_abs();

/// Parses a duration; returns `None` if Go rejects the text.
///
/// A negative duration becomes one nanosecond, because no connection succeeds with either.
pub(super) fn parse(text: &str) -> Option<Duration> {
    let (negative, mut rest) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total = 0_u64;
    while !rest.is_empty() {
        let (whole, after) = digits(rest);
        let (fraction, after) = after.strip_prefix('.').map_or(("", after), digits);
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let number = after
            .find(|c: char| c == '.' || c.is_ascii_digit())
            .unwrap_or(after.len());
        let unit = unit(&after[..number])?;
        let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        total = total
            .checked_add(whole.checked_mul(unit)?)?
            .checked_add(part(fraction, unit))?;
        if total > LONGEST {
            return None;
        }
        rest = &after[number..];
    }
    Some(Duration::from_nanos(if negative && total > 0 { 1 } else { total }))
}

fn digits(text: &str) -> (&str, &str) {
    text.split_at(text.bytes().take_while(u8::is_ascii_digit).count())
}

fn unit(name: &str) -> Option<u64> {
    Some(match name {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    })
}

/// Returns `0.<digits>` of a unit in whole nanoseconds. The longest unit has 13 digits, so later digits have no effect.
fn part(digits: &str, unit: u64) -> u64 {
    let digits = &digits[..digits.len().min(14)];
    let scale = digits.chars().fold(1_u128, |scale, _| scale * 10);
    let value = u128::from(digits.parse::<u64>().unwrap_or(0));
    u64::try_from(value * u128::from(unit) / scale).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_matches_go() {
        for (text, nanos) in [
            ("5s", 5_000_000_000),
            ("0", 0),
            ("+3s", 3_000_000_000),
            (".5s", 500_000_000),
            ("1.s", 1_000_000_000),
            ("1h2m3.5s", 3_723_500_000_000),
            ("1us", 1_000),
            ("1µs", 1_000),
            ("1μs", 1_000),
            ("9223372036854775807ns", LONGEST),
            ("-1s", 1),
            ("-0s", 0),
            ("0.00000000000000000000001h", 0),
        ] {
            assert_eq!(parse(text), Some(Duration::from_nanos(nanos)), "{text}");
        }
        for text in [
            "",
            "5",
            "x",
            "-",
            ".s",
            "1e3s",
            " 5s",
            "1d",
            "5 s",
            "9223372036854775808ns",
            "3000000h",
            "s",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
