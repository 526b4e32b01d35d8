//! The output: status, events, incidents and history for readers, the console, and notifications for receivers.

pub(crate) mod console_reporter;
pub(crate) mod dated;
pub(crate) mod evidence;
pub(crate) mod history_reader;
pub(crate) mod history_recorder;
pub(crate) mod incident_store;
pub(crate) mod incident_writer;
pub(crate) mod objectives;
pub(crate) mod otlp;
pub(crate) mod past;
pub(crate) mod receivers;
pub(crate) mod records;
pub(crate) mod report;
pub(crate) mod status_store;
pub(crate) mod trace;
pub(crate) mod trace_exporter;
