//! What is in a folder about to be published, and why it may not be.
//!
//! Symbolic links are refused, those inside the folder too: a site has no links, so one would be published as a silent
//! copy of its target, and its target may change between looking and reading.

use super::names::not_everywhere;
use crate::{
    folder::{DIRECTORIES_MAX, Entry, Folder, Stamp, WalkError},
    text::printable,
};
use meganet_core::{
    limits::MANIFEST_MAX_ENTRIES,
    path::{self, PathError},
};
use std::{
    collections::{BTreeMap, HashMap},
    io,
    path::{Path, PathBuf},
};

/// Names, in any case, that hold secrets or history rather than a site; published only when asked for. Names that may as
/// well be something else, such as `*.key` (also a slide show) or `*.pem` (also a public certificate), are not among them.
const PRIVATE_NAMES: [&str; 18] = [
    ".git",
    ".hg",
    ".svn",
    ".ssh",
    ".gnupg",
    ".aws",
    ".kube",
    ".netrc",
    "_netrc",
    ".npmrc",
    ".pypirc",
    ".pgpass",
    ".htpasswd",
    ".git-credentials",
    "id_rsa",
    "id_dsa",
    "id_ecdsa",
    "id_ed25519",
];
/// And names that begin like this: `.env.local`, `.envrc`.
const PRIVATE_PREFIX: &str = ".env";

/// Why a folder cannot be published. Nothing was signed or changed; an earlier version stays as it is.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    #[error("“{}” is not a folder that can be read: {reason}", .folder.display())]
    NotAFolder { folder: PathBuf, reason: String },
    #[error("“{}” holds no files. Put at least one into it", .folder.display())]
    Empty { folder: PathBuf },
    #[error(
        "“{path}” is a symbolic link that leads out of the folder (to “{target}”). Replace it by a copy, or remove it"
    )]
    LinkOutside { path: String, target: String },
    #[error("“{path}” is a symbolic link (to “{target}”). A site has no links: replace it by a copy, or remove it")]
    Link { path: String, target: String },
    #[error("“{path}” is a pipe, a socket or a device. Remove it: only files can be published")]
    Special { path: String },
    #[error("“{path}” is not a name in UTF-8. Rename it")]
    NotText { path: String },
    #[error("“{path}” cannot be published under this name: {reason}. Rename it")]
    Name { path: String, reason: String },
    #[error(
        "“{first}” and “{second}” differ only in letter case or accents, and would be one file to some readers. Rename one"
    )]
    SameName { first: String, second: String },
    #[error(
        "“{path}” usually holds secrets or history. Remove it from the folder, or publish it with --include-private"
    )]
    Private { path: String },
    #[error("the folder holds more than {MANIFEST_MAX_ENTRIES} files. Split it into several sites")]
    TooMany,
    #[error(
        "there are more than {DIRECTORIES_MAX} folders in the folder. Remove empty ones, or split it into several sites"
    )]
    TooManyFolders,
    #[error("“{path}” cannot be read: {reason}. Give this user the right to read it, or remove it")]
    Unreadable { path: String, reason: String },
    #[error(
        "“{path}” changed while it was being published. Nothing was signed: publish again when nothing writes to the folder"
    )]
    Changed { path: String },
}

/// The files of a folder, by path, as they were at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    pub files: BTreeMap<String, Stamp>,
}

impl Listing {
    /// Bytes of all files.
    pub fn total_bytes(&self) -> u64 {
        self.files.values().fold(0, |sum, stamp| sum.saturating_add(stamp.size))
    }

    /// The first path whose file differs in another listing of the same folder.
    pub fn difference(&self, other: &Listing) -> Option<String> {
        let changed = self.files.iter().find(|(path, stamp)| other.files.get(*path) != Some(stamp));
        let added = || other.files.iter().find(|(path, _)| !self.files.contains_key(*path));
        changed.or_else(added).map(|(path, _)| path.clone())
    }
}

/// Opens a folder and lists it.
///
/// # Errors
/// [`ScanError`], naming the file and what to do.
pub fn scan(path: &Path, include_private: bool) -> Result<(Folder, Listing), ScanError> {
    let not_a_folder = |error: io::Error| ScanError::NotAFolder { folder: path.to_owned(), reason: error.to_string() };
    let folder = Folder::open(path).map_err(not_a_folder)?;
    let listing = list(&folder, include_private)?;
    if listing.files.is_empty() {
        return Err(ScanError::Empty { folder: path.to_owned() });
    }
    Ok((folder, listing))
}

