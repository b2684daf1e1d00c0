//! A case: the folder with a node's files, the registries around it, and the images to pull. A new case needs no
//! Rust.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use mirrorshift_tests::lab::{Behaviour, Cert, Files, Guard, Host, Image, Login, Scene, Wire, by_digest};
use serde::Deserialize;

/// The release lines of a case that specifies none.
pub(crate) const LINES: [&str; 4] = ["1.6", "1.7", "2.1", "2.4"];
/// The release lines that an `odd` case runs on in addition.
pub(crate) const ODD: [&str; 2] = ["2.2", "2.3"];

/// The contents of `case.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Case {
    /// One sentence about the case, for people.
    #[serde(rename = "about")]
    _about: String,
    /// The covered features, from [`super::covered::FEATURES`].
    pub(crate) covers: Vec<String>,
    /// Release lines.
    on: Option<Vec<String>>,
    /// Runs the case also on [`ODD`].
    #[serde(default)]
    odd: bool,
    /// The expected result of planning: `migrated`, `empty`, or `refused: REASON`.
    pub(crate) plan: String,
    /// `--policy`: a path in the case's folder.
    policy: Option<PathBuf>,
    wildcard: Option<String>,
    /// Each value of `--mirror`.
    #[serde(default)]
    mirror: Vec<String>,
    /// The reason why the pulls differ from those before; none if they are equal.
    pub(crate) differs: Option<Differs>,
    /// Hosts in addition to the usual upstreams, or instead of one of them, each with its behaviour: see [`host`].
    #[serde(default)]
    hosts: BTreeMap<String, String>,
    /// The logins in `configs.<host>.auth` of the files, as `user:password`, or `:token` for an identity token.
    #[serde(default)]
    logins: BTreeMap<String, String>,
    /// The images to pull, in order.
    pull: Vec<Pull>,
    #[serde(skip)]
    pub(crate) name: String,
    #[serde(skip)]
    folder: PathBuf,
}

/// The reason why pulls differ from those before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Differs {
    /// The operator requests the difference.
    Requested,
    /// The difference cannot be avoided, as `about` explains.
    Unavoidable,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pull {
    image: String,
    /// Pulls it by the digest that the lab's registries have for it.
    #[serde(default)]
    digest: bool,
    /// The kubelet's pull secret, as `user:password`.
    secret: Option<String>,
    /// The registry of the secret.
    secret_for: Option<String>,
    /// The hosts that must be contacted for the manifest, in order, whatever the model predicts. Other requests of a
    /// release are left to the model.
    pub(crate) contacted: Option<Vec<String>>,
    /// Like `contacted`, for layers.
    pub(crate) layers: Option<Vec<String>>,
}

impl Case {
    /// Reads the case in a folder.
    pub(crate) fn read(folder: &Path) -> Result<Self, String> {
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let text = fs::read_to_string(folder.join("case.toml")).map_err(|error| format!("{name}: {error}"))?;
        let mut case: Self = toml::from_str(&text).map_err(|error| format!("{name}: {error}"))?;
        case.name = name;
        case.folder = folder.into();
        Ok(case)
    }

