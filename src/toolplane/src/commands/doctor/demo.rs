//! What `toolplane demo` needs of this machine.

use super::{Finding, Report};
use workbench::{children::find_program, engine};

pub(super) async fn run(report: &mut Report) {
    report.add("docker engine", &docker_engine().await);
    for (part, program, package) in [
        ("docker command", "docker", "docker.io"),
        ("image registry", "docker-registry", "docker-registry"),
        ("setpriv, unshare", "unshare", "util-linux"),
    ] {
        let finding = match find_program(program, &format!("on Debian: `apt install {package}`")) {
            Ok(path) => Finding::Ok(path.display().to_string()),
            Err(error) => Finding::failed(format!("`{program}` is not installed"), remedy(&error)),
        };
        report.add(part, &finding);
    }
    report.add("postgresql", &postgresql());
}

fn remedy(error: &workbench::Error) -> String {
    match error {
        workbench::Error::ProgramMissing { remedy, .. } => remedy.clone(),
        other => other.to_string(),
    }
}

/// The user's engine, or what it takes to start one.
async fn docker_engine() -> Finding {
    let mut hosts: Vec<String> = std::env::var("DOCKER_HOST")
        .into_iter()
        .filter(|host| !host.is_empty())
        .collect();
    hosts.push(engine::SYSTEM_SOCKET.to_owned());
    for host in &hosts {
        if engine::ping(host).await.is_ok() {
            return Finding::Ok(format!("answers on {host}"));
        }
    }
    let silent = format!("none answers on {}", hosts.join(" or "));
    let remedy = "on Debian: `apt install docker.io` and `systemctl start docker`; as root the demo starts one of its own";
    match find_program("dockerd", "") {
        Ok(_) if nix::unistd::Uid::effective().is_root() => Finding::Ok(format!("{silent}; the demo starts one of its own")),
        Ok(_) | Err(_) => Finding::failed(silent, remedy),
    }
}

fn postgresql() -> Finding {
    match cluster::installed_in() {
        Ok(folder) => Finding::Ok(folder.display().to_string()),
        Err(error) => Finding::failed(error.to_string(), "on Debian: `apt install postgresql`"),
    }
}
