//! What the system tests drive the real binaries with.

pub mod binaries;
pub mod bootctl;
pub mod calls;
pub mod cost;
pub mod crash;
pub mod deploys;
pub mod fates;
pub mod fault;
pub mod http;
pub mod image;
pub mod init;
pub mod keys;
pub mod load;
pub mod machine;
pub mod outside;
pub mod over_tls;
pub mod proxyd;
pub mod pty;
pub mod random;
pub mod remote;
pub mod serves;
pub mod streams;
pub mod tmux;
pub mod tools;
pub mod wait;
