//! Where programs are.

use std::path::PathBuf;

/// A program in `$PATH`. Without that variable there is none: an empty one would mean the working directory.
pub fn in_path(name: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?)
        .map(|directory| directory.join(name))
        .find(|path| path.is_file())
}
