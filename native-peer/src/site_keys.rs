//! Which key signs for a folder, which folder a key signed for, and whether it ever signed.
//!
//! Two small files stand for the last two: `keys/NAME.folder` names the folder, and `unsigned/ADDRESS` is there from the
//! moment a key is made until just before its first signature or its first copy. Both are written before the key itself, so that a key
//! that was made here is never without them, whatever moment the process dies at.

use crate::{
    data_dir::DataDir,
    error::CommandError,
    secrets::{self, SecretError},
};
use meganet_core::{address::Address, keys::SiteKey};
use std::{
    ffi::OsStr,
    fs, io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

/// A site key, ready to sign.
pub struct Signer {
    pub key: SiteKey,
    pub path: PathBuf,
    /// Whether it was made just now.
    pub created: bool,
    /// Exists as long as the key has signed nothing.
    unsigned: PathBuf,
}

impl Signer {
    /// Whether the key may have signed a version: `false` only for one that was made here and never did.
    pub fn may_have_signed(&self) -> Result<bool, SecretError> {
        self.unsigned.try_exists().map(|exists| !exists).map_err(|error| io_error(&self.unsigned, &error))
    }

    /// Writes down that the key signs; to be called before the signature leaves this process.
    pub fn signs(&self) -> Result<(), SecretError> {
        remove_durably(&self.unsigned)
    }
}

/// Writes down that a key may sign elsewhere; to be called before a copy of it leaves the data directory.
pub fn leaves(directory: &DataDir, address: &Address) -> Result<(), SecretError> {
    remove_durably(&unsigned_marker(directory, address))
}

fn unsigned_marker(directory: &DataDir, address: &Address) -> PathBuf {
    directory.unsigned_keys().join(address.to_string())
}

fn remove_durably(path: &Path) -> Result<(), SecretError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(io_error(path, &error)),
        Ok(()) => secrets::sync_directory_of(path),
    }
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
                secrets::replace_private(&unsigned_marker(&self.directory, address), b"")
            })?,
        };
        let unsigned = unsigned_marker(&self.directory, &key.address());
        Ok(Signer { key, path: self.path.clone(), created, unsigned })
    }

    /// Writes down that the key publishes this folder.
    pub fn remember_folder(&self) -> Result<(), SecretError> {
        match &self.note {
            Some(note) if self.noted()?.as_deref() != Some(&self.folder) => {
                let text = [self.folder.as_os_str().as_bytes(), b"\n"].concat();
                secrets::replace_private(note, &text)
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
        match fs::read(note) {
            Ok(text) => Ok(Some(OsStr::from_bytes(text.strip_suffix(b"\n").unwrap_or(&text)).into())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io_error(note, &error)),
        }
    }
}

fn io_error(path: &Path, error: &io::Error) -> SecretError {
    SecretError::Io { path: path.to_owned(), reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert!(matches!(error, CommandError::Secret(SecretError::Io { .. })), "{error}");
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
    fn a_key_has_signed_nothing_until_it_says_so() {
        let temporary = tempfile::tempdir().unwrap();
        let directory = directory(temporary.path());
        let made = choice(&directory, Path::new("/x"), Some("a")).signer().unwrap();
        assert!(made.created && !made.may_have_signed().unwrap());
        let again = choice(&directory, Path::new("/x"), Some("a")).signer().unwrap();
        assert!(!again.created && !again.may_have_signed().unwrap(), "the first run ended before it signed");
        again.signs().unwrap();
        again.signs().unwrap();
        assert!(choice(&directory, Path::new("/x"), Some("a")).signer().unwrap().may_have_signed().unwrap());
        let copied = choice(&directory, Path::new("/x"), Some("c")).signer().unwrap();
        leaves(&directory, &copied.key.address()).unwrap();
        assert!(copied.may_have_signed().unwrap(), "whoever has the copy may sign");
        // A key from elsewhere: nobody here knows what it signed.
        secrets::save_site_key(&directory.keys().join("b.key"), &SiteKey::from_seed([7; 32])).unwrap();
        assert!(choice(&directory, Path::new("/x"), Some("b")).signer().unwrap().may_have_signed().unwrap());
    }
}