/// Lists an open folder.
pub fn list(folder: &Folder, include_private: bool) -> Result<Listing, ScanError> {
    let mut files = BTreeMap::new();
    let mut folded: HashMap<String, String> = HashMap::new();
    let visit = |entry: Entry| {
        match entry {
            Entry::Directory { path } => check_private(&path, include_private)?,
            Entry::File { path, stamp } => {
                check_private(&path, include_private)?;
                check_name(&path)?;
                if let Some(first) = folded.insert(path::fold(&path), path.clone()) {
                    let (first, second) = if first < path { (first, path) } else { (path, first) };
                    return Err(ScanError::SameName { first: shown(&first), second: shown(&second) });
                }
                if files.len() >= MANIFEST_MAX_ENTRIES {
                    return Err(ScanError::TooMany);
                }
                files.insert(path, stamp);
            }
            Entry::Link { path, target } => {
                let outside = leads_outside(&path, &target);
                let (path, target) = (shown(&path), shown(&target));
                return Err(match outside {
                    true => ScanError::LinkOutside { path, target },
                    false => ScanError::Link { path, target },
                });
            }
            Entry::Special { path } => return Err(ScanError::Special { path: shown(&path) }),
            Entry::NotText { path } => return Err(ScanError::NotText { path: shown(&path) }),
        }
        Ok(())
    };
    folder.walk(visit, |path, error| match error {
        WalkError::Io(error) => ScanError::Unreadable { path: shown(path), reason: error.to_string() },
        WalkError::TooManyDirectories => ScanError::TooManyFolders,
    })?;
    Ok(Listing { files })
}

fn check_name(path: &str) -> Result<(), ScanError> {
    // Some of the reasons end with the advice that the message ends with.
    let reason = |error: PathError| error.to_string().trim_end_matches(": rename the file").to_owned();
    let reason = path::check(path).err().map(reason).or_else(|| not_everywhere(path).map(str::to_owned));
    reason.map_or(Ok(()), |reason| Err(ScanError::Name { path: shown(path), reason }))
}

fn check_private(path: &str, include_private: bool) -> Result<(), ScanError> {
    let name = path.rsplit('/').next().unwrap_or(path);
    let name = name.to_ascii_lowercase();
    if !include_private && (name.starts_with(PRIVATE_PREFIX) || PRIVATE_NAMES.contains(&name.as_str())) {
        return Err(ScanError::Private { path: shown(path) });
    }
    Ok(())
}

/// Whether a link's text leads out of the folder, for the message alone: both kinds are refused.
fn leads_outside(path: &str, target: &str) -> bool {
    if target.starts_with('/') {
        return true;
    }
    let mut depth = path.matches('/').count() as i64;
    for segment in target.split('/') {
        match segment {
            "" | "." => {}
            ".." => depth -= 1,
            _ => depth += 1,
        }
        if depth < 0 {
            return true;
        }
    }
    false
}

