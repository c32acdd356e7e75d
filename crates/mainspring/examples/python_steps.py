"""Step handlers of a workflow, written in Python with nothing but its standard library; see python_steps.rs.

A step is a POST to /.well-known/workflow/v1/step with the secret in a header. 200 with an output: done. 500 with an error:
failed, and tried again unless it is fatal.
"""

import base64
import hmac
import json
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SECRET = os.environ["WORKFLOW_POSTGRES_SECURITY_TOKEN"]


class Fatal(Exception):
    """No further attempt can help."""


def words(text, attempt):
    return len(text.split())


def flaky(text, attempt):
    if attempt < 3:
        raise RuntimeError(f"attempt {attempt} did not work")
    return f"{text} at attempt {attempt}"


def refuse(text, attempt):
    raise Fatal(f"{text} is never possible")


STEPS = {"words": words, "flaky": flaky, "refuse": refuse}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        shown = self.headers.get("X-Workflow-Secret", "")
        if not hmac.compare_digest(shown.encode(), SECRET.encode()):
            return self.answer(401, {"error": "Unauthorized"})
        if self.path != "/.well-known/workflow/v1/step":
            return self.answer(404, {"error": "only steps are here"})
        message = json.loads(body)
        data = json.loads(base64.b64decode(message["data"]))
        step = STEPS.get(data["stepName"])
        if step is None:
            return self.answer(400, {"error": f"no step {data['stepName']}"})
        try:
            self.answer(200, {"ok": True, "output": step(data["input"], message["attempt"])})
        except Fatal as error:
            self.answer(500, {"error": str(error), "fatal": True})
        except Exception as error:
            self.answer(500, {"error": str(error)})

    def answer(self, status, value):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
