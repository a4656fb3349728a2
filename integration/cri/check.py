#!/usr/bin/python3
"""Runs the checks of checks/ against containerd's CRI plugin, with each runtime.

Usage: check.py --work DIR --config FILE --cgroup-parent PATH --handler NAME=PATH... [NAME...]

The first handler is the reference. A check that passes with it and fails with the other fails the run.
NAME selects checks by a part of their name.
"""

import argparse
import importlib
import os
import pkgutil
import subprocess
import sys
import time
import traceback

import grpc

import checks
from cri import Client, Node, eventually


class Containerd:
    """The daemon, which a check may stop and start again."""

    def __init__(self, config, work):
        self._config = config
        self._log = os.path.join(work, "containerd.log")
        self.address = os.path.join(work, "containerd.sock")
        self._process = None

    def start(self):
        with open(self._log, "ab") as log:
            self._process = subprocess.Popen(
                ["containerd", "--config", self._config], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        client = Client(self.address)

        def serves():
            assert self._process.poll() is None, f"containerd has ended: {self.last_lines()}"
            try:
                return client.call("Version", deadline=10)
            except grpc.RpcError:
                return None

        return client, eventually("containerd serves the CRI", serves)

    def stop(self):
        self._process.terminate()
        self._process.wait()

    def last_lines(self):
        with open(self._log, errors="replace") as log:
            return "".join(log.readlines()[-40:])


def discover():
    """Imports every module of checks/; returns (module, name, function) in order."""
    found = []
    for module in sorted(info.name for info in pkgutil.iter_modules(checks.__path__)):
        importlib.import_module(f"checks.{module}")
    for function in checks.registered:
        found.append((function.__module__.rsplit(".", 1)[-1], function))
    return found


def run_one(function, node):
    """Runs a check; returns (result, explanation). The result is ok, FAIL or skip."""
    try:
        function(node)
        result = "ok", ""
    except checks.Skip as reason:
        result = "skip", str(reason)
    except grpc.RpcError as error:
        result = "FAIL", f"{error.code().name}: {error.details()}\n{where()}"
    except Exception as error:  # pylint: disable=broad-except  # whatever a check meets is its result
        result = "FAIL", f"{type(error).__name__}: {error}\n{where()}"
    left = node.clean_up()
    if left and result[0] == "ok":
        result = "FAIL", "left: " + "\n".join(left)
    return result


def run_twice(function, node):
    """Runs a check, and once more if it fails. A failure that doesn't come back is printed.

    containerd itself has races, with every runtime.
    """
    first = run_one(function, node)
    if first[0] != "FAIL":
        return first
    second = run_one(function, node)
    if second[0] != "FAIL":
        print(f"again  {node.handler}: {function.title}: the first try failed:", flush=True)
        tell(node.handler, first[1])
    return second


def tell(handler, why):
    print("\n".join(f"      | {handler}: {line}" for line in why.strip().splitlines()), flush=True)


def where():
    """The lines of the check, and not those of the client, that led to the exception."""
    frames = traceback.extract_tb(sys.exc_info()[2])
    return "\n".join(
        f"at {os.path.basename(frame.filename)}:{frame.lineno}: {frame.line}"
        for frame in frames
        if os.path.basename(os.path.dirname(frame.filename)) == "checks" and "__init__" not in frame.filename
    )


def wait_for_network(client):
    """The plugin reads the configuration of the network some time after it serves."""

    def ready():
        status = client.call("Status").status
        return all(condition.status for condition in status.conditions if condition.type.endswith("Ready"))

    eventually("runtime and network are ready", ready)


def verdict(results, known):
    """One result out of those of the reference and of the runtime under test."""
    if all(result == "skip" for result in results) or known and all(result == "FAIL" for result in results):
        return "skip"
    if results[-1] == "FAIL":
        return "FAIL"
    if results[-1] == "ok" and results[0] == "FAIL":
        return "only"
    return "skip" if results[-1] == "skip" else "ok"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", required=True)
    parser.add_argument("--config", required=True)
    parser.add_argument("--cgroup-parent", required=True)
    parser.add_argument("--handler", required=True, action="append", help="NAME=PATH of the runtime")
    parser.add_argument("names", nargs="*")
    options = parser.parse_args()

    begin = time.monotonic()
    containerd = Containerd(options.config, options.work)
    client, version = containerd.start()
    wait_for_network(client)
    handlers, runtimes = zip(*(handler.split("=", 1) for handler in options.handler))
    numbers = tuple(int(part) for part in version.runtime_version.lstrip("v").split("~")[0].split(".")[:2])
    nodes = [
        Node(client, handler, runtime, numbers, options.work, options.cgroup_parent, containerd)
        for handler, runtime in zip(handlers, runtimes)
    ]
    counts = {"ok": 0, "FAIL": 0, "skip": 0, "only": 0}
    for module, function in discover():
        name = f"{module}: {function.title}"
        if options.names and not any(part in name for part in options.names):
            continue
        known = function.known(numbers)
        outcome = [(run_one if known else run_twice)(function, node) for node in nodes]
        result = verdict([one for one, _ in outcome], known)
        counts[result] += 1
        cells = " ".join(f"{handler}={one}" for handler, (one, _) in zip(handlers, outcome))
        reason = known or outcome[-1][1] if result == "skip" else ""
        print(f"{result:4}  {cells}  {name}" + (f": {reason}" if reason else ""), flush=True)
        for handler, (one, why) in zip(handlers, outcome):
            if one == "FAIL" and result != "skip":
                tell(handler, why)
    containerd.stop()
    if counts["FAIL"]:
        print(containerd.last_lines())
    passed = counts["ok"] + counts["only"]
    print(
        f"cri containerd {version.runtime_version}: {passed} passed, {counts['FAIL']} failed, "
        f"{counts['skip']} skipped ({time.monotonic() - begin:.0f} s)"
    )
    return 1 if counts["FAIL"] or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
