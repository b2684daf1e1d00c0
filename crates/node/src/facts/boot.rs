//! The boot in which this process runs.

use std::{fs, io};

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Returns the id of the current boot, as the kernel prints it. It is different after each boot.
///
/// # Errors
/// If `/proc` cannot be read.
pub fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string(BOOT_ID)?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boot_id_is_a_uuid_and_stays_the_same() {
        let id = boot_id().unwrap();
        assert_eq!((id.len(), id.split('-').count()), (36, 5), "{id}");
        assert_eq!(boot_id().unwrap(), id);
    }
}
