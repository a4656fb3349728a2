"""Users, groups, capabilities, seccomp, user namespaces."""

import json
import os

from checks import Skip, check, refused, same
from cri import merge

STATUS = "grep -E '^(Cap(Eff|Bnd|Amb)|NoNewPrivs|Seccomp):' /proc/self/status | tr -d '\\t'"


def context(**fields):
    """The security context of a container with a pid namespace of its own."""
    return {"security_context": merge({"namespace_options": {"pid": "CONTAINER"}}, fields)}


def status(pod, **fields):
    return dict(line.split(":") for line in pod.output(STATUS, linux=context(**fields)).split())


@check("seccomp: the runtime's default, unconfined, and a profile of the node")
def seccomp(node):
    profile = os.path.join(node.directory("seccomp"), "profile.json")
    rule = {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}
    with open(profile, "w", encoding="utf-8") as file:
        json.dump({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}, file)
    with node.pod() as pod:
        same(status(pod, seccomp={"profile_type": "RuntimeDefault"})["Seccomp"], "2")
        same(status(pod, seccomp={"profile_type": "Unconfined"})["Seccomp"], "0")
        own = context(seccomp={"profile_type": "Localhost", "localhost_ref": profile})
        assert "No space left" in pod.output("mkdir /new 2>&1 || true", linux=own)
        missing = context(seccomp={"profile_type": "Localhost", "localhost_ref": profile + ".missing"})
        refused(lambda: pod.create("true", linux=missing), "profile.json.missing")


@check("seccomp: the runtime's default for the sandbox, and for an exec")
def seccomp_exec(node):
    asked = context(seccomp={"profile_type": "RuntimeDefault"})
    with node.pod(linux={"security_context": asked["security_context"]}) as pod:
        running = pod.run(linux=asked)
        same(running.look("grep ^Seccomp: /proc/self/status").split()[1], "2")


@check("apparmor profiles")
def apparmor(node):
    if not os.path.exists("/sys/kernel/security/apparmor"):
        raise Skip("no AppArmor in this kernel (the virtual machine has it)")
    with node.pod() as pod:
        asked = context(apparmor={"profile_type": "RuntimeDefault"})
        assert "cri-containerd" in pod.output("cat /proc/self/attr/current", linux=asked)


@check("capabilities: added, dropped, none, all")
def capabilities(node):
    def effective(**fields):
        return int(status(pod, **fields)["CapEff"], 16)

    with node.pod() as pod:
        default = effective()
        same(effective(capabilities={"add_capabilities": ["SYS_PTRACE"]}), default | 1 << 19)
        same(effective(capabilities={"drop_capabilities": ["CHOWN"]}), default & ~1)
        same(effective(capabilities={"drop_capabilities": ["ALL"], "add_capabilities": ["KILL"]}), 1 << 5)
        same(effective(capabilities={"drop_capabilities": ["ALL"]}), 0)


@check("capabilities: ambient, for a user without privilege")
def ambient(node):
    with node.pod() as pod:
        seen = status(pod, run_as_user={"value": 1000},
                      capabilities={"add_capabilities": ["NET_ADMIN"], "add_ambient_capabilities": ["NET_ADMIN"]})
        same(int(seen["CapEff"], 16) & 1 << 12, 0 if seen["CapAmb"] == "0" * 16 else 1 << 12)


@check("privileged: all capabilities, no seccomp")
def privileged(node):
    asked = {"privileged": True}
    with node.pod(linux={"security_context": asked}) as pod:
        seen = status(pod, **asked)
        with open("/proc/self/status", encoding="utf-8") as file:
            bounds = [line.split()[1] for line in file if line.startswith("CapBnd")]
        same((seen["CapEff"], seen["Seccomp"]), (bounds[0], "0"))


@check("no new privileges")
def no_new_privileges(node):
    with node.pod() as pod:
        same([status(pod, no_new_privs=asked)["NoNewPrivs"] for asked in (False, True)], ["0", "1"])


IDS = "echo $(id -u) $(id -g) $(id -G | tr ' ' '\\n' | sort -n)"


@check("users: by number, by name, with a group")
def users(node):
    with node.pod() as pod:
        same(pod.output(IDS, linux=context(run_as_user={"value": 65534})), "65534 65534 65534")
        same(pod.output(IDS, linux=context(run_as_user={"value": 4711}, run_as_group={"value": 4712})),
             "4711 4712 4712")
        same(pod.output("id -un; id -u", linux=context(run_as_username="member")), "member\n1000")
        refused(lambda: pod.create("true", linux=context(run_as_username="nobody-knows")), "no users found")


