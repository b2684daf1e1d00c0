//! Settings of one host: URL, defaults, TLS, fields, location.

use crate::hosts::error::HostsFaultKind;
use crate::hosts::tests::*;

#[test]
fn host_urls_have_api_root() {
    // As written; without and with override_path. containerd never contacts `-`.
    for (url, plain, overridden) in [
        ("https://a", "https://a/v2", "https://a"),
        ("a:5000", "https://a:5000/v2", "https://a:5000"),
        ("localhost:5000", "https://localhost:5000/v2", "https://localhost:5000"),
        ("http://a/", "http://a/v2", "http://a"),
        ("https://a/v2/", "https://a/v2", "https://a/v2"),
        ("https://a/foo", "https://a/foo/v2", "https://a/foo"),
        ("https://a/v2/foo/", "https://a/v2/foo/v2", "https://a/v2/foo"),
        ("https://a//foo/../bar", "https://a/bar/v2", "https://a/bar"),
        ("https://u:p@a/x?y#z", "https://a/x/v2", "https://a/x"),
        ("HTTPS://a", "https://HTTPS:/a/v2", "https://HTTPS:/a"),
        ("ftp://a", "https://ftp:/a/v2", "https://ftp:/a"),
        ("httpbin:5000", "-", "-"),
        ("http.example.com", "-", "-"),
        ("http+unix://a", "-", "-"),
        ("https:///v2", "-", "-"),
    ] {
        for (extra, expected) in [("", plain), ("override_path = true\n", overridden)] {
            for release in ["1.6.0", "1.7.24", "2.1.9"] {
                let text = format!("[host.\"{url}\"]\n{extra}");
                let hosts = of_file(release, &text);
                let expected: Vec<&str> = [expected, UPSTREAM].into_iter().filter(|line| *line != "-").collect();
                assert_eq!(hosts, expected, "{release} {url} {extra}");
            }
        }
    }
}

#[test]
fn last_host_is_the_registry_unless_server_is_set() {
    let root = "capabilities = [\"pull\"]\noverride_path = true\nskip_verify = true\n[host]\n";
    assert_eq!(of_file("2.1.9", root), ["https://reg.test:5000/v2 unverified"]);
    let server = format!("server = \"http://s:81/x\"\n{root}");
    assert_eq!(of_file("1.7.0", &server), ["http://s:81/x pull"]);
    assert_eq!(of_file("2.1.9", &server), ["https, http://s:81/x pull unverified"]);
    for server in ["", "httpbin:5000", "https://", "http:s"] {
        let text = format!("server = \"{server}\"\n[host]\n");
        assert_eq!(of_file("2.1.9", &text), [UPSTREAM], "{server}");
    }
    for (server, expected) in [
        ("", "registry-1.docker.io"),
        ("server = \"https://docker.io\"\n", "docker.io"),
    ] {
        let text = format!("{server}[host.\"http://m\"]\n");
        let route = routed("2.1.9", "docker.io", &[("docker.io/hosts.toml", &text)]);
        let own = &route.hosts()[1];
        assert_eq!((own.host.as_str(), own.namespace.as_deref()), (expected, None));
        assert_eq!(route.hosts()[0].namespace.as_deref(), Some("docker.io"));
    }
    let route = routed(
        "2.1.9",
        "registry-1.docker.io",
        &[("_default/hosts.toml", "server = \"https://docker.io\"\n")],
    );
    assert_eq!(route.hosts()[0].namespace.as_deref(), Some("registry-1.docker.io"));
    assert_eq!(route.hosts()[0].provenance.rule, Origin::DefaultDirectory);
}

#[test]
fn localhost_scheme_depends_on_release_and_port() {
    let (https, http) = ("https://{} unverified", "http://{}");
    let first = "https, http://{} unverified";
    for (releases, none, p80, p443, p5000) in [
        (
            ["1.6.0", "1.6.8"],
            "https://{}",
            "https://{}",
            "https://{}",
            "https://{}",
        ),
        (["1.6.9", "1.6.24"], http, http, http, http),
        (["1.7.0", "1.7.6"], http, http, http, http),
        (["1.7.7", "1.7.7"], first, first, first, first),
        (["1.6.25", "1.6.36"], https, http, https, first),
        (["1.7.8", "2.4.2"], https, http, https, first),
    ] {
        for release in releases {
            for (registry, expected) in [
                ("localhost", none),
                ("127.0.0.1:80", p80),
                ("[::1]:443", p443),
                ("localhost:5000", p5000),
            ] {
                let expected = expected.replace("{}", &format!("{registry}/v2"));
                for files in [&[][..], &[("_default/hosts.toml", "[host]\n")]] {
                    assert_eq!(
                        lines(&routed(release, registry, files)),
                        [expected.as_str()],
                        "{release} {registry}"
                    );
                }
            }
        }
    }
}

