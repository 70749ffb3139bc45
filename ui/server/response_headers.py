"""What every answer says to the browser: what pages may load, who may show them in a frame, and what may be kept or passed on."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ui.server.refusing import path_of

_SOURCES = {
    "default-src": "'self'",
    # Streamlit starts components from inline scripts and blobs. Without 'unsafe-eval' no page can be made to compile text.
    "script-src": "'self' 'unsafe-inline' 'wasm-unsafe-eval' blob:",
    "style-src": "'self' 'unsafe-inline'",
    "img-src": "'self' data: blob:",
    "font-src": "'self' data:",
    "media-src": "'self' data: blob:",
    # Streamlit's camera reads its own photo back from a data address, which leads nowhere else.
    "connect-src": "'self' data:",
    "worker-src": "'self' blob:",
    "object-src": "'none'",
    "base-uri": "'self'",
    "form-action": "'self'",
}
_HUB = "https://huggingface.co https://*.hf.space"


@dataclass(frozen=True)
class ResponseHeaders:
    """Adds the headers to every answer."""

    app: ASGIApp
    on_space: bool
    """Whether the app is shown in the frame of a Hugging Face Space."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                headers = MutableHeaders(scope=message)
                headers["X-Content-Type-Options"] = "nosniff"
                # The address of a page holds the key to its workspace.
                headers.setdefault("Referrer-Policy", "no-referrer")
                headers["Content-Security-Policy"] = self.policy()
                if path_of(scope).startswith("/media/"):
                    headers["Cache-Control"] = "private, no-store"
            await send(message)

        await self.app(scope, receive, send_with_headers)

    def policy(self) -> str:
        frames = f"'self' {_HUB}" if self.on_space else "'self'"
        return "; ".join(f"{name} {value}" for name, value in {**_SOURCES, "frame-ancestors": frames}.items())
