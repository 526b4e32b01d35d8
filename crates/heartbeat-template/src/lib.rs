//! Templates of notifications: a part of Jinja2 whose work and output are bounded.
//!
//! # What it is
//! [`Template`] words the message of a receiver from the fields of the incident document. `heartbeat-config` reads a
//! template with it, so that a mistake is an error of the configuration; `heartbeat-notify` renders with it.
//!
//! minijinja renders, and counts its work as fuel. It does not count the items of a list that a template itself makes
//! longer or nests into itself, so the language here has no way to make one ([`TemplateError::NotAllowed`]): every list is
//! one of the document, one of constants, or one that a filter has made and paid for.
//!
//! # What it is not
//! It neither opens a file nor sends anything.
//!
//! ```
//! use heartbeat_template::{Template, TemplateError};
//!
//! assert!(Template::new("{{ root }} {{ event }}: {{ message }}").is_ok());
//! let error = Template::new("{{ [root] * 100000000 }}").unwrap_err();
//! assert!(matches!(error, TemplateError::NotAllowed { line: 1, .. }));
//! ```

mod error;
mod language;
mod message;
mod sample;
mod template;

pub use error::TemplateError;
pub use language::{FILTERS, TESTS};
pub use message::MAX_MESSAGE_BYTES;
pub use template::{MAX_STEPS, Template};