#[test]
fn http_with_tls_settings_depends_on_release_and_port() {
    for (release, none, p80, p5000) in [
        ("1.6.24", false, false, false),
        ("1.6.25", false, false, true),
        ("1.6.36", false, false, true),
        ("1.7.6", false, false, false),
        ("1.7.7", true, true, true),
        ("1.7.8", false, false, true),
        ("1.7.23", false, false, true),
        ("1.7.24", true, false, true),
        ("2.0.0", true, false, true),
        ("2.4.2", true, false, true),
    ] {
        for (host, first) in [("m", none), ("m:80", p80), ("m:5000", p5000)] {
            for (setting, counts) in [
                ("skip_verify = true", true),
                ("skip_verify = false", true),
                ("ca = []", true),
                ("client = []", false),
                ("", false),
            ] {
                let text = format!("[host.\"http://{host}\"]\n{setting}\n");
                let Route::Hosts(hosts) = routed(release, "r", &[("r/hosts.toml", &text)]) else {
                    panic!("{text}")
                };
                let expected = if first && counts {
                    Scheme::HttpsThenHttp
                } else {
                    Scheme::Http
                };
                assert_eq!(hosts[0].scheme, expected, "{release} {host} {setting}");
                assert_eq!(
                    hosts[0].tls.skip_verify,
                    expected != Scheme::Http && setting.ends_with("true")
                );
            }
        }
    }
}

#[test]
fn fields_depend_on_release() {
    let mirror_host = |release: &str, setting: &str| {
        let text = format!("[host.\"http://m:5000\"]\n{setting}\n");
        routed(release, "r", &[("r/hosts.toml", &text)])
            .hosts()
            .first()
            .cloned()
            .filter(|host| host.host == "m:5000")
    };
    for (release, known) in [("1.7.32", false), ("2.1.9", false), ("2.2.0", true)] {
        assert_eq!(
            mirror_host(release, "capabilities = [\"referrers\"]").is_some(),
            known,
            "{release}"
        );
    }
    for (release, timeout, scheme) in [
        ("1.7.32", None, Scheme::Http),
        ("2.0.6", None, Scheme::Http),
        ("2.0.7", Some(5), Scheme::HttpsThenHttp),
        ("2.0.11", Some(5), Scheme::HttpsThenHttp),
        ("2.1.0", Some(5), Scheme::Http),
    ] {
        let host = mirror_host(release, "dial_timeout = \"5s\"").unwrap();
        assert_eq!(
            (host.dial_timeout.map(|time| time.as_secs()), host.scheme),
            (timeout, scheme),
            "{release}"
        );
        assert_eq!(
            mirror_host(release, "dial_timeout = \"5\"").is_none(),
            timeout.is_some(),
            "{release}"
        );
        assert_eq!(
            mirror_host(release, "dial_timeout = 5").is_none(),
            timeout.is_some(),
            "{release}"
        );
    }
    for (capabilities, pulls, resolves) in [
        ("[]", true, true),
        ("[\"PULL\", \"Resolve\"]", true, true),
        ("[\"pull\"]", true, false),
        ("[\"resolve\"]", false, false),
        ("[\"push\"]", false, false),
    ] {
        let host = mirror_host("1.7.24", &format!("capabilities = {capabilities}")).unwrap();
        assert_eq!((host.pulls, host.resolves), (pulls, resolves), "{capabilities}");
    }
    let host = mirror_host("2.1.9", "header = { x-A = \"1\", \"b.c\" = [\"2\", \"3\"], none = [] }").unwrap();
    let headers: Vec<_> = host
        .headers
        .reveal()
        .iter()
        .map(|(name, values)| (name.as_str(), values.join(",")))
        .collect();
    assert_eq!(headers, [("b.c", "2,3".to_owned()), ("x-A", "1".to_owned())]);
    // 1.x accepts names in capitals, 2.x in any case; the last one takes effect.
    for (setting, one, two) in [
        ("CAPABILITIES = [\"pull\"]", true, true),
        ("Capabilities = [\"pull\"]", false, true),
        ("Capabilities = [\"pull\"]\ncapabilities = []", false, false),
        ("capabilities = []\nCAPABILITIES = [\"pull\"]", false, true),
        ("capability = [\"pull\"]", false, false),
    ] {
        for (release, narrowed) in [("1.7.24", one), ("2.1.9", two)] {
            assert_eq!(
                mirror_host(release, setting).unwrap().resolves,
                !narrowed,
                "{release} {setting}"
            );
        }
    }
}

#[test]
fn hosts_have_location_and_credentials() {
    let tree = tree(&[("r/hosts.toml", "server = \"https://s\"\n\n[host.\"http://m:5000\"]\n")]);
    let version = version("2.1.9");
    let credentials = |host: &str| (host == "m:5000").then(|| host.to_owned());
    let Route::Hosts(hosts) = route(
        &LookupContext {
            credentials: &credentials,
            ..minimal_context(&version, &tree, "/certs")
        },
        "r",
    ) else {
        panic!()
    };
    let places: Vec<_> = hosts
        .iter()
        .map(|host| host.provenance.place.as_ref().unwrap().to_string())
        .collect();
    assert_eq!(places, ["/certs/r/hosts.toml:3", "/certs/r/hosts.toml:1"]);
    assert_eq!(
        (hosts[0].credentials.as_deref(), hosts[1].credentials.as_deref()),
        (Some("m:5000"), None)
    );
    let bytes = b"[host.\"http://m:5000\"]\n";
    assert_eq!(hosts_in_file(&version, "/certs/r", bytes, "r").unwrap().len(), 2);
    let fault = hosts_in_file(&version, "/certs/r", b"\n[host\n", "r").unwrap_err();
    assert_eq!(
        (fault.kind, fault.place.to_string().as_str()),
        (HostsFaultKind::Syntax, "/certs/r/hosts.toml:2")
    );
}
