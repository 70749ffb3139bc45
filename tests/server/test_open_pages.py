"""How many pages are open is limited, from one address and in all."""

import asyncio

from tests.server.asking import Answer, Waiting, aask, story
from ui.server.messages import OpenPages


def _opening(app: OpenPages, client: str) -> asyncio.Task[Answer]:
    return asyncio.ensure_future(aask(app, "/_stcore/stream", websocket=True, client=client))


@story
async def test_a_page_that_finds_no_place_is_told_so_and_finds_one_when_another_is_closed() -> None:
    opened = Waiting()
    app = OpenPages(opened, most=3, here=2)
    here = [_opening(app, "203.0.113.1") for _ in range(2)]
    await asyncio.sleep(0)
    refused = await _opening(app, "203.0.113.1")
    assert (refused.status, refused.headers["retry-after"]) == (503, "60")
    assert "from your network" in refused.body
    page = await aask(app, "/Data?workspace=1", client="203.0.113.1", headers={"accept": "text/html"})
    assert page.status == 503
    assert "from your network" in page.body
    assert "Log in" not in page.body
    picture = asyncio.ensure_future(aask(app, "/media/a.png", client="203.0.113.1"))

    elsewhere = _opening(app, "198.51.100.9")
    await asyncio.sleep(0)
    assert "As many pages" in (await _opening(app, "192.0.2.7")).body
    opened.go_on.set()
    assert [(await task).status for task in (*here, elsewhere)] == [101] * 3
    assert (await _opening(app, "203.0.113.1")).status == 101
    assert (await picture).status == 200, "of a page that was open before"


@story
async def test_visitors_of_the_machine_itself_and_of_an_unknown_address_count_together_only() -> None:
    opened = Waiting()
    app = OpenPages(opened, most=3, here=1)
    tasks = [_opening(app, "127.0.0.1") for _ in range(4)]
    assert (await tasks[-1]).status == 503
    assert len(opened.came) == 3
    opened.go_on.set()
    await asyncio.gather(*tasks)
