"""The streams that the CRI plugin serves by HTTP: exec, attach and port-forward.

Kubernetes multiplexes a process's streams over one WebSocket: the first byte of a message names the
channel. containerd's server speaks this as "v4.channel.k8s.io", beside SPDY.
"""

import base64
import json
import os
import socket
import struct
import urllib.parse

# The channels of exec and attach. ERROR carries one JSON status when the process has ended.
STDIN, STDOUT, STDERR, ERROR, RESIZE = range(5)

_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING, _PONG = 0, 1, 2, 8, 9, 10


class Stream:
    """One WebSocket connection to a URL that Exec, Attach or PortForward returned."""

    def __init__(self, url, timeout=60):
        parts = urllib.parse.urlsplit(url)
        self._socket = socket.create_connection((parts.hostname, parts.port), timeout)
        self._input = self._socket.makefile("rb")
        target = parts.path + ("?" + parts.query if parts.query else "")
        key = base64.b64encode(os.urandom(16)).decode()
        self._socket.sendall(
            f"GET {target} HTTP/1.1\r\nHost: {parts.netloc}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Protocol: v4.channel.k8s.io\r\n\r\n".encode()
        )
        status = self._input.readline()
        while self._input.readline() not in (b"\r\n", b""):
            pass
        if b" 101 " not in status:
            raise ConnectionError(f"no WebSocket at {url}: {status.decode().strip()}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self._input.close()
        self._socket.close()

    def send(self, channel, data):
        """Sends bytes to a channel."""
        self._frame(_BINARY, bytes([channel]) + data)

    def resize(self, width, height):
        """Tells the terminal its new size, in characters."""
        self.send(RESIZE, json.dumps({"Width": width, "Height": height}).encode())

    def receive(self):
        """Returns the next (channel, bytes), or None at the end of the connection."""
        message = b""
        while True:
            head = self._input.read(2)
            if len(head) < 2:
                return None
            last, opcode, length = head[0] & 0x80, head[0] & 0x0F, head[1] & 0x7F
            if length == 126:
                (length,) = struct.unpack(">H", self._input.read(2))
            elif length == 127:
                (length,) = struct.unpack(">Q", self._input.read(8))
            data = self._input.read(length)
            if opcode == _CLOSE:
                return None
            if opcode == _PING:
                self._frame(_PONG, data)
                continue
            if opcode in (_CONTINUATION, _TEXT, _BINARY):
                message += data
            # The server opens every channel with an empty message.
            if last and len(message) > 1:
                return message[0], message[1:]
            if last:
                message = b""

    def read_until(self, text, channel=STDOUT):
        """Returns what a channel says, up to a text (bytes). Fails at the end of the connection."""
        seen = b""
        while text not in seen:
            message = self.receive()
            if message is None:
                raise ConnectionError(f"the stream ended before {text!r}; it said {seen!r}")
            if message[0] == channel:
                seen += message[1]
        return seen

    def read_all(self):
        """Reads to the end. Returns (exit status, stdout, stderr); the status is None if none came."""
        said = {STDOUT: b"", STDERR: b"", ERROR: b""}
        while (message := self.receive()) is not None:
            said[message[0]] = said.get(message[0], b"") + message[1]
        return _exit_status(said[ERROR]), said[STDOUT].decode(), said[STDERR].decode()

    def _frame(self, opcode, data):
        mask = os.urandom(4)
        head = bytes([0x80 | opcode])
        if len(data) < 126:
            head += bytes([0x80 | len(data)])
        elif len(data) < 1 << 16:
            head += bytes([0x80 | 126]) + struct.pack(">H", len(data))
        else:
            head += bytes([0x80 | 127]) + struct.pack(">Q", len(data))
        self._socket.sendall(head + mask + bytes(byte ^ mask[i % 4] for i, byte in enumerate(data)))


def _exit_status(said):
    if not said:
        return None
    status = json.loads(said)
    if status.get("status") == "Success":
        return 0
    for cause in status.get("details", {}).get("causes", []):
        if cause.get("reason") == "ExitCode":
            return int(cause["message"])
    raise RuntimeError(status.get("message", said.decode()))
