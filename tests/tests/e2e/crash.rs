//! Parts die in the middle of things; at the end there is exactly one droplet an environment all the same.

use e2e::{World, eventually, mute_proxy::MuteProxy};
use rand::Rng;
use std::time::Duration;

const ENVIRONMENTS: usize = 5;
const KILLS: usize = 10;

/// `toolplane serve` is killed with SIGKILL at ten random moments while five environments are created.
pub(crate) async fn ten_sigkills_while_five_environments_are_created(mut world: World) {
    world.start().await;
    let environments = insert_environments(&world).await;
    for _ in 0..KILLS {
        let moment = rand::rng().random_range(50..1_500);
        tokio::time::sleep(Duration::from_millis(moment)).await;
        world.control_plane.kill();
        world.control_plane.start();
    }
    world.control_plane.ready().await;
    all_active_with_one_droplet_each(&world, &environments).await;
}

/// The database is restarted twice while five environments are created.
pub(crate) async fn database_restarts_while_five_environments_are_created(mut world: World) {
    world.own_cluster().await;
    world.start().await;
    let environments = insert_environments(&world).await;
    for _ in 0..2 {
        let moment = rand::rng().random_range(300..1_500);
        tokio::time::sleep(Duration::from_millis(moment)).await;
        world.restart_database().await;
    }
    all_active_with_one_droplet_each(&world, &environments).await;
}

/// Not one notification is delivered after the start; resyncs alone converge.
pub(crate) async fn without_notifications_resync_converges(mut world: World) {
    let proxy = MuteProxy::start(world.database_address()).await.expect("a loopback port");
    world.connect_through(proxy.address);
    world.set("TOOLPLANE_RESYNC_SECONDS", "2");
    world.start().await;
    proxy.mute();
    let environment = world.rows.insert_environment().await;
    let instance = world.rows.insert_instance(&environment, "Reasoning", "1.0.0").await;
    world.rows.until_environment(&environment, "active").await;
    world.rows.until_instance(&instance, "running").await;
    assert!(proxy.swallowed() > 0, "there were notifications to swallow");
}

async fn insert_environments(world: &World) -> Vec<String> {
    let mut environments = Vec::new();
    for _ in 0..ENVIRONMENTS {
        environments.push(world.rows.insert_environment().await);
    }
    environments
}

async fn all_active_with_one_droplet_each(world: &World, environments: &[String]) {
    for environment in environments {
        world.rows.until_environment(environment, "active").await;
    }
    eventually("exactly five droplets", || async move {
        let droplets = world.all_droplets().await;
        if droplets.len() == environments.len() {
            Ok(())
        } else {
            Err(droplets)
        }
    })
    .await;
    assert_eq!(world.twins(), []);
    for environment in environments {
        let droplets = world.droplets(environment).await;
        assert_eq!(droplets.len(), 1, "{environment}: {droplets:?}");
        assert_eq!(droplets[0]["status"], "active");
        assert_eq!(droplets[0]["id"], world.rows.environment(environment).await["do_droplet_id"]);
    }
}
