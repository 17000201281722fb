"""Listening sockets: who holds a port, and how a port passes from one process to the next without a lost request."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import socket
import struct
from pathlib import Path

from shipway.components.common.errors import ConflictError

__all__ = ["check_free", "free_port", "listening_socket", "take_over"]

_SO_ATTACH_REUSEPORT_CBPF = 51
_BPF_RETURN_CONSTANT = 0x06
_TCP_LISTEN = "0A"


def listening_socket(host: str, port: int, reuse_port: bool = False) -> socket.socket:
    """Returns a TCP socket bound to ``host`` and ``port``, not yet listening.

    Args:
        host: An IPv4 address.
        port: 0 takes a free one.
        reuse_port: Whether another process of this user may hold the port as well.

    Raises:
        ConflictError: When somebody else holds the port.
    """
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if reuse_port:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        if error.errno in (errno.EADDRINUSE, errno.EACCES):
            raise ConflictError(_in_use(host, port, error)) from error
        raise
    return bound


def check_free(host: str, port: int) -> None:
    """Checks that no process listens on a port.

    Raises:
        ConflictError: When one does; the message names it where it can.
    """
    probe = listening_socket(host, port)
    try:
        probe.listen(1)
    except OSError as error:
        raise ConflictError(_in_use(host, port, error)) from error
    finally:
        probe.close()


def free_port(host: str) -> int:
    """Returns a port that nobody holds at this moment."""
    with listening_socket(host, 0) as probe:
        port: int = probe.getsockname()[1]
        return port


def take_over(listening: socket.socket) -> None:
    """Sends every new connection of a shared port to its second listener, the newer one.

    Without this the kernel spreads connections over both processes, and those that wait in the older
    one's queue when it closes are reset. Where the kernel refuses, connections stay spread.
    """
    program = ctypes.create_string_buffer(struct.pack("HBBI", _BPF_RETURN_CONSTANT, 0, 0, 1))
    filter_of_one = struct.pack("HL", 1, ctypes.addressof(program))
    with contextlib.suppress(OSError):
        listening.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_REUSEPORT_CBPF, filter_of_one)


def _in_use(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EACCES:
        return f"port {port} of {host} is not ours to bind: take one above 1023"
    holder = _holder(port)
    return f"port {port} of {host} is in use{f' by {holder}' if holder else ''}; end that process or take another port"


def _holder(port: int) -> str:
    """Names the process that listens on a port; empty when it cannot be found out."""
    sockets = set()
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            for line in Path("/proc/net", table).read_text(encoding="ascii").splitlines()[1:]:
                fields = line.split()
                if fields[3] == _TCP_LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                    sockets.add(f"socket:[{fields[9]}]")
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if any(str(handle.readlink()) in sockets for handle in (process / "fd").iterdir()):
                program, *arguments = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
                command = " ".join([Path(program).name, *arguments]).strip()
                return f"process {process.name} ({command[:80]})"
    return ""
