//! Files that only this user may read: the node's identity, its certificate, and site keys.
//!
//! They are text, so that a backup shows what it is. A new one appears whole or not at all, never over an old one; one
//! that other users can read is refused, as `ssh` does.

use meganet_core::{address::Address, keys::SiteKey};
use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};
use zeroize::Zeroizing;

const IDENTITY_HEADER: &str = "meganet-identity-v1";
const SITE_KEY_HEADER: &str = "meganet-site-key-v1";
/// A certificate is about 500 bytes, a key 170.
const FILE_MAX_BYTES: u64 = 64 * 1024;
/// Characters of a key's name.
const NAME_MAX: usize = 64;
/// Keys one data directory lists.
pub const KEYS_MAX: usize = 10_000;

/// Why a secret cannot be used. No file was changed.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    #[error("“{}” cannot be read or written: {reason}", .path.display())]
    Io { path: PathBuf, reason: String },
    #[error("“{}” can be read by other users (mode {mode:03o}). Run: chmod 600 '{}'", .path.display(), .path.display())]
    Exposed { path: PathBuf, mode: u32 },
    #[error("“{}” is not a {expected} file, or it is damaged: {reason}. Restore it from a backup", .path.display())]
    Damaged { path: PathBuf, expected: &'static str, reason: &'static str },
    #[error("“{}” exists already; it was left as it is. Choose another name", .path.display())]
    Exists { path: PathBuf },
    #[error("there is no key named “{name}”. See `meganet key list`")]
    NoSuchKey { name: String },
    #[error(
        "“{name}” is no name for a key: use 1 to 64 letters, digits, dots, dashes or underscores, and begin with a letter or digit"
    )]
    BadName { name: String },
    #[error("the operating system gave no random bytes; no key was made")]
    Random,
}

/// The node's identity seed, made at the first call.
pub fn identity(path: &Path) -> Result<[u8; 32], SecretError> {
    let text = match read_private(path)? {
        Some(text) => text,
        None => {
            let seed = Zeroizing::new(random_seed()?);
            let text = Zeroizing::new(format!("{IDENTITY_HEADER}\nseed: {}\n", *hex(&*seed)));
            create_private(path, text.as_bytes())?;
            text
        }
    };
    let damaged = |reason| SecretError::Damaged { path: path.to_owned(), expected: "identity", reason };
    let fields = Fields::parse(&text, IDENTITY_HEADER).map_err(damaged)?;
    fields.seed().map_err(damaged)
}

/// The PEM text at `path`, made with `generate` at the first call. It must stay: addresses contain its hash.
pub fn certificate(path: &Path, generate: impl FnOnce() -> Result<String, String>) -> Result<String, SecretError> {
    if let Some(text) = read_private(path)? {
        return Ok(text.to_string());
    }
    let pem = generate().map_err(|reason| SecretError::Io { path: path.to_owned(), reason })?;
    create_private(path, pem.as_bytes())?;
    Ok(pem)
}

/// The key file of a name, in the directory of keys.
pub fn key_path(directory: &Path, name: &str) -> Result<PathBuf, SecretError> {
    let valid = name.len() <= NAME_MAX
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        && name.starts_with(|c: char| c.is_ascii_alphanumeric());
    if !valid {
        return Err(SecretError::BadName { name: crate::text::printable(name, NAME_MAX) });
    }
    Ok(directory.join(format!("{name}.key")))
}

/// A key name made from a folder's name.
pub fn key_name(folder: &Path) -> String {
    let name = folder.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
    let mapped: String = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '_' || c == '.' { c } else { '-' })
        .take(NAME_MAX)
        .collect();
    let trimmed = mapped.trim_matches(|c: char| !c.is_ascii_alphanumeric());
    if trimmed.is_empty() { "site".to_owned() } else { trimmed.to_owned() }
}

