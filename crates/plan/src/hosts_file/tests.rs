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

fn registry_host(url: &str) -> RegistryHost {
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
        provenance: Provenance {
            rule: Origin::Mirror,
            place: None,
        },
    }
}

/// Returns the hosts with the namespace that requests for images of `registry` have.
fn seen_by(registry: &str, hosts: Vec<RegistryHost>) -> Vec<RegistryHost> {
    let own = |host: &str| host == registry || registry == "docker.io" && host == "registry-1.docker.io";
    let namespace = |host: &RegistryHost| (!own(&host.host)).then(|| registry.to_owned());
    hosts
        .into_iter()
        .map(|host| RegistryHost {
            namespace: namespace(&host),
            ..host
        })
        .collect()
}

/// Returns the route with the file in place.
fn route(release: &str, folder: &str, registry: &str, text: &str) -> Route {
    let mut tree = Tree::new();
    let path = format!("/certs/{folder}");
    tree.insert("/certs", Entry::Folder(vec![folder.to_owned()]));
    tree.insert(path.clone(), Entry::Folder(vec!["hosts.toml".to_owned()]));
    tree.insert(format!("{path}/hosts.toml"), Entry::File(text.as_bytes().to_vec()));
    hosts_route(&version(release), &tree, "/certs", registry)
}

fn written(registry: &str, release: &str, hosts: Vec<RegistryHost>) -> Result<String, Inexpressible> {
    write(Folder::Of(registry), &seen_by(registry, hosts), &version(release), &[])
}

fn body(text: &str) -> &str {
    text.split_once('\n').unwrap().1
}

#[test]
fn usual_files_are_written_without_redundant_settings() {
    let mirror = || registry_host("http://10.0.20.10:5010/v2");
    let plain = "\n[host.\"http://10.0.20.10:5010\"]\n  capabilities = [\"pull\", \"resolve\"]\n";
    for (registry, upstream) in [
        ("ghcr.io", "https://ghcr.io/v2"),
        ("docker.io", "https://registry-1.docker.io/v2"),
    ] {
        let text = written(registry, "2.1.9", vec![mirror(), registry_host(upstream)]).unwrap();
        assert_eq!(body(&text), plain);
        assert_eq!(
            body(&written(registry, "1.6.0", vec![registry_host(upstream)]).unwrap()),
            "\n[host]\n"
        );
    }
    // The registry's own host by HTTP, and a mirror.
    let text = written(
        "m:80",
        "1.7.24",
        vec![registry_host("http://x"), registry_host("http://m:80/v2")],
    )
    .unwrap();
    let own = "\nserver = \"http://m:80\"\ncapabilities = [\"pull\", \"resolve\"]\n\n[host.\"http://x\"]\n  \
               capabilities = [\"pull\", \"resolve\"]\n  override_path = true\n";
    assert_eq!(body(&text), own);
    let text = written(
        "r",
        "1.7.24",
        vec![RegistryHost {
            resolves: false,
            ..registry_host("https://m/a b/v2")
        }],
    )
    .unwrap();
    assert_eq!(
        body(&text),
        "\nserver = \"https://m/a%20b/v2\"\ncapabilities = [\"pull\"]\n\n[host]\n"
    );
}

#[test]
fn every_setting_is_read_back() {
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
        ..registry_host("https://m/x")
    };
    for hosts in [
        vec![full.clone(), registry_host("https://r/v2")],
        vec![registry_host("https://n/v2"), full.clone()],
        vec![RegistryHost {
            path: "/v2".to_owned(),
            host: "r".to_owned(),
            ..full.clone()
        }],
    ] {
        for release in ["2.0.7", "2.1.9", "2.4.2"] {
            let text = written("r", release, hosts.clone()).unwrap();
            let reads = hosts_in_file(&version(release), "/", text.as_bytes(), "r").unwrap();
            assert_eq!(reads, seen_by("r", hosts.clone()), "{text}");
        }
        assert_eq!(
            written("r", "1.7.24", hosts).unwrap_err(),
            Inexpressible::DialTimeout("1.7.24".to_owned())
        );
    }
}

