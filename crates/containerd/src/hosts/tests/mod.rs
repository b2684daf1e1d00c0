//! Routes by `config_path`, rule by rule. The expectations come from `ConfigureHosts` of containerd itself.

pub(crate) mod settings;

use crate::hosts::*;
use crate::route::{RegistryHost, Scheme};

const CA: &str = include_str!("../testdata/ca.pem");
const KEY: &str = include_str!("../testdata/client.key");
const ALL: [&str; 16] = [
    "1.6.0", "1.6.8", "1.6.16", "1.6.20", "1.6.36", "1.7.0", "1.7.6", "1.7.7", "1.7.8", "1.7.24", "1.7.32", "2.0.7",
    "2.1.9", "2.2.1", "2.3.4", "2.4.2",
];

fn version(text: &str) -> Version {
    text.parse().unwrap()
}

/// Returns a tree with these files in `/certs`, and with every folder that contains them.
fn tree(files: &[(&str, &str)]) -> Tree {
    let mut tree = Tree::new();
    let mut folders: std::collections::BTreeMap<String, Vec<String>> = [("/certs".to_owned(), Vec::new())].into();
    for (path, content) in files {
        let mut path = format!("/certs/{path}");
        if let Some(folder) = path.strip_suffix('/') {
            path = folder.to_owned();
            folders.entry(path.clone()).or_default();
        } else {
            tree.insert(path.clone(), Entry::File(content.as_bytes().to_vec()));
        }
        while let Some((parent, name)) = path.clone().rsplit_once('/').filter(|_| path != "/certs") {
            let names = folders.entry(parent.to_owned()).or_default();
            names.push(name.to_owned());
            names.sort();
            names.dedup();
            parent.clone_into(&mut path);
        }
    }
    for (path, names) in folders {
        tree.insert(path, Entry::Folder(names));
    }
    tree
}

fn routed(release: &str, registry: &str, files: &[(&str, &str)]) -> Route {
    hosts_route(&version(release), &tree(files), "/certs", registry)
}

/// Returns a line per host: URL, capabilities, TLS settings.
fn lines(route: &Route) -> Vec<String> {
    let line = |host: &RegistryHost| {
        let first = if host.scheme == Scheme::HttpsThenHttp {
            "https, "
        } else {
            ""
        };
        let may = match (host.pulls, host.resolves) {
            (true, true) => "",
            (true, false) => " pull",
            _ => " nothing",
        };
        let skip = if host.tls.skip_verify { " unverified" } else { "" };
        format!("{first}{}{may}{skip}", host.url())
    };
    match route {
        Route::Hosts(hosts) => hosts.iter().map(line).collect(),
        Route::Fails(failure) => vec![format!("fails: {}", failure.reason)],
    }
}

fn of_file(release: &str, text: &str) -> Vec<String> {
    lines(&routed(release, "reg.test:5000", &[("reg.test:5000/hosts.toml", text)]))
}

const UPSTREAM: &str = "https://reg.test:5000/v2";

#[test]
fn route_uses_the_first_directory_that_exists() {
    let server = |name: &str| {
        (
            format!("{name}/hosts.toml"),
            format!("server = \"https://{name}\"\n[host]\n"),
        )
    };
    let all = ["reg.test_5000_", "reg.test:5000", "_default", "reg.test"].map(server);
    let mut files: Vec<(&str, &str)> = all.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    for expected in [
        "https://reg.test_5000_/v2",
        "https://reg.test:5000/v2",
        "https://_default/v2",
        UPSTREAM,
    ] {
        assert_eq!(lines(&routed("2.1.9", "reg.test:5000", &files)), [expected]);
        files.remove(0);
    }
    assert_eq!(
        lines(&routed(
            "2.1.9",
            "reg.test",
            &[("reg.test_5000_/hosts.toml", "server='https://x'")]
        )),
        ["https://reg.test/v2"]
    );
    // An empty folder hides `_default`; releases without the rule never read it.
    let default = ("_default/hosts.toml", "[host.\"http://m\"]\n");
    assert_eq!(
        lines(&routed("2.1.9", "reg.test", &[default, ("reg.test/", "")])),
        ["https://reg.test/v2"]
    );
    for (release, hosts) in [("1.6.16", 1), ("1.6.17", 2), ("1.7.0", 2)] {
        assert_eq!(
            routed(release, "reg.test", &[default]).hosts().len(),
            hosts,
            "{release}"
        );
    }
}

