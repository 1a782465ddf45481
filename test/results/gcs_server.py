"""A server with the API of Google Cloud Storage on a free port, which it prints; its own command cannot say which."""

from gcp_storage_emulator.server import create_server

server = create_server("127.0.0.1", 0, in_memory=True, default_bucket="images")
server.start()
print(f" * Running on http://127.0.0.1:{server._api._httpd.server_port}", flush=True)
