"""Volumes: their options, propagation, devices, and what a container can write."""

import os
import subprocess

from checks import Skip, check, refused, same
from cri import IMAGE


def volume(node, **options):
    """A directory of the node, mounted at /volume; returns (path, mounts)."""
    path = node.directory("volume")
    return path, [{"container_path": "/volume", "host_path": path, **options}]


def mount(*arguments):
    subprocess.run(["mount", *arguments], check=True)


def unmount(*paths):
    for path in paths:
        subprocess.run(["umount", path], check=True)


@check("a volume is written to; a read-only one isn't")
def read_only(node):
    path, mounts = volume(node)
    with node.pod() as pod:
        pod.output("echo written >/volume/file", mounts=mounts)
        with open(os.path.join(path, "file"), encoding="utf-8") as file:
            same(file.read(), "written\n")
        mounts[0]["readonly"] = True
        same(pod.output("cat /volume/file; touch /volume/file 2>&1 | grep -o 'Read-only.*'", mounts=mounts),
             "written\nRead-only file system")


@check("a single file as a volume")
def single_file(node):
    path = os.path.join(node.directory("file"), "hosts")
    with open(path, "w", encoding="utf-8") as file:
        file.write("192.0.2.1 given\n")
    with node.pod() as pod:
        same(pod.output("cat /etc/hosts", mounts=[{"container_path": "/etc/hosts", "host_path": path}]),
             "192.0.2.1 given")


WRITES = "for d in /volume /volume/below; do touch $d/file 2>/dev/null && echo writes || echo refused; done"


def with_mount_below(node, **options):
    path, mounts = volume(node, **options)
    below = os.path.join(path, "below")
    os.mkdir(below)
    mount("-t", "tmpfs", "below", below)
    return below, mounts


@check("a read-only volume: a mount below it stays writable")
def read_only_below(node):
    below, mounts = with_mount_below(node, readonly=True)
    try:
        with node.pod() as pod:
            same(pod.output(WRITES, mounts=mounts), "refused\nwrites")
    finally:
        unmount(below)


@check("a recursively read-only volume: a mount below it is read-only, too", since=(2, 0))
def read_only_recursive(node):
    below, mounts = with_mount_below(node, readonly=True, recursive_read_only=True)
    try:
        with node.pod() as pod:
            same(pod.output(WRITES, mounts=mounts), "refused\nrefused")
    finally:
        unmount(below)


def sees_a_later_mount(node, propagation):
    path, mounts = shared_volume(node, propagation)
    try:
        with node.pod() as pod:
            return mounted_on_the_node(pod.run(mounts=mounts), path)
    finally:
        unmount(path)


@check("propagation: private")
def private(node):
    same(sees_a_later_mount(node, "PROPAGATION_PRIVATE"), False)


@check("propagation: from the node to the container")
def host_to_container(node):
    same(sees_a_later_mount(node, "PROPAGATION_HOST_TO_CONTAINER"), True)


@check("propagation: both ways, for a privileged container")
def bidirectional(node):
    path, mounts = shared_volume(node, "PROPAGATION_BIDIRECTIONAL")
    privileged = {"security_context": {"privileged": True}}
    try:
        with node.pod(linux=privileged) as pod:
            running = pod.run(mounts=mounts, linux=privileged)
            same(mounted_on_the_node(running, path), True)
            running.look("mkdir /volume/two && mount -t tmpfs two /volume/two && touch /volume/two/file")
            same(os.listdir(os.path.join(path, "two")), ["file"])
            unmount(os.path.join(path, "two"))
    finally:
        unmount(path)


def shared_volume(node, propagation):
    path, mounts = volume(node, propagation=propagation)
    mount("-t", "tmpfs", "volume", path)
    mount("--make-shared", path)
    return path, mounts


def mounted_on_the_node(container, path):
    """Whether the container sees what the node mounts below the volume later."""
    below = os.path.join(path, "later")
    os.mkdir(below)
    mount("-t", "tmpfs", "later", below)
    try:
        with open(os.path.join(below, "file"), "w", encoding="utf-8"):
            pass
        return container.look("ls /volume/later") == "file"
    finally:
        unmount(below)


