use crate::redact::{file, fragment, free_text, holds_secret};

/// Redacts text and asserts that its lines stay the same.
fn masked(text: &str) -> String {
    let masked = file(text);
    assert_eq!(masked.split('\n').count(), text.split('\n').count(), "{masked}");
    assert_eq!(masked.ends_with('\n'), text.ends_with('\n'), "{masked}");
    assert_eq!(file(&masked), masked, "masking twice is masking once");
    masked
}

#[test]
fn file_masks_values_of_auth_and_headers_only() {
    let text = r#"version = 2
[plugins."io.containerd.grpc.v1.cri".registry.configs."harbor.corp".auth]
  username = "robot"
  password = "hunter2" # hunter2, again
  auth = 'aHVudGVyMg=='
  identitytoken = """
hunter2
hunter2"""
  misspelt = ["hunter2",
    "hunter2"]
[plugins."io.containerd.grpc.v1.cri".registry]
  headers.X-Key = ["hunter2"]
  config_path = "/etc/containerd/certs.d"
  configs = { "a.b" = { auth = { username = "robot", PassWord = "hunter2" }, tls = { ca_file = "/ca.crt" } } }
[host."https://h".header]
  authorization = [ "Basic hunter2hunter2", # hunter2
    'hunter2' ]
  1 = hunter2
"#;
    let masked = masked(text);
    let without_comments: String = masked.lines().map(|line| line.split(" # ").next().unwrap()).collect();
    assert!(
        !without_comments.contains("hunter2") && !masked.contains("aHVudGVyMg"),
        "{masked}"
    );
    for kept in [
        "username = \"robot\"",
        "/etc/containerd/certs.d",
        "ca_file = \"/ca.crt\"",
        "password = \"***\"",
    ] {
        assert!(masked.contains(kept), "{kept} in {masked}");
    }
}

#[test]
fn file_without_secrets_is_unchanged() {
    let text = "# Written by hand, see https://wiki.corp/mirrors\nversion = 2\nimports = [\"/etc/containerd/conf.d/*.toml\"]\n\
                # Token rotation is done elsewhere\n[plugins.\"io.containerd.grpc.v1.cri\"]\n  sandbox_image = \
                \"registry.k8s.io/pause:3.9@sha256:7031c1b283388d2c2e09b57badb803c05ebed362dc88d84b480cc47f72a21097\"\n\
                [plugins.\"io.containerd.grpc.v1.cri\".registry.mirrors.\"*\"]\n  endpoint = [\"http://10.0.0.5:5000\"] # cache\n\
                [a.b.runtimes.nvidia.options]\r\n  BinaryName = '/usr/bin/nvidia-container-runtime'\r\n";
    assert_eq!(masked(text), text);
    assert!(!holds_secret(text));
}

#[test]
fn comments_are_masked_as_toml_and_prose() {
    for (comment, shown) in [
        ("# password = \"hunter2\"", "# password = \"***\""),
        ("   ## Password: hunter2", "   ## Password: ***"),
        ("# the password is hunter2", "# the password ***"),
        ("# login bob/hunter2: auth=hunter2", "# login bob/hunter2: auth=***"),
        ("# [a.auth]\n#   x = 'hunter2'", "# [a.auth]\n#   x = '***'"),
        (
            "# [h.header]\n# x-api = [\n#   \"hunter2\",\n# ]",
            "# [h.header]\n# x-api = [\n#   \"***\",\n# ]",
        ),
        (
            "# auth = \"\"\"\n# hunter2\n# \"\"\"",
            "# auth = \"\"\"\n# ***\n# \"\"\"",
        ),
        ("# don't: password hunter2", "# don't: password ***"),
        ("# x = \"\"\"\n# password hunter2", "# x = \"\"\"\n# password ***"),
        (
            "# endpoint = [\"https://u:hunter2@h\"]",
            "# endpoint = [\"https://***@h\"]",
        ),
        ("# dXNlcjpodW50ZXIyMg==", "# ***"),
        ("# dXNlcjpodW50ZXI3ODkwMTI", "# ***"),
        ("# auth =\n# endpoint = 1", "# auth =\n# endpoint = 1"),
        ("# the token hunter2 is new", "# the token ***"),
        ("# Bearer hunter2hunter2", "# Bearer ***"),
        (
            "# see RFC 7235 and /usr/share/doc/README",
            "# see RFC 7235 and /usr/share/doc/README",
        ),
    ] {
        assert_eq!(masked(comment), shown);
    }
}

#[test]
fn pem_private_keys_are_masked_whole() {
    let text = "key = \"\"\"\n-----BEGIN RSA PRIVATE KEY-----\nhunter2\nhunter2\n-----END RSA PRIVATE KEY-----\n\"\"\"\n\
                # -----BEGIN PRIVATE KEY-----\n# hunter2\n# -----END PRIVATE KEY-----\n\
                x = \"-----BEGIN PRIVATE KEY-----\\nhunter2\\n-----END PRIVATE KEY-----\"\ny = 1\n";
    let masked = masked(text);
    assert!(!masked.contains("hunter2") && masked.ends_with("y = 1\n"), "{masked}");
}

#[test]
fn urls_and_assignments_in_strings_are_masked() {
    for (text, shown) in [
        ("e = [\"https://u:hunter2@h/v2\"]", "e = [\"https://***@h/v2\"]"),
        (
            "e = [\"https://u:hun/ter2@h?x=hunter2\"]",
            "e = [\"https://***@h?***\"]",
        ),
        ("[mirrors.\"https://u:hunter2@h\"]", "[mirrors.\"https://***@h\"]"),
        (
            "env = [\"API_TOKEN=hunter2\", \"A=b\"]",
            "env = [\"API_TOKEN=***\", \"A=b\"]",
        ),
        ("registry_secret = hunter2", "registry_secret = ***"),
    ] {
        assert_eq!(masked(text), shown);
    }
    assert_eq!(
        free_text("GET http://c:5000/v2/?ns=docker.io"),
        "GET http://c:5000/v2/?ns=docker.io"
    );
    assert_eq!(free_text("got http://u:p@c/?a=b (x)"), "got http://***@c/?*** (x)");
}

#[test]
fn fragment_is_masked_with_the_context_of_its_toml_table() {
    let table = ["configs", "h", "auth"].map(str::to_owned);
    assert_eq!(fragment("x = 'hunter2'", &table), "x = '***'");
    assert_eq!(fragment("# x = 'hunter2'", &table), "# x = '***'");
}

#[test]
fn invalid_toml_terminates_and_keeps_line_count() {
    for text in [
        "[",
        "a",
        "= 1",
        "a = [",
        "a = {",
        "a = {b",
        "a = [}",
        "a = \"",
        "a = '''x",
        "[a.\"b",
        "#",
        "\r\n#\r\n",
        &format!("a = {}1\n\nb = 2\n", "[".repeat(100)),
        "a = }\n]",
        "a = [\u{c}]",
        "a = [1\u{b},\u{a0}\n]",
    ] {
        masked(text);
    }
    let deep = format!("password = {}\nhunter2 = 1", "[".repeat(100_000));
    assert!(!masked(&deep).contains("= 1"));
    masked(&format!("a = \"{}\"", "ü\u{1f980}password".repeat(50)));
}
