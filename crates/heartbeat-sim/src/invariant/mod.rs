//! What must hold after every step, one named function each. They speak of the world and the model, never of the
//! core's own variables.

mod effects;
mod incidents;
mod notifications;
mod probes;
mod realms;
mod restarts;
mod whole;

use heartbeat_status::{Event, Instant, RealmIx, RealmStatus, Snapshot};
use heartbeat_supervisor::{Effect, Plan};

use crate::reference::Reference;
use crate::world::World;

/// What an invariant may look at.
pub(crate) struct View<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) now: Instant,
    pub(crate) before: &'a Snapshot,
    pub(crate) after: &'a Snapshot,
    pub(crate) events: &'a [Event],
    pub(crate) effects: &'a [Effect],
    pub(crate) reference: &'a Reference,
    pub(crate) world: &'a World,
    /// The earliest timer after the step.
    pub(crate) timeout: Option<Instant>,
    /// The step let time pass.
    pub(crate) timed: bool,
}

/// How an invariant is broken, in words.
pub(crate) struct Breach(pub(crate) String);

type Verdict = Result<(), Breach>;
type OfEffect = fn(&View<'_>, &Effect) -> Verdict;
type OfStep = fn(&View<'_>) -> Verdict;

/// Every invariant of a single effect, before it is carried out.
pub(crate) const OF_EFFECTS: &[(&str, OfEffect)] = &[
    ("no_start_before_gates_hold", effects::no_start_before_gates_hold),
    ("no_second_copy", effects::no_second_copy),
    ("no_start_on_a_port_that_is_being_left", effects::no_start_on_a_port_that_is_being_left),
    ("min_gap_between_starts", effects::min_gap_between_starts),
    ("a_later_stop_wins", effects::a_later_stop_wins),
    ("no_signal_to_a_run_that_is_not_there", effects::no_signal_to_a_run_that_is_not_there),
    ("start_parallel_is_a_bound", effects::start_parallel_is_a_bound),
    ("stop_order_at_shutdown", effects::stop_order_at_shutdown),
    ("one_measurement_in_flight", effects::one_measurement_in_flight),
    ("commands_belong_to_a_current_run", effects::commands_belong_to_a_current_run),
    ("a_restart_command_is_the_only_one", effects::a_restart_command_is_the_only_one),
    ("halt_only_when_nothing_runs", effects::halt_only_when_nothing_runs),
];

/// Every invariant of a whole step.
pub(crate) const OF_STEPS: &[(&str, OfStep)] = &[
    ("every_status_says_why", realms::every_status_says_why),
    ("health_is_what_the_roles_say", probes::health_is_what_the_roles_say),
    ("a_failing_verdict_has_its_threshold", probes::a_failing_verdict_has_its_threshold),
    ("verdicts_are_what_was_answered", probes::verdicts_are_what_was_answered),
    ("what_is_stale_has_not_been_measured", probes::what_is_stale_has_not_been_measured),
    ("what_has_not_been_measured_is_stale", probes::what_has_not_been_measured_is_stale),
    ("a_restart_is_verified_after_verify_for", restarts::a_restart_is_verified_after_verify_for),
    ("green_is_recent", probes::green_is_recent),
    ("no_health_restart_while_a_need_is_broken", restarts::no_health_restart_while_a_need_is_broken),
    ("a_health_restart_has_fresh_evidence", restarts::a_health_restart_has_fresh_evidence),
    ("nothing_acts_on_a_paused_realm", restarts::nothing_acts_on_a_paused_realm),
    ("announced_actions_are_made", realms::announced_actions_are_made),
    ("pending_is_not_broken", realms::pending_is_not_broken),
    ("a_need_in_order_blocks_no_realm", realms::a_need_in_order_blocks_no_realm),
    ("health_restarts_are_bounded", restarts::health_restarts_are_bounded),
    ("incidents_open_once_and_end_once", incidents::incidents_open_once_and_end_once),
    ("no_incident_is_rooted_in_a_blocked_realm", incidents::no_incident_is_rooted_in_a_blocked_realm),
    ("incidents_have_the_right_severity_and_time", incidents::incidents_have_the_right_severity_and_time),
    ("incidents_end_on_evidence", incidents::incidents_end_on_evidence),
    ("a_crash_is_in_an_incident", incidents::a_crash_is_in_an_incident),
    ("every_realm_that_fails_is_in_an_incident", incidents::every_realm_that_fails_is_in_an_incident),
    ("one_disk_is_one_incident", incidents::one_disk_is_one_incident),
    ("an_incident_ends_as_its_words_say", incidents::an_incident_ends_as_its_words_say),
    ("opened_names_who_is_affected", incidents::opened_names_who_is_affected),
    ("an_update_has_news", incidents::an_update_has_news),
    ("desired_is_what_was_wanted", realms::desired_is_what_was_wanted),
    ("phases_agree_with_processes", realms::phases_agree_with_processes),
    ("nothing_is_up_before_its_daemon_is_known", realms::nothing_is_up_before_its_daemon_is_known),
    ("revision_is_monotone_and_told", whole::revision_is_monotone_and_told),
    ("no_realm_is_up_before_it_reports_ready", notifications::no_realm_is_up_before_it_reports_ready),
    ("no_beat_is_missed_that_was_heard_in_time", notifications::no_beat_is_missed_that_was_heard_in_time),
    (
        "no_start_is_given_up_before_the_time_it_asked_for",
        notifications::no_start_is_given_up_before_the_time_it_asked_for,
    ),
    ("no_timer_in_the_past", whole::no_timer_in_the_past),
    ("replies_are_due", whole::replies_are_due),
    ("nothing_runs_once_halted", whole::nothing_runs_once_halted),
    ("shutdown_is_bounded", whole::shutdown_is_bounded),
];

fn fail(condition: bool, words: impl FnOnce() -> String) -> Verdict {
    if condition { Err(Breach(words())) } else { Ok(()) }
}

fn status(snapshot: &Snapshot, realm: RealmIx) -> Option<&RealmStatus> {
    snapshot.realm(realm).map(|status| &**status)
}
