//! Many who speak in one room, some who follow it, and a verdict on what was heard.

pub mod audience;
pub mod speakers;
pub mod verdict;
