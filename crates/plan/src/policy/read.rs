//! Reads a [`Policy`] from the YAML tree, and reports the first mistake with its line and a hint.

use crate::policy::error::{PolicyError, ValueError};
use crate::policy::host::RegistryName;
use crate::policy::mirror_url::MirrorUrl;
use crate::policy::schema::{MIRROR, REGISTRY, RESTART, ROOT, Schema, nearest};
use crate::policy::source::{LineExcerpt, Source};
use crate::policy::yaml::{self, Entry, Node, Value, YamlKind};
use crate::policy::{Fallback, HostsDir, Mode, Policy, Registry, Restart, Tags, When, Wildcard, redact};
use std::collections::HashMap;
use std::fmt::Display;
use std::hash::Hash;
use std::num::NonZeroU32;
use std::ops::Range;
use std::time::Duration;

const API_VERSION: &str = "mirrorshift.dev/v1alpha1";
const KIND: &str = "MirrorPolicy";
/// The largest policy. The policy of a cluster has some hundred lines.
const LARGEST: usize = 1 << 20;

impl Policy {
    /// Reads a policy from the contents of the file `name`.
    ///
    /// # Errors
    /// Refuses contents that are not UTF-8, and all that [`Policy::parse`] refuses.
    pub fn parse_bytes(bytes: &[u8], name: &str) -> Result<Self, PolicyError> {
        check_size(bytes.len(), name)?;
        let error = match str::from_utf8(bytes) {
            Ok(text) => return Self::parse(text, name),
            Err(error) => error,
        };
        let valid = error.valid_up_to();
        let text = str::from_utf8(&bytes[..valid]).unwrap_or_default();
        let hint = "save the file as UTF-8";
        let why = ValueError::new(format!("byte {valid} (0x{:02x}) is not UTF-8", bytes[valid])).hint(hint);
        Err(Source::new(name, text).error(valid..valid, why))
    }

    /// Reads a policy from the text of the file `name`.
    ///
    /// The text is at most 1 MiB: one document of plain YAML without anchors, tags and directives, with only known keys, each
    /// once. CRLF and a byte order mark are allowed.
    ///
    /// # Errors
    /// Returns the first mistake with its location and, when it is known, the text to write instead.
    pub fn parse(text: &str, name: &str) -> Result<Self, PolicyError> {
        check_size(text.len(), name)?;
        let source = Source::new(name, text.strip_prefix('\u{feff}').unwrap_or(text));
        if let Some(at) = source.text().find('\0') {
            let error = ValueError::new("the file contains a NUL byte").hint("a policy is a text file in UTF-8");
            return Err(source.error(at..at + 1, error));
        }
        let Some(root) = yaml::load(&source)? else {
            let hint = format!("begin with `apiVersion: {API_VERSION}` and `kind: {KIND}`, or use no policy");
            return Err(source.error(0..0, ValueError::new("the policy is empty").hint(hint)));
        };
        Reader { source: &source }.policy(&root)
    }
}

fn check_size(len: usize, name: &str) -> Result<(), PolicyError> {
    if len <= LARGEST {
        return Ok(());
    }
    let message = format!("the policy has {len} bytes; at most {LARGEST} are allowed");
    Err(PolicyError {
        file: name.to_owned(),
        place: None,
        message,
        hint: None,
    })
}

type Read<T> = Result<T, PolicyError>;

struct Reader<'s, 'a> {
    source: &'s Source<'a>,
}

/// A map with only known keys.
struct Map<'n, 'a> {
    schema: &'static Schema,
    entries: &'n [Entry<'a>],
    span: Range<usize>,
}

impl<'n, 'a> Map<'n, 'a> {
    fn get(&self, key: &str) -> Option<&'n Node<'a>> {
        debug_assert!(self.schema.keys.contains(&key), "`{key}` is missing in the table");
        self.entries
            .iter()
            .find(|entry| entry.key == key)
            .map(|entry| &entry.value)
    }