#[test]
fn config_path_list_is_split_except_by_the_transfer_service() {
    let mut tree = tree(&[("reg.test/hosts.toml", "[host.\"http://two\"]\n")]);
    for path in ["/etc", "/etc/_default"] {
        tree.insert(path, Entry::Folder(Vec::new()));
    }
    let version = version("2.1.9");
    let host_count = |config_path: &str, splits_list| {
        let setting = LookupContext {
            splits_list,
            ..minimal_context(&version, &tree, config_path)
        };
        route(&setting, "reg.test").hosts().len()
    };
    // `_default` of the first root hides the registry's own folder in the second.
    for (config_path, hosts) in [
        ("/certs:/etc", 2),
        ("/etc:/certs", 1),
        ("/none:/certs", 2),
        ("", 1),
        ("certs", 2),
    ] {
        assert_eq!(host_count(config_path, true), hosts, "{config_path}");
    }
    assert_eq!(host_count("/certs:/etc", false), 1);
    assert_eq!(host_count("/certs", false), 2);
    assert_eq!(lookup::roots("/a::b", true), ["/a", "/", "/b"]);
    assert_eq!(lookup::roots("/a:/b", false), ["/a:/b"]);
}

#[test]
fn route_fails_on_unusable_entries() {
    let text = "[host.\"http://m\"]\n";
    assert_eq!(
        lines(&routed("2.1.9", "reg.test", &[("reg.test", "")])),
        ["fails: the registry's hosts directory is a regular file, not a folder"]
    );
    for (path, entry) in [
        ("/certs", Entry::File(Vec::new())),
        ("/certs", Entry::Unusable("is a FIFO".to_owned())),
        ("/certs/reg.test", Entry::Unusable("is a loop of links".to_owned())),
        ("/certs/reg.test/hosts.toml", Entry::Folder(Vec::new())),
        ("/certs/reg.test/hosts.toml", Entry::Unusable("is a FIFO".to_owned())),
    ] {
        let mut tree = tree(&[("reg.test/hosts.toml", text)]);
        tree.insert(path, entry.clone());
        let route = hosts_route(&version("1.7.24"), &tree, "/certs", "reg.test");
        assert!(matches!(route, Route::Fails(_)), "{path} {entry:?}: {route:?}");
    }
}

#[test]
fn unusable_hosts_toml_leaves_the_registry_with_its_certificates() {
    let broken = [
        "server = \"https://x\"\n[host.\"https://m\"\n",
        "x = 1\nx = 2\n[host.\"https://m\"]\n",
        "[host.\"https://m\"]\n[host.\"https://m\"]\n",
        "[host.\"https://m\"]\ncapabilities = \"pull\"\n",
        "[host.\"https://m\"]\ncapabilities = [\"pull\", \"delete\"]\n",
        "[host.\"https://m\"]\ncapabilities = [\"pull\", 1]\n",
        "[host.\"https://m\"]\nskip_verify = \"true\"\n",
        "[host.\"https://m\"]\noverride_path = 1\n",
        "[host.\"https://m\"]\nca = 5\n",
        "[host.\"https://m\"]\nca = [\"x\", 5]\n",
        "[host.\"https://m\"]\nclient = [[\"a\"]]\n",
        "[host.\"https://m\"]\nclient = [1]\n",
        "[host.\"https://m\"]\nheader = \"x\"\n",
        "[host.\"https://m\"]\nheader = { a = 1 }\n",
        "[host.\"https://m\"]\nheader = { a = [1] }\n",
        "[host.\"https://m:x\"]\n",
        "[host.\"https://m/%zz\"]\n",
        "server = 5\n[host]\n",
        "host = \"x\"\n",
        "[[host]]\n",
        "[host]\nskip_verify = true\n",
    ];
    let upstream = vec![UPSTREAM.to_owned()];
    for text in broken {
        for release in ALL {
            assert_eq!(of_file(release, text), upstream, "{release}: {text}");
        }
        let with_ca = [("reg.test:5000/hosts.toml", text), ("reg.test:5000/x.crt", CA)];
        let route = routed("1.7.24", "reg.test:5000", &with_ca);
        assert_eq!(route.hosts()[0].tls.ca, ["/certs/reg.test:5000/x.crt"], "{text}");
    }
    // A byte that is not UTF-8: 1.x reads runes, 2.x requires UTF-8.
    let mut tree = tree(&[("reg.test/", "")]);
    tree.insert(
        "/certs/reg.test/hosts.toml",
        Entry::File(b"# \xff\n[host.\"https://m\"]\n".to_vec()),
    );
    for (release, hosts) in [("1.6.20", 2), ("1.7.24", 2), ("2.1.9", 1)] {
        assert_eq!(
            hosts_route(&version(release), &tree, "/certs", "reg.test")
                .hosts()
                .len(),
            hosts,
            "{release}"
        );
    }
}

