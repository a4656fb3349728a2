"""The log files of containers, in the format that the kubelet reads.

Each container sleeps at its end: containerd may lose the log of one that ends before the plugin has
opened its FIFOs.
"""

import os

from checks import check, same
from cri import eventually


@check("the log names the stream of each line")
def streams(node):
    with node.pod() as pod:
        ended = pod.run("sh", "-c", "echo one; echo two >&2; printf three; sleep 0.5")
        ended.wait()
        # Versions differ in the tag of a last line without an end.
        seen = [(stream, text) for stream, _, text in ended.log()]
        same(sorted(seen), [("stderr", "two"), ("stdout", "one"), ("stdout", "three")])


@check("a long line is split into partial ones")
def partial(node):
    with node.pod() as pod:
        ended = pod.run("sh", "-c", "head -c 40000 /dev/zero | tr '\\0' x; echo; sleep 0.5")
        ended.wait()
        seen = ended.log()
        same([tag for _, tag, _ in seen], ["P", "P", "F"])
        same("".join(text for _, _, text in seen), "x" * 40000)


@check("100,000 lines arrive, in order")
def lines(node):
    with node.pod() as pod:
        ended = pod.run("sh", "-c", "seq 1 100000; sleep 0.5")
        same(ended.wait(), 0)
        seen = [text for _, _, text in ended.log()]
        same(len(seen), 100000)
        same(seen, [str(number) for number in range(1, 100001)])


@check("the log is opened again after a rotation")
def rotation(node):
    with node.pod() as pod:
        running = pod.run("sh", "-c", "while read line; do echo $line; done </pipe", mounts=pipe(node))
        fifo = running.config["mounts"][0]["host_path"]
        with open(fifo, "w", encoding="utf-8") as keyboard:
            print("before", file=keyboard, flush=True)
            eventually("the first line", lambda: running.text() == "before\n")
            os.rename(running.log_path, running.log_path + ".1")
            running.call("ReopenContainerLog")
            print("after", file=keyboard, flush=True)
            eventually("the second line", lambda: running.text() == "after\n")


def pipe(node):
    path = os.path.join(node.directory("fifo"), "fifo")
    os.mkfifo(path)
    return [{"container_path": "/pipe", "host_path": path}]


@check("a terminal's output is logged as one stream")
def terminal(node):
    with node.pod() as pod:
        ended = pod.run("sh", "-c", "test -t 0 && test -t 1 && echo terminal; echo errors >&2; sleep 0.5", tty=True)
        same(ended.wait(), 0)
        same([(stream, text.strip()) for stream, _, text in ended.log()],
             [("stdout", "terminal"), ("stdout", "errors")])
