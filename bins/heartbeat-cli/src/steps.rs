//! A plan, as the command shows it and as it comes true.

use heartbeat_status::{Health, NextAction, Phase, RealmKind, Status, WallTime};
use heartbeat_wire::{Action, ActionDocument, EffectEntry, RealmEntry, StatusDocument};

use crate::age::latency;
use crate::cells::why;
use crate::exit::plain_words;
use crate::headline::status_of;
use crate::style::{Hue, Style};

/// The plan in lines: order, action, realm, longest time, condition; then the realms that break.
pub(crate) fn plan_lines(plan: &ActionDocument, style: Style) -> Vec<String> {
    let widest = plan.steps.iter().map(|step| crate::style::width(&step.realm)).max().unwrap_or(0);
    let mut lines: Vec<String> = plan
        .steps
        .iter()
        .map(|step| {
            let mut line =
                format!("{:>3} {:<7} {:<widest$}", step.wave, step.action, style.text(&step.realm));
            if let Some(limit) = step.limit_s {
                line += &format!("  limit {limit}s");
            }
            if let Some(until) = &step.until {
                line += &format!("  until {}", style.text(until));
            }
            line.trim_end().to_owned()
        })
        .collect();
    if plan.steps.is_empty() {
        lines.push("    nothing to do".to_owned());
    }
    for hold in &plan.holds {
        lines.push(format!("    {}", style.text(&hold.sentence())));
    }
    if !plan.breaks.is_empty() {
        let names: Vec<String> = plan.breaks.iter().map(|name| style.text(name)).collect();
        let verb = if names.len() == 1 { "keeps" } else { "keep" };
        lines.push(format!("    {} {verb} running without it", names.join(", ")));
    }
    lines
}

/// What a failure would mean: a line per realm.
pub(crate) fn effect_lines(plan: &ActionDocument, style: Style) -> Vec<String> {
    let widest = plan.effects.iter().map(|effect| crate::style::width(&effect.realm)).max().unwrap_or(0);
    let line = |effect: &EffectEntry| {
        format!("  {:<widest$}  {}", style.text(&effect.realm), style.text(&effect.message))
    };
    plan.effects.iter().map(line).collect()
}

/// The command itself would be refused.
pub(crate) fn is_refused(plan: &ActionDocument) -> bool {
    plan.refusal.is_some()
}

/// Why it would be refused; with what a yes would do, where a yes is all that is missing.
pub(crate) fn refused_lines(plan: &ActionDocument, style: Style) -> Vec<String> {
    let why = plain_words(plan.message.as_deref().unwrap_or("would be refused"));
    let mut lines = vec![style.text(&why)];
    if !plan.steps.is_empty() {
        lines.push("confirmed, this would be done:".to_owned());
        lines.extend(plan_lines(plan, style));
    }
    lines
}

/// Longest a plan may take, in seconds: its waves one after the other, each as long as its slowest step.
/// `None` when a step has no limit.
pub(crate) fn plan_limit_s(plan: &ActionDocument) -> Option<f64> {
    let mut total = 0.0;
    let mut wave = (0, 0.0_f64);
    for step in &plan.steps {
        if step.wave != wave.0 {
            total += wave.1;
            wave = (step.wave, 0.0);
        }
        wave.1 = wave.1.max(step.limit_s?);
    }
    Some(total + wave.1)
}

struct Step {
    realm: String,
    start: bool,
    /// Restarts that the realm had before, when it is restarted by its own command.
    in_place: Option<u64>,
    wave: u32,
    /// Generation of the realm's process before anything was done.
    generation: u64,
    /// The realm is stopped first, so only a younger generation counts as started.
    after_stop: bool,
    done: bool,
}

/// Recognises in status documents which steps are done.
pub(crate) struct Tracker {
    steps: Vec<Step>,
    /// When the wave in hand began.
    began: WallTime,
}

impl Tracker {
    /// Of a plan, with the document from before it.
    pub(crate) fn new(plan: &ActionDocument, before: &StatusDocument) -> Self {
        let mut steps: Vec<Step> = Vec::with_capacity(plan.steps.len());
        for step in &plan.steps {
            let entry = before.realms.iter().find(|realm| realm.name == step.realm);
            steps.push(Step {
                realm: step.realm.clone(),
                start: !step.action.is(Action::Stop),
                in_place: entry.filter(|_| step.action.is(Action::Restart)).map(|realm| realm.restarts.total),
                wave: step.wave,
                generation: entry.map_or(0, generation),
                after_stop: steps.iter().any(|earlier| earlier.realm == step.realm && !earlier.start),
                done: false,
            });
            // A step that holds already is no result of this command.
            if let (Some(step), Some(entry)) = (steps.last_mut(), entry) {
                step.done = step.is_done(entry);
            }
        }
        Self { steps, began: before.generated_at }
    }

