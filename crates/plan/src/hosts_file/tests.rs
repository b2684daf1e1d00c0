use crate::hosts_file::*;
use mirrorshift_containerd::{Entry, Origin, Provenance, Route, Tree, hosts_route};
use proptest::prelude::*;
use std::collections::BTreeMap;

const RELEASES: [&str; 14] = [
    "1.6.0", "1.6.16", "1.6.20", "1.6.36", "1.7.0", "1.7.7", "1.7.24", "1.7.32", "2.0.7", "2.0.11", "2.1.9", "2.2.1",
    "2.3.4", "2.4.2",
];

fn version(text: &str) -> Version {
    text.parse().unwrap()
}

fn ask(url: &str) -> RegistryHost {
    let (scheme, rest) = url.split_once("://").unwrap();
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    RegistryHost {
        scheme: if scheme == "https" { Scheme::Https } else { Scheme::Http },
        host: host.to_owned(),
        path: path.to_owned(),
        resolves: true,
        pulls: true,
        tls: Tls::default(),
        headers: Headers::default(),
        credentials: None,
        namespace: None,
        dial_timeout: None,
        why: Provenance {
            rule: Origin::Mirror,
            place: None,
        },
    }
}

/// The same asks as images of `registry` would carry them.
fn seen_by(registry: &str, asks: Vec<RegistryHost>) -> Vec<RegistryHost> {
    let own = |host: &str| host == registry || registry == "docker.io" && host == "registry-1.docker.io";
    let namespace = |ask: &RegistryHost| (!own(&ask.host)).then(|| registry.to_owned());
    asks.into_iter()
        .map(|ask| RegistryHost {
            namespace: namespace(&ask),
            ..ask
        })
        .collect()
}

/// What containerd asks with the file in place.
fn route(release: &str, folder: &str, registry: &str, text: &str) -> Route {
    let mut tree = Tree::new();
    let path = format!("/certs/{folder}");
    tree.insert("/certs", Entry::Folder(vec![folder.to_owned()]));
    tree.insert(path.clone(), Entry::Folder(vec!["hosts.toml".to_owned()]));
    tree.insert(format!("{path}/hosts.toml"), Entry::File(text.as_bytes().to_vec()));
    hosts_route(&version(release), &tree, "/certs", registry)
}

fn written(registry: &str, release: &str, asks: Vec<RegistryHost>) -> Result<String, Inexpressible> {
    write(Folder::Of(registry), &seen_by(registry, asks), &version(release), &[])
}

fn body(text: &str) -> &str {
    text.split_once('\n').unwrap().1
}

#[test]
fn the_usual_files() {
    let mirror = || ask("http://10.0.20.10:5010/v2");
    let plain = "\n[host.\"http://10.0.20.10:5010\"]\n  capabilities = [\"pull\", \"resolve\"]\n";
    for (registry, upstream) in [
        ("ghcr.io", "https://ghcr.io/v2"),
        ("docker.io", "https://registry-1.docker.io/v2"),
    ] {
        let text = written(registry, "2.1.9", vec![mirror(), ask(upstream)]).unwrap();
        assert_eq!(body(&text), plain);
        assert_eq!(
            body(&written(registry, "1.6.0", vec![ask(upstream)]).unwrap()),
            "\n[host]\n"
        );
    }
    // The registry's own host by HTTP, asked first, and nobody else.
    let text = written("m:80", "1.7.24", vec![ask("http://x"), ask("http://m:80/v2")]).unwrap();
    let own = "\nserver = \"http://m:80\"\ncapabilities = [\"pull\", \"resolve\"]\n\n[host.\"http://x\"]\n  \
               capabilities = [\"pull\", \"resolve\"]\n  override_path = true\n";
    assert_eq!(body(&text), own);
    let text = written(
        "r",
        "1.7.24",
        vec![RegistryHost {
            resolves: false,
            ..ask("https://m/a b/v2")
        }],
    )
    .unwrap();
    assert_eq!(
        body(&text),
        "\nserver = \"https://m/a%20b/v2\"\ncapabilities = [\"pull\"]\n\n[host]\n"
    );
}

