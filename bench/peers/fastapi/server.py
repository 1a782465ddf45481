"""The server of Google's tutorial, in shape: FastAPI on uvicorn, one process, a handler that blocks.

"High-performance diffusion model inference on GKE and TPU using MaxDiffusion" ends with a FastAPI
application whose `async` handler calls the generating function directly and sends Pillow's PNG.
Here the generating function is the one that Easel's fake engine has, so that both servers make the
same pixels at the same cost and everything else is what is compared.

    python server.py PORT, with the folder python-worker on PYTHONPATH
"""

import io
import sys
import time

import uvicorn
from easel_worker.fake.image import picture
from fastapi import FastAPI, Request, Response
from PIL import Image

app = FastAPI()


@app.get("/health")
def health() -> dict[str, str]:
    return {"status": "ok"}


@app.post("/generate")
async def generate(request: Request) -> Response:
    body = await request.json()
    asked = time.perf_counter()
    pixels = picture(str(body["seed"]), body["width"], body["height"])
    start = time.perf_counter()
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG")
    png_ms = (time.perf_counter() - start) * 1000
    made_ms = (start - asked) * 1000
    headers = {"server-timing": f"decode;dur={made_ms:.1f}, file;dur={png_ms:.1f}"}
    return Response(content=file.getvalue(), media_type="image/png", headers=headers)


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", access_log=False)