/// Reads a site key.
pub fn site_key(path: &Path) -> Result<Option<SiteKey>, SecretError> {
    let Some(text) = read_private(path)? else { return Ok(None) };
    let damaged = |reason| SecretError::Damaged { path: path.to_owned(), expected: "site key", reason };
    let fields = Fields::parse(&text, SITE_KEY_HEADER).map_err(damaged)?;
    let key = SiteKey::from_seed(fields.seed().map_err(damaged)?);
    let named: Address =
        fields.value("address").and_then(|text| text.parse().ok()).ok_or_else(|| damaged("it names no address"))?;
    if named != key.address() {
        return Err(damaged("its address and its seed do not belong together"));
    }
    Ok(Some(key))
}

/// Makes a site key. `before` runs once its address is known and before its file, which must not exist, is there.
pub fn new_site_key(
    path: &Path,
    before: impl FnOnce(&Address) -> Result<(), SecretError>,
) -> Result<SiteKey, SecretError> {
    let key = SiteKey::from_seed(random_seed()?);
    before(&key.address())?;
    save_site_key(path, &key)?;
    Ok(key)
}

/// Writes a site key to a file that must not exist.
pub fn save_site_key(path: &Path, key: &SiteKey) -> Result<(), SecretError> {
    let text = Zeroizing::new(format!("{SITE_KEY_HEADER}\naddress: {}\nseed: {}\n", key.address(), *hex(key.seed())));
    create_private(path, text.as_bytes())
}

/// The names of the keys in a directory, sorted.
pub fn key_names(directory: &Path) -> Result<Vec<String>, SecretError> {
    let io = |error: io::Error| SecretError::Io { path: directory.to_owned(), reason: error.to_string() };
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(io)?,
    };
    let mut names = Vec::new();
    for entry in entries.take(KEYS_MAX) {
        let name = entry.map_err(io)?.file_name();
        if let Some(name) = name.to_str().and_then(|name| name.strip_suffix(".key"))
            && key_path(directory, name).is_ok()
        {
            names.push(name.to_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// Reads a file that nobody else may read; `None` when there is none.
pub fn read_private(path: &Path) -> Result<Option<Zeroizing<String>>, SecretError> {
    let io = |error: io::Error| SecretError::Io { path: path.to_owned(), reason: error.to_string() };
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(io)?,
    };
    let metadata = file.metadata().map_err(io)?;
    let mode = metadata.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(SecretError::Exposed { path: path.to_owned(), mode });
    }
    let mut text = Zeroizing::new(String::new());
    file.take(FILE_MAX_BYTES).read_to_string(&mut text).map_err(io)?;
    Ok(Some(text))
}

/// Writes a new file that only this user may read: synced, then named; an existing file is never replaced.
pub fn create_private(path: &Path, content: &[u8]) -> Result<(), SecretError> {
    // Unlike a rename, a link fails when the name is taken.
    write_private(path, content, |temporary| fs::hard_link(temporary, path))
}

/// The same, in the place of an existing file: it holds the one content or the other, whole.
pub fn replace_private(path: &Path, content: &[u8]) -> Result<(), SecretError> {
    write_private(path, content, |temporary| fs::rename(temporary, path))
}

/// Makes what happened to the names in a file's directory durable.
pub fn sync_directory_of(path: &Path) -> Result<(), SecretError> {
    let synced = File::open(parent(path)).and_then(|directory| directory.sync_all());
    synced.map_err(|error| SecretError::Io { path: path.to_owned(), reason: error.to_string() })
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn write_private(path: &Path, content: &[u8], name: impl FnOnce(&Path) -> io::Result<()>) -> Result<(), SecretError> {
    let io = |error: io::Error| match error.kind() {
        io::ErrorKind::AlreadyExists => SecretError::Exists { path: path.to_owned() },
        _ => SecretError::Io { path: path.to_owned(), reason: error.to_string() },
    };
    let directory = parent(path);
    DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(io)?;
    let suffix: u64 = u64::from_be_bytes(meganet_node::platform::random_bytes().map_err(|_| SecretError::Random)?);
    let temporary = directory.join(format!(".new-{suffix:016x}"));
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        file.write_all(content)?;
        file.sync_all()?;
        name(&temporary)?;
        File::open(directory)?.sync_all()
    })();
    let _ = fs::remove_file(&temporary);
    written.map_err(io)
}

fn random_seed() -> Result<[u8; 32], SecretError> {
    meganet_node::platform::random_bytes().map_err(|_| SecretError::Random)
}

