//! Files that are not a policy: broken, huge, deep or hostile. Reading them never panics, never takes long, and never shows a
//! secret.

use crate::policy::Policy;
use crate::policy::error::PolicyError;
use proptest::prelude::{ProptestConfig, any, prop, prop_assert, proptest};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

const HEAD: &str = "apiVersion: mirrorshift.dev/v1alpha1\nkind: MirrorPolicy\n";
const MIB: usize = 1 << 20;

fn refuse(text: &str) -> PolicyError {
    Policy::parse(text, "p.yaml").expect_err("refused")
}

/// Parses on a stack of 256 KiB, so that recursion on input is detected, and fails after a minute.
fn bounded(text: String) -> Result<Policy, PolicyError> {
    let (send, receive) = mpsc::channel();
    let worker = thread::Builder::new().stack_size(256 << 10);
    let worker = worker.spawn(move || send.send(Policy::parse(&text, "p.yaml"))).unwrap();
    let result = receive
        .recv_timeout(Duration::from_mins(1))
        .expect("an answer within a minute");
    worker.join().unwrap().unwrap();
    result
}

#[test]
fn unneeded_features_of_yaml_are_refused() {
    for (keys, line, column, message, hint) in [
        (
            "mode: &a migrate",
            3,
            10,
            "anchors and aliases are not allowed in a policy",
            Some("write the value itself"),
        ),
        (
            "adopt: &a []",
            3,
            11,
            "anchors and aliases are not allowed in a policy",
            Some("write the value itself"),
        ),
        (
            "mode: *a",
            3,
            7,
            "not valid YAML: while parsing node, found unknown anchor",
            Some("anchors and aliases are not allowed in a policy: write the value itself"),
        ),
        (
            "mode: !!str migrate",
            3,
            13,
            "tags are not allowed in a policy",
            Some("remove the `!…`; every key has a fixed type"),
        ),
        (
            "mode: !x migrate",
            3,
            10,
            "tags are not allowed in a policy",
            Some("remove the `!…`; every key has a fixed type"),
        ),
        (
            "mode: ! migrate",
            3,
            9,
            "tags are not allowed in a policy",
            Some("remove the `!…`; every key has a fixed type"),
        ),
        (
            "---\nmode: migrate",
            3,
            1,
            "a second document begins here",
            Some("write one policy per file, without a second `---`"),
        ),
        ("restart:\n\twhen: now", 4, 2, "", Some("indent with spaces")),
        ("mode: \"migrate", 3, 7, "", None),
        ("adopt: [a, b", 3, 8, "", None),
    ] {
        let error = refuse(&format!("{HEAD}{keys}"));
        let place = error.place.clone().unwrap();
        assert_eq!(
            (place.line, place.column, error.hint.as_deref()),
            (line, column, hint),
            "{error}"
        );
        if message.is_empty() {
            assert!(
                error.message.starts_with("not valid YAML: ") && error.message.len() > 25,
                "{error}"
            );
        } else {
            assert_eq!(error.message, message);
        }
    }
    let error = refuse("%YAML 1.1\n---\na: b");
    assert_eq!(error.hint.as_deref(), Some("remove lines that begin with `%`"));
}

#[test]
fn contents_that_are_not_text_are_refused() {
    let nul = refuse(&format!("{HEAD}mode: mig\0rate"));
    let place = nul.place.unwrap();
    assert_eq!(
        (nul.message.as_str(), place.line, place.column),
        ("the file contains a NUL byte", 3, 10)
    );
    assert_eq!(place.excerpt, "mode: mig\u{fffd}rate");

    let latin1 = [HEAD.as_bytes(), b"# B\xfccher\n"].concat();
    let error = Policy::parse_bytes(&latin1, "p.yaml").unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("p.yaml:3:4: byte {} (0xfc) is not UTF-8", HEAD.len() + 3)
    );
    assert_eq!(error.hint.as_deref(), Some("save the file as UTF-8"));
    let utf16: Vec<u8> = "\u{feff}kind".encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert!(
        Policy::parse_bytes(&utf16, "p.yaml")
            .unwrap_err()
            .message
            .ends_with("is not UTF-8")
    );
}

