"""The life of sandboxes and containers."""

import threading

from checks import check, refused, same
from cri import CONTAINER_RUNNING, api, encoded, eventually


@check("the server's version and status")
def status(node):
    same(node.call("Version").runtime_name, "containerd")
    conditions = {one.type: one.status for one in node.call("Status").status.conditions}
    assert conditions["RuntimeReady"] and conditions["NetworkReady"], conditions


@check("a sandbox is ready, then not ready, then gone; each step may be repeated")
def sandbox(node):
    pod = node.start_pod(labels={"app": "one"}, annotations={"note": "two"})
    seen = pod.status()
    same(seen.state, api.SANDBOX_READY)
    same((dict(seen.labels), dict(seen.annotations)), ({"app": "one"}, {"note": "two"}))
    same(seen.runtime_handler, node.handler)
    assert seen.network.ip, "no address"
    same(len(node.call("ListPodSandbox", filter={"label_selector": {"app": "one"}}).items), 1)
    pod.stop()
    same(pod.status().state, api.SANDBOX_NOTREADY)
    pod.stop()
    pod.remove()
    node.call("RemovePodSandbox", pod_sandbox_id=pod.id)
    same(len(node.call("ListPodSandbox").items), 0)


@check("a container is created, runs, and ends with its status")
def container(node):
    with node.pod() as pod:
        made = pod.create("sh", "-c", "echo $1 $ONE $(pwd) $(hostname); sleep 0.5; exit 7", "name",
                          args=["argument"], envs=[{"key": "ONE", "value": encoded("first")}], working_dir="/tmp")
        same(made.status().state, api.CONTAINER_CREATED)
        made.start()
        same(made.wait(), 7)
        seen = made.status()
        same(seen.reason, "Error")
        # The end may be noted before the start, if both are close together.
        assert 0 < seen.created_at <= min(seen.started_at, seen.finished_at), seen
        same(made.text(), "argument first /tmp pod\n")
        made.remove()
        done = pod.run("true")
        same((done.wait(), done.status().reason), (0, "Completed"))


@check("a missing executable is named in the error and in the status")
def missing(node):
    with node.pod() as pod:
        made = pod.create("/nothing-here")
        refused(made.start, "/nothing-here", "no such file or directory")
        seen = made.status()
        same((seen.state, seen.exit_code, seen.reason), (api.CONTAINER_EXITED, 128, "StartError"))
        assert "/nothing-here" in seen.message, seen.message


@check("an executable without permission is named in the error")
def forbidden(node):
    with node.pod() as pod:
        refused(pod.create("/etc/passwd").start, "/etc/passwd", "permission denied")


@check("stop: SIGTERM is handled")
def stop(node):
    with node.pod() as pod:
        running = pod.run("sh", "-c", 'trap "exit 5" TERM; echo ready; while :; do sleep 0.1; done')
        eventually("the trap is set", lambda: running.text() == "ready\n")
        running.stop()
        same(running.status().exit_code, 5)
        running.stop()


@check("stop: SIGKILL follows when SIGTERM is ignored, and at once without grace")
def stop_kills(node):
    with node.pod() as pod:
        for grace in (1, 0):
            running = pod.run("sh", "-c", 'trap "" TERM; echo ready; while :; do sleep 0.1; done')
            eventually("the trap is set", lambda: running.text() == "ready\n")
            running.stop(timeout=grace)
            same(running.status().exit_code, 137)


@check("stopping a sandbox ends its containers; removing it removes them")
def stop_pod(node):
    pod = node.start_pod()
    one, two = pod.run(), pod.run()
    pod.stop()
    same([one.status().exit_code, two.status().exit_code], [137, 137])
    pod.remove()
    refused(one.status, "not found")


@check("removing a running container kills it")
def remove_running(node):
    with node.pod() as pod:
        running = pod.run()
        running.remove()
        refused(running.status, "not found")


@check("a container is restarted in its sandbox, with a new attempt")
def restart(node):
    with node.pod() as pod:
        for attempt in range(3):
            again = pod.run("sh", "-c", "exit $((3 + ATTEMPT))", metadata={"name": "same", "attempt": attempt},
                            envs=[{"key": "ATTEMPT", "value": encoded(str(attempt))}])
            same(again.wait(), 3 + attempt)
            same(again.status().metadata.attempt, attempt)
        same(len(node.call("ListContainers", filter={"pod_sandbox_id": pod.id}).containers), 3)


@check("events: created, started, stopped, deleted", since=(1, 7))
def events(node):
    stream = node.client.events()
    seen = []
    target = []

    def collect():
        try:
            for event in stream:
                seen.append((event.container_id, api.ContainerEventType.Name(event.container_event_type)))
        except Exception:  # pylint: disable=broad-except  # cancelled below
            pass

    reader = threading.Thread(target=collect)
    reader.start()
    try:
        with node.pod() as pod:
            ended = pod.run("true")
            ended.wait()
            ended.remove()
            target.append(ended.id)
            wanted = [f"CONTAINER_{what}_EVENT" for what in ("CREATED", "STARTED", "STOPPED", "DELETED")]
            eventually("all four events", lambda: [what for who, what in seen if who == target[0]] == wanted)
    finally:
        stream.cancel()
        reader.join()


@check("the OOM killer is the reason of the end")
def oom(node):
    with node.pod() as pod:
        greedy = pod.run("sh", "-c", "tail /dev/zero",
                         linux={"resources": {"memory_limit_in_bytes": 20 << 20}})
        same(greedy.wait(), 137)
        same(greedy.status().reason, "OOMKilled")


@check("a pid namespace of its own: the container ends with its first process")
def orphans(node):
    with node.pod() as pod:
        parent = pod.run("sh", "-c", "sleep 1000 & sleep 1000 & exit 3")
        same(parent.wait(), 3)


@check("24 sandboxes with a container each, 8 at a time")
def many(node):
    errors = []

    def lives():
        try:
            for _ in range(3):
                with node.pod() as pod:
                    running = pod.run()
                    same(running.exec("echo", "here"), (0, "here\n", ""))
                    same(running.status().state, CONTAINER_RUNNING)
        except Exception as error:  # pylint: disable=broad-except
            errors.append(error)

    threads = [threading.Thread(target=lives) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
