//! A case: the folder of a node's files, the world around it, and what is pulled. A new case is files and no Rust.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use mirrorshift_tests::lab::{Behaviour, Cert, Files, Guard, Host, Image, Login, Scene, Wire, by_digest};
use serde::Deserialize;

/// The release lines that a case runs on unless it says otherwise.
pub(crate) const LINES: [&str; 4] = ["1.6", "1.7", "2.1", "2.4"];
/// Those that an `odd` case runs on beside them.
pub(crate) const ODD: [&str; 2] = ["2.2", "2.3"];

/// What a case says of itself: `case.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Case {
    /// What it shows, for people.
    #[serde(rename = "about")]
    _about: String,
    /// What it covers, in words of [`super::covered::FEATURES`].
    pub(crate) covers: Vec<String>,
    /// Release lines.
    on: Option<Vec<String>>,
    /// Whether it runs on [`ODD`] too.
    #[serde(default)]
    odd: bool,
    /// What planning comes to: `migrated`, `empty`, or `refused: REASON`.
    pub(crate) plan: String,
    /// `--policy`: a path from the case's folder.
    policy: Option<PathBuf>,
    /// `--wildcard`.
    wildcard: Option<String>,
    /// `--mirror`, each.
    #[serde(default)]
    mirror: Vec<String>,
    /// Why pulls differ from those before; nothing where they are the same.
    pub(crate) differs: Option<Differs>,
    /// Hosts beside the usual upstreams, or instead of one of them, each with how it behaves: see [`host`].
    #[serde(default)]
    hosts: BTreeMap<String, String>,
    /// What `configs.<host>.auth` of the files holds, as `user:password`, or `:token` for an identity token.
    #[serde(default)]
    logins: BTreeMap<String, String>,
    /// What is pulled, in order.
    pull: Vec<Pull>,
    #[serde(skip)]
    pub(crate) name: String,
    #[serde(skip)]
    folder: PathBuf,
}

/// Why pulls differ from those before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Differs {
    /// The operator asks for it.
    Asked,
    /// Nobody asks for it and it cannot be helped, as `about` says.
    Known,
}

/// One pull.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pull {
    /// The image.
    image: String,
    /// Pull it by the digest that the lab's registries have for it.
    #[serde(default)]
    digest: bool,
    /// kubelet's pull secret, as `user:password`.
    secret: Option<String>,
    /// The registry that the secret is for.
    secret_for: Option<String>,
    /// The hosts that must be asked for the manifest in the end, in order, whatever the model says. Those that a version
    /// asks otherwise are left to the model.
    pub(crate) asked: Option<Vec<String>>,
    /// The same for layers.
    pub(crate) layers: Option<Vec<String>>,
}

impl Case {
    /// The case in a folder.
    pub(crate) fn read(folder: &Path) -> Result<Self, String> {
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let text = fs::read_to_string(folder.join("case.toml")).map_err(|error| format!("{name}: {error}"))?;
        let mut case: Self = toml::from_str(&text).map_err(|error| format!("{name}: {error}"))?;
        case.name = name;
        case.folder = folder.into();
        Ok(case)
    }

    /// Every case below a folder of this package, by name.
    pub(crate) fn all(folder: &str) -> Result<Vec<Self>, String> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        let entries = fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        paths.iter().map(|path| Self::read(path)).collect()
    }

    /// The release lines it runs on.
    pub(crate) fn lines(&self) -> Vec<String> {
        let mut lines = self.on.clone().unwrap_or_else(|| LINES.map(str::to_owned).to_vec());
        if self.odd {
            lines.extend(ODD.map(str::to_owned));
        }
        lines
    }

    /// A folder of the node's files, `before` for one; nothing when the case has no such folder.
    pub(crate) fn files(&self, folder: &str) -> Result<Option<Files>, String> {
        let root = self.folder.join(folder);
        if !root.is_dir() {
            return Ok(None);
        }
        let mut files = Files::new();
        gather(&root, "", &mut files).map_err(|error| format!("{}: {error}", root.display()))?;
        Ok(Some(files))
    }

    /// What its operator types behind `migrate`.
    pub(crate) fn wishes(&self) -> Vec<String> {
        let policy = self.policy.iter().map(|path| self.folder.join(path));
        let policy = policy.map(|path| format!("--policy={}", path.display()));
        let mirrors = self.mirror.iter().map(|text| format!("--mirror={text}"));
        let wildcard = self.wildcard.iter().map(|text| format!("--wildcard={text}"));
        policy.chain(mirrors).chain(wildcard).collect()
    }

    /// The world around the node.
    pub(crate) fn scene(&self) -> Result<Scene, String> {
        self.hosts.iter().try_fold(Scene::upstreams(), |scene, (name, words)| {
            let host = host(name, words).ok_or_else(|| format!("{}: host `{name}`: `{words}`", self.name))?;
            Ok(scene.with(host))
        })
    }

    /// The logins that the files hold, by key of `configs`.
    pub(crate) fn logins(&self) -> Result<BTreeMap<String, Login>, String> {
        let read = |(host, text): (&String, &String)| Some((host.clone(), login(text)?));
        let logins: Option<_> = self.logins.iter().map(read).collect();
        logins.ok_or_else(|| format!("{}: a login is `user:password`", self.name))
    }

    /// What is pulled, each with the image as the lab takes it.
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

/// A host from a wire (`http`, `https`, `private` for TLS by an authority that only files make known, `self-signed`) and
/// words: a status (`404`), `dead`, `hangs`, `slow=MILLISECONDS`, `basic=USER:PASSWORD`, `token`, `token=USER:PASSWORD`,
/// `identity=TOKEN`, `client-cert`.
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
