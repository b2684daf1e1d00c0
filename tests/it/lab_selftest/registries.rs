//! Tests of the lab's registries: every installed containerd must send the known requests, and a wrong hosts.toml
//! must be detected.

use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};
use mirrorshift_tests::lab::{
    Behaviour, Boot, Containerd, Files, Guard, Host, Image, Job, Lab, Login, RequestTarget, Round, RoundReport, Scene,
    by_digest, compare, normalise,
};

/// The input of a case.
struct Case {
    lab: Lab,
    containerd: Containerd,
}

type Run = fn(&Case) -> Result<(), Failed>;

const CASES: [(&str, Run); 10] = [
    ("legacy_wildcard", legacy_wildcard),
    ("fallback_to_tls_upstream", fallback_to_tls_upstream),
    ("hosts_toml_equals_legacy", hosts_toml_equals_legacy),
    ("wrong_hosts_toml_is_caught", wrong_hosts_toml_is_caught),
    ("token_for_a_pull_secret", token_for_a_pull_secret),
    ("client_certificate", client_certificate),
    ("tls_to_a_plain_server", tls_to_a_plain_server),
    ("addresses_and_prefixes", addresses_and_prefixes),
    ("ipv6_address", ipv6_address),
    ("boot_result_is_reported", boot_result_is_reported),
];

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let mut trials = Vec::new();
    for (line, containerd) in mirrorshift_tests::lab::LINES.into_iter().zip(Containerd::all()) {
        for (name, run) in CASES {
            let name = format!("lab::{line}::{name}");
            let case = containerd.as_ref().map_err(ToString::to_string).and_then(|containerd| {
                let lab = Lab::open(env!("CARGO_BIN_EXE_lab-run")).map_err(|missing| missing.to_string())?;
                Ok(Case {
                    lab,
                    containerd: containerd.clone(),
                })
            });
            trials.push(match case {
                Ok(case) => Trial::test(name, move || run(&case)),
                Err(why) => {
                    skipped(&name, &why);
                    // It fails with `--include-ignored`, because nothing passes without a test.
                    Trial::test(name, move || Err(why.into())).with_ignored_flag(true)
                }
            });
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

#[expect(clippy::print_stderr, reason = "a test program's output is its report")]
fn skipped(name: &str, why: &str) {
    eprintln!("SKIPPED: {name}: {why}");
}

impl Case {
    /// Runs one round per argument, all in one scene.
    fn run(&self, scene: &Scene, rounds: &[(Files, &[Image])]) -> Result<Vec<RoundReport>, Failed> {
        let rounds = rounds
            .iter()
            .map(|(files, images)| Round {
                files: files.clone(),
                images: images.to_vec(),
            })
            .collect();
        Ok(self.lab.run(&Job {
            containerd: self.containerd.clone(),
            scene: scene.clone(),
            rounds,
        })?)
    }

    /// 2.2.0 and 2.2.1 have a default `config_path`, which excludes `mirrors`, so CRI does not load.
    fn refuses_mirrors(&self) -> bool {
        ["2.2.0", "2.2.1"].contains(&self.containerd.version.as_str())
    }

    /// Returns whether `localhost` in hosts.toml mode is contacted over TLS first: since 1.6.25, 1.7.8 and 2.0.
    fn localhost_by_tls(&self) -> bool {
        self.containerd.version != "1.6.20"
    }
}

/// A node with these `mirrors`. Every version reads schema 2.
fn legacy(mirrors: &str) -> Files {
    Files::from([(
        "/etc/containerd/config.toml".into(),
        format!("version = 2\n{mirrors}").into_bytes(),
    )])
}

/// Returns a `mirrors` table.
fn mirror(registry: &str, endpoint: &str) -> String {
    format!("[plugins.\"io.containerd.grpc.v1.cri\".registry.mirrors.\"{registry}\"]\nendpoint = [\"{endpoint}\"]\n")
}

/// A node with a `config_path` and these hosts.toml files by folder.
fn hosts(folders: &[(&str, &str)]) -> Files {
    let config = "[plugins.\"io.containerd.grpc.v1.cri\".registry]\nconfig_path = \"/etc/containerd/certs.d\"\n";
    let mut files = legacy(config);
    for (folder, text) in folders {
        files.insert(
            format!("/etc/containerd/certs.d/{folder}/hosts.toml"),
            text.as_bytes().to_vec(),
        );
    }
    files
}

/// Returns the requests for a thing as text.
fn asked(report: &RoundReport, image: &str, thing: RequestTarget) -> Vec<String> {
    let asks = normalise(&report.requests);
    asks.get(&(image.to_owned(), thing))
        .into_iter()
        .flatten()
        .map(ToString::to_string)
        .collect()
}

/// Returns the requests for each blob, which must be the same for the configuration and the layer.
fn blobs(report: &RoundReport, image: &str) -> Vec<String> {
    let asks = normalise(&report.requests);
    let mut lists = asks
        .iter()
        .filter(|((of, thing), _)| of == image && matches!(thing, RequestTarget::Blob(_)));
    let at = |(_, list): (_, &Vec<mirrorshift_tests::lab::RequestSummary>)| -> Vec<String> {
        list.iter()
            .map(|asked| format!("{}://{}", asked.scheme, asked.at))
            .collect()
    };
    let (first, second) = (lists.next().map(at), lists.next().map(at));
    assert_eq!(first, second, "{:#?}", report.requests);
    assert!(lists.next().is_none());
    assert!(first.is_some(), "no blob was asked for");
    first.unwrap_or_default()
}

/// Checks that every image was pulled.
fn pulled(report: &RoundReport) {
    assert_eq!(report.boot, Boot::CriOk, "{}", report.log);
    assert!(!report.pulls.is_empty());
    for pull in &report.pulls {
        assert_eq!(
            pull.error, None,
            "{}: {:#?}\n{}",
            pull.image, report.requests, report.log
        );
    }
}

fn tag(tag: &str) -> RequestTarget {
    RequestTarget::Tag(tag.into())
}

fn legacy_wildcard(case: &Case) -> Result<(), Failed> {
    let scene = Scene::upstreams().with(Host::http("mirror.test:5000"));
    let digest = by_digest("quay.io/w/two");
    let images = [Image::new("ghcr.io/w/one:1"), Image::new(&digest)];
    let reports = case.run(&scene, &[(legacy(&mirror("*", "http://mirror.test:5000")), &images)])?;
    if case.refuses_mirrors() {
        assert!(matches!(&reports[0].boot, Boot::CriDead(why) if why.contains("`mirrors` cannot be set")));
        return Ok(());
    }
    pulled(&reports[0]);
    assert_eq!(
        asked(&reports[0], "ghcr.io/w/one:1", tag("1")),
        ["http://mirror.test:5000/v2/w/one/manifests/1?ns=ghcr.io"]
    );
    assert_eq!(blobs(&reports[0], "ghcr.io/w/one:1"), ["http://mirror.test:5000"]);
    let sha = digest.split('@').nth(1).unwrap_or_default();
    assert_eq!(
        asked(&reports[0], &digest, RequestTarget::Digest(sha.into())),
        [format!("http://mirror.test:5000/v2/w/two/manifests/{sha}?ns=quay.io")]
    );
    Ok(())
}

fn fallback_to_tls_upstream(case: &Case) -> Result<(), Failed> {
    let image = "ghcr.io/f/one:1";
    for (behaviour, seen) in [
        (Behaviour::Status(404), true),
        (Behaviour::Status(503), true),
        (Behaviour::Dead, false),
    ] {
        let scene = Scene::upstreams().with(Host::http("mirror.test:5000").that(behaviour));
        let files = hosts(&[(
            "ghcr.io",
            "[host.\"http://mirror.test:5000\"]\ncapabilities = [\"pull\", \"resolve\"]\n",
        )]);
        let reports = case.run(&scene, &[(files, &[Image::new(image)])])?;
        pulled(&reports[0]);
        let mut expected = vec!["https://ghcr.io:443/v2/f/one/manifests/1 host=ghcr.io sni=ghcr.io"];
        if seen {
            expected.insert(0, "http://mirror.test:5000/v2/f/one/manifests/1?ns=ghcr.io");
        }
        assert_eq!(asked(&reports[0], image, tag("1")), expected, "{behaviour:?}");
    }
    Ok(())
}

fn hosts_toml_equals_legacy(case: &Case) -> Result<(), Failed> {
    let scene = Scene::upstreams()
        .with(Host::http("mirror.test:5000"))
        .with(Host::http("10.0.20.10:5010"));
    let images = [
        Image::new("ghcr.io/h/one:1"),
        Image::new("busybox:2"),
        Image::new("quay.io/h/three:3"),
    ];
    let before = legacy(
        &[
            mirror("*", "http://mirror.test:5000"),
            mirror("ghcr.io", "http://10.0.20.10:5010"),
        ]
        .concat(),
    );
    let after = hosts(&[
        (
            "_default",
            "[host.\"http://mirror.test:5000\"]\ncapabilities = [\"pull\", \"resolve\"]\n",
        ),
        (
            "ghcr.io",
            "[host.\"http://10.0.20.10:5010\"]\ncapabilities = [\"pull\", \"resolve\"]\n",
        ),
    ]);
    let reports = case.run(&scene, &[(before, &images), (after, &images)])?;
    pulled(&reports[1]);
    assert_eq!(
        asked(&reports[1], "busybox:2", tag("2")),
        ["http://mirror.test:5000/v2/library/busybox/manifests/2?ns=docker.io"]
    );
    assert_eq!(
        asked(&reports[1], "ghcr.io/h/one:1", tag("1")),
        ["http://10.0.20.10:5010/v2/h/one/manifests/1?ns=ghcr.io"]
    );
    if !case.refuses_mirrors() {
        pulled(&reports[0]);
        assert_eq!(compare(&reports[0], &reports[1]), None);
    }
    Ok(())
}

/// Makes one mistake at a time in the same migration; each must be detected.
fn wrong_hosts_toml_is_caught(case: &Case) -> Result<(), Failed> {
    let scene = Scene::upstreams()
        .with(Host::http("mirror.test:5000"))
        .with(Host::http("other.test:5000"));
    let images = [Image::new("ghcr.io/x/one:1")];
    let right = "[host.\"http://mirror.test:5000\"]\ncapabilities = [\"pull\", \"resolve\"]\n";
    let wrong = [
        "[host.\"http://other.test:5000\"]\ncapabilities = [\"pull\", \"resolve\"]\n",
        "[host.\"http://mirror.test:5000/sub\"]\ncapabilities = [\"pull\", \"resolve\"]\n",
        "[host.\"http://mirror.test:5000\"]\ncapabilities = [\"pull\"]\n",
        "[host.\"http://mirror.test:5000\"]\ncapabilities = [\"pull\", \"resolve\"]\n[host.\"http://mirror.test:5000\".header]\nx-secret = \"1\"\n",
        "not toml",
    ];
    let mut rounds = vec![(hosts(&[("ghcr.io", right)]), &images[..])];
    rounds.extend(wrong.iter().map(|text| (hosts(&[("ghcr.io", text)]), &images[..])));
    // The right file is last again, so that a detection is not due to chance.
    rounds.push((hosts(&[("ghcr.io", right)]), &images[..]));
    let reports = case.run(&scene, &rounds)?;
    let (first, others) = reports.split_first().ok_or("no report")?;
    let (last, wrongs) = others.split_last().ok_or("no report")?;
    pulled(first);
    assert_eq!(compare(first, last), None);
    for (text, report) in wrong.iter().zip(wrongs) {
        assert!(
            compare(first, report).is_some(),
            "not caught: {text}\n{:#?}",
            report.requests
        );
    }
    Ok(())
}

fn token_for_a_pull_secret(case: &Case) -> Result<(), Failed> {
    let login = Login::new("kube", "s3cret");
    let scene = Scene::upstreams().with(Host::https("ghcr.io").guarded(Guard::Token(Some(login.clone()))));
    let image = "ghcr.io/t/one:1";
    let secret = Image::new(image).with_secret(login);
    let none = Image::new(image);
    let reports = case.run(&scene, &[(hosts(&[]), &[secret]), (hosts(&[]), &[none])])?;
    pulled(&reports[0]);
    let manifest = "https://ghcr.io:443/v2/t/one/manifests/1 host=ghcr.io sni=ghcr.io";
    assert_eq!(
        asked(&reports[0], image, tag("1")),
        [
            manifest.to_owned(),
            format!("{manifest} authorization=Bearer token-of-kube")
        ]
    );
    // containerd first sends a form, which this token server does not support, then uses basic authentication; once
    // to look up the tag and once for the fetches.
    let server = "https://ghcr.io:443/token host=ghcr.io sni=ghcr.io";
    let form = "client_id=containerd-client&grant_type=password&password=s3cret\
                &scope=repository%3At%2Fone%3Apull&service=ghcr.io&username=kube";
    let by_form = format!("{server} form={form}");
    let by_get = "https://ghcr.io:443/token?scope=repository%3At%2Fone%3Apull&service=ghcr.io \
                  host=ghcr.io sni=ghcr.io authorization=Basic a3ViZTpzM2NyZXQ=";
    assert_eq!(
        asked(&reports[0], image, RequestTarget::Token),
        [&by_form, by_get, &by_form, by_get]
    );
    assert!(reports[1].pulls[0].error.is_some(), "pulled without the secret");
    assert!(compare(&reports[0], &reports[1]).is_some());
    Ok(())
}

fn client_certificate(case: &Case) -> Result<(), Failed> {
    let scene = Scene::upstreams().with(Host::private("mirror.test:5000").guarded(Guard::ClientCert));
    let image = "ghcr.io/c/one:1";
    let folder = |rest: &str| {
        let text = format!("[host.\"https://mirror.test:5000\"]\ncapabilities = [\"pull\", \"resolve\"]\n{rest}");
        let mut files = hosts(&[("ghcr.io", &text)]);
        for (name, pem) in [
            ("ca.pem", "${PRIVATE_CA}"),
            ("client.pem", "${CLIENT_CERT}"),
            ("client.key", "${CLIENT_KEY}"),
        ] {
            files.insert(format!("/etc/containerd/tls/{name}"), pem.as_bytes().to_vec());
        }
        files
    };
    let images = [Image::new(image)];
    let ca = "ca = \"/etc/containerd/tls/ca.pem\"\n";
    let client = "client = [[\"/etc/containerd/tls/client.pem\", \"/etc/containerd/tls/client.key\"]]\n";
    let rounds = [
        (folder(&[ca, client].concat()), &images[..]),
        (folder(ca), &images[..]),
        (folder(""), &images[..]),
    ];
    let reports = case.run(&scene, &rounds)?;
    reports.iter().for_each(pulled);
    let mirror = "https://mirror.test:5000/v2/c/one/manifests/1?ns=ghcr.io sni=mirror.test";
    let upstream = "https://ghcr.io:443/v2/c/one/manifests/1 host=ghcr.io sni=ghcr.io";
    assert_eq!(asked(&reports[0], image, tag("1")), [format!("{mirror} cert=client")]);
    // Without the certificate the mirror refuses, and without its authority containerd does not connect.
    assert_eq!(asked(&reports[1], image, tag("1")), [mirror, upstream]);
    assert_eq!(asked(&reports[2], image, tag("1")), [upstream]);
    assert_eq!(
        asked(&reports[2], image, RequestTarget::Handshake),
        ["tls://mirror.test:5000 sni=mirror.test"]
    );
    Ok(())
}

fn tls_to_a_plain_server(case: &Case) -> Result<(), Failed> {
    let scene = Scene::upstreams()
        .with(Host::http("mirror.test:5000"))
        .with(Host::http("localhost:5000"));
    let files = hosts(&[(
        "ghcr.io",
        "[host.\"https://mirror.test:5000\"]\ncapabilities = [\"pull\", \"resolve\"]\n",
    )]);
    let images = [Image::new("ghcr.io/p/one:1"), Image::new("localhost:5000/p/two:1")];
    let reports = case.run(&scene, &[(files, &images)])?;
    pulled(&reports[0]);
    assert_eq!(
        asked(&reports[0], "ghcr.io/p/one:1", RequestTarget::Handshake),
        ["tls://mirror.test:5000 sni=mirror.test"]
    );
    assert_eq!(
        asked(&reports[0], "ghcr.io/p/one:1", tag("1")),
        ["https://ghcr.io:443/v2/p/one/manifests/1 host=ghcr.io sni=ghcr.io"]
    );
    let local = "localhost:5000/p/two:1";
    assert_eq!(
        asked(&reports[0], local, tag("1")),
        ["http://localhost:5000/v2/p/two/manifests/1"]
    );
    let tried: &[&str] = if case.localhost_by_tls() {
        &["tls://localhost:5000 sni=localhost"]
    } else {
        &[]
    };
    assert_eq!(asked(&reports[0], local, RequestTarget::Handshake), tried);
    Ok(())
}

fn addresses_and_prefixes(case: &Case) -> Result<(), Failed> {
    let scene = Scene::upstreams()
        .with(Host::http("10.0.20.10:5000"))
        .with(Host::private("harbor.test"))
        .with(Host::https("slow.test").that(Behaviour::Slow(300)));
    let files = hosts(&[
        ("10.0.20.10:5000", "server = \"http://10.0.20.10:5000\"\n[host]\n"),
        (
            "ghcr.io",
            "[host.\"https://harbor.test/v2/proxy\"]\noverride_path = true\nskip_verify = true\n",
        ),
        (
            "quay.io",
            "[host.\"https://slow.test\"]\ncapabilities = [\"pull\", \"resolve\"]\n",
        ),
    ]);
    let images = [
        Image::new("10.0.20.10:5000/a/one:1"),
        Image::new("ghcr.io/a/two:1"),
        Image::new("quay.io/a/three:1"),
    ];
    let reports = case.run(&scene, &[(files, &images)])?;
    pulled(&reports[0]);
    assert_eq!(
        asked(&reports[0], "10.0.20.10:5000/a/one:1", tag("1")),
        ["http://10.0.20.10:5000/v2/a/one/manifests/1"]
    );
    assert_eq!(
        asked(&reports[0], "ghcr.io/a/two:1", tag("1")),
        ["https://harbor.test:443/v2/proxy/a/two/manifests/1?ns=ghcr.io host=harbor.test sni=harbor.test"]
    );
    assert_eq!(
        asked(&reports[0], "quay.io/a/three:1", tag("1")),
        ["https://slow.test:443/v2/a/three/manifests/1?ns=quay.io host=slow.test sni=slow.test"]
    );
    Ok(())
}

fn ipv6_address(case: &Case) -> Result<(), Failed> {
    let scene = Scene::upstreams().with(Host::http("[fd00::10]:5000"));
    let files = hosts(&[("quay.io", "server = \"http://[fd00::10]:5000\"\n[host]\n")]);
    let image = "quay.io/v/six:1";
    let reports = case.run(&scene, &[(files, &[Image::new(image)])])?;
    pulled(&reports[0]);
    assert_eq!(
        asked(&reports[0], image, tag("1")),
        ["http://[fd00::10]:5000/v2/v/six/manifests/1?ns=quay.io"]
    );
    Ok(())
}

fn boot_result_is_reported(case: &Case) -> Result<(), Failed> {
    let both = format!(
        "{}[plugins.\"io.containerd.grpc.v1.cri\".registry]\nconfig_path = \"/etc/containerd/certs.d\"\n",
        mirror("ghcr.io", "http://mirror.test:5000")
    );
    let elsewhere =
        "root = \"/data/containerd\"\nstate = \"/data/run\"\n[grpc]\naddress = \"/run/k3s/containerd.sock\"\n";
    let sets = [
        Files::new(),
        legacy(elsewhere),
        legacy(&both),
        legacy("disabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n"),
        legacy("[plugins\n"),
        legacy(&format!("{both}[debug]\nformat = \"json\"\n")),
    ];
    let boots: Vec<Boot> = case
        .lab
        .boots(&case.containerd, &sets)
        .into_iter()
        .collect::<Result<_, _>>()?;
    assert_eq!(boots[0], Boot::CriOk);
    assert_eq!(boots[1], Boot::CriOk);
    assert!(
        matches!(&boots[2], Boot::CriDead(why) if why.contains("`mirrors` cannot be set")),
        "{}",
        boots[2]
    );
    assert_eq!(boots[5], boots[2]);
    assert!(matches!(&boots[3], Boot::CriDead(_)), "{}", boots[3]);
    assert!(
        matches!(&boots[4], Boot::Refuses(why) if why.contains("TOML")),
        "{}",
        boots[4]
    );
    Ok(())
}
