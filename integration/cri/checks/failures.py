"""What a node goes through: crashes of a sandbox, of a shim, of containerd."""

import os
import signal

from checks import check, refused, same
from cri import CONTAINER_EXITED, CONTAINER_RUNNING, api, eventually


def parent(pid):
    with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
        return int(file.read().rsplit(")", 1)[1].split()[1])


@check("a handler that isn't configured is refused")
def handler_unknown(node):
    refused(lambda: node.start_pod(handler="nothing-here"), "nothing-here")


@check("the features of the handler reach the server", since=(2, 0))
def features(node):
    found = {one.name: one.features for one in node.call("Status").runtime_handlers}
    same((found[node.handler].recursive_read_only_mounts, found[node.handler].user_namespaces), (True, True))


@check("the process of a container is killed from outside")
def killed(node):
    with node.pod() as pod:
        running = pod.run()
        os.kill(running.pid, signal.SIGKILL)
        same(running.wait(), 137)


@check("the sandbox's process is killed: not ready; its containers go on until they are removed")
def sandbox_crash(node):
    with node.pod() as pod:
        running = pod.run()
        os.kill(pod.info()["pid"], signal.SIGKILL)
        eventually("the sandbox isn't ready", lambda: pod.status().state == api.SANDBOX_NOTREADY)
        same(running.status().state, CONTAINER_RUNNING)
        same(running.exec("echo", "here"), (0, "here\n", ""))
        refused(lambda: pod.create("true").start())


@check("the sandbox's process is killed, with a pid namespace for the pod: all end")
def sandbox_crash_pid(node):
    namespaces = {"security_context": {"namespace_options": {"pid": "POD"}}}
    with node.pod(linux=namespaces) as pod:
        running = pod.run(linux=namespaces)
        os.kill(pod.info()["pid"], signal.SIGKILL)
        same(running.wait(), 137)
        eventually("the sandbox isn't ready", lambda: pod.status().state == api.SANDBOX_NOTREADY)


@check("the shim is killed: containerd removes what it left by the runtime's delete",
       fails=((2, 0), "containerd 2 cleans up only the sandbox of a dead shim, and not its containers"))
def shim_crash(node):
    with node.pod() as pod:
        running = pod.run()
        os.kill(parent(running.pid), signal.SIGKILL)
        eventually("the container has ended", lambda: running.status().state == CONTAINER_EXITED)
        eventually("the sandbox isn't ready", lambda: pod.status().state == api.SANDBOX_NOTREADY)


@check("containerd is started again: containers run on, exec, log and end as before")
def containerd_restart(node):
    with node.pod() as pod:
        running = pod.run("sh", "-c", 'trap "exit 5" TERM; n=0; while :; do echo $((n+=1)); sleep 0.1; done')
        short = pod.run("sh", "-c", "sleep 1; exit 6")
        eventually("it has started to count", running.text)
        node.containerd.stop()
        node.containerd.start()
        eventually("the server is back", lambda: node.call("Version"))
        same(running.status().state, CONTAINER_RUNNING)
        same(running.exec("echo", "here"), (0, "here\n", ""))
        same(short.wait(), 6)
        before = len(running.log())
        eventually("it counts on", lambda: len(running.log()) > before)
        running.stop()
        same(running.status().exit_code, 5)