#[test]
fn every_setting_reads_back() {
    let names = [("X-Plain", "a"), ("x.y~z", "\"\\\n\r\t\u{1}\u{7f} é ]#'")];
    let headers: BTreeMap<_, _> = names
        .iter()
        .map(|(name, value)| ((*name).to_owned(), vec![(*value).to_owned()]))
        .collect();
    let tls = Tls {
        skip_verify: true,
        ca: vec!["/a \"b\".pem".to_owned(), "/c.pem".to_owned()],
        client: vec![
            ("/c.pem".to_owned(), Some("/k.pem".to_owned())),
            ("/both.pem".to_owned(), None),
        ],
    };
    let full = RegistryHost {
        tls,
        headers: Headers::new(headers),
        dial_timeout: Some(Duration::from_millis(1500)),
        ..ask("https://m/x")
    };
    for asks in [
        vec![full.clone(), ask("https://r/v2")],
        vec![ask("https://n/v2"), full.clone()],
        vec![RegistryHost {
            path: "/v2".to_owned(),
            host: "r".to_owned(),
            ..full.clone()
        }],
    ] {
        for release in ["2.0.7", "2.1.9", "2.4.2"] {
            let text = written("r", release, asks.clone()).unwrap();
            let reads = hosts_asks(&version(release), "/", text.as_bytes(), "r").unwrap();
            assert_eq!(reads, seen_by("r", asks.clone()), "{text}");
        }
        assert_eq!(
            written("r", "1.7.24", asks).unwrap_err(),
            Inexpressible::DialTimeout("1.7.24".to_owned())
        );
    }
}

#[test]
fn the_default_folder_leaves_each_image_its_own_registry() {
    let folder = Folder::Default {
        seen_from: "unnamed.test",
    };
    let asks = seen_by("unnamed.test", vec![ask("http://m/v2"), ask("https://unnamed.test/v2")]);
    let text = write(folder, &asks, &version("2.1.9"), &[]).unwrap();
    for registry in ["quay.io", "docker.io"] {
        let own = if registry == "docker.io" {
            "https://registry-1.docker.io/v2"
        } else {
            "https://quay.io/v2"
        };
        let expected = Route::Hosts(seen_by(registry, vec![ask("http://m/v2"), ask(own)]));
        assert_eq!(route("2.1.9", "_default", registry, &text), expected);
    }
    // Settings for each image's own registry stay without a server, a fixed one is named.
    let own = RegistryHost {
        tls: Tls {
            skip_verify: true,
            ..Tls::default()
        },
        ..asks[1].clone()
    };
    assert_eq!(
        body(&write(folder, &[own], &version("2.1.9"), &[]).unwrap()),
        "\nskip_verify = true\n\n[host]\n"
    );
    let text = write(folder, &asks[..1], &version("2.1.9"), &[]).unwrap();
    assert_eq!(route("2.1.9", "_default", "quay.io", &text).asks().len(), 1);
}

#[test]
fn local_registries_are_written_out() {
    for (registry, asked) in [
        ("localhost:5000", ask("http://localhost:5000/v2")),
        ("127.0.0.1", ask("http://127.0.0.1/v2")),
    ] {
        let text = written(registry, "1.6.20", vec![asked.clone()]).unwrap();
        for release in RELEASES {
            assert_eq!(
                route(release, registry, registry, &text),
                Route::Hosts(vec![asked.clone()]),
                "{release}"
            );
        }
    }
    // The default of later releases, by what reads as the same.
    let default = route("2.1.9", "none", "localhost:5000", "").asks().to_vec();
    let text = written("localhost:5000", "2.1.9", default.clone()).unwrap();
    assert_eq!(
        route("2.1.9", "localhost:5000", "localhost:5000", &text),
        Route::Hosts(default.clone())
    );
    assert!(matches!(
        written("localhost:5000", "1.6.20", default),
        Err(Inexpressible::Different { .. })
    ));
}

