"""A server of files on this machine, which can break off, for what downloads."""

import contextlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Served:
    """What a server has and was asked for.

    Attributes:
        files: bytes by path (`/a/b.zip`).
        asked: `(path, Range header or None)` of each request.
        break_offs: answers, from the next one on, that end after half of their bytes.
        ranges: whether it sends parts of files.
        status: instead of an answer.
        url: its address.
    """

    def __init__(self):
        self.files, self.asked = {}, []
        self.break_offs, self.ranges, self.status, self.url = 0, True, None, ""


@contextlib.contextmanager
def serving():
    """`with serving() as served`: a server in a thread."""
    served = Served()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            part = self.headers.get("Range")
            served.asked.append((self.path, part))
            data = served.files.get(self.path)
            if served.status or data is None:
                self.send_error(served.status or 404)
                return
            start = int(part.removeprefix("bytes=").rstrip("-")) if part and served.ranges else 0
            if start >= len(data):
                self.send_error(416)
                return
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(data) - start))
            self.end_headers()
            rest = data[start:]
            if served.break_offs:
                served.break_offs -= 1
                rest = rest[: len(rest) // 2]
            self.wfile.write(rest)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