/// A name for an error message.
pub fn shown(path: &str) -> String {
    printable(path, 300)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{ffi::OsStr, fs, os::unix::ffi::OsStrExt, os::unix::fs::symlink};

    fn refused(make: impl FnOnce(&Path)) -> ScanError {
        let temporary = tempfile::tempdir().unwrap();
        fs::write(temporary.path().join("index.html"), "<p>").unwrap();
        make(temporary.path());
        scan(temporary.path(), false).err().expect("refused")
    }

    #[test]
    fn case_66_links_are_refused() {
        assert!(matches!(refused(|at| symlink("/etc/passwd", at.join("l")).unwrap()), ScanError::LinkOutside { .. }));
        assert!(matches!(refused(|at| symlink("../x", at.join("l")).unwrap()), ScanError::LinkOutside { .. }));
        assert!(matches!(refused(|at| symlink("a/../../x", at.join("l")).unwrap()), ScanError::LinkOutside { .. }));
        assert!(matches!(refused(|at| symlink("index.html", at.join("l")).unwrap()), ScanError::Link { .. }));
        assert!(matches!(refused(|at| symlink(".", at.join("loop")).unwrap()), ScanError::Link { .. }));
    }

    #[test]
    fn case_16_names_are_refused() {
        for name in ["a\nb", "a\\b", "%2e%2e", "C:x", "a\u{202e}b", "e\u{301}", "con.txt", "a?b", "a "] {
            let error = refused(|at| fs::write(at.join(name), "x").unwrap());
            assert!(matches!(error, ScanError::Name { .. }), "{name:?}: {error}");
            let text = error.to_string();
            assert!(!text.contains(['\n', '\u{202e}']), "{text}");
            assert_eq!(text.to_lowercase().matches("rename").count(), 1, "{text}");
        }
        let error = refused(|at| fs::write(at.join(OsStr::from_bytes(b"a\xff")), "x").unwrap());
        assert!(matches!(error, ScanError::NotText { .. }));
    }

    #[test]
    fn case_17_equal_after_folding() {
        let error = refused(|at| {
            fs::write(at.join("A.html"), "x").unwrap();
            fs::write(at.join("a.html"), "x").unwrap();
        });
        assert!(matches!(error, ScanError::SameName { .. }), "{error}");
    }

    #[test]
    fn case_67_empty_and_special() {
        let empty = tempfile::tempdir().unwrap();
        fs::create_dir(empty.path().join("only-a-folder")).unwrap();
        assert!(matches!(scan(empty.path(), false), Err(ScanError::Empty { .. })));
        let special = refused(|at| {
            std::os::unix::net::UnixListener::bind(at.join("s")).unwrap();
        });
        assert!(matches!(special, ScanError::Special { .. }));
        assert!(matches!(scan(Path::new("/does/not/exist"), false), Err(ScanError::NotAFolder { .. })));
    }

    #[test]
    fn as_many_folders_as_are_entered_and_one_more() {
        let temporary = tempfile::tempdir().unwrap();
        fs::write(temporary.path().join("index.html"), "<p>").unwrap();
        // The folder itself is entered too.
        (1..DIRECTORIES_MAX).for_each(|n| fs::create_dir(temporary.path().join(n.to_string())).unwrap());
        assert_eq!(scan(temporary.path(), false).unwrap().1.files.len(), 1);
        fs::create_dir(temporary.path().join("one-more")).unwrap();
        assert!(matches!(scan(temporary.path(), false), Err(ScanError::TooManyFolders)));
    }

    #[test]
    fn private_names_need_a_word() {
        let temporary = tempfile::tempdir().unwrap();
        fs::create_dir_all(temporary.path().join("sub/.git")).unwrap();
        fs::write(temporary.path().join("sub/.git/config"), "x").unwrap();
        assert!(matches!(scan(temporary.path(), false), Err(ScanError::Private { .. })));
        assert_eq!(scan(temporary.path(), true).unwrap().1.files.len(), 1);
    }

    #[test]
    fn names_of_secrets_are_known() {
        for name in [".env", ".env.production", ".ENVRC", ".npmrc", ".pypirc", ".htpasswd", "id_rsa", "id_ed25519"] {
            for path in [name.to_owned(), format!("deep/er/{name}")] {
                assert!(matches!(check_private(&path, false), Err(ScanError::Private { .. })), "{path}");
                assert!(check_private(&path, true).is_ok(), "{path}");
            }
        }
        for name in ["env", "id_rsa.pub", "talk.key", "certificate.pem", ".well-known", ".htaccess"] {
            assert!(check_private(name, false).is_ok(), "{name}");
        }
    }

    #[test]
    fn a_listing_notices_changes() {
        let temporary = tempfile::tempdir().unwrap();
        fs::write(temporary.path().join("a"), "1").unwrap();
        let (folder, before) = scan(temporary.path(), false).unwrap();
        assert_eq!(before.difference(&list(&folder, false).unwrap()), None);
        fs::write(temporary.path().join("b"), "1").unwrap();
        assert_eq!(before.difference(&list(&folder, false).unwrap()).as_deref(), Some("b"));
        fs::remove_file(temporary.path().join("b")).unwrap();
        fs::write(temporary.path().join("a"), "22").unwrap();
        assert_eq!(before.difference(&list(&folder, false).unwrap()).as_deref(), Some("a"));
    }
}