#[test]
fn a_host_that_comes_again() {
    for path in ["/v2", "", "/x", "/x/v2"] {
        let (a, b) = (ask(&format!("https://a{path}")), ask("https://b/v2"));
        let asks = vec![a.clone(), b.clone(), a.clone(), b.clone(), a.clone(), b.clone()];
        for release in RELEASES {
            let text = written("r", release, asks.clone()).unwrap();
            assert_eq!(
                route(release, "r", "r", &text),
                Route::Hosts(seen_by("r", asks.clone())),
                "{release} {text}"
            );
        }
        let text = written("r", "2.1.9", vec![a.clone(), a.clone(), b.clone()]).unwrap();
        assert_eq!(route("2.1.9", "r", "r", &text), Route::Hosts(seen_by("r", vec![a, b])));
    }
}

#[test]
fn what_cannot_be_said() {
    let refused = |release: &str, asks: Vec<RegistryHost>| written("r", release, asks).unwrap_err();
    let last = || ask("https://r/v2");
    assert_eq!(refused("2.1.9", vec![]), Inexpressible::Nobody);
    for host in ["a b", "a\"]\nx", "a/b", "u@a", "é", ""] {
        let odd = RegistryHost {
            host: host.to_owned(),
            ..ask("http://x/v2")
        };
        assert_eq!(
            refused("2.1.9", vec![odd, last()]),
            Inexpressible::Host(host.to_owned())
        );
    }
    let six = ask("http://[::1]:5000/v2");
    assert!(matches!(
        refused("1.7.24", vec![six.clone(), last()]),
        Inexpressible::Ipv6 { .. }
    ));
    assert!(written("r", "2.1.9", vec![six.clone(), last()]).is_ok() && written("r", "1.7.24", vec![six]).is_ok());
    let headers = BTreeMap::from([("a b".to_owned(), vec!["x".to_owned()])]);
    let odd = RegistryHost {
        headers: Headers::new(headers),
        ..ask("http://x/v2")
    };
    assert_eq!(
        refused("2.1.9", vec![odd, last()]),
        Inexpressible::HeaderName("a b".to_owned())
    );
    let odd = RegistryHost {
        path: "/../x".to_owned(),
        ..ask("http://x")
    };
    assert!(matches!(
        refused("2.1.9", vec![odd, last()]),
        Inexpressible::Different { .. }
    ));
    let odd = RegistryHost {
        pulls: false,
        ..ask("http://x/v2")
    };
    assert!(matches!(
        refused("2.1.9", vec![odd, last()]),
        Inexpressible::Different { .. }
    ));
    let timed = RegistryHost {
        dial_timeout: Some(Duration::from_secs(1)),
        ..ask("http://x:1/v2")
    };
    assert!(written("r", "2.1.9", vec![timed.clone()]).is_ok());
    let error = refused("2.0.7", vec![timed]);
    assert_eq!(
        error.to_string(),
        "containerd 2.0.7 would ask `http://x:1/v2` by HTTPS first where `http://x:1/v2` is wanted"
    );
}

#[test]
fn comments_stay_comments() {
    let comments = [
        "from /etc/x\n[host.\"http://evil\"]\r\u{1b}[0m".to_owned(),
        String::new(),
    ];
    let text = write(
        Folder::Of("r"),
        &seen_by("r", vec![ask("https://r/v2")]),
        &version("2.1.9"),
        &comments,
    )
    .unwrap();
    assert_eq!(route("2.1.9", "r", "r", &text).asks().len(), 1, "{text}");
    assert!(
        text.lines()
            .all(|line| line.starts_with('#') || line.is_empty() || line == "[host]")
    );
}

