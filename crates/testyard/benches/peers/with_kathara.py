"""A ring or star of Kathara's devices, from a local image.

Kathara's own data plane is an engine plugin that comes from a registry. Where none is reachable it does not start at all, so it
is told here that the plugin is there, and to make networks with the engine's bridges instead: this measures Kathara's way with
the engine, not its data plane.

Prints READY and the devices' process ids; ends when standard input does.
"""
import sys
from ipaddress import ip_network
from pathlib import Path

import docker
from Kathara.manager.docker.DockerManager import DockerManager
from Kathara.manager.docker.DockerPlugin import DockerPlugin
from Kathara.manager.Kathara import Kathara
from Kathara.model.Lab import Lab
from Kathara.setting.Setting import Setting

# Docker has the host's packet rules look at bridged frames, and drop those that it does not expect.
BRIDGED_FRAMES = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
BRIDGES = ip_network("172.30.0.0/15").subnets(new_prefix=24)


def without_plugin():
    DockerPlugin.check_and_download_plugin = lambda self, *_: None
    create = docker.models.networks.NetworkCollection.create

    def bridge(self, name, **options):
        options.update(driver="bridge", options={}, internal=True)
        pool = docker.types.IPAMPool(subnet=str(next(BRIDGES)))
        options["ipam"] = docker.types.IPAMConfig(pool_configs=[pool])
        return create(self, name, **options)

    docker.models.networks.NetworkCollection.create = bridge


def lab_of(shape, count, image):
    lab = Lab(f"bench-{shape}-{count}")
    for number in range(count):
        name = f"h{number}"
        lab.new_machine(name, image=image)
        if shape == "ring":
            before = (number - 1) % count
            left = f"10.{1 + before // 250}.{1 + before % 250}.3/24"
            right = f"10.{1 + number // 250}.{1 + number % 250}.2/24"
            lab.connect_machine_to_link(name, f"L{before}")
            lab.connect_machine_to_link(name, f"L{number}")
            commands = [f"ip address add {left} dev eth0", f"ip address add {right} dev eth1"]
        else:
            lab.connect_machine_to_link(name, "L0")
            commands = [f"ip address add 10.1.{number // 250}.{1 + number % 250}/16 dev eth0"]
        lab.create_file_from_list(commands, f"{name}.startup")
    return lab


def main():
    shape, count, image = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    without_plugin()
    Setting.get_instance().image = image
    lab = lab_of(shape, count, image)
    manager = Kathara.get_instance()
    before = BRIDGED_FRAMES.read_text()
    BRIDGED_FRAMES.write_text("0")
    try:
        manager.deploy_lab(lab)
        machines = {machine.name: machine.api_object for machine in lab.machines.values()}
        for machine in machines.values():
            machine.reload()
        pids = [machines[f"h{number}"].attrs["State"]["Pid"] for number in range(count)]
        print("READY", *pids, flush=True)
        sys.stdin.read()
    finally:
        BRIDGED_FRAMES.write_text(before)
        manager.undeploy_lab(lab=lab)


main()
