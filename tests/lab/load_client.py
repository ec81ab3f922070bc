"""Requests without a pause, one connection each, and what became of every one: a program for containers and the host.

`load_client.py HOST PORT FILE THREADS` looks HOST up once and appends a line a request to FILE until it is ended: when it began and ended (by
the machine's monotonic clock), and the name that answered or `!` and the error. Standard library only.
"""

import socket
import sys
import threading
import time

_TIMEOUT_S = 20  # a request that takes longer than this has failed
_PAUSE_S = 0.004


def one(host: str, port: int) -> str:
    """The body of one answer, which is the server's name."""
    with socket.create_connection((host, port), _TIMEOUT_S) as client:
        client.settimeout(_TIMEOUT_S)
        client.sendall(b"GET / HTTP/1.0\r\nHost: service\r\n\r\n")
        answer = b""
        while data := client.recv(4096):
            answer += data
    head, _gap, body = answer.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.0 200"):
        raise OSError(f"no answer: {answer[:40]!r}")
    return body.decode().strip()


def main() -> None:
    """Until somebody ends it."""
    host, port, path, threads = socket.gethostbyname(sys.argv[1]), int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    lock = threading.Lock()
    with open(path, "a", buffering=1) as file:

        def work() -> None:
            while True:
                began = time.monotonic()
                try:
                    result = one(host, port)
                except OSError as error:
                    result = f"!{error!r}"
                with lock:
                    file.write(f"{began:.6f} {time.monotonic():.6f} {result}\n")
                time.sleep(_PAUSE_S)

        workers = [threading.Thread(target=work) for _ in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()


if __name__ == "__main__":
    main()
