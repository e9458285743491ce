"""A proxy before a server that loses what it is told to: requests before they arrive, answers after they were made."""

import http.client
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def nothing_lost(_path: str) -> bool:
    return False


@contextmanager
def dropping(
    port: int, answer_lost: Callable[[str, bytes], bool], request_lost: Callable[[str], bool] = nothing_lost
) -> Iterator[str]:
    """The address of a proxy before `port` of this machine. Both calls get the path; a lost one ends the connection."""

    class Proxy(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def forward(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if request_lost(self.path):
                self.close_connection = True
                return
            try:
                server = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
                server.request(self.command, self.path, body, dict(self.headers))
                response = server.getresponse()
                answer = response.read()
                server.close()
            except (OSError, http.client.HTTPException):
                self.close_connection = True
                return
            if response.status < 400 and answer_lost(self.path, answer):
                self.close_connection = True
                return
            self.send_response(response.status)
            for name, value in response.getheaders():
                if name.lower() not in ("transfer-encoding", "content-length", "connection", "date", "server"):
                    self.send_header(name, value)
            self.send_header("Content-Length", response.getheader("Content-Length") or str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_GET = do_POST = do_PUT = do_PATCH = do_HEAD = forward

        def log_message(self, format: str, *args: object) -> None:
            pass

    proxy = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    thread = threading.Thread(target=proxy.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{proxy.server_address[1]}"
    finally:
        proxy.shutdown()
        proxy.server_close()
        thread.join()
