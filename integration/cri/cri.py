"""A client of the Container Runtime Interface: what a kubelet would call, in the words of api.proto.

A request is a dict with the field names of the proto, so that a check reads like the specification.
"""

import base64
import contextlib
import glob
import itertools
import json
import os
import subprocess
import time

import api_pb2 as api
import grpc
from google.protobuf import json_format

# Long: a machine that is busy with other tests must not fail these.
PATIENCE = 120

IMAGE = "localhost/busybox:latest"

_IMAGE_SERVICE = {"ListImages", "ImageStatus", "PullImage", "RemoveImage", "ImageFsInfo"}

CONTAINER_RUNNING = api.CONTAINER_RUNNING
CONTAINER_EXITED = api.CONTAINER_EXITED


class Client:
    """The gRPC connection to a CRI server."""

    def __init__(self, address):
        self._channel = grpc.insecure_channel("unix://" + address)

    def call(self, method, deadline=PATIENCE, **fields):
        """Calls a method of RuntimeService or ImageService; returns its response message."""
        service = "ImageService" if method in _IMAGE_SERVICE else "RuntimeService"
        stub = self._channel.unary_unary(
            f"/runtime.v1.{service}/{method}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=getattr(api, method + "Response").FromString,
        )
        return stub(json_format.ParseDict(fields, getattr(api, method + "Request")()), timeout=deadline)

    def events(self):
        """Subscribes to the events of containers, as a kubelet with an evented PLEG does."""
        stub = self._channel.unary_stream(
            "/runtime.v1.RuntimeService/GetContainerEvents",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=api.ContainerEventResponse.FromString,
        )
        return stub(api.GetEventsRequest(), timeout=PATIENCE)


def merge(base, extra):
    """Returns base with the fields of extra; dicts are merged, everything else is replaced."""
    merged = dict(base)
    for key, value in extra.items():
        known = merged.get(key)
        merged[key] = merge(known, value) if isinstance(known, dict) and isinstance(value, dict) else value
    return merged


def encoded(text):
    """The JSON form of a bytes field."""
    return base64.b64encode(text.encode()).decode()


def eventually(what, question):
    """Asks until the answer is true, and returns it. Fails after PATIENCE seconds."""
    end = time.monotonic() + PATIENCE
    while not (answer := question()):
        assert time.monotonic() < end, f"never came true: {what}"
        time.sleep(0.05)
    return answer


class Node:
    """What a check works with: a CRI server, and the runtime handler under test."""

    _numbers = itertools.count(1)

    def __init__(self, client, handler, runtime, version, work, cgroup_parent, containerd):
        self.client = client
        # The name of the handler, the path of its runtime, and where that keeps state.
        self.handler = handler
        self.runtime = runtime
        self.state = f"/run/cri-{handler}"
        self.version = version
        self.work = work
        self.cgroup_parent = cgroup_parent
        self.systemd = cgroup_parent.endswith(".slice")
        # Starts and stops the server, for the checks of its restart.
        self.containerd = containerd

    def call(self, method, **fields):
        return self.client.call(method, **fields)

    def clean_up(self):
        """Removes what a check has left, and returns a line for each piece of it."""
        left = []
        for pod in self.call("ListPodSandbox").items:
            left.append(f"pod {pod.id}")
            self.call("StopPodSandbox", pod_sandbox_id=pod.id)
            self.call("RemovePodSandbox", pod_sandbox_id=pod.id)
        left += [f"cgroup {path}" for path in self._cgroups()]
        for path in glob.glob(f"{self.state}/k8s.io/*"):
            left.append(f"state {path}")
            container = os.path.basename(path)
            command = [self.runtime, "--root", os.path.dirname(path), "delete", "--force", container]
            subprocess.run(command, check=False, capture_output=True)
        with open("/proc/self/mountinfo", encoding="utf-8") as mounts:
            points = [line.split()[4] for line in mounts]
        for point in points:
            if "/io.containerd.runtime" in point:
                left.append(f"mount {point}")
                subprocess.run(["umount", "--lazy", point], check=False)
        return left

    def _cgroups(self):
        parents = ("/sys/fs/cgroup/*/pods", "/sys/fs/cgroup/pods", "/sys/fs/cgroup/**/corten-checks.slice")
        found = [path for parent in parents for path in glob.glob(f"{parent}/*/", recursive=True)]
        return found + glob.glob("/sys/fs/cgroup/**/checks.slice:*", recursive=True)

    def directory(self, name):
        """Makes a fresh directory for a check's files."""
        path = os.path.join(self.work, f"{name}-{next(self._numbers)}")
        os.makedirs(path)
        return path

    @contextlib.contextmanager
    def pod(self, **config):
        """Runs a pod sandbox; stops and removes it at the end."""
        pod = self.start_pod(**config)
        try:
            yield pod
        finally:
            pod.remove()

    def start_pod(self, handler=None, **config):
        number = next(self._numbers)
        logs = self.directory("logs")
        config = merge(
            {
                "metadata": {"name": f"pod-{number}", "uid": f"uid-{number}", "namespace": "checks"},
                "hostname": "pod",
                "log_directory": logs,
                "linux": {"cgroup_parent": self.cgroup_parent},
            },
            config,
        )
        handler = self.handler if handler is None else handler
        answer = self.call("RunPodSandbox", config=config, runtime_handler=handler)
        return Pod(self, answer.pod_sandbox_id, config)