#[test]
fn certificates_in_docker_layout_are_used() {
    let files = [
        ("reg.test/b.crt", CA),
        ("reg.test/a.crt", CA),
        ("reg.test/one.cert", CA),
        ("reg.test/one.key", KEY),
        ("reg.test/other.txt", ""),
        ("reg.test/folder.crt/", ""),
        ("reg.test/hosts.toml", ""),
    ];
    let route = routed("1.7.24", "reg.test", &files);
    let tls = &route.hosts()[0].tls;
    assert_eq!(tls.ca, ["/certs/reg.test/a.crt", "/certs/reg.test/b.crt"]);
    let pair = (
        "/certs/reg.test/one.cert".to_owned(),
        Some("/certs/reg.test/one.key".to_owned()),
    );
    assert_eq!(tls.client, [pair]);
    assert!(!tls.skip_verify && route.hosts()[0].provenance.rule == Origin::Upstream);
    // They have no effect if there is a usable hosts.toml.
    let route = routed(
        "1.7.24",
        "reg.test",
        &[("reg.test/a.crt", "bad"), ("reg.test/hosts.toml", "[host]\n")],
    );
    assert!(route.hosts()[0].tls.ca.is_empty());
    let route = routed("1.7.24", "reg.test", &[("reg.test/a.crt", "bad")]);
    assert_eq!(
        lines(&route),
        ["fails: no certificate in the CA file `/certs/reg.test/a.crt`"]
    );
}

#[test]
fn route_fails_on_a_bad_certificate_file_of_any_host() {
    let both = format!("{CA}{KEY}");
    for (setting, good) in [
        ("ca = \"ca.pem\"", true),
        ("ca = [\"ca.pem\", \"/certs/reg.test/ca.pem\"]", true),
        ("ca = [\"ca.pem\", \"none.pem\"]", false),
        ("ca = \"key.pem\"", false),
        ("ca = \"\"", false),
        ("ca = []", true),
        ("client = \"both.pem\"", true),
        ("client = \"ca.pem\"", false),
        ("client = [[\"ca.pem\", \"key.pem\"]]", true),
        ("client = [\"both.pem\", [\"ca.pem\", \"../reg.test/key.pem\"]]", true),
        ("client = [[\"ca.pem\", \"\"]]", false),
        ("client = [[\"key.pem\", \"key.pem\"]]", false),
    ] {
        let text = format!("[host.\"https://m\"]\n{setting}\n[host.\"https://other\"]\n");
        let files = [
            ("reg.test/hosts.toml", text.as_str()),
            ("reg.test/ca.pem", CA),
            ("reg.test/key.pem", KEY),
            ("reg.test/both.pem", &both),
        ];
        for release in ["1.6.20", "2.4.2"] {
            let route = routed(release, "reg.test", &files);
            assert_eq!(!route.hosts().is_empty(), good, "{release} {setting}: {route:?}");
        }
    }
}

