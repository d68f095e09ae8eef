//! The unit by which systemd starts init on a host where systemd is the first process.

use std::path::Path;

/// Its text, for programs in this folder.
pub(super) fn text(programs: &Path) -> String {
    let programs = programs.display();
    format!(
        "\
[Unit]
Description=Apps, their proxy, and the jobs that they are
Documentation=man:bootctl(8)
After=network.target local-fs.target
StartLimitIntervalSec=0

[Service]
Type=exec
ExecStart={programs}/init --boot-exit respawn -- {programs}/bootctl boot
ExecReload={programs}/bootctl reload
# init ends all jobs in order, and what was detached from it is to live on.
KillMode=process
TimeoutStopSec=90s
Restart=always
RestartSec=1s
# Below its control group init makes one for each job.
Delegate=yes
OOMPolicy=continue
TasksMax=infinity
LimitNOFILE=1048576

[Install]
WantedBy=multi-user.target
"
    )
}
