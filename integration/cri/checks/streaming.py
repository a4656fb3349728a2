"""Exec, attach and port-forward: by gRPC (ExecSync), and by the streaming server."""

import struct
from concurrent.futures import ThreadPoolExecutor

import grpc
import websocket
from checks import check, refused, same
from cri import eventually


@check("exec sync: output, errors and status")
def exec_sync(node):
    with node.pod() as pod:
        running = pod.run()
        same(running.exec("sh", "-c", "echo one; echo two >&2; exit 9"), (9, "one\n", "two\n"))
        same(running.exec("echo", "again"), (0, "again\n", ""))


@check("exec sync: 1 MiB of output")
def exec_large(node):
    with node.pod() as pod:
        status, output, _ = pod.run().exec("sh", "-c", "head -c 1048576 /dev/zero | tr '\\0' x")
        same((status, len(output), set(output)), (0, 1 << 20, {"x"}))


@check("exec sync: 400 times, 8 at a time, no output is lost")
def exec_often(node):
    with node.pod() as pod, ThreadPoolExecutor(8) as threads:
        running = pod.run()
        for number, seen in enumerate(threads.map(lambda number: running.exec("echo", str(number)), range(400))):
            same(seen, (0, f"{number}\n", ""))


@check("exec sync: the time limit kills the process")
def exec_timeout(node):
    with node.pod() as pod:
        running = pod.run()
        try:
            running.exec("sleep", "777", timeout=1)
        except grpc.RpcError as error:
            same(error.code(), grpc.StatusCode.DEADLINE_EXCEEDED)
        else:
            raise AssertionError("no error")
        eventually("it is gone", lambda: "sleep 777" not in running.look("ps"))


@check("exec sync: a missing executable is named")
def exec_missing(node):
    with node.pod() as pod:
        running = pod.run()
        refused(lambda: running.exec("/nothing-here"), "/nothing-here", "no such file or directory")
        same(running.exec("echo", "still here"), (0, "still here\n", ""))


@check("exec sync: an ended container is refused")
def exec_ended(node):
    with node.pod() as pod:
        ended = pod.run("true")
        ended.wait()
        refused(lambda: ended.exec("true"), "CONTAINER_EXITED")


def open_exec(container, *command, **options):
    answer = container.call("Exec", cmd=list(command), **options)
    return websocket.Stream(answer.url)


@check("exec: output, errors and status by WebSocket")
def exec_stream(node):
    with node.pod() as pod:
        running = pod.run()
        with open_exec(running, "sh", "-c", "echo one; echo two >&2; exit 9", stdout=True, stderr=True) as stream:
            same(stream.read_all(), (9, "one\n", "two\n"))
        with open_exec(running, "true", stdout=True) as stream:
            same(stream.read_all(), (0, "", ""))


@check("exec: input by WebSocket")
def exec_input(node):
    with node.pod() as pod:
        with open_exec(pod.run(), "head", "-n", "2", stdin=True, stdout=True) as stream:
            stream.send(websocket.STDIN, b"first\nsec")
            stream.send(websocket.STDIN, b"ond\n")
            same(stream.read_all(), (0, "first\nsecond\n", ""))


@check("exec: a terminal, its size, and a new size")
def exec_terminal(node):
    with node.pod() as pod:
        with open_exec(pod.run(), "sh", stdin=True, stdout=True, tty=True) as stream:
            stream.resize(101, 31)
            stream.send(websocket.STDIN, b"until stty size | grep '31 101'; do :; done; tty; echo do''ne\n")
            said = stream.read_until(b"done\r\n")
            assert b"\n31 101\r" in said and b"/dev/pts/" in said, said
            stream.resize(77, 22)
            stream.send(websocket.STDIN, b"until stty size | grep '22 77'; do :; done; echo ag''ain\n")
            stream.read_until(b"again\r\n")
            stream.send(websocket.STDIN, b"exit 4\n")
            same(stream.read_all()[0], 4)


@check("attach: input to a running container, and its output")
def attach(node):
    with node.pod() as pod:
        running = pod.run("sh", "-c", "while read line; do echo got $line; done; echo end", stdin=True)
        with websocket.Stream(running.call("Attach", stdin=True, stdout=True, stderr=True).url) as stream:
            stream.send(websocket.STDIN, b"one\n")
            stream.read_until(b"got one\n")
        with websocket.Stream(running.call("Attach", stdin=True, stdout=True, stderr=True).url) as stream:
            stream.send(websocket.STDIN, b"two\n")
            stream.read_until(b"got two\n")
        # The log is written by another goroutine than the answers to the client.
        eventually("both lines are in the log", lambda: running.text() == "got one\ngot two\n")


@check("attach: stdin is closed after the first client, if it is asked for")
def attach_once(node):
    with node.pod() as pod:
        running = pod.run("sh", "-c", "cat; echo end", stdin=True, stdin_once=True)
        with websocket.Stream(running.call("Attach", stdin=True, stdout=True, stderr=True).url) as stream:
            stream.send(websocket.STDIN, b"one\n")
            stream.read_until(b"one\n")
        same(running.wait(), 0)
        same(running.text(), "one\nend\n")


@check("attach: to a terminal")
def attach_terminal(node):
    with node.pod() as pod:
        running = pod.run("sh", stdin=True, tty=True)
        with websocket.Stream(running.call("Attach", stdin=True, stdout=True, tty=True).url) as stream:
            stream.send(websocket.STDIN, b"test -t 0 && echo termi''nal\n")
            stream.read_until(b"terminal")
            stream.send(websocket.STDIN, b"exit 6\n")
            same(running.wait(), 6)


@check("port-forward: bytes reach a server in the sandbox and come back")
def port_forward(node):
    with node.pod() as pod:
        serving = pod.run("nc", "-ll", "-p", "8000", "-e", "cat")
        eventually("it listens", lambda: ":1F40 " in serving.look("cat /proc/net/tcp /proc/net/tcp6"))
        url = node.call("PortForward", pod_sandbox_id=pod.id, port=[8000]).url
        # Channel 0 is the data of the first port, and begins with the number of the port.
        with websocket.Stream(url + "?port=8000") as stream:
            number = b""
            while len(number) < 2:
                channel, data = stream.receive()
                number += data if channel == 0 else b""
            same(struct.unpack("<H", number), (8000,))
            stream.send(0, b"through the sandbox\n")
            stream.read_until(b"through the sandbox\n", channel=0)
