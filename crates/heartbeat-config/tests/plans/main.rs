//! What a configuration becomes: layers and files, and what one realm is made of.

mod loading;
mod reading;
mod realms;
