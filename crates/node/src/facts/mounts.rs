//! Mounts, as the kernel lists them in `/proc/self/mountinfo`.

use serde::Serialize;

/// A mount.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mount {
    /// The kernel's id of the mount.
    pub id: u64,
    /// The mount point.
    pub point: String,
    /// The mounted part of the file system: `/` for all of it, the path of a file for a bind-mounted file.
    pub part: String,
    /// The type of the file system, such as `ext4`, `overlay` or `tmpfs`.
    pub kind: String,
    /// True if the mount or its file system is read-only.
    pub read_only: bool,
    /// True if programs on the mount cannot be executed.
    pub noexec: bool,
}

impl Mount {
    /// Returns true if the files on the mount are lost at a reboot.
    pub fn is_volatile(&self) -> bool {
        matches!(self.kind.as_str(), "tmpfs" | "ramfs")
    }
}

/// Parses the text of `mountinfo`. A line of another form is skipped.
pub(crate) fn parse(text: &str) -> Vec<Mount> {
    text.lines().filter_map(parse_line).collect()
}

/// Parses `36 35 98:0 /part /point rw,noatime master:1 - ext4 /dev/root rw,errors=continue`.
fn parse_line(line: &str) -> Option<Mount> {
    // The number of optional fields before the hyphen varies.
    let (mount_fields, file_system_fields) = line.split_once(" - ")?;
    let mount: Vec<&str> = mount_fields.split(' ').collect();
    let file_system: Vec<&str> = file_system_fields.split(' ').collect();
    let (options, all) = (mount.get(5)?, file_system.get(2)?);
    let has = |options: &str, option| options.split(',').any(|word| word == option);
    Some(Mount {
        id: mount.first()?.parse().ok()?,
        part: unescape(mount.get(3)?),
        point: unescape(mount.get(4)?),
        kind: (*file_system.first()?).to_owned(),
        read_only: has(options, "ro") || has(all, "ro"),
        noexec: has(options, "noexec"),
    })
}

/// Replaces the octal escapes with which `mountinfo` writes blanks, tabs, newlines and backslashes.
fn unescape(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, others)) = rest.split_first() {
        let octal = others.get(..3).filter(|_| *first == b'\\');
        let byte = octal
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        out.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &others[3..] } else { others };
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Returns the mount of a path without links: the mount with the longest mount point, and of two with the same point
/// the later one, because it covers the other.
pub(crate) fn mount_of<'m>(mounts: &'m [Mount], path: &str) -> Option<&'m Mount> {
    let holds = |mount: &&Mount| {
        let point = mount.point.trim_end_matches('/');
        path.strip_prefix(point)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    mounts.iter().filter(holds).max_by_key(|mount| mount.point.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
22 1 0:20 / / rw,relatime - overlay overlay ro,lowerdir=/a
23 22 8:1 /config.toml /etc/containerd/config.toml ro,nosuid,noexec master:1 propagate_from:2 - ext4 /dev/sda1 rw
24 22 0:21 / /etc rw - tmpfs tmpfs rw
25 24 0:22 /with\\040blank /etc/with\\040blank rw shared:3 - ext4 /dev/sda2 rw
26 24 0:23 / /etc rw - ext4 /dev/sda3 rw
a line of another kind
";

    #[test]
    fn parse_reads_lines_with_and_without_optional_fields() {
        let mounts = parse(TEXT);
        assert_eq!(mounts.len(), 5);
        let file = &mounts[1];
        assert_eq!(
            (file.part.as_str(), file.point.as_str()),
            ("/config.toml", "/etc/containerd/config.toml")
        );
        assert!(file.read_only && file.noexec);
        assert!(mounts[0].read_only, "the file system is");
        assert!(mounts[2].is_volatile() && !mounts[2].read_only);
        assert_eq!(mounts[3].point, "/etc/with blank");
    }

    #[test]
    fn mount_of_prefers_the_longest_and_the_latest() {
        let mounts = parse(TEXT);
        let id = |path| mount_of(&mounts, path).map(|mount| mount.id);
        assert_eq!(id("/etc/containerd/config.toml"), Some(23));
        assert_eq!(id("/etc/containerd/config.toml2"), Some(26));
        assert_eq!(id("/etc"), Some(26));
        assert_eq!(id("/etcetera"), Some(22));
    }

    #[test]
    fn unescape_keeps_what_is_not_an_escape() {
        assert_eq!(unescape(r"a\134b\09\9"), r"a\b\09\9");
    }
}
