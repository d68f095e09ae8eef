//! Tokens: words that give whoever shows them a right.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use subtle::{Choice, ConstantTimeEq};

use crate::access::Right;

/// The shortest token: one that can be guessed protects nothing.
const SHORTEST: usize = 16;
/// The longest token, and most of them: each is compared with, every time.
const LONGEST: usize = 256;
const MOST: usize = 256;
/// The largest file, with room for comments.
const LARGEST: u64 = 128 * 1024;

/// The tokens of a file.
pub struct Tokens(Vec<([u8; LONGEST], Right)>);

// What they are is nobody's business.
impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} tokens", self.0.len())
    }
}

/// Why a file of tokens cannot be used. A token is never in it.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// It cannot be read.
    #[error("cannot read the token file {path}: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// It is a folder, a pipe, …
    #[error("the token file {0} is not a regular file")]
    NotAFile(PathBuf),
    /// Others may read or change it.
    #[error(
        "the token file {0} is open to other users; chmod 600 it, owned by root or init's user"
    )]
    Open(PathBuf),
    /// More than a list of tokens can be.
    #[error("the token file {0} is larger than {LARGEST} bytes")]
    TooLarge(PathBuf),
    /// A line that is no token.
    #[error(
        "line {0} of the token file is not `TOKEN read` or `TOKEN control`, with a token of {SHORTEST} \
         to {LONGEST} printable characters"
    )]
    BadLine(usize),
    /// There are too many, or none.
    #[error("there are {0} tokens in the token file; it must be 1 to {MOST}")]
    Count(usize),
}

impl Tokens {
    /// Reads a file that only root or `own` can read and change.
    pub fn read(path: &Path, own: u32) -> Result<Self, TokenError> {
        let unreadable = |source| TokenError::Unreadable { path: path.into(), source };
        // Not to hang on a pipe.
        let mut file = File::options()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(path)
            .map_err(unreadable)?;
        // Of what is open, not of what has the name by now.
        let meta = file.metadata().map_err(unreadable)?;
        if !meta.is_file() {
            return Err(TokenError::NotAFile(path.into()));
        }
        if meta.mode() & 0o077 != 0 || ![0, own].contains(&meta.uid()) {
            return Err(TokenError::Open(path.into()));
        }
        if meta.len() > LARGEST {
            return Err(TokenError::TooLarge(path.into()));
        }
        let mut text = String::new();
        Read::by_ref(&mut file).take(LARGEST).read_to_string(&mut text).map_err(unreadable)?;
        Self::parse(&text)
    }

    /// Reads `TOKEN read` and `TOKEN control` lines; empty ones and those from `#` on are skipped.
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        let mut tokens = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let mut words = line.split_whitespace();
            let (Some(token), Some(right), None) = (words.next(), words.next(), words.next())
            else {
                return Err(TokenError::BadLine(number));
            };
            let bytes = token.as_bytes();
            let is_good = bytes.len() >= SHORTEST && bytes.iter().all(u8::is_ascii_graphic);
            match (padded(bytes).filter(|_| is_good), Right::parse(right)) {
                (Some(token), Some(right)) => tokens.push((token, right)),
                _ => return Err(TokenError::BadLine(number)),
            }
        }
        if (1..=MOST).contains(&tokens.len()) {
            Ok(Self(tokens))
        } else {
            Err(TokenError::Count(tokens.len()))
        }
    }

    /// What a token gives. Takes as long for a wrong one as for a right one, wherever they differ.
    #[must_use]
    pub fn right_of(&self, shown: &[u8]) -> Option<Right> {
        let (shown, fits) = match padded(shown) {
            Some(shown) => (shown, Choice::from(1)),
            None => ([0; LONGEST], Choice::from(0)),
        };
        let mut found = None;
        for (token, right) in &self.0 {
            let is_it = token.as_slice().ct_eq(shown.as_slice()) & fits;
            if is_it.into() {
                found = found.max(Some(*right));
            }
        }
        found
    }
}

/// At one length, so that none is told by the comparison. Nothing of a token is NUL.
fn padded(token: &[u8]) -> Option<[u8; LONGEST]> {
    if token.contains(&0) {
        return None;
    }
    let mut padded = [0; LONGEST];
    padded.get_mut(..token.len())?.copy_from_slice(token);
    Some(padded)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn b25_a_token_file_is_read_line_by_line() {
        let text = "# ours\n\n  0123456789abcdef   read \n0123456789ABCDEF control\n";
        let tokens = Tokens::parse(text).unwrap();
        assert_eq!(tokens.right_of(b"0123456789abcdef"), Some(Right::Read));
        assert_eq!(tokens.right_of(b"0123456789ABCDEF"), Some(Right::Control));
        for wrong in ["", "0123456789abcde", "0123456789abcdef\0", &"x".repeat(500)] {
            assert_eq!(tokens.right_of(wrong.as_bytes()), None, "{wrong:?}");
        }
        assert_eq!(format!("{tokens:?}"), "2 tokens");
    }

    #[test]
    fn b25_bad_lines_are_named_by_number_and_never_shown() {
        for bad in [
            "short read",
            "0123456789abcdef",
            "0123456789abcdef all",
            "0123456789abcdef read control",
            "0123456789abcdéfg read",
            &format!("{} read", "x".repeat(257)),
        ] {
            let error = Tokens::parse(&format!("# first\n{bad}\n")).unwrap_err().to_string();
            assert!(error.contains("line 2") && !error.contains(bad), "{error}");
        }
        assert!(matches!(Tokens::parse("# none\n"), Err(TokenError::Count(0))));
    }

    #[test]
    fn b25_a_token_file_that_others_can_read_is_refused() {
        let folder = std::env::temp_dir().join(format!("tokens-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("tokens");
        fs::write(&path, "0123456789abcdef read\n").unwrap();
        let own = nix::unistd::getuid().as_raw();
        for (mode, good) in
            [(0o600, true), (0o400, true), (0o640, false), (0o604, false), (0o620, false)]
        {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(Tokens::read(&path, own).is_ok(), good, "{mode:o}");
        }
        fs::write(&path, "# long\n".repeat(20_000)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(matches!(Tokens::read(&path, own), Err(TokenError::TooLarge(_))));
        assert!(matches!(Tokens::read(&folder, own), Err(TokenError::NotAFile(_))));
        fs::remove_dir_all(&folder).unwrap();
        assert!(matches!(Tokens::read(&path, own), Err(TokenError::Unreadable { .. })));
    }
}
