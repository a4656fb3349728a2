"""Limits, their update, statistics, and where the cgroups are."""

import os

from checks import Skip, check, refused, same
from cri import eventually


def cgroup(container, controller, *files):
    """Reads a file of the container's cgroup, by its name in version 1 or 2; "a/b" is another name."""
    with open(f"/proc/{container.pid}/cgroup", encoding="utf-8") as lists:
        for line in lists:
            _, controllers, path = line.strip().split(":", 2)
            for base in (f"/sys/fs/cgroup/{controller}", "/sys/fs/cgroup"):
                names = [f"{base}{path}/{file}" for file in files]
                if controller in controllers.split(",") or not controllers:
                    for name in names:
                        if os.path.exists(name):
                            with open(name, encoding="utf-8") as file:
                                return file.read().strip()
    raise Skip(f"no controller {controller}")


def resources(**fields):
    return {"resources": fields}


def limits(container):
    return (
        cgroup(container, "memory", "memory.limit_in_bytes", "memory.max"),
        cgroup(container, "cpu", "cpu.cfs_quota_us", "cpu.max").split()[0],
    )


def cpus(container):
    return container.look("grep Cpus_allowed_list /proc/self/status").split()[1]


def needs_cpuset():
    try:
        with open("/sys/fs/cgroup/cgroup.controllers", encoding="utf-8") as file:
            found = "cpuset" in file.read().split()
    except FileNotFoundError:
        found = os.path.exists("/sys/fs/cgroup/cpuset")
    if not found:
        raise Skip("no controller cpuset")


@check("limits of memory and CPU")
def limited(node):
    with node.pod() as pod:
        running = pod.run(linux=resources(memory_limit_in_bytes=64 << 20, cpu_quota=50000, cpu_period=100000,
                                          cpu_shares=512))
        same(limits(running), (str(64 << 20), "50000"))
        seen = running.status().resources.linux
        if node.version >= (1, 7):
            same((seen.memory_limit_in_bytes, seen.cpu_quota), (64 << 20, 50000))


@check("update: memory up and down, CPU, while it runs")
def update(node):
    with node.pod() as pod:
        running = pod.run(linux=resources(memory_limit_in_bytes=64 << 20, cpu_quota=50000, cpu_period=100000))
        for memory, quota in ((128, 70000), (32, 20000)):
            running.call("UpdateContainerResources",
                         linux={"memory_limit_in_bytes": memory << 20, "cpu_quota": quota, "cpu_period": 100000})
            same(limits(running), (str(memory << 20), str(quota)))


@check("the CPUs that a container may use, and their update")
def cpuset(node):
    needs_cpuset()
    with node.pod() as pod:
        running = pod.run(linux=resources(cpuset_cpus="0", memory_limit_in_bytes=64 << 20))
        same(cpus(running), "0")
        running.call("UpdateContainerResources", linux={"cpuset_cpus": "0-1"})
        same(cpus(running), "0-1")
        running.call("UpdateContainerResources", linux={"cpuset_cpus": "0"})
        same(cpus(running), "0")
        same(limits(running)[0], str(64 << 20))


@check("update: a container that isn't started yet")
def update_created(node):
    with node.pod() as pod:
        made = pod.create("sleep", "1000", linux=resources(memory_limit_in_bytes=64 << 20))
        made.call("UpdateContainerResources", linux={"memory_limit_in_bytes": 96 << 20})
        made.start()
        same(limits(made)[0], str(96 << 20))


@check("update: a value that the kernel refuses is an error, and the container goes on")
def update_refused(node):
    with node.pod() as pod:
        running = pod.run()
        refused(lambda: running.call("UpdateContainerResources", linux={"cpuset_cpus": "4000"}))
        same(running.exec("echo", "here"), (0, "here\n", ""))


@check("statistics of a container and of all")
def stats(node):
    with node.pod() as pod:
        running = pod.run("sh", "-c", "while :; do :; done")

        def used():
            seen = running.call("ContainerStats").stats
            return seen.cpu.usage_core_nano_seconds.value > 0 and seen.memory.working_set_bytes.value > 0

        eventually("CPU and memory are counted", used)
        seen = node.call("ListContainerStats", filter={"pod_sandbox_id": pod.id}).stats
        same([one.attributes.id for one in seen], [running.id])
        running.stop(timeout=0)


@check("statistics of a pod", since=(1, 7))
def pod_stats(node):
    with node.pod() as pod:
        running = pod.run("sh", "-c", "while :; do :; done")
        eventually("processes are counted", lambda: node.call(
            "PodSandboxStats", pod_sandbox_id=pod.id).stats.linux.cpu.usage_core_nano_seconds.value > 0)
        seen = node.call("PodSandboxStats", pod_sandbox_id=pod.id).stats
        same([one.attributes.id for one in seen.linux.containers], [running.id])
        running.stop(timeout=0)


@check("oom_score_adj")
def oom_score(node):
    with node.pod() as pod:
        same(pod.output("cat /proc/self/oom_score_adj", linux=resources(oom_score_adj=700)), "700")


@check("the cgroup is in the pod's parent")
def cgroup_parent(node):
    with node.pod() as pod:
        running = pod.run()
        name = f"cri-containerd-{running.id}.scope" if node.systemd else running.id
        with open(f"/proc/{running.pid}/cgroup", encoding="utf-8") as file:
            assert f"{node.cgroup_parent}/{name}\n" in file.read()


@check("a parent for systemd while containerd's driver is cgroupfs: a directory of that name")
def mismatch(node):
    if node.systemd:
        raise Skip("the driver is systemd")
    parent = f"{node.cgroup_parent}/checks.slice"
    with node.pod(linux={"cgroup_parent": parent}) as pod:
        running = pod.run(linux=resources(memory_limit_in_bytes=64 << 20))
        same(limits(running)[0], str(64 << 20))
        with open(f"/proc/{running.pid}/cgroup", encoding="utf-8") as file:
            assert f"checks.slice:cri-containerd:{running.id}\n" in file.read()
        running.call("UpdateContainerResources", linux={"memory_limit_in_bytes": 32 << 20})
        same(limits(running)[0], str(32 << 20))
        same(running.exec("echo", "here"), (0, "here\n", ""))


@check("a parent for cgroupfs while containerd's driver is systemd: refused")
def mismatch_systemd(node):
    if not node.systemd:
        raise Skip("the driver is cgroupfs")
    refused(lambda: node.start_pod(linux={"cgroup_parent": "/pods"}), "cgroup")


@check("cgroups of version 2 by name")
def unified(node):
    if not os.path.exists("/sys/fs/cgroup/cgroup.controllers"):
        raise Skip("no pure cgroup v2 here")
    with node.pod() as pod:
        running = pod.run(linux=resources(unified={"memory.high": str(48 << 20)}))
        same(cgroup(running, "memory", "memory.high"), str(48 << 20))
