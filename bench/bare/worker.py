"""A worker with nothing in it: answers each message with so many bytes.

python worker.py ENDPOINT BYTES
"""

import sys

import zmq

socket = zmq.Context().socket(zmq.DEALER)
socket.setsockopt(zmq.ROUTING_ID, b"worker")
socket.connect(sys.argv[1])
socket.send(b"here")
pixels = bytes(int(sys.argv[2]))
while True:
    socket.recv_multipart()
    socket.send_multipart([b"", pixels], copy=False)
