//! A marker in every place that can hold a secret: no output shows it.

mod common;

use common::{CONFIG, Node, mirrorshift, registry};

const MARK: &str = "hunter2secret";
/// `u:hunter2secret` as `auth` has it.
const ENCODED: &str = "dTpodW50ZXIyc2VjcmV0";

fn full() -> Node {
    let node = Node::new(registry(&format!(
        "# old login: password = \"{MARK}\"\n# auth: {ENCODED}\n# [x.configs.y.auth]\n#   anything = '{MARK}'\n\
         imports = [\"/etc/containerd/conf.d/*.toml\"]\n\
         [proxy_plugins.x]\n  env = [\"REGISTRY_TOKEN={MARK}\", \"HTTP_PROXY=http://u:{MARK}@proxy:3128\"]\n\
         [r.headers]\n  X-Key = [\"{MARK}\"]\n\
         # for the mirror: token {MARK}, password {MARK}\n\
         [r.mirrors.\"*\"]\n  # password={MARK}\n  endpoint = [\"https://m.corp\"]\n  password = \"{MARK}\"\n\
         [r.mirrors.\"a.io\"]\n  endpoint = [\"https://n.corp/v2/a\"] # password is {MARK}\n\
         [r.configs.\"m.corp\".auth]\n  username = \"u\"\n  password = '{MARK}'\n  auth = \"{ENCODED}\"\n  \
         identitytoken = \"\"\"\n{MARK}\n\"\"\"\n  misspelt = [\"{MARK}\",\n    \"{MARK}\"]\n\
         [r.configs.\"n.corp\"]\n  auth = {{ username = \"u\", password = \"{MARK}\" }}\n"
    )));
    node.write(
        "/etc/containerd/certs.d/b.io/hosts.toml",
        format!(
            "# {ENCODED}\nserver = \"https://u:{MARK}@b.io\"\n[host.\"https://u:{MARK}@c.io\"]\n  header = {{ Authorization = \
             \"Basic {ENCODED}\", x-key = [\"{MARK}\"] }}\n"
        ),
    );
    node
}

fn never_shown(node: &Node, version: &str, words: &[&str]) -> i32 {
    let mut code = 0;
    for format in [&["--output", "text"][..], &["--output", "json"], &["--color", "always"]] {
        let words = [words, format].concat();
        let ran = node.run_as(version, &words);
        for text in [&ran.out, &ran.err] {
            for secret in [MARK, ENCODED, "hunter2"] {
                let line = text.lines().find(|line| line.contains(secret));
                assert_eq!(line, None, "{words:?} on {version} shows a secret");
            }
        }
        assert!(!ran.out.contains("panicked") && ran.code < 100);
        code = ran.code;
    }
    code
}

#[test]
fn no_command_shows_a_secret() {
    let mut planned = 0;
    for version in ["1.6.20", "1.7.24", "2.1.9", "2.2.0", "2.4.2"] {
        let node = full();
        for words in [
            &["plan"][..],
            &["plan", "--wildcard", "docker.io"],
            &["plan", "--mirror", "ghcr.io=http://c:5000"],
            &["check"],
            &["check", "--target", "2.2.0"],
            &["explain", "a.io/x"],
            &["explain", "b.io/x"],
            &["explain", "z.io/x"],
        ] {
            planned += usize::from([0, 7].contains(&never_shown(&node, version, words)));
        }
        for words in [&["migrate"][..], &["status"], &["plan"], &["rollback"], &["status"]] {
            never_shown(&node, version, words);
        }
    }
    assert!(planned > 25, "only {planned} commands had something to show");
}

#[test]
fn no_failure_shows_a_secret() {
    let broken = [
        format!("password = \"{MARK}\"\npassword = \"{MARK}\"\n"),
        format!("auth = \"{ENCODED}\n"),
        format!("[a]\npassword = {MARK}\n"),
        format!("x = \"https://u:{MARK}@h\" y\n"),
        registry(&format!(
            "[r.mirrors.\"https://u:{MARK}@h/../x\"]\nendpoint = [\"http://m\"]\n"
        )),
        registry(&format!("[r.mirrors.\"a.io\"]\nendpoint = [\"https://u:{MARK}@h\"]\n")),
        registry(&format!(
            "[r.mirrors.\"a.io\"]\nendpoint = [\"https://u:{MARK}@h:bad/x\"]\n"
        )),
        registry(&format!(
            "[r.mirrors.\"a.io\"]\nendpoint = [\"https://h/?token={MARK}\"]\n"
        )),
        registry(&format!("[r.mirrors.\"a.io\"]\nendpoint = \"https://u:{MARK}@h\"\n")),
        registry(&format!("[r.configs.\"https://u:{MARK}@h\".auth]\npassword = 7\n")),
        registry(&format!(
            "[r.mirrors.\"a.io\"]\nendpoint = [\"https://u:{MARK}@[::1]\"]\n"
        )),
    ];
    for text in broken {
        let node = Node::new(&text);
        for version in ["1.6.20", "1.7.24", "2.1.9", "2.4.2"] {
            for words in [
                &["plan"][..],
                &["check"],
                &["check", "--target", "2.4.2"],
                &["explain", "a.io/x"],
                &["migrate"],
                &["status"],
            ] {
                never_shown(&node, version, words);
            }
        }
    }
    let node = Node::example();
    let policy = node.path("p.yaml").display().to_string();
    let head = "apiVersion: mirrorshift.dev/v1alpha1\nkind: MirrorPolicy\n";
    for body in [
        format!("password: {MARK}\n"),
        format!("registries:\n- host: a.io\n  mirrors:\n  - url: https://u:{MARK}@h\n"),
        format!("registries:\n- host: u:{MARK}@h\n"),
        format!("registries:\n- host: a.io\n  token: {MARK}\n"),
    ] {
        node.write("p.yaml", format!("{head}{body}"));
        never_shown(&node, "1.7.24", &["plan", "--policy", &policy]);
    }
    never_shown(
        &node,
        "1.7.24",
        &["plan", "--mirror", &format!("a.io=https://u:{MARK}@h")],
    );
    never_shown(&node, "1.7.24", &["plan", "--mirror", &format!("https://u:{MARK}@h")]);
    never_shown(&node, "1.7.24", &["explain", &format!("https://u:{MARK}@h/x")]);
    never_shown(&node, "1.7.24", &["plan", &format!("https://u:{MARK}@h/x")]);
    let mut command = mirrorshift();
    let output = command
        .args(["--output", "json", &format!("http://u:{MARK}@h")])
        .output()
        .unwrap();
    assert!(!String::from_utf8_lossy(&output.stdout).contains(MARK));
    assert!(node.path(CONFIG).exists());
}
