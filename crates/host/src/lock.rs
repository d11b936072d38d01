//! The lock that keeps a directory for one process, and says which.

use crate::{files, text::printable};
use rustix::fs::{Mode, OFlags};
use std::{
    fs::{File, TryLockError},
    io::{self, Read, Seek, Write},
    path::Path,
};

/// The lock file's content is for people; this much of it is read.
const HOLDER_MAX_BYTES: u64 = 1024;

/// Why a lock was not taken. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    #[error("it is in use by {holder}")]
    InUse { holder: String },
    #[error("its file “lock” {0}")]
    Unusable(String),
}

/// Held by one process, until it drops this or ends.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// Takes the lock of a directory: its file `lock`, which names the process.
///
/// # Errors
/// [`LockError`]
pub fn take(directory: &Path) -> Result<Lock, LockError> {
    let path = directory.join("lock");
    let unusable = |error: io::Error| LockError::Unusable(format!("cannot be written: {error}"));
    // What the name stands for is overwritten: never what a link leads to, and nothing that is waited for.
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mut file: File = match rustix::fs::open(&path, flags, Mode::from_raw_mode(0o600)) {
        Ok(file) => file.into(),
        Err(rustix::io::Errno::LOOP) => {
            return Err(LockError::Unusable("is a symbolic link, and was not followed: remove it".into()));
        }
        Err(error) => return Err(unusable(error.into())),
    };
    let found = file.metadata().map_err(unusable)?;
    if !found.is_file() {
        return Err(LockError::Unusable(files::not_a_file(&path, &found).to_string()));
    }
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(LockError::InUse { holder: holder(&mut file) }),
        Err(TryLockError::Error(error)) => return Err(unusable(error)),
    }
    let command: Vec<String> = std::env::args_os().map(|argument| argument.to_string_lossy().into_owned()).collect();
    let text = format!("{}\n{}\n", std::process::id(), command.join(" "));
    file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(text.as_bytes())).map_err(unusable)?;
    Ok(Lock { _file: file })
}

fn holder(file: &mut File) -> String {
    let mut text = Vec::new();
    let read = file.take(HOLDER_MAX_BYTES).read_to_end(&mut text);
    let text = String::from_utf8_lossy(&text);
    let mut lines = text.lines();
    match (read, lines.next(), lines.next()) {
        (Ok(_), Some(pid), Some(command)) => format!("process {} ({})", printable(pid, 20), printable(command, 200)),
        _ => "another process".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::symlink};

    #[test]
    fn a_second_lock_names_the_first_holder() {
        let directory = tempfile::tempdir().unwrap();
        let first = take(directory.path()).unwrap();
        let LockError::InUse { holder } = take(directory.path()).unwrap_err() else { panic!("not in use") };
        assert!(holder.contains(&std::process::id().to_string()), "{holder}");
        drop(first);
        take(directory.path()).unwrap();
    }

    #[test]
    fn what_a_link_leads_to_is_not_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let victim = directory.path().join("victim");
        fs::write(&victim, "precious").unwrap();
        symlink(&victim, directory.path().join("lock")).unwrap();
        let error = take(directory.path()).unwrap_err();
        assert!(error.to_string().contains("symbolic link"), "{error}");
        assert_eq!(fs::read(&victim).unwrap(), b"precious");
        fs::remove_file(directory.path().join("lock")).unwrap();
        fs::create_dir(directory.path().join("lock")).unwrap();
        assert!(matches!(take(directory.path()), Err(LockError::Unusable(_))));
    }
}
