"""What an official client does with an account: official.py URL TOKEN"""

import sys
import time

from azure.core.exceptions import HttpResponseError
from pydo import Client

url, token = sys.argv[1].rstrip("/"), sys.argv[2]
client = Client(token=token, endpoint=url)


def refused(call, status, text):
    try:
        answer = call()
    except HttpResponseError as error:
        assert error.status_code == status and text in str(error), error
    else:
        # Documented refusals come back as their bodies.
        assert text in str(answer), answer


def until(look):
    for _ in range(500):
        found = look()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError("never came")


assert client.account.get()["account"]["status"] == "active"
assert client.sizes.list(per_page=200)["sizes"] and client.regions.list()["regions"]
assert client.images.list(type="distribution")["images"] and client.ssh_keys.list()["ssh_keys"] == []
assert client.vpcs.list()["vpcs"][0]["default"]

assert client.tags.create({"name": "a:b"})["tag"]["resources"]["count"] == 0
refused(lambda: client.tags.create({"name": "a b"}), 400, "invalid characters")

body = {"region": "fra1", "size": "s-1vcpu-1gb", "image": "ubuntu-24-04-x64"}
created = client.droplets.create({"name": "web-1", "tags": ["a:b"], "ipv6": True, **body})
several = client.droplets.create({"names": ["web-2", "web-3"], **body})["droplets"]
droplet = created["droplet"]["id"]
assert created["links"]["actions"][0]["href"].startswith(url)
refused(lambda: client.droplets.create({"name": "web_1!", **body}), 422, "hostname characters")
active = until(lambda: [d for d in [client.droplets.get(droplet)["droplet"]] if d["status"] == "active"])[0]
assert {network["type"] for network in active["networks"]["v4"]} == {"public", "private"}
assert client.actions.get(created["links"]["actions"][0]["id"])["action"]["status"] == "completed"
assert [d["id"] for d in client.droplets.list(tag_name="a:b")["droplets"]] == [droplet]
assert client.droplets.list(per_page=2)["links"]["pages"]["next"].startswith(url)


def act(order):
    action = client.droplet_actions.post(droplet, order)["action"]
    assert action["status"] == "in-progress", action
    until(lambda: client.droplet_actions.get(droplet, action["id"])["action"]["status"] == "completed")
    return client.droplets.get(droplet)["droplet"]


assert act({"type": "power_off"})["status"] == "off"
assert act({"type": "resize", "size": "s-2vcpu-2gb", "disk": False})["size_slug"] == "s-2vcpu-2gb"
assert act({"type": "power_on"})["status"] == "active"

anywhere = {"addresses": ["0.0.0.0/0", "::/0"]}
ssh = {"protocol": "tcp", "ports": "22", "sources": {**anywhere, "tags": ["a:b"]}}
more = {"inbound_rules": [{"protocol": "tcp", "ports": "8000-9000", "sources": anywhere}]}
rules = {
    "inbound_rules": [ssh, {"protocol": "icmp", "ports": "", "sources": anywhere}],
    "outbound_rules": [{"protocol": "tcp", "ports": "all", "destinations": anywhere}],
}
firewall = client.firewalls.create({"name": "fw", "tags": ["a:b"], "droplet_ids": None, **rules})["firewall"]
assert firewall["status"] == "waiting" and firewall["pending_changes"][0]["droplet_id"] == droplet, firewall
refused(lambda: client.firewalls.create({"name": "fw", **rules}), 409, "duplicate name")
firewall = firewall["id"]
until(lambda: client.firewalls.get(firewall)["firewall"]["status"] == "succeeded")
assert client.droplets.list_firewalls(droplet)["meta"]["total"] == 1
for add, remove, part in [
    (client.firewalls.assign_droplets, client.firewalls.delete_droplets, {"droplet_ids": [droplet]}),
    (client.firewalls.add_tags, client.firewalls.delete_tags, {"tags": ["a:b"]}),
    (client.firewalls.add_rules, client.firewalls.delete_rules, more),
]:
    add(firewall, part)
    remove(firewall, part)
assert client.firewalls.update(firewall, {"name": "fw2", **rules})["firewall"]["tags"] == []
client.firewalls.delete(firewall)
refused(lambda: client.firewalls.get(firewall), 404, "not_found")

tagged = {"resources": [{"resource_id": str(several[0]["id"]), "resource_type": "droplet"}]}
client.tags.assign_resources("a:b", tagged)
assert client.tags.get("a:b")["tag"]["resources"]["droplets"]["count"] == 2
client.tags.unassign_resources("a:b", tagged)

urns = {"resources": [f"do:droplet:{droplet}", "do:droplet:1"]}
project = client.projects.get_default()["project"]["id"]
assert [r["status"] for r in client.projects.assign_resources(project, urns)["resources"]] == ["assigned", "not_found"]
assert client.projects.list_resources(project)["meta"]["total"] == 3

client.droplets.destroy(several[0]["id"])
client.droplets.destroy_by_tag(tag_name="a:b")
client.tags.delete("a:b")
until(lambda: client.droplets.list()["meta"]["total"] == 1)
refused(lambda: client.droplets.get(droplet), 404, "not_found")
refused(lambda: Client(token="another", endpoint=url).account.get(), 401, "Unable to authenticate you.")
