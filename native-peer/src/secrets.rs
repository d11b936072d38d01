//! Files that only this user may read: the node's identity, its certificate, and site keys.
//!
//! They are text, so that a backup shows what it is. How they are written and read is in [`meganet_host::files`].

use meganet_core::{address::Address, keys::SiteKey};
use meganet_host::files::{self, FileError};
use std::{
    fs, io,
    path::{Path, PathBuf},
};
use zeroize::Zeroizing;

const IDENTITY_HEADER: &str = "meganet-identity-v1";
/// What messages call the files.
const IDENTITY: &str = "an identity";
const SITE_KEY: &str = "a site key";
const SITE_KEY_HEADER: &str = "meganet-site-key-v1";
/// Characters of a key's name.
const NAME_MAX: usize = 64;
/// Keys one data directory lists.
pub const KEYS_MAX: usize = 10_000;

/// Why a secret cannot be used. No file was changed.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("no certificate for “{}” could be made: {reason}", .path.display())]
    Certificate { path: PathBuf, reason: String },
    #[error("“{}” is not {expected} file, or it is damaged: {reason}. Restore it from a backup", .path.display())]
    Damaged { path: PathBuf, expected: &'static str, reason: &'static str },
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
    let text = match read_text(path, IDENTITY)? {
        Some(text) => text,
        None => {
            let seed = Zeroizing::new(random_seed()?);
            let text = Zeroizing::new(format!("{IDENTITY_HEADER}\nseed: {}\n", *hex(&*seed)));
            files::create_private(path, text.as_bytes())?;
            text
        }
    };
    let damaged = |reason| SecretError::Damaged { path: path.to_owned(), expected: IDENTITY, reason };
    let fields = Fields::parse(&text, IDENTITY_HEADER).map_err(damaged)?;
    fields.seed().map_err(damaged)
}

/// The PEM text at `path`, made with `generate` at the first call. It must stay: addresses contain its hash.
pub fn certificate(path: &Path, generate: impl FnOnce() -> Result<String, String>) -> Result<String, SecretError> {
    if let Some(text) = read_text(path, "a certificate")? {
        return Ok(text.to_string());
    }
    let pem = generate().map_err(|reason| SecretError::Certificate { path: path.to_owned(), reason })?;
    files::create_private(path, pem.as_bytes())?;
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
    let Some(text) = read_text(path, SITE_KEY)? else { return Ok(None) };
    let damaged = |reason| SecretError::Damaged { path: path.to_owned(), expected: SITE_KEY, reason };
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
    Ok(files::create_private(path, text.as_bytes())?)
}

/// The names of the keys in a directory, sorted.
pub fn key_names(directory: &Path) -> Result<Vec<String>, SecretError> {
    let io = |error: io::Error| FileError::io(directory, &error);
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

/// A private file's text; `None` when there is none.
fn read_text(path: &Path, expected: &'static str) -> Result<Option<Zeroizing<String>>, SecretError> {
    let Some(bytes) = files::read_private(path)? else { return Ok(None) };
    match std::str::from_utf8(&bytes) {
        Ok(text) => Ok(Some(Zeroizing::new(text.to_owned()))),
        Err(_) => Err(SecretError::Damaged { path: path.to_owned(), expected, reason: "it is not text" }),
    }
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
        assert!(matches!(save_site_key(&path, &made), Err(SecretError::File(FileError::Exists { .. }))));
        assert_eq!(fs::read_dir(directory.path().join("keys")).unwrap().count(), 1, "no temporary file is left");
    }

    #[test]
    fn an_exposed_key_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("identity");
        identity(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(identity(&path), Err(SecretError::File(FileError::Exposed { mode: 0o644, .. }))));
    }

    #[test]
    fn what_is_no_key_file_is_called_by_its_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.key");
        fs::create_dir(&path).unwrap();
        let error = site_key(&path).unwrap_err().to_string();
        assert!(error.contains("is a folder") && !error.contains("chmod"), "{error}");
        let path = directory.path().join("identity");
        files::create_private(&path, b"\xff").unwrap();
        let error = identity(&path).unwrap_err().to_string();
        assert!(error.contains("not an identity file"), "{error}");
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
    fn a_certificate_is_made_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("webrtc.pem");
        assert_eq!(certificate(&path, || Ok("first".into())).unwrap(), "first");
        assert_eq!(certificate(&path, || Ok("second".into())).unwrap(), "first");
    }
}
