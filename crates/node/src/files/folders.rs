//! Folders that a change creates and removes.

use crate::error::NodeError;
use crate::files::root::{Root, split};
use rustix::fs::{
    AtFlags, {self},
};
use rustix::io::Errno;

/// Returns the folders that must be created so that `folder` exists, outermost first.
pub(crate) fn missing_parents(root: &Root, folder: &str) -> Result<Vec<String>, NodeError> {
    let (mut here, mut missing) = (folder.to_owned(), Vec::new());
    loop {
        match root.folder(&here) {
            Ok(_) => break,
            Err(Errno::NOENT) if here != "/" => {
                let outer = split(&here).0.to_owned();
                missing.push(std::mem::replace(&mut here, outer));
            }
            Err(error) => return Err(NodeError::io("open", here)(error)),
        }
    }
    missing.reverse();
    Ok(missing)
}

/// Removes the empty folders of `paths`, the last one first. With `sync` their parents are synced before this returns; otherwise the
/// caller syncs them.
pub(crate) fn remove_empty(root: &Root, paths: &[String], sync: bool) -> Result<(), NodeError> {
    for path in paths.iter().rev() {
        let (folder, name) = split(path);
        let fd = match root.folder(folder) {
            Ok(fd) => fd,
            Err(Errno::NOENT) => continue,
            Err(error) => return Err(NodeError::io("open", folder)(error)),
        };
        match fs::unlinkat(&fd, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT | Errno::NOTDIR) => {}
            // Another program put a file into the folder, so it stays, and the removal of our files from it is synced.
            Err(Errno::NOTEMPTY | Errno::EXIST) => {
                let kept = root.folder(path).map_err(NodeError::io("open", path.as_str()))?;
                fs::fsync(kept).map_err(NodeError::io("sync", path.as_str()))?;
            }
            Err(error) => return Err(NodeError::io("remove", path.as_str())(error)),
        }
        if sync {
            fs::fsync(&fd).map_err(NodeError::io("sync", folder))?;
        }
    }
    Ok(())
}