fn any_ask() -> impl Strategy<Value = RegistryHost> {
    let scheme = prop_oneof![Just(Scheme::Http), Just(Scheme::Https), Just(Scheme::HttpsThenHttp)];
    let host = prop::sample::select(vec![
        "a",
        "a:80",
        "a:443",
        "b.test:5000",
        "r",
        "[::1]:5000",
        "localhost:5000",
        "docker.io",
        "registry-1.docker.io",
    ]);
    let path = prop_oneof![
        Just("/v2".to_owned()),
        Just(String::new()),
        Just("/x".to_owned()),
        Just("/x/v2".to_owned()),
        Just("/v2/x".to_owned()),
        "/[a-z %?#\"é\\\\]{1,5}[a-z]".prop_filter("cleaned", |path| !path.contains("//")),
    ];
    let ca = prop::collection::vec(
        prop::sample::select(vec!["/ca.pem".to_owned(), "/b \"\\.pem".to_owned()]),
        0..3,
    );
    let client = prop::collection::vec(
        (Just("/c.pem".to_owned()), prop::option::of(Just("/k.pem".to_owned()))),
        0..3,
    );
    let tls = (any::<bool>(), ca, client).prop_map(|(skip_verify, ca, client)| Tls {
        skip_verify,
        ca,
        client,
    });
    let tls = prop_oneof![3 => Just(Tls::default()), 1 => tls];
    let values = prop::collection::vec(any::<String>(), 1..3);
    let headers = prop::collection::btree_map("[A-Za-z.'-]{1,4}", values, 0..3);
    let headers = prop_oneof![3 => Just(BTreeMap::new()), 1 => headers];
    let timeout =
        prop_oneof![5 => Just(None), 1 => (0_u64..5_000_000_000).prop_map(|nanos| Some(Duration::from_nanos(nanos)))];
    (scheme, host, path, 0..3_u8, tls, headers, timeout).prop_map(
        |(scheme, host, path, may, tls, headers, dial_timeout)| RegistryHost {
            scheme,
            host: host.to_owned(),
            path,
            pulls: may > 0,
            resolves: may > 1,
            // As routes have it: settings of plain HTTP are seen by nobody.
            tls: if scheme == Scheme::Http { Tls::default() } else { tls },
            headers: Headers::new(headers),
            dial_timeout,
            ..ask("http://x")
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read_back(
        mut asks in prop::collection::vec(any_ask(), 1..5),
        registry in prop::sample::select(vec!["r", "docker.io", "localhost:5000", "b.test:5000"]),
    ) {
        asks.dedup();
        let asks = seen_by(registry, asks);
        for release in RELEASES {
            match write(Folder::Of(registry), &asks, &version(release), &[]) {
                Ok(text) => {
                    let reads = hosts_asks(&version(release), "/", text.as_bytes(), registry).unwrap();
                    prop_assert_eq!(&reads, &asks, "{}\n{}", release, text);
                }
                Err(reason) => prop_assert!(may_refuse(release, &asks), "{}: {}", release, reason),
            }
        }
    }

    /// Hosts without anything special are expressible everywhere, and an upgrade does not change the file's meaning.
    #[test]
    fn plain_hosts_mean_the_same_in_every_release(
        mut asks in prop::collection::vec(any_ask(), 1..5),
        release in prop::sample::select(RELEASES.to_vec()),
        registry in prop::sample::select(vec!["r", "docker.io", "localhost:5000"]),
    ) {
        for ask in &mut asks {
            ask.scheme = if ask.scheme == Scheme::Https { Scheme::Https } else { Scheme::Http };
            if ask.scheme == Scheme::Http {
                ask.tls = Tls::default();
            }
            ask.dial_timeout = None;
            ask.host = ask.host.replace("[::1]", "c");
        }
        asks.dedup();
        let asks = seen_by(registry, asks);
        let text = write(Folder::Of(registry), &asks, &version(release), &[]);
        let text = text.map_err(|reason| TestCaseError::fail(reason.to_string()))?;
        for release in RELEASES {
            prop_assert_eq!(&hosts_asks(&version(release), "/", text.as_bytes(), registry).unwrap(), &asks, "{}", text);
        }
    }
}

/// Whether something in `asks` is beyond a release.
fn may_refuse(release: &str, asks: &[RegistryHost]) -> bool {
    let old = release.starts_with("1.");
    let hosts = &asks[..asks.len() - 1];
    let last = asks.last().unwrap();
    asks.iter().any(|ask| ask.dial_timeout.is_some()) && (old || release.starts_with("2.0"))
        || asks.iter().any(|ask| ask.scheme == Scheme::HttpsThenHttp)
            && (old || asks.iter().any(|ask| ask.host.ends_with(":80")))
        || hosts.iter().any(|ask| ask.host.contains(']')) && old
        || last.host.is_empty()
}