    fn read<T>(&self, key: &str, read: impl Fn(&Node<'a>, &str) -> Read<T>) -> Read<Option<T>> {
        self.get(key).map(|node| read(node, key)).transpose()
    }
}

impl<'a> Reader<'_, 'a> {
    fn policy(&self, root: &Node<'a>) -> Read<Policy> {
        let map = self.map(root, &ROOT)?;
        for (key, only) in [("apiVersion", API_VERSION), ("kind", KIND)] {
            let node = self.required(&map, key, &format!("write `{key}: {only}`"))?;
            self.choice(node, key, &[(only, ())])?;
        }
        Ok(Policy {
            mode: map.read("mode", |node, key| {
                let modes = [
                    ("observe", Mode::Observe),
                    ("migrate", Mode::Migrate),
                    ("rollback", Mode::Rollback),
                ];
                self.choice(node, key, &modes)
            })?,
            wildcard: map.read("wildcard", |node, _| self.wildcard(node))?.unwrap_or_default(),
            registries: map
                .read("registries", |node, key| self.registries(node, key))?
                .unwrap_or_default(),
            adopt: map
                .read("adopt", |node, key| self.adopt(node, key))?
                .unwrap_or_default(),
            restart: map.read("restart", |node, _| self.restart(node))?.unwrap_or_default(),
        })
    }

    fn wildcard(&self, node: &Node<'a>) -> Read<Wildcard> {
        if let Value::List(items) = &node.value {
            let hosts = self.distinct(items.iter().map(Ok), "wildcard", "a host", RegistryName::parse)?;
            return Wildcard::for_hosts(hosts.into_iter().map(Ok)).map_err(|error| self.refuse(node, error));
        }
        let expected = "`keep`, `drop`, a host or a list of hosts";
        Wildcard::parse(self.text(node, "wildcard", expected)?).map_err(|error| self.refuse(node, error))
    }

    fn registries(&self, node: &Node<'a>, key: &str) -> Read<Vec<Registry>> {
        let mut seen = HashMap::new();
        let mut registries = Vec::new();
        for item in self.list(node, key, "entries such as `- host: ghcr.io`")? {
            let (registry, host) = self.registry(item)?;
            if let Some(first) = seen.insert(registry.host.clone(), host.span.start) {
                let first = self.source.line(first);
                let message = format!("`{}` already has an entry on line {first}", registry.host);
                return Err(self.refuse(host, ValueError::new(message).hint("write one entry with all its keys")));
            }
            registries.push(registry);
        }
        Ok(registries)
    }