    /// A line for every step that has come true since the last document, in the order of the plan.
    pub(crate) fn observe(&mut self, document: &StatusDocument, style: Style) -> Vec<String> {
        let mut lines = Vec::new();
        let now = document.generated_at;
        while let Some(wave) = self.steps.iter().find(|step| !step.done).map(|step| step.wave) {
            for step in self.steps.iter_mut().filter(|step| step.wave == wave && !step.done) {
                let Some(realm) = document.realms.iter().find(|realm| realm.name == step.realm) else {
                    continue;
                };
                if step.is_done(realm) {
                    step.done = true;
                    lines.push(step.done_line(realm, self.began, now, style));
                }
            }
            if self.steps.iter().any(|step| step.wave == wave && !step.done) {
                break;
            }
            self.began = now;
        }
        lines
    }

    /// The first start that a need holds up, of the plan or of `asked`. A need that the plan itself still starts holds up
    /// nothing.
    pub(crate) fn blocked(
        &self,
        document: &StatusDocument,
        asked: &[String],
        style: Style,
    ) -> Option<Blocked> {
        let find = |name: &str| document.realms.iter().find(|realm| realm.name == name);
        let holds_up = |need: &&RealmEntry| match status_of(need) {
            Status::Down | Status::Failed | Status::Unknown => true,
            Status::Restarting | Status::Stopped | Status::Stopping | Status::Paused => {
                !self.steps.iter().any(|step| !step.done && step.realm == need.name)
            }
            _ => false,
        };
        let starts = self.steps.iter().filter(|step| step.start && !step.done);
        // What was asked for before has no step any more.
        let names = starts.map(|step| &step.realm).chain(asked);
        names.filter_map(|name| find(name)).find_map(|realm| {
            let waits = status_of(realm) == Status::Blocked;
            let mut needs = realm.blocked_by.iter().filter(|_| waits).filter_map(|name| find(name));
            let need = needs.find(holds_up)?;
            let (name, by) = (style.text(&realm.name), style.text(&need.name));
            let line = format!("{name} waits for {by}, which is {}: {}", need.status, why(need, style));
            Some(Blocked { line, by })
        })
    }

    /// What is being waited for, and why it is not there yet.
    pub(crate) fn pending(&self, document: &StatusDocument, style: Style) -> Option<String> {
        let find = |step: &Step| document.realms.iter().find(|realm| realm.name == step.realm);
        let Some(step) = self.steps.iter().find(|step| !step.done) else {
            let starts = self.steps.iter().filter(|step| step.start).filter_map(find);
            let verifying = starts.filter(|realm| is_verifying(realm)).max_by_key(|realm| realm.next.at)?;
            return Some(verifying_line(verifying, document.generated_at, style));
        };
        let realm = find(step)?;
        let word = step.word();
        let dots = if style.ascii { "..." } else { "…" };
        let status = style.text(&realm.status.to_string());
        Some(format!("{dots} {word} {} ({status}): {}", style.text(&step.realm), why(realm, style)))
    }
}

/// A start that waits for what no step of the plan brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Blocked {
    /// `api waits for redis, which is down: connection refused`.
    pub(crate) line: String,
    /// The realm that it waits for.
    pub(crate) by: String,
}

/// It was restarted, passes, and has to go on passing for a while. A oneshot answers nothing: it is done, or not yet.
fn is_verifying(realm: &RealmEntry) -> bool {
    let passes = realm.health.is(Health::Healthy) || realm.health.is(Health::Degraded);
    let serves = !realm.kind.is(RealmKind::Oneshot);
    serves && status_of(realm) == Status::Restarting && realm.phase.is(Phase::Running) && passes
}

/// How long a step took, as far as that is known: documents are compared that are up to this far apart.
const RESOLUTION_MS: i64 = 250;

fn took(ms: i64) -> String {
    match ms {
        ..RESOLUTION_MS => "at once".to_owned(),
        _ => format!("after {}", latency(i32::try_from(ms).map_or(f64::INFINITY, f64::from))),
    }
}

fn generation(realm: &RealmEntry) -> u64 {
    realm.process.as_ref().map_or(0, |process| process.generation)
}

