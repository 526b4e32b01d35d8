//! The laws of the architecture, applied to the workspace, and each to a violation that was planted.

use std::collections::BTreeSet;

use heartbeat_status::ProbeKind;
use heartbeat_tests::{
    Bug, File, Manifest, areas, ban_list_violations, child_violations, circle_violations, clock_violations,
    closed_structs, escape_violations, external_violations, former_name_violations, import_violations,
    lonely_exports, misplaced, name_violations, other_texts, repeated_facts, repeated_places,
    sentence_violations, serde_violations, short_comment_violations, sources, stub_variants,
    text_error_violations, tidy_violations, unbounded_violations, unit_violations, unsafe_violations,
    unused_dependencies, wire_violations, workspace_root,
};

fn planted(path: &str, text: &str) -> [File; 1] {
    [File { path: path.to_owned(), text: text.to_owned() }]
}

fn manifest(name: &str, dependency: &str) -> [Manifest; 1] {
    [Manifest { name: name.to_owned(), dependencies: vec![dependency.to_owned()] }]
}

fn kept(violations: &[String]) {
    assert!(violations.is_empty(), "broken:\n{}", violations.join("\n"));
}

fn read(path: &str) -> String {
    std::fs::read_to_string(workspace_root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
fn every_test_that_the_scenarios_and_figures_name_is_there() {
    let sources = sources();
    let pages = read("docs/scenarios.md") + &read("docs/reliability.md");
    let is_test = |word: &&str| word.matches('_').count() >= 2 && !word.starts_with("HEARTBEAT_");
    let named: Vec<&str> = pages.split('`').skip(1).step_by(2).filter(is_test).collect();
    assert!(named.len() > 100, "{}", named.len());
    // A function, or an invariant of the simulator by its name.
    let functions = |text| str::split(text, "fn ").skip(1).filter_map(|rest| rest.split('(').next());
    let there: BTreeSet<&str> =
        sources.iter().flat_map(|file| functions(&file.text).chain(file.text.split('"'))).collect();
    let missing: Vec<&&str> = named.iter().filter(|name| !there.contains(**name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// The parts have a lifetime each: what belongs to none of them belongs to a state.
#[test]
fn a_realm_of_the_core_is_a_few_parts() {
    const MAX_PARTS: usize = 8;
    let judged = |text: &str| -> Vec<String> {
        let fields = text.split("struct Realm {\n").nth(1).and_then(|rest| rest.split("\n}").next());
        let fields: Vec<&str> = fields.expect("the struct").lines().map(str::trim).collect();
        let fields = fields.into_iter().filter(|line| !line.is_empty() && !line.starts_with("//"));
        let (flags, parts): (Vec<&str>, Vec<&str>) = fields.partition(|field| field.contains("bool"));
        let beyond = parts.into_iter().skip(MAX_PARTS);
        flags.into_iter().chain(beyond).map(str::to_owned).collect()
    };
    let many = (0..=MAX_PARTS).map(|at| format!("    a{at}: u8,\n")).collect::<String>();
    assert_eq!(judged(&format!("struct Realm {{\n{many}}}\n")), ["a8: u8,"]);
    assert_eq!(judged("struct Realm {\n    /// Whether a\n    a: Option<(u8, bool)>,\n}\n").len(), 1);
    kept(&judged(&read("crates/heartbeat-supervisor/src/realm.rs")));
}

/// Each kind of probe meets a target that misbehaves, is explained, and has a line in the examples.
#[test]
fn every_kind_of_probe_has_its_hostile_test_its_page_and_its_example() {
    const TESTS: [(&str, &str); 15] = [
        ("http", "endless_headers"),
        ("tcp", "a_tcp_answer_that_is_another_or_endless"),
        ("unix", "http_and_a_greeting_over_a_unix_socket"),
        ("tls", "a_server_that_does_not_shake_hands_is_ended_by_the_deadline"),
        ("redis", "a_redis_that_is_none_or_has_no_end_is_found_out"),
        ("postgres", "a_postgres_whose_messages_have_no_end_is_found_out"),
        ("grpc", "whatever_comes_without_end_is_cut"),
        ("dns", "an_answer_that_is_damaged_or_circular_is_none"),
        ("exec", "a_command_that_is_ended_by_its_deadline"),
        ("nagios", "a_command_that_cannot_run_fails_and_a_plugin_says_nothing"),
        ("file", "what_is_no_file_or_has_no_end_holds_nothing_up"),
        ("resource", "the_load_and_the_memory_of_the_host_are_compared"),
        ("push", "a_run_that_does_not_end_in_time_fails_and_others_do_not_end_it"),
        ("process", "a_running_process_passes_and_a_reused_pid_fails"),
        ("notify", "bytes_of_every_kind_do_no_harm"),
    ];
    let (sources, page) = (sources(), read("docs/probes.md"));
    let examples = read("examples/probes/heartbeat.toml");
    // The port is a fact of a realm with `port`, and no kind that `health` names.
    for kind in ProbeKind::ALL.iter().filter(|kind| **kind != ProbeKind::Port) {
        let kind = kind.as_str();
        let (_, test) = TESTS.iter().find(|(of, _)| *of == kind).expect(kind);
        let is_there = |file: &File| file.text.contains(&format!("fn {test}("));
        assert!(sources.iter().any(is_there), "{kind}: {test} is not there");
        let is_heading = |line: &str| line.starts_with("## ") && line.contains(&format!("`{kind}`"));
        assert!(page.lines().any(is_heading), "{kind} has no heading in docs/probes.md");
        let (key, scheme) = (format!("{kind} = "), format!("\"{kind}://"));
        assert!(examples.contains(&key) || examples.contains(&scheme), "{kind} is not in the examples");
    }
}

/// What a service takes on when it embeds the probes as they are.
#[test]
#[expect(clippy::disallowed_methods, reason = "cargo alone knows which crates a set of features brings")]
fn the_default_tree_of_the_probe_crate_is_small() {
    const MAX_CRATES: usize = 30;
    let words = "tree --frozen -p heartbeat-probe -e normal --prefix none --format {p}";
    let cargo = std::process::Command::new(env!("CARGO")).args(words.split(' ')).output();
    let output = cargo.expect("cargo runs");
    let tree = String::from_utf8_lossy(&output.stdout);
    let crates: BTreeSet<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(crates.contains("hyper"), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(crates.len() <= MAX_CRATES, "{} crates: {crates:?}", crates.len());
    assert!(!tree.contains("(proc-macro)"), "nothing in it waits for syn:\n{tree}");
}

#[test]
fn every_planted_bug_has_its_place() {
    let root = workspace_root();
    let bugs: Vec<Bug> = areas(&root).into_iter().flat_map(|area| area.bugs).collect();
    let lost: Vec<String> = bugs.iter().filter_map(|bug| misplaced(bug, &read(&bug.file))).collect();
    assert!(lost.is_empty(), "mend the passages in tests/planted:\n{}", lost.join("\n"));
    let bug = Bug { rule: "r".into(), file: "f".into(), find: "a".into(), put: "b".into() };
    assert!(misplaced(&bug, "a a").is_some(), "twice");
    assert!(misplaced(&bug, "b").is_some(), "nowhere");
    assert_eq!(misplaced(&bug, "a"), None);
}

#[test]
fn the_published_figures_are_of_the_bugs_that_are_planted() {
    let page = read("docs/reliability.md");
    let areas = areas(&workspace_root());
    let published: Vec<(&str, usize)> = areas
        .iter()
        .filter_map(|area| {
            let row = page.lines().find_map(|line| line.strip_prefix(&format!("| {} | ", area.name)))?;
            Some((area.name.as_str(), row.split(' ').next()?.parse().ok()?))
        })
        .collect();
    assert!(published.len() >= 5, "{published:?}");
    for (name, planted) in published {
        // A bug that has been added since is measured with the next figures.
        let there = areas.iter().find(|area| area.name == name).map_or(0, |area| area.bugs.len());
        assert!(planted <= there, "docs/reliability.md: {planted} bugs of {name}, of which {there} are left");
    }
}

#[test]
fn every_invariant_of_the_simulator_is_published() {
    let is_name =
        |word: &&str| word.contains('_') && word.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    let published = read("docs/reliability.md");
    let sources =
        ["sim.rs", "invariant/mod.rs"].map(|file| read(&format!("crates/heartbeat-sim/src/{file}")));
    let sources: String = sources.iter().flat_map(|text| text.split_whitespace()).collect();
    let checked: BTreeSet<&str> =
        sources.split("(\"").filter_map(|rest| rest.split('"').next()).filter(is_name).collect();
    let missing: Vec<&&str> =
        checked.iter().filter(|name| !published.contains(&format!("`{name}`"))).collect();
    assert!(missing.is_empty(), "docs/reliability.md does not name {missing:?}");
    let counted = published.lines().find(|line| line.starts_with("| invariants")).expect("the number");
    assert!(counted.ends_with(&format!("| {} |", checked.len())), "there are {}: {counted}", checked.len());
}

#[test]
fn law_1_imports_go_down() {
    let all = Manifest::all();
    assert!(all.len() >= 15, "the whole workspace is read: {}", all.len());
    kept(&import_violations(&all));
    assert_eq!(import_violations(&manifest("heartbeat-probe", "heartbeat-process")).len(), 1, "siblings");
    assert_eq!(import_violations(&manifest("heartbeat-status", "heartbeat-graph")).len(), 1, "upwards");
    assert_eq!(
        import_violations(&manifest("heartbeat-stranger", "serde")).len(),
        1,
        "a crate without a layer"
    );
    assert_eq!(import_violations(&manifest("heartbeat-daemon", "heartbeat-api")).len(), 0);
}

#[test]
fn every_kind_of_dependency_counts() {
    for table in ["dependencies", "dev-dependencies", "build-dependencies", "target.'cfg(unix)'.dependencies"]
    {
        let text = format!("[package]\nname = \"heartbeat-graph\"\n[{table}]\nheartbeat-probe = \"1\"\n");
        assert_eq!(import_violations(&[Manifest::parse(&text).unwrap()]).len(), 1, "{table}");
    }
    let renamed = "[package]\nname = \"heartbeat-graph\"\n[dependencies]\nrt = { package = \"tokio\", version = \"1\" }\n";
    assert_eq!(external_violations(&[Manifest::parse(renamed).unwrap()]).len(), 1);
}

#[test]
fn what_follows_a_test_module_is_still_judged() {
    let now = "let now = std::time::Instant::now();";
    let judged = |text: &str| clock_violations(&planted("crates/x/src/a.rs", text)).len();
    assert_eq!(judged(&format!("#[cfg(test)]\nmod sample;\nfn f() {{ {now} }}\n")), 1, "a declaration");
    assert_eq!(judged(&format!("#[cfg(test)]\nmod t {{\n    {now}\n}}\nfn f() {{ {now} }}\n")), 1, "a block");
    assert_eq!(judged(&format!("#[cfg(test)]\nmod t {{\n    {now}\n}}\n")), 0, "the block itself");
    let main = File { path: "bins/x/src/main.rs".into(), text: "#[cfg(test)]\nmod tests;\n".into() };
    let tests = File { path: "bins/x/src/tests.rs".into(), text: now.to_owned() };
    assert_eq!(clock_violations(&[main, tests]).len(), 0, "a file of tests");
}

#[test]
fn law_2_the_outside_appears_where_it_is_needed() {
    kept(&external_violations(&Manifest::all()));
    assert_eq!(external_violations(&manifest("heartbeat-supervisor", "tokio")).len(), 1);
    assert_eq!(external_violations(&manifest("heartbeat-config", "nix")).len(), 1);
}

#[test]
fn every_dependency_is_used() {
    let sources = sources();
    kept(&unused_dependencies(&Manifest::all(), &sources));
    assert_eq!(unused_dependencies(&manifest("heartbeat-graph", "hex-literal"), &sources).len(), 1);
}

#[test]
fn every_published_crate_says_what_it_is() {
    let mut published = 0;
    for package in Manifest::all() {
        let folder = format!("crates/{}", package.name);
        let Ok(text) = std::fs::read_to_string(workspace_root().join(&folder).join("Cargo.toml")) else {
            continue;
        };
        if text.contains("publish = false") {
            continue;
        }
        published += 1;
        for line in
            ["description", "readme", "keywords", "categories", "documentation", "[package.metadata.docs.rs]"]
        {
            assert!(text.contains(&format!("\n{line}")), "{folder}/Cargo.toml has no {line}");
        }
        assert!(workspace_root().join(&folder).join("README.md").exists(), "{folder} has no README.md");
    }
    assert!(published >= 5, "{published}");
}

#[test]
fn the_core_is_pure_by_construction() {
    for pure in ["status", "graph", "restart", "supervisor"] {
        let text = read(&format!("crates/heartbeat-{pure}/src/lib.rs"));
        assert!(text.contains("\n#![no_std]\n"), "heartbeat-{pure} is not no_std");
        assert!(!text.contains("extern crate std"), "heartbeat-{pure} takes std back");
    }
}

#[test]
fn law_3_two_files_read_the_clock() {
    kept(&clock_violations(&sources()));
    let text = "let now = std::time::Instant::now();";
    assert_eq!(clock_violations(&planted("crates/heartbeat-api/src/listener.rs", text)).len(), 1);
    assert_eq!(clock_violations(&planted("crates/heartbeat-probe/src/clock.rs", text)).len(), 0);
}

#[test]
fn law_4_unsafe_code_stands_in_one_file() {
    kept(&unsafe_violations(&sources()));
    assert_eq!(
        unsafe_violations(&planted("crates/heartbeat-api/src/listener.rs", "unsafe { x() }")).len(),
        1
    );
    let unexplained = planted("crates/heartbeat-process/src/sys.rs", "unsafe { x() }");
    assert_eq!(unsafe_violations(&unexplained).len(), 2, "no reason, and no word on safety");
    assert!(read("Cargo.toml").contains("unsafe_code = \"deny\""));
}

#[test]
fn law_4_a_child_that_shares_memory_calls_the_kernel_alone() {
    kept(&child_violations(&sources()));
    for text in ["    nix::unistd::setsid()", "    let name = format!(\"{step}\");"] {
        assert_eq!(
            child_violations(&planted("crates/heartbeat-process/src/child.rs", text)).len(),
            1,
            "{text}"
        );
    }
}

#[test]
fn law_5_serde_is_for_what_leaves_the_process() {
    kept(&serde_violations(&sources()));
    let text = "#[derive(Debug, Serialize)]";
    assert_eq!(serde_violations(&planted("crates/heartbeat-supervisor/src/plan.rs", text)).len(), 1);
    let broken_lines = "#[derive(\n    Debug,\n    Serialize,\n)]\nstruct A;";
    assert_eq!(serde_violations(&planted("crates/heartbeat-sim/src/world.rs", broken_lines)).len(), 1);
}

#[test]
fn law_6_every_room_has_a_name() {
    kept(&name_violations(&sources()));
    for path in [
        "crates/heartbeat-api/src/utils.rs",
        "crates/heartbeat-core/src/lib.rs",
        "crates/x/src/helpers/mod.rs",
    ] {
        assert_eq!(name_violations(&planted(path, "")).len(), 1, "{path}");
    }
}

#[test]
fn law_7_every_queue_has_a_bound() {
    kept(&unbounded_violations(&sources()));
    let text = "let (a, b) = tokio::sync::mpsc::unbounded_channel();";
    assert_eq!(unbounded_violations(&planted("crates/heartbeat-api/src/listener.rs", text)).len(), 1);
}

#[test]
fn law_7_every_bound_says_of_what() {
    kept(&unit_violations(&sources()));
    let judged = |text: &str| unit_violations(&planted("crates/heartbeat-api/src/limits.rs", text)).len();
    for bad in
        ["const MAX_BODY: usize = 9;", "pub(crate) const TIMEOUT: u64 = 5;", "    pub const LIMIT: u32 = 1;"]
    {
        assert_eq!(judged(bad), 1, "{bad}");
    }
    for good in [
        "const MAX_BODY_BYTES: usize = 9;",
        "const WAIT: Duration = X;",
        "const POLL_WAIT_MS: u64 = 5;",
        "const PORT: u16 = 1;",
    ] {
        assert_eq!(judged(good), 0, "{good}");
    }
}

#[test]
fn law_8_the_bans_hold() {
    kept(&escape_violations(&sources()));
    for text in
        ["#[expect(clippy::disallowed_methods)]", "std::thread::sleep(x)", "use std::collections::HashMap;"]
    {
        assert_eq!(
            escape_violations(&planted("crates/heartbeat-api/src/listener.rs", text)).len(),
            1,
            "{text}"
        );
    }
    let bans = read("clippy.toml");
    for banned in [
        "Instant::now",
        "SystemTime::now",
        "thread::sleep",
        "process::Command",
        "unbounded_channel",
        "HashMap",
    ] {
        assert!(bans.contains(banned), "clippy.toml does not ban {banned}");
    }
    let others = other_texts();
    let paths: Vec<&str> = others.iter().map(|file| file.path.as_str()).collect();
    assert!(paths.contains(&"clippy.toml"), "the whole workspace is read");
    kept(&ban_list_violations(&paths));
    assert_eq!(ban_list_violations(&["clippy.toml", "tests/clippy.toml", "bins/x/.clippy.toml"]).len(), 2);
}

#[test]
fn one_thing_has_one_name() {
    kept(&former_name_violations(&sources()));
    let judged =
        |text: &str| former_name_violations(&planted("crates/heartbeat-daemon/src/a.rs", text)).len();
    for bad in [
        "struct Published;",
        "let herald = 1;",
        "fn f(x: &mut HTTPTap) {}",
        "is_in_storm();",
        "const CALL_OFF: u8 = 1;",
        "struct Order(u8);",
    ] {
        assert_eq!(judged(bad), 1, "{bad}");
    }
    for good in
        ["struct StatusStore;", "let published = 1;", "// a Tap", "say(\"Herald\");", "struct LaunchOrder;"]
    {
        assert_eq!(judged(good), 0, "{good}");
    }
}

#[test]
fn errors_of_libraries_are_types() {
    kept(&text_error_violations(&sources()));
    let text = "pub fn f() -> Result<u8, String> { Ok(1) }";
    for text in [text, "pub fn f() -> Option<Result<u8, Vec<String>>> { None }"] {
        assert_eq!(text_error_violations(&planted("crates/heartbeat-client/src/a.rs", text)).len(), 1);
        assert_eq!(text_error_violations(&planted("crates/heartbeat-daemon/src/a.rs", text)).len(), 1);
    }
    assert_eq!(text_error_violations(&planted("bins/heartbeat-cli/src/a.rs", text)).len(), 0, "a program");
}

#[test]
fn the_core_knows_no_document() {
    kept(&wire_violations(&sources()));
    let text = "use heartbeat_wire::Action;";
    assert_eq!(wire_violations(&planted("crates/heartbeat-supervisor/src/a.rs", text)).len(), 1);
    assert_eq!(wire_violations(&planted("crates/heartbeat-api/src/a.rs", text)).len(), 0);
}

#[test]
fn no_reader_compares_text() {
    kept(&sentence_violations(&sources()));
    let judged = |text: &str| sentence_violations(&planted("crates/heartbeat-api/src/a.rs", text)).len();
    for bad in ["if why.message.starts_with(\"x\") {}", "if detail == \"x\" {}", "message.find('x');"] {
        assert_eq!(judged(bad), 1, "{bad}");
    }
    for good in ["if one.message == other.message {}", "message.starts_with(prefix);", "text.find('x');"] {
        assert_eq!(judged(good), 0, "{good}");
    }
}

#[test]
fn quantities_and_suggestions_have_one_place_each() {
    kept(&repeated_places(&sources()));
    let judged = |text: &str| repeated_places(&planted("crates/heartbeat-api/src/a.rs", text)).len();
    for bad in ["let units = [(\"h\", 3_600)];", "\"GiB\" => 1 << 30,", "strsim::jaro(a, b);"] {
        assert_eq!(judged(bad), 1, "{bad}");
    }
    assert_eq!(judged("let help = \"for example 1h\";"), 0);
}

#[test]
fn every_word_is_said_by_some_code() {
    let sources = sources();
    for (home, kind) in [
        ("own_problem", "OwnProblemKind"),
        ("status", "Reason"),
        ("outcome", "FailReason"),
        ("outcome", "DegradedReason"),
        ("outcome", "InconclusiveReason"),
    ] {
        kept(&stub_variants(&sources, &format!("crates/heartbeat-status/src/{home}.rs"), kind));
    }
    let file = |path: &str, text: &str| File { path: path.into(), text: text.into() };
    let home = file("crates/x/src/a.rs", "pub enum Kind {\n    Made,\n    Stub(u8),\n}\n");
    let user = file("crates/x/src/b.rs", "let kind = Kind::Made;\nstruct Stubborn;\n");
    assert_eq!(stub_variants(&[home, user], "crates/x/src/a.rs", "Kind").len(), 1);
}

#[test]
fn a_fact_of_a_run_has_one_name_from_the_reaper_to_the_state() {
    let notices = read("crates/heartbeat-process/src/notice.rs");
    let facts = read("crates/heartbeat-status/src/run_fact.rs");
    kept(&repeated_facts(&notices, &facts));
    let notices = "pub enum Notice {\n    Exited {\n        key: Key,\n    },\n    Other,\n}\n";
    assert_eq!(repeated_facts(notices, &facts), ["Exited"]);
}

#[test]
fn a_comment_says_more_than_the_name() {
    kept(&short_comment_violations(&sources()));
    let judged = |text: &str| short_comment_violations(&planted("crates/heartbeat-api/src/a.rs", text)).len();
    assert_eq!(judged("/// Why not.\nfn f() {}\n"), 1);
    assert_eq!(judged("/// Cause of\n/// the failure.\nfn f() {}\n"), 0);
}

#[test]
fn files_of_a_crate_import_each_other_in_one_direction() {
    kept(&circle_violations(&sources()));
    let file = |name: &str, text: &str| File {
        path: format!("crates/heartbeat-api/src/{name}.rs"),
        text: text.to_owned(),
    };
    let judged = |a: &str, b: &str| {
        let root = "mod a;\nmod b;\npub use b::{Other, Thing};\n";
        circle_violations(&[file("lib", root), file("a/mod", ""), file("a/deep", a), file("b", b)]).len()
    };
    assert_eq!(judged("use crate::b::Thing;", "use crate::a::deep::f;"), 2, "each arrow of the circle");
    assert_eq!(judged("use super::super::b;", ""), 0);
    assert_eq!(judged("use crate::{\n    b::{self, Other},\n};", "fn f() { crate::a::deep::f() }"), 2);
    assert_eq!(judged("use crate::Thing;", "use crate::a::{deep::f};"), 2, "through what the root exports");
    assert_eq!(judged("use crate::b::Thing;", "use crate::a::f;"), 0, "the folder is another file");
    assert_eq!(judged("use crate::b::Thing;", "#[cfg(test)]\nmod tests {\n    use crate::a::deep::f;\n}"), 0);
}

#[test]
fn what_a_crate_exports_has_a_user() {
    kept(&lonely_exports(&sources()));
    let file = |path: &str, text: &str| File { path: path.to_owned(), text: text.to_owned() };
    let root = file("crates/a/src/lib.rs", "mod b;\n\npub use b::{MAX_BYTES, read};\n");
    let user = |text: &str| {
        [root.clone(), file("crates/a/src/b.rs", "read MAX_BYTES"), file("bins/c/src/d.rs", text)]
    };
    assert_eq!(lonely_exports(&user("a::read(); // MAX_BYTES")).len(), 0);
    assert_eq!(lonely_exports(&user("a::read();")).len(), 1);
    let kind = |text: &str| {
        lonely_exports(&[
            file("crates/a/src/lib.rs", "mod b;\n\npub use b::Kind;\n"),
            file("crates/a/src/b.rs", text),
        ])
        .len()
    };
    for had in [
        "pub struct Kind(u8);\npub fn of(\n    kind: Kind,\n) {}",
        "pub struct A {\n    pub kind: Kind,\n}",
        "pub enum A {\n    Of(Kind),\n}",
        "pub trait A {\n    fn of(&self) -> Kind;\n}",
        "impl FromStr for A {\n    type Err = Kind;\n}",
    ] {
        assert_eq!(kind(had), 0, "{had}");
    }
    for alone in [
        "pub struct Kind(u8);\nimpl Kind {}\n",
        "pub fn of() -> u8 {\n    Kind(1).0\n}",
        "pub struct A {\n    kind: Kind,\n}",
        "pub(crate) fn of(kind: Kind) {}",
        "pub type Kind = u8;\npub fn of(kind: Kind) {}",
    ] {
        assert_eq!(kind(alone), 1, "{alone}");
    }
}

#[test]
fn what_other_projects_build_and_take_apart_may_grow() {
    kept(&closed_structs(&sources()));
    let judged = |above: &str| {
        let text = format!("/// Options.\n{above}pub struct Options {{\n    /// A.\n    pub a: u8,\n}}\n");
        closed_structs(&planted("crates/heartbeat-probe/src/a.rs", &text)).len()
    };
    assert_eq!((judged("#[derive(Debug)]\n"), judged("#[derive(Debug)]\n#[non_exhaustive]\n")), (1, 0));
    let inner = "pub struct Options {\n    a: u8,\n    pub(crate) b: u8,\n}\n";
    assert_eq!(closed_structs(&planted("crates/heartbeat-probe/src/a.rs", inner)).len(), 0);
}

#[test]
fn nothing_is_left_lying_about() {
    kept(&tidy_violations(&sources()));
    kept(&tidy_violations(&other_texts()));
    assert_eq!(tidy_violations(&planted("docs/a.md", "see /home/x")).len(), 1);
    assert_eq!(tidy_violations(&planted("crates/x/src/a.rs", "// TODO later")).len(), 1);
    assert_eq!(tidy_violations(&planted("crates/x/src/lib.rs", "mod a;")).len(), 1);
    for package in Manifest::all() {
        let folders =
            ["crates", "bins", "examples"].map(|folder| format!("{folder}/{}/Cargo.toml", package.name));
        let path = folders.into_iter().find(|path| workspace_root().join(path).exists());
        let text = read(&path.unwrap_or_else(|| "tests/Cargo.toml".to_owned()));
        assert!(text.contains("[lints]\nworkspace = true"), "{} does not take the lint table", package.name);
    }
    for file in
        ["LICENSE-MIT", "LICENSE-APACHE", "CHANGELOG.md", "deny.toml", "docs/ARCHITECTURE.md", ".ci/run"]
    {
        assert!(workspace_root().join(file).exists(), "{file} is missing");
    }
}

#[test]
fn the_readme_gives_the_two_commands() {
    let readme = read("README.md");
    assert!(readme.contains(
        "cargo build --profile demo -p heartbeatd -p heartbeat-cli && target/demo/heartbeatd demo"
    ));
    assert!(readme.contains("cargo test --workspace"));
    assert!(read(".ci/run").contains("cargo test --workspace"));
}
