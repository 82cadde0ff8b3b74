"""Returns what clients send, or sends bytes to such a server: `python -m tests.scripts.echo HOST PORT [BYTES]`."""

import socket
import sys

HOST, PORT = sys.argv[1], int(sys.argv[2])
PATIENCE = 15  # seconds


def serve() -> None:
    with socket.create_server((HOST, PORT)) as server:
        while True:
            client, _ = server.accept()
            with client:
                while data := client.recv(65536):
                    client.sendall(data)


def send(size: int) -> None:
    with socket.create_connection((HOST, PORT), timeout=1) as client:
        client.settimeout(PATIENCE)
        client.sendall(bytes(size))
        client.shutdown(socket.SHUT_WR)
        received = 0
        while data := client.recv(65536):
            received += len(data)
    sys.exit(received != size)


if __name__ == "__main__":
    try:
        if len(sys.argv) > 3:
            send(int(sys.argv[3]))
        serve()
    except OSError as error:
        sys.exit(str(error))
