//! What only certain rooms may do: unsafe code, printing, environment, exit, network, clock.

use super::{Finding, House, finding};
use crate::code::{Code, lines_with};

/// Words in code, and where they are at home.
struct Words {
    words: &'static [&'static str],
    home: fn(&str) -> bool,
    /// Whether tests and examples may use them anywhere.
    tests_may: bool,
    expected: &'static str,
}

impl Words {
    fn judge(&self, house: &House) -> Vec<Finding> {
        let mut findings = Vec::new();
        for (path, text) in house.tree.sources() {
            if (self.home)(path) || (self.tests_may && is_test_file(path)) {
                continue;
            }
            let code = Code::of(text);
            for word in self.words {
                let lines = lines_with(&code.code, word).into_iter().filter(|&line| !(self.tests_may && code.is_test(line)));
                findings.extend(lines.map(|line| finding(path, line, format!("`{word}`: {}", self.expected))));
            }
        }
        findings
    }
}

/// Files that are tests or examples as a whole.
fn is_test_file(path: &str) -> bool {
    path.contains("/tests/") || path.contains("/examples/") || path.ends_with("/tests.rs")
}

fn automation(path: &str) -> bool {
    path.starts_with("xtask/")
}

/// `unsafe` stays in the vector kernels, in the calls of NVIDIA's libraries, in the ops that hand parts of a buffer to threads,
/// and in the memory mapping.
pub fn unsafe_code(house: &House) -> Vec<Finding> {
    let rule = Words {
        words: &["unsafe"],
        home: |path| {
            ["crates/engine/src/cpu/", "crates/engine/src/cuda/", "crates/formats/src/map.rs"].iter().any(|home| path.starts_with(home))
        },
        tests_may: false,
        expected: "allowed only in engine/src/cpu and engine/src/cuda, in engine's ops that use `Shared`, and in formats/src/map.rs",
    };
    let shares = |path: &str| house.tree.text(path).is_some_and(|text| !lines_with(&Code::of(text).code, "Shared").is_empty());
    let op = |path: &str| path.starts_with("crates/engine/src/ops/") && shares(path);
    rule.judge(house).into_iter().filter(|found| !op(&found.path)).collect()
}

/// Every crate takes the lints of the workspace, which forbid `unsafe`; engine and formats have their own.
pub fn lints(house: &House) -> Vec<Finding> {
    let manifests = house.tree.texts().filter(|(path, _)| path.ends_with("/Cargo.toml"));
    let own = |path: &str| matches!(path, "crates/engine/Cargo.toml" | "crates/formats/Cargo.toml");
    let takes = |text: &str| text.contains("[lints]\nworkspace = true");
    manifests
        .filter(|(path, text)| !own(path) && !takes(text))
        .map(|(path, _)| finding(path, 0, "takes the workspace's lints: `[lints]` with `workspace = true`"))
        .collect()
}

/// Libraries print nothing.
pub fn printing(house: &House) -> Vec<Finding> {
    let rule = Words {
        words: &["println!", "eprintln!", "print!", "eprint!", "stdout", "stderr"],
        home: |path| path.starts_with("crates/cli/") || path.starts_with("crates/hub/src/pypi") || automation(path),
        tests_may: true,
        expected: "only cli prints; a library returns what there is to say",
    };
    rule.judge(house)
}

/// Libraries are configured by their callers; where NVIDIA's libraries lie, the environment says.
pub fn environment(house: &House) -> Vec<Finding> {
    let rule = Words {
        words: &["std::env", "env::var", "env::var_os", "env::args", "env::temp_dir", "env::current_dir"],
        home: |path| {
            path.starts_with("crates/cli/")
                || automation(path)
                || ["crates/hub/src/options.rs", "crates/engine/src/cuda/library.rs"].contains(&path)
        },
        tests_may: true,
        expected: "only cli, hub's options and the search for NVIDIA's libraries read the environment; the caller passes what it knows",
    };
    rule.judge(house)
}

/// Libraries return.
pub fn exits(house: &House) -> Vec<Finding> {
    let rule = Words {
        words: &["process::exit", "process::abort"],
        home: |path| path.starts_with("crates/cli/"),
        tests_may: false,
        expected: "only cli ends the program; return an error",
    };
    rule.judge(house)
}

/// Names of crates that open connections.
const NETWORK_CRATES: &[&str] = &["ureq", "hf-hub", "reqwest", "hyper", "curl", "tokio", "attohttpc", "isahc", "minreq"];

/// Only hub, track and import open connections, and only they depend on what can.
pub fn network(house: &House) -> Vec<Finding> {
    let home = |path: &str| ["crates/hub/", "crates/track/", "crates/import/"].iter().any(|home| path.starts_with(home));
    let rule = Words {
        words: &["std::net", "TcpStream", "TcpListener", "UdpSocket", "UnixStream", "ToSocketAddrs"],
        home,
        tests_may: false,
        expected: "only hub, track and import touch the network",
    };
    let mut findings = rule.judge(house);
    for (path, text) in house.tree.texts().filter(|(path, _)| path.ends_with("/Cargo.toml") && !home(path)) {
        for (number, line) in text.lines().enumerate() {
            let name = line.split(['=', '.', ' ']).next().unwrap_or_default();
            if NETWORK_CRATES.contains(&name) {
                findings.push(finding(path, number + 1, format!("`{name}`: only hub, track and import touch the network")));
            }
        }
    }
    findings
}