#[test]
fn default_directory_leaves_each_image_its_own_registry() {
    let folder = Folder::Default {
        seen_from: "unnamed.test",
    };
    let hosts = seen_by(
        "unnamed.test",
        vec![registry_host("http://m/v2"), registry_host("https://unnamed.test/v2")],
    );
    let text = write(folder, &hosts, &version("2.1.9"), &[]).unwrap();
    for registry in ["quay.io", "docker.io"] {
        let own = if registry == "docker.io" {
            "https://registry-1.docker.io/v2"
        } else {
            "https://quay.io/v2"
        };
        let expected = Route::Hosts(seen_by(
            registry,
            vec![registry_host("http://m/v2"), registry_host(own)],
        ));
        assert_eq!(route("2.1.9", "_default", registry, &text), expected);
    }
    // Settings for each image's own registry are written without a server. A fixed host is named.
    let own = RegistryHost {
        tls: Tls {
            skip_verify: true,
            ..Tls::default()
        },
        ..hosts[1].clone()
    };
    assert_eq!(
        body(&write(folder, &[own], &version("2.1.9"), &[]).unwrap()),
        "\nskip_verify = true\n\n[host]\n"
    );
    let text = write(folder, &hosts[..1], &version("2.1.9"), &[]).unwrap();
    assert_eq!(route("2.1.9", "_default", "quay.io", &text).hosts().len(), 1);
}