@check("supplementary groups: those that are asked for, with those of the image")
def groups_merge(node):
    asked = context(run_as_user={"value": 1000}, supplemental_groups=[60000])
    with node.pod() as pod:
        same(pod.output(IDS, linux=asked), "1000 1000 1000 50000 60000")
        same(pod.run(linux=asked).look(IDS), "1000 1000 1000 50000 60000")


@check("supplementary groups: the policy Strict leaves out those of the image", since=(2, 0))
def groups_strict(node):
    asked = context(run_as_user={"value": 1000}, supplemental_groups=[60000], supplemental_groups_policy="Strict")
    with node.pod() as pod:
        same(pod.output(IDS, linux=asked), "1000 1000 1000 60000")


@check("masked and read-only paths")
def paths(node):
    asked = context(masked_paths=["/proc/keys", "/sys/firmware"], readonly_paths=["/proc/sys"])
    with node.pod() as pod:
        seen = pod.output("ls /sys/firmware | wc -l; cat /proc/keys | wc -c; "
                          "echo x 2>/dev/null >/proc/sys/kernel/domainname && echo writes || echo refused", linux=asked)
        same(seen, "0\n0\nrefused")


# --- user namespaces ---------------------------------------------------------------------------------


def userns(first=100000, length=65536):
    ids = [{"host_id": first, "container_id": 0, "length": length}]
    return {"security_context": {"namespace_options": {
        "pid": "CONTAINER", "userns_options": {"mode": "POD", "uids": ids, "gids": ids}}}}


@check("a pod with a user namespace: ids, and the files of the image", since=(1, 7))
def userns_pod(node):
    asked = userns()
    with node.pod(linux=asked) as pod:
        running = pod.run(linux=asked)
        same(running.look("cat /proc/self/uid_map").split(), ["0", "100000", "65536"])
        same(running.look("id -u; stat -c %u:%g /bin/busybox /etc/passwd"), "0\n0:0\n0:0")
        same(os.stat(f"/proc/{running.pid}").st_uid, 100000)
        same(os.stat(f"/proc/{pod.info()['pid']}").st_uid, 100000)
        second = pod.run(linux=asked)
        same(second.look("readlink /proc/self/ns/user"), running.look("readlink /proc/self/ns/user"))


@check("a pod with a user namespace: network, sysctl and host name", since=(1, 7))
def userns_network(node):
    asked = userns()
    with node.pod(linux=merge(asked, {"sysctls": {"net.ipv4.ip_forward": "1"}})) as pod, node.pod() as other:
        other.run("nc", "-ll", "-p", "8000", "-e", "hostname")
        seen = pod.output(f"until nc {other.ip} 8000 2>/dev/null; do sleep 0.1; done; hostname; "
                          "cat /proc/sys/net/ipv4/ip_forward", linux=asked)
        same(seen, "pod\npod\n1")


@check("a pod with a user namespace: a volume with the node's owners", since=(2, 0))
def userns_volume(node):
    path = node.directory("volume")
    ids = [{"host_id": 100000, "container_id": 0, "length": 65536}]
    asked = userns()
    with node.pod(linux=asked) as pod:
        running = pod.run(linux=asked, mounts=[{
            "container_path": "/volume", "host_path": path, "uidMappings": ids, "gidMappings": ids}])
        same(running.look("stat -c %u /volume; touch /volume/file; chown 5 /volume/file; stat -c %u /volume/file"),
             "0\n5")
        same(os.stat(os.path.join(path, "file")).st_uid, 5)


@check("a pod with a user namespace: privilege is that of the namespace", since=(1, 7))
def userns_powers(node):
    # AppArmor's default profile forbids mounts.
    powers = {"capabilities": {"add_capabilities": ["ALL"]}, "apparmor": {"profile_type": "Unconfined"}}
    asked = merge(userns(), {"security_context": powers})
    with node.pod(linux=userns()) as pod:
        running = pod.run(linux=asked)
        same(running.look("mkdir /m && mount -t tmpfs m /m && grep -c ' /m ' /proc/mounts"), "1")
        same(running.exec("sh", "-c", "mknod /dev/mine b 8 0 2>/dev/null")[0], 1)
        same(running.exec("sh", "-c", "echo 1 2>/dev/null >/proc/sys/kernel/sysrq")[0], 1)
