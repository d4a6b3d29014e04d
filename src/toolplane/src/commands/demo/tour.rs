//! How to look around, while it stays up.

use super::{parts::Parts, rows::Account};

/// Prints commands that work as they stand.
pub(super) fn print(parts: &Parts, account: &Account) {
    let us = parts.program().display();
    let configuration = parts.configuration().display().to_string();
    let database = parts.database_file().display();
    let environment = account.environment.id;
    let docker = parts.engine().map(|engine| engine.host().to_owned()).unwrap_or_default();
    let dashboard = parts
        .dashboard()
        .map(|address| format!("  http://{address}/\n\n"))
        .unwrap_or_default();
    let logs = parts.folder().logs();
    println!(
        "\
Look around:

{dashboard}  export TOOLPLANE_CONFIG={configuration}
  {us} get environments --watch
  {us} get instances -o wide
  {us} describe environment {environment}
  {us} events --watch
  {us} plan
  {us} doctor

  psql \"$(cat {database})\" -c \"update account_tool_instances set version_to_run = '1.1.0'\"
  psql \"$(cat {database})\" -c \"update account_tool_environments set desired_state = 'deleted' where id = '{environment}'\"

  docker --host {docker} ps --filter label=io.toolplane.environment={environment}
  tail -f {logs}/serve.log

Ctrl-C ends it all.",
        logs = logs.display()
    );
}
