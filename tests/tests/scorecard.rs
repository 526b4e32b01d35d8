//! The scorecard: each feature that the project promises to people, and the tests that show it.

use heartbeat_tests::sources;

/// Row of the scorecard, what it says, and the tests that fail when it is not so.
const ROWS: &[(u8, &str, &[&str])] = &[
    (
        1,
        "useful within 60 s, offline, without a file",
        &["a_hang_shows_detection_blocked_dependents_verification_and_recovery"],
    ),
    (
        2,
        "two programs: no account, no database, no connection to anywhere",
        &["nothing_connects_to_anywhere_but_this_machine"],
    ),
    (3, "a realm takes at most three keys", &["six_realms_take_at_most_forty_lines"]),
    (4, "the configuration is a file", &["the_contracts_example_becomes_the_expected_plan"]),
    (
        5,
        "an unknown key is an error",
        &["no_typo_of_a_key_is_accepted", "no_key_is_taken_that_is_not_in_the_table"],
    ),
    (
        6,
        "all errors in one run",
        &["twenty_mistakes_are_found_in_one_run", "every_error_is_reported_in_one_run"],
    ),
    (
        7,
        "line, column and caret",
        &["every_diagnostic_looks_as_its_sample", "every_diagnostic_has_a_place_and_a_way_out"],
    ),
    (
        8,
        "a suggestion within a bounded distance",
        &["a_typo_of_a_key_is_led_back_to_it", "near_words_are_found_and_far_ones_are_not"],
    ),
    (
        9,
        "an offline check with annotations for CI",
        &["a_wrong_configuration_is_told_in_full", "the_other_formats_say_the_same_on_one_line_each"],
    ),
    (
        10,
        "a JSON Schema for editors",
        &["the_schema_says_what_a_key_means", "a_validator_takes_what_loads_and_refuses_what_does_not"],
    ),
    (
        11,
        "import from seven tools, with a report",
        &[
            "what_becomes_of_ten_files_of_each_tool_is_written_down_and_loads",
            "no_setting_is_lost_in_silence",
        ],
    ),
    (
        12,
        "a reload applies a difference, and nothing on an error",
        &["a_reload_applies_a_diff_and_nothing_untouched_moves"],
    ),
    (
        13,
        "status says why, since when, and what comes next",
        &["why_and_next_are_there_for_everything_that_is_not_fine_at_any_width"],
    ),
    (
        14,
        "a command names the root cause",
        &["the_root_of_a_fault_is_the_realm_that_was_broken", "the_chain_ends_at_the_root_even_in_a_ring"],
    ),
    (
        15,
        "the graph as text, Mermaid and dot",
        &["the_graph_comes_in_three_forms", "a_long_chain_neither_overflows_the_stack_nor_the_screen"],
    ),
    (16, "the graph in the browser, with the root marked", &["the_page_draws_the_graph_and_rings_the_root"]),
    (
        17,
        "a plan of a restart and of a failure",
        &["what_is_planned_is_done_in_that_order", "a_plan_shows_the_realms_that_break"],
    ),
    (
        18,
        "dependents are restarted only when that is asked for",
        &["stop_start_and_restart_do_what_they_say"],
    ),
    (
        19,
        "wait: deadline, realms not yet known, oneshots, failures at once",
        &[
            "every_answer_has_its_exit_code",
            "what_is_not_known_yet_is_waited_for",
            "everything_desired_holds_or_is_listed_with_its_reason",
        ],
    ),
    (
        20,
        "exit codes that do not depend on the format",
        &[
            "the_exit_code_does_not_depend_on_the_form_and_json_is_one_document",
            "exit_codes_are_the_same_in_every_format",
        ],
    ),
    (21, "versioned JSON, and nothing else on stdout", &["every_command_with_json_prints_json_alone"]),
    (
        22,
        "a table that fits, and says what it hides",
        &["screens_are_the_committed_ones", "what_is_hidden_is_said_and_what_is_shown_is_not"],
    ),
    (
        23,
        "NO_COLOR, ASCII, plain",
        &["off_a_terminal_the_table_is_plain_and_names_why", "ascii_is_ascii", "colour_is_only_added"],
    ),
    (24, "a live view that writes only what has changed", &["one_change_of_forty_realms_is_less_than_2_kb"]),
    (
        25,
        "logs: merged, followed, of the run before",
        &[
            "what_a_realm_has_written_is_shown_by_generation",
            "a_follower_misses_nothing_over_rotations_and_the_death_of_heartbeatd",
        ],
    ),
    (
        26,
        "where the time of a start went",
        &["the_chain_follows_the_need_that_was_ready_last", "boot_agrees_with_the_event_log"],
    ),
    (27, "an incident has its dependents in it", &["the_loss_of_a_host_is_one_incident"]),
    (
        37,
        "a pause with a reason and an end",
        &["nothing_acts_on_a_paused_realm_and_it_starts_when_it_is_resumed"],
    ),
    (
        39,
        "manual pages, completions with live names, generated pages",
        &[
            "the_pages_in_the_repository_are_these",
            "the_manual_page_in_the_repository_is_this_command_line",
            "the_reference_page_is_the_help_of_every_command",
            "completions_have_the_names_of_realms",
        ],
    ),
    (
        40,
        "examples in documentation are run or checked",
        &[
            "every_configuration_in_the_documentation_loads",
            "every_command_in_documentation_is_one_that_the_program_takes",
            "a_newcomer_moves_from_three_tools",
        ],
    ),
];

#[test]
fn every_row_is_shown_by_tests_that_are_there() {
    let sources = sources();
    let is_lost = |name: &&&str| {
        let definition = format!("fn {name}(");
        !sources.iter().any(|file| file.text.contains(&definition))
    };
    for (row, feature, tests) in ROWS {
        assert!(!tests.is_empty(), "{row}");
        let missing: Vec<&&str> = tests.iter().filter(is_lost).collect();
        assert!(missing.is_empty(), "row {row} ({feature}): {missing:?}");
    }
    let rows: Vec<u8> = ROWS.iter().map(|(row, ..)| *row).collect();
    assert_eq!(rows, (1..=27).chain([37, 39, 40]).collect::<Vec<u8>>());
}
