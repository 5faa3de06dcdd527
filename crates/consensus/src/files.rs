//! The files that a node keeps: the machine's, or in a build of the simulation those of its
//! simulated disks (`simulated::files`). All that this crate reads and writes goes through here.

#[cfg(not(simulation))]
pub use std::fs::{
    File, TryLockError, canonicalize, create_dir, create_dir_all, read_dir, remove_dir_all,
    remove_file, rename,
};
#[cfg(not(simulation))]
pub use std::os::unix::fs::FileExt;

#[cfg(simulation)]
pub use crate::simulated::files::{
    File, FileExt, TryLockError, canonicalize, create_dir, create_dir_all, exists, is_dir,
    read_dir, remove_dir_all, remove_file, rename,
};

/// Whether something is at the path.
#[cfg(not(simulation))]
#[must_use]
pub fn exists(path: &std::path::Path) -> bool {
    path.exists()
}

/// Whether a folder is at the path.
#[cfg(not(simulation))]
#[must_use]
pub fn is_dir(path: &std::path::Path) -> bool {
    path.is_dir()
}
