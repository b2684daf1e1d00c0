//! What containerd was started with, read from its words as its own flag parser reads them.

use serde::Serialize;

/// The flags of a containerd daemon; absent ones are left to its configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Launch {
    /// `--config`, `-c`: the root file, as it was given.
    pub config: Option<String>,
    /// `--address`, `-a`: the socket.
    pub address: Option<String>,
    /// `--root`: where data is kept.
    pub root: Option<String>,
    /// `--state`: what may go with a reboot.
    pub state: Option<String>,
}

/// Where containerd looks when nothing else was said.
const USUAL: &str = "/etc/containerd/config.toml";

impl Launch {
    /// Reads the words of a process or a unit, the program's own name first; `None` when they start no daemon: a
    /// subcommand such as `config dump`, or the `publish` that shims call.
    pub fn read(argv: &[String]) -> Option<Self> {
        let mut launch = Self::default();
        let mut words = argv.iter().skip(1);
        while let Some(word) = words.next() {
            // Flags end there or at the first word that is none; what follows is a subcommand.
            let Some(flag) = word.strip_prefix('-').filter(|flag| !flag.is_empty() && *flag != "-") else {
                return (word == "--" && words.next().is_none()).then_some(launch);
            };
            // Go takes one hyphen for two, and `=` or the next word for the value.
            let flag = flag.strip_prefix('-').unwrap_or(flag);
            let (name, value) = match flag.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (flag, None),
            };
            let slot = match name {
                "config" | "c" => Some(&mut launch.config),
                "address" | "a" => Some(&mut launch.address),
                "root" => Some(&mut launch.root),
                "state" => Some(&mut launch.state),
                "log-level" | "l" => None,
                // `--help` and `--version` start none, and with a flag that it does not know it refuses to start.
                _ => return None,
            };
            let value = match value {
                Some(value) => value,
                None => words.next()?.clone(),
            };
            if let Some(slot) = slot {
                *slot = Some(value);
            }
        }
        Some(launch)
    }

    /// The root file of the configuration.
    pub fn config_path(&self) -> &str {
        self.config.as_deref().unwrap_or(USUAL)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Option<Launch> {
        Launch::read(&line.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn flags_in_every_spelling() {
        for line in [
            "containerd -c /x.toml",
            "containerd --config /x.toml",
            "containerd -config=/x.toml",
            "containerd --config=/x.toml",
            "/usr/bin/containerd -l debug -c=/x.toml",
            "containerd --config /y.toml --config /x.toml",
            "containerd -c /x.toml --",
        ] {
            assert_eq!(read(line).unwrap().config_path(), "/x.toml", "{line}");
        }
        let launch = read("containerd --root=/data --state /run/x --address /run/x.sock").unwrap();
        assert_eq!(
            (
                launch.root.as_deref(),
                launch.state.as_deref(),
                launch.address.as_deref()
            ),
            (Some("/data"), Some("/run/x"), Some("/run/x.sock"))
        );
        assert_eq!(read("containerd").unwrap().config_path(), USUAL);
    }

    #[test]
    fn what_starts_no_daemon() {
        for line in [
            "containerd config dump",
            "containerd -c /x.toml config dump",
            "containerd --address /run/containerd/containerd.sock publish --topic /tasks/exit",
            "containerd --version",
            "containerd -c",
            "containerd --unheard-of x",
        ] {
            assert_eq!(read(line), None, "{line}");
        }
    }
}
