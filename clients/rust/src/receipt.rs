//! What the daemon writes into the marker of a version.
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::asset::Facts;
use crate::v1::Verification;

const FORMAT: i64 = 1;
const MAX_BYTES: u64 = 64 << 20;

#[derive(Deserialize)]
struct Receipt {
    format: i64,
    #[serde(default)]
    digest: Option<String>,
    size: u64,
    files: HashMap<String, IgnoredAny>,
    verification: String,
}

/// Returns what the receipt in the marker says; of a later release's, of one of modelkit's, which
/// are empty, or of none nothing is known.
pub(crate) fn read(marker: &Path) -> Facts {
    let Ok(text) = read_text(marker) else { return Facts::default() };
    let Ok(receipt) = serde_json::from_slice::<Receipt>(&text) else { return Facts::default() };
    let word = receipt.verification.to_uppercase();
    let verification = Verification::from_str_name(&format!("VERIFICATION_{word}"));
    let (FORMAT, Some(verification)) = (receipt.format, verification) else {
        return Facts::default();
    };
    Facts {
        digest: receipt.digest.unwrap_or_default(),
        size_bytes: Some(receipt.size),
        file_count: receipt.files.len().try_into().ok(),
        verification,
        reused_bytes: receipt.size,
    }
}

fn read_text(marker: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    File::open(marker)?.take(MAX_BYTES).read_to_end(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_as(text: &str) -> Facts {
        let folder = tempfile::tempdir().unwrap();
        let marker = folder.path().join(".SUCCESS");
        std::fs::write(&marker, text).unwrap();
        read(&marker)
    }

    #[test]
    fn a_receipt_says_what_the_daemon_knew() {
        let text = r#"{"format": 1, "digest": "sha256:ab", "size": 7, "verification": "digest",
            "files": {"a": {"size": 3}, "b": {"size": 4}}, "time": "whenever"}"#;
        let expected = Facts {
            digest: "sha256:ab".to_owned(),
            size_bytes: Some(7),
            file_count: Some(2),
            verification: Verification::Digest,
            reused_bytes: 7,
        };
        assert_eq!(read_as(text), expected);
    }

    #[test]
    fn of_what_cannot_be_read_nothing_is_known() {
        for text in [
            "",
            "no receipt",
            r#"{"format": 2, "size": 7, "files": {}, "verification": "size"}"#,
            r#"{"format": 1, "size": 7, "files": {}, "verification": "prayer"}"#,
            r#"{"format": 1, "files": {}, "verification": "size"}"#,
        ] {
            assert_eq!(read_as(text), Facts::default(), "{text}");
        }
        assert_eq!(read(Path::new("/nowhere/.SUCCESS")), Facts::default());
    }
}
