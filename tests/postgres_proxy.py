"""A network between the bot and PostgreSQL that can be cut, and that loses answers."""

import contextlib
import socket
import threading

from sqlalchemy import make_url


class Proxy:
    """Forwards connections to the server of `url`; its own address is `self.url`."""

    def __init__(self, url: str) -> None:
        made = make_url(url)
        self._server = (made.host, made.port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        port = self._listener.getsockname()[1]
        self.url = made.set(port=port).render_as_string(hide_password=False)
        self._open: set[socket.socket] = set()
        self.away = False
        self.lose = b""
        self.forwards_lost = True
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """End all connections, and refuse new ones."""
        self.away = True
        for each in list(self._open):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def heal(self) -> None:
        self.away = False

    def close(self) -> None:
        self.cut()
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if self.away:
                    client.close()
                    continue
                server = socket.create_connection(self._server)
                self._open |= {client, server}
                lost, ended = threading.Event(), threading.Event()
                for pair in ((client, server), (server, client)):
                    threading.Thread(
                        target=self._forward, args=(*pair, lost, ended), daemon=True
                    ).start()

    def _forward(
        self,
        source: socket.socket,
        target: socket.socket,
        lost: threading.Event,
        ended: threading.Event,
    ) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if self.lose and self.lose in data:
                    self.lose = b""
                    if self.forwards_lost:
                        # The server has done it before it learns that nobody listens.
                        lost.set()
                        target.sendall(data + b"X\0\0\0\4")
                        ended.wait(60)
                    break
                if not lost.is_set():
                    target.sendall(data)
        ended.set()
        for each in (source, target):
            self._open.discard(each)
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
