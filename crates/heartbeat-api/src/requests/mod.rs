//! Requests: routes with their rules, who asks, the query and the body.

pub(crate) mod access;
pub(crate) mod body;
pub(crate) mod query;
pub(crate) mod role;
pub(crate) mod route;
pub(crate) mod rule;
pub(crate) mod suggestions;
pub(crate) mod token;
