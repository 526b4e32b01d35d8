//! One file per document or command of the contract. A handler asks the backend and makes the answer.

pub(crate) mod action;
pub(crate) mod beat;
pub(crate) mod departure;
pub(crate) mod events;
pub(crate) mod graph;
pub(crate) mod health;
pub(crate) mod history;
pub(crate) mod impact;
pub(crate) mod incidents;
pub(crate) mod logs;
pub(crate) mod metrics;
pub(crate) mod notifying;
pub(crate) mod registering;
pub(crate) mod reload;
pub(crate) mod report;
pub(crate) mod status;
pub(crate) mod waiting;