#[test]
fn largest_size_is_exact() {
    let fill = |len: usize| format!("{HEAD}{}", "#".repeat(len - HEAD.len()));
    assert_eq!(Policy::parse(&fill(MIB), "p.yaml"), Ok(Policy::default()));
    let error = refuse(&fill(MIB + 1));
    assert_eq!(
        error.to_string(),
        "p.yaml: the policy has 1048577 bytes; at most 1048576 are allowed"
    );
    assert_eq!(
        Policy::parse_bytes(&vec![0xff; MIB + 1], "p.yaml").unwrap_err().message,
        error.message
    );
}

/// The size of the largest file without its head.
const REST: usize = MIB - HEAD.len() - 16;

/// Returns the largest file that consists of these lines.
fn lines(line: impl Fn(usize) -> String) -> String {
    let mut text = HEAD.to_owned();
    for at in 0.. {
        let line = line(at);
        if text.len() + line.len() > MIB {
            break;
        }
        text.push_str(&line);
    }
    text
}

/// Returns the largest file that repeats `unit` in one value.
fn deeper(unit: &str) -> String {
    format!("{HEAD}adopt: {}", unit.repeat(REST / unit.len()))
}

#[test]
fn hostile_sizes_and_depths_take_bounded_time_and_stack() {
    for (name, text, message) in [
        ("flow lists", deeper("["), "recursion limit"),
        ("flow maps", deeper("{a: "), "recursion limit"),
        ("block lists", deeper("- "), "not valid YAML"),
        (
            "block lists on a line",
            format!("{HEAD}adopt:\n{}", "- ".repeat(REST / 2)),
            "recursion limit",
        ),
        (
            "staircase",
            lines(|depth| format!("{}a:\n", " ".repeat(depth))),
            "recursion limit",
        ),
        ("keys", lines(|at| format!("k{at}: 1\n")), "more than 50000 values"),
        (
            "one key again",
            lines(|_| "mode: now\n".to_owned()),
            "already on line 3",
        ),
        (
            "values",
            deeper("a,").replace("adopt: ", "adopt: ["),
            "more than 50000 values",
        ),
        ("quotes", deeper("\""), "not valid YAML"),
        (
            "open quote",
            format!("{HEAD}mode: \"{}", "x\n ".repeat(REST / 3)),
            "not valid YAML",
        ),
        ("question marks", deeper("? "), "not valid YAML"),
        ("colons", format!("{HEAD}{}", "a: ".repeat(REST / 3)), "not valid YAML"),
        ("commas", deeper("[,"), "not valid YAML"),
        (
            "one word",
            format!("{HEAD}mode: {}", "x".repeat(REST)),
            "`mode` cannot be `xxx",
        ),
        (
            "one key",
            format!("{HEAD}? {}\n: 1", "x".repeat(REST)),
            "unknown key `xxx",
        ),
        (
            "one host",
            format!("{HEAD}wildcard: {}", "a.".repeat(REST / 2)),
            "longer than the 253 characters",
        ),
        (
            "anchors",
            format!("{HEAD}adopt: &a [{}]", "*a,".repeat(REST / 4)),
            "anchors and aliases",
        ),
        ("documents", lines(|_| "--- a\n".to_owned()), "a second document"),
        ("directives", lines(|_| "%TAG ! a\n".to_owned()), "not valid YAML"),
        (
            "tag",
            format!("{HEAD}mode: !{} a", "t".repeat(REST)),
            "tags are not allowed",
        ),
        (
            "blank lines and an error",
            format!("{HEAD}{}x", "\n".repeat(REST)),
            "not valid YAML",
        ),
        (
            "carriage returns",
            format!("{HEAD}{}x", "\r".repeat(REST)),
            "not valid YAML",
        ),
        (
            "block text",
            format!("{HEAD}mode: |\n{}", " x\n".repeat(REST / 3)),
            "`mode` cannot be `x",
        ),
    ] {
        assert!(text.len() <= MIB, "{name}");
        let error = bounded(text).expect_err(name);
        assert!(error.message.contains(message), "{name}: {error}");
        assert!(error.message.len() < 300, "{name}: {error}");
    }
    let hosts = lines(|at| match at {
        0 => "wildcard:\n".to_owned(),
        at if at < 49_000 => format!("- h{at}.io\n"),
        at => format!("#{at}\n"),
    });
    assert!(bounded(hosts).is_ok(), "49000 hosts are unusual, but allowed");
}

