use super::*;
use heartbeat_status::WallTime;
use heartbeat_wire::{
    AvailabilityEntry, LatencyEntry, REPORT_SCHEMA, ReportDocument, ReportIncident, ReportRealm, TimesEntry,
    UsageTimes,
};

fn report() -> ReportDocument {
    let times = |down_s: f64| TimesEntry { up_s: 86_400.0 - down_s, down_s, ..TimesEntry::default() };
    let month = TimesEntry { up_s: 29.0 * 86_400.0 - 90.0, down_s: 90.0, ..TimesEntry::default() };
    let availability =
        AvailabilityEntry { share: 0.9995, at_least: 0.999, at_most: 0.9997, unknown_s: 10_800.0 };
    let realm = ReportRealm {
        name: "api".to_owned(),
        title: Some("API <of the shop>".to_owned()),
        times: month,
        availability: Some(availability),
        objective: Some(0.999),
        met: Some(true),
        probe: Some("http".to_owned()),
        latency_ms: Some(LatencyEntry {
            p50: 9.0,
            p95: 18.25,
            p99: 41.0,
            max: 701.4,
            count: 36,
            window_s: None,
        }),
        usage: UsageTimes::default(),
        incidents: 1,
        days: vec![times(0.0), times(90.0), TimesEntry { paused_s: 60.0, ..TimesEntry::default() }],
    };
    let bare = ReportRealm {
        name: "mail".to_owned(),
        title: None,
        times: TimesEntry::default(),
        availability: None,
        objective: Some(0.999_9),
        met: None,
        probe: None,
        latency_ms: None,
        usage: UsageTimes::default(),
        incidents: 0,
        days: Vec::new(),
    };
    let incident = ReportIncident {
        id: "0193".to_owned(),
        root: "api".to_owned(),
        reason: heartbeat_status::Reason::Exited.into(),
        message: "exit | code <1>".to_owned(),
        affected: vec!["web".to_owned()],
        opened_at: WallTime::from_millis(1_795_473_598_310),
        resolved_at: None,
        duration_s: None,
    };
    ReportDocument {
        schema: REPORT_SCHEMA.to_owned(),
        name: "shop".to_owned(),
        month: "2026-11".to_owned(),
        from: WallTime::from_millis(1_793_491_200_000),
        to: WallTime::from_millis(1_796_083_200_000),
        generated_at: WallTime::from_millis(1_796_083_200_000),
        first_seen_at: None,
        realms: vec![realm, bare],
        incidents: vec![incident],
        more_incidents: true,
    }
}

#[test]
fn a_month_has_its_first_moment_and_its_end() {
    let days = |month| window(month).map(|window| (window.end - window.start) / DAY_MS);
    assert_eq!(window("1970-01"), Some(0..31 * DAY_MS));
    assert_eq!(window("2026-11").unwrap().start, 1_793_491_200_000);
    let lengths = ["2026-11", "2026-12", "2026-02", "2028-02", "2000-02", "1900-02"].map(days);
    assert_eq!(lengths.map(Option::unwrap), [30, 31, 28, 29, 29, 28]);
    for wrong in ["2026", "2026-13", "2026-00", "26-11", "2026-1", "2026-+1", "-026-11", "2026-11-01", ""] {
        assert_eq!(window(wrong), None, "{wrong}");
    }
    for year in 1970..2100 {
        for month in 1..=12 {
            let text = format!("{year:04}-{month:02}");
            let window = window(&text).unwrap();
            assert_eq!((month_of(window.start), month_of(window.end - 1)), (text.clone(), text));
        }
    }
}

#[test]
fn every_format_has_the_availability_with_its_bounds() {
    let report = report();
    let expected = "99.95 % (99.90-99.97, unknown 3h)";
    let (page, text) = (html::page(&report), text::markdown(&report));
    assert!(page.contains(expected) && text.contains(expected), "{text}\n{page}");
    for shown in [&page, &text] {
        assert!(shown.contains("99.9 %, met as far as is known"), "{shown}");
        assert!(shown.contains("99.99 %, not judged yet, known for 0s of 30d"), "{shown}");
        assert!(shown.contains("More incidents"), "{shown}");
    }
    assert!(page.contains("API &lt;of the shop&gt;") && page.contains("exit | code &lt;1&gt;"), "{page}");
    assert!(text.contains("exit \\| code <1>"), "{text}");
    assert!(
        !page.contains("http://") && !page.contains("<script"),
        "the page loads nothing and runs nothing"
    );
    let csv = text::csv(&report);
    let lines: Vec<&str> = csv.lines().collect();
    assert!(lines.iter().all(|line| line.split(',').count() == 17), "{csv}");
    assert!(
        lines[1].starts_with("\"api\",0.9995,0.999,0.9997,0.999,2505510,0,90,0,0,1,9,18.25,41,"),
        "{csv}"
    );
    assert!(lines[2].starts_with("\"mail\",,,,0.9999,0,"), "{csv}");
}