class Pod:
    def __init__(self, node, pod_id, config):
        self.node = node
        self.id = pod_id
        self.config = config

    def status(self):
        return self.node.call("PodSandboxStatus", pod_sandbox_id=self.id).status

    def info(self):
        answer = self.node.call("PodSandboxStatus", pod_sandbox_id=self.id, verbose=True)
        return json.loads(answer.info["info"])

    @property
    def ip(self):
        return self.status().network.ip

    def stop(self):
        self.node.call("StopPodSandbox", pod_sandbox_id=self.id)

    def remove(self):
        self.stop()
        self.node.call("RemovePodSandbox", pod_sandbox_id=self.id)

    def create(self, *command, **config):
        """Creates a container that isn't started."""
        name = f"c{next(Node._numbers)}"
        config = merge(
            {
                "metadata": {"name": name},
                "image": {"image": IMAGE},
                "command": list(command),
                "log_path": name + ".log",
                # A pid namespace of its own, as the kubelet asks for.
                "linux": {"security_context": {"namespace_options": {"pid": "CONTAINER"}}},
            },
            config,
        )
        answer = self.node.call(
            "CreateContainer", pod_sandbox_id=self.id, config=config, sandbox_config=self.config
        )
        return Container(self, answer.container_id, config)

    def run(self, *command, **config):
        """Creates and starts a container. Without a command, it waits to be stopped."""
        container = self.create(*(command or ("sleep", "1000")), **config)
        container.start()
        return container

    def output(self, script, **config):
        """Runs a shell script in a container of its own; returns what it prints. Fails if it fails.

        The container ends only after the log has arrived: containerd may lose the log of a container
        that ends before the plugin has opened its FIFOs.
        """
        container = self.run("sh", "-c", f"({script}); echo ended with $?; exec sleep 1000", **config)
        eventually("the script ends", lambda: "ended with " in container.text())
        text, status = container.text().rsplit("ended with ", 1)
        container.remove()
        assert status == "0\n", f"exit status {status} of {script!r}, which printed {text!r}"
        return text.strip()


class Container:
    def __init__(self, pod, container_id, config):
        self.pod = pod
        self.id = container_id
        self.config = config

    def call(self, method, **fields):
        return self.pod.node.call(method, container_id=self.id, **fields)

    def start(self):
        self.call("StartContainer")

    def stop(self, timeout=PATIENCE):
        self.call("StopContainer", timeout=timeout)

    def remove(self):
        self.call("RemoveContainer")

    def status(self):
        return self.call("ContainerStatus").status

    def info(self):
        return json.loads(self.call("ContainerStatus", verbose=True).info["info"])

    @property
    def pid(self):
        return self.info()["pid"]

    def wait(self):
        """Waits for the end; returns the exit status."""
        eventually("the container ends", lambda: self.status().state == CONTAINER_EXITED)
        return self.status().exit_code

    def exec(self, *command, timeout=0):
        """Runs a command in the container; returns (exit status, stdout, stderr)."""
        answer = self.call("ExecSync", cmd=list(command), timeout=timeout)
        return answer.exit_code, answer.stdout.decode(), answer.stderr.decode()

    def look(self, script):
        """Runs a shell script in the container; returns what it prints. Fails if it fails."""
        status, output, errors = self.exec("sh", "-c", script)
        assert status == 0, f"exit status {status} of {script!r}: {output}{errors}"
        return output.strip()

    @property
    def log_path(self):
        return os.path.join(self.pod.config["log_directory"], self.config["log_path"])

    def log(self):
        """Returns the lines of the log: (stream, tag, text)."""
        with open(self.log_path, encoding="utf-8") as file:
            lines = [line.rstrip("\n").split(" ", 3) for line in file]
        return [(stream, tag, text) for _, stream, tag, text in lines]

    def text(self):
        """Returns what the container has printed, both streams."""
        return "".join(text + ("\n" if tag == "F" else "") for _, tag, text in self.log())
