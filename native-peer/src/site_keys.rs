//! Which key signs for a folder, which folder a key signed for, and what it signed last.
//!
//! Two small files stand for the last two: `keys/NAME.folder` names the folder, and `signed/ADDRESS` the version, or that
//! there is none yet. Both are written before the key itself, so that a key that was made here is never without them,
//! whatever moment the process dies at; the version is written before its head is published, so that no number is signed
//! twice even when the store is lost.

use crate::{
    data_dir::DataDir,
    error::CommandError,
    secrets::{self, SecretError},
};
use meganet_core::{address::Address, hash::HeadHash, head::Head, keys::SiteKey};
use meganet_host::files::{self, FILE_MAX_BYTES, FileError};
use std::{
    ffi::OsStr,
    fs,
    io::Read,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

/// The record of a key that signed no version.
const SIGNED_NOTHING: &[u8] = b"nothing\n";

/// What is known here of a key's signatures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signed {
    /// It may have signed elsewhere: it was imported, or copied before it signed here.
    Unknown,
    /// It was made here and signed no version.
    Nothing,
    /// The last version that it signed here.
    Last { sequence: u64, head: HeadHash },
}

/// A site key, ready to sign.
pub struct Signer {
    pub key: SiteKey,
    pub path: PathBuf,
    /// Whether it was made just now.
    pub created: bool,
    record: PathBuf,
}

impl Signer {
    /// What the key signed last, which a store that was lost does not know any more.
    ///
    /// # Errors
    /// When it is written down and cannot be read: no number is then known to be free.
    pub fn last_signed(&self) -> Result<Signed, SecretError> {
        read_record(&self.record)
    }

    /// Writes down what the key signed; to be called before the signature leaves this process.
    ///
    /// # Errors
    /// [`SecretError::File`]; nothing was written down.
    pub fn signed(&self, head: &Head) -> Result<(), SecretError> {
        let text = format!("sequence: {}\nhead: {}\n", head.sequence(), head.hash());
        Ok(files::replace_private(&self.record, text.as_bytes())?)
    }
}

/// Writes down that a key may sign elsewhere; to be called before a copy of it leaves the data directory. What it signed
/// here stays known.
pub fn leaves(directory: &DataDir, address: &Address) -> Result<(), SecretError> {
    let record = record_of(directory, address);
    if read_record(&record)? != Signed::Nothing {
        return Ok(());
    }
    fs::remove_file(&record).map_err(|error| FileError::io(&record, &error))?;
    Ok(files::sync_directory_of(&record)?)
}

fn record_of(directory: &DataDir, address: &Address) -> PathBuf {
    directory.signed().join(address.to_string())
}

fn read_record(path: &Path) -> Result<Signed, SecretError> {
    let Some(bytes) = files::read_private(path)? else { return Ok(Signed::Unknown) };
    if bytes.as_slice() == SIGNED_NOTHING {
        return Ok(Signed::Nothing);
    }
    let parse = || {
        let mut lines = std::str::from_utf8(&bytes).ok()?.lines();
        let sequence = lines.next()?.strip_prefix("sequence: ")?.parse().ok()?;
        let hash = data_encoding::HEXLOWER.decode(lines.next()?.strip_prefix("head: ")?.as_bytes()).ok()?;
        Some(Signed::Last { sequence, head: HeadHash::from_bytes(hash.try_into().ok()?) })
    };
    parse().ok_or_else(|| SecretError::Damaged {
        path: path.to_owned(),
        expected: "a last-signed-version",
        reason: "it holds no number and hash",
    })
}

/// The key for a folder, and the folder it published last.
pub struct KeyChoice {
    path: PathBuf,
    /// The key's name, unless the user named it: one folder must not replace another's site by accident.
    guarded: Option<String>,
    folder: PathBuf,
    /// Where the folder is written down; keys outside the data directory have no such note.
    note: Option<PathBuf>,
    directory: DataDir,
}

impl KeyChoice {
    /// # Errors
    /// When the name is none.
    pub fn new(
        directory: &DataDir,
        folder: &Path,
        key: Option<String>,
        key_file: Option<PathBuf>,
    ) -> Result<Self, SecretError> {
        let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
        let directory = directory.clone();
        if let Some(path) = key_file {
            return Ok(KeyChoice { path, guarded: None, folder, note: None, directory });
        }
        let guarded = key.is_none().then(|| secrets::key_name(&folder));
        let name = key.unwrap_or_else(|| secrets::key_name(&folder));
        let path = secrets::key_path(&directory.keys(), &name)?;
        Ok(KeyChoice { note: Some(path.with_extension("folder")), path, guarded, folder, directory })
    }

    /// The key, made when there is none.
    ///
    /// # Errors
    /// When the key publishes another folder and was not named, or it or its note cannot be read or written.
    pub fn signer(&self) -> Result<Signer, CommandError> {
        let found = secrets::site_key(&self.path)?;
        let created = found.is_none();
        let key = match found {
            Some(key) => {
                self.check_folder()?;
                key
            }
            None => secrets::new_site_key(&self.path, |address| {
                self.remember_folder()?;
                Ok(files::replace_private(&record_of(&self.directory, address), SIGNED_NOTHING)?)
            })?,
        };
        let record = record_of(&self.directory, &key.address());
        Ok(Signer { key, path: self.path.clone(), created, record })
    }