#[test]
fn a_month_of_which_8_seconds_are_known_is_not_judged() {
    let mut report = report();
    report.realms.truncate(1);
    report.realms[0].times = TimesEntry { up_s: 5.0, down_s: 3.0, ..TimesEntry::default() };
    report.realms[0].availability =
        Some(AvailabilityEntry { share: 0.625, at_least: 0.625, at_most: 0.625, unknown_s: 0.0 });
    report.first_seen_at = Some(WallTime::from_millis(report.to.as_millis() - 8_000));
    let (page, text) = (html::page(&report), text::markdown(&report));
    for shown in [&page, &text] {
        assert!(shown.contains("62.50 %, known for 8s of 30d"), "{shown}");
        assert!(shown.contains("99.9 %, not judged yet, known for 8s of 30d"), "{shown}");
        assert!(shown.contains("Nothing is on record before 2026-11-30 23:59."), "{shown}");
        assert!(!shown.contains("missed"), "{shown}");
    }
    let csv = text::csv(&report);
    let line = csv.lines().nth(1).unwrap();
    assert!(line.starts_with("\"api\",,,,0.999,5,0,3,0,0,1,"), "no share of 8 seconds: {line}");
    assert!(line.ends_with(",2591992"), "{line}");
}

/// A month of a small shop.
fn november() -> ReportDocument {
    const DAY_S: f64 = 86_400.0;
    let day = |degraded_s: f64, down_s: f64| TimesEntry {
        up_s: DAY_S - degraded_s - down_s,
        degraded_s,
        down_s,
        ..TimesEntry::default()
    };
    let all = |days: &[TimesEntry]| {
        let sum = |of: fn(&TimesEntry) -> f64| days.iter().map(of).sum();
        TimesEntry {
            up_s: sum(|day| day.up_s),
            degraded_s: sum(|day| day.degraded_s),
            down_s: sum(|day| day.down_s),
            unknown_s: sum(|day| day.unknown_s),
            paused_s: sum(|day| day.paused_s),
        }
    };
    let realm = |name: &str, objective: Option<f64>, p50: f64, days: Vec<TimesEntry>| {
        let times = all(&days);
        let good = times.up_s + times.degraded_s;
        let (known, whole) = (good + times.down_s, good + times.down_s + times.unknown_s);
        let (at_least, at_most) = (good / whole, (good + times.unknown_s) / whole);
        let latency = LatencyEntry {
            p50,
            p95: 2.2 * p50,
            p99: 5.0 * p50,
            max: 90.0 * p50,
            count: 500_000,
            window_s: None,
        };
        ReportRealm {
            name: name.to_owned(),
            title: None,
            times,
            availability: Some(AvailabilityEntry {
                share: good / known,
                at_least,
                at_most,
                unknown_s: times.unknown_s,
            }),
            objective,
            met: None,
            probe: Some("http".to_owned()),
            latency_ms: Some(latency),
            usage: UsageTimes::default(),
            incidents: 0,
            days,
        }
    };
    let mut postgres = vec![day(0.0, 0.0); 30];
    postgres[22] = day(0.0, 4_200.0);
    let mut api = vec![day(0.0, 0.0); 30];
    (api[3], api[22], api[23]) = (day(1_800.0, 0.0), day(300.0, 4_260.0), day(0.0, 60_000.0));
    let off = |unknown_s: f64, paused_s: f64| TimesEntry {
        up_s: DAY_S - unknown_s - paused_s,
        unknown_s,
        paused_s,
        ..TimesEntry::default()
    };
    let mut worker = vec![off(0.0, DAY_S); 6];
    worker.extend(vec![day(0.0, 0.0); 24]);
    (worker[11], worker[12]) = (off(10_800.0, 0.0), off(DAY_S, 0.0));
    let (mut shop, sample) = (realm("api", Some(0.999), 9.0, api), report());
    shop.title = Some("The API <of the shop>".to_owned());
    shop.incidents = 1;
    let mut incident = sample.incidents[0].clone();
    incident.message = "exit code 1 after 0.2 s, 6 restarts in 10 min did not help".to_owned();
    let over = ReportIncident {
        root: "postgres".to_owned(),
        affected: vec!["api".to_owned(), "worker".to_owned()],
        resolved_at: Some(WallTime::from_millis(1_795_477_798_310)),
        duration_s: Some(4_200.0),
        ..incident.clone()
    };
    ReportDocument {
        realms: vec![
            realm("postgres", Some(0.999_5), 0.4, postgres),
            shop,
            realm("worker", None, 30.0, worker),
        ],
        incidents: vec![over, incident],
        more_incidents: false,
        ..sample
    }
}

#[test]
fn the_page_of_a_month_is_as_committed() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/samples/report.html");
    let page = html::page(&november());
    if std::env::var_os("HEARTBEAT_BLESS").is_some() {
        std::fs::write(path, &page).unwrap();
    }
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        page == committed,
        "HEARTBEAT_BLESS=1 cargo test -p heartbeat-api --lib report rewrites {path}; look at it"
    );
}
