//! The laws of the architecture, as functions over source text.
//!
//! # What it is
//! Each law is a function that takes what it judges as an argument and returns what breaks it. `tests/laws.rs`
//! applies them to the workspace, and to planted violations, so that a law that cannot fail is noticed.
//!
//! # What it is not
//! A style guide: what rustfmt and clippy can say, they say.
//!
//! # How to use it
//! ```
//! use heartbeat_tests::{Manifest, import_violations};
//!
//! let manifest = Manifest { name: "heartbeat-graph".into(), dependencies: vec!["heartbeat-restart".into()] };
//! assert_eq!(import_violations(&[manifest]), ["heartbeat-graph (layer 2) imports heartbeat-restart (layer 2)"]);
//! ```

mod circles;
mod manifest;
mod meaning;
mod planted;
mod rooms;
mod source;

pub use circles::{circle_violations, closed_structs, lonely_exports};
pub use manifest::{Manifest, external_violations, import_violations, unused_dependencies, workspace_root};
pub use meaning::{repeated_facts, repeated_places, sentence_violations, stub_variants, wire_violations};
pub use planted::{Area, Bug, areas, misplaced};
pub use rooms::{former_name_violations, short_comment_violations, text_error_violations};
pub use source::{
    File, ban_list_violations, child_violations, clock_violations, escape_violations, name_violations,
    other_texts, serde_violations, sources, tidy_violations, unbounded_violations, unit_violations,
    unsafe_violations,
};
