//! What a configuration becomes: layers and files, and what one realm is made of.

mod defaults;
mod environment;
mod files;
mod habits;
mod identity;
mod limits;
mod loading;
mod local;
mod merging;
mod push;
mod readiness;
mod reading;
mod realms;
mod registering;
mod senseless;
mod whole_tables;
