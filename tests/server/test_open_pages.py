"""How many pages are open is limited, from one address and in all."""

import asyncio

from starlette.types import Receive, Scope, Send

from tests.server.asking import Answer, aask, inner, run
from ui.server.messages import OpenPages


def test_a_page_that_finds_no_place_is_told_so_and_finds_one_when_another_is_closed() -> None:
    async def story() -> None:
        closed = asyncio.Event()

        async def opened(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "websocket":
                await closed.wait()
            await inner(scope, receive, send)

        app = OpenPages(opened, most=3, here=2)

        def opening(client: str) -> asyncio.Task[Answer]:
            return asyncio.ensure_future(aask(app, "/_stcore/stream", websocket=True, client=client))

        here = [opening("203.0.113.1") for _ in range(2)]
        await asyncio.sleep(0)
        refused = await opening("203.0.113.1")
        assert (refused.status, refused.headers["retry-after"]) == (503, "60")
        assert "from your network" in refused.body
        page = await aask(app, "/Data?workspace=1", client="203.0.113.1", headers={"accept": "text/html"})
        assert page.status == 503
        assert "from your network" in page.body
        assert "Log in" not in page.body
        assert (await aask(app, "/media/a.png", client="203.0.113.1")).status == 200

        elsewhere = opening("198.51.100.9")
        await asyncio.sleep(0)
        assert "As many pages" in (await opening("192.0.2.7")).body
        closed.set()
        assert [(await task).status for task in (*here, elsewhere)] == [101] * 3
        assert (await opening("203.0.113.1")).status == 101

    run(story())


def test_visitors_of_the_machine_itself_and_of_an_unknown_address_count_together_only() -> None:
    async def story() -> None:
        opened, closed = [], asyncio.Event()

        async def waits(scope: Scope, receive: Receive, send: Send) -> None:
            opened.append(scope)
            await closed.wait()

        app = OpenPages(waits, most=3, here=1)
        tasks = [asyncio.ensure_future(aask(app, websocket=True, client="127.0.0.1")) for _ in range(4)]
        assert (await tasks[-1]).status == 503
        assert len(opened) == 3
        closed.set()
        await asyncio.gather(*tasks)

    run(story())