    /// Writes down that the key publishes this folder.
    pub fn remember_folder(&self) -> Result<(), SecretError> {
        match &self.note {
            Some(note) if self.noted()?.as_deref() != Some(&self.folder) => {
                let text = [self.folder.as_os_str().as_bytes(), b"\n"].concat();
                Ok(files::replace_private(note, &text)?)
            }
            _ => Ok(()),
        }
    }

    fn check_folder(&self) -> Result<(), CommandError> {
        let Some(name) = &self.guarded else { return Ok(()) };
        match self.noted()? {
            Some(folder) if folder != self.folder => {
                Err(CommandError::KeyOfAnotherFolder { name: name.clone(), folder })
            }
            // An imported key has published no folder here, nor has a key without a name of its own.
            _ => Ok(()),
        }
    }

    /// The folder that was written down.
    fn noted(&self) -> Result<Option<PathBuf>, SecretError> {
        let Some(note) = &self.note else { return Ok(None) };
        let Some(file) = files::open(note)? else { return Ok(None) };
        let mut text = Vec::new();
        file.take(FILE_MAX_BYTES).read_to_end(&mut text).map_err(|error| FileError::io(note, &error))?;
        Ok(Some(OsStr::from_bytes(text.strip_suffix(b"\n").unwrap_or(&text)).into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use meganet_core::{
        chunk::{ChunkKey, ChunkRef},
        hash::ChunkId,
        head::HeadInner,
        keys::ReadKey,
    };

    fn choice(directory: &DataDir, folder: &Path, key: Option<&str>) -> KeyChoice {
        KeyChoice::new(directory, folder, key.map(str::to_owned), None).unwrap()
    }

    fn directory(temporary: &Path) -> DataDir {
        DataDir::open(Some(temporary.join("data"))).unwrap()
    }

    #[test]
    fn a_key_is_noted_with_its_folder_before_anything_is_published() {
        let temporary = tempfile::tempdir().unwrap();
        let directory = directory(temporary.path());
        let [first, second] = ["first/site", "second/site"].map(|name| temporary.path().join(name));
        [&first, &second].into_iter().for_each(|folder| fs::create_dir_all(folder).unwrap());
        assert!(choice(&directory, &first, None).signer().unwrap().created);
        let error = choice(&directory, &second, None).signer().err().expect("it is the other folder's key");
        assert!(matches!(error, CommandError::KeyOfAnotherFolder { .. }), "{error}");

        // A key of an older program, or an imported one, has no note; one that cannot be read is no missing one.
        let note = directory.keys().join("site.folder");
        fs::remove_file(&note).unwrap();
        assert!(!choice(&directory, &second, None).signer().unwrap().created);
        fs::create_dir(&note).unwrap();
        let error = choice(&directory, &second, None).signer().err().expect("the note cannot be read");
        assert!(matches!(error, CommandError::Secret(SecretError::File(FileError::NotAFile { .. }))), "{error}");
    }

    #[test]
    fn a_note_without_its_key_guards_nothing() {
        let temporary = tempfile::tempdir().unwrap();
        let directory = directory(temporary.path());
        let folder = temporary.path().join("site");
        fs::create_dir_all(directory.keys()).unwrap();
        fs::write(directory.keys().join("site.folder"), "/elsewhere\n").unwrap();
        assert!(choice(&directory, &folder, None).signer().unwrap().created);
        assert_eq!(choice(&directory, &folder, None).noted().unwrap(), Some(folder));
    }

    #[test]
    fn what_a_key_signed_is_known_for_good() {
        let temporary = tempfile::tempdir().unwrap();
        let directory = directory(temporary.path());
        let signer = |name| choice(&directory, Path::new("/x"), Some(name)).signer().unwrap();
        let made = signer("a");
        assert!(made.created && made.last_signed().unwrap() == Signed::Nothing);
        let again = signer("a");
        assert!(
            !again.created && again.last_signed().unwrap() == Signed::Nothing,
            "the first run ended before it signed"
        );
        for sequence in [1, 7] {
            let head = head(&again.key, sequence);
            again.signed(&head).unwrap();
            assert_eq!(signer("a").last_signed().unwrap(), Signed::Last { sequence, head: head.hash() });
        }
        leaves(&directory, &again.key.address()).unwrap();
        assert!(matches!(signer("a").last_signed().unwrap(), Signed::Last { sequence: 7, .. }));

        let copied = signer("c");
        leaves(&directory, &copied.key.address()).unwrap();
        assert_eq!(copied.last_signed().unwrap(), Signed::Unknown, "whoever has the copy may sign");
        // A key from elsewhere: nobody here knows what it signed.
        secrets::save_site_key(&directory.keys().join("b.key"), &SiteKey::from_seed([7; 32])).unwrap();
        assert_eq!(signer("b").last_signed().unwrap(), Signed::Unknown);
        files::replace_private(&record_of(&directory, &signer("b").key.address()), b"sequence: 1\n").unwrap();
        assert!(matches!(signer("b").last_signed(), Err(SecretError::Damaged { .. })));
    }

    fn head(key: &SiteKey, sequence: u64) -> Head {
        let part = ChunkRef { id: ChunkId::of(b"manifest"), key: ChunkKey::from_bytes([0; 32]), size: 1 };
        let inner = HeadInner { time_ms: 0, total_size: 0, manifest_size: 1, manifest: vec![part], previous: None };
        Head::sign(key, &ReadKey::public(&key.address()), sequence, &inner).unwrap()
    }
}