@check("a read-only root; volumes and /dev/shm stay writable")
def root_read_only(node):
    _, mounts = volume(node)
    with node.pod() as pod:
        seen = pod.output("for d in / /tmp /volume /dev/shm; do touch $d/f 2>/dev/null && echo $d; done; true",
                          mounts=mounts, linux={"security_context": {"readonly_rootfs": True}})
        same(seen, "/volume\n/dev/shm")


@check("a mount point that the image lacks is made")
def mount_point(node):
    path, mounts = volume(node)
    mounts[0]["container_path"] = "/not/in/the/image"
    with open(os.path.join(path, "file"), "w", encoding="utf-8"):
        pass
    with node.pod() as pod:
        same(pod.output("ls /not/in/the/image", mounts=mounts), "file")


@check("an image as a volume", since=(2, 1))
def image_volume(node):
    with node.pod() as pod:
        same(pod.output("cat /image/etc/motd; touch /image/f 2>/dev/null || echo refused",
                        mounts=[{"container_path": "/image", "image": {"image": IMAGE}, "readonly": True}]),
             "A root filesystem of busybox.\nrefused")


@check("a device, with and without the permission to write")
def devices(node):
    with node.pod() as pod:
        seen = pod.output("echo x 2>/dev/null >/dev/given && echo writes; head -c 1 /dev/given | wc -c",
                          devices=[{"container_path": "/dev/given", "host_path": "/dev/zero", "permissions": "rw"}])
        same(seen, "writes\n1")
        seen = pod.output("head -c 1 /dev/given 2>&1 | wc -c; ls -l /dev/other 2>/dev/null; true",
                          devices=[{"container_path": "/dev/given", "host_path": "/dev/zero", "permissions": "r"}])
        same(seen, "1")


@check("a device of CDI: environment, device, mount and hook", since=(1, 7))
def cdi(node):
    path = node.directory("cdi")
    os.makedirs("/var/run/cdi", exist_ok=True)
    with open(os.path.join(path, "hook"), "w", encoding="utf-8") as file:
        file.write(f"#!/bin/sh\ncat >{path}/state\n")
    os.chmod(os.path.join(path, "hook"), 0o755)
    spec = f"""{{
      "cdiVersion": "0.5.0", "kind": "corten.example/thing",
      "devices": [{{ "name": "one", "containerEdits": {{
        "deviceNodes": [{{ "path": "/dev/thing", "hostPath": "/dev/zero" }}] }} }}],
      "containerEdits": {{
        "env": ["THING=one"],
        "mounts": [{{ "hostPath": "{path}", "containerPath": "/thing", "options": ["ro", "nosuid", "bind"] }}],
        "hooks": [{{ "hookName": "createContainer", "path": "{path}/hook", "args": ["hook"] }}] }} }}"""
    with open("/var/run/cdi/thing.json", "w", encoding="utf-8") as file:
        file.write(spec)
    try:
        with node.pod() as pod:
            seen = pod.output("echo $THING; head -c 3 /dev/thing | wc -c; ls /thing/hook",
                              CDI_devices=[{"name": "corten.example/thing=one"}])
            same(seen, "one\n3\n/thing/hook")
            with open(os.path.join(path, "state"), encoding="utf-8") as file:
                assert '"status"' in file.read(), "the hook got no state"
            refused(lambda: pod.create("true", CDI_devices=[{"name": "corten.example/thing=two"}]), "thing=two")
    finally:
        os.remove("/var/run/cdi/thing.json")


@check("privileged: the node's devices, and a writable /sys")
def privileged_mounts(node):
    asked = {"security_context": {"privileged": True}}
    with node.pod(linux=asked) as pod:
        seen = pod.output("grep ' /sys sysfs' /proc/mounts | cut -d' ' -f4 | cut -d, -f1; ls /dev | wc -l",
                          linux=asked)
        mode, count = seen.split()
        same(mode, "rw")
        assert int(count) >= len(os.listdir("/dev")) // 2, count