    /// Reads every case in a folder of this package, sorted by name.
    pub(crate) fn all(folder: &str) -> Result<Vec<Self>, String> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        let entries = fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        paths.iter().map(|path| Self::read(path)).collect()
    }

    /// Returns the release lines that it runs on.
    pub(crate) fn lines(&self) -> Vec<String> {
        let mut lines = self.on.clone().unwrap_or_else(|| LINES.map(str::to_owned).to_vec());
        if self.odd {
            lines.extend(ODD.map(str::to_owned));
        }
        lines
    }

    /// Returns a folder of the node's files, such as `before`; `None` if the case has no such folder.
    pub(crate) fn files(&self, folder: &str) -> Result<Option<Files>, String> {
        let root = self.folder.join(folder);
        if !root.is_dir() {
            return Ok(None);
        }
        let mut files = Files::new();
        gather(&root, "", &mut files).map_err(|error| format!("{}: {error}", root.display()))?;
        Ok(Some(files))
    }

    /// Returns the arguments of `migrate`.
    pub(crate) fn wishes(&self) -> Vec<String> {
        let policy = self.policy.iter().map(|path| self.folder.join(path));
        let policy = policy.map(|path| format!("--policy={}", path.display()));
        let mirrors = self.mirror.iter().map(|text| format!("--mirror={text}"));
        let wildcard = self.wildcard.iter().map(|text| format!("--wildcard={text}"));
        policy.chain(mirrors).chain(wildcard).collect()
    }

    /// Returns the registries around the node.
    pub(crate) fn scene(&self) -> Result<Scene, String> {
        self.hosts.iter().try_fold(Scene::upstreams(), |scene, (name, words)| {
            let host = host(name, words).ok_or_else(|| format!("{}: host `{name}`: `{words}`", self.name))?;
            Ok(scene.with(host))
        })
    }

    /// Returns the logins in the files, by key of `configs`.
    pub(crate) fn logins(&self) -> Result<BTreeMap<String, Login>, String> {
        let read = |(host, text): (&String, &String)| Some((host.clone(), login(text)?));
        let logins: Option<_> = self.logins.iter().map(read).collect();
        logins.ok_or_else(|| format!("{}: a login is `user:password`", self.name))
    }

    /// Returns the pulls, each with the image of the lab.
    pub(crate) fn pulls(&self) -> Result<Vec<(Pull, Image)>, String> {
        let read = |pull: &Pull| {
            let reference = if pull.digest {
                by_digest(&pull.image)
            } else {
                pull.image.clone()
            };
            let mut image = Image::new(&reference);
            image.server_address.clone_from(&pull.secret_for);
            match &pull.secret {
                Some(text) => Some((pull.clone(), image.with_secret(login(text)?))),
                None => Some((pull.clone(), image)),
            }
        };
        let pulls: Option<_> = self.pull.iter().map(read).collect();
        pulls.ok_or_else(|| format!("{}: a secret is `user:password`", self.name))
    }
}

/// Parses a host: the protocol (`http`, `https`, `private` for TLS by an authority that only the files name,
/// `self-signed`) and its behaviour: a status (`404`), `dead`, `hangs`, `slow=MILLISECONDS`, `basic=USER:PASSWORD`,
/// `token`, `token=USER:PASSWORD`, `identity=TOKEN`, `client-cert`.
fn host(name: &str, words: &str) -> Option<Host> {
    let mut words = words.split_whitespace();
    let mut host = Host::http(name);
    host.wire = match words.next()? {
        "http" => Wire::Http,
        "https" => Wire::Tls(Cert::Trusted),
        "private" => Wire::Tls(Cert::Private),
        "self-signed" => Wire::Tls(Cert::SelfSigned),
        _ => return None,
    };
    for word in words {
        match word.split_once('=') {
            Some(("slow", milliseconds)) => host.behaviour = Behaviour::Slow(milliseconds.parse().ok()?),
            Some(("basic", text)) => host.guard = Guard::Basic(login(text)?),
            Some(("token", text)) => host.guard = Guard::Token(Some(login(text)?)),
            Some(("identity", secret)) => host.guard = Guard::Identity(secret.into()),
            None if word == "dead" => host.behaviour = Behaviour::Dead,
            None if word == "hangs" => host.behaviour = Behaviour::Hangs,
            None if word == "token" => host.guard = Guard::Token(None),
            None if word == "client-cert" => host.guard = Guard::ClientCert,
            None => host.behaviour = Behaviour::Status(word.parse().ok()?),
            Some(_) => return None,
        }
    }
    Some(host)
}

fn login(text: &str) -> Option<Login> {
    let (user, password) = text.split_once(':')?;
    Some(Login::new(user, password))
}

fn gather(folder: &Path, prefix: &str, files: &mut Files) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = format!("{prefix}/{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            gather(&entry.path(), &path, files)?;
        } else {
            files.insert(path, fs::read(entry.path())?);
        }
    }
    Ok(())
}
