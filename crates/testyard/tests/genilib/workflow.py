"""The life of a slice as a geni-lib user drives it, against a running Testyard.

geni-lib's own AM API v3 calls are used where it has working ones (Allocate, Provision, PerformOperationalAction, Delete;
GetVersion of its v2 module, since that of its v3 module fails before it sends anything); for those that it lacks
(ListResources, Status, Describe, Renew) its own transport. Requests are made and
manifests and advertisements read with geni-lib's classes.

Arguments: URL, certificate, key, server CA, slice URN, slice credential, user URN, SSH public key file, SSH private key file.
"""

import json
import subprocess
import sys
import time
from datetime import datetime, timedelta, timezone

from six.moves import xmlrpc_client

from geni.minigcf import amapi2, amapi3
from geni.minigcf.util import _rpcpost
from geni.rspec import pg, pgad, pgmanifest

URL, CERT, KEY, CA, SLICE, CREDENTIAL, USER, PUBLIC, PRIVATE = sys.argv[1:10]
RSPEC = {"type": "geni", "version": "3"}


class Credential:
    path, type, version = CREDENTIAL, "geni_sfa", "3"


CREDS = [Credential()]


def call(method, *arguments):
    """A call that geni-lib has no function for, sent the way it sends its own."""
    return _rpcpost(URL, xmlrpc_client.dumps(arguments, methodname=method), (CERT, KEY), CA)


def passed():
    """Credentials the way geni-lib passes them: binary."""
    value = open(CREDENTIAL, "rb").read()
    return [{"geni_type": "geni_sfa", "geni_version": "3", "geni_value": value}]


def good(step, reply):
    code = reply["code"]["geni_code"]
    assert code == 0, f"{step}: {code} {reply['output']}"
    assert "value" in reply and "output" in reply, step
    print(f"{step}: ok", flush=True)
    return reply["value"]


def bad(step, reply):
    assert reply["code"]["geni_code"] != 0, f"{step} was let through"
    print(f"{step}: refused with {reply['code']['geni_code']}", flush=True)


version = good("GetVersion", amapi2.getversion(URL, CA, CERT, KEY))
assert version["geni_api"] == 3 and version["geni_api_versions"]["3"], version
manager = version["geni_urn"] if "geni_urn" in version else version["urn"]

advertisement = pgad.Advertisement(xml=good("ListResources", call("ListResources", passed(), {"geni_rspec_version": RSPEC})))
host = advertisement.nodes[0]
assert host.available and "docker-container" in host.sliver_types, host.sliver_types

request = pg.Request()
for name in ("left", "right"):
    node = pg.Node(name, "docker-container")
    node.component_manager_id = manager
    node.exclusive = False
    node.addService(pg.Execute("sh", f"echo {name} > /tmp/who"))
    request.addResource(node)

allocated = good("Allocate", amapi3.allocate(URL, CA, CERT, KEY, CREDS, SLICE, request.toXMLString(ucode=True)))
slivers = [sliver["geni_sliver_urn"] for sliver in allocated["geni_slivers"]]
assert len(slivers) == 2
assert all(sliver["geni_allocation_status"] == "geni_allocated" for sliver in allocated["geni_slivers"])

users = [{"urn": USER, "keys": [open(PUBLIC).read()]}]
options = {"geni_rspec_version": RSPEC, "geni_users": users}
provisioned = good("Provision", amapi3.provision(URL, CA, CERT, KEY, CREDS, [SLICE], options))
assert all(sliver["geni_allocation_status"] == "geni_provisioned" for sliver in provisioned["geni_slivers"])

deadline = time.monotonic() + 120
while True:
    status = call("Status", [SLICE], passed(), {})
    states = {sliver["geni_operational_status"] for sliver in status["value"]["geni_slivers"]}
    errors = [sliver["geni_error"] for sliver in status["value"]["geni_slivers"]]
    assert "geni_failed" not in states, errors
    if states == {"geni_ready"}:
        good("Status", status)
        break
    assert time.monotonic() < deadline, (states, errors)
    time.sleep(0.2)

described = good("Describe", call("Describe", [SLICE], passed(), {"geni_rspec_version": RSPEC}))
assert described["geni_urn"] == SLICE
manifest = pgmanifest.Manifest(xml=described["geni_rspec"])
nodes = list(manifest.nodes)
assert [node.name for node in nodes] == ["left", "right"], [node.name for node in nodes]
for node in nodes:
    login = node.logins[-1]
    ssh = ["ssh", "-i", PRIVATE, "-p", str(login.port), "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
           "-o", "BatchMode=yes", "-o", "LogLevel=ERROR", f"{login.username}@{login.hostname}", "hostname; cat /tmp/who"]
    said = subprocess.run(ssh, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30)
    assert said.returncode == 0, said
    assert said.stdout.split() == [node.name, node.name], said
print("SSH: ok", flush=True)

for action in ("geni_start", "geni_restart", "geni_stop", "geni_start"):
    good(f"PerformOperationalAction {action}", amapi3.poa(URL, CA, CERT, KEY, CREDS, [SLICE], action))
bad("PerformOperationalAction random_action", amapi3.poa(URL, CA, CERT, KEY, CREDS, [SLICE], "random_action"))

end = (datetime.now(timezone.utc) + timedelta(minutes=5)).strftime("%Y-%m-%dT%H:%M:%SZ")
good("Renew", call("Renew", [SLICE], passed(), end, {}))
after = good("Status after Renew", call("Status", [slivers[0]], passed(), {}))
assert [sliver["geni_expires"] for sliver in after["geni_slivers"]] == [end], after

deleted = good("Delete", amapi3.delete(URL, CA, CERT, KEY, CREDS, [SLICE]))
assert {sliver["geni_allocation_status"] for sliver in deleted} == {"geni_unallocated"}
bad("Status after Delete", call("Status", [SLICE], passed(), {}))
print(json.dumps({"slivers": len(slivers)}))
