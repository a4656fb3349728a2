"""Checkpoints of containers by CRIU. A restore needs the image in a registry, so it isn't tested."""

import os
import shutil
import tarfile

from checks import Skip, check, same
from cri import CONTAINER_RUNNING, eventually


@check("a checkpoint is written, and the container goes on", since=(2, 0))
def checkpoint(node):
    if not shutil.which("criu"):
        raise Skip("needs the command criu")
    archive = os.path.join(node.directory("checkpoint"), "archive.tar")
    with node.pod() as pod:
        running = pod.run("sh", "-c", "n=1000; while :; do echo $((n+=1)) >/count; sleep 0.1; done")
        eventually("it counts", lambda: running.exec("cat", "/count")[0] == 0)
        running.call("CheckpointContainer", location=archive, timeout=60)
        same(running.status().state, CONTAINER_RUNNING)
        before = int(running.look("cat /count") or 0)
        eventually("it counts on", lambda: int(running.look("cat /count") or 0) > before)
    with tarfile.open(archive) as file:
        names = [name.removeprefix("./") for name in file.getnames()]
    assert "spec.dump" in names and "checkpoint/inventory.img" in names, names