#[test]
fn secret_never_shows() {
    for keys in [
        "registries:\n- host: ghcr.io\n  mirrors:\n  - url: http://user:hunter2@h",
        "registries:\n- host: ghcr.io\n  mirrors: [{url: 'http://user:hunter2@h', bogus: 1}]",
        "registries:\n- host: ghcr.io\n  mirrors: [{url: http://h, password: hunter2}]",
        "registries:\n- host: ghcr.io\n  mirrors: [{url: 'http://h?token=hunter2'}]",
        "registries:\n- host: http://user:hunter2@ghcr.io\n  tags: mirror",
        "auth: hunter2",
        "bogus: hunter2",
        "bogus: {password: hunter2}",
        "mode: user:hunter2@h",
        "wildcard: user:hunter2@ghcr.io",
        "adopt: {token: hunter2, token: hunter2}",
        "password: \"hunter2",
        "adopt: user:hunter2@h",
        "adopt:\n- token: hunter2\n- \"open",
    ] {
        let error = refuse(&format!("{HEAD}{keys}"));
        let printed = format!("{error:?} {error}");
        assert!(!printed.contains("hunter2"), "{printed}");
    }
}

/// Returns lines that are nearly a policy, so that random files get past the YAML parser.
fn nearly() -> impl prop::strategy::Strategy<Value = String> {
    let line = prop::sample::select(vec![
        "mode: ",
        "migrate",
        "wildcard: ",
        "registries:\n",
        "- host: ",
        "  mirrors:\n",
        "  - url: ",
        "http://h:1/v2/p",
        "ghcr.io",
        "  tags: ",
        "upstream",
        "  fallback: none",
        "adopt: [",
        "]",
        "restart: {",
        "}",
        "deadline: ",
        "20s",
        "maxConcurrent: ",
        "1",
        "\n",
        "\r\n",
        "\t",
        " ",
        ", ",
        "*",
        "&a ",
        "!!str ",
        "'",
        "\"",
        "|",
        "? ",
        ": ",
        "@",
        "---\n",
        "\u{feff}",
        "é",
        "\0",
        "#",
    ]);
    prop::strategy::Strategy::prop_map(prop::collection::vec(line, 0..40), |lines| {
        format!("{HEAD}{}", lines.concat())
    })
}

/// Returns true for a location at which a caret can be printed.
fn is_sane(error: &PolicyError) -> bool {
    error.place.as_ref().is_none_or(|place| {
        let shown = place.excerpt.chars().count();
        place.line >= 1
            && place.column >= 1
            && place.len >= 1
            && place.caret <= shown
            && place.caret + place.len <= shown + 1
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn parse_never_panics_on_text(text in any::<String>()) {
        prop_assert!(Policy::parse(&text, "p").err().is_none_or(|error| is_sane(&error)));
    }

    #[test]
    fn parse_never_panics_on_bytes(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(Policy::parse_bytes(&bytes, "p").err().is_none_or(|error| is_sane(&error)));
    }

    #[test]
    fn parse_never_panics_on_a_near_policy(text in nearly()) {
        prop_assert!(Policy::parse_bytes(text.as_bytes(), "p").err().is_none_or(|error| is_sane(&error)));
    }
}
