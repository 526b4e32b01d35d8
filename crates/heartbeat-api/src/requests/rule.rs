//! The fixed properties of a route: its methods, its role, and its parameters.

use crate::requests::role::Role;

/// The methods of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verbs {
    /// GET, and HEAD as GET.
    Get,
    /// POST, with a body.
    Post,
    /// PUT and DELETE.
    PutDelete,
}

impl Verbs {
    pub(crate) fn allow(self) -> &'static str {
        match self {
            Self::Get => "GET, HEAD",
            Self::Post => "POST",
            Self::PutDelete => "PUT, DELETE",
        }
    }

    pub(crate) fn take(self, method: &http::Method) -> bool {
        self.allow().split(", ").any(|verb| verb == method.as_str())
    }
}

/// The fixed properties of a route.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rule {
    /// The path as the contract writes it.
    pub(crate) name: &'static str,
    pub(crate) verbs: Verbs,
    /// The lowest role that the route accepts.
    pub(crate) takes: Role,
    /// Served on loopback TCP without a token.
    pub(crate) on_tcp: bool,
    /// Names that its query may have.
    pub(crate) query: &'static [&'static str],
    /// The route ignores any other name: monitors add numbers of their own to defeat caches.
    pub(crate) any_query: bool,
}

pub(crate) const fn read(name: &'static str) -> Rule {
    Rule { name, verbs: Verbs::Get, takes: Role::Read, on_tcp: true, query: &[], any_query: false }
}

pub(crate) const fn health(name: &'static str) -> Rule {
    Rule { any_query: true, ..read(name) }
}

pub(crate) const fn status(name: &'static str) -> Rule {
    Rule { query: &["refresh", "gate", "fields", "since", "wait"], ..read(name) }
}

pub(crate) const fn operate(name: &'static str) -> Rule {
    Rule { verbs: Verbs::Post, takes: Role::Operate, on_tcp: false, ..read(name) }
}

pub(crate) const fn administer(name: &'static str) -> Rule {
    Rule { takes: Role::Admin, ..operate(name) }
}
