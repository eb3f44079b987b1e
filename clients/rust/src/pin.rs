//! Specs that a hit without a call is possible for.

pub(crate) const MARKER: &str = ".SUCCESS";
const MAX_DIGITS: usize = 18;

/// The parts of a spec that pins a version.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Pin<'a> {
    pub(crate) name: &'a str,
    pub(crate) version: &'a str,
    /// Empty: none.
    pub(crate) part: &'a str,
}

impl<'a> Pin<'a> {
    /// Reads a spec that pins a version. Only names that a push accepts, an exact version, and
    /// parts in plain letters pass: narrower than the daemon's grammar, and in linear time. Nothing
    /// in it can climb, is hidden, or reads as a version.
    pub(crate) fn parse(spec: &'a str) -> Option<Self> {
        let (name, rest) = spec.split_once(':')?;
        if spec.contains("..") || !is_plain_name(name) {
            return None;
        }
        let (version, part) = match rest.split_once('[') {
            None => (rest, ""),
            Some((version, part)) => {
                let part = part.strip_suffix(']')?;
                let part = part.strip_prefix('/').unwrap_or(part);
                (version, is_plain_part(part).then_some(part)?)
            }
        };
        (is_number(version) || is_date(version)).then_some(Self { name, version, part })
    }
}

fn is_plain_name(name: &str) -> bool {
    !name.ends_with(['_', '.', '-']) && name.split('/').all(is_plain_segment)
}

fn is_plain_segment(segment: &str) -> bool {
    segment.starts_with(|first: char| first.is_ascii_alphanumeric())
        && segment.bytes().all(|letter| letter.is_ascii_alphanumeric() || b"_.-".contains(&letter))
        && !looks_like_version(segment)
}

/// Whether each segment is of letters, digits and a few signs, and neither the folder itself nor a
/// marker.
fn is_plain_part(part: &str) -> bool {
    let is_plain = |letter: u8| letter.is_ascii_alphanumeric() || b"_. +=@,-".contains(&letter);
    part.split('/')
        .all(|segment| !matches!(segment, "" | "." | MARKER) && segment.bytes().all(is_plain))
}

/// Whether a segment reads as a version, or begins as a date does.
fn looks_like_version(segment: &str) -> bool {
    const DAY: &str = "dddd-dd-ddT";
    let day = segment.get(..DAY.len());
    day.is_some_and(|day| has_form(day, DAY))
        || segment
            .split_once('.')
            .is_some_and(|(major, minor)| is_digits(major) && is_digits(minor))
}

fn is_number(version: &str) -> bool {
    let parts = version.split_once('.');
    parts.is_some_and(|(major, minor)| is_canonical(major) && is_canonical(minor))
}

fn is_date(version: &str) -> bool {
    has_form(version, "dddd-dd-ddTdd-dd-ddZ")
}

/// Compares with a form in which d stands for a digit.
fn has_form(text: &str, form: &str) -> bool {
    text.len() == form.len()
        && text.bytes().zip(form.bytes()).all(|(letter, form)| match form {
            b'd' => letter.is_ascii_digit(),
            form => letter == form,
        })
}

/// Whether the text is a number without leading zeros that fits into 64 bits.
fn is_canonical(number: &str) -> bool {
    is_digits(number) && number.len() <= MAX_DIGITS && (!number.starts_with('0') || number == "0")
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|letter| letter.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pinned_specs_are_read() {
        for (spec, name, version, part) in [
            ("nlp/ranker:1.2", "nlp/ranker", "1.2", ""),
            ("a:0.0", "a", "0.0", ""),
            ("a.b-c_d/e:2026-01-31T18-30-00Z", "a.b-c_d/e", "2026-01-31T18-30-00Z", ""),
            ("a:1.2[b/c d.txt]", "a", "1.2", "b/c d.txt"),
            ("a:1.2[/.gitattributes]", "a", "1.2", ".gitattributes"),
        ] {
            assert_eq!(Pin::parse(spec), Some(Pin { name, version, part }), "{spec}");
        }
    }

    #[test]
    fn all_else_is_for_the_daemon() {
        for spec in [
            "",
            "a",
            "a:",
            "a:1",
            "a:01.2",
            "a:1.02",
            "a:1.2.3",
            "a:1.1234567890123456789",
            ":1.2",
            "/a:1.2",
            "a/:1.2",
            "a//b:1.2",
            ".a:1.2",
            "a_:1.2",
            "a/../b:1.2",
            "1.2/a:1.2",
            "2026-01-31T/a:1.2",
            "a b:1.2",
            "\u{e4}:1.2",
            "a:1.2[",
            "a:1.2[]",
            "a:1.2[b",
            "a:1.2[b]c",
            "a:1.2[..]",
            "a:1.2[b/./c]",
            "a:1.2[b//c]",
            "a:1.2[.SUCCESS]",
            "a:1.2[\u{e4}]",
            "a:1.2[b\0]",
            "a:2026-01-31T18-30-00",
            "a:xxxx-01-31T18-30-00Z",
        ] {
            assert_eq!(Pin::parse(spec), None, "{spec:?}");
        }
    }
}