#[test]
fn unread_paths_name_every_file_of_a_route() {
    let text = "[host.\"https://m\"]\nca = \"ca.pem\"\nclient = [[\"../x.pem\", \"/y.pem\"]]\n";
    let whole = tree(&[("reg.test/hosts.toml", text), ("x.pem", CA)]);
    let mut read = Tree::new();
    let mut requested = Vec::new();
    for _ in 0..10 {
        let unread = unread_hosts_paths(&version("2.1.9"), &read, "/certs", "reg.test");
        for path in &unread {
            read.insert(path.clone(), whole.get(path).cloned().unwrap_or(Entry::Absent));
        }
        requested.extend(unread);
    }
    // The first bad file ends the pull, so those after it do not matter.
    let expected = [
        "/certs",
        "/certs/reg.test",
        "/certs/reg.test/hosts.toml",
        "/certs/reg.test/ca.pem",
    ];
    assert!(
        expected.iter().all(|path| requested.iter().any(|known| known == path)),
        "{requested:?}"
    );
    read.insert("/certs/reg.test/ca.pem", Entry::File(CA.as_bytes().to_vec()));
    assert_eq!(
        unread_hosts_paths(&version("2.1.9"), &read, "/certs", "reg.test"),
        ["/certs/x.pem"]
    );
}

#[test]
fn hosts_are_in_the_order_of_the_release() {
    let a_b = ["https://a/v2", "https://b/v2", UPSTREAM].map(str::to_owned);
    let b_a = ["https://b/v2", "https://a/v2", UPSTREAM].map(str::to_owned);
    let only = |host: &str| vec![format!("https://{host}/v2"), UPSTREAM.to_owned()];
    let none = vec![UPSTREAM.to_owned()];
    for (text, one, two) in [
        ("[host.b]\n[host.a]\n", b_a.to_vec(), b_a.to_vec()),
        ("[host.b]\n[host.b.header]\n[host.a]\n", b_a.to_vec(), b_a.to_vec()),
        (
            "[host.b]\n[other]\n[host.b.header]\n[host.a]\n",
            b_a.to_vec(),
            b_a.to_vec(),
        ),
        ("[host.b.header]\n[host.a]\n", b_a.to_vec(), b_a.to_vec()),
        (
            "[host.b]\n[host.a]\n[host.b.header]\n",
            b_a.to_vec(),
            [&b_a[..1], &only("a")[..1], &only("b")[..]].concat(),
        ),
        ("[host]\nb = {}\n[host.a]\n", b_a.to_vec(), only("a")),
        // Inline tables are first on 1.x, and are ignored on 2.x.
        ("[host.b]\n[host]\na = {}\n", a_b.to_vec(), only("b")),
        ("host = { b = {}, a = {} }\n", b_a.to_vec(), none.clone()),
        (
            "host.b.skip_verify = false\nhost.a.skip_verify = false\n",
            b_a.to_vec(),
            none.clone(),
        ),
        ("[host]\n", none.clone(), none.clone()),
        ("[Host.a]\n", none.clone(), none.clone()),
        ("[host.'']\n[host.a]\n", only("a"), only("a")),
    ] {
        assert_eq!(of_file("1.7.24", text), one, "{text}");
        assert_eq!(of_file("2.4.2", text), two, "{text}");
    }
    // Without any `host` table.
    for (release, used) in [("1.6.36", false), ("1.7.31", false), ("1.7.32", true), ("2.0.7", true)] {
        assert_eq!(of_file(release, "server = \"https://s\"\n") != none, used, "{release}");
    }
}

#[test]
fn route_fails_if_containerd_crashes_or_is_unknown() {
    let fails = |release: &str, text: &str| of_file(release, text)[0].starts_with("fails: ");
    let two_keys = "[host]\ncapabilities = [\"pull\"]\nskip_verify = true\n";
    assert!(fails("1.7.24", two_keys) && !fails("2.1.9", two_keys));
    let dotted = "host.a.capabilities = [\"pull\"]\nhost.a.skip_verify = true\n";
    assert!(fails("2.1.9", dotted) && fails("2.3.4", dotted) && !fails("2.4.2", dotted) && !fails("1.7.24", dotted));
    let dotted = "[host.\"https://a\"]\nheader.x = \"y\"\nheader.z = \"y\"\n";
    assert!(!fails("2.1.9", dotted));
    for text in ["[host] [host.a]\n", "[host.\"https://\\u0061\"]\n"] {
        assert!(fails("1.7.24", text) && !fails("2.1.9", text), "{text}");
    }
}