fn hex(bytes: &[u8]) -> Zeroizing<String> {
    Zeroizing::new(data_encoding::HEXLOWER.encode(bytes))
}

/// `name: value` lines under a header line.
struct Fields<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Fields<'a> {
    fn parse(text: &'a str, header: &str) -> Result<Self, &'static str> {
        let mut lines = text.lines();
        if lines.next() != Some(header) {
            return Err("its first line is another");
        }
        lines.map(|line| line.split_once(": ").ok_or("a line has no value")).collect::<Result<_, _>>().map(Fields)
    }

    fn value(&self, name: &str) -> Option<&'a str> {
        self.0.iter().find(|(found, _)| *found == name).map(|(_, value)| *value)
    }

    fn seed(&self) -> Result<[u8; 32], &'static str> {
        let text = self.value("seed").ok_or("it holds no seed")?;
        let bytes =
            Zeroizing::new(data_encoding::HEXLOWER.decode(text.as_bytes()).map_err(|_| "its seed is not hexadecimal")?);
        <[u8; 32]>::try_from(bytes.as_slice()).map_err(|_| "its seed is not 32 bytes")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_key_survives_and_is_private() {
        let directory = tempfile::tempdir().unwrap();
        let path = key_path(&directory.path().join("keys"), "my-site").unwrap();
        let made = new_site_key(&path, |_| Ok(())).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(site_key(&path).unwrap().unwrap().address(), made.address());
        assert_eq!(key_names(&directory.path().join("keys")).unwrap(), ["my-site"]);
        assert!(matches!(save_site_key(&path, &made), Err(SecretError::Exists { .. })));
        assert_eq!(fs::read_dir(directory.path().join("keys")).unwrap().count(), 1, "no temporary file is left");
    }

    #[test]
    fn an_exposed_key_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("identity");
        identity(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(identity(&path), Err(SecretError::Exposed { mode: 0o644, .. })));
    }

    #[test]
    fn a_damaged_key_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.key");
        new_site_key(&path, |_| Ok(())).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let at = text.len() - 2;
        let flipped = if text.as_bytes()[at] == b'0' { "1" } else { "0" };
        fs::write(&path, format!("{}{flipped}\n", text.get(..at).unwrap())).unwrap();
        assert!(matches!(site_key(&path), Err(SecretError::Damaged { .. })));
        for text in ["", "hello", "meganet-site-key-v1\nseed: zz\n", "meganet-site-key-v1\nx\n"] {
            fs::write(&path, text).unwrap();
            assert!(matches!(site_key(&path), Err(SecretError::Damaged { .. })), "{text:?}");
        }
    }

    #[test]
    fn names_come_from_folders_and_stay_inside_the_directory() {
        assert_eq!(key_name(Path::new("/sites/My Site!")), "my-site");
        assert_eq!(key_name(Path::new("/")), "site");
        assert_eq!(key_name(Path::new("/x/été")), "t");
        for bad in ["", "../x", "a/b", ".hidden", "a\n", &"x".repeat(65)] {
            assert!(key_path(Path::new("/keys"), bad).is_err(), "{bad:?}");
        }
        for folder in ["/a/..x", "/b/-", "/c/---a", "/d/ÄÖÜ"] {
            assert!(key_path(Path::new("/keys"), &key_name(Path::new(folder))).is_ok(), "{folder}");
        }
    }

    #[test]
    fn a_key_is_not_made_when_what_must_be_there_before_it_fails() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.key");
        assert!(new_site_key(&path, |_| Err(SecretError::Random)).is_err());
        assert!(!path.exists());
    }

    #[test]
    fn a_file_is_replaced_whole_and_stays_private() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("new/note");
        replace_private(&path, b"first, and longer").unwrap();
        replace_private(&path, b"second").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"second");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(directory.path().join("new")).unwrap().count(), 1, "no temporary file is left");
    }

    #[test]
    fn a_certificate_is_made_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("webrtc.pem");
        assert_eq!(certificate(&path, || Ok("first".into())).unwrap(), "first");
        assert_eq!(certificate(&path, || Ok("second".into())).unwrap(), "first");
    }
}
