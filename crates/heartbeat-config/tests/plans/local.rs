//! What is looked at on this host, and what tells its network from what lies behind it.

use heartbeat_config::{Format, Measure};
use heartbeat_status::{ProbeKind, Role};

use crate::reading::{refused, text};

#[test]
fn a_file_is_looked_at_beside_the_configuration_and_alone_says_whether_the_realm_is_up() {
    let config = text(
        "[realm.job]\nhealth = { file = \"state/last-run\", max_age = \"26h\", contains = \"ok\", interval = \"1m\" }\n",
    );
    let info = &config.plan.realms()[0].probes[0].info;
    assert_eq!((info.kind, info.role, info.name.as_str()), (ProbeKind::File, Role::Ready, "file"));
    assert!(info.target.starts_with('/') && info.target.ends_with("state/last-run"), "{}", info.target);
    assert!(matches!(config.realms[0].probes[0], Some(Measure::Probe(_))));
}

#[test]
fn a_reference_group_is_a_list_of_probes() {
    let config = text(
        "[heartbeat]\nreference = [\"tcp://192.0.2.1:53\", \"https://router.test/\"]\n[realm.a]\nhealth = \"tcp://192.0.2.9:1\"\n",
    );
    assert_eq!(config.heartbeat.reference, ["tcp://192.0.2.1:53", "https://router.test/"]);
}

#[test]
fn what_belongs_to_another_kind_or_is_no_probe_is_refused() {
    for (text, words) in [
        (
            "[realm.a]\nhealth = { tcp = \"127.0.0.1:1\", max_age = \"1h\" }\n",
            "`max_age` means nothing for a tcp probe",
        ),
        (
            "[realm.a]\nhealth = { tcp = \"127.0.0.1:1\", contains = \"x\" }\n",
            "`contains` means nothing for a tcp probe",
        ),
        (
            "[realm.a]\nhealth = { file = \"/x\", matches = \"x\" }\n",
            "`matches` means nothing for a file probe",
        ),
        ("[realm.a]\nhealth = { file = \"/x\", max_age = 5 }\n", "max_age"),
        ("[heartbeat]\nreference = [\"gateway\"]\n[realm.a]\nrun = \"x\"\n", "`gateway` is not a URL"),
        ("[heartbeat]\nreference = \"icmp://192.0.2.1\"\n[realm.a]\nrun = \"x\"\n", "`icmp://` is not built"),
    ] {
        let report = refused(text);
        let found = report.iter().any(|problem| problem.message.contains(words));
        assert!(found, "{text}: {}", report.render(Format::Short, false));
    }
}

#[test]
fn bounds_of_a_tree_and_of_a_disk_are_taken() {
    let config = text(
        "[realm.a]\nrun = \"x\"\nhealth = [{ resource = true, max_cpu = \"150%\", max_memory = \"64MiB\", max_fds = 9 }, { resource = true, min_disk_free = \"2GiB\", path = \"/var\", name = \"disk\" }, { resource = true, max_load = 8, min_memory_free = \"5%\", name = \"host\" }]\n",
    );
    let probes = &config.plan.realms()[0].probes;
    let targets: Vec<&str> = probes[..3].iter().map(|probe| probe.info.target.as_str()).collect();
    assert_eq!(
        targets,
        [
            "cpu up to 150%, memory up to 64MiB, up to 9 descriptors",
            "2GiB free at /var",
            "load up to 8, 5% of memory free"
        ]
    );
    assert_eq!((probes[0].info.kind, probes[0].info.role), (ProbeKind::Resource, Role::Info));
}

#[test]
fn bounds_without_a_meaning_are_refused() {
    for (health, words) in [
        ("{ resource = true }", "compares with nothing"),
        ("{ resource = false, max_fds = 9 }", "`resource` takes true"),
        ("{ resource = true, path = \"/var\", max_fds = 9 }", "`path` goes with `min_disk_free`"),
        ("{ resource = true, max_memory = 64 }", "max_memory"),
        ("{ resource = true, min_disk_free = \"110%\" }", "is not a percentage"),
        ("{ resource = true, min_memory_free = \"110%\" }", "is not a percentage"),
        ("{ resource = true, max_load = 0.5 }", "max_load"),
        ("{ tcp = \"127.0.0.1:1\", max_load = 8 }", "`max_load` means nothing for a tcp probe"),
        ("{ resource = true, max_cpu = \"0%\" }", "is not a share of processors"),
        ("{ resource = true, max_fds = 9, slow = \"1s\" }", "`slow` means nothing for a resource probe"),
        ("{ tcp = \"127.0.0.1:1\", max_fds = 9 }", "`max_fds` means nothing for a tcp probe"),
    ] {
        let report = refused(&format!("[realm.a]\nrun = \"x\"\nhealth = {health}\n"));
        let found = report.iter().any(|problem| problem.message.contains(words));
        assert!(found, "{health}: {}", report.render(Format::Short, false));
    }
    let external = refused("[realm.a]\nhealth = { resource = true, max_memory = \"64MiB\" }\n");
    assert!(
        external.iter().any(|problem| problem.message.contains("needs a service with `run`")),
        "{external}"
    );
}

#[test]
fn the_example_of_jobs_loads() {
    let example = include_str!("../../../../examples/jobs/heartbeat.toml");
    let config = text(example);
    let kinds: Vec<ProbeKind> = config
        .plan
        .realms()
        .iter()
        .flat_map(|realm| realm.probes.iter().map(|probe| probe.info.kind))
        .collect();
    let count = |kind| kinds.iter().filter(|known| **known == kind).count();
    let counts = [ProbeKind::Push, ProbeKind::File, ProbeKind::Resource, ProbeKind::Tcp].map(count);
    assert_eq!((counts, kinds.len()), ([2, 1, 1, 1], 5));
}
