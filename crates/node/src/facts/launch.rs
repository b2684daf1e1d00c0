//! The arguments of a containerd process, parsed as containerd's own flag parser does.

use crate::systemd::unit::Unit;

use serde::Serialize;

/// The flags of a containerd daemon. A flag that is absent is left to its configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Launch {
    /// `--config`, `-c`: the path of the root file, as given.
    pub config: Option<String>,
    /// `--address`, `-a`: the path of the socket.
    pub address: Option<String>,
    /// `--root`: the folder for persistent data.
    pub root: Option<String>,
    /// `--state`: the folder for data that need not survive a reboot.
    pub state: Option<String>,
}

/// The path of the root file if no flag names one.
const DEFAULT: &str = "/etc/containerd/config.toml";

impl Launch {
    /// Parses the arguments of a process or a unit, including the name of the program. Returns `None` if they start no
    /// daemon: a subcommand such as `config dump`, or the `publish` that shims call.
    pub fn parse(argv: &[String]) -> Option<Self> {
        let mut launch = Self::default();
        let mut arguments = argv.iter().skip(1);
        while let Some(argument) = arguments.next() {
            // Flags end at `--` or at the first argument that is not a flag. A subcommand follows.
            let Some(flag) = argument
                .strip_prefix('-')
                .filter(|flag| !flag.is_empty() && *flag != "-")
            else {
                return (argument == "--" && arguments.next().is_none()).then_some(launch);
            };
            // Go accepts one hyphen or two, and takes the value after `=` or from the next argument.
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
                // `--help` and `--version` start no daemon, and containerd refuses to start with an unknown flag.
                _ => return None,
            };
            let value = match value {
                Some(value) => value,
                None => arguments.next()?.clone(),
            };
            if let Some(slot) = slot {
                *slot = Some(value);
            }
        }
        Some(launch)
    }

    /// Returns the path of the configuration's root file.
    pub fn config_path(&self) -> &str {
        self.config.as_deref().unwrap_or(DEFAULT)
    }
}

impl Unit {
    /// Returns the flags with which the unit's first command starts containerd; `None` if it does not start containerd.
    pub fn launch(&self) -> Option<Launch> {
        let command = self.exec_start.first()?;
        let file = command.path.rsplit('/').next()?;
        (file == "containerd").then(|| Launch::parse(&command.argv)).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Option<Launch> {
        Launch::parse(&line.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn parse_reads_flags_in_every_spelling() {
        for line in [
            "containerd -c /x.toml",
            "containerd --config /x.toml",
            "containerd -config=/x.toml",
            "containerd --config=/x.toml",
            "/usr/bin/containerd -l debug -c=/x.toml",
            "containerd --config /y.toml --config /x.toml",
            "containerd -c /x.toml --",
        ] {
            assert_eq!(parse(line).unwrap().config_path(), "/x.toml", "{line}");
        }
        let launch = parse("containerd --root=/data --state /run/x --address /run/x.sock").unwrap();
        assert_eq!(
            (
                launch.root.as_deref(),
                launch.state.as_deref(),
                launch.address.as_deref()
            ),
            (Some("/data"), Some("/run/x"), Some("/run/x.sock"))
        );
        assert_eq!(parse("containerd").unwrap().config_path(), DEFAULT);
    }

    #[test]
    fn parse_rejects_commands_that_start_no_daemon() {
        for line in [
            "containerd config dump",
            "containerd -c /x.toml config dump",
            "containerd --address /run/containerd/containerd.sock publish --topic /tasks/exit",
            "containerd --version",
            "containerd -c",
            "containerd --unheard-of x",
        ] {
            assert_eq!(parse(line), None, "{line}");
        }
    }
}