    /// Reads one entry. Returns it with the node of its host.
    fn registry<'n>(&self, item: &'n Node<'a>) -> Read<(Registry, &'n Node<'a>)> {
        let map = self.map(item, &REGISTRY)?;
        let host_node = self.required(&map, "host", "name the registry, such as `host: ghcr.io`")?;
        let host = self.parsed(host_node, "host", "a registry such as `ghcr.io`", RegistryName::parse)?;
        let mirrors = map.read("mirrors", |node, key| {
            let items = self.list(node, key, "entries such as `- url: https://mirror.example`")?;
            let urls = items.iter().map(|item| {
                let map = self.map(item, &MIRROR)?;
                self.required(&map, "url", "write `- url: https://mirror.example`")
            });
            self.distinct(urls, "url", "a URL such as `https://mirror.example`", MirrorUrl::parse)
        })?;
        let tags = map.read("tags", |node, key| {
            self.choice(node, key, &[("mirror", Tags::Mirror), ("upstream", Tags::Upstream)])
        })?;
        let fallback = map.read("fallback", |node, key| {
            self.choice(node, key, &[("upstream", Fallback::Upstream), ("none", Fallback::None)])
        })?;
        if mirrors.is_none() && tags.is_none() && fallback.is_none() {
            let error = ValueError::new(format!("the entry of `{host}` has no setting"));
            let hint = "add `mirrors`, `tags` or `fallback`; with `mirrors: []` its images are pulled from upstream";
            return Err(self.refuse(host_node, error.hint(hint)));
        }
        let (tags, fallback) = (tags.unwrap_or_default(), fallback.unwrap_or_default());
        if fallback == Fallback::None
            && let Some(node) = map.get("fallback")
        {
            if tags == Tags::Upstream {
                let error = ValueError::new(format!("no tag of `{host}` could be resolved: `tags` is `upstream`"));
                return Err(self.refuse(node, error.hint("remove `tags: upstream` or `fallback: none`")));
            }
            if mirrors.as_ref().is_some_and(Vec::is_empty) {
                let error = ValueError::new(format!("images of `{host}` could not be pulled from any host"));
                return Err(self.refuse(node, error.hint("add a mirror, or remove `fallback: none`")));
            }
        }
        Ok((
            Registry {
                host,
                mirrors,
                tags,
                fallback,
            },
            host_node,
        ))
    }

    fn adopt(&self, node: &Node<'a>, key: &str) -> Read<Vec<HostsDir>> {
        let items = self.list(node, key, "hosts such as `ghcr.io`")?;
        self.distinct(
            items.iter().map(Ok),
            key,
            "a host such as `ghcr.io`",
            |text| match text {
                "_default" => Ok(HostsDir::Default),
                host => RegistryName::parse(host).map(HostsDir::Host),
            },
        )
    }

    fn restart(&self, node: &Node<'a>) -> Read<Restart> {
        let map = self.map(node, &RESTART)?;
        let default = Restart::default();
        Ok(Restart {
            when: map
                .read("when", |node, key| {
                    self.choice(
                        node,
                        key,
                        &[("idle", When::Idle), ("now", When::Now), ("never", When::Never)],
                    )
                })?
                .unwrap_or(default.when),
            max_concurrent: map
                .read("maxConcurrent", |node, key| self.count(node, key))?
                .unwrap_or(default.max_concurrent),
            deadline: map
                .read("deadline", |node, key| {
                    self.parsed(node, key, "a time such as `20s`", deadline)
                })?
                .unwrap_or(default.deadline),
        })
    }

    fn count(&self, node: &Node<'a>, key: &str) -> Read<NonZeroU32> {
        let number = match &node.value {
            Value::Scalar { text, plain: true } if text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse().ok(),
            _ => None,
        };
        number.ok_or_else(|| {
            let message = format!("`{key}` must be a whole number from 1, found {}", node.describe());
            self.refuse(
                node,
                ValueError::new(message).hint("write the number of nodes, such as `1`"),
            )
        })
    }

    fn map<'n>(&self, node: &'n Node<'a>, schema: &'static Schema) -> Read<Map<'n, 'a>> {
        let Value::Map(entries) = &node.value else {
            let message = format!("{} must be a map, found {}", schema.place, node.describe());
            let hint = format!("its keys are `{}`", schema.keys.join("`, `"));
            return Err(self.refuse(node, ValueError::new(message).hint(hint)));
        };
        for entry in entries {
            if !schema.keys.contains(&&*entry.key) {
                let message = format!("unknown key `{}` in {}", redact::value(&entry.key), schema.place);
                let error = ValueError::new(message).hint(schema.suggest(&entry.key));
                return Err(self
                    .source
                    .error_showing(entry.key_span.clone(), error, LineExcerpt::UpToError));
            }
        }
        Ok(Map {
            schema,
            entries,
            span: node.span.clone(),
        })
    }

    fn required<'n>(&self, map: &Map<'n, 'a>, key: &str, hint: &str) -> Read<&'n Node<'a>> {
        map.get(key).ok_or_else(|| {
            let error = ValueError::new(format!("`{key}` is missing in {}", map.schema.place)).hint(hint);
            self.source.error(map.span.clone(), error)
        })
    }

    fn list<'n>(&self, node: &'n Node<'a>, key: &str, of: &str) -> Read<&'n [Node<'a>]> {
        let Value::List(items) = &node.value else {
            let error = ValueError::new(format!("`{key}` must be a list, found {}", node.describe()));
            return Err(self.refuse(node, error.hint(format!("write a list of {of}, or `{key}: []`"))));
        };
        Ok(items)
    }

    /// Reads a list in which each value may occur only once.
    fn distinct<'n, T>(
        &self,
        nodes: impl Iterator<Item = Read<&'n Node<'a>>>,
        key: &str,
        expected: &str,
        parse: fn(&str) -> Result<T, ValueError>,
    ) -> Read<Vec<T>>
    where
        'a: 'n,
        T: Clone + Eq + Hash + Display,
    {
        let mut seen = HashMap::new();
        let mut values = Vec::new();
        for node in nodes {
            let node = node?;
            let value = self.parsed(node, key, expected, parse)?;
            if let Some(first) = seen.insert(value.clone(), node.span.start) {
                let message = format!("`{value}` is already on line {}", self.source.line(first));
                return Err(self.refuse(node, ValueError::new(message).hint("name it once")));
            }
            values.push(value);
        }
        Ok(values)
    }

    fn parsed<T>(
        &self,
        node: &Node<'a>,
        key: &str,
        expected: &str,
        parse: fn(&str) -> Result<T, ValueError>,
    ) -> Read<T> {
        parse(self.text(node, key, expected)?).map_err(|error| self.refuse(node, error))
    }

    fn choice<T: Copy>(&self, node: &Node<'a>, key: &str, choices: &[(&str, T)]) -> Read<T> {
        let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
        let all = format!("`{}`", words.join("`, `"));
        let text = self.text(
            node,
            key,
            &if words.len() > 1 {
                format!("one of {all}")
            } else {
                all.clone()
            },
        )?;
        choices
            .iter()
            .find(|(word, _)| *word == text)
            .map(|(_, value)| *value)
            .ok_or_else(|| {
                let error = ValueError::new(format!("`{key}` cannot be `{}`", redact::value(text)));
                let hint = match nearest(text, &words) {
                    Some(word) if words.len() > 1 => format!("did you mean `{word}`? it is one of {all}"),
                    _ if words.len() > 1 => format!("write one of {all}"),
                    _ => format!("write {all}"),
                };
                self.refuse(node, error.hint(hint))
            })
    }

    /// Returns a scalar that every YAML reader reads as text.
    fn text<'n>(&self, node: &'n Node<'a>, key: &str, expected: &str) -> Read<&'n str> {
        match (&node.value, node.kind()) {
            (Value::Scalar { text, .. }, YamlKind::Text) => Ok(text),
            (_, kind) => {
                let error = ValueError::new(format!("`{key}` must be {expected}, found {}", node.describe()));
                let error = match kind {
                    YamlKind::Nothing => error.hint("add a value, or remove the key"),
                    YamlKind::Boolean => {
                        error.hint("YAML reads `yes`, `no`, `on` or `off` without quotes as a boolean")
                    }
                    _ => error,
                };
                Err(self.refuse(node, error))
            }
        }
    }

    fn refuse(&self, node: &Node<'a>, error: ValueError) -> PolicyError {
        self.source.error(node.span.clone(), error)
    }
}

fn deadline(text: &str) -> Result<Duration, ValueError> {
    let refuse = |why: &str| {
        ValueError::new(format!("`deadline` cannot be `{}`: {why}", redact::value(text)))
            .hint("write a time such as `20s`, `1m30s` or `5m`, from 20 seconds to 1 hour")
    };
    match humantime::parse_duration(text).map_err(|_| refuse("it is not a time with a unit"))? {
        time if time < Restart::SHORTEST_DEADLINE => Err(refuse("containerd may need 20 seconds to start")),
        time if time > Restart::LONGEST_DEADLINE => Err(refuse("a node must not be without CRI for more than an hour")),
        time => Ok(time),
    }
}
