//! The program `bootctl`.
#![forbid(unsafe_code)]
#![allow(dead_code)]

mod app;
mod config;
mod health;
mod name;
mod plan;

fn main() {}
