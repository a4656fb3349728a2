"""The namespaces of a sandbox, its containers and the node."""

import os

from checks import check, same

INODES = 'for n in net ipc uts pid mnt; do readlink /proc/self/ns/$n; done'


def inodes(text):
    return dict(line.split(":", 1) for line in text.split())


def own(kind):
    return os.readlink(f"/proc/self/ns/{kind}").split(":", 1)[1]


def options(**namespaces):
    """The namespace options of a container."""
    return {"security_context": {"namespace_options": namespaces}}


@check("two containers share network, ipc and uts; not pid and mount")
def shared(node):
    with node.pod() as pod:
        one, two = (inodes(pod.run().look(INODES)) for _ in range(2))
        for kind in ("net", "ipc", "uts"):
            same(one[kind], two[kind], kind)
            assert one[kind] != own(kind), kind
        for kind in ("pid", "mnt"):
            assert one[kind] != two[kind], kind


@check("two containers talk by localhost and by /dev/shm")
def together(node):
    with node.pod() as pod:
        serving = pod.run("sh", "-c", "echo shared >/dev/shm/file; echo -n served | nc -l -p 8000")
        seen = pod.output("until nc localhost 8000 2>/dev/null; do sleep 0.1; done; echo; cat /dev/shm/file")
        same(seen, "served\nshared")
        same(serving.wait(), 0)


@check("a pid namespace for the pod: each sees the other, the pause is 1")
def pid_pod(node):
    namespaces = options(pid="POD")
    with node.pod(linux=options(pid="POD")) as pod:
        pod.run("sleep", "1111", linux=namespaces)
        second = pod.run("sleep", "2222", linux=namespaces)
        seen = second.look("ps -o pid,args")
        assert "sleep 1111" in seen and "sleep 2222" in seen, seen
        assert "sleep" not in second.look("tr '\\0' ' ' </proc/1/cmdline").split()[0], seen


@check("a pid namespace for the pod: killing a container leaves the others")
def pid_pod_ends(node):
    namespaces = options(pid="POD")
    with node.pod(linux=options(pid="POD")) as pod:
        first = pod.run("sh", "-c", "sleep 1111 & sleep 1112 & wait", linux=namespaces)
        second = pod.run("sleep", "2222", linux=namespaces)
        first.stop(timeout=0)
        same(first.status().exit_code, 137)
        seen = second.look("ps -o args")
        assert "sleep 111" not in seen and "sleep 2222" in seen, seen


@check("a pid namespace targeted: an ephemeral container sees the target's processes")
def pid_target(node):
    with node.pod() as pod:
        target = pod.run("sleep", "1111")
        other = pod.run("sleep", "2222")
        debugger = pod.run("sleep", "3333", linux=options(pid="TARGET", target_id=target.id))
        seen = debugger.look("ps -o args")
        assert "sleep 1111" in seen and "sleep 3333" in seen and "sleep 2222" not in seen, seen
        same(inodes(debugger.look(INODES))["pid"], inodes(target.look(INODES))["pid"])
        debugger.stop(timeout=0)
        same(target.exec("echo", "here"), (0, "here\n", ""))
        other.stop(timeout=0)


@check("the node's network")
def host_network(node):
    with node.pod(hostname="", linux=options(network="NODE")) as pod:
        same(inodes(pod.run(linux=options(network="NODE", pid="CONTAINER")).look(INODES))["net"], own("net"))


@check("the node's pid namespace")
def host_pid(node):
    with node.pod(linux=options(pid="NODE")) as pod:
        running = pod.run(linux=options(pid="NODE"))
        same(inodes(running.look(INODES))["pid"], own("pid"))
        assert str(os.getpid()) in running.look("ls /proc").split()


@check("the node's ipc namespace, with its /dev/shm")
def host_ipc(node):
    with open("/dev/shm/of-the-node", "w", encoding="utf-8") as file:
        file.write("of the node")
    try:
        with node.pod(linux=options(ipc="NODE")) as pod:
            running = pod.run(linux=options(ipc="NODE", pid="CONTAINER"))
            same(inodes(running.look(INODES))["ipc"], own("ipc"))
            same(running.look("cat /dev/shm/of-the-node"), "of the node")
    finally:
        os.remove("/dev/shm/of-the-node")


@check("a host name of the pod")
def hostname(node):
    with node.pod(hostname="given") as pod:
        same(pod.output("hostname; cat /etc/hostname"), "given\ngiven")


@check("name servers and search domains of the pod")
def resolver(node):
    with node.pod(dns_config={"servers": ["192.0.2.1"], "searches": ["one.test"], "options": ["ndots:3"]}) as pod:
        seen = pod.output("cat /etc/resolv.conf")
        for line in ("nameserver 192.0.2.1", "search one.test", "options ndots:3"):
            assert line in seen, seen


@check("sysctls of the pod, seen by its containers")
def sysctls(node):
    wanted = {"net.ipv4.ip_forward": "1", "kernel.shmmni": "1234", "net.ipv4.ping_group_range": "0 65534"}
    with node.pod(linux={"sysctls": wanted}) as pod:
        seen = pod.output("cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/shmmni; "
                          "echo $(cat /proc/sys/net/ipv4/ping_group_range)")
        same(seen, "1\n1234\n0 65534")


@check("two pods reach each other by their addresses")
def network(node):
    with node.pod() as one, node.pod() as two:
        one.run("nc", "-ll", "-p", "8000", "-e", "hostname")
        same(two.output(f"until nc {one.ip} 8000 2>/dev/null; do sleep 0.1; done"), "pod")
