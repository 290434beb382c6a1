"""A ring or star of Mininet's hosts: bare processes, cables and a Linux bridge.

Prints READY and the hosts' process ids once all interfaces have their addresses; ends when standard input does. Run it in a
network namespace of its own, as root, with Debian's python3: mininet is a package of Debian.
"""
import sys

from mininet.log import setLogLevel
from mininet.net import Mininet
from mininet.nodelib import LinuxBridge


def ring(net, hosts):
    for number, host in enumerate(hosts):
        after = hosts[(number + 1) % len(hosts)]
        subnet = f"10.{1 + number // 250}.{1 + number % 250}"
        net.addLink(
            host,
            after,
            intfName1="right",
            intfName2="left",
            params1={"ip": f"{subnet}.2/24"},
            params2={"ip": f"{subnet}.3/24"},
        )


def star(net, hosts):
    switch = net.addSwitch("s1")
    for number, host in enumerate(hosts):
        net.addLink(host, switch, params1={"ip": f"10.1.{number // 250}.{1 + number % 250}/16"})


def main():
    setLogLevel("error")
    shape, count = sys.argv[1], int(sys.argv[2])
    net = Mininet(switch=LinuxBridge, controller=None)
    hosts = [net.addHost(f"h{number}", ip=None) for number in range(count)]
    {"ring": ring, "star": star}[shape](net, hosts)
    net.start()
    print("READY", *(host.pid for host in hosts), flush=True)
    sys.stdin.read()
    net.stop()


main()