#[test]
fn local_registries_are_written_in_full() {
    for (registry, host) in [
        ("localhost:5000", registry_host("http://localhost:5000/v2")),
        ("127.0.0.1", registry_host("http://127.0.0.1/v2")),
    ] {
        let text = written(registry, "1.6.20", vec![host.clone()]).unwrap();
        for release in RELEASES {
            assert_eq!(
                route(release, registry, registry, &text),
                Route::Hosts(vec![host.clone()]),
                "{release}"
            );
        }
    }
    // The default route of later releases can be written for them, but not for 1.6.20.
    let default = route("2.1.9", "none", "localhost:5000", "").hosts().to_vec();
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
fn host_that_occurs_again_is_written_again() {
    for path in ["/v2", "", "/x", "/x/v2"] {
        let (a, b) = (
            registry_host(&format!("https://a{path}")),
            registry_host("https://b/v2"),
        );
        let hosts = vec![a.clone(), b.clone(), a.clone(), b.clone(), a.clone(), b.clone()];
        for release in RELEASES {
            let text = written("r", release, hosts.clone()).unwrap();
            assert_eq!(
                route(release, "r", "r", &text),
                Route::Hosts(seen_by("r", hosts.clone())),
                "{release} {text}"
            );
        }
        let text = written("r", "2.1.9", vec![a.clone(), a.clone(), b.clone()]).unwrap();
        assert_eq!(route("2.1.9", "r", "r", &text), Route::Hosts(seen_by("r", vec![a, b])));
    }
}

#[test]
fn inexpressible_hosts_are_refused() {
    let refused = |release: &str, hosts: Vec<RegistryHost>| written("r", release, hosts).unwrap_err();
    let last = || registry_host("https://r/v2");
    assert_eq!(refused("2.1.9", vec![]), Inexpressible::NoHost);
    for host in ["a b", "a\"]\nx", "a/b", "u@a", "é", ""] {
        let odd = RegistryHost {
            host: host.to_owned(),
            ..registry_host("http://x/v2")
        };
        assert_eq!(
            refused("2.1.9", vec![odd, last()]),
            Inexpressible::Host(host.to_owned())
        );
    }
    let six = registry_host("http://[::1]:5000/v2");
    assert!(matches!(
        refused("1.7.24", vec![six.clone(), last()]),
        Inexpressible::Ipv6 { .. }
    ));
    assert!(written("r", "2.1.9", vec![six.clone(), last()]).is_ok() && written("r", "1.7.24", vec![six]).is_ok());
    let headers = BTreeMap::from([("a b".to_owned(), vec!["x".to_owned()])]);
    let odd = RegistryHost {
        headers: Headers::new(headers),
        ..registry_host("http://x/v2")
    };
    assert_eq!(
        refused("2.1.9", vec![odd, last()]),
        Inexpressible::HeaderName("a b".to_owned())
    );
    let odd = RegistryHost {
        path: "/../x".to_owned(),
        ..registry_host("http://x")
    };
    assert!(matches!(
        refused("2.1.9", vec![odd, last()]),
        Inexpressible::Different { .. }
    ));
    let odd = RegistryHost {
        pulls: false,
        ..registry_host("http://x/v2")
    };
    assert!(matches!(
        refused("2.1.9", vec![odd, last()]),
        Inexpressible::Different { .. }
    ));
    let timed = RegistryHost {
        dial_timeout: Some(Duration::from_secs(1)),
        ..registry_host("http://x:1/v2")
    };
    assert!(written("r", "2.1.9", vec![timed.clone()]).is_ok());
    let error = refused("2.0.7", vec![timed]);
    assert_eq!(
        error.to_string(),
        "containerd 2.0.7 would try `http://x:1/v2` (HTTPS first) instead of `http://x:1/v2`"
    );
}

#[test]
fn comment_cannot_break_out_of_its_lines() {
    let comments = [
        "from /etc/x\n[host.\"http://evil\"]\r\u{1b}[0m".to_owned(),
        String::new(),
    ];
    let text = write(
        Folder::Of("r"),
        &seen_by("r", vec![registry_host("https://r/v2")]),
        &version("2.1.9"),
        &comments,
    )
    .unwrap();
    assert_eq!(route("2.1.9", "r", "r", &text).hosts().len(), 1, "{text}");
    assert!(
        text.lines()
            .all(|line| line.starts_with('#') || line.is_empty() || line == "[host]")
    );
}

fn any_host() -> impl Strategy<Value = RegistryHost> {
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
            // Routes contain no TLS settings of plain HTTP hosts, because they have no effect.
            tls: if scheme == Scheme::Http { Tls::default() } else { tls },
            headers: Headers::new(headers),
            dial_timeout,
            ..registry_host("http://x")
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn written_file_is_read_back(
        mut hosts in prop::collection::vec(any_host(), 1..5),
        registry in prop::sample::select(vec!["r", "docker.io", "localhost:5000", "b.test:5000"]),
    ) {
        hosts.dedup();
        let hosts = seen_by(registry, hosts);
        for release in RELEASES {
            match write(Folder::Of(registry), &hosts, &version(release), &[]) {
                Ok(text) => {
                    let reads = hosts_in_file(&version(release), "/", text.as_bytes(), registry).unwrap();
                    prop_assert_eq!(&reads, &hosts, "{}\n{}", release, text);
                }
                Err(reason) => prop_assert!(may_refuse(release, &hosts), "{}: {}", release, reason),
            }
        }
    }

    /// Hosts without special settings can be expressed in every release, and an upgrade does not change the file's meaning.
    #[test]
    fn plain_hosts_mean_the_same_in_every_release(
        mut hosts in prop::collection::vec(any_host(), 1..5),
        release in prop::sample::select(RELEASES.to_vec()),
        registry in prop::sample::select(vec!["r", "docker.io", "localhost:5000"]),
    ) {
        for host in &mut hosts {
            host.scheme = if host.scheme == Scheme::Https { Scheme::Https } else { Scheme::Http };
            if host.scheme == Scheme::Http {
                host.tls = Tls::default();
            }
            host.dial_timeout = None;
            host.host = host.host.replace("[::1]", "c");
        }
        hosts.dedup();
        let hosts = seen_by(registry, hosts);
        let text = write(Folder::Of(registry), &hosts, &version(release), &[]);
        let text = text.map_err(|reason| TestCaseError::fail(reason.to_string()))?;
        for release in RELEASES {
            prop_assert_eq!(&hosts_in_file(&version(release), "/", text.as_bytes(), registry).unwrap(), &hosts, "{}", text);
        }
    }
}

/// Returns true when a release cannot express something in `hosts`.
fn may_refuse(release: &str, hosts: &[RegistryHost]) -> bool {
    let old = release.starts_with("1.");
    let but_last = &hosts[..hosts.len() - 1];
    let last = hosts.last().unwrap();
    hosts.iter().any(|host| host.dial_timeout.is_some()) && (old || release.starts_with("2.0"))
        || hosts.iter().any(|host| host.scheme == Scheme::HttpsThenHttp)
            && (old || hosts.iter().any(|host| host.host.ends_with(":80")))
        || but_last.iter().any(|host| host.host.contains(']')) && old
        || last.host.is_empty()
}
