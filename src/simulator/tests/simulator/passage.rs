//! Would this connection be let in: by the firewalls in force at that moment, and by nothing else.

use crate::bed::{Bed, plain};
use digitalocean::{FirewallSpec, FirewallStatus, InboundRule, Peers, Ports, Protocol, Resource};
use serde_json::{Value, json};
use simulator::{Connection, Passage};
use std::net::IpAddr;

fn rule(ports: Ports, sources: Peers) -> InboundRule {
    InboundRule {
        protocol: Protocol::Tcp,
        ports,
        sources,
    }
}

fn addresses(addresses: &[&str]) -> Peers {
    Peers {
        addresses: addresses.iter().map(|address| (*address).to_owned()).collect(),
        ..Peers::default()
    }
}

fn spec(name: &str, tags: &[&str], rules: Vec<InboundRule>) -> FirewallSpec {
    FirewallSpec {
        name: name.to_owned(),
        inbound_rules: rules,
        tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        ..FirewallSpec::default()
    }
}

fn ask(bed: &Bed, droplet: u64, port: u16, from: &str) -> Passage {
    let connection = Connection {
        droplet,
        port,
        protocol: simulator::Protocol::Tcp,
        from: from.parse().unwrap(),
    };
    bed.simulator.connection(&connection).unwrap()
}

async fn in_force(bed: &Bed, id: &str) {
    bed.until("in force", async || {
        let firewall = bed.client.firewall_get(id).await.unwrap();
        (firewall.status == FirewallStatus::Succeeded).then_some(())
    })
    .await;
}

#[tokio::test]
async fn without_a_firewall_everything_is_let_in_and_with_one_what_a_rule_names() {
    let bed = Bed::new().await;
    let droplet = bed.active(&plain("one", &["web"])).await.id;
    let open = ask(&bed, droplet, 4_711, "198.51.100.7");
    assert_eq!((open.let_in, open.by, open.in_force.len()), (true, None, 0));

    let rules = vec![
        rule(Ports::One(22), addresses(&["198.51.100.7"])),
        rule(Ports::Range(8_000, 8_010), addresses(&["10.0.0.0/8", "2001:db8::/32"])),
    ];
    let id = bed.client.firewall_create(&spec("fw", &["web"], rules)).await.unwrap().id;
    in_force(&bed, &id).await;
    for (port, from, let_in) in [
        (22, "198.51.100.7", true),
        (22, "198.51.100.8", false),
        (23, "198.51.100.7", false),
        (8_000, "10.9.8.7", true),
        (8_010, "2001:db8::1", true),
        (8_011, "10.9.8.7", false),
        (8_005, "11.0.0.1", false),
    ] {
        assert_eq!(ask(&bed, droplet, port, from).let_in, let_in, "{port} from {from}");
    }
    assert_eq!(ask(&bed, droplet, 22, "198.51.100.7").by.as_deref(), Some("fw"));
    let path = |protocol: &str| format!("/simulator/connection?droplet={droplet}&port=22&protocol={protocol}&from=198.51.100.7");
    assert_eq!(
        bed.get(&path("tcp")).await,
        json!({"let_in": true, "by": "fw", "in_force": ["fw"]})
    );
    assert_eq!(bed.get(&path("udp")).await["let_in"], false, "another protocol");
    assert_eq!(bed.get(&path("icmp")).await["let_in"], false);
    let nobody = "/simulator/connection?droplet=1&port=22&protocol=tcp&from=198.51.100.7";
    assert_eq!(bed.ask("GET", nobody, Value::Null).await.status, 404);
}

#[tokio::test]
async fn a_change_that_is_still_on_its_way_counts_as_the_old_rules() {
    let bed = Bed::new().await;
    let droplet = bed.active(&plain("one", &["web"])).await.id;
    let only = |port| spec("fw", &["web"], vec![rule(Ports::One(port), addresses(&["0.0.0.0/0"]))]);
    let id = bed.client.firewall_create(&only(80)).await.unwrap().id;
    in_force(&bed, &id).await;
    let let_in = |port| ask(&bed, droplet, port, "198.51.100.7").let_in;

    bed.simulator.configure(|settings| settings.firewall_ms = 600_000);
    bed.client.firewall_update(&id, &only(443)).await.unwrap();
    assert_eq!((let_in(80), let_in(443)), (true, false), "not there yet");
    // A later change brings those before it along.
    bed.simulator.configure(|settings| settings.firewall_ms = 20);
    bed.client.firewall_update(&id, &only(444)).await.unwrap();
    bed.until("the last change", async || let_in(444).then_some(())).await;
    assert_eq!((let_in(80), let_in(443)), (false, false));

    bed.simulator.configure(|settings| settings.firewall_ms = 600_000);
    bed.client.firewall_delete(&id).await.unwrap();
    assert!(bed.client.firewall_get(&id).await.unwrap_err().is_not_found());
    assert_eq!((let_in(444), let_in(80)), (true, false), "a deleted firewall lingers");
}

#[tokio::test]
async fn a_firewall_reaches_droplets_by_tag_and_leaves_them_with_it() {
    let bed = Bed::new().await;
    bed.client.tag_create("web").await.unwrap();
    let rules = vec![rule(Ports::One(22), addresses(&["203.0.113.1"]))];
    let id = bed.client.firewall_create(&spec("fw", &["web"], rules)).await.unwrap().id;
    in_force(&bed, &id).await;
    let droplet = bed.active(&plain("one", &["web"])).await.id;
    bed.until("reached", async || {
        (!ask(&bed, droplet, 80, "198.51.100.7").let_in).then_some(())
    })
    .await;
    bed.client
        .tag_resources_remove("web", &[Resource::droplet(droplet)])
        .await
        .unwrap();
    bed.until("left", async || ask(&bed, droplet, 80, "198.51.100.7").let_in.then_some(()))
        .await;
}

#[tokio::test]
async fn sources_are_droplets_and_tags_too() {
    let bed = Bed::new().await;
    let target = bed.active(&plain("target", &["db"])).await.id;
    let (friend, stranger) = (
        bed.active(&plain("friend", &["app"])).await,
        bed.active(&plain("stranger", &[])).await,
    );
    let named = Peers {
        droplet_ids: vec![friend.id],
        ..Peers::default()
    };
    let tagged = Peers {
        tags: vec!["app".to_owned()],
        ..Peers::default()
    };
    let rules = vec![rule(Ports::One(5_432), named), rule(Ports::One(5_433), tagged)];
    let id = bed.client.firewall_create(&spec("fw", &["db"], rules)).await.unwrap().id;
    in_force(&bed, &id).await;
    let address = |droplet: &digitalocean::Droplet| IpAddr::V4(droplet.public_ipv4().unwrap()).to_string();
    for port in [5_432, 5_433] {
        assert!(ask(&bed, target, port, &address(&friend)).let_in, "{port}");
        assert!(!ask(&bed, target, port, &address(&stranger)).let_in, "{port}");
    }
}

#[tokio::test]
async fn droplets_are_active_without_an_agent_where_none_is_wanted() {
    let bed = Bed::with(|config| config.settings.boot_agents = false).await;
    let mut create = plain("one", &[]);
    create.user_data = Some("#cloud-config\nwrite_files: []\n".into());
    let droplet = bed.active(&create).await;
    assert!(droplet.public_ipv4().is_some());
    assert_eq!(bed.simulator.droplets()[0].agent_pid, None);
    assert_eq!(bed.simulator.console(droplet.id), None, "it never booted");
    assert!(!bed.folder.path().join("state/droplets").exists(), "and has no disk");
}
