"""Sockets that the zygote makes in a network namespace (shim/netns_sockets.py): in one that is not set up yet, too."""

import os
import socket
import struct
import subprocess

import pytest

from corten.shim import protocol
from corten.shim.netns_sockets import hand_out_sockets

pytestmark = pytest.mark.root

SERVER = "127.0.0.11"


def test_a_socket_made_while_lo_is_down_answers_from_the_address_that_it_is_bound_to():
    holder = subprocess.Popen(["unshare", "--net", "cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        holder.stdin.write(b"ready\n")
        holder.stdin.flush()
        assert holder.stdout.readline() == b"ready\n"  # cat runs in the namespace by now, where lo is down
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        wanted = [(socket.AF_INET, socket.SOCK_DGRAM, 0, SERVER), (socket.AF_INET, socket.SOCK_DGRAM, 0, "127.0.0.1")]
        request = {"sockets": [tuple(map(int, each[:3])) + each[3:] for each in wanted], "sysctls": {}}
        hand_out_sockets(request, theirs.detach(), os.open(f"/proc/{holder.pid}/ns/net", os.O_RDONLY))
        receiver = protocol.Receiver(ours)
        assert receiver.fill()
        reply, fds = receiver.take()
        assert reply == {}
        server, client = (socket.socket(fileno=fd) for fd in fds)
        with ours, server, client:
            subprocess.run(["nsenter", "-t", str(holder.pid), "--net", "ip", "link", "set", "lo", "up"], check=True)
            timeout = struct.pack("@ll", 10, 0)
            client.setblocking(True)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeout)
            server.sendto(b"answer", client.getsockname())
            assert client.recvfrom(64) == (b"answer", server.getsockname())
            assert server.getsockname()[0] == SERVER
    finally:
        holder.kill()
        holder.communicate()
