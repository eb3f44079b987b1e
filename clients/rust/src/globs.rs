//! The patterns of what a push leaves out, as the contract has them: `*` and `?` stop at `/`, `**`
//! does not.

use crate::error::{Error, Result};
use crate::v1::ErrorReason as Reason;

const ANY_FOLDERS: &str = "**";

/// Matched segment by segment, since one pattern for all could backtrack for ever.
#[derive(Clone, Debug, Default)]
pub(crate) struct Globs(Vec<Vec<String>>);

impl Globs {
    /// Fails with `INVALID_FIELD` if one of them can match nothing.
    pub(crate) fn parse(given: &[String]) -> Result<Self> {
        let parse = |glob: &String| {
            let segments: Vec<String> = glob.split('/').map(str::to_owned).collect();
            // A shell completes `cache` to `cache/`; what was to be left out would be pushed.
            if segments.iter().any(String::is_empty) {
                let message =
                    format!("{glob:?} matches no path: write FOLDER/** for what is in a folder");
                let field = [("field", "exclude".to_owned())];
                return Err(Error::own(Reason::InvalidField, message, field));
            }
            Ok(segments)
        };
        Ok(Self(given.iter().map(parse).collect::<Result<_>>()?))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether one of them matches the file at the path.
    pub(crate) fn matches(&self, path: &str) -> bool {
        let segments: Vec<&str> = path.split('/').collect();
        self.0.iter().any(|glob| glob_matches(glob, &segments))
    }

    /// Whether one of them matches whatever the folder at the path may hold.
    pub(crate) fn match_all_below(&self, path: &str) -> bool {
        let segments: Vec<&str> = path.split('/').collect();
        self.0.iter().any(|glob| match glob.split_last() {
            Some((last, above)) => {
                last == ANY_FOLDERS
                    && (glob_matches(glob, &segments) || glob_matches(above, &segments))
            }
            None => false,
        })
    }
}

/// Whether the whole path matches; a segment `**` stands for any folders.
fn glob_matches(glob: &[String], path: &[&str]) -> bool {
    // How many segments of the path the part of the glob so far may stand for.
    let mut taken = vec![false; path.len() + 1];
    taken[0] = true;
    for (position, pattern) in glob.iter().enumerate() {
        let mut next = vec![false; path.len() + 1];
        let Some(first) = taken.iter().position(|&is_taken| is_taken) else { return false };
        if pattern == ANY_FOLDERS {
            // At the end it stands for files, and so for one segment at least.
            let least = first + usize::from(position + 1 == glob.len());
            next.iter_mut().skip(least).for_each(|is_taken| *is_taken = true);
        } else {
            let pattern: Vec<char> = pattern.chars().collect();
            for (count, segment) in path.iter().enumerate() {
                let text: Vec<char> = segment.chars().collect();
                next[count + 1] = taken[count] && wildcard_matches(&pattern, &text);
            }
        }
        taken = next;
    }
    taken[path.len()]
}

/// Compares one segment: `*` stands for any signs, `?` for one. After a mismatch only the last `*`
/// takes one sign more, so that the time is at most the product of the lengths.
fn wildcard_matches(pattern: &[char], text: &[char]) -> bool {
    let (mut position, mut at) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while at < text.len() {
        match pattern.get(position) {
            Some('*') => {
                star = Some((position, at));
                position += 1;
            }
            Some(&sign) if sign == '?' || sign == text[at] => {
                position += 1;
                at += 1;
            }
            _ => {
                let Some((at_star, resume)) = star else { return false };
                star = Some((at_star, resume + 1));
                (position, at) = (at_star + 1, resume + 1);
            }
        }
    }
    pattern[position..].iter().all(|&sign| sign == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn globs(glob: &str) -> Globs {
        Globs::parse(&[glob.to_owned()]).unwrap()
    }

    #[test]
    fn a_star_stops_at_a_slash_and_two_do_not() {
        for (glob, path, matches) in [
            ("*", "a", true),
            ("*", "a/b", false),
            ("**", "a/b", true),
            ("a/**", "a/b/c", true),
            ("a/**", "a", false),
            ("**/c", "c", true),
            ("**/c", "a/b/c", true),
            ("a/**/d", "a/d", true),
            ("a/**/d", "b/d", false),
            ("?.txt", "\u{e4}.txt", true),
            ("?.txt", ".txt", false),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbY", false),
            ("a**", "a/b", false),
        ] {
            assert_eq!(globs(glob).matches(path), matches, "{glob} {path}");
        }
    }

    #[test]
    fn a_folder_is_left_out_whole_only_where_nothing_in_it_could_stay() {
        for (glob, path, matches) in [
            ("a/**", "a", true),
            ("a/**", "a/b", true),
            ("**", "a", true),
            ("a/*", "a", false),
            ("a/**", "b", false),
            ("**/a/**", "b/a", true),
        ] {
            assert_eq!(globs(glob).match_all_below(path), matches, "{glob} {path}");
        }
    }

    #[test]
    fn a_glob_that_matches_nothing_is_refused() {
        for glob in ["a/", "/a", "", "a//b"] {
            let refused = Globs::parse(&[glob.to_owned()]).unwrap_err();
            assert_eq!(refused.reason(), Some(Reason::InvalidField), "{glob}");
        }
    }

    #[test]
    fn many_stars_are_compared_in_time() {
        assert!(!globs(&"*a".repeat(200)).matches(&"a".repeat(199).replace("aa", "ab")));
        assert!(
            !globs(&format!("{}y", "**/x/".repeat(100))).matches(&format!("{}z", "x/".repeat(200)))
        );
    }
}
