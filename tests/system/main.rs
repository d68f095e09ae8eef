//! The system tests: they drive the real binaries, and are named after what they prove.

mod api_md;
mod bootctl_adopt;
mod bootctl_apps;
mod bootctl_config;
mod bootctl_socket;
mod bootctl_wind_down;
mod images_demo;
mod images_oci;
mod images_vm;
mod init_access;
mod init_api;
mod init_attack;
mod init_end;
mod init_entrypoint;
mod init_hostile;
mod init_listen;
mod init_orphans;
mod init_spawn;
mod init_tty;
mod proxyd_bodies;
mod proxyd_control;
mod proxyd_failures;
mod proxyd_framing;
mod proxyd_hostile;
mod proxyd_lifecycle;
mod proxyd_requests;