/// Times come from the caller; only durations are measured anywhere.
pub fn clock(house: &House) -> Vec<Finding> {
    let rule = Words {
        words: &["SystemTime", "UNIX_EPOCH"],
        home: |path| path.starts_with("crates/cli/"),
        tests_may: false,
        expected: "only cli reads the clock; take the time as an argument",
    };
    rule.judge(house)
}

#[cfg(test)]
mod tests {
    use super::super::said;
    use super::*;

    #[test]
    fn unsafe_code_outside_of_its_rooms_is_found() {
        let body = "//! A.\nfn a() { unsafe { b() } }\n";
        let shared = "//! A.\nuse crate::cpu::shared::Shared;\nfn a() { unsafe { b() } }\n";
        let files = [
            ("crates/engine/src/cpu/lanes.rs", body),
            ("crates/formats/src/map.rs", body),
            ("crates/engine/src/ops/rope.rs", shared),
            ("crates/engine/src/ops/plain.rs", body),
            ("crates/engine/src/layout.rs", shared),
            ("crates/text/src/lib.rs", "//! Says unsafe.\n// unsafe\nconst A: &str = \"unsafe\";\n"),
            ("crates/model/src/lib.rs", body),
        ];
        let found = said(unsafe_code, &files);
        let places: Vec<&str> = found.iter().map(|line| line.split(": ").next().unwrap()).collect();
        assert_eq!(places, ["crates/engine/src/layout.rs:3", "crates/engine/src/ops/plain.rs:2", "crates/model/src/lib.rs:2"]);
    }

    #[test]
    fn a_crate_with_its_own_lints_is_found() {
        let good = "[package]\n[lints]\nworkspace = true\n";
        let files = [
            ("crates/a/Cargo.toml", good),
            ("crates/b/Cargo.toml", "[package]\n"),
            ("crates/engine/Cargo.toml", "[lints.rust]\n"),
            ("Cargo.toml", ""),
        ];
        assert_eq!(said(lints, &files), ["crates/b/Cargo.toml: takes the workspace's lints: `[lints]` with `workspace = true`"]);
    }

    #[test]
    fn a_library_that_prints_is_found() {
        let body = "//! A.\nfn a() { println!(\"x\"); }\n#[cfg(test)]\nmod tests {\n    fn b() { println!(\"y\"); }\n}\n";
        let files = [
            ("crates/cli/src/main.rs", body),
            ("crates/a/src/lib.rs", body),
            ("crates/a/tests/all.rs", body),
            ("crates/a/examples/b.rs", body),
        ];
        assert_eq!(said(printing, &files), ["crates/a/src/lib.rs:2: `println!`: only cli prints; a library returns what there is to say"]);
        let direct = "//! A.\nfn a() { std::io::stdout().write_all(b); eprint!(\"x\"); }\n";
        assert_eq!(said(printing, &[("crates/a/src/lib.rs", direct)]).len(), 2);
    }

    #[test]
    fn a_library_that_reads_the_environment_is_found() {
        let body = "//! A.\nfn a() { std::env::var(\"X\"); env!(\"Y\"); }\n";
        let files = [
            ("crates/hub/src/options.rs", body),
            ("crates/hub/src/lib.rs", body),
            ("crates/a/tests/all.rs", body),
            ("crates/cli/src/main.rs", body),
        ];
        let found = said(environment, &files);
        assert!(!found.is_empty() && found.iter().all(|line| line.starts_with("crates/hub/src/lib.rs:2:")), "{found:?}");
    }

    #[test]
    fn a_library_that_exits_is_found() {
        let body = "//! A.\nfn a() { std::process::exit(1) }\n";
        let files = [("crates/cli/src/main.rs", body), ("crates/a/src/lib.rs", body)];
        assert_eq!(said(exits, &files), ["crates/a/src/lib.rs:2: `process::exit`: only cli ends the program; return an error"]);
    }

    #[test]
    fn a_socket_and_a_crate_with_one_are_found() {
        let body = "//! A.\nuse std::net::TcpStream;\n";
        let files = [
            ("crates/hub/tests/fake.rs", body),
            ("crates/track/src/web.rs", body),
            ("crates/a/tests/all.rs", body),
            ("crates/hub/Cargo.toml", "ureq = \"3\"\n"),
            ("crates/track/Cargo.toml", "ureq = \"3\"\n"),
            ("crates/a/Cargo.toml", "[dependencies]\nserde.workspace = true\nureq = \"3\"\ntokio.workspace = true\n"),
        ];
        let found = said(network, &files);
        let places: Vec<&str> = found.iter().map(|line| line.split(": ").next().unwrap()).collect();
        assert_eq!(places, ["crates/a/tests/all.rs:2", "crates/a/tests/all.rs:2", "crates/a/Cargo.toml:3", "crates/a/Cargo.toml:4"]);
    }

    #[test]
    fn a_library_with_a_clock_is_found() {
        let body = "//! A.\nfn a() { std::time::SystemTime::now(); std::time::Instant::now(); }\n";
        let files = [("crates/cli/src/main.rs", body), ("crates/record/src/lib.rs", body)];
        assert_eq!(
            said(clock, &files),
            ["crates/record/src/lib.rs:2: `SystemTime`: only cli reads the clock; take the time as an argument"]
        );
    }
}