/// `… postgres answers; verifying, 4s left`.
fn verifying_line(realm: &RealmEntry, now: WallTime, style: Style) -> String {
    let dots = if style.ascii { "..." } else { "…" };
    let left = realm.next.at.filter(|_| realm.next.action.is(NextAction::Verify)).map(|at| {
        let ms = at.as_millis().saturating_sub(now.as_millis()).max(0);
        format!(", {} s left", (ms + 999) / 1_000)
    });
    format!("{dots} {} answers; verifying{}", style.text(&realm.name), left.unwrap_or_default())
}

impl Step {
    fn word(&self) -> &'static str {
        match (self.start, self.in_place) {
            (_, Some(_)) => "restart",
            (true, None) => "start",
            (false, None) => "stop",
        }
    }

    fn is_done(&self, realm: &RealmEntry) -> bool {
        let younger = generation(realm) > self.generation;
        if self.start {
            if self.in_place.is_some_and(|before| realm.restarts.total <= before) {
                return false;
            }
            let up = matches!(status_of(realm), Status::Up | Status::Degraded | Status::Done);
            // It answers; whether it goes on doing so is verified beside the steps that wait for it.
            let answers = self.in_place.is_none() && younger && is_verifying(realm);
            return answers || (up && (younger || !self.after_stop));
        }
        younger || !realm.phase.known().is_some_and(Phase::may_have_process)
    }

    fn done_line(&self, realm: &RealmEntry, began: WallTime, now: WallTime, style: Style) -> String {
        let mark = style.paint(Hue::Ok, style.mark(Status::Done));
        let took = took(now.as_millis().saturating_sub(began.as_millis()));
        let word = self.word();
        let state = match self.start {
            true if is_verifying(realm) => "answers".to_owned(),
            true => style.text(&realm.status.to_string()),
            false => "stopped".to_owned(),
        };
        format!("{mark} {word} {}  {state} {took}", style.text(&self.realm))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;
    use heartbeat_wire::ActionStep;

    fn plan(steps: &[(u32, &str, Action)]) -> ActionDocument {
        ActionDocument {
            schema: "heartbeat.action/1".into(),
            action: Action::Restart.into(),
            realms: vec!["postgres".into()],
            dry_run: true,
            steps: steps
                .iter()
                .map(|(wave, realm, action)| ActionStep {
                    wave: *wave,
                    realm: (*realm).into(),
                    action: (*action).into(),
                    limit_s: Some(10.0),
                    until: None,
                })
                .collect(),
            effects: Vec::new(),
            breaks: vec!["api".into()],
            holds: Vec::new(),
            refusal: None,
            result: None,
            message: None,
        }
    }

    fn set(
        document: &mut StatusDocument,
        name: &str,
        status: Status,
        phase: Phase,
        generation: u64,
        ms: i64,
    ) {
        let realm = document.realms.iter_mut().find(|realm| realm.name == name).unwrap();
        realm.status = status.into();
        realm.phase = phase.into();
        realm.process.as_mut().unwrap().generation = generation;
        document.generated_at = WallTime::from_millis(document.generated_at.as_millis() + ms);
    }

    #[test]
    fn steps_come_true_in_the_order_of_the_plan() {
        let restart = plan(&[
            (1, "api", Action::Stop),
            (2, "postgres", Action::Stop),
            (3, "postgres", Action::Start),
            (4, "api", Action::Start),
        ]);
        assert_eq!(plan_limit_s(&restart), Some(40.0));
        let mut document = sample::calm();
        let mut tracker = Tracker::new(&restart, &document);
        let style = Style::default();
        assert!(tracker.observe(&document, style).is_empty(), "both still run");
        assert!(tracker.pending(&document, style).unwrap().starts_with("… stop api (up): "));
        set(&mut document, "api", Status::Restarting, Phase::Waiting, 2, 400);
        assert_eq!(tracker.observe(&document, style), ["✓ stop api  stopped after 400ms"]);
        set(&mut document, "postgres", Status::Restarting, Phase::Starting, 2, 2_000);
        assert_eq!(
            tracker.observe(&document, style),
            ["✓ stop postgres  stopped after 2.0s"],
            "already the next one"
        );
        set(&mut document, "postgres", Status::Restarting, Phase::Running, 2, 500);
        assert_eq!(
            tracker.observe(&document, style),
            ["✓ start postgres  answers after 500ms"],
            "its verification goes on beside the next step"
        );
        assert!(tracker.pending(&document, style).unwrap().starts_with("… start api (restarting)"));
        set(&mut document, "api", Status::Restarting, Phase::Running, 3, 300);
        assert_eq!(tracker.observe(&document, style), ["✓ start api  answers after 300ms"]);
        let now = document.generated_at;
        let api = document.realms.iter_mut().find(|realm| realm.name == "api").unwrap();
        api.next.action = NextAction::Verify.into();
        api.next.at = Some(WallTime::from_millis(now.as_millis() + 3_200));
        assert_eq!(tracker.pending(&document, style).as_deref(), Some("… api answers; verifying, 4 s left"));
        set(&mut document, "api", Status::Up, Phase::Running, 3, 0);
        set(&mut document, "postgres", Status::Up, Phase::Running, 2, 0);
        assert_eq!(tracker.pending(&document, style), None);
    }

    #[test]
    fn a_start_that_waits_for_what_is_no_step_of_it_says_for_what() {
        let style = Style::default();
        let start = plan(&[(1, "api", Action::Start)]);
        let tracker = Tracker::new(&start, &sample::outage());
        let blocked = tracker.blocked(&sample::outage(), &[], style).unwrap();
        assert_eq!(blocked.by, "postgres");
        let expected = "api waits for postgres, which is restarting: exit code 1 after 0.2 s, attempt 2 of 6";
        assert_eq!(blocked.line, expected);
        let both = plan(&[(1, "postgres", Action::Start), (2, "api", Action::Start)]);
        let tracker = Tracker::new(&both, &sample::outage());
        assert_eq!(tracker.blocked(&sample::outage(), &[], style), None, "the plan itself starts it");
        let mut failed = sample::outage();
        let postgres = failed.realms.iter_mut().find(|realm| realm.name == "postgres").unwrap();
        postgres.status = Status::Failed.into();
        assert!(tracker.blocked(&failed, &[], style).is_some(), "it could not");
        let nothing = Tracker::new(&plan(&[]), &sample::outage());
        let asked = ["api".to_owned()];
        assert_eq!(
            nothing.blocked(&sample::outage(), &asked, style).map(|blocked| blocked.by),
            Some(blocked.by)
        );
        assert_eq!(nothing.blocked(&sample::calm(), &asked, style), None);
    }

    #[test]
    fn a_restart_in_place_is_done_once_it_has_begun_and_the_realm_is_up() {
        let restart = plan(&[(1, "postgres", Action::Restart)]);
        let mut document = sample::calm();
        let mut tracker = Tracker::new(&restart, &document);
        let style = Style::default();
        assert!(tracker.observe(&document, style).is_empty(), "up before it is not up after it");
        assert!(tracker.pending(&document, style).unwrap().starts_with("… restart postgres (up): "));
        let realm = document.realms.iter_mut().find(|realm| realm.name == "postgres").unwrap();
        realm.restarts.total += 1;
        let generation = realm.process.as_ref().unwrap().generation;
        set(&mut document, "postgres", Status::Restarting, Phase::Running, generation, 100);
        assert!(tracker.observe(&document, style).is_empty());
        set(&mut document, "postgres", Status::Up, Phase::Running, generation, 900);
        assert_eq!(tracker.observe(&document, style), ["✓ restart postgres  up after 1.0s"]);
    }

    #[test]
    fn a_oneshot_is_done_and_answers_nothing() {
        let restart = plan(&[(1, "postgres", Action::Stop), (2, "postgres", Action::Start)]);
        let mut document = sample::calm();
        let mut tracker = Tracker::new(&restart, &document);
        let style = Style::default();
        let realm = document.realms.iter_mut().find(|realm| realm.name == "postgres").unwrap();
        realm.kind = RealmKind::Oneshot.into();
        set(&mut document, "postgres", Status::Restarting, Phase::Running, 9, 40);
        let lines = tracker.observe(&document, style);
        assert_eq!(lines, ["✓ stop postgres  stopped at once"], "no time is claimed that was not measured");
        assert!(tracker.pending(&document, style).unwrap().starts_with("… start postgres (restarting)"));
        set(&mut document, "postgres", Status::Done, Phase::Done, 9, 1_000);
        assert_eq!(tracker.observe(&document, style), ["✓ start postgres  done after 1.0s"]);
    }

    #[test]
    fn a_plan_shows_the_realms_that_break() {
        let lines = plan_lines(&plan(&[(1, "postgres", Action::Stop)]), Style::default());
        assert_eq!(lines, ["  1 stop    postgres  limit 10s", "    api keeps running without it"]);
        let mut open = plan(&[(1, "api", Action::Start)]);
        open.steps[0].limit_s = None;
        assert_eq!(plan_limit_s(&open), None);
    }
}
