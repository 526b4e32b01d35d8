//! Answers: documents, problems, shared bodies and streams.

pub(crate) mod answer;
pub(crate) mod bodies;
pub(crate) mod document;
pub(crate) mod feed;
pub(crate) mod gzip;
pub(crate) mod openmetrics;
pub(crate) mod pieces;
pub(crate) mod problem;
